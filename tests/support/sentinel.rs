//! Real sentinels, and a primary with replicas that they watch.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;
use super::peer::Peer;
use super::server::{Binary, Server, on_free_port};

/// The name of the primary on the sentinels of a group.
pub(crate) const PRIMARY: &str = "main";

/// A sentinel. Killed on drop.
pub(crate) struct Sentinel {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Sentinel {
    /// Starts a sentinel with these lines in its file. `PORT` in them is its port.
    pub(crate) fn start(binary: &Binary, lines: &[String]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file: PathBuf = folder.path().join("sentinel.conf");
        let start = |port: u16| {
            let has_port = lines.iter().any(|line| line.starts_with("tls-port"));
            let first = if has_port { "port 0\n".to_owned() } else { format!("port {port}\n") };
            let lines = lines.join("\n").replace("PORT", &port.to_string());
            std::fs::write(&file, format!("{first}{lines}\n")).expect("it is written");
            let mut command = Command::new(&binary.path);
            command.arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn().expect("it starts")
        };
        let (port, child) = on_free_port("a Sentinel", start, |child, port| {
            eventually("it answers or ends", || {
                let has_ended = child.try_wait().expect("a child can be waited for").is_some();
                // With TLS, it closes the connection, which is an answer, too.
                let answers = Peer::try_connect(&format!("127.0.0.1:{port}")).is_ok_and(|mut peer| {
                    let _ = peer.try_ask(&["PING"]);
                    true
                });
                (has_ended || answers).then_some(!has_ended)
            })
        });
        Self { child, port, _folder: folder }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(&self.address())
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A field of what it says about the primary.
    pub(crate) fn field(&self, field: &str) -> String {
        let mut elements = self.peer().list(&["SENTINEL", "MASTER", PRIMARY]).into_iter();
        elements.find(|element| element == field);
        elements.next().unwrap_or_default()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three sentinels, a primary and two replicas.
pub(crate) struct SentinelGroup {
    pub(crate) binary: Binary,
    /// The first one is the primary.
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Sentinel>,
}

impl SentinelGroup {
    pub(crate) fn start(binary: &Binary) -> Self {
        let primary = Server::start_with(binary, &["--repl-diskless-sync-delay 0"]);
        let monitor = monitor(&primary.address().replace(':', " "), 2);
        let mut group = Self { binary: binary.clone(), servers: vec![primary], sentinels: Vec::new() };
        // A sentinel asks for replicas when it starts, and then every ten seconds.
        for _ in 0..2 {
            group.add_replica(0);
        }
        group.sentinels = (0..3).map(|_| Sentinel::start(binary, &monitor)).collect();
        eventually("the sentinels know each other and the replicas", || {
            let knows = |sentinel: &Sentinel| {
                sentinel.field("num-other-sentinels") == "2" && sentinel.field("num-slaves") == "2"
            };
            group.sentinels.iter().all(knows).then_some(())
        });
        group
    }

    /// Starts a replica of a server, and waits until it has its data.
    pub(crate) fn add_replica(&mut self, of: usize) -> usize {
        let option = format!("--replicaof {}", self.servers[of].address().replace(':', " "));
        let replica = Server::start_with(&self.binary, &[&option, "--repl-diskless-sync-delay 0"]);
        self.servers.push(replica);
        let replica = self.servers.last().expect("it was added");
        eventually("it is linked to its primary", || {
            replica.peer().ask(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
        });
        self.servers.len() - 1
    }

    /// Kills a server, and waits until the sentinels have made another one the primary. Returns its place.
    pub(crate) fn fail_over(&mut self, primary: usize) -> usize {
        self.servers[primary].kill();
        eventually("another server is the primary", || {
            let is_primary = |(place, server): (usize, &Server)| {
                let mut peer = (place != primary).then(|| Peer::try_connect(&server.address()).ok()).flatten()?;
                let info = peer.try_ask(&["INFO", "replication"]).ok()?;
                info.contains("role:master").then_some(place)
            };
            self.servers.iter().enumerate().find_map(is_primary)
        })
    }
}

/// The lines of a sentinel's file that name the primary.
pub(crate) fn monitor(primary: &str, quorum: usize) -> Vec<String> {
    vec![
        format!("sentinel monitor {PRIMARY} {primary} {quorum}"),
        format!("sentinel down-after-milliseconds {PRIMARY} 1000"),
        format!("sentinel failover-timeout {PRIMARY} 5000"),
    ]
}
