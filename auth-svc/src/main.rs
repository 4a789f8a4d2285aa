//! The authentication service: users, passwords and sessions, over gRPC.

use std::process::ExitCode;

mod audit;
mod config;
mod devices;
mod erasure;
mod error;
mod expiry;
mod grpc;
mod hasher;
mod mail;
mod outbox;
mod password;
mod pepper;
mod registration_keys;
mod relay;
mod revocations;
mod serve;
mod service;
mod session_clients;
mod sessions;
#[cfg(test)]
mod test_servers;
mod token;
mod user_cache;
mod username;
mod users;

use config::{Args, Command};
use pepper::Peppers;

const NAME: &str = "auth-svc";

fn main() -> ExitCode {
    chassis::process::use_small_pages();
    let args: Args = chassis::config::parse();
    match args.command {
        Some(Command::Migrate) => {
            chassis::process::run_once(NAME, &args.service, || serve::migrate(&args.database_url))
        }
        Some(Command::Audit(command)) => {
            chassis::process::run_once(NAME, &args.service, || serve::audit(&args.database_url, command))
        }
        None => {
            let (service, listen) = (args.service.clone(), args.listen);
            let peppers = args.passwords.password_pepper_file.as_deref().map(Peppers::read).transpose();
            let peppers = peppers.unwrap_or_else(|error| chassis::config::refuse(&error.to_string()));
            let peppers = peppers.unwrap_or_default();
            chassis::process::run(NAME, &service, listen, |process| serve::serve(args, peppers, process))
        }
    }
}
