//! Peers of the web server that try to keep others from being served. A scrape and the liveness probe answer at once
//! meanwhile, from another address and from the address of the attacker.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::certificates::Certificates;
use crate::support::exporter::Exporter;
use crate::support::http::{Answer, exchange};
use crate::support::https::Client;
use crate::support::{PATIENCE, eventually, pause, share};

/// The number of sockets of an attack.
const SOCKETS: usize = 1000;

/// The number of its sockets that an attacker can replace every ten milliseconds.
const REPLACED: usize = 10;

/// The longest that an attack takes, however many scrapes it delayed.
const ATTACK: Duration = Duration::from_secs(20);

/// The time after which a scrape is given up, as Prometheus does.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// The source address of the attacker, and that of the scraper.
const ATTACKER: [u8; 4] = [127, 0, 0, 2];
const SCRAPER: [u8; 4] = [127, 0, 0, 1];

/// The bytes that the attacker sends over each of its connections. It never reads.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Idle,
    /// A head that is never complete, one byte after the other.
    SlowHead,
    /// The beginning of a TLS handshake.
    Handshake,
    /// A request that is answered. The connection is then kept.
    Kept(&'static str),
}

impl Attack {
    fn first(self) -> &'static [u8] {
        match self {
            Attack::Idle => b"",
            Attack::SlowHead => b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: ",
            Attack::Handshake => &[22, 3, 1, 2, 0],
            Attack::Kept(request) => request.as_bytes(),
        }
    }

    fn next(self) -> &'static [u8] {
        match self {
            Attack::SlowHead => b"y",
            _ => b"",
        }
    }
}

const HEALTHY: &str = "GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n\r\n";
const METRICS: &str = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// Refused once there are many, and without a local name at once.
const EVENTS: &str = "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
const FORBIDDEN: &str = "GET /api/v1/events HTTP/1.1\r\nhost: example.org\r\n\r\n";

/// Connects from this address, with a buffer so small that answers fill it.
fn connect_from(source: [u8; 4], address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(2048)?;
    socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    socket.connect_timeout(&address.into(), Duration::from_secs(5))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// An attack that replaces its connections when they are closed, until it is dropped.
struct Attacker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Starts an attack. Returns when all its connections have been opened once.
    fn start(attack: Attack, source: [u8; 4], address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = std::thread::spawn(move || {
            let open = || {
                let socket = connect_from(source, address).ok()?;
                let _ = (&socket).write(attack.first());
                Some(socket)
            };
            let mut sockets: Vec<Option<Socket>> = Vec::new();
            for _ in 0..SOCKETS {
                sockets.push(open());
                count.fetch_add(1, Ordering::Relaxed);
            }
            let mut replaced_next = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut replaced = 0;
                for offset in 0..SOCKETS {
                    let index = (replaced_next + offset) % SOCKETS;
                    let socket = &mut sockets[index];
                    if socket.as_ref().is_some_and(|socket| is_open(socket, attack)) {
                        continue;
                    }
                    *socket = open();
                    replaced += 1;
                    if replaced == REPLACED {
                        replaced_next = index + 1;
                        break;
                    }
                }
                pause(Duration::from_millis(10));
            }
        });
        let attacker = Self { stop, thread: Some(thread) };
        eventually("the attack has begun", || (opened.load(Ordering::Relaxed) == SOCKETS).then_some(()));
        attacker
    }
}

