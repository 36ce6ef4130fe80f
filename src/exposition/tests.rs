//! The text of the metrics over many samples: its counters, its sums, and its budget.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{shared_limits, text};
use crate::client_list::Listing;
use crate::latest::{NodeState, Nodes};
use crate::sample::Sample;
use crate::snapshot::model::{SimulatedServer, at, event, play};
use crate::snapshot::{Expectation, Limits, Snapshot, derive};

/// The strict parser of the integration tests.
#[expect(dead_code, reason = "most of it is for the integration tests")]
#[path = "../../tests/support/scrape.rs"]
mod scrape;

use scrape::Scrape;

fn scrape(snapshot: &Snapshot) -> Scrape {
    let now = Instant::now();
    let mut state = NodeState::starting("node:1".into());
    state.succeed(Arc::new(snapshot.clone()), now + Duration::from_secs(60));
    Scrape::parse(&text(&Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [state]), now))
}

/// A sample of this list, with the counters of `INFO`.
fn listed(now: i64, rows: String) -> Arc<Sample> {
    let info = SimulatedServer::default().sample(now).info.clone();
    Arc::new(Sample { info, ..Sample::of(at(now), Listing::new(rows.into_bytes())) })
}

/// The budget of one node.
fn check_budget(scrape: &Scrape) {
    let (series, bytes) = (scrape.series.len(), scrape.bytes);
    println!("{series} series, {bytes} bytes");
    assert!(series <= 2000 && bytes <= 200 * 1024, "{series} series, {bytes} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No counter of an exported series ever decreases, and sums match the number of clients.
    #[test]
    fn counters_never_decrease_and_sums_match(events in vec(event(), 1..80), groups in 1_usize..4) {
        let limits = Limits {
            groups,
            expected: vec![Expectation::on_all_nodes("cron", 1)].into_iter().take(groups - 1).collect(),
            forget_after: Duration::from_secs(100_000),
            ..Limits::default()
        };
        let mut counters: HashMap<String, f64> = HashMap::new();
        let mut first = None;
        play(&events, &limits, |snapshot, _, server, known, _| {
            let scrape = scrape(snapshot);
            let online = scrape.value("redis_clients_online", &[]);
            prop_assert_eq!(online, Some(server.applications().count() as f64));
            prop_assert_eq!(Some(scrape.sum("redis_clients_app_connections")), online);
            let networks = scrape.sum("redis_clients_network_connections");
            prop_assert_eq!(Some(networks), online);
            for series in scrape.series.iter().filter(|series| series.name.ends_with("_total")) {
                let before = counters.insert(format!("{} {:?}", series.name, series.labels), series.value);
                prop_assert!(before.is_none_or(|before| before <= series.value), "{series:?} was {before:?}");
            }
            // The series of an application that is shown again starts at 0.
            let name = |series: &scrape::Series| format!("{} {:?}", series.name, series.labels);
            let exported: HashSet<String> = scrape.series.iter().map(name).collect();
            counters.retain(|name, _| exported.contains(name));
            let (opened, closed) = known.sums();
            prop_assert_eq!(scrape.sum("redis_clients_opened_total"), opened as f64);
            prop_assert_eq!(scrape.sum("redis_clients_closed_total"), closed as f64);
            prop_assert_eq!(scrape.sum("redis_clients_app_closed_total"), closed as f64);
            // What is shown of new applications is behind.
            prop_assert!(scrape.sum("redis_clients_app_opened_total") <= opened as f64);
            let received = scrape.value("redis_clients_connections_received_total", &[]).expect("it is reported");
            let first = *first.get_or_insert(received);
            let unseen = scrape.sum("redis_clients_unseen_total") + scrape.sum("redis_clients_own_connections_total");
            prop_assert_eq!(received - first, opened as f64 + unseen);
            Ok(())
        })?;
    }
}

/// A node of a fleet: the number of clients, and that of the values of each dimension.
fn fleet_node() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![(0_u32..40, 1_u32..40), (120_u32..240, 100_u32..240)]
}

