//! One reading of all clients: in pages of ids with a pause after each page, or in one full listing.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::id_tracker::{IdTracker, NewIds};
use super::plan::{ListMethod, OPENING_COMMANDS, Plan, QUICK_POLL_COMMANDS, REST_FACTOR, Task, plan};
use super::{Budget, Knowledge};
use crate::client_list::{Client, Listing, Unreadable};
use crate::clock;
use crate::failure::{Failure, Reason};
use crate::link::{Command, Link, Node, Reply, Request};
use crate::sample::{Cost, Page, Pages, Sample, Source};
use crate::server_info::ServerInfo;

/// The page size that is always allowed.
const FIRST_PAGE: usize = 16;

/// Maximum ratio of a page to the largest page before it, because its expected cost may be wrong.
const MAX_GROWTH: usize = 2;

/// The first page after a pause is smaller than the planned size by this factor.
const WARM_UP_DIVISOR: usize = 8;

/// The cost of an id without a client, relative to an id with one: a look-up, but no row.
const MISSING_ID_COST: f64 = 0.16;

/// The highest bound up to which the first sweep lists all ids from 1; above it one full listing is cheaper.
const MAX_ID_SCAN: u64 = 20_000;

/// A sweep in progress.
pub(super) struct Sweep<'a> {
    link: &'a mut Link,
    node: &'a Node,
    known: &'a mut Knowledge,
    budget: Budget,
    clock: Clock,
    pages: Pages,
    unreadable: Unreadable,
    page_count: u32,
    /// `total_connections_received` when the sweep began.
    received: Option<u64>,
}

/// The node's clock: read once, then advanced by our monotonic clock.
#[derive(Clone, Copy)]
struct Clock {
    at: Timestamp,
    read: Instant,
}

impl Clock {
    fn now(self) -> Timestamp {
        self.at.checked_add(self.read.elapsed()).unwrap_or(self.at)
    }
}

/// The outcome of listing by ids.
enum Listed {
    Complete,
    /// Pages turned out to exceed the budget more than one full listing.
    TooExpensive,
    /// The server refuses listing by ids.
    NoPages(Failure),
}

