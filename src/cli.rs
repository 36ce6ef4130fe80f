//! The command-line arguments: names, help texts and raw values. `config` validates them, so that all faults are
//! reported together.

mod clients;
mod servers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::build_info::LONG_VERSION;
use crate::status::CHANNEL;

pub use clients::{ClientsArgs, ListFormat};
pub use servers::{DiscoveryArgs, DiscoveryRoles, RedisArgs};

/// Exports the client connections of Redis and Valkey servers: who is connected, since when, and the last interaction.
///
/// Samples the clients of one or several servers every --client-announce-frequency, serves them as Prometheus metrics,
/// as pages and as an API, and announces each sample on the channel __redis__:cli. Works with every stock Redis from
/// 5.0 and every Valkey; nothing on the server is changed. No stock server has a `client-announce-frequency` of its
/// own: this program provides it.
#[derive(Debug, Parser)]
#[command(name = "redis-client-exporter", version, long_version = LONG_VERSION)]
#[command(args_conflicts_with_subcommands = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// Subcommand (default: serve)
    #[command(subcommand)]
    pub command: Option<CliCommand>,
    /// The args of `serve`, which need no subcommand.
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

Durations are written as 500us, 10s, 5m, 1h30m, 1d, or as plain seconds.

Exit codes:
  0  success; check: everything works
  1  failure at run time, for example a port in use; healthy: the exporter does not answer
  2  invalid command line
  3  check: the server can be sampled, but something is missing
  4  check, clients: a server cannot be sampled";

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Sample the servers and serve metrics, pages and API (default)
    Serve(Box<ServeArgs>),
    /// Subscribe to the status channel and print each status
    Watch(WatchArgs),
    /// List the clients of the servers once
    Clients(ClientsArgs),
    /// Connect once, report what works and what is missing, and print the ACL line that the exporter needs
    ///
    /// Exit code 0: everything works. 3: the server can be sampled, but something is missing. 4: it cannot be sampled.
    Check(CheckArgs),
    /// Check that the exporter on this machine answers, for images without a shell
    ///
    /// Exit code 0: it answers; a request for TLS or for a password counts as an answer. 1: it does not answer within 3
    /// s.
    Healthy(HealthyArgs),
    /// Print every metric: name, type, unit, labels, help
    Catalogue(CatalogueArgs),
}

/// The args for sampling.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SampleArgs {
    /// Interval of samples, and of statuses on the channel
    #[arg(
        long = "client-announce-frequency",
        env = "CLIENT_ANNOUNCE_FREQUENCY",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub frequency: String,
    /// Target maximum time that one command blocks the server's main thread; clients are listed in pages of a matching
    /// size
    #[arg(long = "sample.max-stall", env = "SAMPLE_MAX_STALL", value_name = "DURATION", default_value = "500us")]
    pub max_stall: String,
    /// Target maximum share of the server's main-thread time for all commands of this program; samples are taken less
    /// often to keep it
    #[arg(long = "sample.max-load", env = "SAMPLE_MAX_LOAD", value_name = "PERCENT", default_value = "1%")]
    pub max_load: String,
    /// Maximum age of a sample. If --sample.max-stall and --sample.max-load cannot both be kept within it, the plan
    /// with the least excess is used and redis_clients_sample_within_budget is 0
    #[arg(long = "sample.max-age", env = "SAMPLE_MAX_AGE", value_name = "DURATION", default_value = "60s")]
    pub max_age: String,
    /// Maximum memory for the replies and received statuses of all servers together; a reply that finds no room fails
    /// as too_large
    #[arg(long = "sample.max-memory", env = "SAMPLE_MAX_MEMORY", value_name = "SIZE", default_value = "256MiB")]
    pub max_memory: String,
    /// Interval of the quick poll between samples, which detects opened and closed connections and costs the server
    /// about 40 us for any number of clients; 0 disables
    #[arg(
        long = "sample.quick-poll",
        alias = "sample.look",
        env = "SAMPLE_QUICK_POLL",
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub quick_poll: String,
    /// A client counts as idle if no byte was sent or received for this long
    #[arg(long = "idle-after", env = "IDLE_AFTER", value_name = "DURATION", default_value = "5m")]
    pub idle_after: String,
    /// Thresholds of idle time (label min_idle) for redis_clients_idle_connections and
    /// redis_clients_app_idle_connections
    #[arg(
        long = "idle.thresholds",
        env = "IDLE_THRESHOLDS",
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1m,5m,1h,1d"
    )]
    pub idle_thresholds: Vec<String>,
}

/// The args for the status channel.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Status channel")]
pub struct AnnounceArgs {
    /// When to announce samples on the channel. auto: unless another exporter does
    #[arg(long = "announce", env = "ANNOUNCE", value_name = "WHEN", default_value = "auto")]
    pub announce: AnnounceMode,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub channel: ChannelArgs,
    /// Maximum size of one status, sent in parts of at most 64 KiB. PUBLISH replicates, so a large status fills the
    /// replication backlog [default: 64KiB; in a cluster 64KiB divided by its nodes, at least 4KiB]
    #[arg(long = "announce.max-bytes", env = "ANNOUNCE_MAX_BYTES", value_name = "BYTES")]
    pub max_bytes: Option<String>,
    /// File with HMAC keys, one per line: the first signs, any verifies
    #[arg(long = "announce.key-file", env = "ANNOUNCE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// With --sample never: the node to show, if several nodes are announced on the channel
    #[arg(long = "announce.node", env = "ANNOUNCE_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// When to sample. auto: unless complete, signed statuses are received (needs --announce.key-file). never: only
    /// receive statuses, which needs no permission except to subscribe
    #[arg(long = "sample", env = "SAMPLE", value_name = "WHEN", default_value = "always")]
    pub sample: SampleMode,
}

