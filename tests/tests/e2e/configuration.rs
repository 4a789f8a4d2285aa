//! A configuration that cannot work ends a process at once, with one line that says what to change.

use std::net::TcpListener;

use tests::binary::run;
use tests::stack::Part;

/// `EX_USAGE` of sysexits.h.
const EX_USAGE: i32 = 64;

/// Flag, variable, and values that cannot be meant.
type Wrong = (&'static str, &'static str, &'static [&'static str]);

const OF_ALL: [Wrong; 8] = [
    ("--listen", "LISTEN", &["nowhere", "127.0.0.1", "127.0.0.1:99999", ""]),
    ("--admin-listen", "ADMIN_LISTEN", &["localhost"]),
    ("--drain-delay-ms", "DRAIN_DELAY_MS", &["soon", "-1"]),
    ("--log-format", "LOG_FORMAT", &["xml"]),
    ("--log", "RUST_LOG", &["info,gateway=loud", "=="]),
    ("--otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", &["127.0.0.1:4317", "https://127.0.0.1:4317"]),
    ("--trace-sample-ratio", "OTEL_TRACES_SAMPLER_ARG", &["2", "-0.1", "NaN", "all"]),
    ("--trace-export-delay-ms", "OTEL_BSP_SCHEDULE_DELAY", &["5s", "0"]),
];

const OF_GATEWAY: [Wrong; 9] = [
    (
        "--auth-endpoints",
        "AUTH_ENDPOINTS",
        &["", "nowhere", "127.0.0.1:0:0", "http://127.0.0.1:1", "dns:///name"],
    ),
    ("--profile-endpoints", "PROFILE_ENDPOINTS", &["nowhere"]),
    (
        "--cache-redis-url",
        "CACHE_REDIS_URL",
        &["http://127.0.0.1", "127.0.0.1:6379", "redis+cluster://a:1,,b:2"],
    ),
    ("--trusted-proxies", "TRUSTED_PROXIES", &["10.0.0.0/33", "example.com"]),
    ("--cors-origins", "CORS_ORIGINS", &["*", "app.example.com", "https://app.example.com/path"]),
    ("--rate-limits", "RATE_LIMITS", &["sometimes"]),
    ("--limit-login-ip", "LIMIT_LOGIN_IP", &["0/60", "10", "10/0", "ten/60"]),
    ("--limit-api", "LIMIT_API", &["-1/60"]),
    ("--body-limit-bytes", "BODY_LIMIT_BYTES", &["64k"]),
];

const OF_AUTH: [Wrong; 7] = [
    ("--database-url", "DATABASE_URL", &["mysql://127.0.0.1/auth", "nowhere"]),
    ("--state-redis-url", "STATE_REDIS_URL", &["http://127.0.0.1", "redis+sentinel://127.0.0.1:26379"]),
    ("--hash-threads", "HASH_THREADS", &["0", "1000"]),
    ("--hash-queue", "HASH_QUEUE", &["0"]),
    ("--password-min-length", "PASSWORD_MIN_LENGTH", &["7", "257"]),
    ("--audit-retention-days", "AUDIT_RETENTION_DAYS", &["0", "for ever"]),
    ("--session-idle-seconds", "SESSION_IDLE_SECONDS", &["0", "a while"]),
];

const OF_PROFILE: [Wrong; 3] = [
    ("--database-url", "DATABASE_URL", &["mysql://127.0.0.1/profile"]),
    ("--cache-redis-url", "CACHE_REDIS_URL", &["nowhere"]),
    ("--cache-ttl-seconds", "CACHE_TTL_SECONDS", &["0", "for ever"]),
];

fn wrong_configurations(part: Part) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let own: &[Wrong] = match part {
        Part::Gateway => &OF_GATEWAY,
        Part::Auth => &OF_AUTH,
        Part::Profile => &OF_PROFILE,
    };
    let all = OF_ALL.iter().chain(own);
    all.flat_map(|(flag, variable, values)| values.iter().map(move |value| (*flag, *variable, *value)))
}

