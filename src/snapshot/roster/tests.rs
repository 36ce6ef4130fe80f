//! Rosters of made-up lists: their turnover against sets of ids, and cases by name.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::client_list::Listing;
use crate::server_info::ServerInfo;
use crate::snapshot::{Limits, derive};
use Continuity::{Another, Restarted, Same};

/// The roster of a reply, read at a time by a server with or without a run id.
fn roster_of(run_id: Option<&str>, at: &str, reply: &str) -> Roster {
    let info = ServerInfo { run_id: run_id.map(Into::into), ..ServerInfo::default() };
    let at = at.parse().expect("a time");
    let sample = Sample { info: Ok(info), own_ids: vec![99], ..Sample::of(at, Listing::new(reply.into())) };
    derive(None, Arc::new(sample), &Limits::default()).clients().expect("the clients were listed").clone()
}

fn roster(at: &str, reply: &str) -> Roster {
    roster_of(Some("run"), at, reply)
}

fn ids(entries: &[Entry]) -> Vec<u64> {
    entries.iter().filter_map(|entry| entry.id).collect()
}

/// The work of each application of a turnover that has any.
fn work<'a>(roster: &'a Roster, turnover: &Turnover) -> BTreeMap<&'a str, Work> {
    let all = roster.apps.iter().map(|app| &**app).zip(turnover.work.iter().copied());
    all.filter(|(_, work)| *work != Work::default()).collect()
}

const T0: &str = "2026-01-01T00:00:00Z";
const T10: &str = "2026-01-01T00:00:10Z";

fn row(id: u64, app: &str, age: u64, commands: u64) -> String {
    let (received, sent) = (commands * 10, commands * 100);
    format!(
        "id={id} addr=a:1 name={app} age={age} idle=0 flags=N cmd=get tot-net-in={received} tot-net-out={sent} \
         tot-cmds={commands}\n"
    )
}

fn done(commands: u64) -> Work {
    Work { commands, received_bytes: commands * 10, sent_bytes: commands * 100 }
}

#[test]
fn of_the_same_server_clients_opened_closed_or_worked() {
    let before = roster(T0, &(row(1, "web", 100, 5) + &row(2, "web", 50, 7) + &row(4, "cron", 9, 1)));
    let mut after = roster(T10, &(row(4, "cron", 19, 1) + &row(2, "web", 60, 9) + &row(5, "web", 1, 3)));
    let turnover = after.turnover_since(&before, Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![5], vec![1]));
    assert_eq!(work(&after, &turnover), BTreeMap::from([("web", done(2 + 3))]));
    assert!(after.has_work() && !after.has_no_ids());
}

#[test]
fn after_a_restart_every_client_is_another_one() {
    let before = roster(T0, &(row(1, "web", 100, 5) + &row(2, "web", 50, 7)));
    let mut after = roster(T10, &(row(2, "web", 3, 4) + &row(1, "cron", 2, 1)));
    let turnover = after.turnover_since(&before, Restarted);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![1, 2], vec![1, 2]));
    assert_eq!(work(&after, &turnover), BTreeMap::from([("cron", done(1)), ("web", done(4))]));
}

#[test]
fn of_another_server_only_clients_younger_than_the_previous_sample_opened() {
    let before = roster(T0, &row(1, "cron", 100, 5));
    let list = row(1, "web", 900, 800) + &row(2, "web", 10, 70) + &row(3, "web", 9, 6) + "id=4 addr=a:1 name=web\n";
    let mut after = roster(T10, &list);
    let turnover = after.turnover_since(&before, Another);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![3], vec![1]));
    assert_eq!(work(&after, &turnover), BTreeMap::from([("web", done(6))]), "what the others did was before");
}

#[test]
fn clients_that_connect_to_another_server_again_neither_opened_nor_closed() {
    let named =
        |id: u64, name: &str, host: &str, age| row(id, name, age, 1).replace("addr=a:1", &format!("addr={host}:{id}"));
    let old =
        named(1, "web-1", "10.0.0.1", 500) + &named(2, "web-2", "10.0.0.2", 500) + &named(3, "cron", "10.0.0.3", 500);
    let before = roster(T0, &(old + &named(4, "web-3", "10.0.0.4", 500)));
    let again = |list: &str| {
        let mut after = roster(T10, list);
        let turnover = after.turnover_since(&before, Another);
        (ids(&turnover.opened), ids(&turnover.closed))
    };
    let (one, two) = (named(900, "web-2", "10.0.0.2", 3), named(901, "web-9", "10.0.0.9", 4));
    // The name and the host tell which of them it is; of the rest only the number is known.
    assert_eq!(again(&one), (vec![], vec![1, 3, 4]));
    assert_eq!(again(&(one.clone() + &two)), (vec![], vec![3, 4]));
    let all = one + &two + &named(902, "web-8", "10.0.0.8", 2) + &named(903, "cron", "10.0.0.3", 1);
    assert_eq!(again(&all), (vec![], vec![]));
    // Of more than before, those that connected last did so again.
    assert_eq!(again(&(all.clone() + &named(904, "web-7", "10.0.0.7", 9))), (vec![904], vec![]));
    assert_eq!(again(&(all + &named(904, "web-7", "10.0.0.7", 99))), (vec![], vec![]));
}

