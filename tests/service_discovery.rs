//! The nodes as targets of Prometheus: `/api/v1/sd`, and scrapes of one node.

use std::net::TcpListener;
use std::sync::Arc;

use redis_client_exporter::announce::Mode;
use redis_client_exporter::exposition::Validity;
use redis_client_exporter::link::Node;
use redis_client_exporter::snapshot::Limits;
use redis_client_exporter::web::{Bound, PagePolicy, Served};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::exporter::Exporter;
use crate::support::fleet::{WatchedNodes, node};
use crate::support::http::{get, request_as};
use crate::support::prometheus::Prometheus;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};
use crate::support::{eventually, project};

/// An exporter of two nodes that do not answer, with these arguments.
fn of_two(args: &[&str]) -> Exporter {
    let args = [&["--redis.name=one,two"], args].concat();
    Exporter::start(&["127.0.0.1:1", "127.0.0.1:2"], &args, &[])
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The names of all series of a scrape, with their labels.
fn names(scrape: &Scrape) -> Vec<String> {
    let mut names: Vec<_> = scrape.series.iter().map(|series| format!("{} {:?}", series.name, series.labels)).collect();
    names.sort();
    names
}

#[test]
fn each_node_is_a_target_with_the_host_of_the_request_and_one_target_is_the_exporter() {
    let exporter = of_two(&[]);
    let sd = |host: &str, query: &str| {
        let path = format!("/api/v1/sd{query}");
        let answer = request_as(&exporter.address, host, "GET", &path, &[]).expect("it answers");
        (answer.status, answer.header("content-type").map(str::to_owned), answer.text().to_owned())
    };
    let of_node = |name: &str, host: &str| {
        let address = if name == "one" { "127.0.0.1:1" } else { "127.0.0.1:2" };
        let labels = json!({ "__meta_redis_target": address, "__param_redis": name, "redis": name });
        json!({ "targets": [host], "labels": labels })
    };
    let of_exporter = json!({ "targets": [exporter.address], "labels": { "__param_collect": "exporter" } });
    let (status, content_type, text) = sd(&exporter.address, "");
    assert_eq!((status, content_type.as_deref()), (200, Some("application/json")));
    let all = json!([of_exporter, of_node("one", &exporter.address), of_node("two", &exporter.address)]);
    assert_eq!(json_of(&text), all);
    assert_eq!(json_of(&sd("exporter:9", "?redis=127.0.0.1:2").2), json!([of_node("two", "exporter:9")]), "by address");
    for (host, query, status) in [
        ("exporter:9", "?redis=three", 404),
        ("exporter:9", "?collect=exporter", 400),
        ("user@exporter:9", "", 400),
        ("evil\"host", "", 400),
    ] {
        let (found, _, text) = sd(host, query);
        assert_eq!(found, status, "{host}{query}: {text}");
        assert!(json_of(&text)["error"].is_string(), "a sentence: {text}");
    }
    assert!(sd("user@exporter:9", "").2.contains("--web.external-url"));
    let external = of_two(&["--web.external-url=https://clients.example.org/redis", "--web.telemetry-path=/m"]);
    let targets = json_of(get(&external.address, "/api/v1/sd").text());
    assert_eq!(
        targets[1],
        json!({ "targets": ["clients.example.org:443"], "labels": {
            "__meta_redis_target": "127.0.0.1:1",
            "__param_redis": "one", "redis": "one", "__scheme__": "https", "__metrics_path__": "/redis/m",
        }})
    );
}

/// At an error, Prometheus keeps the targets that it knows; it would drop those that an answer leaves out.
#[test]
fn before_the_first_discovery_there_is_no_list_of_targets() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = silent.local_addr().expect("an address");
    let exporter = Exporter::start(&[], &[&format!("--redis.addr=redis+cluster://{seed}")], &[]);
    let answer = get(&exporter.address, "/api/v1/sd");
    assert_eq!((answer.status, answer.text().contains("have not been discovered yet")), (503, true));
    drop(silent);
    // The connection is closed, so the discovery fails.
    eventually("the list of the exporter alone", || {
        let answer = get(&exporter.address, "/api/v1/sd");
        (answer.status == 200).then(|| assert_eq!(json_of(answer.text()).as_array().map(Vec::len), Some(1)))
    });
}

