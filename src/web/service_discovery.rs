//! `/api/v1/sd`: the nodes as targets of Prometheus, for `http_sd_configs`. It shows what `/metrics` shows in labels,
//! so it has the same access rule.
//!
//! Each node is one target: the same address, another `redis` parameter. One more target has the metrics that are about
//! no single node.

use std::net::Ipv6Addr;

use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use super::WebState;
use super::page_policy::requested_host;
use super::query::{COLLECT_EXPORTER, Query, Takes};
use super::response::{self, Body};
use crate::latest::{NodeState, TargetState};
use crate::server_info::ServerInfo;

/// The address under which Prometheus reaches this exporter, as far as it is known without a request.
#[derive(Debug)]
pub(super) struct ServiceDiscovery {
    /// Host and port, and the scheme, of `--web.external-url`.
    external: Option<(String, String)>,
    /// The path of the metrics, below that of the external URL.
    metrics_path: String,
}

/// The path that Prometheus scrapes by default.
const DEFAULT_PATH: &str = "/metrics";

impl ServiceDiscovery {
    pub(super) fn new(scrape_url: Option<&str>, telemetry_path: &str) -> Self {
        let url = scrape_url.and_then(|url| Url::parse(url).ok());
        let external = url.as_ref().and_then(|url| {
            let (host, port) = (url.host_str()?, url.port_or_known_default()?);
            Some((format!("{host}:{port}"), url.scheme().to_owned()))
        });
        let prefix = url.as_ref().map_or("", Url::path).trim_end_matches('/');
        Self { external, metrics_path: format!("{prefix}{telemetry_path}") }
    }

    /// The target, and the labels that say how it is scraped; `None` if neither the operator nor the request names a
    /// valid host.
    fn target(&self, request: &Parts, is_encrypted: bool) -> Option<(String, Map<String, Value>)> {
        let (target, scheme) = match &self.external {
            Some((target, scheme)) => (target.clone(), Some(scheme.as_str())),
            // A proxy may add TLS, so plain text here is no reason to replace the scheme of the scrape configuration.
            None => (requested_target(request, is_encrypted)?, is_encrypted.then_some("https")),
        };
        let mut labels = Map::new();
        if let Some(scheme) = scheme {
            labels.insert("__scheme__".to_owned(), scheme.into());
        }
        if self.metrics_path != DEFAULT_PATH {
            labels.insert("__metrics_path__".to_owned(), self.metrics_path.as_str().into());
        }
        Some((target, labels))
    }
}

/// The labels of a node: those that the operator gave its target; its name, which Prometheus also sets on `up` and the
/// other series about the scrape; and its place, for relabeling.
fn node_labels(node: &NodeState) -> Vec<(&str, &str)> {
    let place = &*node.origin;
    let info = node.last_snapshot().and_then(|snapshot| snapshot.info());
    let role = info.and_then(ServerInfo::role_label).unwrap_or_default();
    let facts = [
        ("__meta_redis_target", node.target()),
        ("__meta_redis_cluster", &place.cluster),
        ("__meta_redis_shard", &place.shard),
        ("__meta_redis_node_id", &place.node_id),
        ("__meta_redis_availability_zone", &place.availability_zone),
        ("__meta_redis_role", role),
        ("__param_redis", &node.node),
        ("redis", &node.node),
    ];
    let given = place.labels.iter().map(|(name, value)| (&**name, &**value));
    given.chain(facts.into_iter().filter(|(_, value)| !value.is_empty())).collect()
}