#[test]
fn without_a_run_id_a_younger_client_with_the_same_id_is_another_one() {
    let (old, young) = (row(3, "web", 500, 9) + &row(4, "web", 500, 9), row(3, "web", 2, 4) + &row(4, "web", 510, 12));
    let before = roster_of(None, T0, &old);
    let mut after = roster_of(None, T10, &young);
    let turnover = after.turnover_since(&before, Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![3], vec![3]));
    assert_eq!(work(&after, &turnover), BTreeMap::from([("web", done(4 + 3))]));
    // With a run id the server has certainly not been restarted.
    let mut after = roster(T10, &young);
    let turnover = after.turnover_since(&roster(T0, &old), Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![], vec![]));
}

#[test]
fn a_connection_time_does_not_jitter() {
    let connected = |roster: &Roster| roster.entries()[0].connected_at().map(|time| time.to_string());
    let mut previous = roster("2026-01-01T00:00:00.9Z", &row(1, "web", 100, 1));
    for (at, age) in [("2026-01-01T00:00:10.1Z", 111), ("2026-01-01T00:00:20.9Z", 120), ("2026-01-01T00:00:30Z", 131)] {
        let mut next = roster(at, &row(1, "web", age, 1));
        next.turnover_since(&previous, Same);
        assert_eq!(connected(&next).as_deref(), Some("2025-12-31T23:58:20Z"), "at {at}");
        previous = next;
    }
    // It is not kept after a restart.
    let mut restarted = roster("2026-01-01T00:00:30Z", &row(1, "web", 131, 1));
    restarted.turnover_since(&previous, Restarted);
    assert_eq!(connected(&restarted).as_deref(), Some("2025-12-31T23:58:19Z"));
}

#[test]
fn no_step_of_a_clock_moves_a_connection_time() {
    let connected = |roster: &Roster| roster.entries()[0].connected_at().map(|time| time.to_string());
    let mut previous = roster(T0, &row(1, "web", 100, 1));
    // The server's clock is set ahead by two hours, then back by four; then our own clock is set back, and ahead.
    let steps = [
        ("2026-01-01T00:00:10Z", "7310"),
        ("2026-01-01T00:00:20Z", "-7080"),
        ("2025-12-31T22:00:30Z", "130"),
        ("2026-01-01T02:00:40Z", "140"),
    ];
    for (at, age) in steps {
        let mut next = roster(at, &row(1, "web", 0, 1).replace("age=0", &format!("age={age}")));
        let turnover = next.turnover_since(&previous, Same);
        assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![], vec![]), "at {at}");
        assert_eq!(connected(&next).as_deref(), Some("2025-12-31T23:58:20Z"), "at {at}");
        previous = next;
    }
}

/// Kvrocks and Dragonfly report no run id.
#[test]
fn without_a_run_id_a_clock_that_is_set_back_is_no_restart() {
    let server = |at: &str, uptime: u64, reply: &str| {
        let info = ServerInfo { uptime_seconds: Some(uptime), ..ServerInfo::default() };
        let sample = Sample { info: Ok(info), ..Sample::of(at.parse().expect("a time"), Listing::new(reply.into())) };
        derive(None, Arc::new(sample), &Limits::default()).clients().expect("the clients were listed").clone()
    };
    let rows = |ages: [i64; 3]| -> String {
        (1..).zip(ages).map(|(id, age)| format!("id={id} addr=a:{id} name=web age={age} idle=0\n")).collect()
    };
    let before = server(T0, 90_000, &rows([80_000, 9_000, 100]));
    // Two hours back. The third client is younger by less than that: its id was used again.
    let mut set_back = server(T10, 82_810, &rows([72_810, 1_810, 4]));
    let turnover = set_back.turnover_since(&before, Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![3], vec![3]));
    let mut restarted = server(T10, 8, &rows([7, 6, 4]));
    let turnover = restarted.turnover_since(&before, Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![1, 2, 3], vec![1, 2, 3]));
}

#[test]
fn a_counter_of_work_that_falls_counts_nothing() {
    let before = roster(T0, &row(1, "web", 100, 50));
    let mut after = roster(T10, &row(1, "web", 110, 20));
    let turnover = after.turnover_since(&before, Same);
    assert_eq!(work(&after, &turnover), BTreeMap::new());
}

#[test]
fn internal_connections_open_and_close_without_work() {
    let replica = |id, commands| row(id, "", 100, commands).replace("flags=N", "flags=S");
    let before = roster(T0, &(replica(1, 5) + &replica(2, 5)));
    let mut after = roster(T10, &(replica(2, 500) + &row(99, "", 1, 8)));
    let turnover = after.turnover_since(&before, Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![99], vec![1]));
    assert_eq!(turnover.opened[0].kind, ClientKind::Exporter);
    assert!(turnover.work.is_empty() && after.app(&turnover.opened[0]).is_none());
}

