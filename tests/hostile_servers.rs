//! Servers that are no servers: what they answer takes little memory, and does not disturb what is shown of others.
//! docs/reliability.md lists them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};
use crate::support::{eventually, pause, share};

/// Bytes without end that answer a command, or `None` for an ordinary answer.
type Answer = fn(&[String]) -> Option<(&'static [u8], &'static [u8])>;

/// A server that answers some commands with a head and then a piece, again and again. The other commands get answers
/// like those of a server with many clients. Returns its address.
fn hostile(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let args = args(&mut reader)?;
        let text = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["INFO", "server"] => format!("run_id:{}\r\nredis_version:7.2.0\r\n", stream.local_addr().ok()?.port()),
            ["INFO", "clients"] => "connected_clients:500000\r\n".to_owned(),
            ["INFO", "stats"] => "total_connections_received:500000\r\n".to_owned(),
            ["CLIENT", "ID"] => String::new(),
            _ => "role:master\r\n".to_owned(),
        };
        match answer(&args) {
            Some((head, piece)) => {
                stream.write_all(head).ok()?;
                if piece.is_empty() {
                    // Until the exporter closes the connection.
                    std::io::copy(&mut reader, &mut std::io::sink()).ok()?;
                    return None;
                }
                let pieces = piece.repeat((1 << 16) / piece.len());
                loop {
                    stream.write_all(&pieces).ok()?;
                }
            }
            None if text.is_empty() => stream.write_all(b":7\r\n").ok()?,
            None => stream.write_all(format!("${}\r\n{text}\r\n", text.len()).as_bytes()).ok()?,
        }
    }
}

fn args(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |reader: &mut dyn BufRead| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse::<usize>().ok()
    };
    let count = number(reader)?;
    let mut arg = || {
        let mut text = vec![0; number(reader)? + 2];
        reader.read_exact(&mut text).ok()?;
        String::from_utf8(text).ok().map(|text| text.trim_end().to_owned())
    };
    (0..count).map(|_| arg()).collect()
}

fn is(args: &[String], command: &str) -> bool {
    args.join(" ") == command
}

/// The most memory that a process ever had, in bytes.
fn peak_bytes(exporter: &Exporter) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has resident memory");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

/// The value of a node's series. Names of nodes on this machine end in their port.
fn of_node(scrape: &Scrape, name: &str, labels: &[(&str, &str)], address: &str) -> Option<f64> {
    let port = address.rsplit_once(':').expect("a port").1;
    let mut all = scrape.all(name, labels);
    all.find(|series| series.labels["redis"].ends_with(&format!(":{port}"))).map(|series| series.value)
}

/// The number of failures of all nodes with this reason.
fn errors(scrape: &Scrape, reason: &str) -> f64 {
    scrape.all("redis_clients_sample_errors_total", &[("reason", reason)]).map(|series| series.value).sum()
}

/// Answers of the first command of a link, each with the reason that is shown.
const GREETINGS: [(&str, Answer); 13] = [
    // An element of an array takes 56 bytes, and four on the wire.
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"*2147483647\r\n", b":1\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"", b"*1\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"%1000000000\r\n", b":1\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"~1000000000\r\n", b":1\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"|1000000000\r\n", b":1\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b">1000000000\r\n+a\r\n", b":1\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"(", b"1"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b"$?\r\n", b";4\r\nabcd\r\n"))),
    ("protocol", |args| is(args, "CLIENT ID").then_some((b":1\r\n", b"+OK\r\n"))),
    ("too_large", |args| is(args, "CLIENT ID").then_some((b"$9000000000\r\n", b"x"))),
    ("too_large", |args| is(args, "CLIENT ID").then_some((b"+", b"x"))),
    ("too_large", |args| is(args, "CLIENT ID").then_some((b"-ERR ", b"x"))),
    ("too_large", |args| is(args, "CLIENT ID").then_some((b":", b"1"))),
];

#[test]
fn an_answer_of_any_form_to_the_first_command_takes_kilobytes() {
    let _alone = share::alone();
    let addresses = GREETINGS.map(|(_, answer)| hostile(answer));
    let each = addresses.each_ref().map(String::as_str);
    let exporter = Exporter::start(&each, &["--client-announce-frequency=1", "--redis.timeout=5s"], &[]);
    let idle = peak_bytes(&exporter);
    exporter.scrape_until("each failed three times with its reason", |scrape| {
        GREETINGS.iter().zip(&addresses).all(|((reason, _), address)| {
            of_node(scrape, "redis_clients_sample_errors_total", &[("reason", reason)], address) >= Some(3.0)
        })
    });
    let grown = peak_bytes(&exporter).saturating_sub(idle);
    assert!(grown < 16_000_000, "{grown} bytes more");
}

