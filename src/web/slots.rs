//! The slots for connections of one listener. A new connection always gets a slot. When there is none left, another
//! connection gives way: first those that have asked nothing, then those between two requests, the oldest first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The network of a peer: an IPv4 address, or the /64 network of an IPv6 address, which one host can use as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerNetwork(IpAddr);

impl PeerNetwork {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        })
    }
}

/// Permits for something that costs more than a request, of which one source gets a share.
#[derive(Debug)]
pub(super) struct Permits {
    max: usize,
    max_per_source: usize,
    taken: Mutex<HashMap<PeerNetwork, usize>>,
}

/// One of [`Permits`]. It is returned when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    source: PeerNetwork,
}

impl Permits {
    pub(super) fn new(max: usize, max_per_source: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_source, taken: Mutex::default() })
    }

    /// Takes a permit, if there is one for this source.
    pub(super) fn take(self: &Arc<Self>, source: PeerNetwork) -> Option<Permit> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&source).copied().unwrap_or_default();
        if own >= self.max_per_source || taken.values().sum::<usize>() >= self.max {
            return None;
        }
        taken.insert(source, own + 1);
        Some(Permit { permits: Arc::clone(self), source })
    }

    /// The number of permits that are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.permits.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

/// The activity of a connection, in the order in which connections give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has not sent the whole head of a request, or has not completed its TLS handshake.
    Silent,
    /// It waits between two requests.
    Waiting,
    /// A request of it is being answered.
    Answering,
}

impl Stage {
    /// The value of the metric's label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Stage::Silent => "silent",
            Stage::Waiting => "waiting",
            Stage::Answering => "answering",
        }
    }
}

/// The limits of the slots of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLimits {
    /// The number of slots.
    pub(super) slots: usize,
    /// The number of slots that one source can have.
    pub(super) slots_per_source: usize,
    /// The time that a connection may be silent while more than half of the slots, or of its source's, are taken.
    pub(super) silent: Duration,
    /// The time that a connection has for its head or its answer before it gives way like others: without it, the only
    /// new one would give way to the next new one, where all others wait between requests.
    pub(super) grace: Duration,
}

/// The slots of a listener.
#[derive(Debug)]
pub(super) struct Slots {
    limits: SlotLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The number of changes so far, which is their order.
    changes: u64,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    source: PeerNetwork,
    stage: Stage,
    /// The number of the change that led to this stage.
    since: u64,
    opened: Instant,
    /// The time of that change.
    changed: Instant,
    gives_way: CancellationToken,
}

/// The slot of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    gives_way: CancellationToken,
    /// True once the response's body is complete, until it is written.
    is_answered: AtomicBool,
}

impl Slots {
    pub(super) fn new(limits: SlotLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// Takes a slot for a new connection. Also returns the stage of the connection that gives way for it.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, now: Instant) -> (Arc<Slot>, Option<Stage>) {
        let (source, gives_way) = (PeerNetwork::of(address), CancellationToken::new());
        let mut taken = self.lock();
        let gave_way = if taken.of(source) >= self.limits.slots_per_source {
            taken.give_way(now, self.limits.grace, |connection| connection.source == source)
        } else if taken.connections.len() >= self.limits.slots {
            taken.give_way(now, self.limits.grace, |_| true)
        } else {
            None
        };
        let id = taken.next();
        let connection = Connection {
            source,
            stage: Stage::Silent,
            since: id,
            opened: now,
            changed: now,
            gives_way: gives_way.clone(),
        };
        taken.connections.insert(id, connection);
        (Arc::new(Slot { slots: Arc::clone(self), id, gives_way, is_answered: AtomicBool::new(false) }), gave_way)
    }

    /// Ends one connection that is not being answered, if there is one. For when the process has no descriptors left.
    pub(super) fn free_one(&self) -> Option<Stage> {
        self.lock().give_way(Instant::now(), self.limits.grace, |connection| connection.stage < Stage::Answering)
    }

