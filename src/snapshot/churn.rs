//! The connections that opened and closed, with the reason where the server's counters prove it.
//!
//! Every connection that the server received since exporter start is in exactly one count: opened (observed in a
//! sample), unseen (never observed), or own. A connection may be observed a moment before it is counted, so what is due
//! to be counted is remembered until the next reading.

use std::sync::Arc;

use super::closed::{CloseReason, Closed, ClosedRing, MAX_CLOSED};
use super::counters::{Continuity, Counter, Counters};
use super::kind::ClientKind;
use super::roster::{Entry, Roster, Turnover};
use crate::sample::OwnConnections;

/// Opened and closed connections since exporter start, as observed.
#[derive(Clone, Debug, Default)]
pub struct Churn {
    /// Connections that were observed.
    opened: u64,
    /// Closed connections, in the order of [`CloseReason::ALL`].
    closed: [u64; CloseReason::ALL.len()],
    /// The connections that were received and never observed.
    unseen: u64,
    /// Connections of this process that the server counted.
    own: u64,
    /// Connections that were observed, and that the server's counter lost when it was reset.
    recovered: u64,
    /// Connections that the server's counter did not contain when it was read.
    due: Due,
    /// The connections of this process at the last sample.
    own_before: OwnConnections,
    /// Disconnections that the server has counted, of clients that were not missing from a sample yet.
    pending: Disconnections,
    /// The clients that closed last.
    pub ring: ClosedRing,
}

/// Connections that the server has still to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    /// Observed clients.
    clients: u64,
    /// Connections of this process.
    own: u64,
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

