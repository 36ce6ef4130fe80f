//! Monotonic counters, made from the server's. Those begin at 0 again when the server restarts and at `CONFIG
//! RESETSTAT`, and after a failover another server may answer at the same address.

use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::Unreadable;
use crate::sample::Sample;
use crate::server_info::ServerInfo;

/// One of the server's counters, monotonic across its resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The last reading of the server's counter.
    last: u64,
    total: u64,
    /// The number of times that a smaller reading showed a reset.
    resets: u64,
}

impl Counter {
    /// The total across all resets of the server's counter. Falls only when this exporter restarts.
    pub fn total(self) -> u64 {
        self.total
    }

    /// True if the server's counter began again at 0 since an earlier reading, as far as it shows it: it may have
    /// passed that reading.
    pub(super) fn was_reset_since(self, earlier: Self) -> bool {
        self.resets > earlier.resets
    }

    /// The counter after a further reading. A missing reading does not change it.
    fn next(before: Option<Self>, reading: Option<u64>, continuity: Continuity) -> Option<Self> {
        let before = match (before, continuity) {
            (Some(before), Continuity::Restarted) => Some(Counter { last: 0, ..before }),
            // What another server counted before its first sample does not belong to the total.
            (Some(before), Continuity::Another) => Some(Counter { last: reading.unwrap_or(before.last), ..before }),
            (before, _) => before,
        };
        let (Some(Counter { last, total, resets }), Some(reading)) = (before, reading) else {
            return reading.map(|reading| Counter { last: reading, total: reading, resets: 0 }).or(before);
        };
        // A smaller reading means that the server counts from 0 again, after CONFIG RESETSTAT.
        let was_reset = reading < last;
        let grown = if was_reset { reading } else { reading - last };
        Some(Counter { last: reading, total: total.saturating_add(grown), resets: resets + u64::from(was_reset) })
    }
}

/// The relation of the server of a sample to the server of the previous sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// The same server, which has been running since.
    Same,
    /// The same server after a restart: it counts from 0.
    Restarted,
    /// Another server that was already running, for example after a failover.
    Another,
}

/// The server of the last sample.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    run_id: String,
    at: Timestamp,
}

/// Tolerance when times of two servers are compared: their clocks differ, and uptime is reported in whole seconds.
const TOLERANCE_SECONDS: i64 = 2;

impl Server {
    fn of(sample: &Sample) -> Option<Self> {
        let run_id = sample.info.as_ref().ok()?.run_id.clone()?;
        Some(Self { run_id, at: sample.at })
    }

    /// Compares the server of a sample with the previous one. A server that does not report its uptime counts as
    /// another server: a counter that misses something is better than one that jumps by another server's history.
    fn continuity(before: Option<&Self>, sample: &Sample) -> Continuity {
        let (Some(before), Some(now)) = (before, Self::of(sample)) else { return Continuity::Same };
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
    /// The connections accepted when all that are still open were listed for the last time.
    pub(super) arrivals: Option<Counter>,
    /// Connections refused because of `maxclients`.
    pub connections_rejected: Option<Counter>,
    /// Clients closed to free memory.
    pub evicted: Option<Counter>,
    /// Clients closed for their output buffer.
    pub output_buffer_disconnections: Option<Counter>,
    /// Clients closed for their query buffer.
    pub query_buffer_disconnections: Option<Counter>,
    /// Lines of the replies that could not be parsed.
    pub unreadable: Unreadable,
    /// Main-thread time of our commands; `None` if the server has not reported it yet.
    pub server_time: Option<Duration>,
    server: Option<Server>,
}

impl Counters {
    /// Compares the server of a further sample with the server that was counted last.
    pub(super) fn continuity(&self, sample: &Sample) -> Continuity {
        Server::continuity(self.server.as_ref(), sample)
    }

    /// The counters after a further sample.
    pub(super) fn next(before: Option<&Counters>, sample: &Sample) -> Self {
        let before = before.cloned().unwrap_or_default();
        let continuity = before.continuity(sample);
        let info = sample.info.as_ref().ok();
        let next =
            |before, field: fn(&ServerInfo) -> Option<u64>| Counter::next(before, info.and_then(field), continuity);
        let connections_received = next(before.connections_received, |info| info.connections_received);
        Self {
            connections_received,
            arrivals: sample.covered_connections().and(connections_received).or(before.arrivals),
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
            server: Server::of(sample).or(before.server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_list::Listing;

    use Continuity::{Another, Restarted, Same};

    fn totals(readings: &[(Option<u64>, Continuity)]) -> Vec<Option<u64>> {
        let mut counter = None;
        let mut totals = Vec::new();
        for &(reading, continuity) in readings {
            counter = Counter::next(counter, reading, continuity);
            totals.push(counter.map(Counter::total));
        }
        totals
    }

    #[test]
    fn a_counter_never_falls_at_resets_and_gaps() {
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
    fn a_counter_that_was_never_reported_is_unknown() {
        assert_eq!(totals(&[(None, Same), (None, Restarted)]), [None, None]);
    }

    #[test]
    fn a_new_run_id_is_a_restart_only_if_the_uptime_says_so() {
        let sample = |run_id: &str, at: &str, uptime_seconds| {
            let info = ServerInfo { run_id: Some(run_id.into()), uptime_seconds, ..ServerInfo::default() };
            let at = at.parse().expect("a time");
            Sample { info: Ok(info), ..Sample::of(at, Listing::new(Vec::new())) }
        };
        let before = Server::of(&sample("a", "2026-01-01T00:00:00Z", Some(9000)));
        let continuity =
            |run_id, uptime| Server::continuity(before.as_ref(), &sample(run_id, "2026-01-01T00:00:10Z", uptime));
        assert_eq!(continuity("a", Some(9010)), Same);
        assert_eq!(continuity("b", Some(3)), Restarted);
        assert_eq!(continuity("b", Some(12)), Restarted);
        assert_eq!(continuity("b", Some(13)), Another);
        assert_eq!(continuity("b", None), Another);
        assert_eq!(Server::continuity(None, &sample("a", "2026-01-01T00:00:00Z", None)), Same);
    }
}
