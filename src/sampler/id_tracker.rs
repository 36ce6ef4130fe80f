//! Which ids to ask for: those that were there, and those that may have come. Pure.
//!
//! Ids only grow until a restart, and each accepted connection takes one. So the ids above the last known bound are as many
//! as `total_connections_received` has grown by.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Ids asked for beyond those that must exist: servers give ids to some connections that they do not count, as to a replica's
/// link to its primary or a TLS handshake that fails. A missing id costs a server 0.16 µs.
const MARGIN: u64 = 32;

/// The most ids asked for beyond, where the counter was seen to lag that much.
const MAX_MARGIN: u64 = 4096;

/// The most ids that may have come between two looks, before a full listing is the shorter way.
const MAX_NEWCOMERS: u64 = 200_000;

/// The ids of a server's clients, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IdTracker {
    known: BTreeSet<u64>,
    /// All ids up to this one have been asked for when they had been given out already.
    settled: u64,
    /// An id that was given out last when the counter was this.
    base: Option<(u64, u64)>,
    /// The counter when the ids were settled.
    received: Option<u64>,
    /// By how much the counter was seen to lag, twice.
    lag: u64,
}

/// Where new clients may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewIds {
    /// Nobody came.
    None,
    /// Within these ids. Those up to `bound` have been given out.
    Within {
        /// The ids to ask for.
        ids: RangeInclusive<u64>,
        /// The last id that was given out for sure.
        bound: u64,
    },
    /// The counter fell, or grew beyond all measure: the bound has to be found anew.
    Unknown,
}

impl IdTracker {
    /// A tracker of which only the bound is known: an id that was just given out, and the counter at that time.
    pub(super) fn from_bound(bound: u64, received: Option<u64>) -> Self {
        let mut tracker = Self::default();
        tracker.rebase(bound, received);
        tracker
    }

    /// The bound is this one: an id that was just given out, and the counter at that time.
    pub(super) fn rebase(&mut self, bound: u64, received: Option<u64>) {
        self.settled = bound;
        self.base = received.map(|received| (bound, received));
        self.received = received;
    }

    /// The counter has misled us: the bound is to be found anew.
    pub(super) fn distrust(&mut self) {
        self.base = None;
    }

    /// The known ids, ascending.
    pub(super) fn known(&self) -> impl Iterator<Item = u64> {
        self.known.iter().copied()
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The highest id that is settled.
    pub(super) fn bound(&self) -> u64 {
        self.settled
    }

    /// Whether an id is known.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.known.contains(&id)
    }

    /// The known ids above this one.
    pub(super) fn known_above(&self, id: u64) -> impl Iterator<Item = u64> {
        self.known.range(id.saturating_add(1)..).copied()
    }

    /// Takes what a full listing found after the counter was this. Ids above the highest are asked for again.
    pub(super) fn replace(&mut self, found: impl IntoIterator<Item = u64>, received: Option<u64>) {
        self.known = found.into_iter().collect();
        let highest = self.known.last().copied().unwrap_or(0);
        if let (Some(now), Some((base, from))) = (received, self.base) {
            let expected = base.saturating_add(now.saturating_sub(from));
            self.lag = self.lag.max(2 * highest.saturating_sub(expected)).min(MAX_MARGIN);
        }
        self.settled = highest;
    }

    /// Takes what a page found of the ids it asked for; the others are gone. Settles nothing: an id that was asked for before it
    /// was given out must be asked for again.
    pub(super) fn take_page(&mut self, asked: &[u64], found: impl IntoIterator<Item = u64>) {
        for id in asked {
            self.known.remove(id);
        }
        self.known.extend(found);
    }

    /// Where those may be who came since the ids were settled.
    pub(super) fn newcomers(&self, received: Option<u64>) -> NewIds {
        let (Some(before), Some(now), Some((base, from))) = (self.received, received, self.base) else {
            return NewIds::Unknown;
        };
        match now.checked_sub(before) {
            Some(0) => NewIds::None,
            Some(grown) if grown <= MAX_NEWCOMERS => {
                // Some of those who are counted now were found before they were counted; and servers give ids to links
                // that they do not count, so the counter may lag behind.
                let bound = base.saturating_add(now.saturating_sub(from));
                let last = bound.max(self.settled.saturating_add(grown)).saturating_add(MARGIN + self.lag);
                NewIds::Within { ids: self.settled + 1..=last, bound }
            }
            _ => NewIds::Unknown,
        }
    }

