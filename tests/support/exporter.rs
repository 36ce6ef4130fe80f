//! The exporter as a user runs it: started on a free port, with its log captured, killed on drop.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::eventually;
use super::http::get;
use super::scrape::Scrape;
use super::share::{self, Share};

/// Returns the exporter's command, without the variables of this environment that would configure it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-client-exporter"));
    command.env_clear();
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

/// Returns the name of a server in the tests: its address, without scheme and credentials, on every machine.
fn name_of(address: &str) -> String {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.rsplit_once('@').map_or(address, |(_, host)| host);
    if address.contains([':', '/']) { address.to_owned() } else { format!("{address}:6379") }
}

/// A running exporter.
pub(crate) struct Exporter {
    child: Child,
    pub(crate) address: String,
    log: Arc<Mutex<Vec<String>>>,
    _share: Arc<Share>,
}

impl Exporter {
    /// Starts an exporter that samples the servers at these addresses ten times a second.
    pub(crate) fn watching(addresses: &[&str]) -> Self {
        Self::start(addresses, &[], &[])
    }

    /// Starts an exporter with further arguments and environment variables. It takes as much of the server's time as it
    /// needs, and waits long for replies, unless the arguments say otherwise.
    pub(crate) fn start(addresses: &[&str], args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = program();
        for address in addresses {
            command.args(["--redis.addr", address]);
        }
        // By default, the name of a local server depends on the machine.
        if !args.iter().any(|arg| arg.starts_with("--redis.name")) {
            for address in addresses {
                command.args(["--redis.name", &name_of(address)]);
            }
        }
        if !args.iter().any(|arg| arg.starts_with("--client-announce-frequency")) {
            command.arg("--client-announce-frequency=0.1");
        }
        // On a busy machine, commands seem to cost the server more and take longer. Most tests are not about that.
        for default in ["--sample.max-load=100%", "--redis.timeout=60s"] {
            let (flag, _) = default.split_once('=').expect("a flag with a value");
            if !args.iter().any(|arg| arg.starts_with(flag)) {
                command.arg(default);
            }
        }
        // Announcing needs two more connections, which most tests would have to take into account.
        if !args.iter().any(|arg| arg.starts_with("--announce") || arg.starts_with("--sample=")) {
            command.arg("--announce=never");
        }
        command.args(["--web.listen-address", "127.0.0.1:0"]).args(args).envs(environment.iter().copied());
        Self::spawn(&mut command)
    }

    /// Runs a command that starts the exporter, and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let share = share::ordinary();
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().expect("no reader panics").push(line);
            }
        });
        let mut exporter = Self { child, address: String::new(), log, _share: share };
        exporter.address = eventually("the exporter listens", || {
            assert!(exporter.is_running(), "the exporter has ended: {:?}", exporter.log());
            exporter.log().iter().find_map(|line| {
                let (_, address) = line.split_once("address=").or_else(|| line.split_once("\"address\":\""))?;
                Some(address.split([' ', '"']).next()?.to_owned())
            })
        });
        exporter
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let answer = get(&self.address, "/metrics");
        assert_eq!(answer.status, 200);
        Scrape::parse(answer.text())
    }

    /// Scrapes until the condition is true.
    pub(crate) fn scrape_until(&self, what: &str, condition: impl Fn(&Scrape) -> bool) -> Scrape {
        eventually(what, || Some(self.scrape()).filter(&condition))
    }

    /// Scrapes until every node has a sample that started after this call. That is true of the second further sample.
    pub(crate) fn fresh_scrape(&self) -> Scrape {
        let before = attempts(&self.scrape());
        self.scrape_until("two further samples", |scrape| {
            let now = attempts(scrape);
            before.iter().all(|(node, before)| now.get(node).is_some_and(|now| *now >= before + 2))
        })
    }

    /// Returns the lines logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no writer panics").clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, given by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits until the process ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the exporter ends", || self.child.try_wait().expect("a child can be waited for"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

/// The number of completed sampling attempts per node.
fn attempts(scrape: &Scrape) -> BTreeMap<String, u64> {
    let mut attempts = BTreeMap::new();
    for series in scrape.all("redis_clients_samples_total", &[]) {
        *attempts.entry(series.labels["redis"].clone()).or_default() += series.value as u64;
    }
    attempts
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the exporter's log:\n{}", self.log().join("\n"));
        }
    }
}
