//! What the typed words mean. Every fault is found before anything starts, and all are told at once.
//!
//! A file for each group of words; `values` reads what stands behind a flag.

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
use crate::cli::{CheckArgs, GroupArgs, HealthyArgs, RedisArgs, SampleMode, ServeArgs, WatchArgs};
use crate::group_file::GroupFile;
use crate::link::Target;
use crate::sampler::Budget;
use crate::snapshot::{Grouping, Limits};
use crate::status::Key;
use crate::web::{ConfigFile, PagePolicy};

pub use faults::Faults;

use channel::{announcing, channel, keys};
use groups::{grouping, limits, network_prefix};
use sampling::budget;
use servers::targets;
use web::{external_url, listen, pages, telemetry_path, web_config};

/// What `serve` does.
#[derive(Debug)]
pub struct ServeConfig {
    /// The servers to watch.
    pub targets: Vec<Target>,
    /// How their samples are read.
    pub limits: Limits,
    /// The operator's rules, where there is a file of them.
    pub group_file: Option<GroupFile>,
    /// What sampling may cost.
    pub budget: Budget,
    /// What is announced, and what is believed.
    pub announce: announce::AnnounceSettings,
    /// When we sample.
    pub sample: SampleMode,
    /// The node to hear of where several are announced.
    pub announced_node: Option<String>,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Where browsers find the pages, if that was said.
    pub external_url: Option<String>,
    /// Who may see pages and the API.
    pub pages: PagePolicy,
    /// TLS, users and headers, where there is a file of them.
    pub web_config: Option<ConfigFile>,
}

impl ServeConfig {
    /// Finds out what the words mean.
    ///
    /// # Errors
    /// All that makes no sense.
    pub fn new(words: &ServeArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let (grouping, group_file) = grouping(&words.group, &mut faults);
        let config = Self {
            targets: targets(&words.redis, &mut faults),
            limits: limits(words, grouping, &mut faults),
            group_file,
            budget: budget(&words.sample, &mut faults),
            announce: announcing(words, &mut faults),
            sample: words.announce.sample,
            announced_node: words.announce.node.clone(),
            listen: listen(&words.web.listen, &mut faults),
            telemetry_path: telemetry_path(&words.web, &mut faults),
            external_url: external_url(&words.web, &mut faults),
            pages: pages(&words.web),
            web_config: web_config(&words.web, &mut faults),
        };
        faults.none_or(config)
    }
}

/// The servers, and how their clients are grouped, for commands that do not serve.
///
/// # Errors
/// All that makes no sense.
pub fn listing(redis: &RedisArgs, group: &GroupArgs, idle_after: &str) -> Result<(Vec<Target>, Limits), Faults> {
    let mut faults = Faults::default();
    let limits = Limits {
        idle_after: sampling::idle_after(idle_after, &mut faults),
        grouping: Arc::new(grouping(group, &mut faults).0),
        network_prefix: network_prefix(group, &mut faults),
        ..Limits::rows_only()
    };
    let config = (targets(redis, &mut faults), limits);
    faults.none_or(config)
}

/// What `check` connects to and tries out.
#[derive(Debug)]
pub struct CheckConfig {
    /// The servers.
    pub targets: Vec<Target>,
    /// What sampling them may cost.
    pub budget: Budget,
    /// How their clients are grouped.
    pub grouping: Grouping,
    /// The status channel.
    pub channel: Arc<str>,
}

impl CheckConfig {
    /// Finds out what the words mean.
    ///
    /// # Errors
    /// All that makes no sense.
    pub fn new(words: &CheckArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let config = Self {
            targets: targets(&words.redis, &mut faults),
            budget: budget(&words.sample, &mut faults),
            grouping: grouping(&words.group, &mut faults).0,
            channel: channel(&words.channel, &mut faults),
        };
        faults.none_or(config)
    }
}

/// Where the exporter listens that `healthy` asks.
///
/// # Errors
/// All that makes no sense.
pub fn listening(words: &HealthyArgs) -> Result<Vec<SocketAddr>, Faults> {
    let mut faults = Faults::default();
    let addresses = listen(&words.listen, &mut faults);
    if addresses.is_empty() {
        faults.add("--web.listen-address: no address; write :19121");
    }
    faults.none_or(addresses)
}

/// What `watch` listens to.
#[derive(Debug)]
pub struct WatchConfig {
    /// The servers.
    pub targets: Vec<Target>,
    /// The channel.
    pub channel: Arc<str>,
    /// The keys of which one has to have signed; none: whatever comes.
    pub keys: Vec<Key>,
}

