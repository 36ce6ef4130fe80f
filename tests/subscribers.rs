//! The subscribers in other languages in deploy/subscribers, and the documentation of messages: the programs run, and
//! their output matches `CLIENT LIST`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::exporter::{Exporter, run};
use crate::support::http::{Answer, get};
use crate::support::server::{Binary, Server, any_binary, binaries, missing, on_free_port};
use crate::support::subscriber::{CHANNEL, Received, Subscriber};
use crate::support::test_clients::{TestClients, Truth};
use crate::support::{eventually, pause, project};

const FREQUENCY: &str = "--client-announce-frequency=1";

/// Returns a path that the subscribers need. If it is missing, the test is skipped with a message, and fails in CI.
fn needed(path: &str) -> Option<PathBuf> {
    let found = project(&format!(".cache/subscribers/{path}"));
    if !found.exists() {
        missing(&found.display().to_string());
    }
    found.exists().then_some(found)
}

/// A running subscriber, and the lines that it has printed. Killed on drop.
struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    fn start(command: &mut Command, server: &Server) -> Self {
        // In its own process group, so that the children of a script end with it.
        command.process_group(0);
        command.env("REDIS_URL", format!("redis://{}", server.address())).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the subscriber starts");
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line that matches.
    fn line(&self, matches: impl Fn(&str) -> bool) -> String {
        eventually("the subscriber prints the line", || self.lines.try_iter().find(|line| matches(line)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

/// Runs a subscriber beside an exporter, and asserts that it prints the counts of `CLIENT LIST`.
fn assert_prints_counts(binary: &Binary, command: &mut Command, lists_clients: bool) {
    let server = Server::start(binary);
    let _clients = TestClients::join(&server);
    let _exporter = Exporter::start(&[&server.address()], &["--announce=auto", FREQUENCY], &[]);
    let subscriber = Running::start(command, &server);
    let mut control = server.peer();
    control.must(&["CLIENT", "SETNAME", "control"]);
    eventually("it prints the counts of CLIENT LIST", || {
        let truth = Truth::ask(&mut control, 300);
        let connections: u64 = truth.kinds.values().sum();
        let expected =
            format!("connections {connections} online {} on {}", truth.kinds["application"], server.address());
        (subscriber.line(|line| line.starts_with("connections ")) == expected).then_some(())
    });
    // It continues.
    for _ in 0..3 {
        subscriber.line(|line| line.starts_with("connections "));
    }
    if lists_clients {
        let line = subscriber.line(|line| line.contains("control"));
        assert!(line.contains("127.0.0.1:") && line.contains(":") && line.contains("20"), "{line}");
    }
}

#[test]
fn the_article_s_own_subscriber_runs_on_every_server() {
    let Some(python) = needed("venv/bin/python") else { return };
    for binary in binaries() {
        println!("{}", binary.name);
        assert_prints_counts(&binary, Command::new(&python).arg(project("deploy/subscribers/subscriber.py")), true);
    }
}

#[test]
fn a_subscriber_in_javascript_runs() {
    let (Some(modules), Some(binary)) = (needed("node/node_modules"), any_binary()) else { return };
    // Node searches for packages beside the program.
    let folder = TempDir::new().expect("a temporary folder");
    let program = folder.path().join("subscriber.mjs");
    std::fs::copy(project("deploy/subscribers/subscriber.mjs"), &program).expect("it is copied");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
    assert_prints_counts(&binary, Command::new("node").arg(program), true);
}

/// Returns `PATH` with the folder of our program.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_redis-client-exporter"));
    let folder = program.parent().expect("the program is in a folder");
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn a_subscriber_in_shell_runs() {
    let Some(binary) = any_binary() else { return };
    assert_prints_counts(&binary, Command::new(project("deploy/subscribers/subscriber.sh")).env("PATH", path()), false);
}

/// The Flask program, listening. Killed on drop.
struct FlaskProgram {
    child: Child,
    address: String,
}

impl FlaskProgram {
    /// Starts it, and waits until it is subscribed.
    fn start(python: &Path, server: &Server) -> Self {
        let mut command = Command::new(python);
        command.arg(project("deploy/subscribers/flask/app.py")).env_remove("HOST").env_remove("CHANNEL");
        command.env("REDIS_URL", format!("redis://{}", server.address())).stdout(Stdio::null()).stderr(Stdio::null());
        let start = |port: u16| command.env("PORT", port.to_string()).spawn().expect("the program starts");
        let (port, child) = on_free_port("the Flask program", start, |child, port| {
            eventually("the Flask program listens or ends", || {
                let has_ended = child.try_wait().expect("a child can be waited for").is_some();
                let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
                (has_ended || listens).then_some(!has_ended)
            })
        });
        let program = Self { child, address: format!("127.0.0.1:{port}") };
        program.json_until("it is subscribed", |json| json["error"] == "");
        program
    }

    fn page(&self) -> Answer {
        let answer = get(&self.address, "/clients");
        assert_eq!(answer.status, 200);
        answer
    }

    /// Requests its JSON until the condition is true.
    fn json_until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let answer = get(&self.address, "/clients.json");
            assert_eq!(answer.status, 200);
            Some(serde_json::from_slice(&answer.body).expect("it is JSON")).filter(&condition)
        })
    }
}

impl Drop for FlaskProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the client with this name.
fn named<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    json["clients"].as_array()?.iter().find(|client| client["name"] == name)
}

