//! What the programs we start print: kept for failure reports and tests, and shown with a prefix when asked.
//! Interprets nothing.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines kept of a program that may run for days.
const LAST_LINES: usize = 200;

/// Prints a line. Nobody may be reading any more (a closed terminal); the work goes on all the same.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One program's output, stdout and stderr in the order they were written. Clones share it.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    prefix: Option<String>,
    limit: usize,
    lines: Mutex<VecDeque<String>>,
}

impl Output {
    /// Keeps every line and shows none. For tests and short commands.
    pub fn kept() -> Self {
        Self::new(None, usize::MAX)
    }

    /// Shows each line on stdout behind `prefix`, and keeps the last 200.
    pub fn shown(prefix: impl Into<String>) -> Self {
        Self::new(Some(prefix.into()), LAST_LINES)
    }

    /// Keeps the last 200 lines and shows none.
    pub fn hidden() -> Self {
        Self::new(None, LAST_LINES)
    }

    fn new(prefix: Option<String>, limit: usize) -> Self {
        Self { shared: Arc::new(Shared { prefix, limit, lines: Mutex::default() }) }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.shared.prefix.is_none()
    }

    /// The lines kept so far, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.locked().iter().cloned().collect()
    }

    /// The last `count` lines as one indented block, for error messages.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.locked();
        let last = lines.iter().skip(lines.len().saturating_sub(count));
        last.flat_map(|line| ["\n    ", line]).collect()
    }

    /// Reads `source` to its end.
    pub(crate) fn read_from(&self, source: impl Read) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            self.push(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }

    fn push(&self, line: &str) {
        if let Some(prefix) = &self.shared.prefix {
            say(&format!("{prefix}{line}"));
        }
        let mut lines = self.locked();
        if lines.len() >= self.shared.limit {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
