//! The profile service: what users tell about themselves, over gRPC.

use std::process::ExitCode;

mod cache;
mod config;
mod erasure;
mod error;
mod events;
mod fields;
mod grpc;
mod profile;
mod profiles;
mod serve;
mod service;
#[cfg(test)]
mod test_servers;
mod username;

use config::{Args, Command};

const NAME: &str = "profile-svc";

fn main() -> ExitCode {
    chassis::process::use_small_pages();
    let args: Args = chassis::config::parse();
    match args.command {
        Some(Command::Migrate) => {
            chassis::process::run_once(NAME, &args.service, || serve::migrate(&args.database_url))
        }
        None => {
            let (service, listen) = (args.service.clone(), args.listen);
            chassis::process::run(NAME, &service, listen, |process| serve::serve(args, process))
        }
    }
}
