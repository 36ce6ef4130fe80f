//! How many came and went, and why, as far as the server's counters prove it.

use std::sync::Arc;

use super::closed::{CloseReason, Closed, ClosedRing, MAX_CLOSED};
use super::counters::{Continuity, Counter, Counters};
use super::kind::ClientKind;
use super::roster::{Roster, Turnover};

/// What has come and gone since we watch.
#[derive(Clone, Debug, Default)]
pub struct Churn {
    closed: [u64; CloseReason::ALL.len()],
    /// Connections the server accepted while we watched it.
    accepted: u64,
    /// Those of them that were seen.
    opened: u64,
    unseen: u64,
    /// Disconnections that the server has counted, and for which nobody was missing yet.
    pending: Disconnections,
    /// The clients that went last.
    pub ring: ClosedRing,
}

/// Disconnections by the server, as it counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Disconnections {
    limit: u64,
    evicted: u64,
}

/// Who came and went between a sample and the one before it.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The ids of those who came, ascending.
    pub opened: Vec<u64>,
    /// Those who went, by id ascending; at most as many as are remembered.
    pub closed: Vec<Arc<Closed>>,
}

/// What happened between two samples.
pub(super) struct Step<'a> {
    pub(super) turnover: &'a Turnover,
    pub(super) roster: &'a Roster,
    pub(super) before: Option<&'a Roster>,
    pub(super) life: Continuity,
}

impl Churn {
    /// Clients that went, by why. Our own links are left out.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Connections that came and went between two looks, so that nobody saw them.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The counts after a further step, and who came and went in it.
    pub(super) fn next(&self, step: &Step<'_>) -> (Self, Changes) {
        let mut next = self.clone();
        let unseen = next.count_accepted(step);
        let gone: Vec<_> = step.turnover.closed.iter().filter(|entry| entry.kind != ClientKind::Exporter).collect();
        let own = step.turnover.closed.len() - gone.len();
        // The one that the server counted may have been one that nobody saw, or our own link.
        let reason = next.count_closed(gone.len() as u64, unseen + own as u64, step);
        let at = step.roster.at();
        // Those beyond what the ring holds would be pushed out of it at once.
        let pushed_out = gone.len().saturating_sub(MAX_CLOSED);
        let closed: Vec<_> = gone[pushed_out..]
            .iter()
            .filter_map(|entry| Closed::new(entry, step.before?, at, reason).map(Arc::new))
            .collect();
        next.ring = self.ring.with(&closed);
        let opened = step.turnover.opened.iter().filter_map(|entry| entry.id).collect();
        (next, Changes { opened, closed })
    }

    /// Counts who was accepted, and of them who was never seen; gives how many these are in this step.
    fn count_accepted(&mut self, step: &Step<'_>) -> u64 {
        // Another server accepted its clients before we met it; and without ids (before 2.8.12) nobody can be told from others.
        if step.life == Continuity::Another || step.before.is_none() || step.roster.have_no_ids() {
            return 0;
        }
        self.accepted = self.accepted.saturating_add(growth(step, |counters| counters.connections_received));
        // A replica's link to its primary is not accepted: it goes out.
        self.opened += step.turnover.opened.iter().filter(|entry| entry.kind != ClientKind::Primary).count() as u64;
        // More were seen than accepted where counting began later, or anew: nobody unseen makes up for them.
        if step.roster.sample.info.as_ref().is_ok_and(|info| info.connections_received.is_some()) {
            self.opened = self.opened.min(self.accepted);
        }
        // Somebody may be counted before he is listed: he is unseen only as long as that balance is new.
        let unseen = self.accepted.saturating_sub(self.opened).max(self.unseen);
        let more = unseen - self.unseen;
        self.unseen = unseen;
        more
    }

