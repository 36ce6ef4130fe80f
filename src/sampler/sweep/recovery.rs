//! Goes on after the server or the network failed at a listing: over another link, with smaller pages, and without the
//! clients whose rows cannot be read.

use std::collections::HashSet;

use tokio::time::Instant;
use tracing::warn;

use super::Sweep;
use super::listing::Listed;
use crate::client_list::{Client, Fault, Listing};
use crate::failure::{Failure, Reason};
use crate::link::{Command, Link, Reply};
use crate::sample::Pages;
use crate::sampler::id_tracker::IdTracker;
use crate::server_info::ServerInfo;

/// Maximum number of failed attempts in one sweep: finding one id in the largest page takes twelve.
const MAX_ATTEMPTS: u32 = 24;

/// A time-out counts as this many attempts, because it takes seconds.
const TIMEOUT_WEIGHT: u32 = 8;

/// The result of a command after which the link may have had to be replaced.
pub(super) enum Recovered<T> {
    /// The server answered.
    Answered(T),
    /// The link failed, and another one was opened.
    Failed,
}

/// The failed attempts of one sweep.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
    /// Failures since the last page that succeeded.
    in_a_row: u32,
    /// The maximum page size for the rest of the sweep, if it had to be reduced.
    max_page: Option<usize>,
    /// The ids of the pages that failed.
    pages: Vec<Vec<u64>>,
}

impl Attempts {
    /// Returns true if there must be no further attempt in this sweep.
    pub(super) fn are_used_up(&self) -> bool {
        self.failed >= MAX_ATTEMPTS
    }

    /// Returns true if a page failed.
    pub(super) fn have_failed(&self) -> bool {
        self.failed > 0
    }

    /// The maximum page size for the rest of the sweep.
    pub(super) fn max_page(&self) -> usize {
        self.max_page.unwrap_or(usize::MAX)
    }

    /// Notes that a page succeeded.
    pub(super) fn succeeded(&mut self) {
        self.in_a_row = 0;
    }

    fn page_failed(&mut self, ids: &[u64]) {
        self.in_a_row += 1;
        // A single failure may be due to one of the ids; the size is the more probable cause of several in a row.
        if self.in_a_row > 1 {
            self.max_page = Some((ids.len() / 2).clamp(1, self.max_page()));
        }
        self.pages.push(ids.to_vec());
    }
}

