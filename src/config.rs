//! What the typed words mean. Every fault is found before anything starts, and all are told at once.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::announce;
use crate::cli::{
    AnnounceMode, CheckWords, GroupWords, PagesMode, RedisWords, SampleMode, SampleWords, ServeWords, WatchWords,
    WebWords,
};
use crate::duration::duration;
use crate::group_file::GroupFile;
use crate::link::{self, Credentials, Endpoint, Password, Target, TlsFiles};
use crate::sampler::Budget;
use crate::snapshot::{Grouping, Limits, NetworkPrefix, app_label, spelled_out};
use crate::status::Key;
use crate::web::{ConfigFile, Pages};

/// The longest duration that makes sense anywhere.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The longest time between two samples.
const LONGEST_FREQUENCY: Duration = Duration::from_secs(24 * 3600);

/// The shortest time between two samples.
const SHORTEST_FREQUENCY: Duration = Duration::from_millis(100);

/// The most groups a dimension may have. The default of 50 keeps a node below 2,000 series and 200 KB; an application alone
/// has some twenty series.
const MOST_GROUPS: usize = 150;

/// The most clients that may be told one by one: five series each.
const MOST_PER_CLIENT: usize = 1000;

/// The shortest key, in bytes, and the most of them.
const SHORTEST_KEY: usize = 16;
const MOST_KEYS: usize = 16;

/// The least and the most that a status may take, in bytes.
const LEAST_STATUS: usize = 4 << 10;
const MOST_STATUS: usize = 16 << 20;

/// The most idle thresholds.
const MOST_THRESHOLDS: usize = 20;

/// What is wrong with the command line: one sentence a fault, never with a secret in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "error: {fault}")?;
        }
        write!(f, "\nSee redis-client-exporter --help.")
    }
}

impl std::error::Error for Faults {}

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
    pub announce: announce::Settings,
    /// When we sample.
    pub sample: SampleMode,
    /// The node to hear of where several are announced.
    pub announced_node: Option<String>,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Who may see pages and the API.
    pub pages: Pages,
    /// TLS, users and headers, where there is a file of them.
    pub web_config: Option<ConfigFile>,
}

impl ServeConfig {
    /// Finds out what the words mean.
    ///
    /// # Errors
    /// All that makes no sense.
    pub fn new(words: &ServeWords) -> Result<Self, Faults> {
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
            listen: listen(&words.web, &mut faults),
            telemetry_path: telemetry_path(&words.web, &mut faults),
            pages: match words.web.pages {
                PagesMode::Auto => Pages::Auto,
                PagesMode::On => Pages::On,
                PagesMode::Off => Pages::Off,
            },
            web_config: web_config(&words.web, &mut faults),
        };
        faults.none_or(config)
    }
}

/// The servers, and how their clients are grouped, for commands that do not serve.
///
/// # Errors
/// All that makes no sense.
pub fn listing(redis: &RedisWords, group: &GroupWords, idle_after: &str) -> Result<(Vec<Target>, Limits), Faults> {
    let mut faults = Faults::default();
    let limits = Limits {
        idle_after: self::idle_after(idle_after, &mut faults),
        grouping: Arc::new(grouping(group, &mut faults).0),
        network_prefix: faults.take(
            "--group.network-prefix",
            network_prefix(&group.network_prefix),
            Default::default(),
        ),
        ..Limits::of_no_interest()
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
    pub fn new(words: &CheckWords) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let config = Self {
            targets: targets(&words.redis, &mut faults),
            budget: budget(&words.sample, &mut faults),
            grouping: grouping(&words.group, &mut faults).0,
            channel: faults.take("--announce.channel", channel(&words.channel), "".into()),
        };
        faults.none_or(config)
    }
}

impl Faults {
    /// Adds a fault: a sentence that begins with the flag and names the mend.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both together.
    pub fn and(mut self, more: Faults) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The value, or what is put in its place so that the other faults are found too.
    fn take<T>(&mut self, flag: &str, value: Result<T, String>, instead: T) -> T {
        value.unwrap_or_else(|fault| {
            self.add(format!("{flag}: {fault}"));
            instead
        })
    }

    fn none_or<T>(self, config: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(config) } else { Err(self) }
    }
}

