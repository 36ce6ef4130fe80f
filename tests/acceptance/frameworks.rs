//! Client libraries and frameworks of Python and Node connect to a real server, by default and with the name "billing".
//! The names and libraries that the server lists, and the applications made from them, are those of
//! `tests/corpus/frameworks.tsv`. docs/frameworks.md shows the same.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::page::{BY_DEFAULT, NONE, PAGE, TABLE, assert_same, page_table, split_page};
use crate::support::exporter::run;
use crate::support::server::{Binary, Server, binary, missing};
use crate::support::{PATIENCE, eventually, pause, project};

/// Time without a change after which the connections of a framework are complete.
const SETTLED: Duration = Duration::from_millis(150);

/// Number of frameworks that run at the same time, each on its own server.
const AT_ONCE: usize = 4;

/// The installed packages, and the programs that use them.
struct Kit {
    /// Node finds packages only beside a program, so its program is copied to a folder that links to them.
    folder: TempDir,
}

impl Kit {
    /// Returns none, with a message, if something is missing. In CI that is a failure.
    fn find() -> Option<Self> {
        let parts = ["venv/bin/python", "venv-arq/bin/python", "node/node_modules"];
        let absent: Vec<PathBuf> = parts.iter().map(|part| installed(part)).filter(|path| !path.exists()).collect();
        for path in &absent {
            missing(&path.display().to_string());
        }
        if !absent.is_empty() {
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder");
        fs::copy(project("tests/frameworks/node/frameworks.mjs"), folder.path().join("frameworks.mjs"))
            .expect("a program can be copied");
        std::os::unix::fs::symlink(installed("node/node_modules"), folder.path().join("node_modules")).expect("a link");
        Some(Self { folder })
    }

    fn programs(&self) -> [Program<'_>; 2] {
        [Program::Python, Program::Node(self.folder.path())]
    }
}

fn installed(part: &str) -> PathBuf {
    project(&format!(".cache/frameworks/{part}"))
}

/// A program of `tests/frameworks`.
#[derive(Clone, Copy)]
enum Program<'kit> {
    Python,
    Node(&'kit Path),
}

impl Program<'_> {
    /// The command for a framework. arq needs an older redis-py than the others, so it has an environment of its own.
    fn command(self, framework: &str) -> Command {
        match self {
            Self::Python => {
                let environment = if framework == "arq" { "venv-arq" } else { "venv" };
                let mut command = Command::new(installed(environment).join("bin/python"));
                command.arg(project("tests/frameworks/python/frameworks.py"));
                command
            }
            Self::Node(folder) => {
                let mut command = Command::new("node");
                command.arg(folder.join("frameworks.mjs"));
                command
            }
        }
    }

    /// Its frameworks, as it lists them.
    fn frameworks(self) -> Vec<String> {
        let output = self.command("").output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }
}

/// A framework that is connected. Its whole process group is killed on drop.
struct Connected {
    child: Child,
    lines: Receiver<String>,
    errors: NamedTempFile,
}

impl Connected {
    fn start(mut command: Command, server: &Server) -> Self {
        let errors = NamedTempFile::new().expect("a temporary file");
        let mut child = command
            .env("REDIS_URL", format!("redis://{}", server.address()))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().expect("a file can be opened twice"))
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, errors }
    }

    /// Waits for a line. Fails at once if the program has ended.
    fn line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line) => return line,
                Ok(_) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.errors.path()).unwrap_or_default());
        }
    }
}

/// The member of a client by its name or, if it has none, by its former name.
fn member(client: &Value, name: &str, former: &str) -> String {
    let value = client.get(name).or_else(|| client.get(former)).and_then(Value::as_str).unwrap_or_default();
    if value.is_empty() { NONE.to_owned() } else { value.to_owned() }
}

