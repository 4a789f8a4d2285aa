//! Finds PostgreSQL, Redis and what tests need besides on this machine, or has the system's package manager install them. Configures
//! nothing: the servers we run are private instances, whatever the packages set up besides.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::output::say;
use crate::postgres::Programs;
use crate::{faketime, process, redis, sys};

/// How long a package manager may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// A package manager, and what the packages are called in it.
struct Manager {
    program: &'static str,
    postgres: &'static str,
    redis: &'static str,
    faketime: &'static str,
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
        faketime: "libfaketime",
        refresh: Some(&["update", "-qq"]),
        install: &["install", "-y", "-qq", "--no-install-recommends"],
        needs_root: true,
    },
    Manager {
        program: "dnf",
        postgres: "postgresql-server",
        redis: "redis",
        faketime: "libfaketime",
        refresh: None,
        install: &["install", "-y"],
        needs_root: true,
    },
    Manager {
        program: "apk",
        postgres: "postgresql",
        redis: "redis",
        faketime: "libfaketime",
        refresh: None,
        install: &["add", "--no-cache"],
        needs_root: true,
    },
    Manager {
        program: "pacman",
        postgres: "postgresql",
        redis: "valkey",
        faketime: "libfaketime",
        refresh: None,
        install: &["-Sy", "--noconfirm", "--needed"],
        needs_root: true,
    },
    Manager {
        program: "brew",
        postgres: "postgresql@17",
        redis: "redis",
        faketime: "libfaketime",
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

/// A package that may be missing.
struct Package {
    what: &'static str,
    is_installed: fn() -> bool,
    name: fn(&Manager) -> &'static str,
}

const POSTGRES: Package = Package {
    what: "PostgreSQL 14 or newer",
    is_installed: || Programs::find().is_some(),
    name: |manager| manager.postgres,
};
const REDIS: Package = Package {
    what: "Redis 7 or newer",
    is_installed: || redis::find().is_some(),
    name: |manager| manager.redis,
};
const FAKETIME: Package = Package {
    what: "libfaketime",
    is_installed: || faketime::library().is_some(),
    name: |manager| manager.faketime,
};

/// Makes sure that both servers are installed. Says what it does; when it may not, fails with the command to run.
pub fn ensure_servers() -> anyhow::Result<()> {
    ensure(vec![POSTGRES, REDIS])
}

/// The same, and libfaketime.
pub fn ensure_servers_and_faketime() -> anyhow::Result<()> {
    ensure(vec![POSTGRES, REDIS, FAKETIME])
}

fn ensure(mut missing: Vec<Package>) -> anyhow::Result<()> {
    missing.retain(|package| !(package.is_installed)());
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.iter().map(|package| package.what).collect::<Vec<_>>().join(", ");
    let Some(manager) = MANAGERS.iter().find(|manager| succeeds(manager.program, "--version")) else {
        anyhow::bail!("not installed: {wanted}. No package manager known here was found: please install");
    };
    let authority = match () {
        () if sys::is_root() => Authority::Root,
        () if !manager.needs_root || succeeds("sudo", "-n true") => Authority::Sudo,
        () => Authority::None,
    };
    let commands = manager.commands(&missing, authority);
    if authority == Authority::None {
        anyhow::bail!("not installed: {wanted}. Run this, then try again:\n  {}", commands.join(" && "));
    }
    say(&format!("Not installed: {wanted}. What the packages start by themselves is not touched or used."));
    for line in commands {
        say(&format!("Running: {line}"));
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        process::run(command, INSTALL_LIMIT).with_context(|| format!("failed: {line}"))?;
    }
    anyhow::ensure!(
        missing.iter().all(|package| (package.is_installed)()),
        "still not to be found: {wanted}. {} may have too old a version",
        manager.program
    );
    Ok(())
}

impl Manager {
    /// The shell commands that install what is missing.
    fn commands(&self, missing: &[Package], authority: Authority) -> Vec<String> {
        let prefix = match authority {
            _ if !self.needs_root => "",
            Authority::Root => "",
            Authority::Sudo => "sudo -n ",
            Authority::None => "sudo ",
        };
        let packages = missing.iter().map(|package| (package.name)(self));
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
            apt.commands(&[POSTGRES, REDIS], Authority::Root),
            ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends postgresql redis-server"]
        );
        assert_eq!(
            apt.commands(&[REDIS], Authority::Sudo).last().map(String::as_str),
            Some("sudo -n apt-get install -y -qq --no-install-recommends redis-server")
        );
        assert_eq!(brew.commands(&[POSTGRES], Authority::Sudo), ["brew install postgresql@17"]);
    }
}
