//! The gateway's process.

use std::process::ExitCode;

use gateway::config::Args;

fn main() -> ExitCode {
    let args: Args = chassis::config::parse();
    let (service, listen) = (args.service.clone(), args.listen);
    chassis::process::run("gateway", &service, listen, |process| gateway::serve::serve(args, process))
}
