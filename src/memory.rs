//! One limit on the memory that replies and received statuses of all nodes take together. Bytes are reserved before
//! they are read, and released when the text is dropped, which for a listing is when the next sample has replaced it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The default of `--sample.max-memory`: some 400,000 clients.
pub const DEFAULT_LIMIT: u64 = 256 * 1024 * 1024;

/// The bytes that each node may have beside the limit, so that small replies never wait.
pub const FREE_PER_NODE: u64 = 2 * 1024 * 1024;

/// The memory of one line of a listing, beside its text: the positions of its fields, and its entry in the roster.
pub const LINE_BYTES: u64 = 256;

/// The limit of this process.
static PROCESS: LazyLock<MemoryLimit> = LazyLock::new(|| MemoryLimit::new(DEFAULT_LIMIT));

/// A limit on memory that nodes share.
#[derive(Clone, Debug)]
pub struct MemoryLimit(Arc<LimitState>);

#[derive(Debug)]
struct LimitState {
    state: Mutex<MemoryState>,
    released: Notify,
}

#[derive(Debug)]
struct MemoryState {
    limit: u64,
    /// The sum of all that nodes hold above [`FREE_PER_NODE`].
    used: u64,
    /// The number of nodes that hold more than [`FREE_PER_NODE`].
    holders: u64,
}

impl MemoryLimit {
    /// A limit in bytes.
    pub fn new(limit: u64) -> Self {
        let state = Mutex::new(MemoryState { limit, used: 0, holders: 0 });
        Self(Arc::new(LimitState { state, released: Notify::new() }))
    }

    /// The limit of this process.
    pub fn of_process() -> Self {
        PROCESS.clone()
    }

    /// Changes the limit. What is reserved stays.
    pub fn set(&self, limit: u64) {
        self.state().limit = limit;
        self.0.released.notify_waiters();
    }

    /// The limit in bytes.
    pub fn bytes(&self) -> u64 {
        self.state().limit
    }

    /// The bytes that are reserved above what each node may have beside the limit.
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// The part of one more node.
    pub fn share(&self) -> Arc<MemoryShare> {
        Arc::new(MemoryShare { limit: self.clone(), held: Mutex::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part that one node holds.
#[derive(Debug)]
pub struct MemoryShare {
    limit: MemoryLimit,
    /// Locked only while the state of the limit is.
    held: Mutex<u64>,
}

impl MemoryShare {
    /// The limit that the node shares with others.
    pub fn limit(&self) -> &MemoryLimit {
        &self.limit
    }

    /// Reserves bytes if there is room. As long as less than half of the limit is used, there is room for everyone;
    /// above it, only for a node that then holds no more than its equal part among those that hold something.
    fn try_reserve(&self, bytes: u64) -> bool {
        let mut state = self.limit.state();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = (above_free(*held), above_free(held.saturating_add(bytes)));
        let holders = state.holders + u64::from(before == 0);
        let used = state.used + (after - before);
        let has_room = used <= state.limit && (used <= state.limit / 2 || after <= state.limit / holders);
        if after > 0 && !has_room {
            return false;
        }
        state.holders += u64::from(before == 0 && after > 0);
        state.used = used;
        *held += bytes;
        true
    }

    fn release(&self, bytes: u64) {
        {
            let mut state = self.limit.state();
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, after) = (above_free(*held), above_free(*held - bytes));
            state.used -= before - after;
            state.holders -= u64::from(before > 0 && after == 0);
            *held -= bytes;
        }
        self.limit.0.released.notify_waiters();
    }
}

fn above_free(held: u64) -> u64 {
    held.saturating_sub(FREE_PER_NODE)
}

/// Reserved bytes, released when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    share: Arc<MemoryShare>,
    bytes: u64,
}

impl Reservation {
    /// Nothing, of the part of one node.
    pub fn none(share: &Arc<MemoryShare>) -> Self {
        Self { share: Arc::clone(share), bytes: 0 }
    }

    /// Reserves more bytes if there is room now.
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let has_room = self.share.try_reserve(bytes);
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }

    /// The bytes that are reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves more bytes. Waits until there is room; how long is up to the caller.
    pub async fn grow(&mut self, bytes: u64) {
        let share = Arc::clone(&self.share);
        loop {
            let mut released = std::pin::pin!(share.limit.0.released.notified());
            // From here on, a release is noticed.
            released.as_mut().enable();
            if self.try_grow(bytes) {
                return;
            }
            released.await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.release(self.bytes);
        }
    }
}

/// The text of a reply, with its reservation.
#[derive(Default)]
pub struct HeldText {
    text: Vec<u8>,
    reservation: Option<Reservation>,
}

impl HeldText {
    /// A text for which bytes were reserved.
    pub fn new(text: Vec<u8>, reservation: Reservation) -> Self {
        Self { text, reservation: Some(reservation) }
    }

    /// The text without its reservation, for small ones.
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The text, and what must be kept as long as the text is.
    pub fn into_parts(self) -> (Vec<u8>, Option<Reservation>) {
        (self.text, self.reservation)
    }
}

impl From<Vec<u8>> for HeldText {
    fn from(text: Vec<u8>) -> Self {
        Self { text, reservation: None }
    }
}

impl Deref for HeldText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for HeldText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldText({} bytes)", self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn small_replies_never_wait_and_large_ones_wait_until_there_is_room() {
        let limit = MemoryLimit::new(100 * MIB);
        let (greedy, other) = (limit.share(), limit.share());
        let mut all = Reservation::none(&greedy);
        all.grow(FREE_PER_NODE + 100 * MIB).await;
        assert_eq!(limit.used(), 100 * MIB);
        let mut small = Reservation::none(&other);
        small.grow(FREE_PER_NODE).await;
        let waiting = tokio::spawn(async move { small.grow(40 * MIB).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(all);
        waiting.await.expect("it has room now");
        assert_eq!(limit.used(), 0, "everything was released");
    }

    #[tokio::test]
    async fn a_node_that_holds_little_has_room_where_greedy_ones_have_none() {
        let limit = MemoryLimit::new(100 * MIB);
        let greedy: Vec<_> = (0..3).map(|_| limit.share()).collect();
        // Each of two may have half, although there is room for more.
        assert!(greedy[0].try_reserve(FREE_PER_NODE + 40 * MIB));
        assert!(!greedy[1].try_reserve(FREE_PER_NODE + 51 * MIB) && greedy[1].try_reserve(FREE_PER_NODE + 50 * MIB));
        assert!(!greedy[2].try_reserve(FREE_PER_NODE + 11 * MIB) && greedy[2].try_reserve(FREE_PER_NODE + 10 * MIB));
        assert!(limit.share().try_reserve(FREE_PER_NODE) && !limit.share().try_reserve(FREE_PER_NODE + 1));
        greedy[0].release(FREE_PER_NODE + 40 * MIB);
        assert_eq!((limit.used(), limit.state().holders), (60 * MIB, 2));
        limit.set(1);
        assert!(!limit.share().try_reserve(FREE_PER_NODE + 2));
    }
}
