//! Counters that never fall, kept from counters that do: the server's start anew with it and at `CONFIG RESETSTAT`, and
//! behind one address there may be another server all of a sudden.

use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::Unreadable;
use crate::sample::Sample;
use crate::server_info::ServerInfo;

/// One of the server's counters, carried over its resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    seen: u64,
    total: u64,
}

impl Counter {
    /// Its value: what the server counted, every reset bridged. Falls only when we start anew ourselves.
    pub fn total(self) -> u64 {
        self.total
    }

    /// The counter after a further reading. A reading that is missing leaves it as it was.
    fn next(before: Option<Self>, seen: Option<u64>, life: Continuity) -> Option<Self> {
        let before = match (before, life) {
            (Some(Counter { total, .. }), Continuity::Restarted) => Some(Counter { seen: 0, total }),
            // What this server counted before we met it happened to nobody we watched.
            (Some(Counter { seen: last, total }), Continuity::Another) => {
                Some(Counter { seen: seen.unwrap_or(last), total })
            }
            (before, _) => before,
        };
        let (Some(Counter { seen: last, total }), Some(seen)) = (before, seen) else {
            return seen.map(|seen| Counter { seen, total: seen }).or(before);
        };
        // The server counts from 0 again: CONFIG RESETSTAT.
        let grown = if seen < last { seen } else { seen - last };
        Some(Counter { seen, total: total.saturating_add(grown) })
    }
}

/// Whether the server that answers is the one that answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// It is, and has been running since.
    Same,
    /// It started anew: it counts from 0.
    Restarted,
    /// It is another one that was running all along, as after a failover behind one address.
    Another,
}

/// The server that was counted last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    run_id: String,
    at: Timestamp,
}

/// Clocks of two servers differ, and uptime is told in whole seconds.
const TOLERANCE_SECONDS: i64 = 2;

impl Server {
    fn by(sample: &Sample) -> Option<Self> {
        let run_id = sample.info.as_ref().ok()?.run_id.clone()?;
        Some(Self { run_id, at: sample.at })
    }

    /// Who answers now, compared with who answered before. One whose uptime is not told is taken for another: a counter
    /// that misses something is better than one that jumps by a stranger's history.
    fn life(before: Option<&Self>, sample: &Sample) -> Continuity {
        let (Some(before), Some(now)) = (before, Self::by(sample)) else { return Continuity::Same };
        if before.run_id == now.run_id {
            return Continuity::Same;
        }
        let since = now.at.duration_since(before.at).as_secs().abs().saturating_add(TOLERANCE_SECONDS);
        match sample.info.as_ref().ok().and_then(|info| info.uptime_seconds) {
            Some(uptime) if uptime <= since.unsigned_abs() => Continuity::Restarted,
            _ => Continuity::Another,
        }
    }
}

/// The counters of one node. Those that the server does not report are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Connections accepted.
    pub connections_received: Option<Counter>,
    /// Connections refused because of `maxclients`.
    pub connections_rejected: Option<Counter>,
    /// Clients closed to free memory.
    pub evicted: Option<Counter>,
    /// Clients closed for their output buffer.
    pub output_buffer_disconnections: Option<Counter>,
    /// Clients closed for their query buffer.
    pub query_buffer_disconnections: Option<Counter>,
    /// Lines of the replies that could not be read.
    pub unreadable: Unreadable,
    /// Main-thread time that our commands took; `None` while the server has not told.
    pub server_time: Option<Duration>,
    server: Option<Server>,
}

impl Counters {
    /// Whether a further sample is of the server that was counted last.
    pub(super) fn life(&self, sample: &Sample) -> Continuity {
        Server::life(self.server.as_ref(), sample)
    }

    /// The counters after a further sample.
    pub(super) fn next(before: Option<&Counters>, sample: &Sample) -> Self {
        let before = before.cloned().unwrap_or_default();
        let life = before.life(sample);
        let info = sample.info.as_ref().ok();
        let next = |before, field: fn(&ServerInfo) -> Option<u64>| Counter::next(before, info.and_then(field), life);
        Self {
            connections_received: next(before.connections_received, |info| info.connections_received),
            connections_rejected: next(before.connections_rejected, |info| info.connections_rejected),
            evicted: next(before.evicted, |info| info.evicted_clients),
            output_buffer_disconnections: next(before.output_buffer_disconnections, |info| {
                info.output_buffer_disconnections
            }),
            query_buffer_disconnections: next(before.query_buffer_disconnections, |info| {
                info.query_buffer_disconnections
            }),
            unreadable: before.unreadable.plus(sample.unreadable),
            server_time: match (before.server_time, sample.cost.server_time) {
                (Some(before), Some(more)) => Some(before + more),
                (before, more) => before.or(more),
            },
            server: Server::by(sample).or(before.server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Continuity::{Another, Restarted, Same};

    fn totals(readings: &[(Option<u64>, Continuity)]) -> Vec<Option<u64>> {
        let mut counter = None;
        let mut totals = Vec::new();
        for &(seen, life) in readings {
            counter = Counter::next(counter, seen, life);
            totals.push(counter.map(Counter::total));
        }
        totals
    }

    #[test]
    fn resets_and_gaps_never_make_it_fall() {
        let readings = [(Some(100), Same), (Some(130), Same), (Some(4), Same), (None, Same), (Some(9), Same)];
        assert_eq!(totals(&readings), [Some(100), Some(130), Some(134), Some(134), Some(139)]);
    }

    #[test]
    fn a_restart_counts_from_zero_even_when_the_new_value_is_higher() {
        assert_eq!(totals(&[(Some(10), Same), (Some(50), Restarted)]), [Some(10), Some(60)]);
        assert_eq!(totals(&[(Some(10), Same), (None, Restarted), (Some(50), Same)]), [Some(10), Some(10), Some(60)]);
    }

    #[test]
    fn another_servers_history_is_not_counted() {
        let readings = [(Some(10), Same), (Some(5000), Another), (Some(5003), Same), (Some(12), Another)];
        assert_eq!(totals(&readings), [Some(10), Some(10), Some(13), Some(13)]);
    }

    #[test]
    fn what_was_never_reported_stays_unknown() {
        assert_eq!(totals(&[(None, Same), (None, Restarted)]), [None, None]);
    }

    #[test]
    fn a_new_run_id_is_a_restart_only_if_the_uptime_says_so() {
        let sample = |run_id: &str, at: &str, uptime_seconds| Sample {
            at: at.parse().expect("a time"),
            info: Ok(ServerInfo { run_id: Some(run_id.into()), uptime_seconds, ..ServerInfo::default() }),
            clients: Ok(crate::sample::Pages::default()),
            unreadable: crate::client_list::Unreadable::default(),
            own_ids: Vec::new(),
            cost: crate::sample::Cost::default(),
            source: crate::sample::Source::Sampled,
        };
        let before = Server::by(&sample("a", "2026-01-01T00:00:00Z", Some(9000)));
        let life = |run_id, uptime| Server::life(before.as_ref(), &sample(run_id, "2026-01-01T00:00:10Z", uptime));
        assert_eq!(life("a", Some(9010)), Same);
        assert_eq!(life("b", Some(3)), Restarted);
        assert_eq!(life("b", Some(12)), Restarted);
        assert_eq!(life("b", Some(13)), Another);
        assert_eq!(life("b", None), Another);
        assert_eq!(Server::life(None, &sample("a", "2026-01-01T00:00:00Z", None)), Same);
    }
}
