//! The ids to list: those of the last listing, and those that may have been assigned since. Pure.
//!
//! Ids only grow until the server restarts, and each accepted connection takes one. So the number of ids above the last
//! known bound is the increase of `total_connections_received`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Ids requested beyond the expected ones: servers assign ids to some connections that they do not count, such as a
/// replica's link to its primary, or a failed TLS handshake. A missing id costs the server 0.16 µs.
pub(super) const MARGIN: u64 = 32;

/// Maximum for the margin, which grows when the counter is seen to lag behind the ids.
const MAX_MARGIN: u64 = 4096;

/// Maximum number of ids assigned between two readings of the counter; for more of them a full listing is cheaper.
const MAX_NEW_IDS: u64 = 200_000;

/// The ids of a server's clients, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IdTracker {
    known: BTreeSet<u64>,
    /// All ids up to this one were listed after they had been assigned.
    settled: u64,
    /// An id that was the last one assigned, and the counter at that time.
    base: Option<(u64, u64)>,
    /// The counter when the ids were settled.
    received: Option<u64>,
    /// Twice the largest observed lag of the counter behind the ids.
    lag: u64,
    /// The highest id that was assigned before the first sample and has not been listed since; 0 if all were.
    unscanned: u64,
}

/// The ids of connections that were opened since the ids were settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewIds {
    /// No connection was opened.
    None,
    /// They are in this range. All ids up to `bound` have been assigned.
    Within {
        /// The ids to list.
        ids: RangeInclusive<u64>,
        /// The last id that is certain to be assigned.
        bound: u64,
    },
    /// The counter decreased, or increased too much: the bound must be determined again.
    Unknown,
}

impl IdTracker {
    /// A tracker without known ids. `bound` is an id that was just assigned, `received` the counter at that time.
    pub(super) fn from_bound(bound: u64, received: Option<u64>) -> Self {
        let mut tracker = Self { unscanned: bound, ..Self::default() };
        tracker.rebase(bound, received);
        tracker
    }

    /// The highest id that was assigned before the first sample and has not been listed since; 0 if all were.
    pub(super) fn unscanned(&self) -> u64 {
        self.unscanned
    }

    /// Notes that all ids above this one, up to the unscanned ones, were listed.
    pub(super) fn scanned_above(&mut self, id: u64) {
        self.unscanned = self.unscanned.min(id);
    }

    /// Starts to scan all ids again, because clients are missing.
    pub(super) fn scan_again(&mut self) {
        self.unscanned = self.settled;
    }

    /// Sets the bound to an id that was just assigned, and the counter at that time.
    pub(super) fn rebase(&mut self, bound: u64, received: Option<u64>) {
        self.settled = bound;
        self.base = received.map(|received| (bound, received));
        self.received = received;
    }

    /// Marks the bound as wrong, because the counter does not match the ids. It must be determined again.
    pub(super) fn invalidate_bound(&mut self) {
        self.base = None;
    }

    /// The known ids, ascending.
    pub(super) fn known(&self) -> impl Iterator<Item = u64> {
        self.known.iter().copied()
    }

    /// The number of known ids.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The highest id that is settled.
    pub(super) fn bound(&self) -> u64 {
        self.settled
    }

    /// The counter when the ids were settled.
    pub(super) fn received(&self) -> Option<u64> {
        self.received
    }

    /// All ids that may have been assigned when the bound and the counter were read. A connection that was opened
    /// between the two has an id above the bound, and does not increase the counter.
    pub(super) fn assigned(&self) -> RangeInclusive<u64> {
        1..=self.settled.saturating_add(MARGIN)
    }

    /// The last id that was certainly assigned when the counter had this value; `None` if that is unknown.
    pub(super) fn assigned_by(&self, received: Option<u64>) -> Option<u64> {
        let (base, from) = self.base?;
        Some(base.saturating_add(received?.saturating_sub(from)))
    }

