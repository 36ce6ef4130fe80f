//! The clients that closed last, each with its last known values.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::kind::{ClientKind, State};
use super::last_interaction;
use super::roster::{Entry, Roster};
use super::tally::output_buffer_bytes;
use crate::client_list::Field;
use crate::text::label_value;

/// Maximum number of closed clients that are remembered.
pub const MAX_CLOSED: usize = 10_000;

/// The reason for which a client closed. Only the server's own counters prove one; a client that disconnected, was
/// killed or timed out leaves no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The server closed it for the size of its output or query buffer (Redis 7.4+, Valkey 8.0+ count this).
    Limit,
    /// The server closed it to stay below `maxmemory-clients` (7.0+).
    Evicted,
    /// The server restarted.
    Restart,
    /// Another server answers at this address, and the client is not connected to it.
    Failover,
    /// Anything else.
    Unknown,
}

impl CloseReason {
    /// Every reason, in the order in which they are counted.
    pub const ALL: [CloseReason; 5] =
        [CloseReason::Limit, CloseReason::Evicted, CloseReason::Restart, CloseReason::Failover, CloseReason::Unknown];

    /// The reason as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            CloseReason::Limit => "limit",
            CloseReason::Evicted => "evicted",
            CloseReason::Restart => "restart",
            CloseReason::Failover => "failover",
            CloseReason::Unknown => "unknown",
        }
    }
}

/// A closed client. Text is cut and escaped like a label value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its id.
    pub id: u64,
    /// Its application, if it was an application client.
    pub app: Option<Arc<str>>,
    /// Its kind.
    pub kind: ClientKind,
    /// The address of the peer.
    pub address: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its user.
    pub user: Box<str>,
    /// Its library.
    pub library: Box<str>,
    /// Its last command; `None` if it never sent one that the server knows.
    pub command: Option<Box<str>>,
    /// The time at which it connected.
    pub connected_at: Option<Timestamp>,
    /// The time of the last byte in either direction; `None` if it never sent a command.
    pub last_interaction: Option<Timestamp>,
    /// The last sample in which it was listed. It was open at least until then.
    pub last_seen_at: Timestamp,
    /// The first sample in which it was missing. It closed before that.
    pub closed_at: Timestamp,
    /// Its last state, if it was an application client.
    pub state: Option<State>,
    /// Bytes in its output buffer when it was listed last. The server may have closed it for their number.
    pub output_buffer_bytes: u64,
    /// Bytes in its query buffer when it was listed last.
    pub query_buffer_bytes: Option<u64>,
    /// Memory that the server held for it, where the server reports it.
    pub memory_bytes: Option<u64>,
    /// Commands that it ran, where the server reports it.
    pub commands: Option<u64>,
    /// Bytes that the server read from it, where the server reports it.
    pub received_bytes: Option<u64>,
    /// Bytes that the server wrote to it, where the server reports it.
    pub sent_bytes: Option<u64>,
    /// The reason, as far as the server's counters prove it.
    pub reason: CloseReason,
}

impl Closed {
    /// Takes the values of the last sample in which it was listed; `None` for a client without an id.
    pub(super) fn new(entry: &Entry, roster: &Roster, closed_at: Timestamp, reason: CloseReason) -> Option<Self> {
        let (client, last_seen_at) = (roster.client(entry)?, roster.read_at(entry));
        let text = |field| client.text(field).map(label_value).unwrap_or_default().into_boxed_str();
        Some(Self {
            id: client.id()?,
            app: roster.app(entry).cloned(),
            kind: entry.kind,
            address: text(Field::Addr),
            name: text(Field::Name),
            user: text(Field::User),
            library: text(Field::LibName),
            command: (!entry.is_silent).then(|| text(Field::Cmd)),
            connected_at: entry.connected_at(),
            last_interaction: last_interaction(client, last_seen_at),
            last_seen_at,
            closed_at,
            state: entry.state,
            output_buffer_bytes: output_buffer_bytes(client),
            query_buffer_bytes: client.unsigned(Field::Qbuf),
            memory_bytes: client.unsigned(Field::TotMem),
            commands: client.unsigned(Field::TotCmds),
            received_bytes: client.unsigned(Field::TotNetIn),
            sent_bytes: client.unsigned(Field::TotNetOut),
            reason,
        })
    }

    /// The minimum time that it was open, in seconds: from its connecting to the last sample in which it was listed.
    pub fn lifetime_seconds(&self) -> Option<u64> {
        u64::try_from(self.last_seen_at.duration_since(self.connected_at?).as_secs()).ok()
    }
}

/// The clients that closed last, at most [`MAX_CLOSED`].
#[derive(Clone, Debug, Default)]
pub struct ClosedRing(Arc<VecDeque<Arc<Closed>>>);

impl ClosedRing {
    /// The clients, the last closed first.
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
                state: None,
                output_buffer_bytes: 0,
                query_buffer_bytes: None,
                memory_bytes: None,
                commands: None,
                received_bytes: None,
                sent_bytes: None,
                reason: CloseReason::Unknown,
            })
        };
        let max = MAX_CLOSED as u64;
        let ring = ClosedRing::default().with(&(0..max - 1).map(closed).collect::<Vec<_>>());
        let ring = ring.with(&(max..max + 5).map(closed).collect::<Vec<_>>());
        assert_eq!(ring.iter().len() as u64, max);
        assert_eq!(ring.iter().next().map(|closed| closed.id), Some(max + 4));
        assert_eq!(ring.iter().last().map(|closed| closed.id), Some(4));
    }
}
