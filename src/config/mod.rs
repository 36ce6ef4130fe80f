//! Validates the parsed args and builds the configuration of each subcommand. All faults are found before anything
//! starts, and are reported together.
//!
//! There is one file for each group of flags; `values` parses single values.

mod channel;
mod faults;
mod groups;
mod sampling;
mod servers;
mod values;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::announce;
use crate::cli::{CheckArgs, GroupArgs, HealthyArgs, RedisArgs, ServeArgs, WatchArgs};
use crate::discovery::{DiscoverySettings, Target};
use crate::group_file::GroupFile;
use crate::key_file::KeyFile;
use crate::machine::Machine;
use crate::sampler::Budget;
use crate::snapshot::{Grouping, Limits};
use crate::status::Key;
use crate::targets_file::TargetsFile;
use crate::watcher::RemoteUse;
use crate::web::{ConfigFile, PagePolicy};

pub use faults::Faults;

use channel::{announcing, channel, key_file, keys, remote};
use groups::{grouping, limits, network_prefix};
use sampling::budget;
use servers::{discovery, targets};
use web::{external_url, listen, pages, telemetry_path, web_config};

/// The configuration of `serve`.
#[derive(Debug)]
pub struct ServeConfig {
    /// The servers to watch.
    pub targets: Vec<Target>,
    /// The file from which some of them are, if there is one.
    pub targets_file: Option<TargetsFile>,
    /// The settings for finding the nodes of targets.
    pub discovery: DiscoverySettings,
    /// Grouping, thresholds and bounds for deriving snapshots.
    pub limits: Limits,
    /// The file with the operator's grouping rules, if there is one.
    pub group_file: Option<GroupFile>,
    /// The limits of sampling.
    pub budget: Budget,
    /// The memory for replies and received statuses of all servers, in bytes.
    pub max_memory: u64,
    /// Settings for announcing and receiving statuses.
    pub announce: announce::AnnounceSettings,
    /// The file with the keys of the channel, if there is one.
    pub key_file: Option<KeyFile>,
    /// The use of statuses of other exporters.
    pub remote: RemoteUse,
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// The URL of the pages for browsers, if it was given.
    pub external_url: Option<String>,
    /// Access to the pages and the API.
    pub pages: PagePolicy,
    /// The file with TLS, users and headers, if there is one.
    pub web_config: Option<ConfigFile>,
}

impl ServeConfig {
    /// Builds the configuration from the args.
    ///
    /// # Errors
    /// All faults of the args.
    pub fn new(args: &ServeArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let (grouping, group_file) = grouping(&args.group, &mut faults);
        let (keys, key_file) = key_file(&args.announce, &mut faults);
        let (targets, targets_file) = targets(&args.redis, &Machine::read(), &mut faults);
        let config = Self {
            targets,
            targets_file,
            discovery: discovery(&args.redis.discovery, &mut faults),
            limits: limits(args, grouping, &mut faults),
            group_file,
            budget: budget(&args.sample, &mut faults),
            max_memory: sampling::max_memory(&args.sample, &mut faults),
            announce: announcing(args, keys, &mut faults),
            key_file,
            remote: remote(&args.announce),
            listen: listen(&args.web.listen, &mut faults),
            telemetry_path: telemetry_path(&args.web, &mut faults),
            external_url: external_url(&args.web, &mut faults),
            pages: pages(&args.web),
            web_config: web_config(&args.web, &mut faults),
        };
        faults.into_result(config)
    }
}

/// The targets of a command that reads their file once, and sentences on what was left out in it.
fn once(args: &RedisArgs, faults: &mut Faults) -> (Vec<Target>, Vec<String>) {
    let (targets, file) = targets(args, &Machine::read(), faults);
    (targets, file.map(|file| file.notes().to_vec()).unwrap_or_default())
}