/// Sends what follows, and returns true if the connection is still open. What it received stays in its buffer.
fn is_open(socket: &Socket, attack: Attack) -> bool {
    let next = attack.next();
    if !next.is_empty() && matches!((&*socket).write(next), Err(error) if error.kind() != io::ErrorKind::WouldBlock) {
        return false;
    }
    match socket.take_error() {
        Ok(None) => {}
        _ => return false,
    }
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket.peek(&mut byte) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The largest resident memory so far, in MB (proc(5): `VmHWM`).
fn peak_memory(exporter: &Exporter) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel reports it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// The longest of up to 40 scrapes and probes, which take no longer than [`ATTACK`] together.
fn longest(ask: impl Fn(&str) -> io::Result<Answer>) -> Duration {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..20 {
        for path in ["/metrics", "/-/healthy"] {
            let asked = Instant::now();
            let status = ask(path).map(|answer| answer.status);
            longest = longest.max(asked.elapsed());
            assert_eq!(status.as_ref().ok(), Some(&200), "{path} after {:?}: {status:?}", asked.elapsed());
        }
        if began.elapsed() > ATTACK {
            break;
        }
    }
    longest
}

/// Attacks an exporter from another address and then from the address of the scraper, and compares how long a scrape
/// takes with how long it takes without an attack.
fn endure(attack: Attack, exporter: &Exporter, ask: impl Fn(&str) -> io::Result<Answer>) {
    let quiet = longest(&ask);
    // A second, or more on a machine that is slow without an attack.
    let bound = Duration::from_secs(1).max(20 * quiet);
    for source in [ATTACKER, SCRAPER] {
        let attacker = Attacker::start(attack, source, &exporter.address);
        let attacked = longest(&ask);
        let memory = peak_memory(exporter);
        println!("{attack:?} from {source:?}: longest scrape {attacked:?}, without {quiet:?}; peak memory {memory} MB");
        assert!(attacked < bound, "{attack:?} from {source:?}: a scrape took {attacked:?}, without it {quiet:?}");
        drop(attacker);
    }
}

fn endure_in_plain_text(attack: Attack) {
    let _share = share::alone();
    let exporter = Exporter::start(&["127.0.0.1:1"], &["--client-announce-frequency=1h"], &[]);
    let ask = |path: &str| {
        let stream = connect_from(SCRAPER, exporter.address.parse().expect("an address"))?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(GIVEN_UP))?;
        exchange(stream, "localhost", "GET", path, &[])
    };
    endure(attack, &exporter, ask);
    let scrape = exporter.scrape();
    let dropped: f64 =
        scrape.all("redis_client_exporter_http_connections_dropped_total", &[]).map(|series| series.value).sum();
    assert!(dropped > 0.0, "what is closed is counted");
}

#[test]
fn a_thousand_idle_connections_delay_no_scrape() {
    endure_in_plain_text(Attack::Idle);
}

#[test]
fn a_thousand_slow_request_heads_delay_no_scrape() {
    endure_in_plain_text(Attack::SlowHead);
}

#[test]
fn a_thousand_connections_between_requests_delay_no_scrape() {
    endure_in_plain_text(Attack::Kept(HEALTHY));
}

#[test]
fn a_thousand_peers_that_do_not_read_their_answers_delay_no_scrape() {
    endure_in_plain_text(Attack::Kept(METRICS));
}

#[test]
fn a_thousand_event_streams_delay_no_scrape() {
    endure_in_plain_text(Attack::Kept(EVENTS));
}

#[test]
fn a_thousand_silent_tls_handshakes_delay_no_scrape() {
    let _share = share::alone();
    let certificates = Certificates::new();
    let file = certificates.path("web-config.yml");
    fs::write(&file, "tls_server_config: {cert_file: server.crt, key_file: server.key}").expect("a file");
    let file = format!("--web.config.file={}", file.display());
    let exporter = Exporter::start(&["127.0.0.1:1"], &[&file, "--client-announce-frequency=1h"], &[]);
    let client = Client::trusting(&certificates);
    for attack in [Attack::Idle, Attack::Handshake] {
        endure(attack, &exporter, |path| client.get(&exporter.address, path, &[]));
    }
}

/// Sends a request up to three times over one connection, until it is closed, and returns the statuses.
fn statuses_of_one_connection(address: &str, request: &str) -> Vec<String> {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut reader = BufReader::new(&stream);
    let mut statuses = Vec::new();
    while statuses.len() < 3 {
        let (mut status, mut length) = (String::new(), 0);
        if (&stream).write_all(request.as_bytes()).is_err() || !matches!(reader.read_line(&mut status), Ok(1..)) {
            break;
        }
        statuses.push(status["HTTP/1.1 ".len()..][..3].to_owned());
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && !line.trim().is_empty() {
            if let Some(value) = line.trim().strip_prefix("content-length: ") {
                length = value.parse().expect("a number");
            }
            line.clear();
        }
        reader.read_exact(&mut vec![0; length]).expect("a body");
    }
    statuses
}

