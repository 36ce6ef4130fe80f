//! One reading of all clients: in pages of ids with a pause after each page, or in one full listing.
//!
//! `listing` asks for the clients, `recovery` goes on after the server or the network failed at a listing, and
//! `missing` looks for clients that no listing by id has found.

mod listing;
mod missing;
mod recovery;

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::id_tracker::IdTracker;
use super::listing_limits::ListingLimits;
use super::plan::{OPENING_COMMANDS, Plan, QUICK_POLL_COMMANDS, Task, plan};
use super::{Budget, Knowledge, Resync};
use crate::client_list::{Client, Listing, Unreadable};
use crate::clock;
use crate::failure::Failure;
use crate::link::{Command, Link, Node, Reply, Request};
use crate::sample::{Arrivals, Cost, Page, Pages, Sample, SampleConditions, Source};
use crate::server_info::ServerInfo;

use recovery::Attempts;

/// The pause between two checks for the answers to our other links, and the maximum number of pauses.
const OWN_WAIT: Duration = Duration::from_millis(10);
const MAX_OWN_WAITS: u32 = 50;

/// A sweep in progress.
pub(super) struct Sweep<'a> {
    link: &'a mut Link,
    node: &'a Node,
    known: &'a mut Knowledge,
    budget: Budget,
    clock: Clock,
    clock_difference: Option<SignedDuration>,
    pages: Pages,
    unreadable: Unreadable,
    page_count: u32,
    /// The listed clients that `INFO` counts.
    listed: i64,
    /// `INFO` when the sweep began.
    opening: ServerInfo,
    /// The ids of our links, with those that were replaced during the sweep.
    own_ids: Vec<u64>,
    /// The attempts that failed.
    attempts: Attempts,
    conditions: SampleConditions,
    /// The last count of received connections of which all that are still open were listed.
    covered: Option<u64>,
    /// The number of our connections that this count certainly contains.
    own_counted: u64,
    /// Clients up to this id connected before the first sample.
    baseline: u64,
    /// The number of rows that were kept from the sample before.
    carried: usize,
}

/// Our clock: read once per sweep, then advanced by the monotonic clock, so that no step of it falls into a sweep.
#[derive(Clone, Copy)]
struct Clock {
    at: Timestamp,
    read: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { at: clock::now(), read: Instant::now() }
    }

    fn now(self) -> Timestamp {
        self.at.checked_add(self.read.elapsed()).unwrap_or(self.at)
    }

    /// The server's clock minus ours, if it was `micros` in the middle between a request and its reply, which has just
    /// arrived.
    fn difference(self, micros: i64, round_trip: Duration) -> Option<SignedDuration> {
        let ours = self.now().checked_sub(round_trip / 2).ok()?;
        Some(Timestamp::from_microsecond(micros).ok()?.duration_since(ours))
    }
}

impl<'a> Sweep<'a> {
    pub(super) fn new(link: &'a mut Link, node: &'a Node, known: &'a mut Knowledge, budget: Budget) -> Self {
        Self {
            link,
            node,
            known,
            budget,
            clock: Clock::start(),
            clock_difference: None,
            pages: Pages::default(),
            unreadable: Unreadable::default(),
            page_count: 0,
            listed: 0,
            opening: ServerInfo::default(),
            own_ids: Vec::new(),
            attempts: Attempts::default(),
            conditions: SampleConditions::default(),
            covered: None,
            own_counted: 0,
            baseline: 0,
            carried: 0,
        }
    }

    /// Takes the sample.
    ///
    /// # Errors
    /// The link failed, or the node refused both `INFO` and `CLIENT LIST`.
    pub(super) async fn run(mut self) -> Result<Sample, Failure> {
        let started = Instant::now();
        self.wait_for_own().await;
        self.own_counted = self.node.dials.answered();
        // The last id that was certainly assigned when the counter is read. Our other links connect at the same time.
        let assigned = self.link.highest_own_id();
        let opening = self.open().await?;
        let mut info = opening.as_ref().map(|text| ServerInfo::parse(text)).map_err(Clone::clone);
        let (mut is_new, own_id) = (false, self.link.id);
        if let Ok(info) = &info {
            is_new = self.known.update_identity(info, assigned);
            self.baseline = self.known.tracker.as_ref().map_or(0, IdTracker::unscanned);
            self.opening = info.clone();
        }
        let mut listed = self.list(info.is_ok()).await?;
        if self.page_count > 0 && !std::mem::replace(&mut self.known.swept, true) {
            self.known.costs.discount();
        }
        if let (Ok(info), Ok(())) = (&mut info, &listed) {
            let mut closing = self.close().await?;
            if is_new && self.page_count == 0 {
                self.check_order(own_id, ServerInfo::parse(&closing).connections_received);
            }
            if let Some(again) = self.find_missing(&closing).await? {
                match again {
                    Ok(text) => closing = text,
                    Err(failure) => listed = Err(failure),
                }
            }
            info.update(&closing);
        }
        if listed.is_ok() {
            self.carry_over();
        }
        self.judge(info.as_ref().ok(), listed.is_ok());
        let unreadable_ids = self.unreadable_ids();
        self.own_ids.extend(self.link.id);
        self.known.swept_once = true;
        let own = self.node.dials.tally();
        self.own_ids.extend(own.ids.iter().copied());
        let arrivals = self.arrivals(info.as_mut().ok(), own.opened);
        let clients = listed.map(|()| self.pages);
        // If the node refuses both, there is no sample. The refusal of the list matters more, so it is the one
        // reported.
        if let (Err(_), Err(failure)) = (&info, &clients) {
            return Err(failure.clone());
        }
        let drift = drift(info.as_ref().ok(), clients.as_ref().ok());
        let plan = clients.as_ref().ok().map(|clients| self.known.plan(clients.len(), self.budget));
        Ok(Sample {
            at: self.clock.at,
            info,
            clients,
            unreadable: self.unreadable,
            own_ids: self.own_ids,
            unreadable_ids,
            own,
            arrivals,
            cost: Cost {
                duration: started.elapsed(),
                pages: self.page_count,
                longest_command: self.known.meter.take_longest(),
                server_time: self.known.meter.take_total(),
                within_budget: plan.filter(|_| self.known.costs.is_measured()).map(|plan| plan.within_budget),
                drift,
            },
            source: Source::Sampled,
            conditions: self.conditions,
            clock_difference: self.clock_difference,
        })
    }