    /// Returns true if an id is known.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.known.contains(&id)
    }

    /// The known ids above this one.
    pub(super) fn known_above(&self, id: u64) -> impl Iterator<Item = u64> {
        self.known.range(id.saturating_add(1)..).copied()
    }

    /// Replaces the known ids by those of a full listing. `received` is the counter before it. Ids above the highest
    /// one will be listed again.
    pub(super) fn replace(&mut self, found: impl IntoIterator<Item = u64>, received: Option<u64>) {
        self.known = found.into_iter().collect();
        self.unscanned = 0;
        let highest = self.known.last().copied().unwrap_or(0);
        if let (Some(now), Some((base, from))) = (received, self.base) {
            let expected = base.saturating_add(now.saturating_sub(from));
            self.lag = self.lag.max(2 * highest.saturating_sub(expected)).min(MAX_MARGIN);
        }
        self.settled = highest;
    }

    /// Updates the known ids from a page: requested ids that were not found are closed connections. Settles nothing: an
    /// id that was requested before it was assigned must be requested again.
    pub(super) fn update_from_page(&mut self, requested: &[u64], found: impl IntoIterator<Item = u64>) {
        for id in requested {
            self.known.remove(id);
        }
        self.known.extend(found);
    }

    /// The ids of connections opened since the ids were settled, given the current counter.
    pub(super) fn new_ids(&self, received: Option<u64>) -> NewIds {
        let (Some(before), Some(now), Some((base, from))) = (self.received, received, self.base) else {
            return NewIds::Unknown;
        };
        match now.checked_sub(before) {
            Some(0) => NewIds::None,
            Some(increase) if increase <= MAX_NEW_IDS => {
                // A connection may be listed before it is counted, so `bound` may be below `settled`. Servers also
                // assign ids to connections that they do not count, so the counter may lag behind the ids.
                let bound = base.saturating_add(now.saturating_sub(from));
                let last = bound.max(self.settled.saturating_add(increase)).saturating_add(MARGIN + self.lag);
                NewIds::Within { ids: self.settled + 1..=last, bound }
            }
            _ => NewIds::Unknown,
        }
    }

    /// Marks ids as settled after all new ids up to this counter were listed from the highest down: all ids up to
    /// `bound`, and up to the highest id found.
    pub(super) fn settle(&mut self, received: Option<u64>, bound: u64) {
        let highest = self.known.last().copied().unwrap_or(0);
        self.settled = self.settled.max(bound).max(highest);
        self.received = received.or(self.received);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(tracker: &IdTracker, received: u64) -> (RangeInclusive<u64>, u64) {
        match tracker.new_ids(Some(received)) {
            NewIds::Within { ids, bound } => (ids, bound),
            other => panic!("{other:?}"),
        }
    }

    fn known(tracker: &IdTracker) -> Vec<u64> {
        tracker.known().collect()
    }

    #[test]
    fn new_ids_are_as_many_as_the_increase_of_the_counter() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        tracker.replace([3, 7, 10], Some(100));
        assert_eq!(tracker.new_ids(Some(100)), NewIds::None);
        let (ids, bound) = within(&tracker, 105);
        assert_eq!((ids.clone(), bound), (11..=15 + MARGIN, 15));
        tracker.update_from_page(&ids.collect::<Vec<_>>(), [12, 15]);
        tracker.settle(Some(105), bound);
        assert_eq!((known(&tracker), tracker.bound()), (vec![3, 7, 10, 12, 15], 15));
        assert_eq!(within(&tracker, 106).0, 16..=16 + MARGIN);
    }

    #[test]
    fn a_client_listed_before_it_is_counted_is_not_counted_twice() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        // A listing finds five connections that were opened after the counter was read.
        tracker.replace(8..=15, Some(100));
        let (ids, bound) = within(&tracker, 106);
        assert!(*ids.start() == 16 && bound == 16, "{ids:?} {bound}");
        tracker.update_from_page(&ids.collect::<Vec<_>>(), [16]);
        tracker.settle(Some(106), bound);
        assert_eq!((tracker.bound(), *within(&tracker, 107).0.start()), (16, 17));
    }

    #[test]
    fn connections_that_take_an_id_and_are_not_counted_do_not_hide_later_ones() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        // One connection was counted, and three ids before it were assigned to others: it has the fourth.
        let (ids, bound) = within(&tracker, 101);
        tracker.update_from_page(&ids.collect::<Vec<_>>(), [14]);
        tracker.settle(Some(101), bound);
        assert_eq!((known(&tracker), tracker.bound()), (vec![14], 14));
        assert_eq!(within(&tracker, 102).0, 15..=15 + MARGIN);
        // If there are too many of them, a full listing measures the lag, and the margin grows.
        tracker.replace([14, 200], Some(102));
        assert!(*within(&tracker, 103).0.end() > 201 + 200, "{:?}", within(&tracker, 103));
    }

    #[test]
    fn an_id_that_was_requested_too_early_is_requested_again() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        let (ids, bound) = within(&tracker, 105);
        // Pages go from the highest id down. 16 and 17 are assigned between the two pages; only 16 is requested after
        // that. Only ids proven by the counter, or by the highest id found, are settled.
        tracker.update_from_page(&ids.clone().filter(|id| *id > 16).collect::<Vec<_>>(), []);
        tracker.update_from_page(&ids.filter(|id| *id <= 16).collect::<Vec<_>>(), [15, 16]);
        assert_eq!(tracker.bound(), 10, "nothing is settled while pages are listed");
        tracker.settle(Some(105), bound);
        assert_eq!((tracker.bound(), *within(&tracker, 106).0.start()), (16, 17));
    }

    #[test]
    fn the_id_of_a_connection_opened_and_closed_between_samples_is_settled() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        let (ids, bound) = within(&tracker, 105);
        tracker.update_from_page(&ids.collect::<Vec<_>>(), []);
        tracker.settle(Some(105), bound);
        assert_eq!((tracker.len(), tracker.bound()), (0, 15));
    }

    #[test]
    fn an_id_that_is_not_found_is_removed() {
        let mut tracker = IdTracker::from_bound(9, Some(9));
        tracker.replace(1..=9, Some(9));
        tracker.update_from_page(&[1, 2, 3, 4], [2, 4]);
        assert_eq!(known(&tracker), [2, 4, 5, 6, 7, 8, 9]);
        tracker.replace([5], Some(9));
        assert_eq!(
            (known(&tracker), tracker.bound()),
            (vec![5], 5),
            "ids above it are requested again, which costs little"
        );
    }

    #[test]
    fn without_a_usable_counter_the_new_ids_are_unknown() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        for received in [Some(99), None, Some(100 + MAX_NEW_IDS + 1)] {
            assert_eq!(tracker.new_ids(received), NewIds::Unknown);
        }
        tracker.invalidate_bound();
        assert_eq!(tracker.new_ids(Some(101)), NewIds::Unknown);
        tracker.rebase(40, Some(2));
        assert_eq!(within(&tracker, 3), (41..=41 + MARGIN, 41));
        assert_eq!(IdTracker::from_bound(10, None).new_ids(Some(1)), NewIds::Unknown);
    }
}
