//! Which applications are there, which were there lately, and what each has done since we watch.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::groups::weight;
use super::kind::ClientKind;
use super::label::{OTHER, UNNAMED};
use super::limits::Limits;
use super::roster::{Roster, Turnover, Work};
use super::tally::Tally;

/// The applications of a node: those that are shown one by one, and the others together.
///
/// Shown are the expected ones, those that went lately, and of those that are there the ones with the most connections, at
/// most as many as `--group.limit`. The others are folded into `(other)`, so that connections always add up.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// The applications that are shown: the most connections first, equal ones by name.
    pub shown: Vec<Seen>,
    /// All others together; `None` if there has never been any.
    pub other: Option<Seen>,
    /// How many are folded into it now.
    pub folded: u64,
    /// Whether the server tells what clients have done (Valkey 8.0+, Redis 8.2+).
    pub has_work: bool,
    /// Applications that were shown and are not shown now: what was counted goes on from there, should they be again.
    hidden: HashMap<Arc<str>, Hidden>,
}

/// An application that was shown.
#[derive(Clone, Copy, Debug)]
struct Hidden {
    last_seen: Timestamp,
    totals: Totals,
}

/// The most applications that are remembered without being shown.
const MAX_HIDDEN: usize = 1000;

/// An application as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name: the label `client_app`.
    pub app: Arc<str>,
    /// Its connections now; none if it is offline.
    pub now: Tally,
    /// When it last had a connection; `None` for one that is expected and was never there.
    pub last_seen: Option<Timestamp>,
    /// The least connections that it is expected to have, where the operator expects it.
    pub expected: Option<u64>,
    /// What it did while it was shown.
    pub totals: Totals,
}

/// What the connections of an application did, counted by us over their coming and going. Never falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that came.
    pub opened: u64,
    /// Connections that went.
    pub closed: u64,
    /// Commands they ran.
    pub commands: u64,
    /// Bytes the server read from them.
    pub received_bytes: u64,
    /// Bytes the server wrote to them.
    pub sent_bytes: u64,
}

impl Seen {
    /// Whether it has a connection.
    pub fn is_online(&self) -> bool {
        self.now.connections > 0
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
        self.commands = self.commands.saturating_add(work.commands.unwrap_or(0));
        self.received_bytes = self.received_bytes.saturating_add(work.received_bytes.unwrap_or(0));
        self.sent_bytes = self.sent_bytes.saturating_add(work.sent_bytes.unwrap_or(0));
    }
}

impl Presence {
    /// The applications after a further sample.
    pub(super) fn next(&self, counts: Vec<(Arc<str>, Tally)>, news: &Delta<'_>, limits: &Limits) -> Self {
        let mut choice = Ranking::new(self, counts, news, limits);
        choice.show_expected();
        choice.show_gone();
        let folded = choice.show_largest();
        choice.finish(&folded, news)
    }

    /// All that are shown, and the others together last.
    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.shown.iter().chain(&self.other)
    }
}

/// Choosing which applications are shown after a further sample.
struct Ranking<'a> {
    before: &'a Presence,
    limits: &'a Limits,
    at: Timestamp,
    /// Those that are there and were not chosen yet.
    now: HashMap<Arc<str>, Tally>,
    /// Those that were shown before, but for the expected ones.
    was_shown: HashMap<&'a str, &'a Seen>,
    /// What was done by those that were not chosen yet.
    growth: HashMap<Arc<str>, Totals>,
    /// Those of which a connection went.
    went: HashSet<Arc<str>>,
    hidden: HashMap<Arc<str>, Hidden>,
    shown: Vec<Seen>,
}

impl<'a> Ranking<'a> {
    fn new(before: &'a Presence, counts: Vec<(Arc<str>, Tally)>, news: &Delta<'_>, limits: &'a Limits) -> Self {
        let growth = news.growth();
        let went = growth.iter().filter(|(_, totals)| totals.closed > 0).map(|(app, _)| Arc::clone(app));
        Self {
            before,
            limits,
            at: news.roster.at(),
            now: counts.into_iter().collect(),
            was_shown: before.shown.iter().map(|seen| (&*seen.app, seen)).collect(),
            went: went.collect(),
            growth,
            hidden: before.hidden.clone(),
            shown: Vec::new(),
        }
    }

