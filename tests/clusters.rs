//! Real clusters, whose nodes are found from one of them and followed while they fail, return, join and leave.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::support::certificates::Certificates;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::exporter::{Exporter, run};
use crate::support::scrape::Scrape;
use crate::support::server::{Server, binary, second_port};
use crate::support::trouble::hoard;

const SERVERS: [&str; 3] = ["redis-7.0", "redis-8.2", "valkey-9.1"];

/// Follows a cluster from one of its servers.
fn following(seed: &Server, args: &[&str]) -> Exporter {
    let target = format!("--redis.addr=redis+cluster://{}", seed.address());
    let args = [&[target.as_str(), "--discovery.interval=1s", "--sample.quick-poll=0.2"], args].concat();
    Exporter::start(&[], &args, &[])
}

/// Clients of nodes that always worked whose connections are said to be closed for no known reason.
fn closed_unknown(scrape: &Scrape, servers: &[Server]) -> f64 {
    let closed = |server: &Server| {
        scrape.of_port("redis_clients_app_closed_total", server.port, &[("client_app", "billing")]).unwrap_or_default()
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
        let scrape = exporter.scrape_until("all six are up", |scrape| {
            cluster.servers.iter().all(|server| scrape.is_up(server.port, 1.0))
        });
        for (place, server) in cluster.servers.iter().enumerate() {
            assert!(scrape.has_role(server.port, if place < 3 { "primary" } else { "replica" }), "{name} {place}");
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
        exporter.scrape_until("all six are up", |scrape| {
            cluster.servers.iter().all(|server| scrape.is_up(server.port, 1.0))
        });
        let _clients: Vec<_> = cluster.servers[1..].iter().map(|server| hoard(server, "billing", 3)).collect();
        counts_agree(&exporter, &cluster.servers);

        // Its replica takes over, and the one that was killed is shown as down.
        cluster.servers[0].kill();
        exporter.scrape_until("the primary is down", |scrape| scrape.is_up(cluster.servers[0].port, 0.0));
        exporter.scrape_until("the replica takes over", |scrape| scrape.has_role(cluster.servers[3].port, "primary"));
        cluster.works();
        cluster.servers[0].restart();
        exporter.scrape_until("it returns as a replica", |scrape| {
            scrape.is_up(cluster.servers[0].port, 1.0) && scrape.has_role(cluster.servers[0].port, "replica")
        });

        // A new shard, and one node less.
        let added = cluster.add(&binary, &[]);
        exporter.scrape_until("the new node is up", |scrape| scrape.is_up(cluster.servers[added].port, 1.0));
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
            assert_eq!(scrape.of_port("redis_clients_app_connections", server.port, &online), Some(3.0), "{name}");
        }
        assert_eq!(closed_unknown(&scrape, &cluster.servers), 0.0, "{name}: the clients are still there");
    }
}

/// Waits until a scrape shows all servers of a cluster as up.
fn all_up(exporter: &Exporter, cluster: &Cluster) -> Scrape {
    exporter
        .scrape_until("all nodes are up", |scrape| cluster.servers.iter().all(|server| scrape.is_up(server.port, 1.0)))
}

#[test]
fn nodes_are_reached_by_announced_host_names_by_mapped_addresses_and_at_the_host_that_was_asked() {
    let Some(binary) = binary("redis-7.0") else { return };
    let cluster = Cluster::start(&binary, 3, false, &[]);
    let set = |name: &str, value: &str| {
        for server in &cluster.servers {
            server.peer().must(&["CONFIG", "SET", name, value]);
        }
    };
    // Each node learns the names of the others from their messages.
    let announced = |text: &str| {
        let name = format!(",{text}");
        let is_known = |server: &Server| server.peer().ask(&["CLUSTER", "NODES"]).matches(&name).count() == 3;
        eventually("the names are known", || cluster.servers.iter().all(is_known).then_some(()));
    };
    set("cluster-preferred-endpoint-type", "unknown-endpoint");
    let exporter = following(&cluster.servers[0], &[]);
    let scrape = all_up(&exporter, &cluster);
    assert_eq!(scrape.sum("redis_clients_discovery_dropped_nodes"), 0.0);
    drop(exporter);

    set("cluster-announce-hostname", "localhost");
    set("cluster-preferred-endpoint-type", "hostname");
    announced("localhost");
    let exporter = following(&cluster.servers[1], &[]);
    all_up(&exporter, &cluster);
    drop(exporter);

    // A name that only the servers can resolve.
    set("cluster-announce-hostname", "inside.invalid");
    announced("inside.invalid");
    let exporter = following(&cluster.servers[2], &["--redis.timeout=1s"]);
    exporter.scrape_until("none of them is reached", |scrape| {
        cluster.servers.iter().all(|server| scrape.is_up(server.port, 0.0))
    });
    drop(exporter);
    let exporter = following(&cluster.servers[2], &["--discovery.address-map=inside.invalid=127.0.0.1"]);
    all_up(&exporter, &cluster);
}

