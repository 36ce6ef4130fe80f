//! The last hour of a node, in memory, for charts and for what changed lately. It is bounded and ends with the program: what
//! is to be kept, Prometheus keeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::sample::Source;
use crate::snapshot::{Snapshot, State};

/// The time between two points, in seconds; of several samples within it the last counts.
pub const STEP_SECONDS: i64 = 10;

/// The most points: an hour of them.
pub const MAX_POINTS: usize = 360;

/// The points of a node, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Point>);

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// When: of the sample, or since when there has been none.
    pub at: Timestamp,
    /// What was known; `None` while the node could not be sampled.
    pub told: Option<Told>,
}

/// What was known of a node at one moment. `None` is what it did not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// All connections.
    pub connections: Option<u64>,
    /// Those of applications.
    pub online: Option<u64>,
    /// The online ones by state, in the order of [`State::ALL`].
    pub states: Option<[u64; State::ALL.len()]>,
    /// Connections that the server has accepted up to then.
    pub received: Option<u64>,
    /// Connections that it has refused up to then.
    pub rejected: Option<u64>,
    /// The applications that were shown, with their connections, the most first. Shared with the point before if they are
    /// the same.
    pub apps: Arc<[(Arc<str>, u64)]>,
}

/// How fast connections came and went, in connections a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// That came.
    pub opened: f64,
    /// That went.
    pub closed: f64,
}

impl History {
    /// The points, the oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> + ExactSizeIterator {
        self.0.iter()
    }

    /// With a further snapshot.
    pub fn with(&self, snapshot: &Snapshot) -> Self {
        let mut told = Told::of(snapshot);
        if let Some(last) = self.0.iter().rev().find_map(|point| point.told.as_ref())
            && last.apps == told.apps
        {
            told.apps = Arc::clone(&last.apps);
        }
        self.and(Point { at: snapshot.sample.at, told: Some(told) })
    }

    /// With a time from which on there was no sample.
    pub fn with_gap(&self, since: Timestamp) -> Self {
        match self.0.back() {
            Some(Point { at, told: Some(_) }) => {
                // Samples are told by the node's clock, failures by ours.
                let after = at.checked_add(SignedDuration::from_secs(STEP_SECONDS)).unwrap_or(*at);
                self.and(Point { at: since.max(after), told: None })
            }
            _ => self.clone(),
        }
    }

    fn and(&self, point: Point) -> Self {
        let mut points = self.0.clone();
        // A point of the same step, or of a clock that was set back since, gives way.
        while points.back().is_some_and(|last| step(last.at) >= step(point.at)) {
            points.pop_back();
        }
        let oldest = step(point.at) - MAX_POINTS as i64;
        points.push_back(point);
        while points.front().is_some_and(|first| step(first.at) <= oldest) {
            points.pop_front();
        }
        Self(points)
    }

    /// The points of the hour before `now`, the oldest first.
    pub fn hour(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Point> {
        let hour = STEP_SECONDS * MAX_POINTS as i64;
        self.0.iter().filter(move |point| now.duration_since(point.at).as_secs() < hour)
    }

    /// The newest point with something known that is at least so much older than the last one; else the oldest.
    pub fn before(&self, ago: Duration) -> Option<&Point> {
        let last = self.0.back()?.at;
        let told = || self.0.iter().filter(|point| point.told.is_some());
        let old = told().rev().find(|point| last.duration_since(point.at).unsigned_abs() >= ago);
        old.or_else(|| told().next())
    }

    /// How fast connections came and went since so long before the last point, or since the first one if that is later;
    /// `None` where the server does not tell, or could not be sampled at one end.
    pub fn rates(&self, over: Duration) -> Option<Rates> {
        Rates::between(self.before(over)?, self.0.back()?)
    }
}

fn step(at: Timestamp) -> i64 {
    at.as_second().div_euclid(STEP_SECONDS)
}

