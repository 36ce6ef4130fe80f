//! Metrics, dashboards and rules, checked with a real Prometheus and promtool.

use std::time::Duration;

use redis_client_exporter::link::{Node, NodeAddress, TlsOptions, parse_address};
use redis_client_exporter::machine::Machine;
use serde_json::{Value, json};

use crate::dashboards::{annotations, expressions};
use crate::runbooks;
use crate::support::cluster::cluster_node;
use crate::support::exporter::Exporter;
use crate::support::http::get;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, binary};
use crate::support::test_clients::TestClients;
use crate::support::trouble::{churn, hoard, leak, never_reads, work};
use crate::support::{eventually, project, rules};

/// Runs promtool and asserts that it finds no fault.
fn assert_clean(args: &[&str], input: &str) {
    let Some(output) = promtool(args, input) else { return };
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {args:?}: {text}");
}

#[test]
fn promtool_finds_no_fault_in_the_metrics() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let exporter = Exporter::watching(&[&server.address(), "127.0.0.1:1"]);
    exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    assert_clean(&["check", "metrics"], get(&exporter.address, "/metrics").text());
}

#[test]
fn promtool_finds_no_fault_in_the_rules() {
    let file = |name: &str| project(&format!("deploy/prometheus/{name}")).display().to_string();
    assert_clean(&["check", "rules", &file("rules.yml")], "");
    assert_clean(&["check", "config", &file("scrape.yml")], "");
    assert_clean(&["check", "config", &file("scrape-nodes.yml")], "");
}

