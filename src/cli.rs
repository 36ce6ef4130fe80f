//! The words that can be typed. What they mean is found out in `config`, so that all faults are told at once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::status::CHANNEL;

/// Tells who is connected to a Redis or Valkey server, since when, and when each client last spoke.
///
/// Watches one or several servers, takes a sample of their clients every --client-announce-frequency, serves it as
/// Prometheus metrics, and announces it on the channel __redis__:cli. Works with any stock Redis from 5.0 on and any Valkey; nothing is changed on the server. No stock
/// server has a `client-announce-frequency` of its own: this program provides it.
#[derive(Debug, Parser)]
#[command(name = "redis-client-exporter", version, args_conflicts_with_subcommands = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// What to do; serve if nothing is said.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
    /// The words of serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

const AFTER_HELP: &str = "\
Examples:
  redis-client-exporter --redis.addr redis://10.0.0.5:6379
  REDIS_PASSWORD_FILE=/run/secrets/redis redis-client-exporter --redis.addr rediss://db:6380 --redis.user monitor
  redis-client-exporter clients --sort=-idle --filter 'app=billing' --limit 20
  redis-client-exporter clients --by app
  redis-client-exporter watch --redis.addr redis://10.0.0.5:6379
  redis-client-exporter check --redis.addr unix:///run/redis/redis.sock

Durations are written 500us, 10s, 5m, 1h30m, 1d, or as plain seconds.

Exit codes:
  0  ended as asked; check: everything works
  1  something failed while running, such as a port in use; healthy: the exporter does not answer
  2  the command line makes no sense
  3  check: the server can be sampled, but something is missing
  4  check, clients: a server cannot be sampled";

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Watch and serve metrics (the default)
    Serve(Box<ServeArgs>),
    /// Subscribe to the status channel and print each status, whoever announces it
    Watch(WatchArgs),
    /// List the clients of the servers once
    Clients(ClientsArgs),
    /// Connect, tell what works and what is missing, and print the ACL line that the exporter needs
    ///
    /// Exit code 0: everything works. 3: the server can be sampled, but something is missing. 4: it cannot be sampled.
    Check(CheckArgs),
    /// Ask the exporter on this machine whether it is alive, for images without a shell
    ///
    /// Exit code 0: it answers; to be asked for TLS or a password is an answer. 1: it does not within 3 s.
    Healthy(HealthyArgs),
    /// Print every metric: name, type, unit, labels, help
    Catalogue(CatalogueArgs),
}

/// Which servers, and as whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Servers")]
pub struct RedisArgs {
    /// Server to watch: redis://, rediss:// (TLS), unix:// or host:port. Repeatable
    ///
    /// A password in it is seen by everyone who may run ps; --redis.password-file is not.
    #[arg(
        long = "redis.addr",
        env = "REDIS_ADDR",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub addresses: Vec<String>,
    /// ACL user, for all addresses that name none
    #[arg(long = "redis.user", env = "REDIS_USER", value_name = "USER", hide_env_values = true)]
    pub user: Option<String>,
    /// Password. Everyone who may run ps sees it: prefer --redis.password-file or the environment
    #[arg(long = "redis.password", env = "REDIS_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// File that holds the password, read at each connect
    #[arg(long = "redis.password-file", env = "REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust with rediss:// instead of the system's
    #[arg(long = "redis.tls-ca-file", env = "REDIS_TLS_CA_FILE", value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,
    /// Our certificate (PEM), where the server asks for one
    #[arg(long = "redis.tls-cert-file", env = "REDIS_TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of our certificate (PEM)
    #[arg(long = "redis.tls-key-file", env = "REDIS_TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// How long connecting may take, and each answer
    #[arg(long = "redis.timeout", env = "REDIS_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    pub timeout: String,
}

/// How samples are taken and read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SampleArgs {
    /// How often a sample of the clients is taken and announced
    #[arg(
        long = "client-announce-frequency",
        env = "CLIENT_ANNOUNCE_FREQUENCY",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub frequency: String,
    /// Longest time that one of our commands should hold the server: clients are listed in pages that keep to it
    #[arg(long = "sample.max-stall", env = "SAMPLE_MAX_STALL", value_name = "DURATION", default_value = "500us")]
    pub max_stall: String,
    /// Largest share of the server's main-thread time that our commands should use: samples come less often rather than
    /// exceed it
    #[arg(long = "sample.max-load", env = "SAMPLE_MAX_LOAD", value_name = "PERCENT", default_value = "1%")]
    pub max_load: String,
    /// Oldest answer that is accepted before one of the two is exceeded instead; redis_clients_sample_within_budget tells
    #[arg(long = "sample.max-age", env = "SAMPLE_MAX_AGE", value_name = "DURATION", default_value = "60s")]
    pub max_age: String,
    /// How often to look between samples whether anybody came or went, which costs some 40 us at any number of clients;
    /// 0: never
    #[arg(long = "sample.look", env = "SAMPLE_LOOK", value_name = "DURATION", default_value = "1s")]
    pub look: String,
    /// Silence after which a client counts as idle
    #[arg(long = "idle-after", env = "IDLE_AFTER", value_name = "DURATION", default_value = "5m")]
    pub idle_after: String,
    /// Idle times counted in redis_clients_idle_connections and, for each application, redis_clients_app_idle_connections (label
    /// min_idle)
    #[arg(
        long = "idle.thresholds",
        env = "IDLE_THRESHOLDS",
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1m,5m,1h,1d"
    )]
    pub idle_thresholds: Vec<String>,
}

