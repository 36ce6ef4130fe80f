//! The last hour of a node, for charts and recent changes. It is in memory, bounded, and lost at a restart; Prometheus
//! keeps the long-term history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::sample::Source;
use crate::snapshot::{Snapshot, State};

/// The time between two points, in seconds; of several samples within a step, the last one is kept.
pub const STEP_SECONDS: i64 = 10;

/// Maximum number of points: one hour.
pub const MAX_POINTS: usize = 360;

/// The points of a node, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Point>);

/// A node at one point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The time of the sample, or of the first failure after which there was none.
    pub at: Timestamp,
    /// The values; `None` while the node could not be sampled.
    pub values: Option<PointValues>,
}

/// The values of a node at one point in time. `None` is a value that the node did not report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointValues {
    /// All connections.
    pub connections: Option<u64>,
    /// Connections of applications.
    pub online: Option<u64>,
    /// Connections of applications by state, in the order of [`State::ALL`].
    pub states: Option<[u64; State::ALL.len()]>,
    /// Total number of connections that the server has accepted.
    pub received: Option<u64>,
    /// Total number of connections that the server has refused.
    pub rejected: Option<u64>,
    /// The applications with their connections, largest first. Shared with the previous point if they are the same.
    pub apps: Arc<[(Arc<str>, u64)]>,
}

/// The rates of opened and closed connections, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Connections opened per second.
    pub opened: f64,
    /// Connections closed per second.
    pub closed: f64,
}

