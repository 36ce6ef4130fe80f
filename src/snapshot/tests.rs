//! A small list of clients, with all that is derived from it.

pub(crate) mod model;
mod presence;
mod sequences;

use super::*;
use crate::client_list::Listing;
use crate::sample::{Cost, ReceivedTotals};

const REPLY: &str = "\
id=1 addr=10.0.0.1:1 name=web age=100 idle=5 flags=N db=0 sub=0 cmd=get user=app lib-name=redis-py
id=2 addr=10.0.0.2:2 name=web age=700 idle=60 flags=N db=0 sub=0 cmd=set user=app lib-name=redis-py
id=3 addr=10.0.0.3:3 name= age=9000 idle=300 flags=N db=2 sub=0 cmd=get user=ops lib-name=jedis
id=4 addr=10.0.0.4:4 name= age=9000 idle=9000 flags=b db=0 sub=0 cmd=blpop user=app lib-name=
id=5 addr=10.0.0.5:5 name= age=4000 idle=4000 flags=N db=0 sub=0 cmd=NULL user=default lib-name=
id=6 addr=10.0.0.6:6 name= age=9 idle=1 flags=S db=0 sub=0 cmd=psync user=default lib-name=
id=7 addr=10.0.0.7:7 name= age=50 idle=0 flags=N db=0 sub=0 cmd=client|list user=default lib-name=
no client
";

fn limits() -> Limits {
    Limits {
        idle_after: Duration::from_secs(300),
        idle_thresholds: [60, 300, 301].map(Duration::from_secs).into(),
        groups: 50,
        ..Limits::default()
    }
}

fn sample(info: ServerInfo, cost: Cost) -> Arc<Sample> {
    let at = "2026-01-01T00:00:00Z".parse().expect("a time");
    Arc::new(Sample { info: Ok(info), own_ids: vec![7], cost, ..Sample::of(at, Listing::new(REPLY.into())) })
}

fn cost(total_micros: u64, longest_micros: u64) -> Cost {
    Cost {
        server_time: Some(Duration::from_micros(total_micros)),
        longest_command: Some(Duration::from_micros(longest_micros)),
        ..Cost::default()
    }
}

fn groups(groups: &Option<Groups>) -> Vec<(&str, u64)> {
    groups.as_ref().expect("the field is reported").iter().collect()
}

