//! Counters that never fall, kept from counters that do: the server's start anew with it and at `CONFIG RESETSTAT`.

use std::time::Duration;

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
    fn next(before: Option<Self>, seen: Option<u64>, restarted: bool) -> Option<Self> {
        let before = match before {
            Some(Counter { total, .. }) if restarted => Some(Counter { seen: 0, total }),
            before => before,
        };
        let (Some(Counter { seen: last, total }), Some(seen)) = (before, seen) else {
            return seen.map(|seen| Counter { seen, total: seen }).or(before);
        };
        // The server counts from 0 again: CONFIG RESETSTAT.
        let grown = if seen < last { seen } else { seen - last };
        Some(Counter { seen, total: total.saturating_add(grown) })
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
}

impl Counters {
    /// The counters after a further sample.
    pub(super) fn next(before: Option<&Counters>, sample: &Sample, restarted: bool) -> Self {
        let before = before.cloned().unwrap_or_default();
        let info = sample.info.as_ref().ok();
        let next =
            |before, field: fn(&ServerInfo) -> Option<u64>| Counter::next(before, info.and_then(field), restarted);
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
            unreadable: match &sample.listing {
                Ok(listing) => before.unreadable.plus(listing.unreadable()),
                Err(_) => before.unreadable,
            },
            server_time: match (before.server_time, sample.cost.server_time) {
                (Some(before), Some(more)) => Some(before + more),
                (before, more) => before.or(more),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(readings: &[(Option<u64>, bool)]) -> Vec<Option<u64>> {
        let mut counter = None;
        let mut totals = Vec::new();
        for &(seen, restarted) in readings {
            counter = Counter::next(counter, seen, restarted);
            totals.push(counter.map(Counter::total));
        }
        totals
    }

    #[test]
    fn resets_and_gaps_never_make_it_fall() {
        let readings = [(Some(100), false), (Some(130), false), (Some(4), false), (None, false), (Some(9), false)];
        assert_eq!(totals(&readings), [Some(100), Some(130), Some(134), Some(134), Some(139)]);
    }

    #[test]
    fn a_restart_counts_from_zero_even_when_the_new_value_is_higher() {
        assert_eq!(totals(&[(Some(10), false), (Some(50), true)]), [Some(10), Some(60)]);
        assert_eq!(totals(&[(Some(10), false), (None, true), (Some(50), false)]), [Some(10), Some(10), Some(60)]);
    }

    #[test]
    fn what_was_never_reported_stays_unknown() {
        assert_eq!(totals(&[(None, false), (None, true)]), [None, None]);
    }
}