    /// Those that the operator expects, there or not.
    fn show_expected(&mut self) {
        for (app, least) in &self.limits.expected {
            let (now, seen) = (self.now.remove(app), self.was_shown.remove(&**app));
            self.show(app, now, seen, Some(*least));
        }
    }

    /// Those that were shown and went lately.
    fn show_gone(&mut self) {
        // In their order, so that of those that went at once the largest come first.
        let before = self.before.shown.iter();
        let gone = before.filter(|seen| self.was_shown.contains_key(&*seen.app) && !self.now.contains_key(&seen.app));
        let gone: Vec<&Seen> = gone.filter(|seen| !was_renamed(seen, &self.went)).collect();
        let free = self.room().saturating_sub(self.now.len());
        for seen in lately_gone(gone, self.at, free, self.limits) {
            self.show(&seen.app, None, Some(seen), None);
        }
    }

    /// Of those that are there the largest, as many as there is room for; gives the others.
    fn show_largest(&mut self) -> Vec<Tally> {
        let mut candidates: Vec<(Arc<str>, Tally)> = self.now.drain().collect();
        candidates.sort_by_cached_key(|(app, now)| {
            (Reverse(weight(now.connections, self.was_shown.contains_key(&**app))), Arc::clone(app))
        });
        let folded = candidates.split_off(self.room().min(candidates.len()));
        for (app, now) in candidates {
            let seen = self.was_shown.get(&*app).copied();
            self.show(&app, Some(now), seen, None);
        }
        folded.into_iter().map(|(_, now)| now).collect()
    }

    /// How many may be shown beside the expected ones.
    fn room(&self) -> usize {
        self.limits.groups.saturating_sub(self.limits.expected.len())
    }

    fn show(&mut self, app: &Arc<str>, now: Option<Tally>, seen: Option<&Seen>, expected: Option<u64>) {
        let hidden = &mut self.hidden;
        let kept = || hidden.remove(app).map(|hidden| hidden.totals);
        let mut totals = seen.map(|seen| seen.totals).or_else(kept).unwrap_or_default();
        totals.add(&self.growth.remove(app).unwrap_or_default());
        let last_seen = if now.is_some() { Some(self.at) } else { seen.and_then(|seen| seen.last_seen) };
        self.shown.push(Seen { app: Arc::clone(app), now: now.unwrap_or_default(), last_seen, expected, totals });
    }

    fn finish(mut self, folded: &[Tally], news: &Delta<'_>) -> Presence {
        self.shown.sort_unstable_by(|one, other| {
            other.now.connections.cmp(&one.now.connections).then_with(|| one.app.cmp(&other.app))
        });
        self.hide();
        Presence {
            other: self.other(folded),
            folded: folded.len() as u64,
            has_work: self.before.has_work || news.roster.tell_work(),
            shown: self.shown,
            hidden: self.hidden,
        }
    }

    /// Remembers those that were shown until now; forgets those that are gone for long, and more than can be remembered.
    fn hide(&mut self) {
        let (hidden, oldest) = (&mut self.hidden, oldest(self.at, self.limits));
        let still_shown: HashSet<&str> = self.shown.iter().map(|seen| &*seen.app).collect();
        for seen in self.before.shown.iter().filter(|seen| !still_shown.contains(&*seen.app)) {
            let Some(last_seen) = seen.last_seen else { continue };
            hidden.insert(Arc::clone(&seen.app), Hidden { last_seen, totals: seen.totals });
        }
        hidden.retain(|_, hidden| hidden.last_seen > oldest);
        if hidden.len() > MAX_HIDDEN {
            let mut times: Vec<_> = hidden.values().map(|hidden| hidden.last_seen).collect();
            times.sort_unstable();
            let least = times[times.len() - MAX_HIDDEN / 2];
            hidden.retain(|_, hidden| hidden.last_seen > least);
        }
    }

    /// All that are not shown, together: their connections now, and what came of them to what was counted before.
    fn other(&self, folded: &[Tally]) -> Option<Seen> {
        let mut now = Tally::default();
        folded.iter().for_each(|app| now.merge(app));
        let before = self.before.other.as_ref();
        let mut totals = before.map(|other| other.totals).unwrap_or_default();
        self.growth.values().for_each(|more| totals.add(more));
        if before.is_none() && folded.is_empty() && totals == Totals::default() {
            return None;
        }
        let last_seen = if folded.is_empty() { before.and_then(|other| other.last_seen) } else { Some(self.at) };
        Some(Seen { app: OTHER.into(), now, last_seen, expected: None, totals })
    }
}

