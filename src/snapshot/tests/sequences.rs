//! Short hand-written sequences of samples. The derived snapshot must match what happened, even if samples were
//! refused, the server was replaced, or counters were reset.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;

use crate::client_list::Listing;
use crate::failure::{Failure, Reason};
use crate::sample::{OwnConnections, Page, Sample};
use crate::server_info::ServerInfo;
use crate::snapshot::{CloseReason, Grouping, GroupingOptions, Limits, Snapshot, State, derive};

/// One sample of a server that has run for hours. Samples are ten seconds apart.
#[derive(Clone)]
struct SequenceStep {
    run: &'static str,
    uptime: u64,
    received: u64,
    evicted: u64,
    limited: u64,
    /// `None`: the server refused `CLIENT LIST`.
    rows: Option<String>,
    own: Vec<u64>,
    /// The connections that this process opened, and those of them that the server closed.
    dials: (u64, u64),
    has_info: bool,
}

fn step(clients: &[(u64, &str)]) -> SequenceStep {
    let rows = clients.iter().fold(String::new(), |mut rows, (id, name)| {
        writeln!(rows, "{}", row(*id, name)).expect("writing to a string cannot fail");
        rows
    });
    SequenceStep {
        run: "a",
        uptime: 9000,
        received: 0,
        evicted: 0,
        limited: 0,
        rows: Some(rows),
        own: Vec::new(),
        dials: (0, 0),
        has_info: true,
    }
}

fn row(id: u64, name: &str) -> String {
    format!("id={id} addr=10.0.0.1:{id} name={name} age=1 idle=0 flags=N db=0 cmd=get user=default")
}

