//! Asks for the clients: by the planned method, and by another one if that fails.

use std::time::{Duration, Instant};

use super::recovery::Recovered;
use super::{Sweep, request_changes};
use crate::client_list::Listing;
use crate::failure::{Failure, Reason};
use crate::link::{Command, Reply, Request};
use crate::memory::HeldText;
use crate::sample::SampleCondition;
use crate::sampler::id_tracker::NewIds;
use crate::sampler::plan::{ListMethod, QUICK_POLL_COMMANDS, REST_FACTOR};
use crate::server_info::ServerInfo;

/// The page size that is always allowed.
const FIRST_PAGE: usize = 16;

/// Maximum ratio of a page to the largest page before it, because its expected cost may be wrong.
const MAX_GROWTH: usize = 2;

/// The first page after a pause is smaller than the planned size by this factor.
const WARM_UP_DIVISOR: usize = 8;

/// The cost of an id without a client, relative to an id with one: a look-up, but no row.
pub(super) const MISSING_ID_COST: f64 = 0.16;

/// The highest bound up to which the first sweep lists all ids from 1; above it one full listing is cheaper.
pub(super) const MAX_ID_SCAN: u64 = 20_000;

/// The outcome of listing by ids.
pub(super) enum Listed {
    Complete,
    /// Pages turned out to exceed the budget more than one full listing.
    TooExpensive,
    /// The server refuses listing by ids.
    NoPages(Failure),
    /// The server or the network failed, and another link was opened. For one page: its ids were set aside. For
    /// several: too many of them failed, and the rest was not listed.
    Failed(Failure),
}

/// The clients to list. For all clients, a full listing replaces the pages if they turn out to be too expensive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    AllClients,
    NewClients,
}

/// The method of the next attempt to list all clients.
enum Method {
    Full,
    /// In pages with these ids.
    Ids(Vec<u64>),
    /// In pages with all ids that may have been assigned.
    AllIds(Vec<u64>),
    /// Every method failed a short time ago.
    None(Failure),
}

