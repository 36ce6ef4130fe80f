//! The applications that are online, expected or recently offline, and what each has done since exporter start.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::churn::Anonymous;
use super::expectation::Minimum;
use super::groups::weight;
use super::kind::ClientKind;
use super::limits::Limits;
use super::roster::{Roster, Turnover, Work};
use super::tally::Tally;
use crate::text::{OTHER, UNNAMED};

/// The applications of a node: those that are shown individually, and the others together.
///
/// Shown are the expected applications, the recently offline ones, and the online ones with the most connections: at
/// most `--group.limit` in all. The others are folded into `(other)`, so that the sum is always the number of
/// application clients. The opened and closed connections of `(other)` are all that belong to no shown application:
/// those of applications that are folded or forgotten, with what these did before, and internal connections.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// The applications that are shown: the most connections first, equal ones by name.
    pub shown: Vec<Seen>,
    /// All other applications together; `None` if there has never been any.
    pub other: Option<Seen>,
    /// The number of applications that are folded into `other` now.
    pub folded: u64,
    /// The limit of groups of the last sample.
    pub limit: usize,
    /// True if the server reports the work of clients: their commands and bytes (Valkey 8.0+, Redis 8.2+).
    pub has_work: bool,
}

/// The number of calls of [`Snapshot::release_held`](super::Snapshot::release_held) after which the totals of a new
/// application are shown.
const MAX_HOLD: u8 = 3;

/// An application that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name: the label `client_app`.
    pub app: Arc<str>,
    /// The tally of its connections now; empty if it is offline.
    pub now: Tally,
    /// The last time at which it had a connection; `None` for an expected application that was never online.
    pub last_seen: Option<Timestamp>,
    /// Its minimum expected connections.
    pub expected: Minimum,
    /// The work of its connections since it is shown. What it did before is in the totals of `(other)`.
    pub totals: Totals,
    /// The work that is not in the totals yet, of an application that is new.
    pub held: Option<Held>,
}

/// The first work of a new application. Its totals are 0 for a while, because Prometheus takes the first value of a
/// counter as its start: without a 0 before it, the first connections would be in no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    totals: Totals,
    /// The remaining number of releases.
    hold: u8,
}

/// The work of an application's connections, summed over open and closed ones. Never falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections opened.
    pub opened: u64,
    /// Connections closed.
    pub closed: u64,
    /// Commands that they ran.
    pub commands: u64,
    /// Bytes that the server read from them.
    pub received_bytes: u64,
    /// Bytes that the server wrote to them.
    pub sent_bytes: u64,
}

impl Seen {
    /// True if it has a connection.
    pub fn is_online(&self) -> bool {
        self.now.connections > 0
    }

    /// All work since it is shown, with what is not in the totals yet.
    pub(super) fn all_totals(&self) -> Totals {
        let mut totals = self.totals;
        self.held.iter().for_each(|held| totals.add(&held.totals));
        totals
    }

    /// Adds work to the totals, or to what is held. Closed connections are never held: of a new application, none
    /// closed before it was shown.
    fn add(&mut self, more: &Totals) {
        let closed = Totals { closed: more.closed, ..Totals::default() };
        self.totals.add(&closed);
        self.held.as_mut().map_or(&mut self.totals, |held| &mut held.totals).add(&Totals { closed: 0, ..*more });
    }

    /// Shows what is held, if it was held long enough.
    fn release(&mut self) {
        let Some(held) = &mut self.held else { return };
        held.hold = held.hold.saturating_sub(1);
        if held.hold == 0 {
            self.totals = self.all_totals();
            self.held = None;
        }
    }
}