/// Whether an application is not there any more though none of its connections went: they took another name, or the operator's
/// rules changed. Who says nothing of himself is no application that could be gone.
fn was_renamed(seen: &Seen, went: &HashSet<Arc<str>>) -> bool {
    &*seen.app == UNNAMED || seen.is_online() && !went.contains(&seen.app)
}

/// Of the applications that were shown and are gone, those that are remembered: for some time, and not too many.
fn lately_gone<'a>(mut gone: Vec<&'a Seen>, at: Timestamp, free: usize, limits: &Limits) -> Vec<&'a Seen> {
    let oldest = oldest(at, limits);
    // One that was only expected, and is no more, has nothing to be remembered by.
    gone.retain(|seen| seen.last_seen.is_some_and(|last| last > oldest));
    gone.sort_by_key(|seen| Reverse(seen.last_seen));
    gone.truncate(limits.groups.div_ceil(2).max(free));
    gone
}

/// What was seen at this time or before is forgotten.
fn oldest(at: Timestamp, limits: &Limits) -> Timestamp {
    at.checked_sub(limits.forget_after).unwrap_or(Timestamp::MIN)
}

/// What came to pass since the sample before.
pub(super) struct Delta<'a> {
    pub(super) roster: &'a Roster,
    /// The roster of the sample before, of whom those that went are.
    pub(super) before: Option<&'a Roster>,
    pub(super) turnover: &'a Turnover,
}

impl Delta<'_> {
    /// What each application's connections did.
    fn growth(&self) -> HashMap<Arc<str>, Totals> {
        let mut growth = vec![Totals::default(); self.roster.apps.len()];
        let turnover = self.turnover;
        for entry in turnover.opened.iter().filter(|entry| entry.kind == ClientKind::Application) {
            growth[entry.app as usize].opened += 1;
        }
        for (entry, work) in turnover.work.iter().filter(|(entry, _)| entry.kind == ClientKind::Application) {
            growth[entry.app as usize].add_work(work);
        }
        let grown = self.roster.apps.iter().cloned().zip(growth).filter(|(_, totals)| *totals != Totals::default());
        let mut growth: HashMap<Arc<str>, Totals> = grown.collect();
        let Some(before) = self.before else { return growth };
        for entry in turnover.closed.iter().filter(|entry| entry.kind == ClientKind::Application) {
            growth.entry(Arc::clone(&before.apps[entry.app as usize])).or_default().closed += 1;
        }
        growth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_list::{Listing, Unreadable};
    use crate::sample::{Cost, Pages, Sample, Source};
    use crate::server_info::ServerInfo;
    use crate::snapshot::{Snapshot, derive};

    /// One client, of an application that was never seen before.
    fn sample(second: i64) -> Arc<Sample> {
        let at = Timestamp::from_second(second).expect("a time");
        let reply = format!("id={second} user=app{second} idle=0 flags=N\n");
        Arc::new(Sample {
            at,
            info: Ok(ServerInfo::default()),
            clients: Ok(Pages::one(at, Listing::new(reply.into_bytes()))),
            unreadable: Unreadable::default(),
            own_ids: Vec::new(),
            cost: Cost::default(),
            source: Source::Sampled,
        })
    }

    #[test]
    fn applications_without_end_are_not_all_remembered() {
        let limits = Limits { groups: 1, ..Limits::default() };
        let last = 2 * MAX_HIDDEN as i64;
        let mut snapshot: Option<Snapshot> = None;
        let mut most = 0;
        for second in 1..=last {
            let next = derive(snapshot.as_ref(), sample(second), &limits);
            most = most.max(next.presence.hidden.len());
            snapshot = Some(next);
        }
        let hidden = &snapshot.expect("it was derived").presence.hidden;
        assert_eq!(most, MAX_HIDDEN);
        // The last one is there, and the one before it went lately, so both are shown.
        assert!(hidden.contains_key(&*format!("app{}", last - 2)), "who went last is forgotten last");
        assert!(!hidden.contains_key("app1"));
    }
}
