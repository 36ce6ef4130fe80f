//! The connections that opened and closed, with the reason where the server's counters prove it.

use std::sync::Arc;

use super::closed::{CloseReason, Closed, ClosedRing, MAX_CLOSED};
use super::counters::{Continuity, Counter, Counters};
use super::kind::ClientKind;
use super::roster::{Entry, Roster, Turnover};

/// Opened and closed connections since exporter start, as observed.
#[derive(Clone, Debug, Default)]
pub struct Churn {
    /// Closed connections, in the order of [`CloseReason::ALL`].
    closed: [u64; CloseReason::ALL.len()],
    /// Connections that the server accepted since exporter start.
    accepted: u64,
    /// The accepted connections that were observed in a sample.
    opened: u64,
    /// Opened connections, as observed.
    opened_total: u64,
    /// The accepted connections that were never observed.
    unseen: u64,
    /// Disconnections that the server has counted, of clients that were not missing from a sample yet.
    pending: Disconnections,
    /// The clients that closed last.
    pub ring: ClosedRing,
}

/// Clients that the server disconnected, by its own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Disconnections {
    limit: u64,
    evicted: u64,
}

/// The clients that opened and closed between two samples.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The ids of the opened clients, ascending.
    pub opened: Vec<u64>,
    /// The closed clients, ascending by id; at most [`MAX_CLOSED`].
    pub closed: Vec<Arc<Closed>>,
}

/// One step from a sample to the next.
pub(super) struct Step<'a> {
    pub(super) turnover: &'a Turnover,
    pub(super) roster: &'a Roster,
    /// The roster of the previous sample.
    pub(super) before: Option<&'a Roster>,
    pub(super) continuity: Continuity,
}

impl Churn {
    /// The number of closed clients with this reason. Our own links are not counted.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// The number of opened clients, as observed. Our own links are not counted.
    pub fn opened_total(&self) -> u64 {
        self.opened_total
    }

    /// The number of closed clients, for any reason. Our own links are not counted.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// The number of connections that opened and closed between two polls and were never observed.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The counts after a further step, and the clients that opened and closed in it.
    pub(super) fn next(&self, step: &Step<'_>) -> (Self, Changes) {
        let mut next = self.clone();
        let unseen = next.count_accepted(step);
        let missing: Vec<_> = step.turnover.closed.iter().filter(|entry| entry.kind != ClientKind::Exporter).collect();
        let own = step.turnover.closed.len() - missing.len();
        // A client that the server counted may be one that was never observed, or our own link.
        let reason = next.count_closed(missing.len() as u64, unseen + own as u64, step);
        let at = step.roster.at();
        // The ring has no room for more than MAX_CLOSED.
        let excess = missing.len().saturating_sub(MAX_CLOSED);
        let closed: Vec<_> = missing[excess..]
            .iter()
            .filter_map(|entry| Closed::new(entry, step.before?, at, reason).map(Arc::new))
            .collect();
        next.ring = self.ring.with(&closed);
        let opened = step.turnover.opened.iter().filter_map(|entry| entry.id).collect();
        let is_own = |entry: &&Entry| entry.kind == ClientKind::Exporter;
        next.opened_total += step.turnover.opened.iter().filter(|entry| !is_own(entry)).count() as u64;
        (next, Changes { opened, closed })
    }

    /// Counts the accepted connections. Returns how many more of them were never observed.
    fn count_accepted(&mut self, step: &Step<'_>) -> u64 {
        // Another server accepted its clients before its first sample; without ids (before 2.8.12) connections can't be
        // distinguished.
        if step.continuity == Continuity::Another || step.before.is_none() || step.roster.has_no_ids() {
            return 0;
        }
        self.accepted = self.accepted.saturating_add(growth(step, |counters| counters.connections_received));
        // The server opens the link to its primary itself, so it does not count as accepted.
        self.opened += step.turnover.opened.iter().filter(|entry| entry.kind != ClientKind::Primary).count() as u64;
        // More were observed than accepted if the server's counter began later or was reset. That excess must not hide
        // connections that are missed later.
        if step.roster.sample.info.as_ref().is_ok_and(|info| info.connections_received.is_some()) {
            self.opened = self.opened.min(self.accepted);
        }
        // A connection that is counted before it is listed counts as unobserved. The total never falls; instead, the
        // next unobserved connection does not add to it.
        let unseen = self.accepted.saturating_sub(self.opened).max(self.unseen);
        let more = unseen - self.unseen;
        self.unseen = unseen;
        more
    }