    /// The newcomers up to this counter have been asked for, from the highest id down: all ids up to this bound, and up to the
    /// highest that was found, are settled.
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
        match tracker.newcomers(Some(received)) {
            NewIds::Within { ids, bound } => (ids, bound),
            other => panic!("{other:?}"),
        }
    }

    fn known(tracker: &IdTracker) -> Vec<u64> {
        tracker.known().collect()
    }

    #[test]
    fn newcomers_are_as_many_as_the_counter_grew_by() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        tracker.replace([3, 7, 10], Some(100));
        assert_eq!(tracker.newcomers(Some(100)), NewIds::None);
        let (ids, bound) = within(&tracker, 105);
        assert_eq!((ids.clone(), bound), (11..=15 + MARGIN, 15));
        tracker.take_page(&ids.collect::<Vec<_>>(), [12, 15]);
        tracker.settle(Some(105), bound);
        assert_eq!((known(&tracker), tracker.bound()), (vec![3, 7, 10, 12, 15], 15));
        assert_eq!(within(&tracker, 106).0, 16..=16 + MARGIN);
    }

    #[test]
    fn who_was_found_before_he_was_counted_is_not_counted_twice() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        // A listing finds five who came after the counter was read.
        tracker.replace(8..=15, Some(100));
        let (ids, bound) = within(&tracker, 106);
        assert!(*ids.start() == 16 && bound == 16, "{ids:?} {bound}");
        tracker.take_page(&ids.collect::<Vec<_>>(), [16]);
        tracker.settle(Some(106), bound);
        assert_eq!((tracker.bound(), *within(&tracker, 107).0.start()), (16, 17));
    }

    #[test]
    fn links_that_take_an_id_and_are_not_counted_do_not_hide_those_behind_them() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        // One was counted, and three ids were given to others before: it has the fourth.
        let (ids, bound) = within(&tracker, 101);
        tracker.take_page(&ids.collect::<Vec<_>>(), [14]);
        tracker.settle(Some(101), bound);
        assert_eq!((known(&tracker), tracker.bound()), (vec![14], 14));
        assert_eq!(within(&tracker, 102).0, 15..=15 + MARGIN);
        // Where they were too many, a full listing finds out by how much, and the margin grows.
        tracker.replace([14, 200], Some(102));
        assert!(*within(&tracker, 103).0.end() > 201 + 200, "{:?}", within(&tracker, 103));
    }

    #[test]
    fn an_id_that_was_asked_for_too_early_is_asked_for_again() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        let (ids, bound) = within(&tracker, 105);
        // From the highest down: 27 is not given out yet when it is asked for, then 16 and 17 come, of which only 16 is
        // asked for late enough. Only what the counter and the highest found prove is settled.
        tracker.take_page(&ids.clone().filter(|id| *id > 16).collect::<Vec<_>>(), []);
        tracker.take_page(&ids.filter(|id| *id <= 16).collect::<Vec<_>>(), [15, 16]);
        assert_eq!(tracker.bound(), 10, "nothing is settled while pages are read");
        tracker.settle(Some(105), bound);
        assert_eq!((tracker.bound(), *within(&tracker, 106).0.start()), (16, 17));
    }

    #[test]
    fn who_came_and_went_settles_his_id() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        let (ids, bound) = within(&tracker, 105);
        tracker.take_page(&ids.collect::<Vec<_>>(), []);
        tracker.settle(Some(105), bound);
        assert_eq!((tracker.len(), tracker.bound()), (0, 15));
    }

    #[test]
    fn who_is_not_found_any_more_is_gone() {
        let mut tracker = IdTracker::from_bound(9, Some(9));
        tracker.replace(1..=9, Some(9));
        tracker.take_page(&[1, 2, 3, 4], [2, 4]);
        assert_eq!(known(&tracker), [2, 4, 5, 6, 7, 8, 9]);
        tracker.replace([5], Some(9));
        assert_eq!(
            (known(&tracker), tracker.bound()),
            (vec![5], 5),
            "what is above is asked for again, which does no harm"
        );
    }

    #[test]
    fn a_counter_that_fell_tells_nothing() {
        let mut tracker = IdTracker::from_bound(10, Some(100));
        for received in [Some(99), None, Some(100 + MAX_NEWCOMERS + 1)] {
            assert_eq!(tracker.newcomers(received), NewIds::Unknown);
        }
        tracker.distrust();
        assert_eq!(tracker.newcomers(Some(101)), NewIds::Unknown);
        tracker.rebase(40, Some(2));
        assert_eq!(within(&tracker, 3), (41..=41 + MARGIN, 41));
        assert_eq!(IdTracker::from_bound(10, None).newcomers(Some(1)), NewIds::Unknown);
    }
}