/// What is announced on a channel of each server, and what is believed of it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Status channel")]
pub struct AnnounceArgs {
    /// Whether to announce each sample on the channel. auto: if no other exporter does
    #[arg(long = "announce", env = "ANNOUNCE", value_name = "WHEN", default_value = "auto")]
    pub announce: AnnounceMode,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub channel: ChannelArgs,
    /// Most bytes of one status, in parts of at most 64 KiB. PUBLISH replicates: more fills the replication backlog
    #[arg(long = "announce.max-bytes", env = "ANNOUNCE_MAX_BYTES", value_name = "BYTES", default_value = "64KiB")]
    pub max_bytes: String,
    /// File of keys, one a line, that statuses are signed with (the first) and believed by (any of them)
    #[arg(long = "announce.key-file", env = "ANNOUNCE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// With --sample never: the node to hear of, if several are announced on one channel
    #[arg(long = "announce.node", env = "ANNOUNCE_NODE", value_name = "ADDRESS")]
    pub node: Option<String>,
    /// Whether to sample ourselves. auto: unless a whole, signed status is heard (needs --announce.key-file). never: only
    /// listen, which needs no permission but to subscribe
    #[arg(long = "sample", env = "SAMPLE", value_name = "WHEN", default_value = "always")]
    pub sample: SampleMode,
}

/// Where statuses are announced and heard.
#[derive(Args, Clone, Debug)]
pub struct ChannelArgs {
    /// The channel
    #[arg(long = "announce.channel", env = "ANNOUNCE_CHANNEL", value_name = "CHANNEL", default_value = CHANNEL)]
    pub channel: String,
}

/// When to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AnnounceMode {
    Auto,
    Always,
    Never,
}

/// When to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SampleMode {
    Always,
    Auto,
    Never,
}

/// The application of a client without a name and a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnnamedBy {
    /// Its library, or the driver that the library names
    Library,
    /// Its library and host: redis-py@10.0.0.5
    LibraryHost,
    /// Its host
    Host,
}

/// How clients are grouped.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Groups")]
pub struct GroupArgs {
    /// File (YAML) of rules by name, user and network that tell the application, tried before everything else. Read again
    /// when it changes
    ///
    /// rules: [{app: billing, name: 'bill(ing)?-.*'}, {app: '$1-jobs', name: '([a-z]+)-job-.*', user: batch}, {app:
    /// office, network: 10.20.0.0/16}]. Patterns match the whole text; all that a rule names must be true; the first wins.
    #[arg(long = "group.file", env = "GROUP_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Regular expression whose first group, or all that it matches, is the application of a client's name; a name
    /// that does not match is its own. Replaces the built-in table of what changes per process
    #[arg(long = "group.name-pattern", env = "GROUP_NAME_PATTERN", value_name = "REGEX")]
    pub name_pattern: Option<String>,
    /// Take versions off the names of clients: api-v41 and api-v42 are one application, and so are api-v1 and api-v2
    #[arg(
        long = "group.strip-version",
        env = "GROUP_STRIP_VERSION",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub strip_version: bool,
    /// Application of a client without a name and a user
    #[arg(long = "group.unnamed-by", env = "GROUP_UNNAMED_BY", value_name = "WAY", default_value = "library")]
    pub unnamed_by: UnnamedBy,
    /// How many bits of an address make its network, of IPv4 and IPv6
    #[arg(
        long = "group.network-prefix",
        env = "GROUP_NETWORK_PREFIX",
        value_name = "/N,/N",
        default_value = "/24,/64"
    )]
    pub network_prefix: String,
}

/// How many groups there may be, which applications should be there, and which clients are told one by one.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Presence")]
pub struct PresenceArgs {
    /// Most groups by application, user, library, network, database or command; the smaller ones are folded into (other)
    #[arg(help_heading = "Groups", long = "group.limit", env = "GROUP_LIMIT", value_name = "N", default_value = "50")]
    pub group_limit: String,
    /// Application that should be there, with the least connections it should have: billing=2. Repeatable
    #[arg(long = "presence.expect", env = "PRESENCE_EXPECT", value_name = "APP[=MIN]", value_delimiter = ',')]
    pub expect: Vec<String>,
    /// How long an application that is gone is remembered
    #[arg(
        long = "presence.forget-after",
        env = "PRESENCE_FORGET_AFTER",
        value_name = "DURATION",
        default_value = "24h"
    )]
    pub forget_after: String,
    /// Most clients to tell one by one in metrics, the longest silent first. Each makes five series with its id: keep it small
    #[arg(long = "metrics.per-client", env = "METRICS_PER_CLIENT", value_name = "N", default_value = "0")]
    pub per_client: String,
}