#[test]
fn alerts_fire_and_stay_quiet_as_their_tests_expect() {
    let files: Vec<String> = rules::test_files().iter().map(|file| file.display().to_string()).collect();
    let args: Vec<&str> = ["test", "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
    assert_clean(&args, "");
}

/// The exporters of two hosts, each with the shipped defaults, were one node to Prometheus: one server had 198 of 200
/// connections, the other one was down, and no alert fired.
#[test]
fn two_hosts_with_the_shipped_defaults_are_two_nodes_in_alerts() {
    let name = |host: &str| {
        let endpoint = parse_address("redis://127.0.0.1:6379").expect("the default address").endpoint;
        let timeout = Duration::from_secs(5);
        let address = NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout };
        Node::on_machine(address, &Machine { name: host.to_owned(), is_container: false }).name
    };
    let series = |metric: &str, host: &str, more: &str, value: u32| {
        json!({
            "series": format!(
                "{metric}{{job=\"redis-clients\", instance=\"{host}:19121\", redis=\"{}\"{more}}}", name(host)
            ),
            "values": format!("{value}+0x20"),
        })
    };
    let fires = |alert: &str, host: &str| {
        let labels = format!(
            "ALERTS{{alertname=\"{alert}\", alertstate=\"firing\", job=\"redis-clients\", redis=\"{}\", \
             severity=\"critical\"}}",
            name(host)
        );
        json!({
            "expr": format!("ALERTS{{alertname=\"{alert}\", severity=\"critical\"}}"),
            "eval_time": "8m",
            "exp_samples": [{ "labels": labels, "value": 1 }],
        })
    };
    let test = json!({
        "rule_files": [project("deploy/prometheus/rules.yml")],
        "evaluation_interval": "30s",
        "group_eval_order": ["redis-clients", "redis-clients-nodes", "redis-clients-applications"],
        "tests": [{
            "interval": "30s",
            "input_series": [
                series("redis_clients_connections", "db-1", ", kind=\"application\"", 198),
                series("redis_clients_maxclients", "db-1", "", 200),
                series("redis_clients_up", "db-1", "", 1),
                series("redis_clients_up", "db-2", "", 0),
            ],
            "promql_expr_test": [fires("RedisClientsNearMaxclients", "db-1"), fires("RedisClientsNodeDown", "db-2")],
        }],
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("two_hosts_test.yml");
    std::fs::write(&file, test.to_string()).expect("a file");
    assert_clean(&["test", "rules", &file.display().to_string()], "");
}

/// Two exporters watch one server, as in production: what both export must be counted once. The server reports every
/// field and has clients of every kind, so no panel may be empty.
#[test]
fn every_panel_has_data_from_a_real_prometheus() {
    let Some(binary) = binary("valkey-9.1") else { return };
    let server = Server::start_with(&binary, &["--maxclients", "200"]);
    let _clients = TestClients::join(&server);
    let _hoarders = hoard(&server, "billing", 110);
    let _slow = never_reads(&server, "slow-feed");
    let _busy = work(&server, "web", 4, Duration::from_millis(200));
    let _leaking = leak(&server, "resizer", Duration::from_secs(1));
    let _churning = churn(&server, "probe", Duration::from_millis(200));
    let closing = hoard(&server, "report", 3);
    let args = ["--client-announce-frequency=1s", "--presence.expect=missing=2,worker,missing@*,worker@*"];
    let node = cluster_node(&binary, &["--cluster-enabled yes"]);
    let cluster = format!("--redis.addr=redis+cluster://{}", node.address());
    let name = format!("--redis.name={},a cluster", server.address());
    let args = [&args[..], &[&cluster, &name]].concat();
    let pair = [(); 2].map(|()| Exporter::start(&[&server.address()], &args, &[]));
    let report = |online: f64| {
        move |scrape: &Scrape| scrape.value("redis_clients_app_online", &[("client_app", "report")]) == Some(online)
    };
    pair.iter().for_each(|exporter| drop(exporter.scrape_until("it is online", report(1.0))));
    drop(closing);
    pair.iter().for_each(|exporter| drop(exporter.scrape_until("it is offline", report(0.0))));
    let Some(prometheus) = Prometheus::scraping(&[&pair[0].address, &pair[1].address]) else { return };
    eventually("both exporters are scraped", || {
        (prometheus.value("count(redis_clients_online)") == Some(4.0)).then_some(())
    });

    let all = expressions();
    assert!(all.len() > 80, "{}", all.len());
    for (panel, expression) in all {
        let series = eventually(&format!("{panel}: {expression}"), || {
            Some(prometheus.query(&expression)).filter(|series| !series.is_empty())
        });
        let finite = |series: &Value| {
            series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite)
        };
        assert!(series.iter().all(finite), "{panel}: {expression}: {series:?}");
    }
    // The effects of the misbehaving clients are visible, and counted once.
    for (expression, min, max) in [
        (r#"sum(max without (instance, pod) (redis_clients_app_connections{client_app="billing"}))"#, 110.0, 110.0),
        (
            r#"sum(max without (instance, pod) (rate(redis_clients_app_opened_total{client_app="resizer"}[10s])))"#,
            0.3,
            2.0,
        ),
        (r#"sum(max without (instance, pod) (rate(redis_clients_connections_received_total[10s])))"#, 2.0, 9.0),
        (r#"max(redis_clients_app_largest_output_buffer_bytes{client_app="slow-feed"})"#, 1e6, 2e7),
        (r#"max(redis_clients_app_blocked_connections{client_app="worker"})"#, 1.0, 1.0),
    ] {
        eventually(expression, || prometheus.value(expression).filter(|value| (min..=max).contains(value)));
    }
    // Prometheus accepts the expressions of annotations, rules and runbooks. Their results depend on what happens.
    let rules = rules::rules().into_iter().map(|rule| ("a rule".to_owned(), rule.expr));
    for (_, expression) in annotations().into_iter().chain(runbooks::expressions()).chain(rules) {
        prometheus.query(&expression);
    }
}

#[test]
fn annotations_show_a_restart_when_there_is_one() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    let _clients = hoard(&server, "billing", 3);
    let exporter = Exporter::watching(&[&server.address()]);
    let Some(prometheus) = Prometheus::scraping(&[&exporter.address]) else { return };
    let annotation = |name: &str| {
        let found = annotations().into_iter().find(|(other, _)| other == name);
        found.map(|(_, expression)| expression).expect("an annotation with this name")
    };
    let (of_redis, of_exporter) = (annotation("Redis restarts"), annotation("Exporter restarts"));
    // The annotation is at the time when the exporter started, in milliseconds.
    let started = eventually("the exporter's start", || prometheus.value(&of_exporter));
    let now = prometheus.value("vector(time() * 1000)").expect("a time");
    assert!((0.0..3_600_000.0).contains(&(now - started)), "{started} {now}");
    // increase() needs samples from before the restart.
    let known = r#"count_over_time(redis_clients_closed_total{reason="restart"}[1m]) > 1"#;
    eventually("two samples of the counter", || prometheus.value(known));
    assert_eq!(prometheus.query(&of_redis), Vec::<Value>::new(), "nothing has restarted");
    server.restart();
    eventually("the restart", || prometheus.value(&of_redis));
}