fn targets(words: &RedisWords, faults: &mut Faults) -> Vec<Target> {
    let timeout = faults.take("--redis.timeout", positive(&words.timeout), Duration::ZERO);
    let tls = tls_files(words, faults);
    let password = password(words, faults);
    let mut targets: Vec<Target> = Vec::new();
    for (place, text) in elements(&words.addresses).enumerate() {
        // The text may hold a password, so the fault tells which address is meant by counting.
        let address = match link::parse_address(text) {
            Ok(address) => address,
            Err(fault) => {
                faults.add(format!("--redis.addr, address {}: {fault}", place + 1));
                continue;
            }
        };
        // What an address says goes before what flags say, each part by itself.
        let user = address.user.or_else(|| words.user.clone());
        let password = address.password.map(Password::Given).or_else(|| password.clone());
        let endpoint = address.endpoint;
        if user.is_some() && password.is_none() {
            faults
                .add(format!("{endpoint}: its user needs a password; give --redis.password-file or --redis.password"));
        }
        let credentials = password.map(|password| Credentials { user, password });
        let target = Target { endpoint, credentials, tls: tls.clone(), timeout };
        if targets.iter().any(|known| known.node() == target.node()) {
            faults.add(format!("--redis.addr: {} is named twice; name each server once", target.node()));
        }
        targets.push(target);
    }
    if elements(&words.addresses).next().is_none() {
        faults.add("--redis.addr: it names no server; write redis://127.0.0.1:6379");
    }
    check_tls(&targets, &tls, faults);
    targets
}

/// The elements of a list that was typed: a comma too many is no element.
fn elements(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(|element| element.trim()).filter(|element| !element.is_empty())
}

fn password(words: &RedisWords, faults: &mut Faults) -> Option<Password> {
    let password = match (&words.password, &words.password_file) {
        (Some(_), Some(_)) => {
            faults.add("--redis.password and --redis.password-file exclude each other; give one");
            return None;
        }
        (Some(password), None) => Password::Given(password.as_str().into()),
        (None, Some(file)) => Password::File(file.clone()),
        (None, None) => return None,
    };
    // A pipe gives what it has only once, and that is for the first connect.
    let is_pipe = words.password_file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|file| !file.is_file()));
    if !is_pipe && let Err(fault) = link::read_password(&password) {
        faults.add(format!("--redis.password-file: {fault}"));
    }
    Some(password)
}

fn tls_files(words: &RedisWords, faults: &mut Faults) -> TlsFiles {
    let client = match (&words.tls_cert_file, &words.tls_key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => missing_half("--redis.tls-cert-file", "--redis.tls-key-file", faults),
        (None, Some(_)) => missing_half("--redis.tls-key-file", "--redis.tls-cert-file", faults),
    };
    TlsFiles { ca: words.tls_ca_file.clone(), client }
}

fn missing_half(given: &str, missing: &str, faults: &mut Faults) -> Option<(PathBuf, PathBuf)> {
    faults.add(format!("{given} needs {missing} beside it"));
    None
}

fn check_tls(targets: &[Target], tls: &TlsFiles, faults: &mut Faults) {
    let wanted = targets.iter().any(|target| matches!(target.endpoint, Endpoint::Tcp { tls: true, .. }));
    if *tls != TlsFiles::default() && !wanted && !targets.is_empty() {
        faults.add("--redis.tls-…-file: no address uses TLS; write rediss:// instead of redis://");
    } else if wanted && let Err(fault) = link::tls_config(tls) {
        faults.add(format!("--redis.tls-…-file: {fault}"));
    }
}

fn limits(words: &ServeWords, grouping: Grouping, faults: &mut Faults) -> Limits {
    let group_limit = number(&words.presence.group_limit, 1, MOST_GROUPS);
    let groups = faults.take("--group.limit", group_limit, MOST_GROUPS);
    let prefix = network_prefix(&words.group.network_prefix);
    let expected = expected(&words.presence.expect, groups);
    Limits {
        idle_after: idle_after(&words.sample.idle_after, faults),
        idle_thresholds: idle_thresholds(&words.sample.idle_thresholds, faults),
        groups,
        grouping: Arc::new(grouping),
        network_prefix: faults.take("--group.network-prefix", prefix, Default::default()),
        expected: faults.take("--presence.expect", expected, Vec::new()),
        forget_after: faults.take("--presence.forget-after", positive(&words.presence.forget_after), Duration::ZERO),
        per_client: faults.take("--metrics.per-client", number(&words.presence.per_client, 0, MOST_PER_CLIENT), 0),
    }
}

