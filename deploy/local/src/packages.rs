//! Finds PostgreSQL and Redis on this machine, or has the system's package manager install them. Configures nothing:
//! the servers we run are private instances, whatever the packages set up besides.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::output::say;
use crate::postgres::Programs;
use crate::{process, redis, sys};

/// How long a package manager may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// A package manager, and what the two servers are called in it.
struct Manager {
    program: &'static str,
    postgres: &'static str,
    redis: &'static str,
    /// Run first: fetches the lists of packages, without which some find nothing.
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    /// Installs for the whole system, so root has to.
    needs_root: bool,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        postgres: "postgresql",
        redis: "redis-server",
        refresh: Some(&["update", "-qq"]),
        install: &["install", "-y", "-qq", "--no-install-recommends"],
        needs_root: true,
    },
    Manager {
        program: "dnf",
        postgres: "postgresql-server",
        redis: "redis",
        refresh: None,
        install: &["install", "-y"],
        needs_root: true,
    },
    Manager {
        program: "apk",
        postgres: "postgresql",
        redis: "redis",
        refresh: None,
        install: &["add", "--no-cache"],
        needs_root: true,
    },
    Manager {
        program: "pacman",
        postgres: "postgresql",
        redis: "valkey",
        refresh: None,
        install: &["-Sy", "--noconfirm", "--needed"],
        needs_root: true,
    },
    Manager {
        program: "brew",
        postgres: "postgresql@17",
        redis: "redis",
        refresh: None,
        install: &["install"],
        needs_root: false,
    },
];

/// How we may act on the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authority {
    Root,
    Sudo,
    None,
}

/// Makes sure that both servers are installed. Says what it does; when it may not, fails with the command to run.
pub fn ensure() -> anyhow::Result<()> {
    let (postgres, redis) = (Programs::find().is_some(), redis::find().is_some());
    if postgres && redis {
        return Ok(());
    }
    let wanted = match (postgres, redis) {
        (false, false) => "PostgreSQL 14 and Redis 7 (or newer) are",
        (false, true) => "PostgreSQL 14 (or newer) is",
        _ => "Redis 7 (or newer) is",
    };
    let Some(manager) = MANAGERS.iter().find(|manager| succeeds(manager.program, "--version")) else {
        anyhow::bail!("{wanted} not installed, and no package manager known here was found: please install");
    };
    let authority = match () {
        () if sys::is_root() => Authority::Root,
        () if !manager.needs_root || succeeds("sudo", "-n true") => Authority::Sudo,
        () => Authority::None,
    };
    let commands = manager.commands(!postgres, !redis, authority);
    if authority == Authority::None {
        anyhow::bail!("{wanted} not installed. Run this, then try again:\n  {}", commands.join(" && "));
    }
    say(&format!("{wanted} not installed. What the packages start by themselves is not touched or used."));
    for line in commands {
        say(&format!("Running: {line}"));
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        process::run(command, INSTALL_LIMIT).with_context(|| format!("failed: {line}"))?;
    }
    anyhow::ensure!(
        Programs::find().is_some() && redis::find().is_some(),
        "{wanted} still not to be found: {} may have too old a version",
        manager.program
    );
    Ok(())
}

impl Manager {
    /// The shell commands that install what is missing.
    fn commands(&self, postgres: bool, redis: bool, authority: Authority) -> Vec<String> {
        let prefix = match authority {
            _ if !self.needs_root => "",
            Authority::Root => "",
            Authority::Sudo => "sudo -n ",
            Authority::None => "sudo ",
        };
        let packages = [(postgres, self.postgres), (redis, self.redis)];
        let packages = packages.iter().filter(|(missing, _)| *missing).map(|(_, package)| *package);
        let install: Vec<&str> = self.install.iter().copied().chain(packages).collect();
        let steps = self.refresh.map(|args| args.join(" ")).into_iter().chain([install.join(" ")]);
        steps.map(|args| format!("{prefix}{} {args}", self.program)).collect()
    }
}

fn succeeds(program: &str, args: &str) -> bool {
    let mut command = Command::new(program);
    command.args(args.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed_with_no_more_authority_than_there_is() {
        let [apt, .., brew] = &MANAGERS;
        assert_eq!(
            apt.commands(true, true, Authority::Root),
            ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends postgresql redis-server"]
        );
        assert_eq!(
            apt.commands(false, true, Authority::Sudo).last().map(String::as_str),
            Some("sudo -n apt-get install -y -qq --no-install-recommends redis-server")
        );
        assert_eq!(brew.commands(true, false, Authority::Sudo), ["brew install postgresql@17"]);
    }
}
