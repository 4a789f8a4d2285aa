//! What the tests stand guard over: for each rule that a race could break, the code that keeps it, and the test that has to fail when
//! that code is taken out. `make guards` takes them out one by one.

use anyhow::ensure;

/// One guard.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    pub rule: &'static str,
    /// From the project's folder.
    pub file: &'static str,
    /// The code that keeps the rule. It stands in the file once.
    pub code: &'static str,
    /// What stands there when it is taken out.
    pub without: &'static str,
    pub kind: Kind,
    /// The test that misses it, as the test runner knows it.
    pub test: &'static str,
}

/// Where a test is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Beside the code.
    InPlace { package: &'static str },
    /// Over real processes.
    EndToEnd,
}

const AUTH: Kind = Kind::InPlace { package: "auth-svc" };

pub const GUARDS: &[Guard] = &[
    Guard {
        rule: "a renewal updates and never inserts",
        file: "auth-svc/src/sessions/renew.lua",
        code: "if not held[1] or not held[2] or string.sub(held[2], 1, 16) ~= ARGV[2] then\n  return 0\nend\n",
        without: "local fresh = redis.call('TIME')\n\
                  local stamp = tonumber(fresh[1]) * 1000 - EPOCH\n\
                  held[2] = held[2] or ARGV[2] .. struct.pack('>I5I5I4', stamp, stamp, tonumber(held[1] or '1'))\n\
                  held[1] = held[1] or '1'\n\
                  redis.call('HSETNX', KEYS[1], 'g', held[1])\n",
        kind: Kind::EndToEnd,
        test: "logout::no_renewal_in_flight_brings_a_session_back",
    },
    Guard {
        rule: "a login reads the generation again before it answers",
        file: "auth-svc/src/service.rs",
        code: "Ok(Some(current)) if current == generation => {}",
        without: "Ok(Some(_)) => {}",
        kind: AUTH,
        test: "a_login_that_verified_old_credentials_gets_no_session",
    },
    Guard {
        rule: "redis refuses a session of an older generation",
        file: "auth-svc/src/sessions/create.lua",
        code: "if current > generation then\n  return { 0, {} }\nend\n",
        without: "",
        kind: AUTH,
        test: "a_login_of_an_older_generation_is_refused_and_a_newer_one_ends_the_rest",
    },
    Guard {
        rule: "a validation compares the generation",
        file: "auth-svc/src/sessions.rs",
        code: ".filter(|stored| stored.proves(&digest) && Some(stored.generation) == generation)",
        without: ".filter(|stored| stored.proves(&digest) && (generation.is_some() || generation.is_none()))",
        kind: Kind::EndToEnd,
        test: "revocations::without_the_key_of_a_users_sessions_nobody_survives_the_end_of_all",
    },
    Guard {
        rule: "an order that comes late ends nothing newer",
        file: "auth-svc/src/sessions/end_all.lua",
        code: "local late = generation > 0 and current >= generation",
        without: "local late = false",
        kind: AUTH,
        test: "an_order_that_stayed_is_carried_out_and_ends_nothing_newer",
    },
    Guard {
        rule: "an order that overtakes another keeps nothing that the other ends",
        file: "auth-svc/src/sessions/end_all.lua",
        code: "and (generation == 0 or its_generation == generation - 1)",
        without: "",
        kind: AUTH,
        test: "an_order_that_overtakes_another_keeps_no_session_that_the_other_ends",
    },
    Guard {
        rule: "a password change ends sessions before it is acknowledged",
        file: "auth-svc/src/service.rs",
        code: "self.revocations.carry_out(Revocation { user_id, generation, kept }).await",
        without: "{ let _ = (generation, kept); Ok(()) }",
        kind: Kind::EndToEnd,
        test: "revocations::of_ten_thousand_endings_of_every_kind_none_is_undone_by_what_is_in_flight",
    },
    Guard {
        rule: "an end of all ends all",
        file: "auth-svc/src/sessions/end_all.lua",
        code: "      redis.call('HDEL', KEYS[1], name)\n",
        without: "      if ended < 2 then redis.call('HDEL', KEYS[1], name) end\n",
        kind: AUTH,
        test: "at_each_quiet_point_the_list_is_the_set_that_authenticates",
    },
    Guard {
        rule: "a replica that Sentinels lost sight of has to confirm the end of a session",
        file: "chassis/src/redis/sentinel.rs",
        code: "!has_flag(replica, &[\"s_down\"])",
        without: "!has_flag(replica, &[\"s_down\", \"disconnected\"])",
        kind: Kind::EndToEnd,
        test: "topologies::a_replica_that_is_out_of_sight_still_has_to_confirm_a_logout",
    },
    Guard {
        rule: "a database connection whose caller went away is used no more",
        file: "chassis/src/postgres.rs",
        code: "drop(connection.detach());",
        without: "drop(connection);",
        kind: Kind::InPlace { package: "profile-svc" },
        test: "a_transaction_that_was_abandoned_takes_no_later_change_with_it",
    },
    Guard {
        rule: "a migration that waits for a lock keeps nobody waiting",
        file: "chassis/src/postgres.rs",
        code: "lock_timeout = '200ms'",
        without: "lock_timeout = 0",
        kind: Kind::InPlace { package: "profile-svc" },
        test: "a_migration_that_has_to_wait_keeps_nobody_waiting",
    },
    Guard {
        rule: "no database connection from before an outage is used after it",
        file: "chassis/src/postgres.rs",
        code: "if !outage.trusts(meta.age) {\n                        return Ok(false);\n                    }\n",
        without: "",
        kind: Kind::EndToEnd,
        test: "failover::after_a_failover_nobody_asks_the_server_that_was_replaced",
    },
];

impl Guard {
    /// The file without the guard.
    ///
    /// # Errors
    /// The code does not stand there, or more than once: the list is out of date.
    pub fn removed_from(&self, whole: &str) -> anyhow::Result<String> {
        let found = whole.matches(self.code).count();
        ensure!(found == 1, "{}: stands {found} times in {}", self.rule, self.file);
        Ok(whole.replace(self.code, self.without))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_stands_where_the_list_says() {
        for guard in GUARDS {
            let path = format!("{}/../{}", env!("CARGO_MANIFEST_DIR"), guard.file);
            let whole = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            guard.removed_from(&whole).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