    /// Requests the server's identity and counters. The inner error is the node's refusal.
    async fn open(&mut self) -> Result<Result<Vec<u8>, Failure>, Failure> {
        let asked = Instant::now();
        let replies = self.link.send(&OPENING_COMMANDS.map(Request::from)).await?;
        let round_trip = asked.elapsed();
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
        let micros = ServerInfo::parse(&text).clock_micros;
        self.clock_difference = micros.and_then(|micros| self.clock.difference(micros, round_trip));
        Ok(Ok(text))
    }

    /// Before the first sample of a server, waits a moment for the answers to our other links, which connect at the
    /// same time: it would be unknown whether the server has counted them. Later samples settle that by themselves.
    async fn wait_for_own(&self) {
        for _ in 0..MAX_OWN_WAITS {
            if self.known.swept_once || self.node.dials.are_answered() {
                return;
            }
            tokio::time::sleep(OWN_WAIT).await;
        }
    }

    /// The relation of the listed clients to the count of received connections. Puts the count up to which they are
    /// complete in place of a later one.
    fn arrivals(&self, info: Option<&mut ServerInfo>, own_opened: u64) -> Arrivals {
        let tracker = self.known.tracker.as_ref().filter(|_| !self.known.is_unordered);
        let bound = tracker.and_then(|tracker| tracker.assigned_by(self.covered));
        let uncounted = |bound| self.known.tracker.iter().flat_map(move |tracker| tracker.known_above(bound)).count();
        if let (Some(info), Some(_)) = (info, self.covered) {
            info.connections_received = self.covered;
        }
        Arrivals {
            uncounted_clients: bound.map_or(0, |bound| uncounted(bound) as u64),
            uncounted_own: own_opened.saturating_sub(self.own_counted),
            is_incomplete: self.covered.is_none(),
            baseline: self.baseline,
        }
    }

    fn keep(&mut self, listing: Listing) {
        self.keep_read_at(self.clock.now(), listing);
    }

    fn keep_read_at(&mut self, at: Timestamp, listing: Listing) {
        self.unreadable = self.unreadable.plus(listing.unreadable());
        self.listed += listing.clients().iter().filter(|client| !is_replica(client)).count() as i64;
        if listing.clients().is_empty() {
            return;
        }
        self.pages.push(Page { at, listing });
    }

    /// The ids of our links that were replaced.
    pub(super) fn own_ids(&self) -> Vec<u64> {
        self.own_ids.clone()
    }

    /// True if all clients that are still connected were listed.
    pub(super) fn is_settled(&self) -> bool {
        self.covered.is_some()
    }

    /// The pages listed so far, and the number of their unreadable lines.
    pub(super) fn into_pages(self) -> (Pages, Unreadable) {
        (self.pages, self.unreadable)
    }
}

/// `INFO clients` and `INFO stats` as one text.
pub(super) async fn request_changes(link: &mut Link) -> Result<Vec<u8>, Failure> {
    let replies = link.send(&QUICK_POLL_COMMANDS.map(Request::from)).await?;
    let texts: Vec<_> = replies.into_iter().filter_map(|reply| reply.ok().map(Reply::into_text)).collect();
    Ok(texts.join(&b'\n'))
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
    /// True if the last sample has a row of a client.
    pub(super) fn rows_have(&self, id: u64) -> bool {
        self.rows.clients().any(|(_, client)| client.id() == Some(id))
    }

    /// The plan for this number of clients.
    pub(super) fn plan(&self, clients: usize, budget: Budget) -> Plan {
        let has_pages = self.no_pages.is_none() && self.tracker.is_some();
        let other_load = self.announce_load.min(budget.max_load / 2.0);
        let now = tokio::time::Instant::now();
        let task = Task {
            clients,
            budget,
            has_pages,
            has_full: self.limits.full_fails(now).is_none(),
            max_page: self.limits.max_page(now),
            quick_poll_load: self.quick_poll_load,
            other_load,
        };
        plan(task, &self.costs)
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

    /// If this is another server, or another run of it, discards the known ids and starts a tracker with an id that was
    /// assigned before the counter was read. Returns true then.
    fn update_identity(&mut self, info: &ServerInfo, assigned: Option<u64>) -> bool {
        // Without a run id, only the uptime shows a restart.
        let is_younger = info.run_id.is_none() && info.uptime_seconds < self.uptime_seconds;
        self.uptime_seconds = info.uptime_seconds;
        let is_new = self.run_id != info.run_id || !self.is_identified || is_younger;
        if is_new {
            self.run_id.clone_from(&info.run_id);
            (self.is_identified, self.swept_once) = (true, false);
            self.rows = Pages::default();
            (self.no_pages, self.swept, self.resync) = (None, false, Resync::default());
            (self.is_unordered, self.limits) = (false, ListingLimits::default());
        }
        if is_new || self.tracker.is_none() {
            // Without the counter, new connections could not be detected.
            let counter = info.connections_received;
            self.tracker = assigned.zip(counter).map(|(bound, received)| IdTracker::from_bound(bound, Some(received)));
        }
        is_new
    }
}

#[cfg(test)]
mod tests;