/// Answers with one entry for each selected node, and one for the exporter if all are selected.
pub(super) fn answer(app: &WebState, request: &Parts, query: &str) -> Response<Body> {
    let refusal = |status, sentence: &str| response::refusal(&request.headers, status, sentence);
    let nodes = app.latest.read();
    let mut query = match Query::parse(query, Takes::Nodes) {
        Ok(query) => query,
        Err(sentence) => return refusal(StatusCode::BAD_REQUEST, &sentence),
    };
    if let Err(sentence) = query.resolve_nodes(&nodes) {
        return refusal(StatusCode::NOT_FOUND, &sentence);
    }
    // At an error, Prometheus keeps the targets that it knows.
    if !nodes.targets().iter().all(TargetState::is_attempted) {
        let sentence = "the nodes of a target have not been discovered yet; try again";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, sentence);
    }
    let is_encrypted = app.settings.borrow().tls.is_some();
    let Some((target, labels)) = app.service_discovery.target(request, is_encrypted) else {
        let sentence = "the request names no valid host, so the targets have none; set --web.external-url";
        return refusal(StatusCode::BAD_REQUEST, sentence);
    };
    let entry = |more: &[(&str, &str)]| {
        let mut labels = labels.clone();
        labels.extend(more.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        json!({ "targets": [target], "labels": labels })
    };
    let exporter = (!query.selects_nodes()).then(|| entry(&[("__param_collect", COLLECT_EXPORTER)]));
    let entries = exporter.into_iter().chain(query.nodes(&nodes).map(|node| entry(&node_labels(node))));
    response::answer(StatusCode::OK, "application/json", format!("{}\n", Value::from_iter(entries)))
}

/// Host and port of the request, with the default port if it has none. What is not a name or an address of a host is
/// refused: it would become a label in Prometheus, and the address that it connects to.
fn requested_target(request: &Parts, is_encrypted: bool) -> Option<String> {
    let host = requested_host(request)?;
    let name = host.host();
    let is_valid = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            (1..=253).contains(&name.len()) && name.bytes().all(is_of_name)
        }
    };
    let port = match host.as_str()[name.len()..].trim_start_matches(':') {
        "" if is_encrypted => 443,
        "" => 80,
        port => port.parse::<u16>().ok().filter(|port| *port > 0)?,
    };
    is_valid.then(|| format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn request(target: &str, host: Option<&str>) -> Parts {
        let mut request = Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn the_host_of_the_request_is_the_target_only_if_it_is_one() {
        for (host, target) in [
            ("exporter:19121", Some("exporter:19121")),
            ("exporter", Some("exporter:80")),
            ("exporter:", Some("exporter:80")),
            ("10.0.0.5:9", Some("10.0.0.5:9")),
            ("[2001:db8::1]:19121", Some("[2001:db8::1]:19121")),
            ("my_host.example.org", Some("my_host.example.org:80")),
            ("[fe80::1%eth0]:1", None),
            ("exporter:0", None),
            ("exporter:65536", None),
            ("exporter:1:2", None),
            ("user@exporter:19121", None),
            ("exporter:80@evil.example", None),
            ("a$b", None),
            ("a;b:1", None),
            (":19121", None),
            ("", None),
        ] {
            assert_eq!(requested_target(&request("/", Some(host)), false).as_deref(), target, "{host}");
        }
        assert_eq!(requested_target(&request("/", Some(&"a".repeat(254))), false), None);
        assert_eq!(requested_target(&request("/", None), false), None);
        assert_eq!(requested_target(&request("/", Some("exporter")), true).as_deref(), Some("exporter:443"));
        let absolute = request("http://exporter:7/", Some("evil.example"));
        assert_eq!(requested_target(&absolute, false).as_deref(), Some("exporter:7"));
    }

    #[test]
    fn labels_say_only_what_the_defaults_of_prometheus_do_not() {
        let labels = |url: Option<&str>, path: &str, is_encrypted: bool| {
            let request = request("/", Some("exporter:19121"));
            let (target, labels) = ServiceDiscovery::new(url, path).target(&request, is_encrypted).expect("a target");
            format!("{target} {}", Value::Object(labels))
        };
        assert_eq!(labels(None, "/metrics", false), "exporter:19121 {}");
        assert_eq!(labels(None, "/metrics", true), r#"exporter:19121 {"__scheme__":"https"}"#);
        assert_eq!(labels(None, "/m", false), r#"exporter:19121 {"__metrics_path__":"/m"}"#);
        let external = r#"clients.example.org:443 {"__metrics_path__":"/redis/metrics","__scheme__":"https"}"#;
        assert_eq!(labels(Some("https://clients.example.org/redis"), "/metrics", false), external);
        let plain = r#"[2001:db8::1]:80 {"__scheme__":"http"}"#;
        assert_eq!(labels(Some("http://[2001:db8::1]"), "/metrics", true), plain);
    }
}