    /// Ends connections that have been silent for too long while slots are scarce, and returns their number.
    pub(super) fn end_silent(&self, now: Instant) -> usize {
        let mut taken = self.lock();
        let is_full = 2 * taken.connections.len() > self.limits.slots;
        let is_late = |connection: &Connection| {
            connection.stage == Stage::Silent
                && now.saturating_duration_since(connection.opened) >= self.limits.silent
                && (is_full || 2 * taken.of(connection.source) > self.limits.slots_per_source)
        };
        let late: Vec<_> =
            taken.connections.iter().filter(|(_, connection)| is_late(connection)).map(|(id, _)| *id).collect();
        late.iter().filter_map(|id| taken.connections.remove(id)).for_each(|late| late.gives_way.cancel());
        late.len()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn next(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// The number of slots of a source.
    fn of(&self, source: PeerNetwork) -> usize {
        self.connections.values().filter(|connection| connection.source == source).count()
    }

    /// Ends one of these connections and returns its stage. Of those that are being answered, one of the source with
    /// the most slots is chosen: it may be a peer that does not read.
    fn give_way(&mut self, now: Instant, grace: Duration, among: impl Fn(&Connection) -> bool) -> Option<Stage> {
        let mut slots: HashMap<PeerNetwork, usize> = HashMap::new();
        for connection in self.connections.values() {
            *slots.entry(connection.source).or_default() += 1;
        }
        let order = |connection: &Connection| {
            let is_new =
                connection.stage != Stage::Waiting && now.saturating_duration_since(connection.changed) < grace;
            let is_answered = connection.stage == Stage::Answering;
            let slots = if is_answered { slots.get(&connection.source).copied() } else { None };
            (is_new, connection.stage, std::cmp::Reverse(slots), connection.since)
        };
        let candidates = self.connections.iter().filter(|(_, connection)| among(connection));
        let id = *candidates.min_by_key(|(_, connection)| order(connection))?.0;
        let connection = self.connections.remove(&id)?;
        connection.gives_way.cancel();
        Some(connection.stage)
    }
}

impl Slot {
    /// Waits until this connection has to end, for others.
    pub(super) async fn gives_way(&self) {
        self.gives_way.cancelled().await;
    }

    /// Notes that a request has arrived.
    pub(super) fn requested(&self) {
        self.is_answered.store(false, Ordering::Relaxed);
        self.enter(Stage::Answering);
    }

    /// Notes that the body of the response is complete.
    pub(super) fn answered(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    /// Notes that everything is written that was to be.
    pub(super) fn written(&self) {
        if self.is_answered.swap(false, Ordering::Relaxed) {
            self.enter(Stage::Waiting);
        }
    }

    fn enter(&self, stage: Stage) {
        let mut taken = self.slots.lock();
        let since = taken.next();
        if let Some(connection) = taken.connections.get_mut(&self.id) {
            (connection.stage, connection.since, connection.changed) = (stage, since, Instant::now());
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SlotLimits =
        SlotLimits { slots: 6, slots_per_source: 4, silent: Duration::from_secs(2), grace: Duration::ZERO };

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn must_end(slot: &Slot) -> bool {
        slot.gives_way.is_cancelled()
    }

    /// Takes slots of one source and moves each to a stage.
    fn take(slots: &Arc<Slots>, source: u8, stages: &[Stage]) -> Vec<Arc<Slot>> {
        let take = |stage: &Stage| {
            let (slot, _) = slots.take(address(source), Instant::now());
            if *stage > Stage::Silent {
                slot.requested();
            }
            if *stage == Stage::Waiting {
                slot.answered();
                slot.written();
            }
            slot
        };
        stages.iter().map(take).collect()
    }

    fn ended(slots: &[Arc<Slot>]) -> Vec<bool> {
        slots.iter().map(|slot| must_end(slot)).collect()
    }

    #[test]
    fn connections_of_one_source_give_way_to_each_other_in_order() {
        let slots = Slots::new(LIMITS);
        let others = take(&slots, 2, &[Stage::Silent]);
        let own = take(&slots, 1, &[Stage::Answering, Stage::Waiting, Stage::Silent, Stage::Silent]);
        let mut newer = Vec::new();
        for (stage, expected) in [
            (Stage::Silent, [false, false, true, false]),
            (Stage::Silent, [false, false, true, true]),
            (Stage::Waiting, [false, true, true, true]),
            (Stage::Answering, [true, true, true, true]),
        ] {
            let (slot, gave_way) = slots.take(address(1), Instant::now());
            // Newer connections are not silent, so that the next one of the first four gives way.
            slot.requested();
            newer.push(slot);
            assert_eq!((gave_way, ended(&own)), (Some(stage), expected.to_vec()));
        }
        assert_eq!((ended(&others), ended(&newer)), (vec![false], vec![false; 4]));
    }

    #[test]
    fn a_new_connection_has_time_for_its_request_before_it_gives_way() {
        for held in [Stage::Waiting, Stage::Answering] {
            let slots = Slots::new(SlotLimits { grace: Duration::from_secs(1), ..LIMITS });
            let later = Instant::now() + Duration::from_secs(5);
            let held = take(&slots, 1, &[held; 4]);
            let (scraper, _) = slots.take(address(1), later);
            let newer: Vec<_> = (0..3).map(|_| slots.take(address(1), later).0).collect();
            assert_eq!((ended(&held), must_end(&scraper)), (vec![true; 4], false));
            let (_newest, gave_way) = slots.take(address(1), later);
            assert_eq!((gave_way, must_end(&scraper), ended(&newer)), (Some(Stage::Silent), true, vec![false; 3]));
        }
    }

    #[test]
    fn when_all_places_are_taken_the_source_with_most_of_them_gives_way() {
        let slots = Slots::new(LIMITS);
        let scraper = take(&slots, 1, &[Stage::Answering]);
        let unread = take(&slots, 2, &[Stage::Answering; 4]);
        let third = take(&slots, 3, &[Stage::Waiting]);
        let fourth = take(&slots, 4, &[Stage::Answering]);
        assert_eq!(
            (ended(&third), ended(&unread)),
            (vec![true], vec![false; 4]),
            "a connection that waits gives way first"
        );
        let _fifth = take(&slots, 5, &[Stage::Answering]);
        assert_eq!(ended(&unread), [true, false, false, false]);
        assert_eq!((ended(&scraper), ended(&fourth)), (vec![false], vec![false]));
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_ended() {
        let slots = Slots::new(LIMITS);
        let mut own = take(&slots, 1, &[Stage::Silent; 4]);
        drop(own.pop());
        let (_place, gave_way) = slots.take(address(1), Instant::now());
        assert_eq!(gave_way, None);
        // A slot that was taken from its connection is not freed twice.
        let (_newer, gave_way) = slots.take(address(1), Instant::now());
        assert_eq!(gave_way, Some(Stage::Silent));
        own.remove(0);
        assert_eq!(slots.lock().connections.len(), 4);
    }

    #[test]
    fn silence_is_short_only_while_places_are_scarce() {
        let slots = Slots::new(LIMITS);
        let now = Instant::now();
        let late = now + LIMITS.silent;
        let few = take(&slots, 1, &[Stage::Silent; 2]);
        assert_eq!(slots.end_silent(late), 0);
        let more = take(&slots, 1, &[Stage::Silent, Stage::Waiting]);
        let another = take(&slots, 2, &[Stage::Answering]);
        assert_eq!(slots.end_silent(now), 0);
        assert_eq!(slots.end_silent(late + LIMITS.silent), 3);
        assert_eq!((ended(&few), ended(&more), ended(&another)), (vec![true; 2], vec![true, false], vec![false]));
    }

    #[test]
    fn without_descriptors_a_connection_that_is_answered_goes_on() {
        let slots = Slots::new(LIMITS);
        let taken = take(&slots, 1, &[Stage::Answering, Stage::Waiting]);
        assert_eq!((slots.free_one(), slots.free_one()), (Some(Stage::Waiting), None));
        assert_eq!(ended(&taken), [false, true]);
    }

    #[test]
    fn a_response_that_is_not_written_yet_is_not_over() {
        let slots = Slots::new(LIMITS);
        let stage = |slot: &Slot| slots.lock().connections[&slot.id].stage;
        let (slot, _) = slots.take(address(1), Instant::now());
        slot.written();
        assert_eq!(stage(&slot), Stage::Silent);
        slot.requested();
        slot.written();
        assert_eq!(stage(&slot), Stage::Answering);
        slot.answered();
        assert_eq!(stage(&slot), Stage::Answering);
        slot.written();
        assert_eq!(stage(&slot), Stage::Waiting);
    }

    #[test]
    fn a_source_is_an_address_or_the_network_of_one_host() {
        let source = |text: &str| PeerNetwork::of(text.parse().expect("an address"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.2"), source("10.0.0.1"));
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
    }

    #[test]
    fn one_source_gets_only_its_share_of_permits() {
        let permits = Permits::new(3, 2);
        let (first, second) = (PeerNetwork::of(address(1)), PeerNetwork::of(address(2)));
        let own: Vec<_> = (0..3).map(|_| permits.take(first)).collect();
        assert_eq!(own.iter().filter(|permit| permit.is_some()).count(), 2);
        let other = permits.take(second);
        assert!(other.is_some() && permits.take(second).is_none());
        drop(own);
        assert_eq!(permits.taken(), 1);
        assert!(permits.take(second).is_some());
    }
}
