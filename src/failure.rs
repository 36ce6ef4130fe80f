//! The reasons why a node cannot be sampled, why a command fails, and why a received message is refused. Pure data.
//! Each reason is also a metric's label value.

/// A failure of a node, or of one command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure, also a metric's label.
    pub reason: Reason,
    /// A sentence that names the node, the server's answer, and the fix. It never contains a secret.
    pub message: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host name does not resolve.
    Resolve,
    /// The connection was refused, or the host is unreachable.
    Connect,
    /// No answer within the time-out.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// Wrong or missing user or password.
    Auth,
    /// The server's protected mode refuses connections from other hosts.
    Denied,
    /// The user may not run a command.
    NoPermission,
    /// The server is loading its data.
    Loading,
    /// A script or function blocks the server.
    Busy,
    /// A replica without a link to its primary refuses commands.
    MasterDown,
    /// The server has reached its maximum number of connections.
    MaxClients,
    /// The answer does not follow the Redis protocol.
    Protocol,
    /// The connection was closed.
    Closed,
    /// A reply is larger than the limit.
    TooLarge,
    /// The server does not know a command.
    UnknownCommand,
    /// No exporter announces the node, and we do not sample it.
    Silent,
    /// Any other failure.
    Other,
}

impl Reason {
    /// Every reason, in the order in which they are counted.
    pub const ALL: [Reason; 17] = [
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
        Reason::Silent,
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
            Reason::Silent => "silent",
            Reason::Other => "other",
        }
    }
}

/// The reason why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is larger than a message may be, or the status has too many parts or clients.
    Oversize,
    /// It is not a JSON object of this format.
    Malformed,
    /// It has another schema.
    Schema,
    /// A client in it is invalid, for example with a space in its name.
    Client,
    /// A part of a status, or some of its clients, are missing.
    Incomplete,
    /// It was received before, or is too old.
    Replay,
    /// It is not signed with one of our keys.
    Signature,
    /// It is above the maximum rate of messages.
    Flood,
    /// It is a status of another node than the one that is followed.
    NotFollowed,
}

impl Refusal {
    /// Every refusal, in the order in which they are counted.
    pub const ALL: [Refusal; 9] = [
        Refusal::Oversize,
        Refusal::Malformed,
        Refusal::Schema,
        Refusal::Client,
        Refusal::Incomplete,
        Refusal::Replay,
        Refusal::Signature,
        Refusal::Flood,
        Refusal::NotFollowed,
    ];

    /// The refusal as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Oversize => "oversize",
            Refusal::Malformed => "malformed",
            Refusal::Schema => "schema",
            Refusal::Client => "client",
            Refusal::Incomplete => "incomplete",
            Refusal::Replay => "replay",
            Refusal::Signature => "signature",
            Refusal::Flood => "flood",
            Refusal::NotFollowed => "not_followed",
        }
    }
}
