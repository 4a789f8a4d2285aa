//! The README's session, as a script whose expectations are checked.
//!
//! The README marks it with an HTML comment and a fenced block of shell after it. In the block a line `#=> text` states that
//! `text` is in the output of the commands since the statement before.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

const MARK: &str = "<!-- curl session -->";
const STATEMENT: &str = "#=> ";
/// The address that the README uses.
const ADDRESS: &str = "http://127.0.0.1:8080";
/// Where the README finds mails.
const MAILS: &str = ".local/mail";
/// Printed where a statement stands.
const SEPARATOR: &str = "@@@ statement";

/// A script and what it says about its own output.
#[derive(Debug)]
pub struct CurlSession {
    script: String,
    statements: Vec<String>,
}

impl CurlSession {
    /// Finds the session in a Markdown text.
    pub fn of(markdown: &str) -> anyhow::Result<Self> {
        let (_, rest) = markdown.split_once(MARK).context("there is no session")?;
        let rest = rest.trim_start().strip_prefix("```sh\n").context("the session is no block of sh")?;
        let (block, _) = rest.split_once("\n```").context("the session has no end")?;
        let (mut script, mut statements) = (String::new(), Vec::new());
        for line in block.lines() {
            if let Some(statement) = line.strip_prefix(STATEMENT) {
                statements.push(statement.trim().to_owned());
                script.extend(["printf '\\n%s\\n' '", SEPARATOR, "'\n"]);
            } else {
                script.push_str(line);
                script.push('\n');
            }
        }
        ensure!(!statements.is_empty(), "the session states nothing");
        Ok(Self { script, statements })
    }

    /// How many statements it makes.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Runs it against a gateway whose mails are in a folder, and checks every statement.
    pub fn run(&self, gateway: &str, mails: &Path) -> anyhow::Result<()> {
        ensure!(self.script.contains(ADDRESS), "the session does not speak to {ADDRESS}");
        let script = self.script.replace(ADDRESS, gateway).replace(MAILS, &mails.display().to_string());
        let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output();
        let output = output.context("cannot run bash")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "it failed: {complaints}\n{said}");
        let parts: Vec<_> = said.split(&format!("\n{SEPARATOR}\n")).collect();
        ensure!(parts.len() == self.statements.len() + 1, "it ended before its last statement: {said}");
        for (statement, part) in self.statements.iter().zip(parts) {
            ensure!(part.contains(statement), "`{statement}` is not in: {part}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(block: &str) -> anyhow::Result<()> {
        let markdown = format!("# Title\n{MARK}\n```sh\nAPI={ADDRESS}\n{block}\n```\nText\n");
        CurlSession::of(&markdown)?.run("http://gateway", Path::new("/tmp"))
    }

    #[test]
    fn each_statement_is_about_the_commands_before_it() {
        run("echo $API/one\n#=> http://gateway/one\necho two\n#=> two").unwrap();
        assert!(run("echo one\n#=> one\necho two\n#=> one").is_err());
        assert!(run("echo one\n#=> two").is_err());
    }

    #[test]
    fn a_command_that_fails_fails_the_session() {
        assert!(run("false\necho one\n#=> one").is_err());
        assert!(CurlSession::of("# no session").is_err());
    }
}
