//! The listings that the server or the network could not answer. They are not repeated: smaller pages replace them, and
//! a client whose row cannot be read is left out. Pure: time is passed in.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::plan::MAX_PAGE;
use crate::backoff::Backoff;
use crate::client_list::Listing;
use crate::failure::Failure;

/// The time after which something that failed is tried again, at first and at most. The limits of a server may be
/// raised, and a name may be changed.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// The time for which a condition is still shown after something may be tried again. By then it has been tried, if it
/// is needed.
const GRACE: Duration = Duration::from_secs(120);

/// Maximum number of skipped clients that are tried again in one sweep.
const MAX_RETRIED: usize = 64;

/// Maximum number of clients that are left out. More of them are tried in each sample.
const MAX_SKIPPED: usize = 1000;

/// The longest time without an attempt where no client can be listed: nothing is shown meanwhile.
const MAX_BLIND: Duration = Duration::from_secs(60);

/// Maximum number of bytes that a page is planned for.
const MAX_PAGE_BYTES: f64 = 1024.0 * 1024.0;

/// The number of bytes of a row before the first one was read.
const ASSUMED_ROW_BYTES: f64 = 400.0;

/// The number of bytes that any page may have: one row may be large, and is then shortened.
const MIN_PAGE_ALLOWANCE: f64 = 4.0 * 1024.0 * 1024.0;

/// The number of bytes that any full listing may have.
const MIN_FULL_ALLOWANCE: f64 = 16.0 * 1024.0 * 1024.0;

/// The ratio of the bytes that a reply may have to the expected ones.
const ALLOWANCE_RATIO: f64 = 8.0;

/// Something that failed, and is not tried again before a time.
#[derive(Clone, Debug)]
struct Paused {
    failed_at: Instant,
    until: Instant,
    backoff: Backoff,
}

impl Paused {
    fn new() -> Self {
        let now = Instant::now();
        Self { failed_at: now, until: now, backoff: Backoff::new(RETRY_AFTER.0, RETRY_AFTER.1) }
    }

    fn fail(&mut self, now: Instant) {
        (self.failed_at, self.until) = (now, now + self.backoff.fail());
    }

    /// True before the time of the next attempt, where nothing else is left to try.
    fn waits_without_alternative(&self, now: Instant) -> bool {
        now < self.until.min(self.failed_at + MAX_BLIND)
    }
}

/// The listings that failed, and the sizes that succeed.
#[derive(Clone, Debug, Default)]
pub(super) struct ListingLimits {
    /// The failure of a full listing.
    full: Option<(Failure, Paused)>,
    /// The failure of every attempt to list a client.
    any: Option<(Failure, Paused)>,
    /// The number of ids in the smallest page that failed for its size.
    page: Option<(usize, Paused)>,
    /// Groups of ids whose page failed, and that are listed again at the end of a sweep, in smaller pages.
    set_aside: VecDeque<Vec<u64>>,
    /// Single ids that failed once, for a reason that may not be theirs. The next sweep tries them again.
    suspects: BTreeSet<u64>,
    /// The clients whose row alone could not be read.
    skipped: BTreeMap<u64, Paused>,
    /// The typical number of bytes of a row.
    row_bytes: Option<f64>,
}

impl ListingLimits {
    /// Notes that a full listing failed.
    pub(super) fn full_failed(&mut self, failure: Failure, now: Instant) {
        let (known, paused) = self.full.get_or_insert_with(|| (failure.clone(), Paused::new()));
        *known = failure;
        paused.fail(now);
    }

    /// Notes that a full listing succeeded.
    pub(super) fn full_succeeded(&mut self) {
        (self.full, self.any) = (None, None);
        self.skipped.clear();
        self.suspects.clear();
        self.set_aside.clear();
    }

    /// The failure because of which no full listing is taken now.
    pub(super) fn full_fails(&self, now: Instant) -> Option<&Failure> {
        self.full.as_ref().filter(|(_, paused)| now < paused.until).map(|(failure, _)| failure)
    }

    /// Returns true if a full listing failed, and has not succeeded since.
    pub(super) fn has_full_failed(&self, now: Instant) -> bool {
        self.full.as_ref().is_some_and(|(_, paused)| now < paused.until + GRACE)
    }