/// The clients to list. For all clients, a full listing replaces the pages if they turn out to be too expensive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    AllClients,
    NewClients,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(link: &'a mut Link, node: &'a Node, known: &'a mut Knowledge, budget: Budget) -> Self {
        let clock = Clock { at: clock::now(), read: Instant::now() };
        Self {
            link,
            node,
            known,
            budget,
            clock,
            pages: Pages::default(),
            unreadable: Unreadable::default(),
            page_count: 0,
            received: None,
        }
    }

    /// Takes the sample.
    ///
    /// # Errors
    /// The link failed, or the node refused both `INFO` and `CLIENT LIST`.
    pub(super) async fn run(mut self) -> Result<Sample, Failure> {
        let started = Instant::now();
        let opening = self.open().await?;
        let began = self.clock.at;
        let mut info = opening.as_ref().map(|text| ServerInfo::parse(text)).map_err(Clone::clone);
        if let Ok(info) = &info {
            self.known.update_identity(info, self.link.id);
            self.received = info.connections_received;
        }
        let listed = self.list(info.as_ref().ok()).await?;
        if self.page_count > 0 && !std::mem::replace(&mut self.known.swept, true) {
            self.known.costs.discount();
        }
        if let (Ok(opening), Ok(())) = (&opening, &listed) {
            let closing = self.close().await?;
            info = Ok(ServerInfo::parse(&[opening.as_slice(), &closing].join(&b'\n')));
        }
        let clients = listed.map(|()| self.pages);
        // If the node refuses both, there is no sample. The refusal of the list matters more, so it is the one
        // reported.
        if let (Err(_), Err(failure)) = (&info, &clients) {
            return Err(failure.clone());
        }
        let drift = drift(info.as_ref().ok(), clients.as_ref().ok());
        let plan = clients.as_ref().ok().map(|clients| self.known.plan(clients.len(), self.budget));
        Ok(Sample {
            at: began,
            info,
            clients,
            unreadable: self.unreadable,
            own_ids: self.link.id.into_iter().collect(),
            cost: Cost {
                duration: started.elapsed(),
                pages: self.page_count,
                longest_command: self.known.meter.take_longest(),
                server_time: self.known.meter.take_total(),
                within_budget: plan.filter(|_| self.known.costs.is_measured()).map(|plan| plan.within_budget),
                drift,
            },
            source: Source::Sampled,
        })
    }

    /// Requests the server's identity and counters. The inner error is the node's refusal.
    async fn open(&mut self) -> Result<Result<Vec<u8>, Failure>, Failure> {
        let replies = self.link.send(&OPENING_COMMANDS.map(Request::from)).await?;
        let mut texts = Vec::new();
        for (command, reply) in OPENING_COMMANDS.into_iter().zip(replies) {
            match (command, reply.map(Reply::into_text)) {
                // Only the cost of commands depends on it, so a refusal is ignored.
                (Command::InfoCommandStats, text) => {
                    if let Ok(text) = text {
                        self.known.measure(&text, 0, OPENING_COMMANDS.len() as u32);
                    }
                }
                (_, Ok(text)) => texts.push(text),
                (_, Err(failure)) => return Ok(Err(failure)),
            }
        }
        let text = texts.join(&b'\n');
        if let Some(micros) = ServerInfo::parse(&text).clock_micros
            && let Ok(at) = Timestamp::from_microsecond(micros)
        {
            self.clock = Clock { at, read: Instant::now() };
        }
        Ok(Ok(text))
    }

    /// Lists all clients by the planned method. The inner error is the node's refusal.
    async fn list(&mut self, info: Option<&ServerInfo>) -> Result<Result<(), Failure>, Failure> {
        let ids = match (info, &self.known.no_pages) {
            (Some(info), None) => self.ids_to_list(info),
            _ => None,
        };
        let Some(ids) = ids else { return self.list_full().await };
        match self.list_pages(&ids, Scope::AllClients).await? {
            Listed::Complete => Ok(Ok(())),
            Listed::TooExpensive => self.list_full().await,
            Listed::NoPages(failure) => {
                self.known.no_pages = Some(failure);
                self.list_full().await
            }
        }
    }

    /// The ids of a sweep in pages; `None` where a full listing is the better method, or the only one.
    fn ids_to_list(&mut self, info: &ServerInfo) -> Option<Vec<u64>> {
        if std::mem::take(&mut self.known.full_listing_next) {
            self.known.tracker.as_mut()?.invalidate_bound();
            return None;
        }
        let tracker = self.known.tracker.as_ref()?;
        let clients = if tracker.len() > 0 { tracker.len() } else { info.connected_clients? as usize };
        if self.known.plan(clients, self.budget).method == ListMethod::Full {
            return None;
        }
        match (tracker.len(), tracker.bound()) {
            (0, 1..=MAX_ID_SCAN) => Some(tracker.assigned().collect()),
            (0, _) => None,
            _ => Some(tracker.known().collect()),
        }
    }

    async fn list_full(&mut self) -> Result<Result<(), Failure>, Failure> {
        // Clients that were listed in pages before would be there twice.
        (self.pages, self.page_count) = (Pages::default(), 0);
        let replies = self.link.send(&[Command::ClientList.into(), Command::InfoCommandStats.into()]).await?;
        let [list, statistics] = both(replies);
        let listing = match list {
            Ok(text) => Listing::new(text),
            Err(failure) => return Ok(Err(failure)),
        };
        if let Ok(statistics) = statistics
            && let Some(micros) = {
                let expected = self.known.costs.full_listing_micros(listing.clients().len() as f64);
                self.known.measure_listing(&statistics, expected)
            }
        {
            self.known.costs.observe_full(listing.clients().len(), micros);
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.replace(listing.clients().iter().filter_map(|client| client.id()), self.received);
        }
        self.keep(listing);
        Ok(Ok(()))
    }

    /// Lists the clients with these ids, page by page.
    async fn list_pages(&mut self, ids: &[u64], scope: Scope) -> Result<Listed, Failure> {
        let mut rest = ids;
        while !rest.is_empty() {
            let is_full_better = self.known.plan(ids.len(), self.budget).method == ListMethod::Full;
            if scope == Scope::AllClients && is_full_better && self.known.costs.is_probed() {
                return Ok(Listed::TooExpensive);
            }
            let (page, remaining) = rest.split_at(self.page_size(ids.len()).min(rest.len()));
            rest = remaining;
            if let Listed::NoPages(failure) = self.list_page(page).await? {
                return Ok(Listed::NoPages(failure));
            }
        }
        Ok(Listed::Complete)
    }

    /// The number of ids in the next page: the planned number, but at most twice the largest page so far. The first
    /// page after a pause finds the processor's caches cold and costs several times as much, so it warms them with a
    /// few ids.
    fn page_size(&self, clients: usize) -> usize {
        let planned = match self.known.plan(clients, self.budget).method {
            ListMethod::Pages(ids) => ids,
            // The plan changed during the sweep; it continues in pages.
            ListMethod::Full => self.known.max_page,
        };
        let planned = planned.clamp(1, self.known.max_page.max(FIRST_PAGE) * MAX_GROWTH);
        match self.page_count {
            0 if self.known.costs.is_probed() => (planned / WARM_UP_DIVISOR).max(1),
            _ => self.known.costs.vary_page_size(planned),
        }
    }

    /// Lists one page, then pauses.
    async fn list_page(&mut self, ids: &[u64]) -> Result<Listed, Failure> {
        let started = Instant::now();
        self.known.max_page = self.known.max_page.max(ids.len());
        let replies = self.link.send(&[Request::clients(ids), Command::InfoCommandStats.into()]).await?;
        let took = started.elapsed();
        let [list, statistics] = both(replies);
        let listing = match list {
            Ok(text) => Listing::new(text),
            // Before 6.2 it is a syntax error. The error of a busy or loading server does not show whether it can list
            // by ids.
            Err(failure) => match failure.reason {
                Reason::NoPermission | Reason::UnknownCommand | Reason::Other => return Ok(Listed::NoPages(failure)),
                _ => return Err(failure),
            },
        };
        let found = listing.clients().len();
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
    async fn close(&mut self) -> Result<Vec<u8>, Failure> {
        let texts = request_changes(self.link).await?;
        self.known.meter.estimate(self.known.costs.info_micros(), QUICK_POLL_COMMANDS.len() as u32);
        let received = ServerInfo::parse(&texts).connections_received;
        let opened = received.zip(self.received).map(|(now, before)| now.saturating_sub(before));
        self.known.opened_during_sweep = opened.unwrap_or(0);
        self.list_new_clients(received, &[]).await?;
        Ok(texts)
    }

    /// Lists the clients that connected until the counter was `received`, and those with the ids `again`. Does nothing
    /// if clients cannot be listed by id.
    pub(super) async fn list_new_clients(&mut self, received: Option<u64>, again: &[u64]) -> Result<(), Failure> {
        let Some(tracker) = &self.known.tracker else { return Ok(()) };
        if self.known.no_pages.is_some() {
            return Ok(());
        }
        let (mut ids, bound): (Vec<u64>, _) = match tracker.new_ids(received) {
            NewIds::None => (Vec::new(), tracker.bound()),
            // A sweep in pages may have listed some of them already.
            NewIds::Within { ids, bound } => (ids.filter(|id| !tracker.knows(*id)).collect(), bound),
            NewIds::Unknown => return self.find_bound().await,
        };
        ids.extend(again);
        // From the highest id down, so that connections opened meanwhile have ids above all that are settled.
        ids.sort_unstable_by(|one, other| other.cmp(one));
        if let Listed::NoPages(failure) = self.list_pages(&ids, Scope::NewClients).await? {
            self.known.no_pages = Some(failure);
        } else if let Some(tracker) = &mut self.known.tracker {
            tracker.settle(received, bound);
        }
        Ok(())
    }

    /// Determines the bound after the counter became useless, for example by `CONFIG RESETSTAT`: the id of a new
    /// connection is the bound. If the server accepts none, for example because it is full, the next sample is a full
    /// listing, and this is tried again.
    async fn find_bound(&mut self) -> Result<(), Failure> {
        let Some(bound) = self.fresh_id().await else {
            self.known.full_listing_next = true;
            return Ok(());
        };
        // Read after the id, so that the counter is not behind it: a bound that is too high would hide new clients.
        let received = ServerInfo::parse(&request_changes(self.link).await?).connections_received;
        let Some(tracker) = &self.known.tracker else { return Ok(()) };
        let from = tracker.bound() + 1;
        if bound.saturating_sub(from) > MAX_ID_SCAN {
            self.known.full_listing_next = true;
        } else {
            let ids: Vec<u64> = (from..=bound).rev().filter(|id| !tracker.knows(*id)).collect();
            self.list_pages(&ids, Scope::NewClients).await?;
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.rebase(bound, received);
        }
        Ok(())
    }

    /// The id of a new connection to the same server; `None` if another server answers at this address.
    async fn fresh_id(&self) -> Option<u64> {
        let mut fresh = Link::dial(self.node).await.ok()?;
        let reply = fresh.send(&[Command::InfoServer.into()]).await.ok()?.pop()?.ok()?;
        let run_id = ServerInfo::parse(&reply.into_text()).run_id;
        fresh.id.filter(|_| run_id == self.known.run_id)
    }

    fn keep(&mut self, listing: Listing) {
        self.unreadable = self.unreadable.plus(listing.unreadable());
        if listing.clients().is_empty() {
            return;
        }
        self.pages.push(Page { at: self.clock.now(), listing });
    }

    /// The pages listed so far, and the number of their unreadable lines.
    pub(super) fn into_pages(self) -> (Pages, Unreadable) {
        (self.pages, self.unreadable)
    }

    /// Continues the clock of an earlier sweep.
    pub(super) fn at(mut self, at: Timestamp, read: Instant) -> Self {
        self.clock = Clock { at, read };
        self
    }
}