/// Where and what the web server serves.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Web")]
pub struct WebArgs {
    /// Address to listen on: host:port or :port. Repeatable
    #[arg(
        long = "web.listen-address",
        env = "WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = ":19121"
    )]
    pub listen: Vec<String>,
    /// Path of the metrics
    #[arg(long = "web.telemetry-path", env = "WEB_TELEMETRY_PATH", value_name = "PATH", default_value = "/metrics")]
    pub telemetry_path: String,
    /// YAML file with TLS, users and headers, as the Prometheus exporter-toolkit takes it. Read again when it, or a file it names, changes
    #[arg(long = "web.config.file", env = "WEB_CONFIG_FILE", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Where browsers find the pages, for links in boards and alerts. Without it the host's name and the port
    #[arg(long = "web.external-url", env = "WEB_EXTERNAL_URL", value_name = "URL")]
    pub external_url: Option<String>,
    /// Who may see pages and the API, which show addresses and users. auto: peers on this machine that ask for a local
    /// name, and authenticated ones
    #[arg(long = "web.pages", env = "WEB_PAGES", value_name = "WHO", default_value = "auto")]
    pub pages: PagesMode,
}

/// Who may see pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PagesMode {
    Auto,
    On,
    Off,
}

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Minimum log level
    #[arg(long = "log.level", env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info", ignore_case = true)]
    pub level: LogLevel,
    /// Log format
    #[arg(
        long = "log.format",
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "logfmt",
        ignore_case = true
    )]
    pub format: LogFormat,
}

/// A severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// The words of `serve`.
#[derive(Args, Clone, Debug)]
#[expect(missing_docs, reason = "the types say it")]
pub struct ServeArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub sample: SampleArgs,
    #[command(flatten)]
    pub announce: AnnounceArgs,
    #[command(flatten)]
    pub group: GroupArgs,
    #[command(flatten)]
    pub presence: PresenceArgs,
    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// The words of `clients`.
#[derive(Args, Clone, Debug)]
pub struct ClientsArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub redis: RedisArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub group: GroupArgs,
    /// Silence after which a client counts as idle
    #[arg(long = "idle-after", env = "IDLE_AFTER", value_name = "DURATION", default_value = "5m")]
    pub idle_after: String,
    /// Format of the list
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Field to sort by, with - in front for the largest first: --sort=-idle
    #[arg(long, value_name = "FIELD", default_value = "-idle", allow_hyphen_values = true)]
    pub sort: String,
    /// Only clients of which this is true: 'idle>10m', 'user=app', 'name!=web', 'addr~10.0.', 'kind=application'. Repeatable
    ///
    /// Fields are those of CLIENT LIST, and app, network, kind, state, address and redis. = and != compare, ~ means contains,
    /// and < > <= >= compare numbers and durations.
    #[arg(long = "filter", value_name = "FIELD=VALUE")]
    pub filters: Vec<String>,
    /// Most clients to list, or groups with --by
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Count the clients by this instead of listing them
    #[arg(long, value_name = "WHAT")]
    pub by: Option<Dimension>,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ListFormat {
    Table,
    Json,
    Csv,
}

/// What clients can be counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Dimension {
    App,
    User,
    Library,
    Network,
    Database,
    Command,
    ClientKind,
    State,
}

/// The words of `watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub redis: RedisArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub channel: ChannelArgs,
    /// File of keys, one a line: print only statuses signed with one of them
    #[arg(long = "announce.key-file", env = "ANNOUNCE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// table: a screen that refreshes. json: each message as it came, one a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: WatchFormat,
    /// Most clients to show in a table, the longest silent first
    #[arg(long, value_name = "N", default_value = "20")]
    pub limit: usize,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// The form of what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WatchFormat {
    Table,
    Json,
}

/// The words of `check`.
#[derive(Args, Clone, Debug)]
// Under no heading of its own, "the channel" would not say which.
#[command(mut_arg("channel", |channel| channel.help("The status channel")))]
#[expect(missing_docs, reason = "the types say it")]
pub struct CheckArgs {
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub channel: ChannelArgs,
    #[command(flatten)]
    pub sample: SampleArgs,
    #[command(flatten)]
    pub group: GroupArgs,
}

/// The words of `healthy`.
#[derive(Args, Clone, Debug)]
pub struct HealthyArgs {
    /// Address that serve listens on, all of them if there are several; with :port this machine is asked
    #[arg(
        long = "web.listen-address",
        env = "WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = ":19121"
    )]
    pub listen: Vec<String>,
}

/// The words of `catalogue`.
#[derive(Args, Clone, Debug)]
pub struct CatalogueArgs {
    /// Format of the table
    #[arg(long, value_name = "FORMAT", default_value = "markdown")]
    pub format: CatalogueFormat,
}

/// The form of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CatalogueFormat {
    Markdown,
    Json,
}
