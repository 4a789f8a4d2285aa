//! The command `local`: picks a subcommand. What the subcommands do is the library's.

use std::process::ExitCode;

use clap::Parser;

/// Runs Sallyport on this machine. `make help` lists the ways it is used.
#[derive(Parser)]
#[command(version)]
enum Cli {
    /// Run a command beside temporary PostgreSQL and Redis servers, told by TEST_POSTGRES_URL,
    /// TEST_STATE_REDIS_URL and TEST_CACHE_REDIS_URL.
    WithServers(local::with_servers::Args),
    /// Write the query files that let the services compile without a database, or check them.
    SqlxData(local::sqlx_data::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse() {
        Cli::WithServers(args) => return local::with_servers::run(args),
        Cli::SqlxData(args) => local::sqlx_data::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
