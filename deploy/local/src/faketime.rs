//! Finds libfaketime, which tells a process another time than that of the machine.

use std::path::{Path, PathBuf};

/// Where Debian (for each architecture), Fedora, Alpine and Arch put it.
const FOLDERS: [&str; 3] = ["/usr/lib64", "/usr/lib", "/usr/local/lib"];

/// The one for programs with threads, to be named in `LD_PRELOAD`.
const NAME: &str = "faketime/libfaketimeMT.so.1";

/// `None` when it is not installed.
pub fn library() -> Option<PathBuf> {
    FOLDERS.iter().map(Path::new).find_map(|folder| {
        let within = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        within.chain([folder.to_owned()]).map(|folder| folder.join(NAME)).find(|library| library.exists())
    })
}