#[test]
fn a_flask_program_shows_the_clients_as_messages_arrive() {
    let (Some(python), Some(binary)) = (needed("venv/bin/python"), any_binary()) else { return };
    let server = Server::start(&binary);
    let flask = FlaskProgram::start(&python, &server);
    assert!(flask.page().text().contains("No exporter announces on __redis__:cli"));
    let exporter = Exporter::start(&[&server.address()], &["--announce=always", FREQUENCY], &[]);
    let mut shop = server.peer();
    shop.must(&["CLIENT", "SETNAME", "shop-1"]);
    let info = shop.ask(&["CLIENT", "INFO"]);
    let field = |name: &str| info.split(' ').find_map(|field| field.strip_prefix(name)).expect("a field of a client");
    let (id, address) = (field("id="), field("addr="));
    let json = flask.json_until("the client is shown", |json| named(json, "shop-1").is_some());
    let client = named(&json, "shop-1").expect("it was found");
    let last_interaction = client["last_interaction"].as_str().unwrap_or_default();
    assert_eq!((client["id"].to_string().as_str(), &client["address"]), (id, &json!(address)));
    assert_eq!((&client["app"], &client["node"]), (&json!("shop"), &json!(server.address())));
    assert!(last_interaction.starts_with("20") && last_interaction.ends_with('Z'), "{client}");
    // Internal connections are not shown.
    assert_eq!(named(&json, "redis-client-exporter"), None);
    let answer = flask.page();
    let page = answer.text();
    for column in ["Client ID", "Address", "Last Interaction", "Application"] {
        assert!(page.contains(&format!("<th>{column}</th>")), "{page}");
    }
    assert!(page.contains(&format!("<td>{id}</td><td>{address}</td><td>20")), "{page}");
    assert!(page.contains("seconds old") && !page.contains("leaves out"), "{page}");
    assert!(answer.header("Content-Security-Policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    let mut new_client = server.peer();
    new_client.must(&["CLIENT", "SETNAME", "shop-2"]);
    flask.json_until("a new client appears", |json| named(json, "shop-2").is_some());
    new_client.leave();
    flask.json_until("a closed client disappears", |json| {
        named(json, "shop-2").is_none() && named(json, "shop-1").is_some()
    });
    drop(exporter);
    flask.json_until("no exporter announces", |json| json["nodes"][0]["announced"] == false);
    assert!(flask.page().text().contains("No exporter announces this node now."));
}

/// The template of the article, filled with the clients of a message, and with those of the Flask program.
const TEMPLATE: &str = r#"
import sys
import jinja2
import app

message = sys.stdin.buffer.read()
monitor = app.RedisMonitor("redis://127.0.0.1:1", "channel")
monitor.receive(message)
template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string("""{% for client in clients %}
<tr><td>{{ client.id }}</td><td>{{ client.address }}</td><td>{{ client.last_interaction }}</td></tr>{% endfor %}""")
online = [client for client in app.json.loads(message)["clients"] if "last_interaction" in client]
print(template.render(clients=online))
print(template.render(clients=monitor.get_client_info()))
"#;

#[test]
fn the_template_of_the_article_fills_with_the_clients_of_a_message() {
    let Some(python) = needed("venv/bin/python") else { return };
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let mut shop = server.peer();
        shop.must(&["CLIENT", "SETNAME", "shop-1"]);
        let info = shop.ask(&["CLIENT", "LIST"]);
        let row = info.lines().find(|row| row.contains("name=shop-1")).expect("it is listed");
        let field =
            |name: &str| row.split(' ').find_map(|field| field.strip_prefix(name)).expect("a field of a client");
        let subscriber = Subscriber::on(&server.address());
        let _exporter = Exporter::start(&[&server.address()], &["--announce=always", FREQUENCY], &[]);
        let status = subscriber.next("a status with the client", |message| {
            message.clients().iter().any(|client| client["name"] == "shop-1")
        });
        let last = status.clients().iter().find(|client| client["name"] == "shop-1").map(|it| &it["last_interaction"]);
        let last = last.and_then(Value::as_str).expect("it has sent a command");
        let mut command = Command::new(&python);
        command.args(["-B", "-c", TEMPLATE]).current_dir(project("deploy/subscribers/flask"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        child.stdin.take().expect("it is piped").write_all(&status.bytes).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let expected = format!("<tr><td>{}</td><td>{}</td><td>{last}</td></tr>", field("id="), field("addr="));
        assert!(output.status.success() && text.matches(&expected).count() == 2, "{expected}: {text}");
    }
}

/// Returns a message of a forged announcer, with these members.
fn forged(members: &Value) -> String {
    let mut message = json!({
        "schema": "redis-client-status/2", "announcer": "forger/1", "redis": "forged:6379", "run_id": "1", "seq": 1,
        "sampled_at": "2025-11-23T03:53:20.123Z", "frequency": 3600.0, "connections": 9, "online": 8, "silent": 0,
    });
    let object = message.as_object_mut().expect("it is an object");
    object.extend(members.as_object().cloned().expect("members are an object"));
    message.to_string()
}

/// Returns a part of a forged status, with one client.
fn forged_part(part: u64, parts: u64, client: &Value) -> String {
    forged(&json!({"kind": "status", "truncated": 5, "part": part, "parts": parts, "clients": [client]}))
}

#[test]
fn the_flask_program_refuses_malformed_messages_and_escapes_the_rest() {
    let (Some(python), Some(binary)) = (needed("venv/bin/python"), any_binary()) else { return };
    let mut server = Server::start(&binary);
    let flask = FlaskProgram::start(&python, &server);
    let mut publisher = server.peer();
    let mut publish = |message: &[u8]| {
        publisher.must(&[b"PUBLISH", CHANNEL.as_bytes(), message]);
    };
    let malformed = [
        b"{".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[1]".to_vec(),
        "[".repeat(60_000).into_bytes(),
        forged(&json!({"schema": "redis-client-status/2"})).into_bytes(),
        forged(&json!({"kind": "status", "connections": "many"})).into_bytes(),
        forged_part(1, 1, &json!({"id": 1, "name": ["a"]})).into_bytes(),
        forged_part(1, 1, &json!({"id": 1, "name": "a".repeat(600)})).into_bytes(),
        forged(&json!({"kind": "status", "frequency": 1e300})).into_bytes(),
    ];
    malformed.iter().for_each(|message| publish(message));
    publish(forged(&json!({"schema": "redis-client-status/1"})).as_bytes());
    publish("a".repeat(70_000).as_bytes());
    publish(forged_part(2, 2, &json!({"id": 1})).as_bytes());
    let expected = json!({"malformed": malformed.len(), "schema": 1, "oversize": 1, "incomplete": 1});
    let json = flask.json_until("every message is counted", |json| json["refused"] == expected);
    assert_eq!((&json["nodes"], &json["clients"]), (&json!([]), &json!([])));
    assert!(flask.page().text().contains("incomplete 1"));

    // A status is shown once all parts have arrived, and changes are applied to it.
    let script = "<script>alert(1)</script>";
    let hostile = json!({"id": 1, "address": script, "name": script, "app": script, "last_interaction": script});
    publish(forged_part(1, 2, &hostile).as_bytes());
    publish(forged(&json!({"kind": "heartbeat", "seq": 2})).as_bytes());
    publish(b"the end of part 1");
    let end = |count: usize| move |json: &Value| json["refused"]["malformed"] == count;
    let json = flask.json_until("part 1 has arrived", end(malformed.len() + 1));
    assert_eq!(json["clients"], json!([]));
    publish(forged_part(2, 2, &json!({"id": 2, "name": "half-a-pair"})).replace("half-a-pair", "\\ud800").as_bytes());
    let json = flask.json_until("the status is complete", |json| json["clients"] != json!([]));
    assert_eq!((&json["clients"][0]["name"], &json["clients"][1]["name"]), (&json!(script), &json!("?")));
    let answer = flask.page();
    let page = answer.text();
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
    assert!(page.contains("8 online of 9 connections") && page.contains("leaves out 5 clients"), "{page}");
    let changes = json!({"kind": "changes", "seq": 3, "online": 7, "opened": [{"id": 3}], "closed": [{"id": 1}]});
    publish(forged(&changes).as_bytes());
    let json = flask.json_until("the changes are applied", |json| json["nodes"][0]["online"] == 7);
    assert_eq!((&json["clients"][0]["id"], &json["clients"][1]["id"]), (&json!(2), &json!(3)));

    // It shows that the server is down, and subscribes again.
    server.kill();
    flask.json_until("the connection is lost", |json| json["error"] != "");
    assert!(flask.page().text().contains("No connection to the server"));
    server.restart();
    flask.json_until("it is connected again", |json| json["error"] == "");
    server.peer().must(&[
        "PUBLISH",
        CHANNEL,
        &forged(&json!({"kind": "changes", "opened": [{"id": 4}], "closed": []})),
    ]);
    flask.json_until("messages arrive again", |json| json["clients"].as_array().is_some_and(|all| all.len() == 3));
}

/// Sends statuses to a monitor whose clock and limits are set.
const MONITOR_LIMITS: &str = r#"
import json
import app

now = 0.0
app.time.monotonic = lambda: now
app.MAX_CLIENTS = 1000
monitor = app.RedisMonitor("redis://127.0.0.1:1", "channel")

def receive(redis, run_id, clients, part=1, parts=1):
    monitor.receive(json.dumps({"schema": app.SCHEMA, "kind": "status", "announcer": "a", "redis": redis, "seq": 1,
        "run_id": run_id, "sampled_at": "", "frequency": 10, "connections": 1, "online": 1, "truncated": 0,
        "part": part, "parts": parts, "clients": [{"id": id} for id in range(1, clients + 1)]}).encode())

def nodes():
    return [(node["node"], node["run_id"], node["announced"]) for node in monitor.snapshot()["nodes"]]

receive("a", "1", 400)
receive("b", "1", 601)  # Too many clients together.
receive("b", "1", 300, part=1, parts=2)
receive("c", "1", 301)  # Incomplete statuses count too.
assert nodes() == [("a", "1", True)] and len(monitor.get_client_info()) == 400
assert monitor.snapshot()["refused"] == {"full": 2}
now = 26.0
assert nodes() == [("a", "1", False)]
receive("a", "2", 1)  # A restarted server replaces what it was before.
assert nodes() == [("a", "2", True)] and len(monitor.get_client_info()) == 1
monitor.get_client_info()[0]["id"] = 99  # A copy.
assert monitor.get_client_info()[0]["id"] == 1
now = 100.0
receive("c", "1", 900)  # The incomplete status is forgotten.
assert ("c", "1", True) in nodes()
now = 699.0
assert nodes() == [("c", "1", False)]
now = 701.0
assert nodes() == [] and monitor.get_client_info() == []
for index in range(300):
    receive(f"node-{index}", "1", 1)
assert len(nodes()) == app.MAX_NODES
"#;

#[test]
fn the_flask_program_is_bounded_and_forgets() {
    let Some(python) = needed("venv/bin/python") else { return };
    let mut command = Command::new(python);
    let command = command.args(["-B", "-c", MONITOR_LIMITS]).current_dir(project("deploy/subscribers/flask"));
    assert!(command.status().expect("Python starts").success());
}

#[test]
fn statuses_are_loaded_into_sqlite() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let address = server.address();
    let _exporter = Exporter::start(&[&address], &["--announce=auto", FREQUENCY], &[]);
    let folder = TempDir::new().expect("a temporary folder");
    let database = folder.path().join("clients.db");
    let load = |lines: &[u8]| {
        let mut command = Command::new("python3");
        let command = command.arg(project("deploy/subscribers/to_sqlite.py")).arg(&database).stdin(Stdio::piped());
        let mut loader = command.spawn().expect("Python starts");
        loader.stdin.take().expect("it is piped").write_all(lines).expect("it reads");
        assert!(loader.wait().expect("it ends").success());
    };
    let watched = run(&["watch", "--redis.addr", &address, "--format=json", "--count=4"]);
    load(&watched.stdout);
    // Loading the same messages again changes nothing.
    load(&watched.stdout);
    let script = "import sqlite3, sys, json\nd = sqlite3.connect(sys.argv[1])\n\
        print(json.dumps([d.execute(q).fetchone()[0] for q in sys.argv[2:]]))";
    let queries = [
        "SELECT count(*) FROM statuses",
        "SELECT connections FROM statuses ORDER BY sampled_at DESC",
        "SELECT count(*) FROM latest_clients",
        "SELECT count(*) FROM latest_clients WHERE app = 'worker' AND last_interaction IS NOT NULL",
        "SELECT count(*) FROM latest_clients WHERE kind = 'monitor'",
    ];
    let output = Command::new("python3").args(["-c", script]).arg(&database).args(queries).output().expect("it runs");
    let counts: Vec<u64> = serde_json::from_slice(&output.stdout).expect("numbers");
    let lines = String::from_utf8_lossy(&watched.stdout);
    let statuses = lines.lines().filter(|line| line.contains(r#""kind":"status""#)).count() as u64;
    assert_eq!((counts[0], counts[3], counts[4]), (statuses, 1, 1));
    assert!(counts[1] == counts[2] && counts[2] > 10, "{counts:?}");
}

/// Returns the documented schema. A message may have only the members that it names.
fn schema() -> (Value, jsonschema::Validator) {
    let text = std::fs::read_to_string(project("docs/status.schema.json")).expect("the file exists");
    let schema: Value = serde_json::from_str(&text).expect("it is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("it is a JSON Schema");
    (schema, validator)
}

/// Returns the members of an object that the schema does not name.
fn unknown<'a>(object: &'a Value, properties: &Value) -> Vec<&'a String> {
    let members = object.as_object().into_iter().flatten().map(|(name, _)| name);
    members.filter(|name| properties.get(name.as_str()).is_none()).collect()
}

#[test]
fn messages_match_their_schema() {
    let (schema, validator) = schema();
    let key = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(key.path(), "0123456789abcdef0123456789abcdef").expect("it is written");
    let key = format!("--announce.key-file={}", key.path().display());
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _clients = TestClients::join(&server);
        let subscriber = Subscriber::on(&server.address());
        let args = ["--announce=always", FREQUENCY, key.as_str()];
        let _exporter = Exporter::start(&[&server.address()], &args, &[]);
        subscriber.next_status();
        let new_client = server.peer();
        subscriber.next("an opened connection", |message| {
            message.json["opened"].as_array().is_some_and(|opened| !opened.is_empty())
        });
        drop(new_client);
        subscriber.next("a closed connection", |message| {
            message.json["closed"].as_array().is_some_and(|closed| !closed.is_empty())
        });
        pause(Duration::from_secs(1));
        for Received { json, .. } in subscriber.received() {
            let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{json}");
            assert_eq!(unknown(&json, &schema["properties"]), Vec::<&String>::new());
            for (list, definition) in [("clients", "client"), ("opened", "client"), ("closed", "closed")] {
                for client in json[list].as_array().into_iter().flatten() {
                    let properties = &schema["$defs"][definition]["properties"];
                    assert_eq!(unknown(client, properties), Vec::<&String>::new(), "{client}");
                }
            }
        }
    }
    assert!(!validator.is_valid(&json!({"schema": "redis-client-status/1", "kind": "status"})));
}

#[test]
fn the_documented_examples_match_the_schema() {
    let (schema, validator) = schema();
    let text = std::fs::read_to_string(project("docs/status-messages.md")).expect("the file exists");
    let blocks: Vec<Value> = text
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap_or_default()).expect("an example is JSON"))
        .collect();
    assert!(blocks.len() >= 3);
    for block in &blocks {
        assert!(validator.is_valid(block), "{block}: {:?}", validator.iter_errors(block).next());
    }
    for properties in [&schema["properties"], &schema["$defs"]["client"]["properties"]] {
        for name in properties.as_object().into_iter().flatten().map(|(name, _)| name) {
            assert!(text.contains(&format!("`{name}`")), "{name} is not explained");
        }
    }
}

