//! Nodes that come and go while the program runs: real servers that a list names, no longer names, and names again.

use std::time::Instant;

use redis_client_exporter::announce::Mode;
use redis_client_exporter::exposition;
use redis_client_exporter::latest::NodeId;
use redis_client_exporter::link::Node;
use redis_client_exporter::sample::OUR_NAME;
use redis_client_exporter::snapshot::Limits;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::exporter::Exporter;
use crate::support::fleet::{WatchedNodes, node};
use crate::support::http::get;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, binary};

/// A fleet that announces, and listens.
struct Watched(WatchedNodes);

impl Watched {
    fn start(nodes: Vec<Node>) -> Self {
        Self::start_with(nodes, Limits::default())
    }

    fn start_with(nodes: Vec<Node>, limits: Limits) -> Self {
        Self(WatchedNodes::start(nodes, Mode::Auto, limits))
    }

    /// Waits for this number of complete samples of a node, and returns its id.
    fn sampled(&self, name: &str, samples: u64) -> NodeId {
        eventually("the node is sampled", || {
            let nodes = self.0.latest.read();
            let (id, state) = nodes.find(name)?;
            (state.tally.whole >= samples && state.fresh_snapshot(Instant::now()).is_some()).then_some(id)
        })
    }

    fn metrics(&self) -> String {
        exposition::text(&self.0.latest.read(), Instant::now())
    }
}

#[test]
fn more_nodes_leave_fewer_groups_for_each_of_them_and_the_sums_stay() {
    let Some(binary) = binary("redis-7.0") else { return };
    let servers = [(); 4].map(|()| Server::start(&binary));
    let _clients: Vec<_> = (0..30_u8)
        .map(|number| {
            let mut peer = servers[0].peer();
            let name =
                format!("app{}", char::from(b'a' + number % 26).to_string().repeat(1 + usize::from(number / 26)));
            peer.ask(&["CLIENT", "SETNAME", &name]);
            peer
        })
        .collect();
    let node = |number: usize| node(&format!("node-{number}"), &servers[number]);
    let watched = Watched::start_with(vec![node(0)], Limits { max_series: 2500, ..Limits::default() });
    let scrape = || Scrape::parse(&watched.metrics());
    let shown = |limit: Option<f64>, nodes: usize| {
        eventually("each node has the limit", || {
            let scrape = scrape();
            let limits: Vec<f64> = scrape.all("redis_clients_group_limit", &[]).map(|series| series.value).collect();
            let is_alike = limits.windows(2).all(|pair| pair[0] == pair[1]);
            let first = *limits.first()?;
            let is_shown = limits.len() == nodes && is_alike && limit.is_none_or(|limit| first < limit);
            is_shown.then_some((first, scrape))
        })
    };
    let (alone, before) = shown(None, 1);
    assert_eq!(alone, 50.0);
    let app = [("redis", "node-0"), ("client_app", "appa")];
    assert_eq!(before.value("redis_clients_app_connections", &app), Some(1.0));
    watched.0.list.send_replace((0..4).map(node).collect());
    let (shared, after) = shown(Some(30.0), 4);
    assert!(after.series.len() <= 2500, "{}", after.series.len());
    let of_node = [("redis", "node-0")];
    let sum = |name: &str| after.all(name, &of_node).map(|series| series.value).sum::<f64>();
    assert_eq!(Some(sum("redis_clients_app_connections")), after.value("redis_clients_online", &of_node));
    let folded = after.value("redis_clients_groups_folded", &[("redis", "node-0"), ("dimension", "app")]);
    assert_eq!(folded, Some(30.0 - shared), "{shared} are shown");
    watched.0.list.send_replace(vec![node(0)]);
    eventually("the node has all its groups again", || {
        (scrape().value("redis_clients_group_limit", &of_node) == Some(50.0)).then_some(())
    });
}

