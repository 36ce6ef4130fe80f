//! One reading of a node, and why a reading fails. Pure data: whoever reads or hears fills it, `snapshot` uses it.

use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::Listing;
use crate::server_info::ServerInfo;

/// The name our links set with `CLIENT SETNAME`, and their library name: by it one exporter knows another's links.
pub const OUR_NAME: &str = "redis-client-exporter";

/// One reading of a node's clients. It may lack one half, where the server refuses that command to our user.
#[derive(Debug)]
pub struct Sample {
    /// When it was read, by the node's own clock where `INFO` tells it, else by ours.
    pub at: Timestamp,
    /// What `INFO` told, or why it was refused.
    pub info: Result<ServerInfo, Failure>,
    /// What `CLIENT LIST` told, or why it was refused.
    pub listing: Result<Listing, Failure>,
    /// The ids of our own links to the node.
    pub own_ids: Vec<u64>,
    /// What reading it cost.
    pub cost: Cost,
}

/// What a sample cost the server and took us.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// From the first command to the last reply.
    pub duration: Duration,
    /// The replies that list clients.
    pub pages: u32,
    /// Main-thread time of all our commands, from the server's own command statistics; `None` where it hides them.
    pub server_time: Option<Duration>,
    /// Main-thread time of our longest command; `None` as above.
    pub longest_command: Option<Duration>,
}

/// Why a node, or one command, could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure, also a metric's label.
    pub reason: Reason,
    /// A sentence that names the node and the mend. Never holds a secret.
    pub message: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host name does not resolve.
    Resolve,
    /// Nothing accepts connections there.
    Connect,
    /// No answer in time.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// Wrong or missing user or password.
    Auth,
    /// The server's protected mode turns strangers away.
    Denied,
    /// The user may not run a command.
    NoPermission,
    /// The server is loading its data.
    Loading,
    /// A script or function holds the server.
    Busy,
    /// A replica without its primary refuses to answer.
    MasterDown,
    /// The server has as many connections as it allows.
    MaxClients,
    /// Whatever answers does not speak the Redis protocol.
    Protocol,
    /// The connection was closed.
    Closed,
    /// A reply is larger than we accept.
    TooLarge,
    /// The server does not know a command.
    UnknownCommand,
    /// Anything else.
    Other,
}

impl Reason {
    /// Every reason, in the order in which they are counted.
    pub const ALL: [Reason; 16] = [
        Reason::Resolve,
        Reason::Connect,
        Reason::Timeout,
        Reason::Tls,
        Reason::Auth,
        Reason::Denied,
        Reason::NoPermission,
        Reason::Loading,
        Reason::Busy,
        Reason::MasterDown,
        Reason::MaxClients,
        Reason::Protocol,
        Reason::Closed,
        Reason::TooLarge,
        Reason::UnknownCommand,
        Reason::Other,
    ];

    /// The reason as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Resolve => "resolve",
            Reason::Connect => "connect",
            Reason::Timeout => "timeout",
            Reason::Tls => "tls",
            Reason::Auth => "auth",
            Reason::Denied => "denied",
            Reason::NoPermission => "noperm",
            Reason::Loading => "loading",
            Reason::Busy => "busy",
            Reason::MasterDown => "masterdown",
            Reason::MaxClients => "maxclients",
            Reason::Protocol => "protocol",
            Reason::Closed => "closed",
            Reason::TooLarge => "too_large",
            Reason::UnknownCommand => "unknown_command",
            Reason::Other => "other",
        }
    }
}
