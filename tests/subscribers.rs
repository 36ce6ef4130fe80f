//! Subscribers in other languages, as deploy/subscribers has them, and what is said of messages in docs: they really run, and what
//! they print is true.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::exporter::{Exporter, run};
use crate::support::server::{Binary, Server, any_binary, binaries, missing};
use crate::support::subscriber::{Received, Subscriber};
use crate::support::test_clients::{TestClients, Truth};
use crate::support::{PATIENCE, eventually, pause, project};

const FREQUENCY: &str = "--client-announce-frequency=1";

/// Something that the subscribers need; if it is missing, a test is skipped loudly, and fails in CI.
fn needed(path: &str) -> Option<PathBuf> {
    let found = project(&format!(".cache/subscribers/{path}"));
    if !found.exists() {
        missing(&found.display().to_string());
    }
    found.exists().then_some(found)
}

/// A subscriber that runs, and the lines that it printed; ended on drop.
struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    fn start(command: &mut Command, server: &Server) -> Self {
        // In a group of its own, so that what a script started ends with it.
        command.process_group(0);
        command.env("REDIS_URL", format!("redis://{}", server.address())).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the subscriber starts");
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line of which this is true.
    fn line(&self, is_meant: impl Fn(&str) -> bool) -> String {
        eventually("the subscriber prints it", PATIENCE, || self.lines.try_iter().find(|line| is_meant(line)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

/// Runs a subscriber beside an exporter; what it prints must be what `CLIENT LIST` tells.
fn tells_the_truth(binary: &Binary, command: &mut Command, lists_clients: bool) {
    let server = Server::start(binary);
    let _crowd = TestClients::join(&server);
    let _exporter = Exporter::start(&[&server.address()], &["--announce=auto", FREQUENCY], &[]);
    let subscriber = Running::start(command, &server);
    let mut control = server.peer();
    control.must(&["CLIENT", "SETNAME", "control"]);
    eventually("it prints the truth", PATIENCE, || {
        let truth = Truth::ask(&mut control, 300);
        let connections: u64 = truth.kinds.values().sum();
        let expected = format!("connections {connections} online {}", truth.kinds["application"]);
        (subscriber.line(|line| line.starts_with("connections ")) == expected).then_some(())
    });
    let began = Instant::now();
    for _ in 0..3 {
        subscriber.line(|line| line.starts_with("connections "));
    }
    assert!(began.elapsed() < Duration::from_secs(6), "one a second: three in {:?}", began.elapsed());
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
        tells_the_truth(&binary, Command::new(&python).arg(project("deploy/subscribers/subscriber.py")), true);
    }
}

#[test]
fn a_subscriber_in_javascript_runs() {
    let (Some(modules), Some(binary)) = (needed("node/node_modules"), any_binary()) else { return };
    // Node looks for packages beside the program.
    let folder = TempDir::new().expect("a temporary folder");
    let program = folder.path().join("subscriber.mjs");
    std::fs::copy(project("deploy/subscribers/subscriber.mjs"), &program).expect("it is copied");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
    tells_the_truth(&binary, Command::new("node").arg(program), true);
}

/// `PATH` with our program.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_redis-client-exporter"));
    let folder = program.parent().expect("the program is in a folder");
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn a_subscriber_in_shell_runs() {
    let Some(binary) = any_binary() else { return };
    tells_the_truth(&binary, Command::new(project("deploy/subscribers/subscriber.sh")).env("PATH", path()), false);
}

#[test]
fn statuses_are_loaded_into_sqlite() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
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
    // The same again is the same.
    load(&watched.stdout);
    let script = "import sqlite3, sys, json\nd = sqlite3.connect(sys.argv[1])\n\
        print(json.dumps([d.execute(q).fetchone()[0] for q in sys.argv[2:]]))";
    let queries = [
        "SELECT count(*) FROM statuses",
        "SELECT connections FROM statuses ORDER BY at DESC",
        "SELECT count(*) FROM latest_clients",
        "SELECT count(*) FROM latest_clients WHERE app = 'worker' AND last_interaction IS NOT NULL",
        "SELECT count(*) FROM latest_clients WHERE kind = 'monitor'",
    ];
    let output = Command::new("python3").args(["-c", script]).arg(&database).args(queries).output().expect("it runs");
    let told: Vec<u64> = serde_json::from_slice(&output.stdout).expect("numbers");
    let lines = String::from_utf8_lossy(&watched.stdout);
    let statuses = lines.lines().filter(|line| line.contains(r#""kind":"status""#)).count() as u64;
    assert_eq!((told[0], told[3], told[4]), (statuses, 1, 1));
    assert!(told[1] == told[2] && told[2] > 10, "{told:?}");
}

/// The schema of docs; the members that a message may have are those it names.
fn schema() -> (Value, jsonschema::Validator) {
    let text = std::fs::read_to_string(project("docs/status.schema.json")).expect("it is there");
    let schema: Value = serde_json::from_str(&text).expect("it is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("it is a JSON Schema");
    (schema, validator)
}

/// Members of an object that the schema does not name.
fn unknown<'a>(object: &'a Value, properties: &Value) -> Vec<&'a String> {
    let members = object.as_object().into_iter().flatten().map(|(name, _)| name);
    members.filter(|name| properties.get(name.as_str()).is_none()).collect()
}

#[test]
fn messages_are_as_their_schema_says() {
    let (schema, validator) = schema();
    let key = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(key.path(), "0123456789abcdef0123456789abcdef").expect("it is written");
    let key = format!("--announce.key-file={}", key.path().display());
    for binary in binaries() {
        println!("{}", binary.name);
        let server = Server::start(&binary);
        let _crowd = TestClients::join(&server);
        let subscriber = Subscriber::on(&server.address());
        let words = ["--announce=always", FREQUENCY, key.as_str()];
        let _exporter = Exporter::start(&[&server.address()], &words, &[]);
        subscriber.next_status();
        let newcomer = server.peer();
        subscriber.next("who came", |heard| heard.json["opened"].as_array().is_some_and(|opened| !opened.is_empty()));
        drop(newcomer);
        subscriber.next("who went", |heard| heard.json["closed"].as_array().is_some_and(|closed| !closed.is_empty()));
        pause(Duration::from_secs(1));
        for Received { json, .. } in subscriber.heard() {
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
fn the_examples_of_the_documents_are_as_their_schema_says() {
    let (schema, validator) = schema();
    let text = std::fs::read_to_string(project("docs/status-messages.md")).expect("it is there");
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
fn a_signature_is_verified_as_the_document_says() {
    let Some(binary) = any_binary() else { return };
    let key = "0123456789abcdef0123456789abcdef";
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{key}\n")).expect("it is written");
    let server = Server::start(&binary);
    let subscriber = Subscriber::on(&server.address());
    let words = ["--announce=always", FREQUENCY, &format!("--announce.key-file={}", file.path().display())];
    let _exporter = Exporter::start(&[&server.address()], &words, &[]);
    let message = subscriber.next_status().bytes;
    let text = std::fs::read_to_string(project("docs/status-messages.md")).expect("it is there");
    let (_, code) = text.split_once("```python\n").expect("it has an example");
    let code = code.split("```").next().unwrap_or_default();
    let believes = |message: &[u8], key: &str| {
        let code = format!("{code}\nimport sys\nprint(verified(sys.stdin.buffer.read(), b'{key}') is not None)");
        let mut command = Command::new("python3");
        let mut child =
            command.args(["-c", &code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("it is piped").write_all(message).expect("it reads");
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("UTF-8").trim() == "True"
    };
    assert!(believes(&message, key));
    assert!(!believes(&message, "another-key-than-that-one"));
    let forged = String::from_utf8_lossy(&message).replacen("\"connections\":", "\"connections\":9", 1);
    assert!(!believes(forged.as_bytes(), key));
}