#[test]
fn a_huge_info_is_refused_before_it_is_read() {
    let address = hostile(|args| is(args, "INFO server").then_some((b"$104857600\r\n", b"a:b\r\n")));
    let exporter = Exporter::watching(&[&address]);
    let scrape = exporter.scrape_until("it failed", |scrape| errors(scrape, "too_large") >= 3.0);
    assert_eq!((errors(&scrape, "protocol"), errors(&scrape, "timeout")), (0.0, 0.0));
    assert!(exporter.log().iter().any(|line| line.contains("the reply to INFO server is larger than 1048576 bytes")));
    assert!(peak_bytes(&exporter) < 80_000_000, "{}", peak_bytes(&exporter));
}

/// 25 million rows of five bytes, of which each would take two hundred in memory.
const TINY_ROWS: Answer = |args| is(args, "CLIENT LIST").then_some((b"$134217000\r\n", b"id=1\n"));

#[test]
fn a_listing_of_tiny_rows_is_bounded_by_the_memory_that_they_take() {
    let _alone = share::alone();
    let exporter = Exporter::start(
        &[&hostile(TINY_ROWS)],
        &["--client-announce-frequency=1", "--redis.timeout=10s", "--sample.max-memory=64MiB"],
        &[],
    );
    let scrape = exporter.scrape_until("it failed", |scrape| errors(scrape, "too_large") >= 1.0);
    assert_eq!(errors(&scrape, "timeout"), 0.0);
    assert!(exporter.log().iter().any(|line| line.contains("--sample.max-memory")), "{:?}", exporter.log());
    assert!(peak_bytes(&exporter) < 160_000_000, "{}", peak_bytes(&exporter));
}

/// The number of texts that were declared and never sent.
static DECLARED: AtomicUsize = AtomicUsize::new(0);

const DECLARED_ONLY: Answer = |args| {
    is(args, "CLIENT LIST").then(|| {
        DECLARED.fetch_add(1, Ordering::Relaxed);
        (&b"$134217728\r\n"[..], &b""[..])
    })
};

#[test]
fn texts_that_are_declared_and_never_sent_take_no_address_space() {
    let addresses: Vec<String> = (0..40).map(|_| hostile(DECLARED_ONLY)).collect();
    let mut command = Command::new("sh");
    let limited = "ulimit -v 1000000; exec \"$@\"";
    command.env_clear().args(["-c", limited, "sh", env!("CARGO_BIN_EXE_redis-client-exporter")]).args([
        "--redis.addr",
        &addresses.join(","),
        "--web.listen-address=127.0.0.1:0",
        "--client-announce-frequency=1",
        "--redis.timeout=5s",
    ]);
    let exporter = Exporter::spawn(&mut command);
    eventually("each declared one", || (DECLARED.load(Ordering::Relaxed) >= addresses.len()).then_some(()));
    exporter.scrape();
    assert!(peak_bytes(&exporter) < 80_000_000, "{}", peak_bytes(&exporter));
}

/// The longest rows take nearly no memory beside their text.
const LONG_ROWS: Answer = |args| is(args, "CLIENT LIST").then_some((b"$134217728\r\n", &[b'x'; 1 << 16]));

#[test]
fn dozens_of_hostile_servers_beside_a_healthy_one_delay_nothing_and_share_one_limit() {
    let Some(binary) = any_binary() else { return };
    let _alone = share::alone();
    let server = Server::start(&binary);
    let clients: Vec<Peer> = (0..100).map(|_| server.peer()).collect();
    let answers = [GREETINGS[0].1, TINY_ROWS, LONG_ROWS];
    let mut addresses: Vec<String> = (0..51).map(|place| hostile(answers[place % 3])).collect();
    addresses.push(server.address());
    let each: Vec<&str> = addresses.iter().map(String::as_str).collect();
    // What finds no memory waits for a long time, so nothing is released meanwhile.
    let args = ["--client-announce-frequency=1", "--redis.timeout=30s", "--sample.max-memory=64MiB"];
    let exporter = Exporter::start(&each, &args, &[]);
    let of_healthy = |scrape: &Scrape, name: &str| of_node(scrape, name, &[], &server.address());
    eventually("the memory is used up", || (peak_bytes(&exporter) > 80_000_000).then_some(()));
    let sampled_at = |scrape: &Scrape| of_healthy(scrape, "redis_clients_sample_timestamp_seconds");
    let mut last = 0.0;
    for _ in 0..5 {
        let scrape = exporter.scrape_until("another sample", |scrape| sampled_at(scrape) > Some(last));
        last = sampled_at(&scrape).expect("a sample");
        assert_eq!(of_healthy(&scrape, "redis_clients_up"), Some(1.0));
        assert_eq!(of_healthy(&scrape, "redis_clients_online"), Some(clients.len() as f64));
        pause(Duration::from_millis(300));
    }
    exporter.scrape_until("those without memory failed", |scrape| errors(scrape, "too_large") >= 20.0);
    assert!(peak_bytes(&exporter) < 400_000_000, "{}", peak_bytes(&exporter));
}
