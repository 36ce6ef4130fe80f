//! A real Prometheus and its own checks: what is served, what the boards ask, what the rules say.

use std::time::Duration;

use crate::dashboards::{MAY_BE_EMPTY, expressions};
use crate::runbooks;
use crate::support::crowd::Crowd;
use crate::support::exporter::Exporter;
use crate::support::http::get;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::server::{Server, any_binary, binary};
use crate::support::{eventually, project};

/// Runs promtool on files of the project, and demands that it finds nothing.
fn clean(words: &[&str], input: &str) {
    let Some(output) = promtool(words, input) else { return };
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {words:?}: {told}");
}

#[test]
fn promtool_finds_nothing_to_mend_in_the_metrics() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = Crowd::join(&server);
    let exporter = Exporter::watching(&[&server.address(), "127.0.0.1:1"]);
    exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    clean(&["check", "metrics"], get(&exporter.address, "/metrics").text());
}

#[test]
fn promtool_finds_nothing_to_mend_in_the_rules() {
    let file = |name: &str| project(&format!("deploy/prometheus/{name}")).display().to_string();
    clean(&["check", "rules", &file("rules.yml")], "");
    clean(&["check", "config", &file("scrape.yml")], "");
    clean(
        &[
            "test",
            "rules",
            &file("rules_test.yml"),
            &file("rules_nodes_test.yml"),
            &file("rules_hours_test.yml"),
            &file("rules_days_test.yml"),
        ],
        "",
    );
}

/// Two exporters of one server, as operators run them: what is served twice must be counted once.
#[test]
fn every_panel_has_data_from_a_real_prometheus() {
    let Some(binary) = binary("valkey-9.1").or_else(any_binary) else { return };
    let server = Server::start_with(&binary, &["--maxclients", "100"]);
    let _crowd = Crowd::join(&server);
    let words = ["--client-announce-frequency=1s", "--presence.expect=nobody=2,worker"];
    let pair = [(); 2].map(|()| Exporter::start(&[&server.address()], &words, &[]));
    let Some(prometheus) = Prometheus::scraping(&[&pair[0].address, &pair[1].address]) else { return };
    let patience = Duration::from_secs(40);
    eventually("both exporters are scraped", patience, || {
        (prometheus.value("count(redis_clients_online)") == Some(2.0)).then_some(())
    });
    let online = prometheus.value("max without (instance, pod) (redis_clients_online)").expect("it was scraped");
    let truth = pair[0].scrape().value("redis_clients_online", &[]);
    assert_eq!(Some(online), truth);

    let may_be_empty = |expression: &str| MAY_BE_EMPTY.iter().any(|(part, _)| expression.contains(part));
    let asked = expressions();
    assert!(asked.len() > 30);
    for (panel, expression) in asked {
        if may_be_empty(&expression) {
            prometheus.query(&expression);
            continue;
        }
        let series = eventually(&format!("{panel}: {expression}"), patience, || {
            Some(prometheus.query(&expression)).filter(|series| !series.is_empty())
        });
        let finite = |series: &serde_json::Value| {
            series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite)
        };
        assert!(series.iter().all(finite), "{panel}: {expression}: {series:?}");
    }
    // Prometheus understands what pages tell one to ask it; what it answers depends on the trouble.
    for (_, expression) in runbooks::expressions() {
        prometheus.query(&expression);
    }
}
