//! Short sequences of samples, by hand: what is concluded of each must be what happened, also where samples were refused, the
//! server was replaced, or counters began anew.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use redis_client_exporter::client_list::{Listing, Unreadable};
use redis_client_exporter::latest::{NodeState, Nodes, Phase};
use redis_client_exporter::sample::{Cost, Failure, Page, Pages, Reason, Sample, Source};
use redis_client_exporter::server_info::ServerInfo;
use redis_client_exporter::snapshot::{CloseReason, Grouping, GroupingOptions, Limits, Snapshot, derive};
use redis_client_exporter::view::metrics;

use crate::support::scrape::Scrape;

/// One sample: every ten seconds, of a server that has run for hours.
#[derive(Clone)]
struct Step {
    run: &'static str,
    uptime: u64,
    received: u64,
    evicted: u64,
    limited: u64,
    /// `None`: the server refuses to list them.
    rows: Option<String>,
    own: Vec<u64>,
    tells_info: bool,
}

fn step(clients: &[(u64, &str)]) -> Step {
    let rows = clients.iter().fold(String::new(), |mut rows, (id, name)| {
        writeln!(rows, "{}", row(*id, name)).expect("writing to a string cannot fail");
        rows
    });
    Step {
        run: "a",
        uptime: 9000,
        received: 0,
        evicted: 0,
        limited: 0,
        rows: Some(rows),
        own: Vec::new(),
        tells_info: true,
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

impl Step {
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
        let pages = self.rows.clone().map(|rows| Pages::one(at(seconds), Listing::new(rows.into_bytes())));
        Arc::new(Sample {
            at: at(seconds),
            info: if self.tells_info { Ok(info) } else { Err(refused()) },
            unreadable: Unreadable::default(),
            clients: pages.ok_or_else(refused),
            own_ids: self.own.clone(),
            cost: Cost::default(),
            source: Source::Sampled,
        })
    }
}

/// The last snapshot of a sequence.
fn after(steps: &[Step]) -> Snapshot {
    let all = steps.iter().zip(0..).fold(None, |previous: Option<Snapshot>, (step, number)| {
        Some(derive(previous.as_ref(), step.sample(number * 10), &Limits::default()))
    });
    all.expect("a sequence has a step")
}

fn closed(snapshot: &Snapshot) -> [u64; 4] {
    CloseReason::ALL.map(|reason| snapshot.churn.closed(reason))
}

/// The applications that are shown, each with its connections.
fn shown(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    snapshot.presence.shown.iter().map(|seen| (&*seen.app, seen.now.connections)).collect()
}

#[test]
fn nobody_is_blamed_for_one_whom_nobody_saw() {
    let both = [(1, "web"), (2, "web")];
    let snapshot = after(&[
        step(&both).received(10),
        Step { limited: 2, ..step(&both).received(12) },
        Step { limited: 2, ..step(&[]).received(12) },
    ]);
    assert_eq!(closed(&snapshot), [0, 0, 0, 2]);
}

#[test]
fn nobody_is_blamed_for_our_own_link() {
    let snapshot = after(&[
        Step { own: vec![2], ..step(&[(1, "web"), (2, "redis-client-exporter")]).received(10) },
        Step { own: vec![3], evicted: 1, ..step(&[(3, "redis-client-exporter")]).received(11) },
    ]);
    assert_eq!(closed(&snapshot), [0, 0, 0, 1]);
}

#[test]
fn a_refused_sample_hides_nothing_that_happened_meanwhile() {
    let six: Vec<_> = (1..=6).map(|id| (id, "web")).collect();
    let one = || step(&[(1, "web")]).received(10);
    let limited = |step: Step| Step { limited: 1, ..step };
    let snapshot = after(&[one(), limited(Step::refused()).received(10), limited(step(&[])).received(10)]);
    assert_eq!(closed(&snapshot), [1, 0, 0, 0]);
    let snapshot = after(&[one(), Step::refused().received(15), step(&six).received(15), step(&six).received(20)]);
    assert_eq!(snapshot.churn.unseen(), 5);
    let snapshot = after(&[one(), Step::refused().received(15), one().received(15)]);
    assert_eq!(snapshot.churn.unseen(), 5);
}

#[test]
fn a_restart_or_a_failover_is_noticed_though_it_came_while_all_was_refused() {
    let two = step(&[(1, "web"), (2, "web")]).received(10);
    let then = |uptime| Step { run: "b", uptime, ..step(&[(3, "web")]).received(3) };
    let meanwhile = |uptime| Step { run: "b", uptime, ..Step::refused().received(1) };
    let restarted = after(&[two.clone(), meanwhile(0), Step { uptime: 0, ..then(0) }]);
    assert_eq!((closed(&restarted), restarted.churn.ring.iter().len()), ([0, 0, 2, 0], 2));
    let replaced = after(&[two, meanwhile(9000), then(9000)]);
    assert_eq!((closed(&replaced), replaced.churn.ring.iter().len()), ([0, 0, 0, 2], 2));
}

#[test]
fn what_was_counted_anew_or_never_makes_up_for_nobody() {
    let many: Vec<_> = (1..=11).map(|id| (id, "web")).collect();
    let reset = after(&[step(&[(1, "web")]).received(100), step(&many).received(0), step(&many).received(8)]);
    assert_eq!(reset.churn.unseen(), 8);
    let untold = |step: Step| Step { tells_info: false, ..step };
    let told_late = after(&[
        untold(step(&[(1, "web")])),
        untold(step(&many)),
        step(&many).received(1000),
        step(&many).received(1040),
    ]);
    assert_eq!(told_late.churn.unseen(), 40);
}

#[test]
fn a_link_to_the_primary_was_never_accepted() {
    let primary = |id: u64| {
        format!("{} user=(superuser)\n", row(id, "").replace("flags=N", "flags=M").replace(" user=default", ""))
    };
    let link = |id| Step { rows: Some(primary(id)), ..step(&[]) };
    assert_eq!(after(&[link(1).received(100), link(5).received(103)]).churn.unseen(), 3);
}

#[test]
fn without_the_servers_identity_a_younger_client_is_another() {
    let old = |id: u64, name: &str, age: u64| format!("{}\n", row(id, name).replace("age=1", &format!("age={age}")));
    let untold = |rows: String| Step { tells_info: false, rows: Some(rows), ..step(&[]) };
    let snapshot = after(&[
        untold(old(3, "web", 500) + &old(4, "billing", 500)),
        untold(old(3, "billing", 2) + &old(4, "web", 2)),
    ]);
    assert_eq!(closed(&snapshot), [0, 0, 0, 2]);
    assert!(snapshot.presence.shown.iter().all(|seen| (seen.totals.opened, seen.totals.closed) == (1, 1)));
}

#[test]
fn without_ids_nobody_can_be_missed() {
    let rows = |count: u64| {
        (0..count).map(|port| format!("addr=10.0.0.1:{port} fd=6 name=web age=1 idle=0 flags=N cmd=get\n"))
    };
    let of = |count| Step { rows: Some(rows(count).collect()), ..step(&[]) };
    let snapshot = after(&[of(2).received(2), of(4).received(4)]);
    assert_eq!((snapshot.churn.unseen(), closed(&snapshot), shown(&snapshot)), (0, [0; 4], vec![("web", 4)]));
}

#[test]
fn who_is_seen_at_a_look_was_seen_then() {
    let first = derive(None, step(&[(1, "web")]).received(10).sample(0), &Limits::default());
    let look = |id: u64, later: i64, received: u64| {
        let sample = step(&[(1, "web")]).received(received).sample(0);
        let mut sample = Arc::into_inner(sample).expect("the only one");
        let listing = Listing::new(row(id, "cron").into_bytes());
        sample.clients.as_mut().expect("clients").push(Page { at: at(later), listing });
        Arc::new(sample)
    };
    let second = derive(Some(&first), look(2, 7, 11), &Limits::default());
    let third = derive(Some(&second), look(3, 9, 12), &Limits::default());
    let gone = third.changes.closed.first().expect("one went");
    assert_eq!((gone.id, gone.seen_at, gone.gone_at), (2, at(7), at(9)));
    let cron = second.presence.shown.iter().find(|seen| &*seen.app == "cron").expect("it is there");
    assert_eq!(cron.last_seen, Some(at(7)));
}

#[test]
fn applications_that_go_together_are_all_remembered_while_there_is_room() {
    let names: Vec<String> = ('a'..='z').chain('A'..='D').map(|letter| format!("app{letter}")).collect();
    let all: Vec<(u64, &str)> = names.iter().zip(1..).map(|(name, id)| (id, name.as_str())).collect();
    let snapshot = after(&[step(&all), step(&[])]);
    assert_eq!(shown(&snapshot).len(), 30);
    let mut steps = vec![step(&[(1, "web"), (2, "billing")]), step(&[(1, "web")])];
    for (letter, id) in ('a'..='z').zip(100..) {
        let name = format!("once{letter}");
        steps.push(step(&[(1, "web"), (id, &name)]));
    }
    assert!(shown(&after(&steps)).contains(&("billing", 0)), "others that came and went do not push it out");
}

#[test]
fn an_application_whose_clients_take_another_name_is_not_gone() {
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
fn numbers_without_measure_are_no_panic() {
    let huge =
        "tot-mem=9223372036854775807 omem=9223372036854775807 obl=9223372036854775807 tot-cmds=9223372036854775807";
    let rows: String = (1..4).map(|id| format!("{} {huge}\n", row(id, "web"))).collect();
    let most =
        |received| Step { limited: u64::MAX, evicted: u64::MAX, received, rows: Some(rows.clone()), ..step(&[]) };
    after(&[step(&[]), most(u64::MAX), most(3), most(u64::MAX), step(&[]), most(0)]);
}

/// Every name as long and as awkward as it may be, and as many applications gone as are remembered.
#[test]
fn a_scrape_is_bounded_whatever_clients_call_themselves() {
    for filler in ["y", "\"", "\\"] {
        let tail = filler.repeat(300);
        let named = |id: u32, word: &str| {
            format!(
                "id={id} addr=10.{}.{}.1:5 name={word}{tail} age=9 idle=9 flags=N db={} cmd=c{word} user=u{word}{tail} \
                 lib-name=l{word}{tail} tot-mem=9 tot-net-in=1 tot-net-out=1 tot-cmds=1\n",
                id / 250 % 250,
                id % 250,
                id % 300
            )
        };
        let word = |number: u32| -> String {
            (0..4).map(|place| char::from(b'a' + (number / 26_u32.pow(place) % 26) as u8)).collect()
        };
        let there: String = (0..6000).map(|id| named(id, &word(id))).collect();
        let gone: String = (0..26 * 300).map(|id| named(100_000 + id, &format!("zz{}", word(id / 300)))).collect();
        let of = |rows: String| Step { rows: Some(rows), ..step(&[]) };
        let snapshot = after(&[of(there.clone() + &gone), of(there)]);
        let view = Nodes {
            generation: 1,
            nodes: vec![Arc::new(NodeState {
                phase: Phase::Fresh {
                    snapshot: Arc::new(snapshot),
                    stale_at: Instant::now() + Duration::from_secs(60),
                },
                ..NodeState::starting("node:1".into())
            })],
        };
        let scrape = Scrape::parse(&metrics::text(&view, Instant::now()));
        println!("{} series, {} bytes", scrape.series.len(), scrape.bytes);
        assert!(scrape.series.len() <= 2000 && scrape.bytes <= 200_000, "{} {}", scrape.series.len(), scrape.bytes);
    }
}