/// `INFO clients` and `INFO stats` as one text.
pub(super) async fn request_changes(link: &mut Link) -> Result<Vec<u8>, Failure> {
    let replies = link.send(&QUICK_POLL_COMMANDS.map(Request::from)).await?;
    let texts: Vec<_> = replies.into_iter().filter_map(|reply| reply.ok().map(Reply::into_text)).collect();
    Ok(texts.join(&b'\n'))
}

fn both(replies: Vec<Result<Reply, Failure>>) -> [Result<Vec<u8>, Failure>; 2] {
    let mut texts = replies.into_iter().map(|reply| reply.map(Reply::into_text));
    let mut next = || texts.next().expect("there are as many replies as requests");
    [next(), next()]
}

/// `connected_clients` of `INFO` minus the listed clients. It excludes replicas (`networking.c`), so they are not
/// counted.
fn drift(info: Option<&ServerInfo>, clients: Option<&Pages>) -> Option<i64> {
    let listed = clients?.clients().filter(|(_, client)| !is_replica(client)).count();
    Some(info?.connected_clients? as i64 - listed as i64)
}

/// Returns true for a replica, which the server excludes from `connected_clients`. A monitor has the replica's bit
/// inside the server, but shows the flag `O` and is counted.
pub(super) fn is_replica(client: &Client<'_>) -> bool {
    client.flags().has('S') && !client.flags().has('O')
}

