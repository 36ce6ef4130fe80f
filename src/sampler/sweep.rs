//! One reading of all clients: by pages of ids, with a rest after each, or at once.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::id_tracker::{IdTracker, NewIds};
use super::plan::{CHANGES, OPENING, Plan, REST, Task, Way, plan};
use super::{Budget, Knowledge};
use crate::client_list::{Client, Listing, Unreadable};
use crate::clock;
use crate::link::{Command, Link, Reply, Request, Target};
use crate::sample::{Cost, Failure, Page, Pages, Reason, Sample, Source};
use crate::server_info::ServerInfo;

/// A size that pages may always have.
const FIRST_PAGE: usize = 16;

/// By how much a page may exceed the largest before: what is expected of it may be wrong.
const GROWTH: usize = 2;

/// How many times smaller than the others the first page after a pause is.
const WARMING: usize = 8;

/// What a missing id costs, as a share of one that exists: a look-up, and no row.
const MISSING: f64 = 0.16;

/// The highest bound up to which all ids are asked for at the first sweep; above it one full listing is the shorter way.
const MAX_ID_SCAN: u64 = 20_000;

/// A sweep under way.
pub(super) struct Sweep<'a> {
    link: &'a mut Link,
    target: &'a Target,
    known: &'a mut Knowledge,
    budget: Budget,
    clock: Clock,
    pages: Pages,
    unreadable: Unreadable,
    page_count: u32,
    /// The count of connections when the sweep began.
    received: Option<u64>,
}

/// The node's clock, read once and followed by ours.
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

/// What the sweep found out, in one word: whether listing by ids is to be had.
enum Listed {
    Whole,
    /// Pages turned out to harm more than one full listing.
    TooExpensive,
    /// The server refuses ids.
    NoPages(Failure),
}

