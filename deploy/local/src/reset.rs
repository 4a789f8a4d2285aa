//! `local reset`: deletes the data of `local up`.

use std::path::PathBuf;

use crate::folder::LocalFolder;
use crate::output::say;

#[derive(clap::Args)]
pub struct Args {
    /// The folder of all data.
    #[arg(long, env = "LOCAL_FOLDER", default_value = ".local")]
    folder: PathBuf,
}

/// Refuses while `up` runs.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.folder.exists() {
        LocalFolder::take(&args.folder)?.delete_data()?;
    } else {
        say("There is no data.");
    }
    Ok(())
}