fn announcing(words: &ServeWords, faults: &mut Faults) -> announce::Settings {
    let announce = &words.announce;
    let keys = keys(announce.key_file.as_deref(), faults);
    if announce.sample == SampleMode::Auto && announce.key_file.is_none() {
        faults.add("--sample auto: it believes only signed statuses; give --announce.key-file");
    }
    announce::Settings {
        mode: match announce.announce {
            AnnounceMode::Auto => announce::Mode::Auto,
            AnnounceMode::Always => announce::Mode::Always,
            AnnounceMode::Never => announce::Mode::Never,
        },
        channel: faults.take("--announce.channel", channel(&announce.channel), "".into()),
        max_bytes: faults.take("--announce.max-bytes", bytes(&announce.max_bytes), 0),
        keys: keys.into(),
        // Told once, by the budget.
        frequency: frequency(&words.sample.frequency).unwrap_or_default(),
    }
}

fn channel(text: &str) -> Result<Arc<str>, String> {
    match text {
        "" => Err("it is empty; write __redis__:cli".into()),
        long if long.len() > 512 => Err("it is longer than 512 bytes".into()),
        text => Ok(text.into()),
    }
}

/// The keys of a file, one a line, the first to sign with.
fn keys(file: Option<&Path>, faults: &mut Faults) -> Vec<Key> {
    let Some(path) = file else { return Vec::new() };
    let read = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let text = faults.take("--announce.key-file", read, String::new());
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fault = match lines.iter().map(|line| line.len()).min() {
        None if faults.is_empty() => "it holds no key",
        Some(length) if length < SHORTEST_KEY => {
            "a key in it is shorter than 16 characters; make one with openssl rand -hex 32"
        }
        _ if lines.len() > MOST_KEYS => "it holds more than 16 keys",
        _ => return lines.into_iter().map(|line| Key::new(line.as_bytes())).collect(),
    };
    faults.add(format!("--announce.key-file: {}: {fault}", path.display()));
    Vec::new()
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
    pub fn new(words: &WatchWords) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let config = Self {
            targets: targets(&words.redis, &mut faults),
            channel: faults.take("--announce.channel", channel(&words.channel), "".into()),
            keys: keys(words.key_file.as_deref(), &mut faults),
        };
        faults.none_or(config)
    }
}

/// A number of bytes: plain, or with KiB or MiB.
fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.trim() {
        text if text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        text if text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        text => (text, 1),
    };
    let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if (LEAST_STATUS..=MOST_STATUS).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{text} is not a size from 4KiB to 16MiB; write 64KiB")),
    }
}

/// How clients are grouped, and the file that says so.
fn grouping(words: &GroupWords, faults: &mut Faults) -> (Grouping, Option<GroupFile>) {
    let pattern = words.name_pattern.as_deref();
    let read = match &words.file {
        None => Grouping::new(pattern, None).map(|grouping| (grouping, None)),
        Some(path) => GroupFile::read(path, pattern).map(|(grouping, file)| (grouping, Some(file))),
    };
    read.unwrap_or_else(|fault| {
        faults.add(fault);
        (Grouping::default(), None)
    })
}

fn network_prefix(text: &str) -> Result<NetworkPrefix, String> {
    let bits = |part: &str, most: u8| match part.trim().trim_start_matches('/').parse::<u8>() {
        Ok(bits) if bits <= most => Ok(bits),
        Ok(bits) => Err(format!("/{bits} is longer than an address; at most /32,/128")),
        Err(_) => Err(format!("{text} is not two prefixes; write /24,/64")),
    };
    let (v4, v6) = text.split_once(',').ok_or_else(|| format!("{text} is not two prefixes; write /24,/64"))?;
    Ok(NetworkPrefix { v4: bits(v4, 32)?, v6: bits(v6, 128)? })
}

fn expected(texts: &[String], groups: usize) -> Result<Vec<(Arc<str>, u64)>, String> {
    let mut expected: Vec<(Arc<str>, u64)> = Vec::new();
    for text in elements(texts) {
        let (app, least) = text.rsplit_once('=').unwrap_or((text, "1"));
        let (app, least) = (app.trim(), least.trim());
        let least = match least.parse() {
            Ok(0) => return Err(format!("{text}: at least one connection can be expected")),
            Ok(least) if !app.is_empty() => least,
            _ => return Err(format!("{text} is not an application and a number; write billing or billing=2")),
        };
        if app.starts_with('(') || app_label(app.as_bytes()) != app {
            return Err(format!("no application is called {}; see clients --by app", spelled_out(app.as_bytes())));
        }
        if expected.iter().any(|(known, _)| **known == *app) {
            return Err(format!("{app} is named twice"));
        }
        expected.push((app.into(), least));
    }
    if expected.len() > groups {
        return Err(format!("{} are expected, and --group.limit shows {groups}; raise it", expected.len()));
    }
    Ok(expected)
}

