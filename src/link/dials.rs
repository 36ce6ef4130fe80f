//! The connections that this process opened to one node. The server counts and lists them like those of clients.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sample::OwnConnections;

/// Maximum number of connections to a node that are remembered.
const MAX_RECENT: usize = 64;

/// The time for which a new connection is recognized by its address: it is listed before it has a name.
const MAX_ANONYMOUS: Duration = Duration::from_secs(10);

/// The time for which a closed connection is recognized by its address: a server that was stopped accepts it later, and
/// lists it for a moment. Another program of this host could get the port later.
const MAX_LINGER: Duration = Duration::from_secs(60);

/// Counts the connections that this process opened to one node, whatever for and with whatever result.
#[derive(Debug, Default)]
pub struct Dials {
    opened: AtomicU64,
    rejected: AtomicU64,
    answered: AtomicU64,
    cut: AtomicU64,
    recent: Mutex<VecDeque<RecentDial>>,
}

/// A connection that is remembered.
#[derive(Debug)]
struct RecentDial {
    /// Its number among all of this node.
    number: u64,
    address: Option<SocketAddr>,
    opened_at: Instant,
    id: Option<u64>,
    /// When we closed it; `None` if it is open, or if the server closed it.
    left_at: Option<Instant>,
}

impl RecentDial {
    /// True if it may be listed without its name.
    fn is_anonymous(&self) -> bool {
        let is_new = self.id.is_none() || self.opened_at.elapsed() < MAX_ANONYMOUS;
        is_new && self.left_at.is_none_or(|left_at| left_at.elapsed() < MAX_LINGER)
    }
}

impl Dials {
    /// The number of connections that the server counted, or will count when it accepts them.
    pub fn opened(&self) -> u64 {
        let rejected = self.rejected.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(rejected)
    }

    /// The number of connections that the server certainly counted before now: it answered, or they have ended.
    pub fn answered(&self) -> u64 {
        let rejected = self.rejected.load(Ordering::Relaxed);
        self.answered.load(Ordering::Relaxed).saturating_sub(rejected)
    }

    /// True if it is certain for each of them whether the server has counted it.
    pub fn are_answered(&self) -> bool {
        self.opened() == self.answered()
    }

    /// All that is known about these connections.
    pub fn tally(&self) -> OwnConnections {
        let recent = self.recent();
        OwnConnections {
            opened: self.opened(),
            cut: self.cut.load(Ordering::Relaxed),
            ids: recent.iter().filter_map(|own| own.id).collect(),
            left: recent.iter().filter(|own| own.left_at.is_some()).filter_map(|own| own.id).collect(),
            addresses: recent.iter().filter(|own| own.is_anonymous()).filter_map(|own| own.address).collect(),
        }
    }

    /// Counts a connection, which has this address on our side. With TLS the server counts it after the handshake.
    pub(super) fn open(self: &Arc<Self>, address: Option<SocketAddr>) -> OwnConnection {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut recent = self.recent();
        if recent.len() == MAX_RECENT {
            // Those that are open are still listed.
            let ended = recent.iter().position(|own| own.left_at.is_some()).unwrap_or(0);
            recent.remove(ended);
        }
        let address = address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        recent.push_back(RecentDial { number, address, opened_at: Instant::now(), id: None, left_at: None });
        OwnConnection { dials: Arc::clone(self), number, is_answered: false, is_cut: false }
    }

    /// Notes that the server rejected a counted connection. It does not count those beyond `maxclients`, or refused by
    /// its protected mode (`networking.c`: `acceptCommonHandler`, `clientAcceptHandler`).
    pub(super) fn add_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<RecentDial>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of ours, from its opening to its end.
#[derive(Debug, Default)]
pub(super) struct OwnConnection {
    dials: Arc<Dials>,
    number: u64,
    is_answered: bool,
    is_cut: bool,
}

impl OwnConnection {
    /// Notes that the server answered.
    pub(super) fn note_answer(&mut self) {
        if !std::mem::replace(&mut self.is_answered, true) {
            self.dials.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Remembers its id.
    pub(super) fn identify(&mut self, id: u64) {
        self.note(|own| own.id = Some(id));
    }

    /// The highest id of this connection and those that were opened after it.
    pub(super) fn highest_id(&self) -> Option<u64> {
        self.dials.recent().iter().filter(|own| own.number >= self.number).filter_map(|own| own.id).max()
    }

    /// Notes that the server closed it.
    pub(super) fn note_cut(&mut self) {
        if !std::mem::replace(&mut self.is_cut, true) {
            self.dials.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note(&self, what: impl FnOnce(&mut RecentDial)) {
        if let Some(own) = self.dials.recent().iter_mut().find(|own| own.number == self.number) {
            what(own);
        }
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        self.note_answer();
        if !self.is_cut {
            self.note(|own| own.left_at = Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_the_server_closed_did_not_leave() {
        let dials = Arc::new(Dials::default());
        let open = |id| {
            let mut own = dials.open(None);
            own.identify(id);
            own
        };
        let (left, mut cut, kept) = (open(1), open(2), open(3));
        drop(left);
        cut.note_cut();
        cut.note_cut();
        drop(cut);
        let tally = dials.tally();
        assert_eq!((tally.ids, tally.left, tally.cut), (vec![1, 2, 3], vec![1], 1));
        drop(kept);
    }

    #[test]
    fn the_number_of_remembered_ids_is_bounded() {
        let dials = Arc::new(Dials::default());
        (0..1000).for_each(|id| dials.open(None).identify(id));
        let ids = dials.tally().ids;
        assert_eq!((ids.len(), ids.last()), (MAX_RECENT, Some(&999)));
    }
}
