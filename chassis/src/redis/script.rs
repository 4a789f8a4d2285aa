//! Lua scripts that run on the server, each about one key, or several in one cluster slot.

use redis::{Arg, Cmd, ToRedisArgs};

/// A script. Servers that do not know it are told it.
#[derive(Debug, Clone)]
pub struct Script {
    code: String,
    hash: String,
}

impl Script {
    pub fn new(code: &str) -> Self {
        Self { code: code.to_owned(), hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Prepares a call with `key` as its `KEYS[1]`, which also tells where it runs.
    pub fn key(&self, key: impl AsRef<str>) -> Invocation<'_> {
        self.keys(key, &[])
    }

    /// The same with further keys, which have to be in the same cluster slot.
    pub fn keys(&self, key: impl AsRef<str>, others: &[&str]) -> Invocation<'_> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(1 + others.len()).arg(key.as_ref()).arg(others);
        Invocation { script: self, command }
    }
}

/// A script with its key and arguments.
#[derive(Debug, Clone)]
pub struct Invocation<'s> {
    script: &'s Script,
    command: Cmd,
}

impl Invocation<'_> {
    /// Adds to `ARGV`.
    pub fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub(super) fn key(&self) -> &[u8] {
        match self.command.args_iter().nth(3) {
            Some(Arg::Simple(key)) => key,
            _ => &[],
        }
    }

    /// Runs it by its hash.
    pub(super) fn command(&self) -> &Cmd {
        &self.command
    }

    /// Tells the server the script.
    pub(super) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(&self.script.code);
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_knows_its_key() {
        let script = Script::new("return 1");
        let mut call = script.key("s:{1}");
        call.arg("a").arg(2);
        assert_eq!(call.key(), b"s:{1}");
        assert_eq!(script.keys("s:{1}", &["t:{1}"]).key(), b"s:{1}");
    }
}