    /// Notes that not a single client could be listed.
    pub(super) fn all_failed(&mut self, failure: Failure, now: Instant) {
        let (known, paused) = self.any.get_or_insert_with(|| (failure.clone(), Paused::new()));
        *known = failure;
        paused.fail(now);
    }

    /// The failure because of which no client is listed now.
    pub(super) fn all_fail(&self, now: Instant) -> Option<&Failure> {
        self.any.as_ref().filter(|(_, paused)| paused.waits_without_alternative(now)).map(|(failure, _)| failure)
    }

    /// Like [`ListingLimits::full_fails`] where no other way to list clients is left: then it is tried more often.
    pub(super) fn only_way_fails(&self, now: Instant) -> Option<&Failure> {
        self.full.as_ref().filter(|(_, paused)| paused.waits_without_alternative(now)).map(|(failure, _)| failure)
    }

    /// Notes that a page with this many ids succeeded.
    pub(super) fn page_succeeded(&mut self, ids: usize) {
        self.any = None;
        if self.page.as_ref().is_some_and(|(failed, _)| ids >= *failed) {
            self.page = None;
        }
    }

    /// Notes that pages of this many ids fail for their size.
    pub(super) fn page_failed(&mut self, ids: usize, now: Instant) {
        let (size, paused) = self.page.get_or_insert_with(|| (ids, Paused::new()));
        *size = if now < paused.until { ids.min(*size) } else { ids };
        paused.fail(now);
    }

    /// Returns true if larger pages failed, and have not succeeded since.
    pub(super) fn have_pages_failed(&self, now: Instant) -> bool {
        self.page.as_ref().is_some_and(|(_, paused)| now < paused.until + GRACE)
    }

    /// Maximum number of ids in a page.
    pub(super) fn max_page(&self, now: Instant) -> usize {
        let by_bytes = (MAX_PAGE_BYTES / self.row_bytes()).clamp(1.0, MAX_PAGE as f64) as usize;
        match &self.page {
            Some((failed, paused)) if now < paused.until => (failed / 2).clamp(1, by_bytes),
            _ => by_bytes,
        }
    }

    /// Sets ids aside whose page failed. They are listed again in halves. A single id is skipped, and `true` returned,
    /// if its row is the cause: it is too large, or it fails for the second time.
    pub(super) fn set_aside(&mut self, ids: &[u64], is_too_large: bool, now: Instant) -> bool {
        match ids {
            [] => false,
            [id] if !is_too_large && self.suspects.insert(*id) => false,
            [id] => {
                if self.skipped.len() >= MAX_SKIPPED && !self.skipped.contains_key(id) {
                    // The oldest connection is the one that has most probably closed.
                    self.skipped.pop_first();
                }
                self.suspects.remove(id);
                self.skipped.entry(*id).or_insert_with(Paused::new).fail(now);
                true
            }
            _ => {
                self.split(ids);
                false
            }
        }
    }

    /// Takes the next group of ids to list again.
    pub(super) fn next_set_aside(&mut self) -> Option<Vec<u64>> {
        self.set_aside.pop_front()
    }

    /// Returns a group that was not listed.
    pub(super) fn put_back(&mut self, ids: Vec<u64>) {
        self.set_aside.push_front(ids);
    }

    /// Splits a group that is larger than a page may be.
    pub(super) fn split(&mut self, ids: &[u64]) {
        let (lower, upper) = ids.split_at(ids.len() / 2);
        self.set_aside.extend([lower.to_vec(), upper.to_vec()]);
    }

    /// Sets aside the clients that may be tried again now: those that failed once, and skipped ones whose time has
    /// come, as one group.
    pub(super) fn retry(&mut self, now: Instant) {
        // Those that were put back are still there.
        let waiting: HashSet<u64> = self.set_aside.iter().flatten().copied().collect();
        let is_not_waiting = |id: &u64| !waiting.contains(id);
        self.set_aside.extend(self.suspects.iter().filter(|id| is_not_waiting(id)).map(|id| vec![*id]));
        let due = self.skipped.iter().filter(|(_, paused)| paused.until <= now).map(|(id, _)| *id);
        let due: Vec<u64> = due.filter(is_not_waiting).take(MAX_RETRIED).collect();
        if !due.is_empty() {
            self.set_aside.push_back(due);
        }
    }

    /// Returns true if ids are still to be listed again.
    pub(super) fn has_set_aside(&self) -> bool {
        !self.set_aside.is_empty() || !self.suspects.is_empty()
    }

