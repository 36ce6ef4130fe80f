//! Real clusters, whose nodes are found from one of them and followed while they fail, return, join and leave.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::support::cluster::Cluster;
use crate::support::exporter::Exporter;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, binary};
use crate::support::trouble::hoard;

const SERVERS: [&str; 3] = ["redis-7.0", "redis-8.2", "valkey-9.1"];

/// Follows a cluster from one of its servers.
fn following(seed: &Server, args: &[&str]) -> Exporter {
    let target = format!("--redis.addr=redis+cluster://{}", seed.address());
    let args = [&[target.as_str(), "--discovery.interval=1s", "--sample.quick-poll=0.2"], args].concat();
    Exporter::start(&[], &args, &[])
}

/// The value of a node's metric, by the node's port.
fn of_port(scrape: &Scrape, metric: &str, port: u16, labels: &[(&str, &str)]) -> Option<f64> {
    let is_it = |name: &str| name.ends_with(&format!(":{port}"));
    scrape.all(metric, labels).find(|series| is_it(&series.labels["redis"])).map(|series| series.value)
}

fn is_up(scrape: &Scrape, server: &Server, value: f64) -> bool {
    of_port(scrape, "redis_clients_up", server.port, &[]) == Some(value)
}

fn has_role(scrape: &Scrape, server: &Server, role: &str) -> bool {
    of_port(scrape, "redis_clients_node_role", server.port, &[("role", role)]) == Some(1.0)
}

/// Clients of nodes that always worked whose connections are said to be closed for no known reason.
fn closed_unknown(scrape: &Scrape, servers: &[Server]) -> f64 {
    let closed = |server: &Server| {
        of_port(scrape, "redis_clients_app_closed_total", server.port, &[("client_app", "billing")]).unwrap_or_default()
    };
    servers[1..5].iter().map(closed).sum()
}

/// Waits until every node has as many connections as its `CLIENT LIST`, the one that asks for it included.
fn counts_agree(exporter: &Exporter, servers: &[Server]) {
    for server in servers {
        let peer = RefCell::new(server.peer());
        exporter.scrape_until("the counts agree", |scrape| {
            let listed = peer.borrow_mut().ask(&["CLIENT", "LIST"]).lines().filter(|line| line.contains("id=")).count();
            let counted = scrape.all("redis_clients_connections", &[]);
            let counted = counted.filter(|series| series.labels["redis"].ends_with(&format!(":{}", server.port)));
            counted.map(|series| series.value).sum::<f64>() == listed as f64
        });
    }
}

#[test]
fn all_nodes_are_found_from_one_seed_with_their_shards_and_roles() {
    for name in SERVERS {
        let Some(binary) = binary(name) else { continue };
        let cluster = Cluster::start(&binary, 3, true, &[]);
        let exporter = following(&cluster.servers[4], &[]);
        let scrape = exporter
            .scrape_until("all six are up", |scrape| cluster.servers.iter().all(|server| is_up(scrape, server, 1.0)));
        for (place, server) in cluster.servers.iter().enumerate() {
            assert!(has_role(&scrape, server, if place < 3 { "primary" } else { "replica" }), "{name} {place}");
        }
        let infos: Vec<_> = scrape.all("redis_clients_node_info", &[]).collect();
        let of = |label: &str| infos.iter().map(|series| series.labels[label].clone()).collect::<BTreeSet<_>>();
        assert_eq!((infos.len(), of("shard").len(), of("node_id").len()), (6, 3, 6), "{infos:?}");
        assert_eq!(of("node_id"), (0..6).map(|place| cluster.id(place)).collect());
        assert_eq!(of("target"), BTreeSet::from([cluster.servers[4].address()]));
        assert_eq!(scrape.value("redis_clients_discovery_nodes", &[]), Some(6.0));
        counts_agree(&exporter, &cluster.servers);
    }
}

#[test]
fn a_cluster_is_followed_through_failover_return_a_new_shard_and_a_removal() {
    for name in SERVERS {
        let Some(binary) = binary(name) else { continue };
        let mut cluster = Cluster::start(&binary, 3, true, &[]);
        let exporter = following(&cluster.servers[1], &[]);
        exporter
            .scrape_until("all six are up", |scrape| cluster.servers.iter().all(|server| is_up(scrape, server, 1.0)));
        let _clients: Vec<_> = cluster.servers[1..].iter().map(|server| hoard(server, "billing", 3)).collect();
        counts_agree(&exporter, &cluster.servers);

        // Its replica takes over, and the one that was killed is shown as down.
        cluster.servers[0].kill();
        exporter.scrape_until("the primary is down", |scrape| is_up(scrape, &cluster.servers[0], 0.0));
        exporter.scrape_until("the replica takes over", |scrape| has_role(scrape, &cluster.servers[3], "primary"));
        cluster.works();
        cluster.servers[0].restart();
        exporter.scrape_until("it returns as a replica", |scrape| {
            is_up(scrape, &cluster.servers[0], 1.0) && has_role(scrape, &cluster.servers[0], "replica")
        });

        // A new shard, and one node less.
        let added = cluster.add(&binary, &[]);
        exporter.scrape_until("the new node is up", |scrape| is_up(scrape, &cluster.servers[added], 1.0));
        let removed = cluster.forget(5);
        let scrape = exporter.scrape_until("the removed node has no series", |scrape| {
            scrape.series.iter().all(|series| {
                series.labels.get("redis").is_none_or(|redis| !redis.ends_with(&format!(":{}", removed.port)))
            })
        });
        assert_eq!(scrape.value("redis_clients_discovery_removed_nodes_total", &[]), Some(1.0), "{name}");
        assert_eq!(scrape.value("redis_clients_discovery_nodes", &[]), Some(6.0), "{name}");
        counts_agree(&exporter, &cluster.servers);
        let scrape = exporter.scrape();
        for server in cluster.servers[1..5].iter() {
            // The peers of this test close their connections themselves; the clients stay.
            let online = [("client_app", "billing")];
            assert_eq!(of_port(&scrape, "redis_clients_app_connections", server.port, &online), Some(3.0), "{name}");
        }
        assert_eq!(closed_unknown(&scrape, &cluster.servers), 0.0, "{name}: the clients are still there");
    }
}
