//! What became of single clients while somebody looked at them: a point a sample. There is none of a client that nobody looks
//! at, so it costs nothing to have many of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::client_list::{Client, Field};
use crate::snapshot::{escaped, output_buffer_bytes};

/// The most clients; of more, the one that was looked at longest ago is forgotten.
const MAX_CLIENTS: usize = 64;

/// The most points of a client.
const MAX_POINTS: usize = 360;

/// The trails of the clients that were looked at last.
#[derive(Debug, Default)]
pub(super) struct ClientTrends(Mutex<HashMap<Who, ClientTrend>>);

/// A client: its node, and its id there. An id is given again after a restart, when the time of connecting differs.
type Who = (String, u64, Option<Timestamp>);

#[derive(Debug, Default)]
struct ClientTrend {
    points: VecDeque<TrendPoint>,
    /// When it was looked at last, as the sample's time.
    looked_at: Timestamp,
}

/// A client at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrendPoint {
    /// When it was read.
    pub(super) at: Timestamp,
    /// Seconds since its last interaction.
    pub(super) idle_seconds: Option<u64>,
    /// Its last command.
    pub(super) command: String,
    /// Bytes that waited to be sent to it.
    pub(super) buffers_bytes: u64,
    /// What it held in all, in bytes.
    pub(super) memory_bytes: Option<i64>,
    /// Commands it had run, where the server tells.
    pub(super) commands: Option<i64>,
    /// Bytes that had been read from it, where the server tells.
    pub(super) received_bytes: Option<i64>,
    /// Bytes that had been written to it, where the server tells.
    pub(super) sent_bytes: Option<i64>,
}

impl ClientTrends {
    /// Adds what was read of a client, and gives all that is remembered of it, the newest first.
    pub(super) fn follow(
        &self,
        node: &str,
        client: &Client<'_>,
        connected_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Vec<TrendPoint> {
        let Some(id) = client.id() else { return Vec::new() };
        let mut trails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let who = known(&trails, node, id, connected_at).unwrap_or_else(|| (node.to_owned(), id, connected_at));
        if trails.len() >= MAX_CLIENTS && !trails.contains_key(&who) {
            let oldest = trails.iter().min_by_key(|(_, trail)| trail.looked_at).map(|(who, _)| who.clone());
            oldest.map(|oldest| trails.remove(&oldest));
        }
        let trail = trails.entry(who).or_default();
        trail.looked_at = at;
        if trail.points.back().is_none_or(|last| last.at < at) {
            trail.points.push_back(TrendPoint::of(client, at));
        }
        while trail.points.len() > MAX_POINTS {
            trail.points.pop_front();
        }
        trail.points.iter().rev().cloned().collect()
    }

    /// What is remembered of a client that went, the newest first.
    pub(super) fn of(&self, node: &str, id: u64, connected_at: Option<Timestamp>) -> Vec<TrendPoint> {
        let trails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trail = known(&trails, node, id, connected_at).and_then(|who| trails.get(&who));
        trail.into_iter().flat_map(|trail| trail.points.iter().rev().cloned()).collect()
    }
}

/// The client among those that are known. The time of connecting is told in whole seconds of age: it may seem to differ.
fn known(trails: &HashMap<Who, ClientTrend>, node: &str, id: u64, connected_at: Option<Timestamp>) -> Option<Who> {
    let is_same = |known: &&Who| known.0 == node && known.1 == id && close(known.2, connected_at);
    trails.keys().find(is_same).cloned()
}

fn close(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
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

    /// Follows client 7 and gives the ids' trails' lengths.
    fn follow(trails: &ClientTrends, id: u64, connected: i64, at: i64) -> Vec<i64> {
        let snapshot = snapshot(&format!("id={id} addr=10.0.0.1:1 idle=5 cmd=get flags=N\n"));
        let (_, client) = snapshot.pages().and_then(|pages| pages.places().next()).expect("a client");
        let time = |second| Timestamp::from_second(second).expect("a time");
        let points = trails.follow("node:1", client, Some(time(connected)), time(at));
        points.iter().map(|point| point.at.as_second()).collect()
    }

    #[test]
    fn a_sample_is_a_point_once_and_another_client_of_the_same_id_has_its_own() {
        let trails = ClientTrends::default();
        assert_eq!(follow(&trails, 7, 100, 200), [200]);
        assert_eq!(follow(&trails, 7, 101, 200), [200], "the same sample");
        assert_eq!(follow(&trails, 7, 100, 210), [210, 200]);
        assert_eq!(follow(&trails, 7, 205, 220), [220], "it has connected since");
        let of = |connected| trails.of("node:1", 7, Timestamp::from_second(connected).ok()).len();
        assert_eq!([of(100), of(205), of(300)], [2, 1, 0]);
    }

    #[test]
    fn trails_are_bounded() {
        let trails = ClientTrends::default();
        for at in 0..500 {
            follow(&trails, 1, 0, at);
        }
        assert_eq!(follow(&trails, 1, 0, 500).len(), MAX_POINTS);
        for id in 2..=MAX_CLIENTS as u64 + 1 {
            follow(&trails, id, 0, 1000 + id as i64);
        }
        assert_eq!(follow(&trails, 1, 0, 2000), [2000], "it was forgotten");
    }
}
