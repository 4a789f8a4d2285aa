//! The command `local`: picks a subcommand. What the subcommands do is the library's.

use std::process::ExitCode;

use clap::Parser;

/// Runs Sallyport on this machine. `make help` lists the ways it is used.
#[derive(Parser)]
#[command(version)]
enum Cli {
    /// Run everything on this machine until Ctrl-C.
    Up(local::up::Args),
    /// Delete the data of `up`.
    Reset(local::reset::Args),
    /// Make sure that PostgreSQL and Redis are installed.
    Install {
        /// And libfaketime, for tests whose clocks differ.
        #[arg(long)]
        faketime: bool,
    },
    /// Run a command beside temporary PostgreSQL and Redis servers, told by TEST_POSTGRES_URL,
    /// TEST_STATE_REDIS_URL, TEST_CACHE_REDIS_URL and TEST_CLUSTER_REDIS_URL.
    WithServers(local::with_servers::Args),
    /// Write the query files that let the services compile without a database, or check them.
    SqlxData(local::sqlx_data::Args),
    /// Hold the source to the architecture: who depends on whom, what a layer may name, how long a file may be.
    CheckLayers(local::layers::Args),
    /// Run buf, the linter of protocol files, fetching it when it is not on PATH.
    Buf(local::buf::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli::Up(args) => local::up::run(args),
        Cli::Reset(args) => local::reset::run(&args),
        Cli::Install { faketime: false } => local::packages::ensure_servers(),
        Cli::Install { faketime: true } => local::packages::ensure_servers_and_faketime(),
        Cli::WithServers(args) => return local::with_servers::run(args).unwrap_or_else(failure),
        Cli::SqlxData(args) => local::sqlx_data::run(&args),
        Cli::CheckLayers(args) => local::layers::run(&args),
        Cli::Buf(args) => local::buf::run(&args),
    };
    done.map_or_else(failure, |()| ExitCode::SUCCESS)
}

fn failure(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