/// One line, on stderr, that names the flag; nothing else.
#[track_caller]
fn assert_refused(part: Part, arguments: &[&str], variables: &[(&str, &str)], named: &str) {
    // Whoever bound first would complain about the port instead.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = run(part, arguments, &[&[("LISTEN", address.as_str())], variables].concat());
    let what = format!("{part:?} {arguments:?} {variables:?}: {run:?}");
    assert_eq!(run.code, Some(EX_USAGE), "{what}");
    assert_eq!(run.stdout, "", "{what}");
    assert!(run.stderr.ends_with('\n') && run.stderr.lines().count() == 1, "{what}");
    assert!(run.stderr.contains(named), "{what}");
}

#[test]
fn a_wrong_flag_or_variable_exits_64_with_one_line_that_names_it() {
    for part in Part::ALL {
        for (flag, variable, value) in wrong_configurations(part) {
            assert_refused(part, &[&format!("{flag}={value}")], &[], flag);
            assert_refused(part, &[], &[(variable, value)], flag);
        }
        assert_refused(part, &["--no-such-flag"], &[], "--no-such-flag");
        assert_refused(part, &["no-such-command"], &[], "no-such-command");
        assert_refused(part, &["--otlp-endpoint=nowhere"], &[], "--otlp-endpoint");
    }
}

#[test]
fn a_port_that_is_taken_is_told_and_is_no_configuration() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for part in Part::ALL {
        let run = run(part, &["--listen", &address], &[]);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!((run.stdout + &run.stderr).contains(&address));
    }
}

/// The flags that `--help` lists, each with everything that is said about it.
fn documented_flags(help: &str) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let trimmed = line.trim_start();
        let flag = trimmed
            .split_once("--")
            .filter(|(before, _)| before.is_empty() || *before == "-h, " || *before == "-V, ");
        if let Some((_, rest)) = flag {
            let name = rest.split([' ', '=']).next().unwrap_or_default();
            flags.push((format!("--{name}"), trimmed.to_owned()));
        } else if let Some((_, about)) = flags.last_mut() {
            about.push(' ');
            about.push_str(trimmed);
        }
    }
    flags
}

#[test]
fn help_documents_every_flag_with_its_variable() {
    for part in Part::ALL {
        let run = run(part, &["--help"], &[]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{part:?}");
        let flags = documented_flags(&run.stdout);
        for (flag, variable, _) in wrong_configurations(part) {
            let documented = flags.iter().find(|(name, _)| name == flag);
            let (_, about) = documented.unwrap_or_else(|| panic!("{part:?} does not document {flag}"));
            assert!(about.contains(&format!("[env: {variable}")), "{about}");
        }
        for (flag, about) in flags.iter().filter(|(flag, _)| !matches!(flag.as_str(), "--help" | "--version"))
        {
            let (_, variable) =
                about.split_once("[env: ").unwrap_or_else(|| panic!("{flag} has no variable: {about}"));
            let variable = variable.split(['=', ']']).next().unwrap();
            assert!(variable.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{about}");
            let sentence = about.split_once("> ").map_or("", |(_, text)| text.trim_start());
            assert!(sentence.len() > 20 && !sentence.starts_with('['), "{flag} is not described: {about}");
        }
    }
}

#[test]
fn help_shows_no_secret_of_the_environment() {
    let url = "postgres://sallyport:hush-hush@127.0.0.1/auth";
    for part in [Part::Auth, Part::Profile] {
        let run =
            run(part, &["--help"], &[("DATABASE_URL", url), ("STATE_REDIS_URL", "redis://:hush-hush@a")]);
        assert!(run.code == Some(0) && !run.stdout.contains("hush-hush"), "{}", run.stdout);
    }
    for (part, variable) in
        [(Part::Gateway, "CACHE_REDIS_URL"), (Part::Gateway, "REDIS_URL"), (Part::Profile, "CACHE_REDIS_URL")]
    {
        let run = run(part, &["--help"], &[(variable, "redis://:hush-hush@127.0.0.1")]);
        assert!(run.code == Some(0) && !run.stdout.contains("hush-hush"), "{variable}: {}", run.stdout);
    }
}

#[test]
fn version_is_told() {
    for part in Part::ALL {
        let run = run(part, &["--version"], &[]);
        assert_eq!(run.code, Some(0));
        assert!(run.stdout.starts_with(part.binary()), "{run:?}");
    }
}