impl Sweep<'_> {
    /// Opens another link after a listing failed, so that the clients can be listed in another way. Returns the failure
    /// of the listing.
    ///
    /// # Errors
    /// The node as a whole fails, so that another way would fail as well.
    pub(super) async fn recover(&mut self, failure: Failure) -> Result<Failure, Failure> {
        if self.link.lacks_memory() {
            return Err(failure);
        }
        self.attempts.failed += match failure.reason {
            Reason::Closed | Reason::TooLarge => 1,
            Reason::Timeout => TIMEOUT_WEIGHT,
            _ => return Err(failure),
        };
        let mut link = Link::dial(self.node).await?;
        self.known.meter.restart();
        let reply = link.send(&[Command::InfoServer.into()]).await?.pop();
        let text = reply.and_then(Result::ok).map(Reply::into_text).unwrap_or_default();
        // Another server, or another run of it, has other clients.
        if ServerInfo::parse(&text).run_id != self.known.run_id {
            return Err(failure);
        }
        self.own_ids.extend(self.link.id);
        *self.link = link;
        Ok(Link::explain(&self.node.name, failure))
    }

    /// Removes the pages listed so far.
    pub(super) fn drop_pages(&mut self) {
        (self.pages, self.page_count, self.listed, self.covered) = (Pages::default(), 0, 0, None);
    }

    /// Sets the ids of a page aside that failed. If it was a single id, that client is left out.
    pub(super) fn set_aside(&mut self, ids: &[u64], failure: &Failure) {
        self.attempts.page_failed(ids);
        let is_known = |id: &u64| self.known.limits.is_skipped(*id);
        let is_new = ids.len() == 1 && !ids.iter().any(is_known);
        let is_too_large = failure.reason == Reason::TooLarge;
        if self.known.limits.set_aside(ids, is_too_large, Instant::now()) && is_new {
            self.unreadable.add(Fault::TooLarge);
            let (node, id) = (&*self.node.name, ids[0]);
            warn!(
                node,
                id, "one client cannot be listed and is left out; check its name with CLIENT LIST ID: {failure}"
            );
        }
    }

    /// The ids of the listed clients.
    pub(super) fn listed_ids(&self) -> HashSet<u64> {
        self.pages.clients().filter_map(|(_, client)| client.id()).collect()
    }

    /// Keeps the last rows of clients that are assumed to be connected and could not be listed: they would seem closed.
    pub(super) fn carry_over(&mut self) {
        if self.attempts.failed == 0 && self.known.limits.is_empty() {
            return;
        }
        let listed = self.listed_ids();
        let Some(tracker) = &self.known.tracker else { return };
        let absent: HashSet<u64> = tracker.known().filter(|id| !listed.contains(id)).collect();
        self.carried = 0;
        for page in std::mem::take(&mut self.known.rows).pages() {
            let is_absent = |client: &&Client<'_>| client.id().is_some_and(|id| absent.contains(&id));
            let rows: Vec<&[u8]> = page.listing.clients().iter().filter(is_absent).map(Client::row).collect();
            if !rows.is_empty() {
                self.carried += rows.len();
                self.keep_read_at(page.at, Listing::new([rows.join(&b'\n'), b"\n".to_vec()].concat()));
            }
        }
    }

    /// The ids of the clients that are left out, and of which no row was kept.
    pub(super) fn unreadable_ids(&self) -> Vec<u64> {
        if self.known.limits.skipped() == 0 {
            return Vec::new();
        }
        let listed = self.listed_ids();
        self.known.limits.skipped_ids().filter(|id| !listed.contains(id)).collect()
    }

    /// The number of clients that were not listed, although they are connected as far as it is known.
    pub(super) fn unlisted(&self) -> i64 {
        if self.attempts.failed == 0 && self.known.limits.is_empty() {
            return 0;
        }
        let listed = self.listed_ids();
        let Some(tracker) = &self.known.tracker else { return 0 };
        let absent = tracker.known().filter(|id| !listed.contains(id)).count();
        let unknown = self.known.limits.skipped_ids().filter(|id| !tracker.knows(*id) && !listed.contains(id)).count();
        (absent + unknown) as i64
    }

    /// Lists the ids of the pages that failed, in smaller pages.
    pub(super) async fn list_set_aside(&mut self) -> Result<Listed, Failure> {
        while let Some(ids) = self.known.limits.next_set_aside() {
            if self.attempts.are_used_up() {
                self.known.limits.put_back(ids);
                break;
            }
            if ids.len() > self.max_page() {
                self.known.limits.split(&ids);
                continue;
            }
            match self.list_page(&ids).await? {
                Listed::Complete | Listed::Failed(_) => {}
                other => return Ok(other),
            }
        }
        Ok(Listed::Complete)
    }

    /// Ends the listing after too many attempts. What was listed until then is kept; if that is nothing, the listing as
    /// a whole has failed.
    pub(super) fn give_up(&mut self, failure: Failure) -> Listed {
        let now = Instant::now();
        let mut sizes: Vec<usize> = self.attempts.pages.iter().map(Vec::len).filter(|ids| *ids > 1).collect();
        sizes.sort_unstable();
        if let Some(size) = sizes.get(sizes.len() / 2) {
            self.known.limits.page_failed(*size, now);
        }
        if self.listed > 0 {
            if !self.known.swept_once {
                // Those that were not asked for may be clients that connected before.
                self.known.tracker.iter_mut().for_each(IdTracker::scan_again);
            }
            return Listed::Complete;
        }
        self.known.limits.all_failed(failure.clone(), now);
        Listed::Failed(failure)
    }

    /// Limits the size of later pages if pages failed although each of their ids can be listed.
    pub(super) fn learn_page_limit(&mut self) {
        let apart = self.known.limits.apart();
        let failed_for_size = |ids: &&Vec<u64>| ids.len() > 1 && !ids.iter().any(|id| apart.contains(id));
        if let Some(smallest) = self.attempts.pages.iter().filter(failed_for_size).map(Vec::len).min() {
            self.known.limits.page_failed(smallest, Instant::now());
        }
    }
}
