//! The connected clients, from one sample to the next: which opened, which closed, and what each one did.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use super::counters::{Continuity, Counters};
use super::failover;
use super::kind::{ClientKind, State};
use super::limits::NetworkPrefix;
use crate::client_list::{Client, Field};
use crate::sample::{Pages, Place, Sample};

/// One client of a sample, classified once: every count and every row of every output is made from it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its id; `None` where the server reports none (before 2.8.12), so that it cannot be followed from sample to
    /// sample.
    pub id: Option<u64>,
    /// Its kind.
    pub kind: ClientKind,
    /// Its state; internal connections have none.
    pub state: Option<State>,
    idle_seconds: Option<u32>,
    /// True if it has never sent a command that the server knows.
    pub is_silent: bool,
    /// True for a connection of this process.
    pub(super) is_own: bool,
    /// Unix seconds.
    connected_at: Option<i64>,
    /// Its place in the sample.
    pub(super) place: Place,
    /// The index of its application in [`Roster::apps`]; [`NO_APP`] for an internal connection.
    pub(super) app: u32,
    /// True if the server reports its work.
    has_work: bool,
    work: Work,
}

/// The application number of an internal connection.
pub(super) const NO_APP: u32 = u32::MAX;

/// Maximum difference between how much two ages grow in the same time, in seconds: each of their readings is rounded.
const ROUNDING_SECONDS: u64 = 2;

/// The work of connections; 0 where the server does not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Commands run.
    pub(super) commands: u64,
    /// Bytes read.
    pub(super) received_bytes: u64,
    /// Bytes written.
    pub(super) sent_bytes: u64,
}

impl Entry {
    pub(super) fn new(client: &Client<'_>, place: Place, kind: ClientKind, state: Option<State>, app: u32) -> Self {
        let saturated = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
        Self {
            id: client.id(),
            kind,
            state,
            idle_seconds: client.idle_seconds().map(saturated),
            is_silent: client.is_silent(),
            is_own: false,
            connected_at: None,
            place,
            app,
            has_work: client.text(Field::TotCmds).is_some(),
            work: Work::of(client),
        }
    }

    /// Sets the connection time, in Unix seconds.
    pub(super) fn connected(self, connected_at: Option<i64>) -> Self {
        Self { connected_at, ..self }
    }

    /// Marks a connection of this process.
    pub(super) fn own(self, is_own: bool) -> Self {
        Self { is_own, ..self }
    }

    /// True for a connection that the server accepted and that is not ours. Opened and closed connections are counted
    /// over these. The server opens the link to its primary itself.
    pub(super) fn is_counted(&self) -> bool {
        !self.is_own && self.kind != ClientKind::Primary
    }

    /// Seconds since the last byte in either direction, as read; at most `u32::MAX`.
    pub fn idle_seconds(&self) -> Option<u64> {
        self.idle_seconds.map(u64::from)
    }

    /// The time at which it connected, to the second, by our clock when we first listed it. It is the same in every
    /// sample, although the age is reported in whole seconds, and although a clock may be set in between.
    pub fn connected_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.connected_at?).ok()
    }

    /// Takes the connection time from an earlier sample of the same connection. The server computes ages by its wall
    /// clock, so a step of it changes the age of every client, and makes it negative if it is set back far enough.
    fn keep_connected_at(&mut self, before: &Entry) {
        self.connected_at = before.connected_at.or(self.connected_at);
    }
}

impl Work {
    pub(super) fn of(client: &Client<'_>) -> Self {
        let count = |field| client.unsigned(field).unwrap_or(0);
        Self {
            commands: count(Field::TotCmds),
            received_bytes: count(Field::TotNetIn),
            sent_bytes: count(Field::TotNetOut),
        }
    }

    /// The growth since an earlier reading of the same connection; 0 if a counter fell, which servers never do.
    fn since(self, before: Self) -> Self {
        Self {
            commands: self.commands.saturating_sub(before.commands),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
        }
    }

    fn add(&mut self, more: Self) {
        self.commands = self.commands.saturating_add(more.commands);
        self.received_bytes = self.received_bytes.saturating_add(more.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(more.sent_bytes);
    }
}

/// The clients of one sample, classified.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) sample: Arc<Sample>,
    /// The server's counters at the time of the sample.
    pub(super) counters: Counters,
    /// One entry per client, in the order of the sample.
    entries: Vec<Entry>,
    /// The indexes of the entries with an id, ascending by id, each id once.
    by_id: Vec<u32>,
    /// The applications; entries have their index.
    pub(super) apps: Arc<[Arc<str>]>,
    /// The number of clients of each application. Counted once, since each scrape adds them up over nodes.
    app_connections: Vec<u64>,
    /// The prefix lengths by which clients are grouped into networks.
    network_prefix: NetworkPrefix,
}