/// Whose ids are asked for. Everybody can be had by one full listing instead, should pages turn out to harm more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Everybody,
    NewIds,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(link: &'a mut Link, target: &'a Target, known: &'a mut Knowledge, budget: Budget) -> Self {
        let clock = Clock { at: clock::now(), read: Instant::now() };
        Self {
            link,
            target,
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
    /// The link broke, or the node refused everything.
    pub(super) async fn run(mut self) -> Result<Sample, Failure> {
        let started = Instant::now();
        let opening = self.open().await?;
        let began = self.clock.at;
        let mut info = opening.as_ref().map(|text| ServerInfo::parse(text)).map_err(Clone::clone);
        if let Ok(info) = &info {
            self.known.recognise(info, self.link.id);
            self.received = info.connections_received;
        }
        let listed = self.list(info.as_ref().ok()).await?;
        if self.page_count > 0 && !std::mem::replace(&mut self.known.swept, true) {
            self.known.costs.forget_most();
        }
        if let (Ok(opening), Ok(())) = (&opening, &listed) {
            let closing = self.close().await?;
            info = Ok(ServerInfo::parse(&[opening.as_slice(), &closing].join(&b'\n')));
        }
        let clients = listed.map(|()| self.pages);
        // A node that refuses everything gives no sample; the list is what we came for, so its refusal is the one told.
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
                within_budget: plan.filter(|_| self.known.costs.is_measured()).map(|plan| plan.within),
                drift,
            },
            source: Source::Sampled,
        })
    }

    /// Asks who answers and what it has counted. The error is the node's refusal.
    async fn open(&mut self) -> Result<Result<Vec<u8>, Failure>, Failure> {
        let replies = self.link.send(&OPENING.map(Request::from)).await?;
        let mut texts = Vec::new();
        for (command, reply) in OPENING.into_iter().zip(replies) {
            match (command, reply.map(Reply::into_text)) {
                // What commands cost is good to know; everything else can be told without it.
                (Command::InfoCommandStats, text) => {
                    if let Ok(text) = text {
                        self.known.measure(&text, 0, OPENING.len() as u32);
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

    /// Lists all clients in the way that harms least. The inner error is the node's refusal.
    async fn list(&mut self, info: Option<&ServerInfo>) -> Result<Result<(), Failure>, Failure> {
        let ids = match (info, &self.known.no_pages) {
            (Some(info), None) => self.ids_to_ask(info),
            _ => None,
        };
        let Some(ids) = ids else { return self.list_at_once().await };
        match self.list_by_ids(&ids, Whose::Everybody).await? {
            Listed::Whole => Ok(Ok(())),
            Listed::TooExpensive => self.list_at_once().await,
            Listed::NoPages(failure) => {
                self.known.no_pages = Some(failure);
                self.list_at_once().await
            }
        }
    }

    /// The ids of a sweep by pages; `None` where a full listing is the better way, or the only one.
    fn ids_to_ask(&mut self, info: &ServerInfo) -> Option<Vec<u64>> {
        if std::mem::take(&mut self.known.wants_full) {
            self.known.tracker.as_mut()?.distrust();
            return None;
        }
        let tracker = self.known.tracker.as_ref()?;
        let clients = if tracker.len() > 0 { tracker.len() } else { info.connected_clients? as usize };
        if self.known.plan(clients, self.budget).way == Way::Full {
            return None;
        }
        match (tracker.len(), tracker.bound()) {
            (0, bound @ 1..=MAX_ID_SCAN) => Some((1..=bound).collect()),
            (0, _) => None,
            _ => Some(tracker.known().collect()),
        }
    }

    async fn list_at_once(&mut self) -> Result<Result<(), Failure>, Failure> {
        // What was read in pages until now would be there twice.
        (self.pages, self.page_count) = (Pages::default(), 0);
        let replies = self.link.send(&[Command::ClientList.into(), Command::InfoCommandStats.into()]).await?;
        let [list, statistics] = both(replies);
        let listing = match list {
            Ok(text) => Listing::new(text),
            Err(failure) => return Ok(Err(failure)),
        };
        if let Ok(statistics) = statistics
            && let Some(micros) = {
                let expected = self.known.costs.full_micros(listing.clients().len() as f64);
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

    /// Asks for the clients of these ids, page by page.
    async fn list_by_ids(&mut self, ids: &[u64], whose: Whose) -> Result<Listed, Failure> {
        let mut rest = ids;
        while !rest.is_empty() {
            let at_once = self.known.plan(ids.len(), self.budget).way == Way::Full;
            if whose == Whose::Everybody && at_once && self.known.costs.is_probed() {
                return Ok(Listed::TooExpensive);
            }
            let (page, remaining) = rest.split_at(self.page_size(ids.len()).min(rest.len()));
            rest = remaining;
            if let Listed::NoPages(failure) = self.ask_page(page).await? {
                return Ok(Listed::NoPages(failure));
            }
        }
        Ok(Listed::Whole)
    }

    /// How many ids the next page asks for: what the plan says, but never many more than any page before. The first one after
    /// a pause finds the processor's caches cold and costs several times as much: it warms them with a few ids.
    fn page_size(&self, clients: usize) -> usize {
        let planned = match self.known.plan(clients, self.budget).way {
            Way::Pages(ids) => ids,
            // The plan has changed under way; the sweep is ended as it was begun.
            Way::Full => self.known.largest,
        };
        let planned = planned.clamp(1, self.known.largest.max(FIRST_PAGE) * GROWTH);
        match self.page_count {
            0 if self.known.costs.is_probed() => (planned / WARMING).max(1),
            _ => self.known.costs.varied(planned),
        }
    }

    /// Reads one page and rests.
    async fn ask_page(&mut self, ids: &[u64]) -> Result<Listed, Failure> {
        let started = Instant::now();
        self.known.largest = self.known.largest.max(ids.len());
        let replies = self.link.send(&[Request::clients(ids), Command::InfoCommandStats.into()]).await?;
        let took = started.elapsed();
        let [list, statistics] = both(replies);
        let listing = match list {
            Ok(text) => Listing::new(text),
            // Before 6.2 it is a syntax error. A server that is busy or loading is another matter, and passes.
            Err(failure) => match failure.reason {
                Reason::NoPermission | Reason::UnknownCommand | Reason::Other => return Ok(Listed::NoPages(failure)),
                _ => return Err(failure),
            },
        };
        let found = listing.clients().len();
        let expected = self.known.costs.page().page_micros(ids.len() as f64);
        let micros = statistics.ok().and_then(|statistics| self.known.measure_listing(&statistics, expected));
        // The first page after a pause finds the processor's caches cold, and tells nothing of the others.
        if let Some(micros) = micros.filter(|_| self.page_count > 0 || !self.known.costs.knows_pages()) {
            let missing = ids.len().saturating_sub(found) as f64 * MISSING;
            self.known.costs.observe_page(found as f64 + missing, micros);
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.take_page(ids, listing.clients().iter().filter_map(|client| client.id()));
        }
        self.keep(listing);
        self.page_count += 1;
        // Where the server hides what it took, the round trip is the most that it can have been.
        let held = micros.map_or(took, |micros| Duration::from_secs_f64(micros / 1e6));
        tokio::time::sleep(held * REST).await;
        Ok(Listed::Whole)
    }

    /// Reads who came while the others were read, and what `INFO` says now.
    async fn close(&mut self) -> Result<Vec<u8>, Failure> {
        let texts = ask_changes(self.link).await?;
        self.known.meter.estimate(self.known.costs.info_micros(), CHANGES.len() as u32);
        let received = ServerInfo::parse(&texts).connections_received;
        self.known.came = received.zip(self.received).map_or(0, |(now, before)| now.saturating_sub(before));
        self.ask_newcomers(received, &[]).await?;
        Ok(texts)
    }

    /// Reads the clients that came up to this count of connections, and these ones again, where ids can be asked for.
    pub(super) async fn ask_newcomers(&mut self, received: Option<u64>, again: &[u64]) -> Result<(), Failure> {
        let Some(tracker) = &self.known.tracker else { return Ok(()) };
        if self.known.no_pages.is_some() {
            return Ok(());
        }
        let (mut ids, bound): (Vec<u64>, _) = match tracker.newcomers(received) {
            NewIds::None => (Vec::new(), tracker.bound()),
            // Those of a sweep that was cut short are known and listed already.
            NewIds::Within { ids, bound } => (ids.filter(|id| !tracker.knows(*id)).collect(), bound),
            NewIds::Unknown => return self.find_bound().await,
        };
        ids.extend(again);
        // From the highest down, so that whoever comes meanwhile has an id above all that are settled by it.
        ids.sort_unstable_by(|one, other| other.cmp(one));
        if let Listed::NoPages(failure) = self.list_by_ids(&ids, Whose::NewIds).await? {
            self.known.no_pages = Some(failure);
        } else if let Some(tracker) = &mut self.known.tracker {
            tracker.settle(received, bound);
        }
        Ok(())
    }

    /// The counter says nothing any more, as after `CONFIG RESETSTAT`: a fresh connection's id is the bound. Where none can be
    /// made, as on a server that is full, the next sample is a full listing and it is tried again.
    async fn find_bound(&mut self) -> Result<(), Failure> {
        let Some(bound) = self.fresh_id().await else {
            self.known.wants_full = true;
            return Ok(());
        };
        // Read after it, so that the counter is never behind the id: a bound too high would hide newcomers.
        let received = ServerInfo::parse(&ask_changes(self.link).await?).connections_received;
        let Some(tracker) = &self.known.tracker else { return Ok(()) };
        let from = tracker.bound() + 1;
        if bound.saturating_sub(from) > MAX_ID_SCAN {
            self.known.wants_full = true;
        } else {
            let ids: Vec<u64> = (from..=bound).rev().filter(|id| !tracker.knows(*id)).collect();
            self.list_by_ids(&ids, Whose::NewIds).await?;
        }
        if let Some(tracker) = &mut self.known.tracker {
            tracker.rebase(bound, received);
        }
        Ok(())
    }

    /// The id of a fresh connection to the same server; behind one address there may be another.
    async fn fresh_id(&self) -> Option<u64> {
        let mut fresh = Link::dial(self.target).await.ok()?;
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

    /// The pages read so far, and the lines in them that could not be read: of a quick look.
    pub(super) fn into_pages(self) -> (Pages, Unreadable) {
        (self.pages, self.unreadable)
    }

    /// Goes on with the clock of an earlier sweep.
    pub(super) fn at(mut self, at: Timestamp, read: Instant) -> Self {
        self.clock = Clock { at, read };
        self
    }
}

/// `INFO clients` and `INFO stats` as one text.
pub(super) async fn ask_changes(link: &mut Link) -> Result<Vec<u8>, Failure> {
    let replies = link.send(&CHANGES.map(Request::from)).await?;
    let texts: Vec<_> = replies.into_iter().filter_map(|reply| reply.ok().map(Reply::into_text)).collect();
    Ok(texts.join(&b'\n'))
}

fn both(replies: Vec<Result<Reply, Failure>>) -> [Result<Vec<u8>, Failure>; 2] {
    let mut texts = replies.into_iter().map(|reply| reply.map(Reply::into_text));
    let mut next = || texts.next().expect("there are as many replies as requests");
    [next(), next()]
}

/// Connections that `INFO` counts more than were listed. It leaves out replicas (`networking.c`).
fn drift(info: Option<&ServerInfo>, clients: Option<&Pages>) -> Option<i64> {
    let listed = clients?.clients().filter(|(_, client)| !is_replica(client)).count();
    Some(info?.connected_clients? as i64 - listed as i64)
}

/// A replica, as the server counts them: a monitor has the replica's bit, but not its flag.
pub(super) fn is_replica(client: &Client<'_>) -> bool {
    client.flags().has('S') && !client.flags().has('O')
}

impl Knowledge {
    /// The way that harms least for so many clients.
    pub(super) fn plan(&self, clients: usize, budget: Budget) -> Plan {
        let has_pages = self.no_pages.is_none() && self.tracker.is_some();
        let others = self.announcing.min(budget.max_load / 2.0);
        plan(Task { clients, budget, has_pages, looks: self.looks, others }, &self.costs)
    }

    /// Takes a reading of the command statistics that follows one listing and one `INFO` of ours; gives the microseconds of
    /// the listing. Where others listed too, what was expected is charged and nothing is learned.
    fn measure_listing(&mut self, text: &[u8], expected: f64) -> Option<f64> {
        let micros = self.measure(text, 1, 1);
        if micros.is_none() {
            self.meter.estimate(expected, 1);
        }
        micros
    }

    /// Takes a reading that follows so many listings and `INFO` of ours.
    fn measure(&mut self, text: &[u8], lists: u32, infos: u32) -> Option<f64> {
        let spent = self.meter.read(text, lists, infos);
        if let Some(micros) = spent.and_then(|spent| spent.info_micros) {
            self.costs.observe_info(micros);
        }
        self.meter.estimate(self.costs.info_micros(), infos);
        spent?.list_micros
    }

    /// Forgets the ids of another server, and begins a tracker with our own link's id.
    fn recognise(&mut self, info: &ServerInfo, own_id: Option<u64>) {
        if self.run_id != info.run_id || self.tracker.is_none() {
            self.run_id.clone_from(&info.run_id);
            // Without the counter nobody could tell who came.
            let counter = info.connections_received;
            self.tracker = own_id.zip(counter).map(|(bound, received)| IdTracker::from_bound(bound, Some(received)));
            (self.no_pages, self.swept) = (None, false);
        }
    }
}