impl WatchConfig {
    /// Finds out what the words mean.
    ///
    /// # Errors
    /// All that makes no sense.
    pub fn new(words: &WatchArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let config = Self {
            targets: targets(&words.redis, &mut faults),
            channel: channel(&words.channel, &mut faults),
            keys: keys(words.key_file.as_deref(), &mut faults),
        };
        faults.none_or(config)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::cli::Cli;
    use crate::link;

    fn config(words: &[&str]) -> Result<ServeConfig, Faults> {
        let words = ["redis-client-exporter"].iter().chain(words);
        ServeConfig::new(&Cli::try_parse_from(words).expect("words that clap takes").serve)
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = config(&[]).expect("the defaults make sense");
        assert_eq!(config.targets[0].node().as_ref(), "127.0.0.1:6379");
        assert_eq!(config.budget.every, Duration::from_secs(10));
        assert_eq!(config.limits.idle_thresholds, [60, 300, 3600, 86400].map(Duration::from_secs));
        assert_eq!(config.listen, ["[::]:19121".parse().expect("an address")]);
        assert!(config.targets[0].credentials.is_none());
    }

    #[test]
    fn all_faults_are_told_at_once_and_no_secret() {
        let words = [
            "--redis.addr=redis://alice:hush@host:99999",
            "--redis.addr=http://host",
            "--redis.password=hush",
            "--redis.password-file=/nowhere",
            "--redis.tls-cert-file=/nowhere",
            "--redis.timeout=0",
            "--client-announce-frequency=1e19",
            "--sample.max-stall=fast",
            "--sample.max-load=200%",
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
            "--idle-after=500ms",
            "--web.listen-address=nonsense",
            "--web.telemetry-path=metrics",
            "--web.config.file=/nowhere",
            "--web.external-url=clients.example.org",
        ];
        let text = config(&words).expect_err("nothing of it makes sense").to_string();
        for flag in [
            "--redis.addr, address 1",
            "--redis.addr, address 2",
            "--redis.password and",
            "--redis.tls-cert-file",
            "--redis.timeout",
            "--client-announce-frequency",
            "--sample.max-stall",
            "--sample.max-load",
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
    fn who_is_expected_is_said_in_a_word() {
        let limits = config(&["--presence.expect=billing=2,cron", "--presence.expect=a=b=3"]).expect("sense").limits;
        let expected: Vec<_> = limits.expected.iter().map(|(app, least)| (&**app, *least)).collect();
        assert_eq!(expected, [("billing", 2), ("cron", 1), ("a=b", 3)]);
        assert!(config(&["--presence.expect=a,a"]).is_err());
        for name in ["(other)", "(unnamed)=2", "a=0", "=2"] {
            assert!(config(&[&format!("--presence.expect={name}")]).is_err(), "{name}");
        }
        assert!(config(&["--group.limit=1", "--presence.expect=a,b"]).is_err());
    }

    #[test]
    fn links_may_be_appended_to_the_external_url() {
        let told = |url: &str| config(&[&format!("--web.external-url={url}")]).map(|config| config.external_url);
        for (url, meant) in [
            ("https://clients.example.org", "https://clients.example.org"),
            ("http://10.0.0.5:19121/", "http://10.0.0.5:19121"),
            ("https://example.org/redis/", "https://example.org/redis"),
        ] {
            assert_eq!(told(url), Ok(Some(meant.to_owned())));
        }
        assert_eq!(told(""), Ok(None));
        for url in
            ["localhost:19121", "ftp://a", "http://", "http://a/?b", "http://a/#b", "http://me:hush@a", "javascript:1"]
        {
            let fault = told(url).expect_err("no page has this address").to_string();
            assert!(fault.contains("--web.external-url") && !fault.contains("hush"), "{fault}");
        }
    }

    #[test]
    fn a_file_of_keys_that_will_not_do_is_told_beside_other_faults() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let key = format!("--announce.key-file={}", file.path().display());
        let many = "0123456789abcdef\n".repeat(17);
        for (text, fault) in [("", "no key"), ("\n\n", "no key"), ("short\n", "shorter"), (&many, "more than 16")] {
            std::fs::write(file.path(), text).expect("it can be written");
            for words in [vec![key.as_str()], vec![&key, "--idle-after=0"]] {
                let told = config(&words).expect_err(fault).to_string();
                assert!(told.contains("--announce.key-file") && told.contains(fault), "{told}");
            }
        }
    }

    #[test]
    fn one_server_is_watched_once() {
        let words = ["--redis.addr=localhost", "--redis.addr=redis://localhost:6379/1"];
        assert!(config(&words).expect_err("twice").to_string().contains("named twice"));
    }

    #[test]
    fn credentials_of_an_address_go_before_those_of_flags() {
        let words = [
            "--redis.addr=redis://alice:a@one, redis://two,redis://:c@three,redis://dora@four,",
            "--redis.user=bob",
            "--redis.password=b",
        ];
        let targets = config(&words).expect("it makes sense").targets;
        let told = targets.iter().map(|target| {
            let credentials = target.credentials.as_ref().expect("all have a password");
            let password = link::read_password(&credentials.password).expect("it was given");
            (credentials.user.as_deref().unwrap_or("-"), password.expose_secret().to_owned())
        });
        let expected = [("alice", "a"), ("bob", "b"), ("bob", "c"), ("dora", "b")];
        assert_eq!(told.collect::<Vec<_>>(), expected.map(|(user, password)| (user, password.to_owned())));
        assert!(config(&["--redis.addr=redis://dora@four"]).is_err(), "a user without a password");
    }
}
