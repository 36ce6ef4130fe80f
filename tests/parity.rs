//! Every output counts the same: metrics, API, pages, command line and status messages, with blocked, subscribed,
//! internal, idle and silent clients among those that are counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::pages::json;
use crate::support::exporter::{Exporter, run};
use crate::support::http::get;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, binary};
use crate::support::subscriber::Subscriber;
use crate::support::test_clients::TestClients;
use crate::support::{eventually, pause};

/// The idle time from which on a client is idle, so short that clients of a test get there.
const IDLE_AFTER: &str = "--idle-after=2s";

/// The measures of one group: connections, active, blocked, subscribed, idle, silent.
type Counts = [u64; 6];

const MEASURES: [&str; 6] = ["connections", "active", "blocked", "subscribed", "idle", "silent"];

fn counts(object: &Value) -> Counts {
    MEASURES.map(|name| object[name].as_u64().unwrap_or_else(|| panic!("{name} in {object}")))
}

/// The name of a group, as a metric's label has it.
fn name(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn by_group(items: &[Value]) -> BTreeMap<String, Counts> {
    items.iter().map(|item| (name(&item["group"]), counts(item))).collect()
}

fn connections(groups: &BTreeMap<String, Counts>) -> BTreeMap<String, u64> {
    groups.iter().map(|(name, counts)| (name.clone(), counts[0])).collect()
}

/// A client that is active for as long as it lives, however long a test takes.
struct ActiveClient {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ActiveClient {
    fn start(mut peer: Peer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                peer.must(&["PING"]);
                pause(Duration::from_millis(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for ActiveClient {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A server with clients of every kind and state, and an exporter that samples it once.
struct Scene {
    // Dropped in this order: a client that lost its server would fail.
    _active: ActiveClient,
    _clients: TestClients,
    _server: Server,
    exporter: Exporter,
    subscriber: Subscriber,
    address: String,
}

impl Scene {
    /// One scene on a server that reports neither libraries nor counters of clients, and one on a server that does.
    fn all() -> impl Iterator<Item = Self> {
        ["redis-7.0", "valkey-9.1"].into_iter().filter_map(binary).map(|binary| Self::set(&binary))
    }

    fn set(binary: &Binary) -> Self {
        let server = Server::start(binary);
        let clients = TestClients::join(&server);
        let subscriber = Subscriber::on(&server.address());
        pause(Duration::from_secs(3));
        let active = ActiveClient::start(server.peer());
        let address = server.address();
        // One sample, from which all outputs are made: no quick poll adds to it.
        let args = [IDLE_AFTER, "--client-announce-frequency=1h", "--sample.quick-poll=0", "--announce=always"];
        let exporter = Exporter::start(&[&address], &args, &[]);
        exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
        Self { _server: server, _clients: clients, _active: active, exporter, subscriber, address }
    }

    fn api(&self, path: &str) -> Value {
        json(&get(&self.exporter.address, &format!("/api/v1/{path}")))
    }

    fn items(&self, path: &str) -> Vec<Value> {
        self.api(path)["items"].as_array().expect("a list").clone()
    }

    fn groups(&self, by: &str) -> BTreeMap<String, Counts> {
        by_group(&self.items(&format!("clients?group={by}")))
    }

    /// The groups of the command line, which takes a sample of its own.
    fn groups_of_command(&self, by: &str) -> BTreeMap<String, Counts> {
        let args = ["clients", "--redis.addr", &self.address, IDLE_AFTER, "--by", by, "--format=json"];
        let output = run(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        by_group(&serde_json::from_slice::<Vec<Value>>(&output.stdout).expect("JSON"))
    }

    /// The groups of a page: the texts of the first cells of each row.
    fn rows_of_page(&self, path: &str, first_number: usize) -> BTreeMap<String, Vec<String>> {
        let page = get(&self.exporter.address, path);
        let rows = page.text().split("<tbody>").skip(1).flat_map(|body| body.split("</tbody>").next());
        let rows = rows.flat_map(|body| body.split("<tr>").skip(1));
        rows.map(|row| {
            let cells: Vec<String> = row.split("<td").skip(1).map(text_of).collect();
            (cells[0].clone(), cells[first_number..first_number + MEASURES.len()].to_vec())
        })
        .collect()
    }
}

/// The text of a cell, without tags.
fn text_of(cell: &str) -> String {
    let cell = cell.split_once('>').map_or("", |(_, rest)| rest).split("</td>").next().unwrap_or_default();
    let mut text = String::new();
    let mut in_tag = false;
    for character in cell.chars() {
        match character {
            '<' => in_tag = true,
            '>' => in_tag = false,
            character if !in_tag => text.push(character),
            _ => {}
        }
    }
    text.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"").replace("&#38;", "&")
}

/// The same groups, counted from the list of clients by the test's own means.
fn recounted(clients: &[Value], by: &str) -> BTreeMap<String, Counts> {
    let mut groups: BTreeMap<String, Counts> = BTreeMap::new();
    for client in clients.iter().filter(|client| client["kind"] == "application" || by == "kind") {
        let group = groups.entry(name(&client[by])).or_default();
        group[0] += 1;
        if let Some(place) = MEASURES.iter().position(|measure| client["state"] == *measure) {
            group[place] += 1;
        }
        group[5] += u64::from(client["kind"] == "application" && client["command"].is_null());
    }
    groups
}

#[test]
fn every_output_counts_the_same_groups() {
    Scene::all().for_each(|scene| compare_groups(&scene));
}

fn compare_groups(scene: &Scene) {
    let clients = scene.items("clients?limit=1000");
    for by in ["app", "user", "library", "database", "command", "network", "kind", "state", "name"] {
        let groups = scene.groups(by);
        // An empty name is none.
        let mut own = recounted(&clients, by);
        if let Some(empty) = own.remove("") {
            let none = own.entry("(none)".to_owned()).or_default();
            (0..empty.len()).for_each(|place| none[place] += empty[place]);
        }
        assert_eq!(groups, own, "by {by}");
        let page = scene.rows_of_page(&format!("/clients?group={by}"), 1);
        let page: BTreeMap<String, Vec<String>> = page;
        let texts = |counts: &Counts| counts.map(|count| count.to_string()).to_vec();
        assert_eq!(page, groups.iter().map(|(name, counts)| (name.clone(), texts(counts))).collect(), "page by {by}");
        if by != "kind" {
            // The command's own connection is internal, so only there it makes a difference.
            // It takes a sample of its own. On a busy machine, the active client may have been idle then.
            eventually(&format!("the command line counts the same by {by}"), || {
                let printed = scene.groups_of_command(by);
                if printed != groups {
                    println!("by {by}: {printed:?} instead of {groups:?}");
                }
                (printed == groups).then_some(())
            });
        }
    }
}

#[test]
fn every_output_has_the_same_applications() {
    Scene::all().for_each(|scene| compare_applications(&scene));
}

fn compare_applications(scene: &Scene) {
    let scrape = scene.exporter.scrape();
    let groups = scene.items("clients?group=app");
    let apps = scene.api("apps")["nodes"][0]["apps"].as_array().expect("a list").clone();
    assert_eq!(apps.len(), groups.len());
    for group in &groups {
        let app = name(&group["group"]);
        let listed = apps.iter().find(|listed| listed["app"] == *app).unwrap_or_else(|| panic!("no {app} in apps"));
        for (measure, value) in group.as_object().expect("an object").iter().filter(|(name, _)| *name != "group") {
            assert_eq!(&listed[measure], value, "{measure} of {app}");
        }
        for (metric, measure) in [
            ("connections", "connections"),
            ("blocked_connections", "blocked"),
            ("oldest_interaction_age_seconds", "oldest_interaction_seconds"),
            ("newest_interaction_age_seconds", "newest_interaction_seconds"),
            ("oldest_waiting_age_seconds", "oldest_waiting_seconds"),
            ("memory_bytes", "memory_bytes"),
            ("output_buffer_bytes", "output_buffer_bytes"),
            ("largest_output_buffer_bytes", "largest_output_buffer_bytes"),
        ] {
            let value = scrape.value(&format!("redis_clients_app_{metric}"), &[("client_app", &app)]);
            assert_eq!(value, group[measure].as_f64(), "{metric} of {app}");
        }
    }
    let page = scene.rows_of_page("/apps", 3);
    let expected = by_group(&groups).into_iter();
    let expected = expected.map(|(name, counts)| (name, counts.map(|count| count.to_string()).to_vec())).collect();
    assert_eq!(page, expected);
    // A worker that waits in BLPOP has no interaction age, and one that was idle has.
    let worker = groups.iter().find(|group| group["group"] == "worker").expect("the worker");
    assert!(worker["oldest_interaction_seconds"].is_null() && worker["oldest_waiting_seconds"].as_u64() >= Some(2));
    let web = groups.iter().find(|group| group["group"] == "web").expect("the web application");
    assert!(web["idle"] == 2 && web["oldest_interaction_seconds"].as_u64() >= Some(2), "{web}");
}

#[test]
fn metrics_api_and_messages_have_the_same_totals() {
    Scene::all().for_each(|scene| compare_totals(&scene));
}

fn compare_totals(scene: &Scene) {
    let scrape: Scrape = scene.exporter.scrape();
    let family = |metric: &str, label: &str| -> BTreeMap<String, u64> { scrape.by(metric, label) };
    for (metric, label, by) in [
        ("redis_clients_connections", "kind", "kind"),
        ("redis_clients_state_connections", "state", "state"),
        ("redis_clients_app_connections", "client_app", "app"),
        ("redis_clients_user_connections", "user", "user"),
        ("redis_clients_library_connections", "library", "library"),
        ("redis_clients_database_connections", "database", "database"),
        ("redis_clients_command_connections", "command", "command"),
        ("redis_clients_network_connections", "network", "network"),
    ] {
        let mut series = family(metric, label);
        // Kinds and states without a connection are exported as 0.
        series.retain(|_, count| *count > 0);
        let groups = connections(&scene.groups(by));
        if !series.is_empty() {
            assert_eq!(series, groups, "{metric}");
        }
    }
    let status = scene.api("status")["nodes"][0].clone();
    for (metric, member) in [("redis_clients_online", "online"), ("redis_clients_silent", "silent")] {
        assert_eq!(scrape.value(metric, &[]), status[member].as_f64(), "{metric}");
    }
    let states: BTreeMap<String, u64> = serde_json::from_value(status["states"].clone()).expect("numbers");
    let exported = |state: &str| scrape.value("redis_clients_state_connections", &[("state", state)]);
    for (state, count) in &states {
        assert_eq!(exported(state), Some(*count as f64), "{state}");
    }
    // The histogram covers the clients of the oldest and the newest age, and no others.
    let waiting = states["blocked"] + states["subscribed"];
    let online = status["online"].as_u64().expect("a number");
    let in_histogram = scrape.value("redis_clients_last_interaction_age_seconds_count", &[]).expect("a histogram");
    assert_eq!(in_histogram as u64, online - waiting - status["silent"].as_u64().expect("a number"));
    let message =
        eventually("the status", || scene.subscriber.received().into_iter().find(|message| message.is_status()));
    for member in ["connections", "online", "silent"] {
        assert_eq!(message.json[member], status[member], "{member} of the message");
    }
    let apps = message.json["apps"].as_array().expect("a list").iter();
    let apps: BTreeMap<String, u64> =
        apps.map(|app| (name(&app["app"]), app["connections"].as_u64().expect("a number"))).collect();
    assert_eq!(apps, connections(&scene.groups("app")));
    // Each client of the message is the client of the API.
    let clients = scene.items("clients?limit=1000");
    assert_eq!(message.clients().len(), clients.len());
    for listed in message.clients() {
        let client = clients.iter().find(|client| client["id"] == listed["id"]).expect("a client of the same id");
        let app = listed.get("app").unwrap_or(&Value::Null);
        assert_eq!(
            (app, listed.get("last_interaction").is_some()),
            (&client["app"], client["app"].is_string() && !client["last_interaction"].is_null())
        );
    }
}
