//! The recent observations of single clients: one point per sample. Points are kept only for clients whose page is
//! open, so the number of clients of a node does not matter.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::client_list::{Client, Field};
use crate::snapshot::output_buffer_bytes;
use crate::text::escaped;

/// The maximum number of clients. Beyond it, the client whose page was requested least recently is forgotten.
const MAX_CLIENTS: usize = 64;

/// The maximum number of points of a client.
const MAX_POINTS: usize = 360;

/// The trends of the clients whose pages were requested last.
#[derive(Debug, Default)]
pub(super) struct ClientTrends(Mutex<HashMap<ClientKey, ClientTrend>>);

/// The key of a client: its node, its id there and when it connected. A restarted server assigns the same ids again,
/// with other connection times.
type ClientKey = (String, u64, Option<Timestamp>);

#[derive(Debug, Default)]
struct ClientTrend {
    points: VecDeque<TrendPoint>,
    /// The sample time of the last request for the client's page.
    viewed_at: Timestamp,
}

/// The state of a client in one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrendPoint {
    /// The time of the sample.
    pub(super) at: Timestamp,
    /// The idle time: seconds since the last byte in either direction.
    pub(super) idle_seconds: Option<u64>,
    /// Its last command.
    pub(super) command: String,
    /// The size of its output buffers, in bytes.
    pub(super) buffers_bytes: u64,
    /// Its total memory, in bytes.
    pub(super) memory_bytes: Option<i64>,
    /// The number of commands it has run, where the server reports it.
    pub(super) commands: Option<i64>,
    /// The bytes that the server has read from it, where the server reports it.
    pub(super) received_bytes: Option<i64>,
    /// The bytes that the server has written to it, where the server reports it.
    pub(super) sent_bytes: Option<i64>,
}

impl ClientTrends {
    /// Adds the state of a client in the current sample, and returns all its points, the newest first.
    pub(super) fn follow(
        &self,
        node: &str,
        client: &Client<'_>,
        connected_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Vec<TrendPoint> {
        let Some(id) = client.id() else { return Vec::new() };
        let mut trends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = find(&trends, node, id, connected_at).unwrap_or_else(|| (node.to_owned(), id, connected_at));
        if trends.len() >= MAX_CLIENTS && !trends.contains_key(&key) {
            let oldest = trends.iter().min_by_key(|(_, trend)| trend.viewed_at).map(|(key, _)| key.clone());
            oldest.map(|oldest| trends.remove(&oldest));
        }
        let trend = trends.entry(key).or_default();
        trend.viewed_at = at;
        if trend.points.back().is_none_or(|last| last.at < at) {
            trend.points.push_back(TrendPoint::of(client, at));
        }
        while trend.points.len() > MAX_POINTS {
            trend.points.pop_front();
        }
        trend.points.iter().rev().cloned().collect()
    }

    /// Returns the points of a client that has closed, the newest first.
    pub(super) fn of(&self, node: &str, id: u64, connected_at: Option<Timestamp>) -> Vec<TrendPoint> {
        let trends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trend = find(&trends, node, id, connected_at).and_then(|key| trends.get(&key));
        trend.into_iter().flat_map(|trend| trend.points.iter().rev().cloned()).collect()
    }
}

/// Finds a client among those that have a trend. The connection time is derived from an age in whole seconds, so it may
/// differ slightly from sample to sample.
fn find(
    trends: &HashMap<ClientKey, ClientTrend>,
    node: &str,
    id: u64,
    connected_at: Option<Timestamp>,
) -> Option<ClientKey> {
    let is_same = |key: &&ClientKey| key.0 == node && key.1 == id && is_near(key.2, connected_at);
    trends.keys().find(is_same).cloned()
}

fn is_near(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.duration_since(other).as_secs().abs() <= 2,
        (one, other) => one == other,
    }
}

impl TrendPoint {
    fn of(client: &Client<'_>, at: Timestamp) -> Self {
        Self {
            at,
            idle_seconds: client.idle_seconds(),
            command: client.text(Field::Cmd).map(escaped).unwrap_or_default(),
            buffers_bytes: output_buffer_bytes(client),
            memory_bytes: client.number(Field::TotMem),
            commands: client.number(Field::TotCmds),
            received_bytes: client.number(Field::TotNetIn),
            sent_bytes: client.number(Field::TotNetOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    /// Adds a point of a client and returns the times of all its points.
    fn follow(trends: &ClientTrends, id: u64, connected: i64, at: i64) -> Vec<i64> {
        let snapshot = snapshot(&format!("id={id} addr=10.0.0.1:1 idle=5 cmd=get flags=N\n"));
        let (_, client) = snapshot.pages().and_then(|pages| pages.places().next()).expect("a client");
        let time = |second| Timestamp::from_second(second).expect("a time");
        let points = trends.follow("node:1", client, Some(time(connected)), time(at));
        points.iter().map(|point| point.at.as_second()).collect()
    }

    #[test]
    fn a_sample_is_one_point_and_another_client_with_the_same_id_has_its_own_trend() {
        let trends = ClientTrends::default();
        assert_eq!(follow(&trends, 7, 100, 200), [200]);
        assert_eq!(follow(&trends, 7, 101, 200), [200], "the same sample");
        assert_eq!(follow(&trends, 7, 100, 210), [210, 200]);
        assert_eq!(follow(&trends, 7, 205, 220), [220], "a later connection");
        let of = |connected| trends.of("node:1", 7, Timestamp::from_second(connected).ok()).len();
        assert_eq!([of(100), of(205), of(300)], [2, 1, 0]);
    }

    #[test]
    fn trends_are_bounded() {
        let trends = ClientTrends::default();
        for at in 0..500 {
            follow(&trends, 1, 0, at);
        }
        assert_eq!(follow(&trends, 1, 0, 500).len(), MAX_POINTS);
        for id in 2..=MAX_CLIENTS as u64 + 1 {
            follow(&trends, id, 0, 1000 + id as i64);
        }
        assert_eq!(follow(&trends, 1, 0, 2000), [2000], "its earlier points were forgotten");
    }
}