impl Sweep<'_> {
    /// Lists all clients by the planned method, or by another one if that fails. The inner error is the node's refusal,
    /// or the failure of every method.
    pub(super) async fn list(&mut self, has_info: bool) -> Result<Result<(), Failure>, Failure> {
        let mut method = self.method(has_info);
        loop {
            // Clients that were listed by another method would be there twice.
            self.drop_pages();
            let listed = match method {
                Method::None(failure) => return Ok(Err(failure)),
                Method::Full => match self.list_full().await? {
                    Ok(Recovered::Answered(())) => return Ok(Ok(())),
                    Ok(Recovered::Failed) => {
                        method = self.method(has_info);
                        continue;
                    }
                    Err(refusal) => return Ok(Err(refusal)),
                },
                Method::Ids(ids) => self.list_by_id(&ids).await?,
                Method::AllIds(ids) => {
                    // None of them remains to be scanned: those of pages that fail are set aside.
                    self.known.tracker.iter_mut().for_each(|tracker| tracker.scanned_above(0));
                    self.list_by_id(&ids).await?
                }
            };
            method = match listed {
                Listed::Complete => return Ok(Ok(())),
                Listed::TooExpensive => Method::Full,
                Listed::NoPages(failure) => {
                    self.known.no_pages = Some(failure);
                    self.method(has_info)
                }
                Listed::Failed(failure) => return Ok(Err(failure)),
            }
        }
    }

    /// The method by which clients are listed next.
    fn method(&mut self, has_info: bool) -> Method {
        let now = tokio::time::Instant::now();
        let full_failure = self.known.limits.full_fails(now).cloned();
        if let Some(failure) = self.known.limits.all_fail(now) {
            return Method::None(failure.clone());
        }
        let full_next = std::mem::take(&mut self.known.full_listing_next);
        let Some(tracker) = self.known.tracker.as_mut().filter(|_| has_info && self.known.no_pages.is_none()) else {
            let only_way = self.known.limits.only_way_fails(now).cloned();
            return only_way.map_or(Method::Full, Method::None);
        };
        if full_next {
            tracker.invalidate_bound();
            match full_failure {
                None => return Method::Full,
                Some(_) => tracker.scan_again(),
            }
        }
        let (len, bound) = (tracker.len(), tracker.bound());
        let clients = if len > 0 { len } else { self.opening.connected_clients.unwrap_or_default() as usize };
        let Some(tracker) = &self.known.tracker else { return Method::Full };
        if full_failure.is_none()
            && (self.known.plan(clients, self.budget).method == ListMethod::Full || len == 0 && bound > MAX_ID_SCAN)
        {
            return Method::Full;
        }
        if len == 0 && bound <= MAX_ID_SCAN {
            return Method::AllIds(tracker.assigned().collect());
        }
        let apart = self.known.limits.apart();
        Method::Ids(tracker.known().filter(|id| !apart.contains(id)).collect())
    }

    /// Lists the clients with these ids, those of pages that failed, and those that were never listed.
    async fn list_by_id(&mut self, ids: &[u64]) -> Result<Listed, Failure> {
        let mut listed = self.list_pages(ids, Scope::AllClients).await?;
        if let Listed::Complete = listed {
            listed = self.scan().await?;
        }
        if let Listed::Complete = listed {
            // Once a sweep, so that one fault of the link is not taken for two failures of a client.
            self.known.limits.retry(tokio::time::Instant::now());
            listed = self.list_set_aside().await?;
        }
        Ok(match listed {
            Listed::Failed(failure) => self.give_up(failure),
            listed => {
                self.learn_page_limit();
                listed
            }
        })
    }

    /// Lists all clients with one command. The inner error is the node's refusal.
    pub(super) async fn list_full(&mut self) -> Result<Result<Recovered<()>, Failure>, Failure> {
        let connected = self.opening.connected_clients;
        let max_bytes = self.known.limits.full_allowance(connected);
        let requests = [Command::ClientList.into(), Command::InfoCommandStats.into()];
        let replies = match self.link.send_within(&requests, max_bytes).await {
            Ok(replies) => replies,
            Err(failure) => {
                let failure = self.recover(failure).await?;
                self.known.limits.full_failed(failure, tokio::time::Instant::now());
                return Ok(Ok(Recovered::Failed));
            }
        };
        let [list, statistics] = both(replies);
        let text = match list {
            Ok(text) => text,
            Err(failure) => return Ok(Err(failure)),
        };
        // Clients that were listed in pages before would be there twice.
        self.drop_pages();
        let listing = Listing::of(text);
        self.known.limits.observe_rows(&listing);
        self.known.limits.full_succeeded();
        self.check_known(&listing);
        self.known.full_listing_next = false;
        if let Ok(statistics) = statistics
            && let Some(micros) = {
                let expected = self.known.costs.full_listing_micros(listing.clients().len() as f64);
                self.known.measure_listing(&statistics, expected)
            }
        {
            self.known.costs.observe_full(listing.clients().len(), micros);
        }
        if let Some(tracker) = &mut self.known.tracker {
            let ids = listing.clients().iter().filter_map(|client| client.id());
            tracker.replace(ids, self.opening.connections_received);
        }
        self.keep(listing);
        self.covered = self.opening.connections_received;
        Ok(Ok(Recovered::Answered(())))
    }

    /// Lists the clients with these ids, page by page.
    pub(super) async fn list_pages(&mut self, ids: &[u64], scope: Scope) -> Result<Listed, Failure> {
        let mut rest = ids;
        while !rest.is_empty() {
            let is_full_better = self.known.plan(ids.len(), self.budget).method == ListMethod::Full;
            if scope == Scope::AllClients && is_full_better && self.known.costs.is_probed() {
                return Ok(Listed::TooExpensive);
            }
            let (page, remaining) = rest.split_at(self.page_size(ids.len()).min(rest.len()));
            rest = remaining;
            match self.list_page(page).await? {
                Listed::Failed(failure) if self.attempts.are_used_up() => return Ok(Listed::Failed(failure)),
                Listed::Complete | Listed::Failed(_) => {}
                other => return Ok(other),
            }
        }
        Ok(Listed::Complete)
    }

    /// The number of ids in the next page: the planned number, but at most twice the largest page so far. The first
    /// page after a pause finds the processor's caches cold and costs several times as much, so it warms them with a
    /// few ids.
    pub(super) fn page_size(&self, clients: usize) -> usize {
        let planned = match self.known.plan(clients, self.budget).method {
            ListMethod::Pages(ids) => ids,
            // The plan changed during the sweep; it continues in pages.
            ListMethod::Full => self.known.max_page,
        };
        let planned = planned.clamp(1, self.known.max_page.max(FIRST_PAGE) * MAX_GROWTH);
        let size = match self.page_count {
            0 if self.known.costs.is_probed() => (planned / WARM_UP_DIVISOR).max(1),
            _ => self.known.costs.vary_page_size(planned),
        };
        size.min(self.max_page())
    }

    /// Maximum number of ids in a page that the server and the network can answer, as far as it is known.
    pub(super) fn max_page(&self) -> usize {
        self.known.limits.max_page(tokio::time::Instant::now()).min(self.attempts.max_page())
    }

    /// Lists one page, then pauses.
    pub(super) async fn list_page(&mut self, ids: &[u64]) -> Result<Listed, Failure> {
        let started = Instant::now();
        let max_bytes = self.known.limits.page_allowance(ids.len());
        let requests = [Request::clients(ids), Command::InfoCommandStats.into()];
        let replies = match self.link.send_within(&requests, max_bytes).await {
            Ok(replies) => replies,
            Err(failure) => {
                let failure = self.recover(failure).await?;
                self.set_aside(ids, &failure);
                return Ok(Listed::Failed(failure));
            }
        };
        self.known.max_page = self.known.max_page.max(ids.len());
        let took = started.elapsed();
        let [list, statistics] = both(replies);
        let text = match list {
            Ok(text) => text,
            // Before 6.2 it is a syntax error. The error of a busy or loading server does not show whether it can list
            // by ids.
            Err(failure) => match failure.reason {
                Reason::NoPermission | Reason::UnknownCommand | Reason::Other => return Ok(Listed::NoPages(failure)),
                _ => return Err(failure),
            },
        };
        let mut listing = Listing::of(text);
        if let Some(failure) = self.drop_unexpected(ids, &mut listing) {
            return Ok(Listed::NoPages(failure));
        }
        let found = listing.clients().len();
        self.known.limits.observe_rows(&listing);
        self.known.limits.listed(ids);
        self.known.limits.page_succeeded(ids.len());
        self.attempts.succeeded();
        let expected = self.known.costs.page().page_micros(ids.len() as f64);
        let micros = statistics.ok().and_then(|statistics| self.known.measure_listing(&statistics, expected));
        // The first page after a pause finds the processor's caches cold, so its cost is not typical.
        if let Some(micros) = micros.filter(|_| self.page_count > 0 || !self.known.costs.has_measured_pages()) {
            let missing = ids.len().saturating_sub(found) as f64 * MISSING_ID_COST;
            self.known.costs.observe_page(found as f64 + missing, micros);
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.update_from_page(ids, listing.clients().iter().filter_map(|client| client.id()));
        }
        self.keep(listing);
        self.page_count += 1;
        // Without the server's own measurement, the round-trip time is the upper limit.
        let blocked = micros.map_or(took, |micros| Duration::from_secs_f64(micros / 1e6));
        tokio::time::sleep(blocked * REST_FACTOR).await;
        Ok(Listed::Complete)
    }

    /// Lists the clients that connected during the sweep, and returns the current `INFO`.
    pub(super) async fn close(&mut self) -> Result<Vec<u8>, Failure> {
        self.wait_for_own().await;
        let own_counted = self.node.dials.answered();
        let texts = request_changes(self.link).await?;
        self.known.meter.estimate(self.known.costs.info_micros(), QUICK_POLL_COMMANDS.len() as u32);
        let received = ServerInfo::parse(&texts).connections_received;
        let opened = received.zip(self.opening.connections_received);
        let opened = opened.map(|(now, before)| now.saturating_sub(before));
        self.known.opened_during_sweep = opened.unwrap_or(0);
        self.list_new_clients(received, &[]).await?;
        if self.covered == received {
            self.own_counted = own_counted;
        }
        Ok(texts)
    }

    /// Lists the clients that connected until the counter was `received`, and those with the ids `again`. Does nothing
    /// if clients cannot be listed by id.
    pub(in crate::sampler) async fn list_new_clients(
        &mut self,
        received: Option<u64>,
        again: &[u64],
    ) -> Result<(), Failure> {
        let Some(tracker) = &self.known.tracker else { return Ok(()) };
        if self.known.no_pages.is_some() {
            return Ok(());
        }
        let (mut ids, bound): (Vec<u64>, _) = match tracker.new_ids(received) {
            NewIds::None => (Vec::new(), tracker.bound()),
            // A sweep in pages may have listed some of them already.
            NewIds::Within { ids, bound } => (ids.filter(|id| !tracker.knows(*id)).collect(), bound),
            NewIds::Unknown => {
                self.conditions.set(SampleCondition::CountersReset, received < tracker.received());
                return self.find_bound().await.map(drop);
            }
        };
        ids.extend(again);
        // From the highest id down, so that connections opened meanwhile have ids above all that are settled.
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let mut listed = self.list_pages(&ids, Scope::NewClients).await?;
        if matches!(listed, Listed::Complete) && self.attempts.have_failed() {
            listed = self.list_set_aside().await?;
        }
        if self.known.limits.has_set_aside() {
            return Ok(());
        }
        match (listed, &mut self.known.tracker) {
            (Listed::NoPages(failure), _) => self.known.no_pages = Some(failure),
            (Listed::Complete, Some(tracker)) => {
                tracker.settle(received, bound);
                self.covered = received;
            }
            // Not settled, so that they are listed again.
            _ => {}
        }
        Ok(())
    }
}

fn both(replies: Vec<Result<Reply, Failure>>) -> [Result<HeldText, Failure>; 2] {
    let mut texts = replies.into_iter().map(|reply| reply.map(Reply::into_held_text));
    let mut next = || texts.next().expect("there are as many replies as requests");
    [next(), next()]
}