#[test]
fn the_documented_code_verifies_signatures() {
    let Some(binary) = any_binary() else { return };
    let key = "0123456789abcdef0123456789abcdef";
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{key}\n")).expect("it is written");
    let server = Server::start(&binary);
    let subscriber = Subscriber::on(&server.address());
    let args = ["--announce=always", FREQUENCY, &format!("--announce.key-file={}", file.path().display())];
    let _exporter = Exporter::start(&[&server.address()], &args, &[]);
    let message = subscriber.next_status().bytes;
    let text = std::fs::read_to_string(project("docs/status-messages.md")).expect("the file exists");
    let (_, code) = text.split_once("```python\n").expect("it has an example");
    let code = code.split("```").next().unwrap_or_default();
    let verifies = |message: &[u8], key: &str| {
        let code = format!("{code}\nimport sys\nprint(verified(sys.stdin.buffer.read(), b'{key}') is not None)");
        let mut command = Command::new("python3");
        let mut child =
            command.args(["-c", &code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("it is piped").write_all(message).expect("it reads");
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("UTF-8").trim() == "True"
    };
    assert!(verifies(&message, key));
    assert!(!verifies(&message, "another-key-than-that-one"));
    let forged = String::from_utf8_lossy(&message).replacen("\"connections\":", "\"connections\":9", 1);
    assert!(!verifies(forged.as_bytes(), key));
}
