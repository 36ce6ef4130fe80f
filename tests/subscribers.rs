//! The subscribers in other languages in deploy/subscribers, and the documentation of messages: the programs run, and
//! their output matches `CLIENT LIST`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::exporter::{Exporter, run};
use crate::support::server::{Binary, Server, any_binary, binaries, missing};
use crate::support::subscriber::{Received, Subscriber};
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
        let expected = format!("connections {connections} online {}", truth.kinds["application"]);
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
    assert!(!validator.is_valid(&serde_json::json!({"schema": "redis-client-status/1", "kind": "status"})));
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