/// The configuration of a command that lists clients once.
#[derive(Debug)]
pub struct ListingConfig {
    /// The servers.
    pub targets: Vec<Target>,
    /// Sentences on what was left out in the file of servers.
    pub notes: Vec<String>,
    /// The settings for finding the nodes of targets.
    pub discovery: DiscoverySettings,
    /// The grouping of their clients.
    pub limits: Limits,
}

/// Builds the servers and the grouping of their clients, for commands that list clients once.
///
/// # Errors
/// All faults of the args.
pub fn listing(redis: &RedisArgs, group: &GroupArgs, idle_after: &str) -> Result<ListingConfig, Faults> {
    let mut faults = Faults::default();
    let limits = Limits {
        idle_after: sampling::idle_after(idle_after, &mut faults),
        grouping: Arc::new(grouping(group, &mut faults).0),
        network_prefix: network_prefix(group, &mut faults),
        ..Limits::rows_only()
    };
    let (targets, notes) = once(redis, &mut faults);
    let config = ListingConfig { targets, notes, discovery: discovery(&redis.discovery, &mut faults), limits };
    faults.into_result(config)
}

/// The configuration of `check`.
#[derive(Debug)]
pub struct CheckConfig {
    /// The servers.
    pub targets: Vec<Target>,
    /// Sentences on what was left out in the file of servers.
    pub notes: Vec<String>,
    /// The settings for finding the nodes of targets.
    pub discovery: DiscoverySettings,
    /// The limits of sampling.
    pub budget: Budget,
    /// The grouping of their clients.
    pub grouping: Grouping,
    /// The status channel.
    pub channel: Arc<str>,
}

impl CheckConfig {
    /// Builds the configuration from the args.
    ///
    /// # Errors
    /// All faults of the args.
    pub fn new(args: &CheckArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let (targets, notes) = once(&args.redis, &mut faults);
        let config = Self {
            targets,
            notes,
            discovery: discovery(&args.redis.discovery, &mut faults),
            budget: budget(&args.sample, &mut faults),
            grouping: grouping(&args.group, &mut faults).0,
            channel: channel(&args.channel, &mut faults),
        };
        faults.into_result(config)
    }
}

/// Builds the addresses that `healthy` checks: those on which the exporter listens.
///
/// # Errors
/// All faults of the args.
pub fn listening(args: &HealthyArgs) -> Result<Vec<SocketAddr>, Faults> {
    let mut faults = Faults::default();
    let addresses = listen(&args.listen, &mut faults);
    if addresses.is_empty() {
        faults.add("--web.listen-address: no address is given; example: :19121");
    }
    faults.into_result(addresses)
}

/// The configuration of `watch`.
#[derive(Debug)]
pub struct WatchConfig {
    /// The servers.
    pub targets: Vec<Target>,
    /// Sentences on what was left out in the file of servers.
    pub notes: Vec<String>,
    /// The settings for finding the nodes of targets.
    pub discovery: DiscoverySettings,
    /// The channel.
    pub channel: Arc<str>,
    /// The keys of which one must have signed a message. If there are none, unsigned messages are accepted.
    pub keys: Vec<Key>,
}

