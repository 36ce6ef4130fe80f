//! Clients that went: the last of them, each as it was seen last.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::kind::ClientKind;
use super::label::label_value;
use super::last_interaction;
use super::roster::{Entry, Roster, Work};
use crate::client_list::Field;

/// The most clients that are remembered after they went.
pub const MAX_CLOSED: usize = 10_000;

/// Why a client went. Only the server's own counters prove anything; a client that hung up, was killed or timed out leaves
/// no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The server closed it for the size of its output or query buffer (Redis 7.4+, Valkey 8.0+ count this).
    Limit,
    /// The server closed it to stay below `maxmemory-clients` (7.0+).
    Evicted,
    /// The server started anew.
    Restart,
    /// Anything else.
    Unknown,
}

impl CloseReason {
    /// Every reason, in the order in which they are counted.
    pub const ALL: [CloseReason; 4] =
        [CloseReason::Limit, CloseReason::Evicted, CloseReason::Restart, CloseReason::Unknown];

    /// The reason as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            CloseReason::Limit => "limit",
            CloseReason::Evicted => "evicted",
            CloseReason::Restart => "restart",
            CloseReason::Unknown => "unknown",
        }
    }
}

/// A client that went. Text is cut and spelled out as labels are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub id: u64,
    /// Its application, if it was an application client.
    pub app: Option<Arc<str>>,
    /// What it was.
    pub kind: ClientKind,
    /// Where it had connected from.
    pub address: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its user.
    pub user: Box<str>,
    /// Its library.
    pub library: Box<str>,
    /// Its last command; `None` if it never sent one that the server knows.
    pub command: Option<Box<str>>,
    /// When it had connected.
    pub connected_at: Option<Timestamp>,
    /// When it last spoke or was spoken to.
    pub last_interaction: Option<Timestamp>,
    /// When it was last seen. It lived at least until then.
    pub last_seen_at: Timestamp,
    /// The sample in which it was missing first. It was gone by then.
    pub closed_at: Timestamp,
    /// Commands it had run, where the server tells.
    pub commands: Option<u64>,
    /// Bytes that had been read from it, where the server tells.
    pub received_bytes: Option<u64>,
    /// Bytes that had been written to it, where the server tells.
    pub sent_bytes: Option<u64>,
    /// Why it went, as far as can be proved.
    pub reason: CloseReason,
}

impl Closed {
    /// As it was seen last, in the sample of this roster.
    pub(super) fn new(entry: &Entry, roster: &Roster, closed_at: Timestamp, reason: CloseReason) -> Option<Self> {
        let (client, last_seen_at) = (roster.client(entry)?, roster.read_at(entry));
        let text = |field| client.text(field).map(label_value).unwrap_or_default().into_boxed_str();
        let Work { commands, received_bytes, sent_bytes } = Work::of(client);
        Some(Self {
            id: client.id()?,
            app: roster.app(entry).cloned(),
            kind: entry.kind,
            address: text(Field::Addr),
            name: text(Field::Name),
            user: text(Field::User),
            library: text(Field::LibName),
            command: (!entry.is_silent).then(|| text(Field::Cmd)),
            connected_at: entry.connected_at,
            last_interaction: last_interaction(client, last_seen_at),
            last_seen_at,
            closed_at,
            commands,
            received_bytes,
            sent_bytes,
            reason,
        })
    }

    /// How long it lived at least, in seconds: from when it connected until it was last seen.
    pub fn lifetime_seconds(&self) -> Option<u64> {
        u64::try_from(self.last_seen_at.duration_since(self.connected_at?).as_secs()).ok()
    }
}

/// The last clients that went, at most [`MAX_CLOSED`].
#[derive(Clone, Debug, Default)]
pub struct ClosedRing(Arc<VecDeque<Arc<Closed>>>);

impl ClosedRing {
    /// The clients, the one that went last first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Closed>> {
        self.0.iter().rev()
    }

    pub(super) fn with(&self, more: &[Arc<Closed>]) -> Self {
        if more.is_empty() {
            return self.clone();
        }
        let kept = MAX_CLOSED.saturating_sub(more.len());
        let old = self.0.iter().skip(self.0.len().saturating_sub(kept));
        Self(Arc::new(old.chain(more).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_holds_the_last_ones() {
        let closed = |id: u64| {
            Arc::new(Closed {
                id,
                app: None,
                kind: ClientKind::Application,
                address: "".into(),
                name: "".into(),
                user: "".into(),
                library: "".into(),
                command: None,
                connected_at: None,
                last_interaction: None,
                last_seen_at: Timestamp::UNIX_EPOCH,
                closed_at: Timestamp::UNIX_EPOCH,
                commands: None,
                received_bytes: None,
                sent_bytes: None,
                reason: CloseReason::Unknown,
            })
        };
        let most = MAX_CLOSED as u64;
        let ring = ClosedRing::default().with(&(0..most - 1).map(closed).collect::<Vec<_>>());
        let ring = ring.with(&(most..most + 5).map(closed).collect::<Vec<_>>());
        assert_eq!(ring.iter().len() as u64, most);
        assert_eq!(ring.iter().next().map(|closed| closed.id), Some(most + 4));
        assert_eq!(ring.iter().last().map(|closed| closed.id), Some(4));
    }
}
