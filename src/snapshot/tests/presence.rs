//! The snapshots derived from the samples of a modeled server match the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{APPS, ServerEvent, at, event, play};
use crate::snapshot::Expectation;
use crate::snapshot::{CloseReason, Groups, Limits, MAX_CLOSED, Seen, Totals};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn applications_match_the_model(events in vec(event(), 1..80)) {
        // An application whose only client becomes a monitor is not shown any more.
        let events: Vec<_> = events.into_iter().filter(|event| !matches!(event, ServerEvent::Monitor)).collect();
        let limits = Limits { forget_after: Duration::from_secs(100_000), groups: 20, ..Limits::default() };
        play(&events, &limits, |snapshot, _, server, known, now| {
            let presence = &snapshot.presence;
            let other = presence.other.as_ref().map(|seen| seen.totals).unwrap_or_default();
            prop_assert_eq!((other, presence.folded), (known.internal, 0));
            for (place, app) in APPS.into_iter().enumerate() {
                let seen = presence.shown.iter().find(|seen| &*seen.app == app);
                let connections = server.applications().filter(|client| client.app == place).count() as u64;
                let last_seen = known.last_seen[place].map(at);
                prop_assert_eq!(seen.map_or(0, |seen| seen.now.connections), connections, "{} at {}", app, now);
                prop_assert_eq!(seen.and_then(|seen| seen.last_seen), last_seen, "{} at {}", app, now);
                let totals = seen.map(Seen::all_totals).unwrap_or_default();
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
            prop_assert_eq!(churn.closed(CloseReason::Failover), known.failover_closed);
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
            expected: vec![Expectation::on_all_nodes("cron", 1)].into_iter().take(groups - 1).collect(),
            forget_after: Duration::from_secs(100_000),
            ..Limits::default()
        };
        let mut before = BTreeMap::<Arc<str>, Totals>::new();
        play(&events, &limits, |snapshot, _, server, known, _| {
            let (counts, presence) = (snapshot.client_counts.as_ref().expect("counts"), &snapshot.presence);
            let clients = server.applications().count() as u64;
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
            // An application that is shown again starts at 0.
            before.retain(|app, _| presence.all().any(|seen| seen.app == *app));
            prop_assert_eq!(presence.all_totals(), known.sums());
            let shown = presence.shown.len();
            prop_assert!(shown <= groups + groups.div_ceil(2), "{shown} of {groups}");
            Ok(())
        })?;
    }

    /// Every connection that the server received is in exactly one count, and every closed one in exactly one.
    #[test]
    fn every_connection_is_counted_once(events in vec(event(), 1..200), groups in 1_usize..8, hold in 1_usize..4) {
        let limits = Limits { groups, forget_after: Duration::from_secs(100), ..Limits::default() };
        let (mut start, mut samples) = (None, 0);
        play(&events, &limits, |snapshot, _, _, known, _| {
            let (churn, presence) = (&snapshot.churn, &snapshot.presence);
            let received = snapshot.connections_received().expect("it is reported");
            let first = *start.get_or_insert(received);
            prop_assert_eq!(churn.opened() + churn.unseen() + churn.own(), received - first);
            let closed: u64 = CloseReason::ALL.into_iter().map(|reason| churn.closed(reason)).sum();
            prop_assert_eq!((churn.opened(), closed), known.sums());
            prop_assert_eq!(presence.all_totals(), (churn.opened(), closed));
            // What is shown is behind only for new applications.
            samples += 1;
            let mut released = snapshot.clone();
            if samples % hold == 0 {
                (0..3).for_each(|_| released = released.release_held().unwrap_or(released.clone()));
                let shown: u64 = released.presence.all().map(|seen| seen.totals.opened).sum();
                prop_assert_eq!(shown, churn.opened());
            }
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
            let (first, own) = *first.get_or_insert((server.next_id, server.own));
            let seen_since = ever_seen.iter().filter(|id| **id > first).count() as u64;
            let expected = server.next_id - first - seen_since - (server.own - own);
            prop_assert_eq!(snapshot.churn.unseen(), expected);
            prop_assert_eq!(snapshot.churn.own(), server.own - own);
            Ok(())
        })?;
    }
}