impl WatchConfig {
    /// Builds the configuration from the args.
    ///
    /// # Errors
    /// All faults of the args.
    pub fn new(args: &WatchArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let (targets, notes) = once(&args.redis, &mut faults);
        let config = Self {
            targets,
            notes,
            discovery: discovery(&args.redis.discovery, &mut faults),
            channel: channel(&args.channel, &mut faults),
            keys: keys(args.key_file.as_deref(), &mut faults),
        };
        faults.into_result(config)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::cli::Cli;
    use crate::snapshot::{Expectation, ExpectedOn, NamePattern};

    fn config(args: &[&str]) -> Result<ServeConfig, Faults> {
        let args = ["redis-client-exporter"].iter().chain(args);
        ServeConfig::new(&Cli::try_parse_from(args).expect("args that clap accepts").serve)
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = config(&[]).expect("the defaults are valid");
        assert_eq!(config.targets[0].to_string(), "127.0.0.1:6379");
        assert_eq!(config.budget.interval, Duration::from_secs(10));
        assert_eq!(config.limits.idle_thresholds, [60, 300, 3600, 86400].map(Duration::from_secs));
        assert_eq!(config.listen, ["[::]:19121".parse().expect("an address")]);
        assert!(config.targets[0].access.credentials.is_none());
    }

    #[test]
    fn all_faults_are_reported_together_without_secrets() {
        let args = [
            "--redis.addr=redis://alice:hush@host:99999",
            "--redis.addr=http://host",
            "--redis.password=hush",
            "--redis.password-file=/nowhere",
            "--redis.tls-cert-file=/nowhere",
            "--redis.timeout=0",
            "--client-announce-frequency=1e19",
            "--sample.max-stall=fast",
            "--sample.max-load=200%",
            "--sample.max-memory=1MiB",
            "--idle.thresholds=1m,1500ms",
            "--group.limit=0",
            "--announce.channel=",
            "--announce.max-bytes=1",
            "--announce.key-file=/nowhere",
            "--group.file=/nowhere",
            "--group.network-prefix=/33,/64",
            "--presence.expect=billing=none",
            "--presence.forget-after=0",
            "--metrics.per-client=many",
            "--metrics.max-series=999",
            "--idle-after=500ms",
            "--web.listen-address=nonsense",
            "--web.telemetry-path=metrics",
            "--web.config.file=/nowhere",
            "--web.external-url=clients.example.org",
        ];
        let text = config(&args).expect_err("every value is invalid").to_string();
        for flag in [
            "--redis.addr, address 1",
            "--redis.addr, address 2",
            "--redis.password and",
            "--redis.tls-cert-file",
            "--redis.timeout",
            "--client-announce-frequency",
            "--sample.max-stall",
            "--sample.max-load",
            "--sample.max-memory",
            "--idle.thresholds",
            "--announce.channel",
            "--announce.max-bytes",
            "--announce.key-file",
            "--group.limit",
            "--group.file",
            "--group.network-prefix",
            "--presence.expect",
            "--presence.forget-after",
            "--metrics.per-client",
            "--metrics.max-series",
            "--idle-after",
            "--web.listen-address",
            "--web.telemetry-path",
            "--web.config.file",
            "--web.external-url",
        ] {
            assert!(text.contains(flag), "{flag} is missing in:\n{text}");
        }
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn options_of_the_grouping_reach_it_with_a_file_and_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("groups.yml");
        std::fs::write(&file, "rules: [{app: batch, user: batch}]").expect("a file");
        let file = format!("--group.file={}", file.display());
        for more in [&[][..], &[file.as_str()]] {
            let args = [&["--group.strip-version", "--group.unnamed-by=library-host"], more].concat();
            let grouping = config(&args).expect("valid options").limits.grouping;
            let app = |row: &str| grouping.app(&crate::client_list::parse(row.as_bytes()).clients[0]).to_string();
            assert_eq!(app("id=1 name=api-v41"), "api");
            assert_eq!(app("id=1 lib-name=redis-py addr=10.0.0.5:1"), "redis-py@10.0.0.5");
        }
        let fault =
            config(&["--group.strip-version", "--group.name-pattern=^[a-z]+"]).expect_err("one replaces the other");
        assert!(fault.to_string().contains("--group.strip-version"), "{fault}");
    }

    #[test]
    fn an_expected_application_may_have_a_minimum() {
        let limits =
            config(&["--presence.expect=billing=2,cron", "--presence.expect=a=b=3"]).expect("valid args").limits;
        let expected: Vec<_> = limits.expected.iter().map(|expected| (&*expected.app, expected.minimum)).collect();
        assert_eq!(expected, [("billing", 2), ("cron", 1), ("a=b", 3)]);
        assert!(config(&["--presence.expect=a,a"]).is_err());
        for name in ["(other)", "(unnamed)=2", "a=0", "=2"] {
            assert!(config(&[&format!("--presence.expect={name}")]).is_err(), "{name}");
        }
        assert!(config(&["--group.limit=1", "--presence.expect=a,b"]).is_err());
        assert!(config(&["--group.limit=1", "--presence.expect=a,a@db-1,a@db-2"]).is_ok(), "one application");
    }

    #[test]
    fn an_application_is_expected_on_all_servers_or_on_each_that_matches() {
        let on = |pattern: &str| ExpectedOn::EachNode(NamePattern::new(pattern));
        for (text, app, minimum, scope) in [
            ("billing", "billing", 1, ExpectedOn::AllNodes),
            ("billing@db-1:6379=2", "billing", 2, on("db-1:6379")),
            ("billing@db-*", "billing", 1, on("db-*")),
            ("redis-py@10.0.0.5@=2", "redis-py@10.0.0.5", 2, ExpectedOn::AllNodes),
            ("redis-py@10.0.0.5@*=2", "redis-py@10.0.0.5", 2, on("*")),
        ] {
            let limits = config(&[&format!("--presence.expect={text}")]).expect("valid args").limits;
            assert_eq!(limits.expected, [Expectation { app: app.into(), minimum, scope }], "{text}");
        }
        assert!(config(&["--presence.expect=a,a@*,a@db-1=2"]).is_ok());
        for refused in ["a@db,a@db=2", "@db-1", "@", "a@db=0", "a@db=x"] {
            assert!(config(&[&format!("--presence.expect={refused}")]).is_err(), "{refused}");
        }
    }

    #[test]
    fn links_may_be_appended_to_the_external_url() {
        let external_url =
            |url: &str| config(&[&format!("--web.external-url={url}")]).map(|config| config.external_url);
        for (url, expected) in [
            ("https://clients.example.org", "https://clients.example.org"),
            ("http://10.0.0.5:19121/", "http://10.0.0.5:19121"),
            ("https://example.org/redis/", "https://example.org/redis"),
        ] {
            assert_eq!(external_url(url), Ok(Some(expected.to_owned())));
        }
        assert_eq!(external_url(""), Ok(None));
        for url in
            ["localhost:19121", "ftp://a", "http://", "http://a/?b", "http://a/#b", "http://me:hush@a", "javascript:1"]
        {
            let fault = external_url(url).expect_err("not a usable URL").to_string();
            assert!(fault.contains("--web.external-url") && !fault.contains("hush"), "{fault}");
        }
    }

    #[test]
    fn an_invalid_key_file_is_reported_together_with_other_faults() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let key = format!("--announce.key-file={}", file.path().display());
        let many = "0123456789abcdef\n".repeat(17);
        for (text, fault) in [("", "no key"), ("\n\n", "no key"), ("short\n", "shorter"), (&many, "more than 16")] {
            std::fs::write(file.path(), text).expect("it can be written");
            for args in [vec![key.as_str()], vec![&key, "--idle-after=0"]] {
                let faults = config(&args).expect_err(fault).to_string();
                assert!(faults.contains("--announce.key-file") && faults.contains(fault), "{faults}");
            }
        }
    }