#[test]
fn a_peer_that_is_refused_does_not_keep_its_connection() {
    let exporter = Exporter::start(&["127.0.0.1:1"], &["--client-announce-frequency=1h"], &[]);
    assert_eq!(statuses_of_one_connection(&exporter.address, HEALTHY), ["200", "200", "200"]);
    assert_eq!(statuses_of_one_connection(&exporter.address, FORBIDDEN), ["403"]);
    // Half of all event streams are for others.
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(EVENTS.as_bytes()).expect("a request");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).expect("an answer");
        if begin.ends_with(b"503") {
            break stream;
        }
        open.push(stream);
    };
    assert_eq!(open.len(), 100);
    let mut rest = String::new();
    (&refused).read_to_string(&mut rest).expect("it is closed");
    assert!(rest.contains("connection: close") && rest.contains("event streams"), "{rest}");
    let other = connect_from(ATTACKER, exporter.address.parse().expect("an address")).expect("a connection");
    other.set_nonblocking(false).expect("a socket");
    other.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let answer = exchange(other, "localhost", "HEAD", "/api/v1/events", &[]).expect("an answer");
    assert_eq!(answer.status, 200);
    let limited = Certificates::new();
    let file = limited.path("web-config.yml");
    fs::write(&file, "rate_limit: {interval: 1h, burst: 1}").expect("a file");
    let file = format!("--web.config.file={}", file.display());
    let exporter = Exporter::start(&["127.0.0.1:1"], &[&file, "--client-announce-frequency=1h"], &[]);
    assert_eq!(statuses_of_one_connection(&exporter.address, HEALTHY), ["200", "429"]);
    let config = format!("basic_auth_users: {{ann: {}}}", bcrypt::hash("a", 4).expect("a hash"));
    fs::write(limited.path("web-config.yml"), config).expect("a file");
    let exporter = Exporter::start(&["127.0.0.1:1"], &[&file, "--client-announce-frequency=1h"], &[]);
    assert_eq!(statuses_of_one_connection(&exporter.address, HEALTHY), ["401"]);
}

/// Requests of proxies that forward those of strangers.
#[test]
fn pages_are_not_shown_to_strangers_behind_a_proxy_on_this_machine() {
    let exporter = Exporter::start(&["127.0.0.1:1"], &["--client-announce-frequency=1h"], &[]);
    let port = exporter.address.rsplit_once(':').expect("a port").1;
    let local = format!("host: 127.0.0.1:{port}\r\n");
    for (head, status) in [
        (format!("GET /api/v1/status HTTP/1.1\r\n{local}"), "200"),
        // nginx with nothing but `proxy_pass http://127.0.0.1:19121;` before 1.29.7.
        (format!("GET /api/v1/status HTTP/1.0\r\n{local}connection: close\r\n"), "403"),
        (format!("GET /api/v1/status HTTP/1.1\r\n{local}x-forwarded-proto: https\r\n"), "403"),
        (format!("GET /api/v1/status HTTP/1.1\r\n{local}cf-connecting-ip: 203.0.113.9\r\n"), "403"),
        (format!("GET /api/v1/status HTTP/1.1\r\n{local}host: example.org\r\n"), "400"),
        (format!("GET /metrics HTTP/1.1\r\n{local}{local}"), "400"),
        (format!("GET http://example.org/api/v1/status HTTP/1.1\r\n{local}"), "403"),
        (format!("GET http://localhost:{port}/api/v1/status HTTP/1.1\r\nhost: example.org\r\n"), "200"),
        (format!("GET /metrics HTTP/1.0\r\n{local}"), "200"),
    ] {
        let statuses = statuses_of_one_connection(&exporter.address, &format!("{head}\r\n"));
        assert_eq!(statuses.first().map(String::as_str), Some(status), "{head}");
        assert!(status == "200" || statuses.len() == 1, "a refused peer keeps no connection: {head}");
    }
}
