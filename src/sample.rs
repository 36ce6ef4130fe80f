//! One reading of a node, and why a reading fails. Pure data: whoever reads or hears fills it, `snapshot` uses it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::{Client, Listing, Unreadable};
use crate::server_info::ServerInfo;

/// The name our links set with `CLIENT SETNAME`, and their library name: by it one exporter knows another's links.
pub const OUR_NAME: &str = "redis-client-exporter";

/// One reading of a node's clients. It may lack one half, where the server refuses that command to our user.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was read, by the node's own clock where `INFO` tells it, else by ours.
    pub at: Timestamp,
    /// What `INFO` told, or why it was refused.
    pub info: Result<ServerInfo, Failure>,
    /// What `CLIENT LIST` told, or why it was refused.
    pub clients: Result<Pages, Failure>,
    /// Lines of the replies that could not be read, since the sample before.
    pub unreadable: Unreadable,
    /// The ids of our own links to the node.
    pub own_ids: Vec<u64>,
    /// What reading it cost.
    pub cost: Cost,
    /// Whence it comes.
    pub source: Source,
}

/// Whence a sample comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// We read it ourselves.
    #[default]
    Sampled,
    /// Another told it on the channel.
    Received(ReceivedTotals),
}

/// What a status tells beside its clients, which may not be all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedTotals {
    /// All connections.
    pub connections: u64,
    /// Connections of applications.
    pub online: u64,
    /// Of these, those that have never sent a command.
    pub silent: u64,
    /// Clients that did not fit.
    pub truncated: u64,
}

impl Sample {
    /// Whether clients that its source knew are left out of it.
    pub fn is_truncated(&self) -> bool {
        matches!(self.source, Source::Received(ReceivedTotals { truncated: 1.., .. }))
    }
}

/// Clients that were read at one time.
#[derive(Debug)]
pub struct Page {
    /// When they were read, by the clock that the sample goes by.
    pub at: Timestamp,
    /// What the server told.
    pub listing: Listing,
}

/// Where a client stands in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    page: u32,
    row: u32,
}

/// The clients of a sample: one page or several, each of its own time. No client is in two of them.
#[derive(Clone, Debug, Default)]
pub struct Pages(Vec<Arc<Page>>);

impl Pages {
    /// A single page.
    pub fn one(at: Timestamp, listing: Listing) -> Self {
        Self(vec![Arc::new(Page { at, listing })])
    }

    /// Adds a page.
    pub fn push(&mut self, page: Page) {
        self.0.push(Arc::new(page));
    }

    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes off all pages after the first so many.
    pub fn truncate(&mut self, pages: usize) {
        self.0.truncate(pages);
    }

    /// Adds the pages of another reading, in which there are other clients.
    pub fn extend(&mut self, more: Pages) {
        self.0.extend(more.0);
    }

    /// All clients, each with the time at which it was read.
    pub fn clients(&self) -> impl Iterator<Item = (Timestamp, &Client<'_>)> {
        self.0.iter().flat_map(|page| page.listing.clients().iter().map(|client| (page.at, client)))
    }

    /// All clients, each with its place.
    pub fn places(&self) -> impl Iterator<Item = (Place, &Client<'_>)> {
        self.0.iter().zip(0..).flat_map(|(page, number)| {
            let rows = page.listing.clients().iter().zip(0..);
            rows.map(move |(client, row)| (Place { page: number, row }, client))
        })
    }

    /// The client at a place of these pages.
    pub fn client(&self, place: Place) -> Option<&Client<'_>> {
        self.0.get(place.page as usize)?.listing.clients().get(place.row as usize)
    }

    /// When the client at a place was read.
    pub fn read_at(&self, place: Place) -> Option<Timestamp> {
        self.0.get(place.page as usize).map(|page| page.at)
    }

    /// When the last page was read.
    pub fn newest(&self) -> Option<Timestamp> {
        self.0.iter().map(|page| page.at).max()
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|page| page.listing.clients().len()).sum()
    }

    /// Whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines of these pages that could not be read.
    pub fn unreadable(&self) -> Unreadable {
        self.0.iter().fold(Unreadable::default(), |sum, page| sum.plus(page.listing.unreadable()))
    }
}

/// What a sample cost the server and took us.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// From the first command to the last reply.
    pub duration: Duration,
    /// The pages in which the clients were listed; 0 for one full listing.
    pub pages: u32,
    /// Main-thread time of all our commands since the sample before, from the server's own command statistics; `None`
    /// where it hides them.
    pub server_time: Option<Duration>,
    /// Main-thread time of our longest command; `None` as above.
    pub longest_command: Option<Duration>,
    /// Whether the way in which the clients are listed keeps the budget; `None` as above.
    pub within_budget: Option<bool>,
    /// Connections that `INFO` counts more than were listed; negative if fewer. `None` without `INFO`.
    pub drift: Option<i64>,
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
    /// Nobody announces what we only listen for.
    Silent,
    /// Anything else.
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