    #[test]
    fn one_server_is_watched_once() {
        let args = ["--redis.addr=localhost", "--redis.addr=redis://localhost:6379/1"];
        assert!(config(&args).expect_err("twice").to_string().contains("given twice"));
        // Whether this machine is a container or not.
        for other in ["127.0.0.1", "[::1]:6379", "127.0.0.2:6379", "rediss://127.0.0.1"] {
            let args = ["--redis.addr=redis://localhost", &format!("--redis.addr={other}")];
            let fault = config(&args).expect_err(other).to_string();
            assert!(fault.contains("localhost:6379 and") && fault.contains("--redis.name"), "{fault}");
        }
        let named = ["--redis.addr=localhost,127.0.0.1", "--redis.name=one,two"];
        let targets = config(&named).expect("two names").targets;
        let names: Vec<_> = targets.iter().filter_map(Target::node).map(|node| node.name.to_string()).collect();
        assert_eq!(names, ["one", "two"]);
    }

    #[test]
    fn names_of_servers_are_given_in_the_order_of_the_addresses_and_are_no_secret() {
        for (names, fault) in [
            ("a", "1 names for 2 addresses"),
            ("a,b,c", "3 names for 2 addresses"),
            ("a,a", "a is given twice"),
            ("a,redis://:hush@b", "name 2: an address is no name"),
            ("u:hush@h,b", "name 1: an address is no name"),
            ("a,b\n", ""),
            ("a,b\tc", "without control characters"),
            (&format!("a,{}", "x".repeat(129)), "at most 128 bytes"),
        ] {
            let faults = config(&["--redis.addr=10.0.0.1 10.0.0.2", &format!("--redis.name={names}")]);
            match fault {
                "" => assert!(faults.is_ok(), "spaces around a name are left out"),
                _ => {
                    let faults = faults.expect_err(fault).to_string();
                    assert!(faults.contains(fault) && !faults.contains("hush"), "{faults}");
                }
            }
        }
        let args = ["--redis.addr=10.0.0.1", "--redis.addr=10.0.0.2", "--redis.name=a b", "--redis.name=10.0.0.1:6379"];
        let targets = config(&args).expect("valid names").targets;
        let names: Vec<_> = targets.iter().filter_map(Target::node).map(|node| node.name.to_string()).collect();
        assert_eq!(names, ["a b", "10.0.0.1:6379"]);
    }