    /// Counts the closed clients. Returns their reason if it is the same for all of them.
    ///
    /// The server counts the clients that it closed for a limit or evicted, but does not name them. That many of the
    /// missing clients closed for that reason; which of them is known only if it is all of them. Connections that were
    /// never observed may also be the ones that it counted.
    fn count_closed(&mut self, missing: u64, unseen: u64, step: &Step<'_>) -> CloseReason {
        if step.continuity == Continuity::Restarted {
            self.pending = Disconnections::default();
            self.closed[CloseReason::Restart as usize] += missing;
            return CloseReason::Restart;
        }
        let grown = Disconnections {
            limit: growth(step, |counters| counters.output_buffer_disconnections)
                .saturating_add(growth(step, |counters| counters.query_buffer_disconnections)),
            evicted: growth(step, |counters| counters.evicted),
        };
        let counted = self.pending.plus(grown);
        let proved = counted.proved(missing, unseen);
        for (reason, count) in [
            (CloseReason::Limit, proved.limit),
            (CloseReason::Evicted, proved.evicted),
            (CloseReason::Unknown, missing - proved.limit - proved.evicted),
        ] {
            self.closed[reason as usize] += count;
        }
        // A client whose page was read before it closed is counted now, and missing from the next sweep.
        let left = counted.minus(proved).minus_each(unseen);
        let is_quick_poll = step.before.is_some_and(|before| before.sample.at == step.roster.sample.at);
        self.pending = if is_quick_poll { left } else { left.at_most(grown) };
        match missing {
            0 => CloseReason::Unknown,
            missing if missing == proved.limit => CloseReason::Limit,
            missing if missing == proved.evicted => CloseReason::Evicted,
            _ => CloseReason::Unknown,
        }
    }
}

impl Disconnections {
    /// The minimum number of missing clients that closed for each reason. `unseen` connections were never observed, and
    /// any of them may be one that the server counted.
    fn proved(self, missing: u64, unseen: u64) -> Self {
        let Self { limit, evicted } = self;
        match (limit, evicted) {
            (limit, 0) => Self { limit: limit.saturating_sub(unseen).min(missing), evicted: 0 },
            (0, evicted) => Self { limit: 0, evicted: evicted.saturating_sub(unseen).min(missing) },
            (limit, evicted) if unseen == 0 && limit.saturating_add(evicted) <= missing => Self { limit, evicted },
            _ => Self::default(),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self { limit: self.limit.saturating_add(more.limit), evicted: self.evicted.saturating_add(more.evicted) }
    }

    fn minus(self, less: Self) -> Self {
        Self { limit: self.limit - less.limit, evicted: self.evicted - less.evicted }
    }

    fn minus_each(self, count: u64) -> Self {
        Self { limit: self.limit.saturating_sub(count), evicted: self.evicted.saturating_sub(count) }
    }

    fn at_most(self, max: Self) -> Self {
        Self { limit: self.limit.min(max.limit), evicted: self.evicted.min(max.evicted) }
    }
}

/// The growth of one of the server's counters in this step.
fn growth(step: &Step<'_>, of: fn(&Counters) -> Option<Counter>) -> u64 {
    let Some(before) = step.before else { return 0 };
    let (before, now) = (&before.counters, &step.roster.counters);
    let total = |counters| of(counters).map(Counter::total);
    // What the server had counted before the first reading does not belong to this step.
    total(before).zip(total(now)).map_or(0, |(before, now)| now.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proved(limit: u64, evicted: u64, missing: u64, unseen: u64) -> (u64, u64) {
        let Disconnections { limit, evicted } = Disconnections { limit, evicted }.proved(missing, unseen);
        (limit, evicted)
    }

    #[test]
    fn the_counters_prove_a_minimum_for_each_reason() {
        assert_eq!(proved(2, 0, 5, 0), (2, 0), "two of five");
        assert_eq!(proved(0, 5, 5, 0), (0, 5), "all");
        assert_eq!(proved(2, 3, 5, 0), (2, 3), "both");
        assert_eq!(proved(9, 0, 5, 0), (5, 0), "no more than are missing");
    }

    #[test]
    fn a_connection_that_was_never_observed_may_be_the_counted_one() {
        assert_eq!(proved(2, 0, 5, 1), (1, 0));
        assert_eq!(proved(2, 0, 5, 2), (0, 0));
        assert_eq!(proved(2, 3, 5, 1), (0, 0), "one of either reason, and it is not known of which");
    }
}