#[test]
fn an_application_is_expected_on_all_nodes_together_and_may_move_and_is_unknown_while_a_node_is_down() {
    let Some(binary) = binary("redis-7.0") else { return };
    let (first, second) = (Server::start(&binary), Server::start(&binary));
    let args = ["--redis.name=shop-1,shop-2", "--presence.expect=billing=2,cron@shop-*", "--sample.quick-poll=0.1"];
    let exporter = Exporter::start(&[&first.address(), &second.address()], &args, &[]);
    let sum = |connections: Option<f64>| {
        exporter.scrape_until("the sum over the nodes", |scrape| {
            let label = [("client_app", "billing")];
            scrape.value("redis_clients_fleet_expected_app_connections", &label) == connections
                && scrape.value("redis_clients_fleet_app_expected", &label) == Some(2.0)
        })
    };
    let page = |path: &str| get(&exporter.address, path).text().to_owned();
    sum(Some(0.0));
    assert!(page("/").contains("billing has 0 of 2 expected connections on all servers together."), "{}", page("/"));
    let before = [billing(&first), billing(&first)];
    sum(Some(2.0));
    assert!(!page("/").contains("billing has"), "{}", page("/"));
    drop(before);
    let after = [billing(&second), billing(&second)];
    let on = |node| [("redis", node), ("client_app", "billing")];
    let scrape = exporter.scrape_until("both are on the second server", |scrape| {
        let connections = |node| scrape.value("redis_clients_app_connections", &on(node));
        (connections("shop-1"), connections("shop-2")) == (Some(0.0), Some(2.0))
    });
    sum(Some(2.0));
    assert_eq!(scrape.value("redis_clients_app_expected", &on("shop-1")), None, "not on each node");
    for node in ["shop-1", "shop-2"] {
        let cron = [("redis", node), ("client_app", "cron")];
        assert_eq!(scrape.value("redis_clients_app_expected", &cron), Some(1.0), "on each node");
        assert_eq!(scrape.value("redis_clients_app_connections", &cron), Some(0.0));
    }
    let apps: Value = serde_json::from_str(&page("/api/v1/apps?redis=shop-1&app=billing")).expect("JSON");
    let billing_on_first = &apps["nodes"][0]["apps"][0];
    assert_eq!((&billing_on_first["expected"], &billing_on_first["expected_on_all"]), (&Value::Null, &json!(2)));
    assert!(page("/apps?app=cron").contains("missing") && !page("/apps?app=billing").contains("missing"));

    drop(after);
    sum(Some(0.0));
    drop(second);
    // It may have the missing connections.
    sum(None);
    assert!(!page("/").contains("billing has"), "{}", page("/"));
    let _enough = [billing(&first), billing(&first)];
    sum(Some(2.0));
}

/// A connection of the application `billing`.
fn billing(server: &Server) -> impl Sized + use<> {
    let mut peer = server.peer();
    peer.must(&["CLIENT", "SETNAME", "billing"]);
    peer
}

/// The number of our connections to a server: the sampler's link, the announcer's and the listener's.
fn our_links(server: &Server) -> usize {
    let list = server.peer().ask(&["CLIENT", "LIST"]);
    list.lines().filter(|row| row.contains(&format!(" name={OUR_NAME} "))).count()
}

#[test]
fn a_node_that_disappears_takes_its_series_and_links_with_it_and_may_return() {
    let Some(binary) = binary("redis-7.0") else { return };
    let (first, second) = (Server::start(&binary), Server::start(&binary));
    let watched = Watched::start(vec![node("one", &first), node("two", &second)]);
    let (one, two) = (watched.sampled("one", 1), watched.sampled("two", 1));
    eventually("it announces", || (our_links(&first) == 3).then_some(()));
    assert!(watched.metrics().contains("redis_clients_up{redis=\"one\"} 1\n"));

    watched.0.list.send_replace(vec![node("two", &second)]);
    eventually("all links to it are closed", || (our_links(&first) == 0).then_some(()));
    eventually("it is not shown", || watched.0.latest.read().get(one).is_none().then_some(()));
    assert!(!watched.metrics().contains("redis=\"one\""), "{}", watched.metrics());
    let samples = watched.0.latest.read().get(two).map_or(0, |state| state.tally.whole);
    assert_eq!(watched.sampled("two", samples + 3), two, "the other one is sampled as before");

    watched.0.list.send_replace(vec![node("one", &first), node("two", &second)]);
    assert_ne!(watched.sampled("one", 1), one, "a new node with the old name");
    assert_eq!(watched.0.latest.read().get(two).map(|state| state.tally.failed), Some(0));

    // The end of the program is the end of all links.
    watched.0.runtime.shutdown_background();
    eventually("all links are closed", || (our_links(&first) + our_links(&second) == 0).then_some(()));
}