    #[tokio::test]
    async fn credentials_of_an_address_take_precedence_over_flags() {
        let args = [
            "--redis.addr=redis://alice:a@one, redis://two,redis://:c@three,redis://dora@four,",
            "--redis.user=bob",
            "--redis.password=b",
        ];
        let targets = config(&args).expect("valid args").targets;
        let mut logins = Vec::new();
        for node in targets.iter().filter_map(Target::node) {
            let address = &node.address;
            let credentials = address.credentials.as_ref().expect("all have a password");
            let login = credentials.login(&address.endpoint).await.expect("it was given");
            let password = login.expect("it is for this server").password.expose_secret().to_owned();
            logins.push((credentials.user.as_deref().unwrap_or("-"), password));
        }
        let expected = [("alice", "a"), ("bob", "b"), ("bob", "c"), ("dora", "b")];
        assert_eq!(logins, expected.map(|(user, password)| (user, password.to_owned())));
        assert!(config(&["--redis.addr=redis://dora@four"]).is_err(), "a user without a password");
    }

    /// Other clients apply the scheme of the first host to all of them.
    #[test]
    fn an_address_without_a_scheme_beside_one_with_tls_is_refused() {
        for list in ["rediss://one,two:6379", "valkeys://one two", "rediss://user:secret,hush@one", "one, rediss://two"]
        {
            let faults = config(&[&format!("--redis.addr={list}")]).expect_err(list).to_string();
            assert!(faults.contains("rediss:// in front of it") && !faults.contains("hush"), "{faults}");
        }
        assert!(config(&["--redis.addr=rediss://one,redis://two,/run/three.sock"]).is_ok());
        let faults = config(&["--redis.addr=rediss://one", "--redis.tls-server-name=a b"]).expect_err("no name");
        assert!(faults.to_string().contains("--redis.tls-server-name"), "{faults}");
    }

    #[test]
    fn levels_and_formats_of_other_programs_are_accepted() {
        use crate::cli::{LogFormat, LogLevel};
        let log = |level: &str, format: &str| {
            let args = ["redis-client-exporter", "--log.level", level, "--log.format", format];
            let log = Cli::try_parse_from(args).expect("args that clap accepts").serve.log;
            (log.level, log.format)
        };
        assert_eq!(log("WARNING", "text"), (LogLevel::Warn, LogFormat::Logfmt));
        assert_eq!(log("fatal", "JSON"), (LogLevel::Error, LogFormat::Json));
    }
}