/// The changes from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    /// The opened clients, ascending by id.
    pub(super) opened: Vec<Entry>,
    /// The closed clients: entries of the previous sample.
    pub(super) closed: Vec<Entry>,
    /// The work of the connected clients since the previous sample, or since they opened: one sum per application of
    /// the roster.
    pub(super) work: Vec<Work>,
    /// The number of clients that opened and whose rows cannot be read, and of those that closed without a row.
    pub(super) unreadable: (u64, u64),
}

impl Roster {
    pub(super) fn new(
        sample: Arc<Sample>,
        counters: Counters,
        entries: Vec<Entry>,
        apps: Arc<[Arc<str>]>,
        network_prefix: NetworkPrefix,
    ) -> Self {
        let mut by_id: Vec<u32> = (0..).zip(&entries).filter_map(|(index, entry)| entry.id.map(|_| index)).collect();
        // Pages are nearly sorted by id, which makes the stable sort fast.
        by_id.sort_by_key(|&index| entries[index as usize].id);
        by_id.dedup_by_key(|index| entries[*index as usize].id);
        let mut app_connections = vec![0; apps.len()];
        for entry in &entries {
            if let Some(count) = app_connections.get_mut(entry.app as usize) {
                *count += 1;
            }
        }
        Self { sample, counters, entries, by_id, apps, app_connections, network_prefix }
    }

