//! The command `bench`: measures Sallyport beside others that do the same work. What it does is the modules'.

use std::process::ExitCode;

use clap::Parser;

mod argon;
mod bench;
mod collector;
mod contestants;
mod histogram;
mod load;
mod machine;
mod output;
mod people;
mod processes;
mod ready_printer;
mod report;
mod results;
mod run;
mod scenarios;
mod seed;
mod walkthrough;
mod world;

/// Measures Sallyport beside Express, Fastify and a monolith.
#[derive(Parser)]
#[command(version)]
enum Cli {
    /// Measure, judge and write the report.
    Run(run::Args),
    /// Check in seconds that every contestant answers correctly in every scenario; judge no times.
    Check,
    /// The trace collector that the benchmark starts for itself.
    #[command(hide = true)]
    CollectTraces(collector::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli::Run(args) => run::run(args).await,
        Cli::Check => run::check().await,
        Cli::CollectTraces(args) => collector::serve(&args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
