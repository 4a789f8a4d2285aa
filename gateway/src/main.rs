//! The gateway's process.

use std::process::ExitCode;

use gateway::config::Args;

fn main() -> ExitCode {
    chassis::process::use_small_pages();
    let args: Args = chassis::config::parse();
    let (service, listen) = (args.service.clone(), args.listen);
    chassis::process::run("gateway", &service, listen, |process| gateway::serve::serve(args, process))
}
