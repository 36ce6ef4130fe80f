//! The program as a user runs it: started on a free port, its log read, ended on drop.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::scrape::Scrape;
use super::{PATIENCE, eventually};

/// The program with nothing of this environment that could change what it does.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-client-exporter"));
    command.env_clear();
    command
}

/// Runs the program to its end.
pub(crate) fn run(words: &[&str]) -> Output {
    program().args(words).output().expect("the program starts")
}

/// A running exporter.
pub(crate) struct Exporter {
    child: Child,
    pub(crate) address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Exporter {
    /// Watches the servers at these addresses, ten times a second.
    pub(crate) fn watching(addresses: &[&str]) -> Self {
        Self::start(addresses, &[], &[])
    }

    /// Watches with further words, and variables of the environment.
    pub(crate) fn start(addresses: &[&str], words: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = program();
        for address in addresses {
            command.args(["--redis.addr", address]);
        }
        if !words.iter().any(|word| word.starts_with("--client-announce-frequency")) {
            command.arg("--client-announce-frequency=0.1");
        }
        // Announcing takes two more connections, which most tests would have to count.
        if !words.iter().any(|word| word.starts_with("--announce") || word.starts_with("--sample=")) {
            command.arg("--announce=never");
        }
        command.args(["--web.listen-address", "127.0.0.1:0"]).args(words).envs(environment.iter().copied());
        Self::spawn(&mut command)
    }

    /// Runs a command that becomes the exporter, and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().expect("no reader panics").push(line);
            }
        });
        let mut exporter = Self { child, address: String::new(), log };
        exporter.address = eventually("the exporter listens", PATIENCE, || {
            exporter.log().iter().find_map(|line| {
                let (_, address) = line.split_once("address=").or_else(|| line.split_once("\"address\":\""))?;
                Some(address.split([' ', '"']).next()?.to_owned())
            })
        });
        exporter
    }

    pub(crate) fn scrape(&self) -> Scrape {
        Scrape::of(&self.address)
    }

    /// Scrapes until a condition is true.
    pub(crate) fn scrape_until(&self, what: &str, condition: impl Fn(&Scrape) -> bool) -> Scrape {
        eventually(what, PATIENCE, || Some(self.scrape()).filter(&condition))
    }

    /// Scrapes until a sample of every node was taken that began after this call: the next but one of each has.
    pub(crate) fn fresh_scrape(&self) -> Scrape {
        let before = attempts(&self.scrape());
        self.scrape_until("two further samples", |scrape| {
            let now = attempts(scrape);
            before.iter().all(|(node, before)| now.get(node).is_some_and(|now| *now >= before + 2))
        })
    }

    /// The lines logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no writer panics").clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the exporter ends", PATIENCE, || self.child.try_wait().expect("a child can be waited for"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

/// How many attempts of each node have ended.
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