#[test]
fn every_count_of_a_small_list() {
    let snapshot = derive(None, sample(ServerInfo::default(), Cost::default()), &limits());
    let counts = snapshot.client_counts.as_ref().expect("the clients were listed");
    assert_eq!(ClientKind::ALL.map(|kind| counts.of_kind(kind)), [5, 1, 0, 0, 0, 0, 1]);
    assert_eq!((counts.connections(), counts.online(), counts.silent()), (7, 5, 1));
    assert_eq!(State::ALL.map(|state| counts.in_state(state)), [2, 1, 0, 2]);
    // The blocked client has waited longer, and the silent one has no interaction.
    assert_eq!(
        (counts.applications.newest_interaction_seconds, counts.applications.oldest_interaction_seconds),
        (Some(5), Some(300))
    );
    assert_eq!((counts.last_interaction.count(), counts.last_interaction.sum_seconds()), (3, 5 + 60 + 300));
    assert_eq!(
        (counts.connection_age.count(), counts.connection_age.sum_seconds()),
        (5, 100 + 700 + 9000 + 9000 + 4000)
    );
    assert_eq!(counts.idle().map(|(_, count)| count).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(groups(&counts.users), [("app", 3), ("default", 1), ("ops", 1)]);
    assert_eq!(groups(&counts.libraries), [("(none)", 2), ("redis-py", 2), ("jedis", 1)]);
    assert_eq!(groups(&counts.databases), [("0", 4), ("2", 1)]);
    assert_eq!(groups(&counts.commands), [("get", 2), ("(none)", 1), ("blpop", 1), ("set", 1)]);
    assert!(!snapshot.is_complete());

    let times = |id: usize| {
        let (at, client) = snapshot.pages().expect("pages").clients().nth(id - 1).expect("a client");
        let entry = &snapshot.clients().expect("clients").entries()[id - 1];
        [entry.connected_at(), last_interaction(client, at)].map(|time| time.map(|time| time.to_string()))
    };
    assert_eq!(times(1), [Some("2025-12-31T23:58:20Z".into()), Some("2025-12-31T23:59:55Z".into())]);
    assert_eq!(times(5), [Some("2025-12-31T22:53:20Z".into()), None]);
}

#[test]
fn every_counter_grows_by_its_own_difference() {
    let info = |factor: u64| ServerInfo {
        run_id: Some("run".into()),
        connections_received: Some(100 * factor),
        connections_rejected: Some(10 * factor),
        evicted_clients: Some(7 * factor),
        output_buffer_disconnections: Some(5 * factor),
        query_buffer_disconnections: Some(3 * factor),
        ..ServerInfo::default()
    };
    let first = derive(None, sample(info(1), cost(40, 20)), &limits());
    let second = derive(Some(&first), sample(info(4), cost(60, 30)), &limits());
    // After CONFIG RESETSTAT all counters are small again.
    let third = derive(Some(&second), sample(info(1), Cost::default()), &limits());
    let totals = |snapshot: &Snapshot| {
        let counters = &snapshot.counters;
        [
            counters.connections_received,
            counters.connections_rejected,
            counters.evicted,
            counters.output_buffer_disconnections,
            counters.query_buffer_disconnections,
        ]
        .map(|counter| counter.map(Counter::total))
    };
    assert_eq!(totals(&second), [400, 40, 28, 20, 12].map(Some));
    assert_eq!(totals(&third), [500, 50, 35, 25, 15].map(Some));
    assert_eq!(third.counters.unreadable.total(), 3);
    assert_eq!(third.counters.server_time, Some(Duration::from_micros(100)));
}

#[test]
fn a_refused_command_is_reported_and_the_other_half_is_kept() {
    let refusal = || Failure { reason: crate::failure::Reason::NoPermission, message: "no".into() };
    let mut unlisted = Arc::into_inner(sample(ServerInfo::default(), Cost::default())).expect("the only one");
    unlisted.clients = Err(refusal());
    let snapshot = derive(None, Arc::new(unlisted), &limits());
    assert!(snapshot.client_counts.is_none() && snapshot.info().is_some() && !snapshot.is_complete());
    assert_eq!(snapshot.refused().count(), 1);
}

/// A status of more clients than fit has only some of them, at ages in whole seconds of another clock.
#[test]
fn the_time_of_connecting_stays_in_a_truncated_status() {
    let received = |at: &str, age: u64| {
        let mut sample = Arc::into_inner(sample(ServerInfo::default(), Cost::default())).expect("the only one");
        sample.at = at.parse().expect("a time");
        sample.clients = Ok(Pages::one(sample.at, Listing::new(format!("id=1 addr=a age={age} flags=N\n").into())));
        let totals = ReceivedTotals { connections: 2, online: 2, silent: 0, truncated: 1 };
        sample.source = crate::sample::Source::Received(totals);
        Arc::new(sample)
    };
    let connected = |snapshot: &Snapshot| {
        snapshot.clients().and_then(|roster| roster.entries().first()?.connected_at()).map(|time| time.to_string())
    };
    let first = derive(None, received("2026-01-01T00:00:00.9Z", 10), &limits());
    let second = derive(Some(&first), received("2026-01-01T00:00:10.1Z", 21), &limits());
    assert_eq!((connected(&first), connected(&second)), (Some("2025-12-31T23:59:50Z".into()), connected(&first)));
}

/// A scrape every minute must not miss it.
#[test]
fn a_reset_of_the_counters_is_shown_for_five_minutes() {
    let at = |second: i64| {
        let mut sample = (*sample(ServerInfo::default(), Cost::default())).clone();
        sample.at += jiff::SignedDuration::from_secs(second);
        sample.conditions.set(SampleCondition::CountersReset, second == 0);
        Arc::new(sample)
    };
    let mut snapshot = derive(None, at(0), &limits());
    for (second, shown) in [(0, true), (10, true), (299, true), (300, false), (900, false)] {
        snapshot = derive(Some(&snapshot), at(second), &limits());
        assert_eq!(snapshot.conditions().has(SampleCondition::CountersReset), shown || second == 0, "{second}");
    }
}
