//! Pages, API and events of many servers: selected by cluster, added up, and while servers come and go.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_client_exporter::web::PagePolicy;
use serde_json::Value;

use crate::pages::json;
use crate::service_discovery::Watched;
use crate::support::browser::run_script;
use crate::support::cluster::Cluster;
use crate::support::exporter::Exporter;
use crate::support::fleet::node;
use crate::support::http::get;
use crate::support::pause;
use crate::support::peer::Peer;
use crate::support::server::{Server, any_binary, binary};
use crate::support::trouble::hoard;

/// Connects this number of clients of the application `billing`.
fn billing(server: &Server, count: usize) -> Vec<Peer> {
    let join = |place| {
        let mut client = server.peer();
        client.must(&["CLIENT", "SETNAME", &format!("billing-{place}")]);
        client
    };
    (0..count).map(join).collect()
}

fn texts(items: &Value, key: &str) -> BTreeSet<String> {
    let items = items.as_array().expect("an array").iter();
    items.filter_map(|item| item[key].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_cluster_is_selected_everywhere_and_its_sums_are_those_of_the_metrics() {
    let Some(binary) = binary("valkey-9.1").or_else(any_binary) else { return };
    let cluster = Cluster::start(&binary, 3, false, &[]);
    let single = Server::start(&binary);
    let _clients: Vec<_> = cluster.servers.iter().zip(1..).flat_map(|(server, count)| billing(server, count)).collect();
    let _others = billing(&single, 4);
    let name = cluster.servers[1].address();
    let target = format!("--redis.addr=redis+cluster://{name}");
    let exporter = Exporter::start(&[], &[&target, &format!("--redis.addr={}", single.address())], &[]);
    let scrape = exporter.scrape_until("all clients", |scrape| {
        let billing = scrape.all("redis_clients_app_connections", &[("client_app", "billing")]);
        billing.map(|series| series.value).sum::<f64>() == 10.0
    });
    let sum = scrape.value("redis_clients_fleet_app_connections", &[("target", &name), ("client_app", "billing")]);
    assert_eq!(sum, Some(6.0));
    let api = |path: &str| json(&get(&exporter.address, &format!("/api/v1/{path}")));

    let status = api(&format!("status?cluster={name}"));
    let ids: BTreeSet<String> = (0..3).map(|place| cluster.id(place)).collect();
    assert_eq!((texts(&status["nodes"], "node_id"), texts(&status["nodes"], "shard").len()), (ids, 3), "{status}");
    assert_eq!(texts(&status["nodes"], "target"), BTreeSet::from([name.clone()]));
    assert_eq!((&status["targets"][0]["nodes"], &status["targets"][0]["failure"]), (&3.into(), &Value::Null));
    let all = api("status");
    let alone = all["nodes"].as_array().expect("nodes").iter().find(|node| node["cluster"].is_null());
    assert_eq!(alone.map(|node| &node["target"]), Some(&single.address().into()), "{all}");

    let billing = |path: &str| {
        let apps = api(path)["fleet"]["apps"].as_array().cloned().unwrap_or_default();
        let app = apps.iter().find(|app| app["app"] == "billing").cloned().unwrap_or_default();
        (app["connections"].as_u64(), app["servers"].as_u64())
    };
    assert_eq!(billing(&format!("apps?cluster={name}")), (Some(6), Some(3)), "as in the metrics");
    assert_eq!((billing("apps"), billing("apps?q=unused")), ((Some(10), Some(4)), (None, None)));
    assert_eq!(api(&format!("clients?app=billing&cluster={name}"))["matched"], 6);
    assert_eq!(api("clients?app=billing")["matched"], 10);
    for (path, count) in [("groups", 3), ("history", 3)] {
        assert_eq!(api(&format!("{path}?cluster={name}"))["nodes"].as_array().map(Vec::len), Some(count), "{path}");
    }
    let lines = |path: &str| get(&exporter.address, path).text().lines().count();
    assert_eq!(lines(&format!("/api/v1/clients.ndjson?app=billing&cluster={name}")), 6);
    assert_eq!(lines(&format!("/api/v1/clients.csv?app=billing&cluster={name}")), 7);
    assert_eq!(api(&format!("sd?cluster={name}")).as_array().map(Vec::len), Some(3));

    let single_name = alone.and_then(|node| node["redis"].as_str()).expect("a name");
    for path in ["/", "/clients", "/apps", "/closed"] {
        let page = get(&exporter.address, &format!("{path}?cluster={name}"));
        assert!(page.status == 200 && page.text().contains("<select name=\"cluster\">"), "{path}");
        assert!(!page.text().contains(single_name), "{path} is about the cluster: {}", page.text());
        assert!(page.text().contains(&format!("href=\"/apps?cluster={}\"", name.replace(':', "%3A"))), "{path}");
    }
    for path in [
        "/",
        "/clients",
        "/clients/1",
        "/apps",
        "/closed",
        "/api/v1/status",
        "/api/v1/clients",
        "/api/v1/clients.csv",
        "/api/v1/closed.ndjson",
        "/api/v1/events",
        "/api/v1/apps",
        "/api/v1/sd",
    ] {
        let answer = get(&exporter.address, &format!("{path}?cluster=%3Cnonsense%3E"));
        assert!(answer.status == 404 && answer.text().contains(&name), "{path}: {}", answer.text());
        assert!(!answer.text().contains("<nonsense>"), "{path}");
    }
    let other = get(&exporter.address, &format!("/clients?cluster={name}&redis={}", single.address()));
    assert_eq!(other.status, 404, "it does not belong to the cluster");
}

#[test]
fn a_target_whose_nodes_are_not_watched_is_on_the_overview_and_in_the_status() {
    let Some(binary) = any_binary() else { return };
    let cluster = Cluster::start(&binary, 3, false, &[]);
    let target = format!("--redis.addr=redis+cluster://{}", cluster.servers[0].address());
    let exporter = Exporter::start(&[], &[&target, "--discovery.max-nodes=2"], &[]);
    exporter.scrape_until("two are watched", |scrape| scrape.sum("redis_clients_up") == 2.0);
    let overview = get(&exporter.address, "/");
    assert!(overview.text().contains("<h2>Discovery</h2>") && overview.text().contains("1 (max nodes)"));
    let status = json(&get(&exporter.address, "/api/v1/status"));
    assert_eq!(status["targets"][0]["dropped"]["max_nodes"], 1, "{status}");
    // There is no server at this address.
    let exporter = Exporter::start(&[], &["--redis.addr=redis+cluster://127.0.0.1:1"], &[]);
    exporter.scrape_until("an attempt", |scrape| scrape.sum("redis_clients_discovery_errors_total") > 0.0);
    let overview = get(&exporter.address, "/");
    assert!(overview.text().contains("No server is watched yet.") && overview.text().contains("connect: "));
    let status = json(&get(&exporter.address, "/api/v1/status"));
    assert_eq!(status["targets"][0]["failure"]["reason"], "connect", "{status}");
}

/// The script writes the names of the servers that are watched into a file.
#[test]
fn open_pages_follow_servers_that_come_and_go() {
    let Some(binary) = any_binary() else { return };
    let names = ["one", "two", "three", "four", "five", "six"];
    let servers = names.map(|name| (name, Server::start(&binary)));
    let _clients: Vec<_> = servers.iter().map(|(_, server)| hoard(server, "web", 3)).collect();
    let served = Watched::start_with(Vec::new(), PagePolicy::Auto);
    let watched = tempfile::NamedTempFile::new().expect("a file");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(watched.path()).expect("a file");
                let listed = servers.iter().filter(|(name, _)| text.lines().any(|line| line == *name));
                let nodes = listed.map(|(name, server)| node(name, server)).collect();
                served.list.send(nodes).expect("it is read");
                pause(Duration::from_millis(50));
            }
        });
        let file = watched.path().display().to_string();
        let text = std::panic::catch_unwind(|| {
            run_script("fleet", &served.address, &servers[0].1.address(), &[("WATCHED_SERVERS", &file)])
        });
        is_done.store(true, Ordering::Relaxed);
        text.map_err(std::panic::resume_unwind).ok();
    });
}