impl Totals {
    fn add(&mut self, more: &Totals) {
        self.opened += more.opened;
        self.closed += more.closed;
        self.commands = self.commands.saturating_add(more.commands);
        self.received_bytes = self.received_bytes.saturating_add(more.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(more.sent_bytes);
    }

    fn add_work(&mut self, work: &Work) {
        self.commands = self.commands.saturating_add(work.commands);
        self.received_bytes = self.received_bytes.saturating_add(work.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(work.sent_bytes);
    }
}

impl Presence {
    /// The applications after a further sample.
    pub(super) fn next(&self, counts: Vec<(Arc<str>, Tally)>, delta: &Delta<'_>, limits: &Limits) -> Self {
        let mut ranking = Ranking::new(self, counts, delta, limits);
        ranking.show_expected();
        ranking.show_offline();
        let folded = ranking.show_largest();
        ranking.finish(&folded, delta)
    }

    /// True if an application is new, so that its totals are not shown yet.
    pub(super) fn has_held(&self) -> bool {
        self.shown.iter().any(|seen| seen.held.is_some())
    }

    /// Comes closer to showing the totals of new applications.
    pub(super) fn release_held(&mut self) {
        self.shown.iter_mut().for_each(Seen::release);
    }

    /// The connections opened and closed by all applications, with what is not shown yet.
    #[cfg(test)]
    pub(super) fn all_totals(&self) -> (u64, u64) {
        self.all().map(Seen::all_totals).fold((0, 0), |sum, one| (sum.0 + one.opened, sum.1 + one.closed))
    }

    /// The applications that are shown, then the others together.
    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.shown.iter().chain(&self.other)
    }
}

/// The selection of the applications to show after a further sample.
struct Ranking<'a> {
    before: &'a Presence,
    limits: &'a Limits,
    at: Timestamp,
    /// The online applications that are not chosen yet.
    now: HashMap<Arc<str>, Tally>,
    /// The applications that were shown before and are not chosen yet.
    was_shown: HashMap<&'a str, &'a Seen>,
    /// The growth of the totals of the applications that are not chosen yet.
    growth: HashMap<Arc<str>, Totals>,
    /// The applications of which a connection closed.
    with_closed: HashSet<Arc<str>>,
    /// The applications that had a connection in the previous sample; `None` if there was none.
    were_online: Option<HashSet<&'a str>>,
    /// The work of applications that are not shown, and of those that are not shown any more.
    others: Totals,
    /// The number of expected applications.
    expected: usize,
    shown: Vec<Seen>,
}

impl<'a> Ranking<'a> {
    fn new(before: &'a Presence, counts: Vec<(Arc<str>, Tally)>, delta: &Delta<'a>, limits: &'a Limits) -> Self {
        let growth = delta.growth();
        let with_closed = growth.iter().filter(|(_, totals)| totals.closed > 0).map(|(app, _)| Arc::clone(app));
        Self {
            before,
            limits,
            at: delta.roster.at(),
            now: counts.into_iter().collect(),
            was_shown: before.shown.iter().map(|seen| (&*seen.app, seen)).collect(),
            with_closed: with_closed.collect(),
            growth,
            were_online: delta.before.map(|before| before.apps.iter().map(|app| &**app).collect()),
            others: Totals { opened: delta.anonymous.opened, closed: delta.anonymous.closed, ..Totals::default() },
            expected: 0,
            shown: Vec::new(),
        }
    }

    /// Chooses the expected applications, online or not.
    fn show_expected(&mut self) {
        for (app, minimum) in self.limits.expected_apps() {
            let (now, seen) = (self.now.remove(&app), self.was_shown.remove(&*app));
            self.show(&app, now, seen, minimum);
            self.expected += 1;
        }
    }

    /// Chooses the applications that were shown and are recently offline.
    fn show_offline(&mut self) {
        // In the order in which they were shown, so that of those that closed at the same time the largest come first.
        let before = self.before.shown.iter();
        let offline =
            before.filter(|seen| self.was_shown.contains_key(&*seen.app) && !self.now.contains_key(&seen.app));
        let offline: Vec<&Seen> = offline.filter(|seen| !was_renamed(seen, &self.with_closed)).collect();
        let free = self.room().saturating_sub(self.now.len());
        for seen in recently_offline(offline, self.at, free, self.limits) {
            self.show(&seen.app, None, Some(seen), Minimum::default());
        }
    }

    /// Chooses the largest online applications, up to the limit. Returns the tallies of the others.
    fn show_largest(&mut self) -> Vec<Tally> {
        let mut candidates: Vec<(Arc<str>, Tally)> = self.now.drain().collect();
        candidates.sort_by_cached_key(|(app, now)| {
            (Reverse(weight(now.connections, self.was_shown.contains_key(&**app))), Arc::clone(app))
        });
        let folded = candidates.split_off(self.room().min(candidates.len()));
        for (app, now) in candidates {
            let seen = self.was_shown.get(&*app).copied();
            self.show(&app, Some(now), seen, Minimum::default());
        }
        folded.into_iter().map(|(_, now)| now).collect()
    }

    /// The number of applications that may be shown beside the expected ones.
    fn room(&self) -> usize {
        self.limits.groups.saturating_sub(self.expected)
    }

    fn show(&mut self, app: &Arc<str>, now: Option<Tally>, seen: Option<&Seen>, expected: Minimum) {
        let last_seen = if now.is_some() { Some(self.at) } else { seen.and_then(|seen| seen.last_seen) };
        let growth = self.growth.remove(app).unwrap_or_default();
        let (totals, held) = seen.map_or_else(Default::default, |seen| (seen.totals, seen.held));
        let mut shown = Seen { app: Arc::clone(app), now: now.unwrap_or_default(), last_seen, expected, totals, held };
        if seen.is_some() {
            shown.add(&growth);
        } else if self.were_online.as_ref().is_some_and(|apps| apps.contains(&**app)) {
            // It was a part of `(other)` until now.
            self.others.add(&growth);
        } else if growth != Totals::default() {
            shown.held = Some(Held { totals: growth, hold: MAX_HOLD });
        }
        self.shown.push(shown);
    }