    /// One entry per client, in the order of the sample.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn by_id(&self) -> impl Iterator<Item = &Entry> {
        self.by_id.iter().map(|&index| &self.entries[index as usize])
    }

    /// The index of the entry with an id.
    pub fn find(&self, id: u64) -> Option<usize> {
        let key = |&index: &u32| self.entries[index as usize].id;
        let found = self.by_id.binary_search_by_key(&Some(id), key).ok()?;
        Some(self.by_id[found] as usize)
    }

    /// The client of an entry.
    pub fn client(&self, entry: &Entry) -> Option<&Client<'_>> {
        self.sample.clients.as_ref().ok()?.client(entry.place)
    }

    /// The time at which the client of an entry was read.
    pub fn read_at(&self, entry: &Entry) -> Timestamp {
        self.sample.clients.as_ref().ok().and_then(|pages| pages.read_at(entry.place)).unwrap_or(self.sample.at)
    }

    /// The application of an entry; `None` for an internal connection.
    pub fn app(&self, entry: &Entry) -> Option<&Arc<str>> {
        self.apps.get(entry.app as usize)
    }

    /// The application clients by application, in no order.
    pub fn connections_by_app(&self) -> impl Iterator<Item = (&str, u64)> {
        self.apps.iter().map(|app| &**app).zip(self.app_connections.iter().copied())
    }

    /// The prefix lengths by which clients are grouped into networks.
    pub fn network_prefix(&self) -> NetworkPrefix {
        self.network_prefix
    }

    /// The changes since an earlier sample of this server, or of the previous server at this address.
    pub(super) fn turnover_since(&mut self, before: &Roster, continuity: Continuity) -> Turnover {
        let mut turnover = Turnover { work: vec![Work::default(); self.apps.len()], ..Turnover::default() };
        match continuity {
            Continuity::Same => {
                self.compare(before, &mut turnover);
                self.compare_unreadable(before, &mut turnover);
            }
            Continuity::Restarted => {
                turnover.closed.extend(before.by_id());
                turnover.open(self.by_id().copied());
            }
            // Most clients of another server connected at an unknown time before. Only those that are younger than the
            // previous sample count as opened, if they were not connected to the first server.
            Continuity::Another => {
                let unmatched = failover::unmatched(before, self);
                turnover.closed = unmatched.gone;
                let elapsed = self.sample.at.duration_since(before.sample.at).as_secs();
                let is_new = |entry: &Entry| {
                    let age = self.client(entry).and_then(Client::age_seconds);
                    age.is_some_and(|age| i64::try_from(age).is_ok_and(|age| age < elapsed))
                };
                turnover.open(unmatched.added.into_iter().filter(is_new));
            }
        }
        turnover
    }

    /// Counts clients that are known by their ids alone, each once: when it connects and when it closes, and not when
    /// its row can be read. Clients that connected before the first sample did not open.
    fn compare_unreadable(&self, before: &Roster, turnover: &mut Turnover) {
        let (was, is) = (&before.sample.unreadable_ids, &self.sample.unreadable_ids);
        let baseline = self.sample.arrivals.baseline;
        turnover.opened.retain(|entry| entry.id.is_none_or(|id| id > baseline && !was.contains(&id)));
        let opened = is.iter().filter(|id| **id > baseline && !was.contains(id) && before.find(**id).is_none()).count();
        let closed = was.iter().filter(|id| !is.contains(id) && self.find(**id).is_none()).count();
        turnover.unreadable = (opened as u64, closed as u64);
    }

    /// Compares both rosters in one pass over their ids.
    fn compare(&mut self, before: &Roster, turnover: &mut Turnover) {
        let (mut old_ids, mut new_ids) = (before.by_id.iter().peekable(), 0);
        loop {
            let old = old_ids.peek().map(|&&index| &before.entries[index as usize]);
            let new = self.by_id.get(new_ids).map(|&index| index as usize);
            let order = match (old, new) {
                (Some(old), Some(new)) => old.id.cmp(&self.entries[new].id),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match (order, old, new) {
                (Ordering::Less, Some(old), _) => turnover.closed.push(*old),
                (Ordering::Greater, _, Some(new)) => turnover.open(std::iter::once(self.entries[new])),
                (Ordering::Equal, Some(old), Some(new)) if self.is_id_reused(before, old, &self.entries[new]) => {
                    turnover.closed.push(*old);
                    turnover.open(std::iter::once(self.entries[new]));
                }
                (Ordering::Equal, Some(old), Some(new)) => {
                    let new = &mut self.entries[new];
                    new.keep_connected_at(old);
                    turnover.add_work(new, new.work.since(old.work));
                }
                _ => break,
            }
            if order.is_le() {
                old_ids.next();
            }
            if order.is_ge() {
                new_ids += 1;
            }
        }
    }

    /// True if two entries with the same id are different connections. Without a run id a restart is only visible from
    /// a client that is younger than before. A server whose clock was set back makes all its clients younger, and
    /// itself by as much.
    fn is_id_reused(&self, before: &Roster, old: &Entry, new: &Entry) -> bool {
        let has_run_id = self.sample.info.as_ref().is_ok_and(|info| info.run_id.is_some());
        if has_run_id {
            return false;
        }
        let age = |roster: &Roster, entry| roster.client(entry)?.number(Field::Age);
        let Some((old_age, new_age)) = age(before, old).zip(age(self, new)) else { return false };
        let uptime = |roster: &Roster| i64::try_from(roster.sample.info.as_ref().ok()?.uptime_seconds?).ok();
        let uptime_growth = uptime(before).zip(uptime(self)).map(|(old, new)| new.saturating_sub(old));
        let age_growth = new_age.saturating_sub(old_age);
        age_growth < 0 && uptime_growth.is_none_or(|growth| growth.abs_diff(age_growth) > ROUNDING_SECONDS)
    }

    /// True if the server reports the work of clients.
    pub(super) fn has_work(&self) -> bool {
        self.entries.iter().any(|entry| entry.has_work)
    }

    /// The time at which the last client was read: new clients are read after the sample began.
    pub(super) fn at(&self) -> Timestamp {
        let newest = self.sample.clients.as_ref().ok().and_then(Pages::newest);
        newest.map_or(self.sample.at, |newest| newest.max(self.sample.at))
    }

    /// True if there are clients, and none has an id.
    pub(super) fn has_no_ids(&self) -> bool {
        self.by_id.is_empty() && self.sample.clients.as_ref().is_ok_and(|pages| !pages.is_empty())
    }
}

impl Turnover {
    fn open(&mut self, entries: impl Iterator<Item = Entry>) {
        for entry in entries {
            self.opened.push(entry);
            self.add_work(&entry, entry.work);
        }
    }

    /// Adds work to the sum of the client's application; internal connections have none.
    fn add_work(&mut self, entry: &Entry, work: Work) {
        if let Some(sum) = self.work.get_mut(entry.app as usize) {
            sum.add(work);
        }
    }
}

#[cfg(test)]
mod tests;