#[test]
fn an_ipv6_cluster_is_found_by_its_addresses() {
    let Some(binary) = binary("valkey-9.1") else { return };
    let cluster = Cluster::start(&binary, 3, false, &["--cluster-announce-ip ::1"]);
    let port = cluster.servers[0].port;
    let target = format!("--redis.addr=redis+cluster://[::1]:{port}");
    let exporter = Exporter::start(&[], &[&target, "--discovery.interval=1s"], &[]);
    all_up(&exporter, &cluster);
    counts_agree(&exporter, &cluster.servers);
}

/// The user has exactly the permissions that `check` prints.
#[test]
fn a_cluster_with_tls_and_a_user_with_few_permissions_is_found_through_its_tls_ports() {
    let Some(binary) = binary("redis-8.0") else { return };
    let certificates = Certificates::new();
    let file = |name: &str| certificates.text(name);
    let options = [
        format!("--tls-cert-file {}", file("server.crt")),
        format!("--tls-key-file {}", file("server.key")),
        format!("--tls-ca-cert-file {}", file("ca.crt")),
        "--tls-auth-clients no".to_owned(),
        "--tls-port SECOND".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let cluster = Cluster::start(&binary, 3, true, &options);
    let ports: Vec<u16> = cluster.servers.iter().map(|server| second_port(server.port)).collect();
    let seed = format!("redis+cluster://{}", cluster.servers[0].address());
    let check = run(&["check", &format!("--redis.addr={seed}")]);
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    let line =
        report.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER ")).expect("an ACL line").to_owned();
    let rules: Vec<String> = line.replace(">PASSWORD", ">secret").split(' ').map(str::to_owned).collect();
    for server in &cluster.servers {
        let args = [&["ACL".to_owned(), "SETUSER".to_owned()][..], &rules].concat();
        server.peer().must(&args);
    }
    let exporter = Exporter::start(
        &[],
        &[
            &format!("--redis.addr=rediss+cluster://redis-client-exporter:secret@127.0.0.1:{}", ports[5]),
            &format!("--redis.tls-ca-file={}", file("ca.crt")),
            "--discovery.interval=1s",
            "--announce=auto",
        ],
        &[],
    );
    let scrape = exporter.scrape_until("all six are up", |scrape| {
        ports.iter().all(|port| scrape.of_port("redis_clients_up", *port, &[]) == Some(1.0))
    });
    assert_eq!(scrape.sum("redis_clients_discovery_errors_total"), 0.0);
    assert_eq!(scrape.sum("redis_clients_sample_errors_total"), 0.0, "{:?}", exporter.log());
}

#[test]
fn a_server_that_is_no_cluster_is_an_error_with_the_fix_and_dead_seeds_are_retried() {
    let Some(binary) = binary("redis-7.0") else { return };
    let server = Server::start(&binary);
    let exporter = following(&server, &[]);
    let scrape = exporter.scrape_until("it fails", |scrape| scrape.sum("redis_clients_discovery_errors_total") >= 2.0);
    assert_eq!(scrape.sum("redis_clients_discovery_nodes"), 0.0);
    let logged = exporter.log().into_iter().filter(|line| line.contains("write redis:// instead of redis+cluster://"));
    assert_eq!(logged.count(), 1, "{:?}", exporter.log());
    let check = run(&["check", &format!("--redis.addr=redis+cluster://{}", server.address())]);
    assert_eq!(check.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&check.stdout).contains("write redis:// instead"));

    // The seed starts after the exporter.
    let mut cluster = Cluster::start(&binary, 3, false, &[]);
    cluster.servers[0].kill();
    let exporter = following(&cluster.servers[0], &[]);
    exporter.scrape_until("discovery fails", |scrape| scrape.sum("redis_clients_discovery_errors_total") >= 1.0);
    cluster.servers[0].restart();
    all_up(&exporter, &cluster);
}