/// The arg for the name of the status channel.
#[derive(Args, Clone, Debug)]
pub struct ChannelArgs {
    /// Name of the status channel
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

/// The args for grouping clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Groups")]
pub struct GroupArgs {
    /// File (YAML) with rules that set the application of a client by name, user and network. They take precedence over
    /// all other methods. Reloaded when it changes
    ///
    /// rules: [{app: billing, name: 'bill(ing)?-.*'}, {app: '$1-jobs', name: '([a-z]+)-job-.*', user: batch}, {app:
    /// office, network: 10.20.0.0/16}]. A pattern must match the whole text; all conditions of a rule must match; the
    /// first matching rule is used.
    #[arg(long = "group.file", env = "GROUP_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Regular expression that extracts the application from a client's name: its first group, or the whole match. A
    /// name that does not match is used unchanged. Replaces the built-in rules that remove the parts of a name that
    /// differ between processes
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
    /// Prefix lengths that group addresses into networks, for IPv4 and IPv6
    #[arg(
        long = "group.network-prefix",
        env = "GROUP_NETWORK_PREFIX",
        value_name = "/N,/N",
        default_value = "/24,/64"
    )]
    pub network_prefix: String,
}

/// The args for the number of groups, expected applications, and clients that are exported individually.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Presence")]
pub struct PresenceArgs {
    /// Maximum number of groups by application, user, library, network, database or command; smaller groups are summed
    /// up as (other)
    #[arg(help_heading = "Groups", long = "group.limit", env = "GROUP_LIMIT", value_name = "N", default_value = "50")]
    pub group_limit: String,
    /// Expected application, with its minimum number of connections to all servers together: billing=2. With a name of
    /// servers, in which * is any text, on each of them: billing@db-*=2. Repeatable
    ///
    /// An @ in the name of an application needs another one at its end: job@host@=2. A server that is a replica is
    /// matched as well.
    #[arg(long = "presence.expect", env = "PRESENCE_EXPECT", value_name = "APP[@SERVER][=MIN]", value_delimiter = ',')]
    pub expect: Vec<String>,
    /// Time for which an application without connections is remembered
    #[arg(
        long = "presence.forget-after",
        env = "PRESENCE_FORGET_AFTER",
        value_name = "DURATION",
        default_value = "24h"
    )]
    pub forget_after: String,
    /// Maximum number of clients that are exported individually in metrics, longest idle first. Each has five series
    /// with its id: keep it small
    #[arg(long = "metrics.per-client", env = "METRICS_PER_CLIENT", value_name = "N", default_value = "0")]
    pub per_client: String,
    /// Maximum number of series of all servers together. With many servers, --group.limit and --metrics.per-client
    /// become smaller for each of them alike; redis_clients_group_limit is what is left
    #[arg(long = "metrics.max-series", env = "METRICS_MAX_SERIES", value_name = "N", default_value = "50000")]
    pub max_series: String,
}

/// The args for the web server.
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
    /// YAML file with TLS, users and headers, in the format of the Prometheus exporter-toolkit. Reloaded when it, or
    /// a file named in it, changes
    #[arg(long = "web.config.file", env = "WEB_CONFIG_FILE", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// URL of the pages for browsers, used in links of dashboards and alerts. Default: the host name and the port
    #[arg(long = "web.external-url", env = "WEB_EXTERNAL_URL", value_name = "URL")]
    pub external_url: Option<String>,
    /// Access to the pages and the API, which show addresses and users. auto: authenticated users, and peers on this
    /// machine that use a local host name and are not behind a proxy that shows itself. on: everyone. off: no one
    #[arg(long = "web.pages", env = "WEB_PAGES", value_name = "WHO", default_value = "auto")]
    pub pages: PagesMode,
}

/// Access to the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PagesMode {
    Auto,
    On,
    Off,
}

/// The args for logging.
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
    #[value(alias = "fatal", alias = "critical")]
    Error,
    #[value(alias = "warning")]
    Warn,
    #[value(alias = "notice")]
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    #[value(alias = "text", alias = "console")]
    Logfmt,
    Json,
}

/// The args of `serve`.
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

/// The args of `watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub redis: RedisArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub channel: ChannelArgs,
    /// File with HMAC keys, one per line: print only statuses that are signed with one of them
    #[arg(long = "announce.key-file", env = "ANNOUNCE_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// table: a screen that refreshes. json: each message unchanged, one per line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: WatchFormat,
    /// Maximum number of clients in a table, longest idle first
    #[arg(long, value_name = "N", default_value = "20")]
    pub limit: usize,
    /// Exit after this number of messages; in a table, the parts of a status are one
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// The output format of `watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WatchFormat {
    Table,
    Json,
}

/// The args of `check`.
#[derive(Args, Clone, Debug)]
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

/// The args of `healthy`.
#[derive(Args, Clone, Debug)]
pub struct HealthyArgs {
    /// Address that serve listens on; repeat it for all of them. :port means this machine
    #[arg(
        long = "web.listen-address",
        env = "WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = ":19121"
    )]
    pub listen: Vec<String>,
}

/// The args of `catalogue`.
#[derive(Args, Clone, Debug)]
pub struct CatalogueArgs {
    /// Format of the table
    #[arg(long, value_name = "FORMAT", default_value = "markdown")]
    pub format: CatalogueFormat,
}

/// The output format of `catalogue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CatalogueFormat {
    Markdown,
    Json,
}