fn budget(words: &SampleWords, faults: &mut Faults) -> Budget {
    Budget {
        max_stall: faults.take("--sample.max-stall", positive(&words.max_stall), Duration::ZERO),
        max_load: faults.take("--sample.max-load", percent(&words.max_load), 0.0),
        max_age: faults.take("--sample.max-age", positive(&words.max_age), Duration::ZERO),
        every: faults.take("--client-announce-frequency", frequency(&words.frequency), Duration::ZERO),
        look: faults.take("--sample.look", look(&words.look), None),
    }
}

/// A look costs little, but ten a second tell no more than an eye can see.
fn look(text: &str) -> Result<Option<Duration>, String> {
    match duration(text)? {
        Duration::ZERO => Ok(None),
        _ => frequency(text).map(Some),
    }
}

fn idle_after(text: &str, faults: &mut Faults) -> Duration {
    faults.take("--idle-after", positive(text).and_then(whole_seconds), Duration::ZERO)
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0".into()),
        long if long > LONGEST => Err(format!("{text} is longer than a year")),
        duration => Ok(duration),
    }
}

/// The server tells whole seconds only; and two thresholds within one second would be one series twice.
fn whole_seconds(duration: Duration) -> Result<Duration, String> {
    match duration.subsec_nanos() {
        0 => Ok(duration),
        _ => Err(format!("{} is not a whole number of seconds", humantime::format_duration(duration))),
    }
}

fn frequency(text: &str) -> Result<Duration, String> {
    match positive(text)? {
        short if short < SHORTEST_FREQUENCY => {
            Err(format!("{text} would ask the server all the time; write 1s or more"))
        }
        long if long > LONGEST_FREQUENCY => Err(format!("{text} is longer than a day; write 1d or less")),
        frequency => Ok(frequency),
    }
}

fn idle_thresholds(texts: &[String], faults: &mut Faults) -> Vec<Duration> {
    let threshold = |text| faults.take("--idle.thresholds", duration(text).and_then(whole_seconds), Duration::ZERO);
    let mut thresholds: Vec<_> = elements(texts).map(threshold).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    if thresholds.len() > MOST_THRESHOLDS {
        faults.add(format!("--idle.thresholds: at most {MOST_THRESHOLDS} are counted; leave some out"));
    }
    thresholds
}

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text} is not a number from {least} to {most}")),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(format!("{text} is not a share above 0 and up to 100%; write 1%")),
    }
}

fn listen(words: &WebWords, faults: &mut Faults) -> Vec<SocketAddr> {
    elements(&words.listen)
        .filter_map(|text| faults.take("--web.listen-address", listen_address(text).map(Some), None))
        .collect()
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    let mut addresses =
        whole.to_socket_addrs().map_err(|_| format!("{text} is not an address; write :19121 or 127.0.0.1:19121"))?;
    addresses.next().ok_or_else(|| format!("{text} does not resolve"))
}

/// An empty name is none, as for other exporters.
fn web_config(words: &WebWords, faults: &mut Faults) -> Option<ConfigFile> {
    let path = words.config_file.as_deref().filter(|path| !path.as_os_str().is_empty())?;
    ConfigFile::read(path).map_err(|told| told.into_iter().for_each(|fault| faults.add(fault))).ok()
}

fn telemetry_path(words: &WebWords, faults: &mut Faults) -> String {
    let path = &words.telemetry_path;
    let fault = if !path.starts_with('/') {
        "must begin with a slash"
    } else if path == "/"
        || path.starts_with("/-/")
        || ["/health", "/clients", "/apps", "/closed"].contains(&path.as_str())
        || ["/assets/", "/api/", "/clients/"].iter().any(|taken| path.starts_with(taken))
    {
        "is taken by another page"
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
        "may hold only visible ASCII characters, and neither ? nor #"
    } else {
        return path.clone();
    };
    faults.add(format!("--web.telemetry-path: {path} {fault}; write /metrics"));
    String::new()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::cli::Cli;

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
        ] {
            assert!(text.contains(flag), "{flag} is missing in:\n{text}");
        }
        assert!(!text.contains("hush"), "{text}");
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
