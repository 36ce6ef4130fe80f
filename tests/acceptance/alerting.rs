//! The alert rules end to end: real clients, a pair of exporters, a real Prometheus and a real Alertmanager.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::exporter::Exporter;
use crate::support::prometheus::{Alertmanager, Prometheus};
use crate::support::server::{Server, any_binary};
use crate::support::trouble::{churn, hoard, leak, work};
use crate::support::{eventually, pause, rules};

const LEAK: &str = "RedisClientsLeakSuspected";

/// An hour passes in a second. All applications are online for more than a day; then one of them starts to leak.
pub(crate) fn a_leak_fires_one_alert() -> Option<String> {
    let (binary, alertmanager) = (any_binary()?, Alertmanager::start()?);
    let server = Server::start(&binary);
    let (_busy, _pool) = (work(&server, "web", 4, Duration::from_millis(50)), hoard(&server, "billing", 60));
    let _churning = churn(&server, "probe", Duration::from_millis(100));
    let _pool_at_first = hoard(&server, "resizer", 25);
    let args = ["--idle.thresholds=1s", "--web.external-url=https://clients.example.org"];
    let pair = [(); 2].map(|()| Exporter::start(&[&server.address()], &args, &[]));
    let targets = [&*pair[0].address, &pair[1].address];
    let prometheus = Prometheus::alerting(&targets, &rules::sped_up(), &alertmanager.address)?;

    let known = r#"app:redis_clients_connections:max1h{client_app="resizer"} offset 31s"#;
    eventually("more than a day has passed", || prometheus.value(known));
    assert_eq!(firing(&prometheus, LEAK), Vec::<String>::new(), "no application leaks yet");

    let began = Instant::now();
    let _leaking = leak(&server, "resizer", Duration::from_millis(40));
    let received = eventually("Alertmanager has the alert", || {
        Some(alertmanager.alerts(LEAK)).filter(|alerts| !alerts.is_empty())
    });
    let delay = began.elapsed();
    // If an alert fires for another application as well, it does so within this time.
    pause(Duration::from_secs(2));
    assert_eq!(firing(&prometheus, LEAK), ["resizer"]);
    let alerts = alertmanager.alerts(LEAK);
    assert_eq!((received.len(), alerts.len()), (1, 1), "{alerts:?}");
    let labels: Vec<_> = ["client_app", "redis", "severity"].map(|label| text(&alerts[0]["labels"][label])).into();
    assert_eq!(labels, ["resizer", &server.address(), "warning"]);
    let page = text(&alerts[0]["annotations"]["page_url"]);
    let address = server.address().replace(':', "%3A");
    assert_eq!(page, format!("https://clients.example.org/clients?redis={address}&app=resizer&min_idle=1h"));

    // No rule evaluation has failed.
    for rule in prometheus.rules() {
        assert_eq!((text(&rule["health"]), text(&rule["lastError"])), ("ok", ""), "{}", rule["name"]);
    }
    assert_eq!(prometheus.rules().len(), rules::rules().len());
    Some(format!("{:.0} s after the leak began, where an hour is a second", delay.as_secs_f64()))
}

/// Returns the applications for which an alert fires.
fn firing(prometheus: &Prometheus, alert: &str) -> Vec<String> {
    let series = prometheus.query(&format!(r#"ALERTS{{alertname="{alert}", alertstate="firing"}}"#));
    series.iter().map(|series| text(&series["metric"]["client_app"]).to_owned()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
