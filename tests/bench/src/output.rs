//! What the benchmark says while it runs.

use std::io::Write as _;

/// Prints a line. Nobody may be reading any more; the work goes on all the same.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