#[test]
fn an_id_that_is_listed_twice_is_followed_once() {
    let before = roster(T0, &(row(7, "web", 100, 5) + &row(3, "web", 9, 1) + &row(7, "cron", 90, 6)));
    assert_eq!(before.entries().len(), 2, "one client, one row");
    let first = before.find(7).map(|index| &before.entries()[index]).expect("the id is known");
    assert_eq!(before.app(first).map(|app| &**app), Some("web"), "the first line");
    let mut after = roster(T10, &(row(7, "web", 110, 8) + &row(7, "web", 110, 9)));
    let turnover = after.turnover_since(&before, Same);
    assert_eq!((ids(&turnover.opened), ids(&turnover.closed)), (vec![], vec![3]));
    assert_eq!(work(&after, &turnover), BTreeMap::from([("web", done(3))]));
}

#[test]
fn a_list_without_ids_is_shown_and_not_followed() {
    let rows = "addr=a:1 fd=6 name=web age=1 idle=0 flags=N cmd=get\n";
    let before = roster(T0, &rows.repeat(2));
    let mut after = roster(T10, rows);
    let turnover = after.turnover_since(&before, Same);
    assert!(turnover.opened.is_empty() && turnover.closed.is_empty());
    assert!(after.has_no_ids() && !after.has_work() && after.entries().len() == 1 && after.find(0).is_none());
    assert!(!roster(T0, "").has_no_ids(), "an empty list lacks nothing");
}

/// A client of the model: its age in seconds, its application, and its commands.
type Model = BTreeMap<u64, (u64, usize, u64)>;

const APPS: [&str; 3] = ["web", "cron", "feed"];

fn model() -> impl Strategy<Value = Model> {
    btree_map(1_u64..40, (0_u64..30, 0..APPS.len(), 0_u64..1000), 0..30)
}

fn reply(model: &Model, order: &[prop::sample::Index]) -> String {
    let mut rows: Vec<String> =
        model.iter().map(|(id, &(age, app, commands))| row(*id, APPS[app], age, commands)).collect();
    // Any order, because pages are listed in any order.
    for (place, index) in order.iter().enumerate().take(rows.len()) {
        let other = index.index(rows.len());
        rows.swap(place, other);
    }
    rows.concat()
}

proptest! {
    #[test]
    fn turnover_is_the_difference_of_the_sets_of_ids(
        (old, new) in (model(), model()),
        order in vec(any::<prop::sample::Index>(), 30),
        continuity in prop_oneof![Just(Same), Just(Restarted), Just(Another)],
    ) {
        let (before, mut after) = (roster(T0, &reply(&old, &order)), roster(T10, &reply(&new, &order)));
        let turnover = after.turnover_since(&before, continuity);
        let is_known = |id: &u64| continuity == Same && old.contains_key(id);
        // As many of an application as both servers have are still there, of the new ones the youngest.
        let still_there = |one: &Model, other: &Model, rank: fn(u64, u64) -> (u64, u64)| -> BTreeSet<u64> {
            let of = |model: &Model, place| model.values().filter(|(_, app, _)| *app == place).count();
            let matched = (0..APPS.len()).flat_map(|place| {
                let mut ids: Vec<_> = one.iter().filter(|(_, (_, app, _))| *app == place).collect();
                ids.sort_by_key(|(id, (age, ..))| rank(*age, **id));
                ids.into_iter().map(|(id, _)| *id).take(of(one, place).min(of(other, place))).collect::<Vec<_>>()
            });
            matched.collect()
        };
        let again = still_there(&new, &old, |age, id| (age, u64::MAX - id));
        let stayed = still_there(&old, &new, |_, id| (0, id));
        let is_opened = |(id, (age, ..)): &(&u64, &(u64, usize, u64))| match continuity {
            Same => !old.contains_key(id),
            Restarted => true,
            Another => *age < 10 && !again.contains(id),
        };
        let opened: BTreeSet<u64> = new.iter().filter(is_opened).map(|(id, _)| *id).collect();
        let closed = old.keys().copied().filter(|id| match continuity {
            Same => !new.contains_key(id),
            Restarted => true,
            Another => !stayed.contains(id),
        });
        prop_assert_eq!(ids(&turnover.opened), opened.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(ids(&turnover.closed), closed.collect::<Vec<_>>());
        let mut commands = BTreeMap::<&str, u64>::new();
        for (id, &(_, app, now)) in &new {
            let more = match old.get(id) {
                Some((.., earlier)) if is_known(id) => now.saturating_sub(*earlier),
                _ if opened.contains(id) => now,
                _ => 0,
            };
            *commands.entry(APPS[app]).or_default() += more;
        }
        commands.retain(|_, commands| *commands > 0);
        let found: BTreeMap<&str, u64> =
            work(&after, &turnover).into_iter().map(|(app, work)| (app, work.commands)).collect();
        prop_assert_eq!(found, commands);
        for id in 0..41 {
            let entry = after.find(id).map(|index| &after.entries()[index]);
            prop_assert_eq!(entry.and_then(|entry| entry.id), new.contains_key(&id).then_some(id));
            let listed = entry.and_then(|entry| after.client(entry)).and_then(Client::id);
            prop_assert_eq!(listed, entry.and_then(|entry| entry.id), "an entry has its own row");
        }
    }
}