/// The state of a node after two samples, of which the second lacks a third of the applications.
fn sampled_twice(name: &str, (clients, values): (u32, u32), limits: &Limits, now: Instant) -> NodeState {
    let row = |id: u32| {
        let (value, idle) = (id % values, id * 7);
        let letters: String = [value / 26, value % 26].map(|digit| char::from(b'a' + digit as u8)).iter().collect();
        let state = if id.is_multiple_of(3) { "flags=b" } else { "flags=N" };
        format!(
            "id={id} addr=10.{}.{}.1:5 name=app{letters} age=9 idle={idle} cmd=c{value} db={value} user=u{value} \
             lib-name=l{letters} tot-mem=9 tot-net-in=1 tot-net-out=1 tot-cmds=1 {state}\n",
            value / 250,
            value % 250
        )
    };
    let first: String = (1..=clients).map(row).collect();
    let second: String = (1..=clients).filter(|id| id % values % 3 != 0).map(row).collect();
    let before = derive(None, listed(0, first), limits);
    let snapshot = derive(Some(&before), listed(10, second), limits);
    let mut state = NodeState::starting(name.into());
    state.subscriber("announcer");
    state.succeed(Arc::new(snapshot), now + Duration::from_secs(60));
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// However many nodes there are, and whatever clients call themselves: the series of all nodes fit, and what is cut
    /// is in `(other)` and counted. Only where the series that are never cut do not fit, there are more, and no groups.
    #[test]
    fn the_series_of_a_fleet_are_bounded_and_add_up(
        fleet in vec(fleet_node(), 1..25),
        groups in 1_usize..60,
        per_client in 0_usize..40,
        max_series in 1000_usize..50_000,
        expects in any::<bool>(),
    ) {
        let expected = expects.then(|| Expectation::on_all_nodes("ghost", 1)).into_iter().collect();
        let limits = Limits { groups, per_client, max_series, expected, ..Limits::default() };
        let shared = shared_limits(&limits, fleet.len());
        let now = Instant::now();
        let states = fleet.iter().enumerate().map(|(n, node)| sampled_twice(&format!("n{n}"), *node, &shared, now));
        let scrape = Scrape::parse(&text(&Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, states), now));
        if shared.groups > 0 {
            prop_assert!(scrape.series.len() <= max_series, "{} of {max_series}", scrape.series.len());
        }
        for (n, (clients, values)) in fleet.into_iter().enumerate() {
            let node = format!("n{n}");
            let of_node = [("redis", node.as_str())];
            let sum = |name: &str| scrape.all(name, &of_node).map(|series| series.value).sum::<f64>();
            prop_assert_eq!(scrape.value("redis_clients_group_limit", &of_node), Some(shared.groups as f64));
            let online = scrape.value("redis_clients_online", &of_node).expect("it is never cut");
            for dimension in ["app", "user", "library", "database", "command", "network"] {
                let name = format!("redis_clients_{dimension}_connections");
                let label = if dimension == "app" { "client_app" } else { dimension };
                let series = scrape.all(&name, &of_node);
                let groups = series.filter(|series| series.labels[label] != "(other)" && series.value > 0.0).count();
                // A field that no client has is not exported.
                prop_assert!(online == 0.0 || sum(&name) == online, "{name}: {} of {online}", sum(&name));
                let values = (1..=clients).map(|id| id % values).filter(|value| value % 3 != 0);
                let values = values.collect::<HashSet<_>>().len();
                let labels = [of_node[0], ("dimension", dimension)];
                let folded = scrape.value("redis_clients_groups_folded", &labels).unwrap_or_default();
                prop_assert_eq!(groups + folded as usize, values, "{}: shown and counted", name);
            }
            prop_assert!(scrape.value("redis_clients_up", &of_node) == Some(1.0));
        }
    }
}

/// The bound is not much more than what a node can have: otherwise groups are cut without need.
#[test]
fn the_bound_on_the_series_of_a_node_is_close_to_what_it_can_have() {
    let (now, limits) = (Instant::now(), Limits { per_client: 20, ..Limits::default() });
    let state = sampled_twice("n", (2000, 400), &limits, now);
    let series = Scrape::parse(&text(&Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [state]), now)).series.len();
    let with = |max_series| shared_limits(&Limits { max_series, ..limits.clone() }, 1).groups;
    assert!(with(series - 1) < limits.groups, "{series} series need as many");
    assert_eq!(with(series + series / 8), limits.groups, "{series} series");
}

/// 19,000 clients with 6,000 names and applications. One name in ten is 500 bytes long, and the other dimensions have
/// hundreds or thousands of values.
#[test]
fn thousands_of_names_make_a_bounded_scrape_that_adds_up() {
    let rows = (0..19_000_u32).map(|number| {
        let app = number % 6000;
        let letters: String = (0..4).map(|place| char::from(b'a' + (app / 26_u32.pow(place) % 26) as u8)).collect();
        let long = if app % 10 == 0 { "y".repeat(480) } else { String::new() };
        let (one, two) = (number / 250 % 250, number % 250);
        format!(
            "id={number} addr=10.0.{one}.{two}:5 name={letters}{long}-{number} age=9 idle={two} flags=N db={} \
             cmd=c{app} user=u{letters}{long} lib-name=l{letters} tot-mem=9 tot-net-in=1 tot-net-out=1 tot-cmds=1\n",
            number % 300
        )
    });
    let reply: String = rows.collect();
    let sample = |now| Arc::new(Sample::of(at(now), Listing::new(reply.clone().into_bytes())));
    let limits = Limits::default();
    let first = derive(None, sample(1000), &limits);
    let snapshot = derive(Some(&first), sample(1010), &limits);
    let scrape = scrape(&snapshot);
    for family in ["app", "user", "library", "database", "command", "network"] {
        let name = format!("redis_clients_{family}_connections");
        assert_eq!(scrape.sum(&name), 19_000.0, "{name}");
        assert_eq!(scrape.all(&name, &[]).count(), 51, "{name}");
    }
    check_budget(&scrape);
    let shown =
        |snapshot: &Snapshot| snapshot.presence.shown.iter().map(|seen| Arc::clone(&seen.app)).collect::<Vec<_>>();
    assert_eq!(shown(&first), shown(&snapshot), "series do not flap");
}

/// All names are of maximum length and need escaping, and as many applications as possible are offline.
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
        let open: String = (0..600).map(|id| named(id, &word(id))).collect();
        let closed: String = (0..26 * 30).map(|id| named(100_000 + id, &format!("zz{}", word(id / 30)))).collect();
        let first = derive(None, listed(0, open.clone() + &closed), &Limits::default());
        let snapshot = derive(Some(&first), listed(10, open), &Limits::default());
        let scrape = scrape(&snapshot);
        check_budget(&scrape);
    }
}
