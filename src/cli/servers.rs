//! The args for servers: addresses, credentials, TLS, and the discovery of nodes.

use std::path::PathBuf;

use clap::builder::{ArgPredicate, BoolishValueParser};
use clap::{Args, ValueEnum};

/// The args for servers and credentials.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Servers")]
pub struct RedisArgs {
    /// Server to sample: redis://, rediss:// (TLS), valkey://, valkeys:// (TLS), tcp://, unix://, a path, or host:port;
    /// or what leads to several: a cluster redis+cluster://a:6379,b:6379, a Sentinel group
    /// redis+sentinel://a:26379,b:26379/mymaster, SRV records redis+srv://NAME, all addresses of a name
    /// redis+dns://NAME:6379 (with TLS: rediss+…). Repeatable; several are separated by commas or spaces
    ///
    /// Everyone who may run ps can read a password in it; use --redis.password-file instead.
    #[arg(
        long = "redis.addr",
        env = "REDIS_ADDR",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        default_value_if("targets_file", ArgPredicate::IsPresent, None),
        hide_env_values = true
    )]
    pub addresses: Vec<String>,
    /// File (JSON or YAML, in the format of Prometheus's file_sd) with more servers and clusters, which may come and
    /// go: it is reloaded when it changes. With it, --redis.addr has no default
    ///
    /// [{"targets": ["redis://10.0.0.5:6379"], "labels": {"__name": "billing", "__auth": "prod"}}, {"targets":
    /// ["redis+cluster://10.0.1.1,10.0.1.2"], "labels": {"cluster": "sessions"}}]. __name is the name of a server or a
    /// cluster, __auth a module of --redis.auth-file. A file with a fault is refused, and the previous targets stay.
    #[arg(long = "redis.targets-file", env = "REDIS_TARGETS_FILE", value_name = "FILE")]
    pub targets_file: Option<PathBuf>,
    /// File (JSON or YAML) with modules for targets with the label __auth: user, password_file or password_command,
    /// tls_ca_file and others. Reloaded when it changes
    ///
    /// prod: {user: monitor, password_file: prod.password}. A password_command is a list of args, such as [sh, -c, …],
    /// that prints the password: for tokens that expire. See docs/authentication.md.
    #[arg(long = "redis.auth-file", env = "REDIS_AUTH_FILE", value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// Name of each server in metrics, pages and messages (label redis), one for each --redis.addr, in their order. For
    /// a cluster or Sentinel group, it is the label cluster.
    /// Default: the address; for an address on this machine, host name and port or path. Repeatable, or separated by
    /// commas
    ///
    /// The name must be unique in the whole monitoring system. In a container, give one for a server on 127.0.0.1 or a
    /// unix socket, because the host name changes with each new container.
    #[arg(long = "redis.name", env = "REDIS_NAME", value_name = "NAME", value_delimiter = ',')]
    pub names: Vec<String>,
    /// ACL user for all addresses without a user
    #[arg(long = "redis.user", env = "REDIS_USER", value_name = "USER", hide_env_values = true)]
    pub user: Option<String>,
    /// Password. Everyone who may run ps can read it: prefer --redis.password-file or the environment variable
    #[arg(long = "redis.password", env = "REDIS_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// File with the password, read at each connect; or with a JSON object of addresses and their passwords
    #[arg(long = "redis.password-file", env = "REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// ACL user for sentinels. User and password of an address are those of the servers
    #[arg(long = "redis.sentinel-user", env = "REDIS_SENTINEL_USER", value_name = "USER", hide_env_values = true)]
    pub sentinel_user: Option<String>,
    /// File with the password for sentinels, read at each connect. Without it, no password is sent to them
    #[arg(long = "redis.sentinel-password-file", env = "REDIS_SENTINEL_PASSWORD_FILE", value_name = "FILE")]
    pub sentinel_password_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust for rediss:// instead of the system's
    #[arg(long = "redis.tls-ca-file", env = "REDIS_TLS_CA_FILE", value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,
    /// Client certificate (PEM), if the server requires one
    #[arg(long = "redis.tls-cert-file", env = "REDIS_TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) of the client certificate
    #[arg(long = "redis.tls-key-file", env = "REDIS_TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// Name that the servers' certificates must have, if it is not the host of their address: for tunnels, port
    /// forwarding, and certificates of one name for many servers
    #[arg(long = "redis.tls-server-name", env = "REDIS_TLS_SERVER_NAME", value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Don't verify the servers' certificates. Another host on the way to a server can then read the password and all
    /// else: only for tests, and where nothing else is possible
    #[arg(
        long = "redis.tls-insecure-skip-verify",
        env = "REDIS_TLS_INSECURE_SKIP_VERIFY",
        value_parser = BoolishValueParser::new()
    )]
    pub tls_insecure_skip_verify: bool,
    /// Time-out for connecting, and for each reply
    #[arg(long = "redis.timeout", env = "REDIS_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    pub timeout: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub discovery: DiscoveryArgs,
}

/// The args for the discovery of nodes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Discovery")]
pub struct DiscoveryArgs {
    /// Time between two discoveries of the nodes of a cluster or Sentinel group. The topology is also read at once when
    /// a node fails, restarts or changes its role, and when a sentinel reports a failover
    #[arg(
        id = "discovery.interval",
        long = "discovery.interval",
        env = "DISCOVERY_INTERVAL",
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub interval: String,
    /// Maximum number of discovered nodes. Further ones are left out and counted
    #[arg(
        id = "discovery.max-nodes",
        long = "discovery.max-nodes",
        env = "DISCOVERY_MAX_NODES",
        value_name = "N",
        default_value = "256"
    )]
    pub max_nodes: String,
    /// Roles of the nodes to sample
    #[arg(
        id = "discovery.roles",
        long = "discovery.roles",
        env = "DISCOVERY_ROLES",
        value_name = "ROLES",
        default_value = "all"
    )]
    pub roles: DiscoveryRoles,
    /// Time after which the nodes of a target are removed whose discovery fails
    #[arg(
        id = "discovery.forget-after",
        long = "discovery.forget-after",
        env = "DISCOVERY_FORGET_AFTER",
        value_name = "DURATION",
        default_value = "5m"
    )]
    pub forget_after: String,
    /// Address to use in place of an announced one, for servers behind NAT: 172.18.0.2:6379=203.0.113.7:7001, or only
    /// hosts. Repeatable, or separated by commas
    #[arg(
        id = "discovery.address-map",
        long = "discovery.address-map",
        env = "DISCOVERY_ADDRESS_MAP",
        value_name = "FROM=TO",
        value_delimiter = ','
    )]
    pub address_map: Vec<String>,
    /// DNS server to ask for redis+srv:// and redis+dns://, such as 127.0.0.1:8600 (Consul). Default: those of
    /// /etc/resolv.conf
    #[arg(
        id = "discovery.dns-server",
        long = "discovery.dns-server",
        env = "DISCOVERY_DNS_SERVER",
        value_name = "ADDRESS"
    )]
    pub dns_server: Option<String>,
}

/// The roles of nodes that are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiscoveryRoles {
    /// All nodes.
    All,
    /// Only primaries.
    Primary,
    /// Only replicas.
    Replica,
}