/// The different combinations of client name, library and application of all application clients.
fn seen(server: &Server) -> BTreeSet<[String; 3]> {
    let output = run(&["clients", "--redis.addr", &server.address(), "--format=json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let clients: Vec<Value> = serde_json::from_slice(&output.stdout).expect("an array of clients");
    let ours = clients.iter().filter(|client| client["kind"] == "application");
    ours.map(|client| {
        let [name, app] = [member(client, "name", "name"), member(client, "app", "app")].map(|text| normalized(&text));
        [name, member(client, "library", "lib_name"), app]
    })
    .collect()
}

/// Replaces what differs from one process or machine to the next.
fn normalized(text: &str) -> String {
    let id = Regex::new("[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}").expect("a regular expression");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let text = id.replace_all(text, "UUID").into_owned();
    if host.trim().is_empty() { text } else { text.replace(host.trim(), "HOST") }
}

/// Runs a framework until its connections stay the same. Returns its lines of the table.
fn measured(program: Program<'_>, framework: &str, named: bool, binary: &Binary) -> String {
    let server = Server::start(binary);
    // For frameworks that cannot set a name: their application is the user.
    server.peer().must(&["ACL", "SETUSER", "billing", "on", ">secret", "~*", "&*", "+@all"]);
    let mut command = program.command(framework);
    command.arg(framework).args(named.then_some("named"));
    let connected = Connected::start(command, &server);
    let about = connected.line(&format!("{framework} says what it is"), |line| line.starts_with('{'));
    connected.line(&format!("{framework} connects"), |line| line == "ready");
    let mut before = seen(&server);
    let clients = eventually(&format!("the connections of {framework} stay the same"), || {
        pause(SETTLED);
        let now = seen(&server);
        let settled = now == before && !now.is_empty();
        before = now;
        settled.then(|| before.clone())
    });
    let about: Value = serde_json::from_str(&about).expect("JSON");
    let version = about["version"].as_str().expect("a version");
    let set_by = if named { about["named_by"].as_str().expect("a line of code") } else { BY_DEFAULT };
    let mut lines = String::new();
    for [name, library, app] in clients {
        writeln!(lines, "{framework}\t{version}\t{set_by}\t{name}\t{library}\t{app}").expect("a string takes all");
    }
    lines
}

/// The whole table, measured by several threads.
fn measured_table(kit: &Kit, binary: &Binary) -> String {
    let mut tasks = Vec::new();
    for program in kit.programs() {
        for framework in program.frameworks() {
            tasks.extend([false, true].map(|named| (program, framework.clone(), named)));
        }
    }
    let results = Mutex::new(vec![String::new(); tasks.len()]);
    let queue = Mutex::new(tasks.iter().enumerate());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((place, (program, framework, named))) = next else { break };
            let lines = measured(*program, framework, *named, binary);
            results.lock().unwrap_or_else(PoisonError::into_inner)[place] = lines;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let header = "framework\tversion\tset by\tclient name\tlibrary\tapp\n";
    header.to_owned() + &results.into_inner().unwrap_or_else(PoisonError::into_inner).concat()
}

/// Compares the table with the golden. Set UPDATE_GOLDEN to write it and that of the page; then read them yourself.
pub(crate) fn names_are_those_of_the_table() -> Option<String> {
    // The newest Redis: clients are made for it first, and it lists their libraries.
    let (kit, binary) = (Kit::find()?, binary("redis-8.2")?);
    let measured = measured_table(&kit, &binary);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(project(TABLE), &measured).expect("the table can be written");
        let page = fs::read_to_string(project(PAGE)).expect("the page");
        let (before, _, after) = split_page(&page);
        fs::write(project(PAGE), format!("{before}{}{after}", page_table(&measured))).expect("the page can be written");
    }
    let golden = fs::read_to_string(project(TABLE)).expect("the table");
    assert_same(&golden, &measured);
    let frameworks: BTreeSet<&str> = measured.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    Some(format!("{} frameworks, {} kinds of connections", frameworks.len(), measured.lines().count() - 1))
}