/// Opened and closed connections that belong to no application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Anonymous {
    pub(super) opened: u64,
    pub(super) closed: u64,
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
    /// The number of connections that were observed since exporter start. Our own are not counted, nor is the server's
    /// own link to its primary.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The number of closed connections with this reason, of those that [`Churn::opened`] counts.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// The number of closed connections, for any reason, of those that [`Churn::opened`] counts.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// The number of connections that opened and closed between two polls and were never observed.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The number of connections that this process opened to the server since the first sample.
    pub fn own(&self) -> u64 {
        self.own
    }

    /// The connections that the server received, monotonic: its counter, with the connections that were observed
    /// although the counter does not contain them. It contains them a moment later, or was reset before it was read.
    pub(super) fn received(&self, counters: &Counters) -> Option<u64> {
        let total = counters.connections_received?.total().saturating_add(self.recovered);
        let listed = counters.arrivals.map_or(0, Counter::total).saturating_add(self.recovered + self.due.clients);
        Some(total.max(listed))
    }

    /// The counts after a further step, the clients that opened and closed in it, and what belongs to no application.
    pub(super) fn next(&self, step: &Step<'_>) -> (Self, Changes, Anonymous) {
        let mut next = self.clone();
        let own = &step.roster.sample.own;
        let cut = own.cut.saturating_sub(self.own_before.cut);
        let rest = next.count_received(step);
        next.own_before.clone_from(own);
        let (unseen, anonymous) = match step.roster.has_no_ids() {
            true => (0, next.count_anonymous(rest, step)),
            false => (rest, internal(step.turnover)),
        };
        next.unseen = next.unseen.saturating_add(unseen);
        let missing: Vec<_> = step.turnover.closed.iter().filter(|entry| entry.is_counted()).collect();
        let without_row = if step.roster.has_no_ids() { anonymous.closed } else { step.turnover.unreadable.1 };
        let number = missing.len() as u64 + without_row;
        // A client that the server counted may be one that was never observed, or our own link. We know which of our
        // links we closed ourselves.
        let own_closed = step.turnover.closed.iter().filter(|entry| entry.is_own);
        let own_closed = own_closed.filter(|entry| entry.id.is_none_or(|id| !own.left.contains(&id))).count() as u64;
        let reason = next.count_closed(number, unseen + own_closed.max(cut), step);
        let at = step.roster.at();
        // The ring has no room for more than MAX_CLOSED.
        let excess = missing.len().saturating_sub(MAX_CLOSED);
        let closed: Vec<_> = missing[excess..]
            .iter()
            .filter_map(|entry| Closed::new(entry, step.before?, at, reason).map(Arc::new))
            .collect();
        next.ring = self.ring.with(&closed);
        let opened = step.turnover.opened.iter().filter_map(|entry| entry.id).collect();
        (next, Changes { opened, closed }, anonymous)
    }

    /// Counts the connections that the server received. Returns the number of those that are neither observed nor ours.
    fn count_received(&mut self, step: &Step<'_>) -> u64 {
        let sample = &step.roster.sample;
        let (arrivals, own_now) = (sample.arrivals, sample.own.opened);
        let first_due = Due { clients: arrivals.uncounted_clients, own: arrivals.uncounted_own };
        let Some(before) = step.before else {
            self.due = first_due;
            return 0;
        };
        let readable = step.turnover.opened.iter().filter(|entry| entry.is_counted()).count() as u64;
        let opened = readable + step.turnover.unreadable.0;
        self.opened += opened;
        if step.continuity != Continuity::Same {
            // The first server can't count them any more.
            self.recovered = self.recovered.saturating_add(std::mem::take(&mut self.due).clients);
        }
        // Another server received its clients before its first sample, and its counter began elsewhere.
        if step.continuity == Continuity::Another {
            self.recovered = self.recovered.saturating_add(opened);
            self.due = first_due;
            return 0;
        }
        let due = self.due;
        let now = Due {
            clients: due.clients.saturating_add(opened),
            // It falls when the server rejects a connection that was counted when it was opened.
            own: due.own.saturating_add(own_now).saturating_sub(self.own_before.opened),
        };
        let Some((was, is)) = before.counters.arrivals.zip(step.roster.counters.arrivals) else {
            self.due = first_due;
            return 0;
        };
        if sample.covered_connections().is_none() {
            self.due = now;
            return 0;
        }
        let was_reset = step.continuity == Continuity::Same && is.was_reset_since(was);
        let grown = is.total().saturating_sub(was.total());
        // The counter lost what it had before the reset, but will contain what the reading was too early for.
        let before = match was_reset {
            true => Due {
                clients: now.clients.saturating_sub(first_due.clients),
                own: now.own.saturating_sub(first_due.own),
            },
            false => due,
        };
        self.settle(before, now, grown)
    }

    /// Compares what is due with the growth of the server's counter. `before` is the part that was due before the
    /// counter was read. Returns the growth beyond what is due.
    fn settle(&mut self, before: Due, now: Due, grown: u64) -> u64 {
        let clients = now.clients.min(grown);
        let own = now.own.min(grown - clients);
        self.own = self.own.saturating_add(own);
        let short = Due { clients: now.clients - clients, own: now.own - own };
        // What was due before the reading is counted by now, unless the counter was reset in between: then it never
        // will be. A connection of ours may also have ended at a proxy, or at a server that was replaced.
        let lost =
            Due { clients: before.clients.saturating_sub(clients), own: before.own.saturating_sub(own).min(short.own) };
        self.recovered = self.recovered.saturating_add(lost.clients);
        self.due = Due { clients: short.clients - lost.clients, own: short.own - lost.own };
        grown - clients - own
    }

    /// Counts connections where the server reports no ids, so that only their number is known.
    fn count_anonymous(&mut self, received: u64, step: &Step<'_>) -> Anonymous {
        let connected = |roster: &Roster| roster.entries().iter().filter(|entry| entry.is_counted()).count() as u64;
        let Some(before) = step.before else { return Anonymous::default() };
        self.opened = self.opened.saturating_add(received);
        let expected = connected(before).saturating_add(received);
        Anonymous { opened: received, closed: expected.saturating_sub(connected(step.roster)) }
    }

    /// Counts the closed clients. Returns their reason if it is the same for all of them.
    ///
    /// The server counts the clients that it closed for a limit or evicted, but does not name them. That many of the
    /// missing clients closed for that reason; which of them is known only if it is all of them. Connections that were
    /// never observed may also be the ones that it counted.
    fn count_closed(&mut self, missing: u64, unseen: u64, step: &Step<'_>) -> CloseReason {
        let of_all = match step.continuity {
            Continuity::Restarted => Some(CloseReason::Restart),
            Continuity::Another => Some(CloseReason::Failover),
            Continuity::Same => None,
        };
        if let Some(reason) = of_all {
            self.pending = Disconnections::default();
            self.closed[reason as usize] += missing;
            return reason;
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

/// The opened and closed connections that belong to no application: internal ones (replicas, monitors, Sentinels, other
/// exporters), and those whose rows cannot be read.
fn internal(turnover: &Turnover) -> Anonymous {
    let count = |entries: &[Entry]| {
        let is_internal = |entry: &&Entry| entry.is_counted() && entry.kind != ClientKind::Application;
        entries.iter().filter(is_internal).count() as u64
    };
    let (opened, closed) = turnover.unreadable;
    Anonymous { opened: count(&turnover.opened) + opened, closed: count(&turnover.closed) + closed }
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