impl Told {
    fn of(snapshot: &Snapshot) -> Self {
        let client_counts = snapshot.client_counts.as_ref();
        // A status that leaves clients out still tells how many there are.
        let heard = match &snapshot.sample.source {
            Source::Received(heard) => Some((heard.connections, heard.online)),
            Source::Sampled => None,
        };
        let totals = client_counts.map(|client_counts| (client_counts.connections(), client_counts.online())).or(heard);
        // Who may not list clients may still know how many there are.
        let totals = totals.map(|(connections, online)| (connections, Some(online)));
        let totals = totals.or_else(|| Some((snapshot.info()?.connected_clients?, None)));
        let total = |counter: Option<crate::snapshot::Counter>| counter.map(crate::snapshot::Counter::total);
        let apps = snapshot.presence.all().filter(|seen| seen.is_online());
        Self {
            connections: totals.map(|(connections, _)| connections),
            online: totals.and_then(|(_, online)| online),
            states: client_counts.map(|client_counts| State::ALL.map(|state| client_counts.in_state(state))),
            received: total(snapshot.counters.connections_received),
            rejected: total(snapshot.counters.connections_rejected),
            apps: apps.map(|seen| (Arc::clone(&seen.app), seen.now.connections)).collect(),
        }
    }
}

impl Rates {
    /// From one point to a later one. The server counts whom it accepts; who is missing then must have gone.
    pub fn between(from: &Point, to: &Point) -> Option<Self> {
        let (before, now) = (from.told.as_ref()?, to.told.as_ref()?);
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let opened = now.received?.checked_sub(before.received?)?;
        let closed = (before.connections? + opened).saturating_sub(now.connections?);
        (seconds > 0.0).then(|| Self { opened: opened as f64 / seconds, closed: closed as f64 / seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn point(second: i64, connections: u64, received: u64) -> Point {
        let told = Told { connections: Some(connections), received: Some(received), ..Told::default() };
        Point { at: at(second), told: Some(told) }
    }

    fn seconds(history: &History) -> Vec<i64> {
        history.points().map(|point| point.at.as_second()).collect()
    }

    #[test]
    fn of_a_step_the_last_counts_and_an_hour_is_kept() {
        let history = [0, 4, 9, 10, 25].into_iter().fold(History::default(), |all, s| all.and(point(s, 1, 1)));
        assert_eq!(seconds(&history), [9, 10, 25]);
        let history = (0..2000).fold(history, |all, n| all.and(point(30 + n * 7, 1, 1)));
        assert_eq!(history.points().len(), MAX_POINTS);
        let (first, last) = (seconds(&history)[0], seconds(&history)[MAX_POINTS - 1]);
        assert!(last - first < 3600, "{first} to {last}");
        // A clock that was set back: what it told before is of the future.
        assert_eq!(seconds(&history.and(point(5, 1, 1))), [5]);
    }

    #[test]
    fn a_time_without_samples_is_one_gap() {
        let history = History::default().with_gap(at(1));
        assert_eq!(history.points().len(), 0, "there was nothing before it");
        let history = history.and(point(10, 1, 1)).with_gap(at(12)).with_gap(at(30)).and(point(40, 1, 1));
        assert_eq!(seconds(&history), [10, 20, 40]);
        assert_eq!(history.points().nth(1).map(|point| point.told.is_none()), Some(true));
    }

    #[test]
    fn rates_are_of_those_who_came_and_of_those_who_must_have_gone() {
        let history = History::default().and(point(0, 10, 100)).and(point(30, 12, 160)).and(point(100, 5, 200));
        let rates = history.rates(Duration::from_secs(60)).expect("both ends are known");
        assert_eq!((rates.opened, rates.closed), (40.0 / 70.0, 47.0 / 70.0));
        let since_the_first = history.rates(Duration::from_secs(900)).expect("both ends are known");
        assert_eq!((since_the_first.opened, since_the_first.closed), (1.0, 1.05));
        let after_a_gap = history.with_gap(at(120)).and(point(300, 5, 200)).rates(Duration::from_secs(60));
        assert_eq!(after_a_gap.map(|rates| rates.opened), Some(0.0), "what is known before the gap is compared with");
        assert_eq!(history.hour(at(3601)).count(), 2);
        assert_eq!(history.with_gap(at(120)).rates(Duration::from_secs(60)), None);
        assert_eq!(History::default().and(point(0, 1, 1)).rates(Duration::from_secs(60)), None, "one point is no time");
        // A server that was replaced counts less: nothing is known.
        assert_eq!(history.and(point(110, 5, 1)).rates(Duration::from_secs(5)), None);
    }
}