    /// Returns true if a client was left out before.
    pub(super) fn is_skipped(&self, id: u64) -> bool {
        self.skipped.contains_key(&id)
    }

    /// Lets skipped clients be tried again in the next sweep, because one of them has closed.
    pub(super) fn retry_skipped(&mut self, now: Instant) {
        self.skipped.values_mut().for_each(|paused| paused.until = now);
    }

    /// Notes that a page with these ids was listed.
    pub(super) fn listed(&mut self, ids: &[u64]) {
        if self.skipped.is_empty() && self.suspects.is_empty() {
            return;
        }
        for id in ids {
            self.skipped.remove(id);
            self.suspects.remove(id);
        }
    }

    /// The ids that are not to be listed with the others.
    pub(super) fn apart(&self) -> HashSet<u64> {
        let known = self.skipped.keys().chain(&self.suspects);
        self.set_aside.iter().flatten().chain(known).copied().collect()
    }

    /// Returns true if every page succeeds.
    pub(super) fn is_empty(&self) -> bool {
        self.skipped.is_empty() && !self.has_set_aside()
    }

    /// The number of clients that are left out.
    pub(super) fn skipped(&self) -> usize {
        self.skipped.len()
    }

    /// The ids of the clients that are left out.
    pub(super) fn skipped_ids(&self) -> impl Iterator<Item = u64> {
        self.skipped.keys().copied()
    }

    /// Learns the typical size of rows from a reply. A few huge ones must not make all pages small.
    pub(super) fn observe_rows(&mut self, listing: &Listing) {
        let mut sizes: Vec<usize> = listing.clients().iter().map(|client| client.row().len()).collect();
        let Some(middle) = sizes.len().checked_sub(1).map(|last| last / 2) else { return };
        let row = *sizes.select_nth_unstable(middle).1 as f64;
        self.row_bytes = Some(self.row_bytes.map_or(row, |before| before + (row - before) * 0.2));
    }

    fn row_bytes(&self) -> f64 {
        self.row_bytes.unwrap_or(ASSUMED_ROW_BYTES).max(1.0)
    }

    /// The number of bytes that the reply to a page with this many ids may have.
    pub(super) fn page_allowance(&self, ids: usize) -> u64 {
        (self.row_bytes() * ids as f64 * ALLOWANCE_RATIO).max(MIN_PAGE_ALLOWANCE) as u64
    }

    /// The number of bytes that a full listing of about this many clients may have.
    pub(super) fn full_allowance(&self, clients: Option<u64>) -> u64 {
        let Some(clients) = clients else { return u64::MAX };
        (self.row_bytes() * clients as f64 * ALLOWANCE_RATIO).max(MIN_FULL_ALLOWANCE) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(limits: &mut ListingLimits) -> Vec<Vec<u64>> {
        std::iter::from_fn(|| limits.next_set_aside()).collect()
    }

    #[test]
    fn a_client_is_left_out_if_it_is_too_large_or_fails_in_two_sweeps() {
        let (mut limits, now) = (ListingLimits::default(), Instant::now());
        assert!(limits.set_aside(&[7], true, now) && limits.is_skipped(7), "its row is the cause");
        assert!(!limits.set_aside(&[8], false, now) && !limits.is_skipped(8), "the link may be the cause");
        limits.retry(now);
        limits.retry(now);
        assert_eq!(groups(&mut limits), [[8]], "once a sweep, and 7 not before its time");
        assert!(limits.set_aside(&[8], false, now) && limits.is_skipped(8));
        limits.retry_skipped(now);
        limits.retry(now);
        assert_eq!(groups(&mut limits), [[7, 8]], "together");
        limits.listed(&[7, 8, 9]);
        assert!(limits.is_empty() && limits.apart().is_empty());
    }

    #[test]
    fn the_number_of_clients_that_are_left_out_is_bounded() {
        let (mut limits, now) = (ListingLimits::default(), Instant::now());
        for id in 0..3 * MAX_SKIPPED as u64 {
            limits.set_aside(&[id], true, now);
        }
        assert_eq!((limits.skipped(), limits.is_skipped(0)), (MAX_SKIPPED, false), "the newest stay");
        limits.retry_skipped(now);
        limits.retry(now);
        assert_eq!(groups(&mut limits).concat().len(), MAX_RETRIED);
    }
}