impl History {
    /// The points, oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> + ExactSizeIterator {
        self.0.iter()
    }

    /// Returns the history with a further snapshot.
    pub fn with(&self, snapshot: &Snapshot) -> Self {
        let mut values = PointValues::of(snapshot);
        if let Some(last) = self.0.iter().rev().find_map(|point| point.values.as_ref())
            && last.apps == values.apps
        {
            values.apps = Arc::clone(&last.apps);
        }
        self.and(Point { at: snapshot.sample.at, values: Some(values) })
    }

    /// Returns the history with a gap: the time since which there is no sample.
    pub fn with_gap(&self, since: Timestamp) -> Self {
        match self.0.back() {
            Some(Point { at, values: Some(_) }) => {
                // A sample has the time at which it began, which may be the step in which the failure began.
                let after = at.checked_add(SignedDuration::from_secs(STEP_SECONDS)).unwrap_or(*at);
                self.and(Point { at: since.max(after), values: None })
            }
            _ => self.clone(),
        }
    }

    fn and(&self, point: Point) -> Self {
        let mut points = self.0.clone();
        // Replaces a point of the same step, and points in the future after a clock was set back.
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

    /// The points of the hour before `now`, oldest first.
    pub fn hour(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Point> {
        let hour = STEP_SECONDS * MAX_POINTS as i64;
        self.0.iter().filter(move |point| now.duration_since(point.at).as_secs() < hour)
    }

    /// The newest point with values that is at least `ago` older than the last point; if there is none, the oldest
    /// point with values.
    pub fn before(&self, ago: Duration) -> Option<&Point> {
        let last = self.0.back()?.at;
        let with_values = || self.0.iter().filter(|point| point.values.is_some());
        let old = with_values().rev().find(|point| last.duration_since(point.at).unsigned_abs() >= ago);
        old.or_else(|| with_values().next())
    }

    /// The rates of opened and closed connections over this time before the last point, or since the first point if
    /// that is later. `None` if the server does not report the counters, or could not be sampled at one end.
    pub fn rates(&self, over: Duration) -> Option<Rates> {
        Rates::between(self.before(over)?, self.0.back()?)
    }
}

fn step(at: Timestamp) -> i64 {
    at.as_second().div_euclid(STEP_SECONDS)
}

impl PointValues {
    fn of(snapshot: &Snapshot) -> Self {
        let client_counts = snapshot.client_counts.as_ref();
        // A status that omits clients still has the totals.
        let received = match &snapshot.sample.source {
            Source::Received(totals) => Some((totals.connections, totals.online)),
            Source::Sampled => None,
        };
        let totals = client_counts.map(|counts| (counts.connections(), counts.online())).or(received);
        // Without permission for CLIENT LIST, INFO may still report the number of connections.
        let totals = totals.map(|(connections, online)| (connections, Some(online)));
        let totals = totals.or_else(|| Some((snapshot.info()?.connected_clients?, None)));
        let total = |counter: Option<crate::snapshot::Counter>| counter.map(crate::snapshot::Counter::total);
        let apps = snapshot.presence.all().filter(|seen| seen.is_online());
        Self {
            connections: totals.map(|(connections, _)| connections),
            online: totals.and_then(|(_, online)| online),
            states: client_counts.map(|client_counts| State::ALL.map(|state| client_counts.in_state(state))),
            received: snapshot.connections_received(),
            rejected: total(snapshot.counters.connections_rejected),
            apps: apps.map(|seen| (Arc::clone(&seen.app), seen.now.connections)).collect(),
        }
    }
}

impl Rates {
    /// The rates from one point to a later one. The server counts only opened connections. The closed ones are those
    /// that are missing from the number of connections.
    pub fn between(from: &Point, to: &Point) -> Option<Self> {
        let (before, now) = (from.values.as_ref()?, to.values.as_ref()?);
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
        let values = PointValues { connections: Some(connections), received: Some(received), ..PointValues::default() };
        Point { at: at(second), values: Some(values) }
    }

    fn seconds(history: &History) -> Vec<i64> {
        history.points().map(|point| point.at.as_second()).collect()
    }

    #[test]
    fn the_last_point_of_each_step_is_kept_for_an_hour() {
        let history = [0, 4, 9, 10, 25].into_iter().fold(History::default(), |all, s| all.and(point(s, 1, 1)));
        assert_eq!(seconds(&history), [9, 10, 25]);
        let history = (0..2000).fold(history, |all, n| all.and(point(30 + n * 7, 1, 1)));
        assert_eq!(history.points().len(), MAX_POINTS);
        let (first, last) = (seconds(&history)[0], seconds(&history)[MAX_POINTS - 1]);
        assert!(last - first < 3600, "{first} to {last}");
        // If a clock is set back, earlier points are in the future and are removed.
        assert_eq!(seconds(&history.and(point(5, 1, 1))), [5]);
    }

    #[test]
    fn a_time_without_samples_is_one_gap() {
        let history = History::default().with_gap(at(1));
        assert_eq!(history.points().len(), 0, "there was no point before the gap");
        let history = history.and(point(10, 1, 1)).with_gap(at(12)).with_gap(at(30)).and(point(40, 1, 1));
        assert_eq!(seconds(&history), [10, 20, 40]);
        assert_eq!(history.points().nth(1).map(|point| point.values.is_none()), Some(true));
    }

    #[test]
    fn rates_are_those_of_opened_and_of_missing_connections() {
        let history = History::default().and(point(0, 10, 100)).and(point(30, 12, 160)).and(point(100, 5, 200));
        let rates = history.rates(Duration::from_secs(60)).expect("both ends are known");
        assert_eq!((rates.opened, rates.closed), (40.0 / 70.0, 47.0 / 70.0));
        let since_the_first = history.rates(Duration::from_secs(900)).expect("both ends are known");
        assert_eq!((since_the_first.opened, since_the_first.closed), (1.0, 1.05));
        let after_a_gap = history.with_gap(at(120)).and(point(300, 5, 200)).rates(Duration::from_secs(60));
        assert_eq!(after_a_gap.map(|rates| rates.opened), Some(0.0), "compared with the last point before the gap");
        assert_eq!(history.hour(at(3601)).count(), 2);
        assert_eq!(history.with_gap(at(120)).rates(Duration::from_secs(60)), None);
        assert_eq!(
            History::default().and(point(0, 1, 1)).rates(Duration::from_secs(60)),
            None,
            "one point has no duration"
        );
        // The counter of another server is lower: the rates are unknown.
        assert_eq!(history.and(point(110, 5, 1)).rates(Duration::from_secs(5)), None);
    }
}