fn refused() -> Failure {
    Failure { reason: Reason::NoPermission, message: "no".into() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

impl SequenceStep {
    fn refused() -> Self {
        Self { rows: None, ..step(&[]) }
    }

    fn received(self, received: u64) -> Self {
        Self { received, ..self }
    }

    fn sample(&self, seconds: i64) -> Arc<Sample> {
        let info = ServerInfo {
            run_id: Some(self.run.into()),
            uptime_seconds: Some(self.uptime + seconds.unsigned_abs()),
            connections_received: Some(self.received),
            evicted_clients: Some(self.evicted),
            output_buffer_disconnections: Some(self.limited),
            ..ServerInfo::default()
        };
        let sample = Sample::of(at(seconds), Listing::new(self.rows.clone().unwrap_or_default().into_bytes()));
        Arc::new(Sample {
            info: if self.has_info { Ok(info) } else { Err(refused()) },
            clients: if self.rows.is_some() { sample.clients } else { Err(refused()) },
            own_ids: self.own.clone(),
            own: OwnConnections { opened: self.dials.0, cut: self.dials.1, ..OwnConnections::default() },
            ..sample
        })
    }
}

/// Returns the last snapshot of a sequence.
fn after(steps: &[SequenceStep]) -> Snapshot {
    let all = steps.iter().zip(0..).fold(None, |previous: Option<Snapshot>, (step, number)| {
        Some(derive(previous.as_ref(), step.sample(number * 10), &Limits::default()))
    });
    all.expect("a sequence has a step")
}

fn closed(snapshot: &Snapshot) -> [u64; 5] {
    CloseReason::ALL.map(|reason| snapshot.churn.closed(reason))
}

/// Returns the applications that are shown, each with its connections.
fn shown(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    snapshot.presence.shown.iter().map(|seen| (&*seen.app, seen.now.connections)).collect()
}

#[test]
fn a_limit_that_closed_unseen_clients_is_not_blamed_on_later_ones() {
    let both = [(1, "web"), (2, "web")];
    let snapshot = after(&[
        step(&both).received(10),
        SequenceStep { limited: 2, ..step(&both).received(12) },
        SequenceStep { limited: 2, ..step(&[]).received(12) },
    ]);
    assert_eq!(closed(&snapshot), [0, 0, 0, 0, 2]);
}

#[test]
fn an_eviction_of_our_own_link_is_not_attributed_to_a_client() {
    let snapshot = after(&[
        SequenceStep { own: vec![2], ..step(&[(1, "web"), (2, "redis-client-exporter")]).received(10) },
        SequenceStep { own: vec![3], evicted: 1, ..step(&[(3, "redis-client-exporter")]).received(11) },
    ]);
    assert_eq!(closed(&snapshot), [0, 0, 0, 0, 1]);
}

#[test]
fn a_refused_sample_hides_no_events_in_between() {
    let six: Vec<_> = (1..=6).map(|id| (id, "web")).collect();
    let one = || step(&[(1, "web")]).received(10);
    let limited = |step: SequenceStep| SequenceStep { limited: 1, ..step };
    let snapshot = after(&[one(), limited(SequenceStep::refused()).received(10), limited(step(&[])).received(10)]);
    assert_eq!(closed(&snapshot), [1, 0, 0, 0, 0]);
    let snapshot =
        after(&[one(), SequenceStep::refused().received(15), step(&six).received(15), step(&six).received(20)]);
    assert_eq!(snapshot.churn.unseen(), 5);
    let snapshot = after(&[one(), SequenceStep::refused().received(15), one().received(15)]);
    assert_eq!(snapshot.churn.unseen(), 5);
}

#[test]
fn a_restart_or_a_failover_is_detected_even_if_samples_were_refused() {
    let two = step(&[(1, "web"), (2, "web")]).received(10);
    let then = |uptime| SequenceStep { run: "b", uptime, ..step(&[(3, "web")]).received(3) };
    let meanwhile = |uptime| SequenceStep { run: "b", uptime, ..SequenceStep::refused().received(1) };
    let restarted = after(&[two.clone(), meanwhile(0), SequenceStep { uptime: 0, ..then(0) }]);
    assert_eq!((closed(&restarted), restarted.churn.ring.iter().len()), ([0, 0, 2, 0, 0], 2));
    let replaced = after(&[two, meanwhile(9000), then(9000)]);
    assert_eq!((closed(&replaced), replaced.churn.ring.iter().len()), ([0, 0, 0, 1, 0], 1));
}

#[test]
fn a_reset_or_missing_counter_never_hides_unseen_connections() {
    let many: Vec<_> = (1..=11).map(|id| (id, "web")).collect();
    let reset = after(&[step(&[(1, "web")]).received(100), step(&many).received(0), step(&many).received(8)]);
    assert_eq!(reset.churn.unseen(), 8);
    let without_info = |step: SequenceStep| SequenceStep { has_info: false, ..step };
    let late_info = after(&[
        without_info(step(&[(1, "web")])),
        without_info(step(&many)),
        step(&many).received(1000),
        step(&many).received(1040),
    ]);
    assert_eq!(late_info.churn.unseen(), 40);
}

#[test]
fn a_link_to_the_primary_was_never_accepted() {
    let primary = |id: u64| {
        format!("{} user=(superuser)\n", row(id, "").replace("flags=N", "flags=M").replace(" user=default", ""))
    };
    let link = |id| SequenceStep { rows: Some(primary(id)), ..step(&[]) };
    assert_eq!(after(&[link(1).received(100), link(5).received(103)]).churn.unseen(), 3);
}

/// Redis 7.0 does not count the clients that it closed for a limit.
#[test]
fn a_closed_client_keeps_its_last_buffers_and_state() {
    let rows = row(7, "slow").replace("flags=N", "flags=P qbuf=512 obl=24 omem=9000000 tot-mem=9100000");
    let snapshot = after(&[SequenceStep { rows: Some(rows), ..step(&[]) }, step(&[])]);
    let closed = snapshot.changes.closed.first().expect("one closed");
    assert_eq!((closed.reason, closed.state), (CloseReason::Unknown, Some(State::Subscribed)));
    assert_eq!((closed.output_buffer_bytes, closed.query_buffer_bytes), (9_000_024, Some(512)));
    assert_eq!(closed.memory_bytes, Some(9_100_000));
}

#[test]
fn without_ids_only_the_numbers_of_opened_and_closed_connections_are_known() {
    let rows =
        |count: u64| (0..count).map(|port| format!("addr=10.0.0.1:{port} fd=6 name=web age=1 flags=N cmd=get\n"));
    let of = |count| SequenceStep { rows: Some(rows(count).collect()), ..step(&[]) };
    let snapshot = after(&[of(2).received(2), of(4).received(7), of(3).received(7)]);
    assert_eq!((snapshot.churn.opened(), snapshot.churn.unseen(), closed(&snapshot)), (5, 0, [0, 0, 0, 0, 4]));
    assert_eq!(snapshot.presence.all_totals(), (5, 4));
}

/// Our retries while the server did not answer, and a client that it closed for a limit meanwhile.
#[test]
fn our_own_dials_do_not_weaken_the_proof_of_a_limit() {
    let two = [(1, "web"), (2, "web")];
    let dialed = |step: SequenceStep, opened, cut| SequenceStep { dials: (opened, cut), ..step };
    let first = || dialed(step(&two).received(10), 1, 0);
    let limited = || SequenceStep { limited: 1, ..step(&[(1, "web")]).received(14) };
    let snapshot = after(&[first(), dialed(limited(), 5, 0)]);
    assert_eq!((closed(&snapshot), snapshot.churn.unseen(), snapshot.churn.own()), ([1, 0, 0, 0, 0], 0, 4));
    // A connection of ours that the server closed may be the one that it counted.
    let snapshot = after(&[first(), dialed(limited(), 5, 1)]);
    assert_eq!((closed(&snapshot), snapshot.churn.unseen()), ([0, 0, 0, 0, 1], 0));
}

#[test]
fn without_a_run_id_a_younger_client_is_another_client() {
    let old = |id: u64, name: &str, age: u64| format!("{}\n", row(id, name).replace("age=1", &format!("age={age}")));
    let without_info = |rows: String| SequenceStep { has_info: false, rows: Some(rows), ..step(&[]) };
    let snapshot = after(&[
        without_info(old(3, "web", 500) + &old(4, "billing", 500)),
        without_info(old(3, "billing", 2) + &old(4, "web", 2)),
    ]);
    assert_eq!(closed(&snapshot), [0, 0, 0, 0, 2]);
    assert!(snapshot.presence.shown.iter().all(|seen| (seen.totals.opened, seen.totals.closed) == (1, 1)));
}

#[test]
fn without_ids_no_connection_is_counted_as_unseen() {
    let rows = |count: u64| {
        (0..count).map(|port| format!("addr=10.0.0.1:{port} fd=6 name=web age=1 idle=0 flags=N cmd=get\n"))
    };
    let of = |count| SequenceStep { rows: Some(rows(count).collect()), ..step(&[]) };
    let snapshot = after(&[of(2).received(2), of(4).received(4)]);
    assert_eq!((snapshot.churn.unseen(), closed(&snapshot), shown(&snapshot)), (0, [0; 5], vec![("web", 4)]));
}

#[test]
fn a_client_in_a_quick_poll_was_seen_at_the_time_of_the_poll() {
    let first = derive(None, step(&[(1, "web")]).received(10).sample(0), &Limits::default());
    let polled = |id: u64, later: i64, received: u64| {
        let sample = step(&[(1, "web")]).received(received).sample(0);
        let mut sample = Arc::into_inner(sample).expect("the only one");
        let listing = Listing::new(row(id, "cron").into_bytes());
        sample.clients.as_mut().expect("clients").push(Page { at: at(later), listing });
        Arc::new(sample)
    };
    let second = derive(Some(&first), polled(2, 7, 11), &Limits::default());
    let third = derive(Some(&second), polled(3, 9, 12), &Limits::default());
    let closed = third.changes.closed.first().expect("one closed");
    assert_eq!((closed.id, closed.last_seen_at, closed.closed_at), (2, at(7), at(9)));
    let cron = second.presence.shown.iter().find(|seen| &*seen.app == "cron").expect("the application is shown");
    assert_eq!(cron.last_seen, Some(at(7)));
}

#[test]
fn applications_that_close_together_are_all_kept_within_the_limit() {
    let names: Vec<String> = ('a'..='z').chain('A'..='D').map(|letter| format!("app{letter}")).collect();
    let all: Vec<(u64, &str)> = names.iter().zip(1..).map(|(name, id)| (id, name.as_str())).collect();
    let snapshot = after(&[step(&all), step(&[])]);
    assert_eq!(shown(&snapshot).len(), 30);
    let mut steps = vec![step(&[(1, "web"), (2, "billing")]), step(&[(1, "web")])];
    for (letter, id) in ('a'..='z').zip(100..) {
        let name = format!("once{letter}");
        steps.push(step(&[(1, "web"), (id, &name)]));
    }
    assert!(shown(&after(&steps)).contains(&("billing", 0)), "short-lived applications do not displace it");
}

#[test]
fn an_application_whose_clients_are_renamed_is_not_offline() {
    let clients = step(&[(1, "web-1"), (2, "web-2")]);
    let first = derive(None, clients.sample(0), &Limits::default());
    let file = Some("rules: [{app: frontend, name: 'web-.*'}]");
    let grouping = Grouping::new(&GroupingOptions::default(), file).expect("a rule");
    let limits = Limits { grouping: Arc::new(grouping), ..Limits::default() };
    assert_eq!(shown(&derive(Some(&first), clients.sample(10), &limits)), [("frontend", 2)]);
    let late = [step(&[(1, "web")]), step(&[(1, "web"), (2, "")]), step(&[(1, "web"), (2, "billing")])];
    assert_eq!(shown(&after(&late)), [("billing", 1), ("web", 1)]);
}

#[test]
fn huge_numbers_do_not_panic() {
    let huge =
        "tot-mem=9223372036854775807 omem=9223372036854775807 obl=9223372036854775807 tot-cmds=9223372036854775807";
    let rows: String = (1..4).map(|id| format!("{} {huge}\n", row(id, "web"))).collect();
    let max = |received| SequenceStep {
        limited: u64::MAX,
        evicted: u64::MAX,
        received,
        rows: Some(rows.clone()),
        ..step(&[])
    };
    after(&[step(&[]), max(u64::MAX), max(3), max(u64::MAX), step(&[]), max(0)]);
}
