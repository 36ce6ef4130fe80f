//! Real servers: started on a free port and a unix socket, ready when they answer PING, killed on drop.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use super::peer::Peer;
use super::share::{self, Share};
use super::{eventually, project};

/// The servers of all tests that run on every server. `tests/servers/install` installs them.
const NAMES: [&str; 6] = ["redis-6.2", "redis-7.0", "redis-8.0", "redis-8.2", "valkey-8.1", "valkey-9.1"];

/// The variable with further binaries to test: `name=path`, separated by commas.
const MORE: &str = "TEST_SERVERS";

/// A server program.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Returns all servers. A missing one fails the test in CI; elsewhere it is skipped with a message.
pub(crate) fn binaries() -> Vec<Binary> {
    let installed = NAMES.iter().map(|name| {
        let program = name.split('-').next().expect("a split has a first part");
        (name.to_string(), project(&format!(".cache/servers/{name}/{program}-server")))
    });
    let more = std::env::var(MORE).unwrap_or_default();
    let named = more.split(',').filter_map(|entry| entry.split_once('='));
    let named = named.map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
    installed
        .chain(named)
        .filter_map(|(name, path)| {
            let found = path.exists();
            if !found {
                missing(&format!("the server {name} ({})", path.display()));
            }
            found.then_some(Binary { name, path })
        })
        .collect()
}

/// Returns one server, for tests that run on any: 7.0 if it is installed.
pub(crate) fn any_binary() -> Option<Binary> {
    let binaries = binaries();
    let preferred = binaries.iter().find(|binary| binary.name == "redis-7.0").cloned();
    preferred.or_else(|| binaries.into_iter().next())
}

/// Returns the server with this name.
pub(crate) fn binary(name: &str) -> Option<Binary> {
    binaries().into_iter().find(|binary| binary.name == name)
}

/// Reports that something is missing: a failure in CI, a message elsewhere.
pub(crate) fn missing(what: &str) {
    let sentence = format!("{what} is missing; `make test` and `make acceptance` install what they need");
    assert!(std::env::var_os("CI").is_none(), "{sentence}");
    eprintln!("SKIPPED: {sentence}");
}

/// A running server with its own folder.
pub(crate) struct Server {
    binary: Binary,
    pub(crate) port: u16,
    folder: TempDir,
    options: Vec<String>,
    child: Child,
    _share: Arc<Share>,
}

impl Server {
    pub(crate) fn start(binary: &Binary) -> Self {
        Self::start_with(binary, &[])
    }

    /// Starts a server with further options, each `--name value…`.
    pub(crate) fn start_with(binary: &Binary, options: &[&str]) -> Self {
        let share = share::ordinary();
        let folder = TempDir::with_prefix("redis sock ").expect("a temporary folder");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let start = |port| spawn(binary, port, folder.path(), &options);
        let (port, child) = on_free_port(&binary.name, start, |child, port| {
            let is_ready = ready(child, port);
            if !is_ready {
                eprintln!("{}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
            }
            is_ready
        });
        Self { binary: binary.clone(), port, folder, options, child, _share: share }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the path of its unix socket, in a folder whose name contains spaces.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s=1.sock")
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(&self.address())
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port, without its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.binary, self.port, self.folder.path(), &self.options);
        assert!(ready(&mut self.child, self.port), "{} did not start again", self.binary.name);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port that `SECOND` in an option stands for.
pub(crate) fn second_port(port: u16) -> u16 {
    port + 20_000
}

fn spawn(binary: &Binary, port: u16, folder: &Path, options: &[String]) -> Child {
    // If only TLS is enabled, the options contain the port.
    let plain_port = if options.iter().any(|option| option == "--tls-port") { 0 } else { port };
    let options = options.iter().map(|option| {
        let second = second_port(port).to_string();
        option.replace("SECOND", &second).replace("PORT", &port.to_string())
    });
    Command::new(&binary.path)
        .args(["--port", &plain_port.to_string(), "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .arg("--logfile")
        .arg(folder.join("log"))
        .arg("--unixsocket")
        .arg(folder.join("s=1.sock"))
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts")
}

/// Waits until the server responds. With TLS or a password, any response is enough; the tests then log in themselves.
fn ready(child: &mut Child, port: u16) -> bool {
    eventually("the server answers PING", || {
        if child.try_wait().expect("a child can be waited for").is_some() {
            return Some(false);
        }
        let mut peer = Peer::try_connect(&format!("127.0.0.1:{port}")).ok()?;
        let answer = peer.try_ask(&["PING"]);
        let answers = matches!(answer.as_deref(), Err(_) | Ok("+PONG") | Ok("-NOAUTH Authentication required."));
        // A connection that the server has not closed yet would be one more client of the test.
        peer.leave();
        // If another server bound the port first, ours has ended by now, or will have before the next attempt.
        let is_running = child.try_wait().expect("a child can be waited for").is_none();
        answers.then_some(is_running)
    })
}

/// The ports of servers. The kernel gives none of them to a connection or to a listener on port 0 (Linux: those are
/// from 32768 on), so a server that restarts finds its port free.
const PORTS: Range<u16> = 10_000..32_000;

/// Returns a free port that no other test was given: a test must not connect to the server of another test.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(PORTS);
        let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}

/// Starts a program on a free port, and waits until it is ready. Another process may take the port before the program
/// binds it, so several are tried.
pub(crate) fn on_free_port(
    name: &str,
    mut start: impl FnMut(u16) -> Child,
    ready: impl Fn(&mut Child, u16) -> bool,
) -> (u16, Child) {
    for _ in 0..5 {
        let port = free_port();
        let mut child = start(port);
        if ready(&mut child, port) {
            return (port, child);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    panic!("{name} did not start");
}