impl Knowledge {
    /// The plan for this number of clients.
    pub(super) fn plan(&self, clients: usize, budget: Budget) -> Plan {
        let has_pages = self.no_pages.is_none() && self.tracker.is_some();
        let other_load = self.announce_load.min(budget.max_load / 2.0);
        plan(Task { clients, budget, has_pages, quick_poll_load: self.quick_poll_load, other_load }, &self.costs)
    }

    /// Takes a reading of the command statistics after one listing and one `INFO` by us. Returns the microseconds of
    /// the listing. If others listed clients too, the expected cost is charged and `None` is returned.
    fn measure_listing(&mut self, text: &[u8], expected: f64) -> Option<f64> {
        let micros = self.measure(text, 1, 1);
        if micros.is_none() {
            self.meter.estimate(expected, 1);
        }
        micros
    }

    /// Takes a reading after this number of listings and `INFO` calls by us.
    fn measure(&mut self, text: &[u8], lists: u32, infos: u32) -> Option<f64> {
        let spent = self.meter.read(text, lists, infos);
        if let Some(micros) = spent.and_then(|spent| spent.info_micros) {
            self.costs.observe_info(micros);
        }
        self.meter.estimate(self.costs.info_micros(), infos);
        spent?.list_micros
    }

    /// If this is another server, or another run of it, discards the known ids and starts a tracker with our link's id.
    fn update_identity(&mut self, info: &ServerInfo, own_id: Option<u64>) {
        if self.run_id != info.run_id || self.tracker.is_none() {
            self.run_id.clone_from(&info.run_id);
            // Without the counter, new connections could not be detected.
            let counter = info.connections_received;
            self.tracker = own_id.zip(counter).map(|(bound, received)| IdTracker::from_bound(bound, Some(received)));
            (self.no_pages, self.swept) = (None, false);
        }
    }
}

#[cfg(test)]
mod tests;
