//! Looks for clients that no listing by id has found: those that connected before the exporter, and those of servers
//! whose ids do not follow the rule that each new connection takes the next one.

use std::collections::HashSet;

use tracing::warn;

use super::listing::{Listed, MAX_ID_SCAN, MISSING_ID_COST, Scope};
use super::recovery::Recovered;
use super::{Sweep, request_changes};
use crate::client_list::{Fault, Listing};
use crate::failure::{Failure, Reason};
use crate::link::{Command, Link};
use crate::sample::SampleCondition;
use crate::sampler::id_tracker::{IdTracker, MARGIN};
use crate::sampler::plan::MAX_PAGE;
use crate::server_info::ServerInfo;

/// The minimum and maximum number of ids that are scanned in one sweep.
const SCAN_PER_SWEEP: (f64, f64) = (4096.0, 2_000_000.0);

/// Maximum ratio of the ids in a page of a scan to those in the page before it.
const MAX_SCAN_GROWTH: usize = 4;

/// The result of looking for the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundBound {
    /// All ids up to it were listed.
    Listed,
    /// It is too far away, or its ids could not be listed.
    NotListed,
    /// The server accepts no connection, or its id is not above the others.
    Unknown,
}

impl Sweep<'_> {
    /// Lists the ids that were assigned before the exporter connected, from the highest down, until as many clients
    /// are found as `INFO` counts. The number of ids in one sweep is limited by the budget; the next one continues.
    pub(super) async fn scan(&mut self) -> Result<Listed, Failure> {
        let Some(mut next) = self.known.tracker.as_ref().map(|tracker| tracker.unscanned()) else {
            return Ok(Listed::Complete);
        };
        let mut left = self.max_scan();
        let clients = self.opening.connected_clients.map_or(MAX_PAGE, |clients| clients as usize);
        let (mut size, apart) = (self.page_size(clients), self.known.limits.apart());
        while next > 0 && left > 0 && self.has_fewer_than_connected() {
            let count = (size as u64).min(next).min(left);
            let knows = |id: &u64| self.known.tracker.as_ref().is_some_and(|tracker| tracker.knows(*id));
            let ids: Vec<u64> =
                (next - count + 1..=next).rev().filter(|id| !knows(id) && !apart.contains(id)).collect();
            let listed_before = self.listed;
            match if ids.is_empty() { Listed::Complete } else { self.list_page(&ids).await? } {
                Listed::Failed(failure) if self.attempts.are_used_up() => return Ok(Listed::Failed(failure)),
                Listed::Complete | Listed::Failed(_) => {}
                other => return Ok(other),
            }
            (next, left) = (next - count, left - count);
            if let Some(tracker) = &mut self.known.tracker {
                tracker.scanned_above(next);
            }
            // An id without a client costs less than one with a client, so pages with few clients may have more ids.
            let density = (self.listed - listed_before) as f64 / ids.len().max(1) as f64;
            let planned = self.page_size(clients) as f64 / density.max(MISSING_ID_COST);
            size = (planned as usize).clamp(1, size * MAX_SCAN_GROWTH).min(MAX_PAGE);
        }
        Ok(Listed::Complete)
    }

    /// The number of ids that may be scanned in this sweep: they cost at most half of the allowed load.
    fn max_scan(&self) -> u64 {
        let page = self.known.costs.page();
        let id_micros = page.id_micros * MISSING_ID_COST + page.fixed_micros / MAX_PAGE as f64;
        let micros = self.budget.interval.as_secs_f64() * self.budget.max_load * 1e6 / 2.0;
        (micros / id_micros).clamp(SCAN_PER_SWEEP.0, SCAN_PER_SWEEP.1) as u64
    }

    fn has_fewer_than_connected(&self) -> bool {
        let skipped = self.known.limits.skipped() as i64;
        self.opening.connected_clients.is_none_or(|connected| self.listed + skipped < connected as i64)
    }

    /// Removes the rows of a page that were not asked for, or that are there twice, and counts them as unreadable.
    /// Returns a failure if most rows are: then the server does not list by id.
    pub(super) fn drop_unexpected(&mut self, ids: &[u64], listing: &mut Listing) -> Option<Failure> {
        // Servers answer in the order of the request, so this is the usual case.
        let mut asked = ids.iter();
        let mut is_next = |id: u64| asked.any(|asked| *asked == id);
        if listing.clients().iter().all(|client| client.id().is_some_and(&mut is_next)) {
            return None;
        }
        let mut missing: HashSet<u64> = ids.iter().copied().collect();
        let dropped = listing.retain(|client| client.id().is_none_or(|id| missing.remove(&id)));
        for _ in 0..dropped {
            self.unreadable.add(Fault::NotAsked);
        }
        if dropped <= listing.clients().len() + ids.len() {
            return None;
        }
        self.known.is_unordered = true;
        let message = format!("{}: CLIENT LIST ID returns clients that were not asked for", self.node.name);
        Some(Failure { reason: Reason::Other, message })
    }

    /// Checks the number of listed clients against the `INFO` after the listing. If clients are missing, looks for them
    /// in other ways, and returns the newest `INFO`. The inner error is the node's refusal of a full listing.
    pub(super) async fn find_missing(&mut self, closing: &[u8]) -> Result<Option<Result<Vec<u8>, Failure>>, Failure> {
        if self.known.tracker.is_none() || !self.is_missing_clients(closing) {
            self.known.resync.succeeded();
            return Ok(None);
        }
        // After a full listing there is nothing else to try.
        let has_tried_all = self.page_count == 0 || self.known.no_pages.is_some() || self.attempts.are_used_up();
        if has_tried_all || !self.known.resync.is_due() || self.is_scanning() {
            return Ok(None);
        }
        // The counter may lag behind the ids; the id of a new connection does not.
        let bound = self.find_bound().await?;
        let text = if bound == FoundBound::Listed { self.close().await? } else { closing.to_vec() };
        if !self.is_missing_clients(&text) {
            return Ok(Some(Ok(text)));
        }
        self.known.resync.begin();
        let node = &*self.node.name;
        warn!(node, missing = self.missing(&text), "INFO counts connections that were not listed; listing all clients");
        self.list_everything(bound).await.map(Some)
    }

    /// Lists all clients with one command, or scans all ids again if that fails. Finds out whether ids are in order.
    async fn list_everything(&mut self, bound: FoundBound) -> Result<Result<Vec<u8>, Failure>, Failure> {
        let before = self.known.tracker.clone().unwrap_or_default();
        if self.known.limits.full_fails(tokio::time::Instant::now()).is_none() {
            if bound == FoundBound::NotListed {
                self.known.tracker.iter_mut().for_each(IdTracker::invalidate_bound);
            }
            match self.list_full().await? {
                Ok(Recovered::Answered(())) => {
                    let text = self.close().await?;
                    let Some(tracker) = &self.known.tracker else { return Ok(Ok(text)) };
                    let is_missed = |id: &u64| *id <= before.bound() && !before.knows(*id);
                    // Of those above the bound, only as many can have connected since as the counter has grown.
                    let received = ServerInfo::parse(&text).connections_received;
                    let opened = received.zip(before.received()).map(|(now, before)| now.saturating_sub(before));
                    let newer = tracker.known_above(before.bound()).count() as u64;
                    // If the bound is far away, the counter may have been reset meanwhile.
                    let is_counted = bound == FoundBound::NotListed || newer <= opened.unwrap_or(newer) + MARGIN;
                    let is_unordered = tracker.known().any(|id| is_missed(&id)) || !is_counted;
                    if is_unordered {
                        self.give_up_ids();
                    }
                    return Ok(Ok(text));
                }
                Ok(Recovered::Failed) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.scan_again();
        }
        match self.scan().await? {
            Listed::NoPages(failure) => self.known.no_pages = Some(failure),
            Listed::Complete | Listed::Failed(_) | Listed::TooExpensive => {}
        }
        Ok(Ok(self.close().await?))
    }

    /// Checks after the first full listing of a server whether the ids above our own can all have been assigned since.
    pub(super) fn check_order(&mut self, own_id: Option<u64>, received: Option<u64>) {
        let Some((own_id, tracker)) = own_id.zip(self.known.tracker.as_ref()) else { return };
        let Some((now, before)) = received.zip(self.opening.connections_received) else { return };
        let newer = tracker.known_above(own_id).count() as u64;
        if newer > now.saturating_sub(before) + MARGIN {
            self.give_up_ids();
        }
    }

    /// Checks at a full listing, after a complete one, whether all clients with earlier ids are known.
    pub(super) fn check_known(&mut self, listing: &Listing) {
        let Some(tracker) = self.known.tracker.as_ref().filter(|tracker| tracker.unscanned() == 0) else { return };
        let is_complete = self.known.swept_once && self.known.limits.is_empty() && self.known.no_pages.is_none();
        let is_missed = |id: u64| id <= tracker.bound() && !tracker.knows(id);
        if is_complete && listing.clients().iter().filter_map(|client| client.id()).any(is_missed) {
            self.give_up_ids();
        }
    }

    /// Stops listing by ids, because they are in no order.
    fn give_up_ids(&mut self) {
        self.known.is_unordered = true;
        let message = format!(
            "{}: client ids are in no order, as behind a proxy, so new clients cannot be found by their ids",
            self.node.name
        );
        self.known.no_pages = Some(Failure { reason: Reason::Other, message });
    }

    /// Determines the bound after the counter became useless, for example by `CONFIG RESETSTAT`: the id of a new
    /// connection is the bound. If the server accepts none, for example because it is full, the next sample is a full
    /// listing, and this is tried again.
    pub(super) async fn find_bound(&mut self) -> Result<FoundBound, Failure> {
        let settled = self.known.tracker.as_ref().map_or(0, IdTracker::bound);
        // An id that is not above the others is that of another server, or ids are in no order.
        let Some(bound) = self.fresh_id().await.filter(|id| *id > settled) else {
            self.known.full_listing_next = true;
            return Ok(FoundBound::Unknown);
        };
        // Read after the id, so that the counter is not behind it: a bound that is too high would hide new clients.
        let received = ServerInfo::parse(&request_changes(self.link).await?).connections_received;
        let Some(tracker) = &self.known.tracker else { return Ok(FoundBound::Unknown) };
        let ids: Vec<u64> = (settled + 1..=bound).rev().take(MAX_ID_SCAN as usize + 1).collect();
        let ids: Vec<u64> = ids.into_iter().filter(|id| !tracker.knows(*id)).collect();
        // Above the limit one full listing is cheaper.
        let is_listed = bound - settled <= MAX_ID_SCAN
            && matches!(self.list_pages(&ids, Scope::NewClients).await?, Listed::Complete)
            && !self.known.limits.has_set_aside();
        if !is_listed {
            self.known.full_listing_next = true;
            return Ok(FoundBound::NotListed);
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.rebase(bound, received);
        }
        Ok(FoundBound::Listed)
    }

    /// The id of a new connection to the same server; `None` if another server answers at this address.
    async fn fresh_id(&self) -> Option<u64> {
        // Not over the idle link of the announcer, whose id is old.
        let mut fresh = Link::dial_for_announcing(self.node).await.ok()?;
        let reply = fresh.send(&[Command::InfoServer.into()]).await.ok()?.pop()?.ok()?;
        let run_id = ServerInfo::parse(&reply.into_text()).run_id;
        fresh.id.filter(|_| run_id == self.known.run_id)
    }

    /// The connections that `INFO` counts and that were not listed, without those that cannot be read.
    fn missing(&self, closing: &[u8]) -> i64 {
        let connected = ServerInfo::parse(closing).connected_clients;
        connected.map_or(0, |connected| connected as i64 - self.listed - self.unlisted())
    }

    /// Returns true if more clients are missing than can have opened and closed while the last ones were listed.
    fn is_missing_clients(&self, closing: &[u8]) -> bool {
        let opened = self.known.opened_during_sweep as i64;
        self.missing(closing) > opened / 16 + 2 * i64::from(opened > 0)
    }

    /// Returns true if ids that were assigned before the exporter connected are still to be listed.
    pub(super) fn is_scanning(&self) -> bool {
        let has_unscanned = self.known.tracker.as_ref().is_some_and(|tracker| tracker.unscanned() > 0);
        has_unscanned && self.known.no_pages.is_none() && self.page_count > 0
    }

    /// Notes the conditions at the end of the sweep. `info` is the newest `INFO`.
    pub(super) fn judge(&mut self, info: Option<&ServerInfo>, is_listed: bool) {
        let now = tokio::time::Instant::now();
        let connected = info.and_then(|info| info.connected_clients).filter(|_| is_listed);
        // With those whose last rows were kept.
        let unlisted = self.unlisted() + self.carried as i64;
        let drift = connected.map_or(0, |connected| connected as i64 - self.listed - self.unlisted());
        if drift < 0 && unlisted > 0 {
            // At least one of the clients that were left out has closed.
            self.known.limits.retry_skipped(now);
        }
        let opened = self.known.opened_during_sweep as i64;
        let started_with = self.opening.connected_clients.zip(connected);
        let closed = started_with.map_or(0, |(before, now)| (before as i64 + opened - now as i64).max(0));
        // Clients that were left out may have closed. Without the counter it is unknown how many opened.
        let has_counter = info.and_then(|info| info.connections_received) >= self.opening.connections_received;
        let is_explained = !has_counter
            || self.opening.connections_received.is_none()
            || drift <= opened && -drift <= closed + unlisted;
        let limits = &self.known.limits;
        for (condition, holds) in [
            (SampleCondition::IdsUnordered, self.known.is_unordered),
            (SampleCondition::FullListingFails, limits.has_full_failed(now)),
            (SampleCondition::PagesLimited, limits.have_pages_failed(now)),
            (SampleCondition::Scanning, self.is_scanning() && drift > opened),
            (SampleCondition::ClientsUnreadable, unlisted > 0),
            (SampleCondition::CountsDiffer, !is_explained && !self.is_scanning()),
        ] {
            self.conditions.set(condition, holds);
        }
    }
}
