//! The snapshots derived from the samples of a modeled server match the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{APPS, ServerEvent, at, event, play};
use crate::snapshot::{CloseReason, Groups, Limits, MAX_CLOSED, Totals};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn applications_match_the_model(events in vec(event(), 1..80)) {
        let limits = Limits { forget_after: Duration::from_secs(100_000), groups: 20, ..Limits::default() };
        play(&events, &limits, |snapshot, _, server, known, now| {
            let presence = &snapshot.presence;
            prop_assert!(presence.other.is_none() && presence.folded == 0);
            for (place, app) in APPS.into_iter().enumerate() {
                let seen = presence.shown.iter().find(|seen| &*seen.app == app);
                let connections = server.clients.values().filter(|client| client.app == place).count() as u64;
                let last_seen = known.last_seen[place].map(at);
                prop_assert_eq!(seen.map_or(0, |seen| seen.now.connections), connections, "{} at {}", app, now);
                prop_assert_eq!(seen.and_then(|seen| seen.last_seen), last_seen, "{} at {}", app, now);
                let totals = seen.map(|seen| seen.totals).unwrap_or_default();
                prop_assert_eq!(totals, known.totals[place], "{} at {}", app, now);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_closed_connection_is_kept_once_and_counted_once(events in vec(event(), 1..80)) {
        play(&events, &Limits::default(), |snapshot, _, _, known, _| {
            let churn = &snapshot.churn;
            let all: u64 = CloseReason::ALL.into_iter().map(|reason| churn.closed(reason)).sum();
            prop_assert_eq!(all, known.closed.len() as u64);
            prop_assert_eq!(churn.closed(CloseReason::Restart), known.restart_closed);
            prop_assert_eq!(churn.ring.iter().len(), known.closed.len().min(MAX_CLOSED));
            let restarts = churn.ring.iter().filter(|closed| closed.reason == CloseReason::Restart).count();
            prop_assert_eq!(restarts as u64, known.restart_closed);
            Ok(())
        })?;
    }

    /// However few applications are shown, none of their totals ever decreases, and sums match the number of clients.
    #[test]
    fn totals_never_decrease_and_sums_match(events in vec(event(), 1..80), groups in 1_usize..4) {
        let limits = Limits {
            groups,
            expected: vec![("cron".into(), 1)].into_iter().take(groups - 1).collect(),
            forget_after: Duration::from_secs(100_000),
            ..Limits::default()
        };
        let (mut before, mut opened_before) = (BTreeMap::<Arc<str>, Totals>::new(), 0);
        play(&events, &limits, |snapshot, _, server, known, _| {
            let (counts, presence) = (snapshot.client_counts.as_ref().expect("counts"), &snapshot.presence);
            let clients = server.clients.len() as u64;
            prop_assert_eq!(counts.online(), clients);
            prop_assert_eq!(presence.all().map(|seen| seen.now.connections).sum::<u64>(), clients);
            prop_assert_eq!(counts.networks.as_ref().map_or(0, Groups::total), clients);
            for seen in presence.all() {
                let earlier = before.insert(Arc::clone(&seen.app), seen.totals).unwrap_or_default();
                let members = |totals: &Totals| {
                    [totals.opened, totals.closed, totals.commands, totals.received_bytes, totals.sent_bytes]
                };
                let pairs = members(&earlier).into_iter().zip(members(&seen.totals)).collect::<Vec<_>>();
                prop_assert!(pairs.iter().all(|(earlier, now)| earlier <= now), "{} {pairs:?}", seen.app);
            }
            // The counts of an application are in its own totals, or in those of `(other)` after it was folded.
            let opened: u64 = before.values().map(|totals| totals.opened).sum();
            let truth: u64 = known.totals.iter().map(|totals| totals.opened).sum();
            prop_assert!(opened >= opened_before && opened <= truth, "{opened} of {truth}");
            opened_before = opened;
            let shown = presence.shown.len();
            prop_assert!(shown <= groups + groups.div_ceil(2), "{shown} of {groups}");
            Ok(())
        })?;
    }

    #[test]
    fn unseen_connections_are_counted(events in vec(event(), 1..80)) {
        // Without resets and other servers, unseen connections are those that were accepted but never in a sample.
        use ServerEvent::{Failover, ResetStatistics, Restart};
        let is_simple = |event: &ServerEvent| !matches!(event, ResetStatistics | Failover | Restart);
        let events: Vec<_> = events.into_iter().filter(is_simple).collect();
        let (mut ever_seen, mut first) = (BTreeSet::new(), None);
        play(&events, &Limits::default(), |snapshot, _, server, _, _| {
            ever_seen.extend(server.clients.keys().copied());
            let first = *first.get_or_insert(server.next_id);
            let seen_since = ever_seen.iter().filter(|id| **id > first).count() as u64;
            prop_assert_eq!(snapshot.churn.unseen(), server.next_id - first - seen_since);
            Ok(())
        })?;
    }
}