    /// Counts who went, and gives the reason if all have the same.
    ///
    /// The server counts whom it closed for a limit, or evicted. So many of those who are missing went for that reason; who
    /// of them, only if it is all. Where others came and went unseen, it may have been these.
    fn count_closed(&mut self, gone: u64, unseen: u64, step: &Step<'_>) -> CloseReason {
        if step.life == Continuity::Restarted {
            self.pending = Disconnections::default();
            self.closed[CloseReason::Restart as usize] += gone;
            return CloseReason::Restart;
        }
        let grown = Disconnections {
            limit: growth(step, |counters| counters.output_buffer_disconnections)
                .saturating_add(growth(step, |counters| counters.query_buffer_disconnections)),
            evicted: growth(step, |counters| counters.evicted),
        };
        let counted = self.pending.plus(grown);
        let proved = counted.of(gone, unseen);
        for (reason, count) in [
            (CloseReason::Limit, proved.limit),
            (CloseReason::Evicted, proved.evicted),
            (CloseReason::Unknown, gone - proved.limit - proved.evicted),
        ] {
            self.closed[reason as usize] += count;
        }
        // A client is counted before it is missing if its page was read in between; it is missing at the next sweep.
        let left = counted.minus(proved).beyond(unseen);
        let is_a_look = step.before.is_some_and(|before| before.sample.at == step.roster.sample.at);
        self.pending = if is_a_look { left } else { left.at_most(grown) };
        match gone {
            0 => CloseReason::Unknown,
            gone if gone == proved.limit => CloseReason::Limit,
            gone if gone == proved.evicted => CloseReason::Evicted,
            _ => CloseReason::Unknown,
        }
    }
}

impl Disconnections {
    /// How many of those who are gone went for each reason, for certain.
    fn of(self, gone: u64, unseen: u64) -> Self {
        let Self { limit, evicted } = self;
        match (limit, evicted) {
            (limit, 0) => Self { limit: limit.saturating_sub(unseen).min(gone), evicted: 0 },
            (0, evicted) => Self { limit: 0, evicted: evicted.saturating_sub(unseen).min(gone) },
            (limit, evicted) if unseen == 0 && limit.saturating_add(evicted) <= gone => Self { limit, evicted },
            _ => Self::default(),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self { limit: self.limit.saturating_add(more.limit), evicted: self.evicted.saturating_add(more.evicted) }
    }

    fn minus(self, less: Self) -> Self {
        Self { limit: self.limit - less.limit, evicted: self.evicted - less.evicted }
    }

    fn beyond(self, doubt: u64) -> Self {
        Self { limit: self.limit.saturating_sub(doubt), evicted: self.evicted.saturating_sub(doubt) }
    }

    fn at_most(self, most: Self) -> Self {
        Self { limit: self.limit.min(most.limit), evicted: self.evicted.min(most.evicted) }
    }
}

/// By how much one of the server's counters grew in this step.
fn growth(step: &Step<'_>, of: fn(&Counters) -> Option<Counter>) -> u64 {
    let Some(before) = step.before else { return 0 };
    let (before, now) = (&before.counters, &step.roster.counters);
    let total = |counters| of(counters).map(Counter::total);
    // What was counted before we first read it is nothing that happened in this step.
    total(before).zip(total(now)).map_or(0, |(before, now)| now.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proved(limit: u64, evicted: u64, gone: u64, unseen: u64) -> (u64, u64) {
        let Disconnections { limit, evicted } = Disconnections { limit, evicted }.of(gone, unseen);
        (limit, evicted)
    }

    #[test]
    fn the_counters_prove_how_many_at_least() {
        assert_eq!(proved(2, 0, 5, 0), (2, 0), "two of five");
        assert_eq!(proved(0, 5, 5, 0), (0, 5), "all");
        assert_eq!(proved(2, 3, 5, 0), (2, 3), "both");
        assert_eq!(proved(9, 0, 5, 0), (5, 0), "no more than are missing");
    }

    #[test]
    fn whoever_was_not_seen_may_have_been_the_one() {
        assert_eq!(proved(2, 0, 5, 1), (1, 0));
        assert_eq!(proved(2, 0, 5, 2), (0, 0));
        assert_eq!(proved(2, 3, 5, 1), (0, 0), "one of both kinds, and nobody knows of which");
    }
}