#[test]
fn targets_have_the_access_rule_of_the_metrics_and_not_the_one_of_pages() {
    let exporter = of_two(&["--web.pages=off"]);
    for (path, status) in [("/api/v1/sd", 200), ("/metrics?redis=one", 200), ("/metrics", 200), ("/api/v1/status", 403)]
    {
        assert_eq!(get(&exporter.address, path).status, status, "{path}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yml");
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    std::fs::write(&file, json!({ "basic_auth_users": { "ann": hash } }).to_string()).expect("a file");
    let locked = Exporter::start(&["127.0.0.1:1"], &[&format!("--web.config.file={}", file.display())], &[]);
    for path in ["/api/v1/sd", "/metrics?redis=127.0.0.1:1", "/metrics"] {
        assert_eq!(get(&locked.address, path).status, 401, "{path}");
    }
}

#[test]
fn the_scrapes_of_the_nodes_and_of_the_exporter_are_together_the_scrape_of_all() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    // The next sample is an hour away.
    let args = ["--redis.name=one,two", "--client-announce-frequency=1h"];
    let exporter = Exporter::start(&[&server.address(), "127.0.0.1:1"], &args, &[]);
    exporter.scrape_until("both were tried", |scrape| scrape.all("redis_clients_up", &[]).count() == 2);
    let scrape = |query: &str| {
        let answer = get(&exporter.address, &format!("/metrics{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        Scrape::parse(answer.text())
    };
    let (one, two, own) = (scrape("?redis=one"), scrape("?redis=127.0.0.1:1"), scrape("?collect=exporter"));
    assert_eq!(one.value("redis_clients_up", &[]), Some(1.0));
    assert_eq!(two.value("redis_clients_up", &[("redis", "two")]), Some(0.0));
    for (part, name) in [(&one, "one"), (&two, "two")] {
        assert!(part.series.iter().all(|series| series.labels.get("redis").is_some_and(|node| node == name)), "{name}");
    }
    assert!(own.series.iter().all(|series| !series.labels.contains_key("redis")));
    assert!(own.value("process_start_time_seconds", &[]).is_some());
    let mut together = [names(&one), names(&two), names(&own)].concat();
    together.sort();
    assert_eq!(together, names(&scrape("")));

    for (query, status) in [
        ("?redis=three", 404),
        ("?redis=one&redis=two", 400),
        ("?redis=one&collect=exporter", 400),
        ("?collect=go", 400),
        ("?target=redis://10.0.0.5:6379", 400),
    ] {
        let answer = get(&exporter.address, &format!("/metrics{query}"));
        assert_eq!(answer.status, status, "{query}");
        assert!(json_of(answer.text())["error"].is_string(), "a sentence: {}", answer.text());
    }
    assert!(get(&exporter.address, "/metrics?redis=three").text().contains("servers are one, two"));
}

/// A web server over nodes that a list names.
pub(crate) struct Watched {
    _runtime: Runtime,
    pub(crate) list: watch::Sender<Vec<Node>>,
    pub(crate) address: String,
}

impl Watched {
    fn start(nodes: Vec<Node>) -> Self {
        Self::start_with(nodes, PagePolicy::Off)
    }

    pub(crate) fn start_with(nodes: Vec<Node>, pages: PagePolicy) -> Self {
        let WatchedNodes { runtime, latest, list } = WatchedNodes::start(nodes, Mode::Never, Limits::default());
        let any_port = "127.0.0.1:0".parse().expect("an address");
        let bound = runtime.block_on(Bound::bind(&[any_port])).expect("a port");
        let address = bound.addresses()[0].to_string();
        let served = Served {
            latest,
            telemetry_path: "/metrics".to_owned(),
            external_url: format!("http://{address}"),
            scrape_url: None,
            pages,
            insecure_skip_verify: Arc::default(),
            settings: watch::channel(Arc::default()).1,
            validity: Validity::default(),
        };
        runtime.spawn(bound.serve(served, CancellationToken::new()));
        Self { _runtime: runtime, list, address }
    }
}

/// With the job of deploy/prometheus/scrape-nodes.yml, a free port in place of its own, and shorter intervals.
#[test]
fn prometheus_discovers_the_nodes_and_follows_one_that_leaves_and_one_that_joins_without_a_reload() {
    let Some(binary) = any_binary() else { return };
    let servers = [(); 3].map(|()| Server::start(&binary));
    let [first, second, third] = &servers;
    let served = Watched::start(vec![node("one", first), node("two", second)]);
    let text = std::fs::read_to_string(project("deploy/prometheus/scrape-nodes.yml")).expect("a file");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut job = config["scrape_configs"][0].take();
    let example = job["http_sd_configs"][0]["url"].as_str().expect("a URL").to_owned();
    job["http_sd_configs"][0]["url"] = example.replace("localhost:19121", &served.address).into();
    job["http_sd_configs"][0]["refresh_interval"] = "1s".into();
    job["scrape_interval"] = "1s".into();
    let Some(prometheus) = Prometheus::running(&job) else { return };
    let redis = |expression: &str| {
        let series = prometheus.query(expression);
        let label = |series: &Value| series["metric"]["redis"].as_str().unwrap_or("(none)").to_owned();
        let mut names: Vec<String> = series.iter().map(label).collect();
        names.sort();
        names
    };
    let shows = |names: &[&str]| {
        eventually("each node that is watched has its series", || {
            (redis("redis_clients_up == 1") == names && redis("redis_clients_online") == names).then_some(())
        });
        let own = [&["(none)"], names].concat();
        eventually("each is a target with its own up", || {
            (redis("up == 1") == own && redis("up") == own).then_some(())
        });
    };
    shows(&["one", "two"]);
    served.list.send_replace(vec![node("two", second), node("three", third)]);
    shows(&["three", "two"]);
    served.list.send_replace(vec![node("two", second), node("three", third), node("one", first)]);
    shows(&["one", "three", "two"]);
    assert_eq!(prometheus.query("count by (job) (redis_client_exporter_build_info)").len(), 1);
    assert_eq!(prometheus.value("count(redis_client_exporter_build_info)"), Some(1.0), "once, not for each node");
    assert_eq!(redis("{exported_redis!=\"\"}"), Vec::<String>::new());
    let faults = "scrape_samples_post_metric_relabeling == 0";
    assert_eq!(prometheus.query(faults), Vec::<Value>::new());
    // The links of alerts find the page of each node.
    let page = "redis_clients_up * on (job, instance) group_left (external_url) redis_client_exporter_web_info";
    assert_eq!(redis(page), ["one", "three", "two"]);
}
