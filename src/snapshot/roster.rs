//! Who is connected, from one sample to the next: who came, who went, and what each did meanwhile.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use super::app::bytes;
use super::counters::{Continuity, Counters};
use super::kind::ClientKind;
use crate::client_list::{Client, Field};
use crate::sample::{Pages, Place, Sample};

/// One connection of a sample, by its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// Where in the sample it is.
    pub(super) place: Place,
    /// What it is.
    pub(super) kind: ClientKind,
    /// Its application, by its place among the sample's applications; only of an application client.
    pub(super) app: u32,
    work: Work,
}

/// What a connection has done since it was accepted; `None` where the server does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Commands run.
    pub(super) commands: Option<u64>,
    /// Bytes read from it.
    pub(super) received_bytes: Option<u64>,
    /// Bytes written to it.
    pub(super) sent_bytes: Option<u64>,
}

impl Entry {
    /// A connection without an id (before 2.8.12) cannot be told from another.
    pub(super) fn new(client: &Client<'_>, place: Place, kind: ClientKind, app: u32) -> Option<Self> {
        Some(Self { id: client.id()?, place, kind, app, work: Work::of(client) })
    }
}

impl Work {
    pub(super) fn of(client: &Client<'_>) -> Self {
        Self {
            commands: bytes(client, Field::TotCmds),
            received_bytes: bytes(client, Field::TotNetIn),
            sent_bytes: bytes(client, Field::TotNetOut),
        }
    }

    /// What came since an earlier reading of the same connection. Nothing ever falls; should it, nothing came.
    fn since(self, before: Self) -> Self {
        let grown = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before.unwrap_or(0)));
        Self {
            commands: grown(self.commands, before.commands),
            received_bytes: grown(self.received_bytes, before.received_bytes),
            sent_bytes: grown(self.sent_bytes, before.sent_bytes),
        }
    }
}

/// Everybody of one sample, by id.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    pub(super) sample: Arc<Sample>,
    /// What the server had counted by then.
    pub(super) counters: Counters,
    by_id: Vec<Entry>,
    /// The applications that they are of.
    pub(super) apps: Arc<[Arc<str>]>,
}

/// What happened from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    /// Who came, in the order of their ids.
    pub(super) opened: Vec<Entry>,
    /// Who went; they are of the sample before.
    pub(super) closed: Vec<Entry>,
    /// What those who are there did since the sample before, or since they came.
    pub(super) work: Vec<(Entry, Work)>,
}

impl Roster {
    pub(super) fn new(sample: Arc<Sample>, counters: Counters, mut by_id: Vec<Entry>, apps: Arc<[Arc<str>]>) -> Self {
        // Pages come nearly in the order of ids, of which sorting makes use.
        by_id.sort_unstable_by_key(|entry| entry.id);
        by_id.dedup_by_key(|entry| entry.id);
        Self { sample, counters, by_id, apps }
    }

    /// What happened since an earlier sample of the same server, or of the one before it at this address.
    pub(super) fn since(&self, before: &Roster, life: Continuity) -> Turnover {
        let mut turnover = Turnover::default();
        match life {
            Continuity::Same => self.compare(before, &mut turnover),
            Continuity::Restarted => {
                turnover.closed.clone_from(&before.by_id);
                turnover.open(self.by_id.iter().copied());
            }
            // Another server's clients came whenever they came; only those that are younger than our last look are news.
            Continuity::Another => {
                turnover.closed.clone_from(&before.by_id);
                let elapsed = self.sample.at.duration_since(before.sample.at).as_secs();
                let is_new = |entry: &Entry| {
                    let age = self.client(entry).and_then(Client::age_seconds);
                    age.is_some_and(|age| i64::try_from(age).is_ok_and(|age| age < elapsed))
                };
                turnover.open(self.by_id.iter().copied().filter(is_new));
            }
        }
        turnover
    }

    fn compare(&self, before: &Roster, turnover: &mut Turnover) {
        let (mut old, mut new) = (before.by_id.iter().peekable(), self.by_id.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => old.id.cmp(&new.id),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match order {
                Ordering::Less => turnover.closed.extend(old.next()),
                Ordering::Greater => turnover.open(new.next().copied().into_iter()),
                Ordering::Equal => {
                    let (Some(old), Some(new)) = (old.next(), new.next()) else { break };
                    if self.is_another(before, old, new) {
                        turnover.closed.push(*old);
                        turnover.open(std::iter::once(*new));
                    } else {
                        turnover.work.push((*new, new.work.since(old.work)));
                    }
                }
            }
        }
    }

    /// The application of a connection.
    pub(super) fn app(&self, id: u64) -> Option<&str> {
        let place = self.by_id.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = self.by_id.get(place).filter(|entry| entry.kind == ClientKind::Application)?;
        Some(&self.apps[entry.app as usize])
    }

    /// Whether one id means two connections: where the server does not tell that it restarted, a younger one does.
    fn is_another(&self, before: &Roster, old: &Entry, new: &Entry) -> bool {
        let tells = self.sample.info.as_ref().is_ok_and(|info| info.run_id.is_some());
        if tells {
            return false;
        }
        let age = |roster: &Roster, entry| roster.client(entry).and_then(Client::age_seconds);
        age(before, old).zip(age(self, new)).is_some_and(|(old, new)| new < old)
    }

    /// Whether the server tells what they have done.
    pub(super) fn tell_work(&self) -> bool {
        self.by_id.iter().any(|entry| entry.work.commands.is_some())
    }

    /// When the last of them was read: newcomers come after the sample began.
    pub(super) fn at(&self) -> Timestamp {
        let newest = self.sample.clients.as_ref().ok().and_then(Pages::newest);
        newest.map_or(self.sample.at, |newest| newest.max(self.sample.at))
    }

    /// Whether there are clients, and none has an id.
    pub(super) fn have_no_ids(&self) -> bool {
        self.by_id.is_empty() && self.sample.clients.as_ref().is_ok_and(|pages| !pages.is_empty())
    }

    /// The client of a connection of this sample.
    pub(super) fn client(&self, entry: &Entry) -> Option<&Client<'_>> {
        self.sample.clients.as_ref().ok()?.client(entry.place)
    }
}

impl Turnover {
    fn open(&mut self, entries: impl Iterator<Item = Entry>) {
        for entry in entries {
            self.opened.push(entry);
            self.work.push((entry, entry.work));
        }
    }
}