    fn finish(mut self, folded: &[Tally], delta: &Delta<'_>) -> Presence {
        self.shown.sort_unstable_by(|one, other| {
            other.now.connections.cmp(&one.now.connections).then_with(|| one.app.cmp(&other.app))
        });
        self.hand_over();
        Presence {
            other: self.other(folded),
            folded: folded.len() as u64,
            limit: self.limits.groups,
            has_work: self.before.has_work || delta.roster.has_work(),
            shown: self.shown,
        }
    }

    /// Adds the totals of the applications that are not shown any more to the others, so that no count is lost. An
    /// application that is shown again starts at 0.
    fn hand_over(&mut self) {
        let still_shown: HashSet<&str> = self.shown.iter().map(|seen| &*seen.app).collect();
        for seen in self.before.shown.iter().filter(|seen| !still_shown.contains(&*seen.app)) {
            self.others.add(&seen.all_totals());
        }
        self.growth.values().for_each(|more| self.others.add(more));
    }

    /// The applications that are not shown, together: the tally of their connections, and all work that belongs to no
    /// shown application.
    fn other(&self, folded: &[Tally]) -> Option<Seen> {
        let mut now = Tally::default();
        folded.iter().for_each(|app| now.merge(app));
        let before = self.before.other.as_ref();
        let mut totals = before.map(|other| other.totals).unwrap_or_default();
        totals.add(&self.others);
        if before.is_none() && folded.is_empty() && totals == Totals::default() {
            return None;
        }
        let last_seen = if folded.is_empty() { before.and_then(|other| other.last_seen) } else { Some(self.at) };
        Some(Seen { app: OTHER.into(), now, last_seen, expected: Minimum::default(), totals, held: None })
    }
}

/// True if an application is offline although none of its connections closed: they took another name, or the grouping
/// rules changed. Also true for `(unnamed)`, which is not one application that could be offline.
fn was_renamed(seen: &Seen, with_closed: &HashSet<Arc<str>>) -> bool {
    &*seen.app == UNNAMED || seen.is_online() && !with_closed.contains(&seen.app)
}

/// The offline applications that are remembered: those seen within `forget_after`, the last seen first, and at most
/// half the limit of groups or as many as there are free places, whichever is more.
fn recently_offline<'a>(mut offline: Vec<&'a Seen>, at: Timestamp, free: usize, limits: &Limits) -> Vec<&'a Seen> {
    let oldest = oldest(at, limits);
    // An application that was expected and never online has no last seen time, and is not remembered.
    offline.retain(|seen| seen.last_seen.is_some_and(|last| last > oldest));
    offline.sort_by_key(|seen| Reverse(seen.last_seen));
    offline.truncate(limits.groups.div_ceil(2).max(free));
    offline
}

/// The time up to which applications are forgotten if they were last seen then.
fn oldest(at: Timestamp, limits: &Limits) -> Timestamp {
    at.checked_sub(limits.forget_after).unwrap_or(Timestamp::MIN)
}

/// The difference between a sample and the previous one.
pub(super) struct Delta<'a> {
    pub(super) roster: &'a Roster,
    /// The roster of the previous sample, to which the closed clients belong.
    pub(super) before: Option<&'a Roster>,
    pub(super) turnover: &'a Turnover,
    /// Opened and closed connections that belong to no application.
    pub(super) anonymous: Anonymous,
}

impl Delta<'_> {
    /// The work of the connections of each application.
    fn growth(&self) -> HashMap<Arc<str>, Totals> {
        let mut growth = vec![Totals::default(); self.roster.apps.len()];
        let turnover = self.turnover;
        for entry in turnover.opened.iter().filter(|entry| entry.kind == ClientKind::Application) {
            growth[entry.app as usize].opened += 1;
        }
        growth.iter_mut().zip(&turnover.work).for_each(|(totals, work)| totals.add_work(work));
        let grown = self.roster.apps.iter().cloned().zip(growth).filter(|(_, totals)| *totals != Totals::default());
        let mut growth: HashMap<Arc<str>, Totals> = grown.collect();
        let Some(before) = self.before else { return growth };
        for entry in turnover.closed.iter().filter(|entry| entry.kind == ClientKind::Application) {
            growth.entry(Arc::clone(&before.apps[entry.app as usize])).or_default().closed += 1;
        }
        growth
    }
}
