//! The web server, as seen by scrapers, browsers, probes and misbehaving peers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use flate2::read::GzDecoder;

use crate::support::eventually;
use crate::support::exporter::{Exporter, run};
use crate::support::http::{get, request};
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, free_port};
use crate::support::test_clients::TestClients;

/// Starts an exporter whose only target does not exist. That is enough to test the web server itself.
fn without_server() -> Exporter {
    Exporter::watching(&["127.0.0.1:1"])
}

#[test]
fn every_route_answers_as_documented() {
    let exporter = without_server();
    eventually("ready", || (get(&exporter.address, "/-/ready").status == 200).then_some(()));
    let cases = [
        ("/", 200, "text/html; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4"),
        ("/metrics?name[]=up", 200, "text/plain; version=0.0.4"),
        ("/-/healthy", 200, "text/plain; charset=utf-8"),
        ("/health", 200, "text/plain; charset=utf-8"),
        ("/-/ready", 200, "text/plain; charset=utf-8"),
        ("/assets/app.css", 200, "text/css; charset=utf-8"),
        ("/nothing", 404, "application/json"),
        ("/assets/../Cargo.toml", 404, "application/json"),
    ];
    for (path, status, content_type) in cases {
        let answer = get(&exporter.address, path);
        assert_eq!((answer.status, answer.header("content-type")), (status, Some(content_type)), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").expect("every response has one");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}

#[test]
fn only_reads_are_allowed() {
    let exporter = without_server();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = request(&exporter.address, method, "/metrics", &["content-length: 0"]).expect("an answer");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let head = request(&exporter.address, "HEAD", "/metrics", &[]).expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn gzip_is_the_same_text() {
    let exporter = without_server();
    // The first request creates its own counter.
    exporter.scrape_until("a first attempt", |scrape| scrape.value("redis_clients_up", &[]).is_some());
    let plain = request(&exporter.address, "GET", "/metrics", &["accept-encoding: identity"]).expect("an answer");
    assert_eq!(plain.header("content-encoding"), None);
    let compressed = request(&exporter.address, "GET", "/metrics", &["accept-encoding: gzip"]).expect("an answer");
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    GzDecoder::new(&*compressed.body).read_to_string(&mut text).expect("gzip");
    let names = |text: &str| Scrape::parse(text).series.into_iter().map(|series| series.name).collect::<Vec<_>>();
    assert_eq!(names(&text), names(plain.text()));
    assert!(compressed.body.len() * 2 < plain.body.len());
}

#[test]
fn process_metrics_are_read_at_each_scrape() {
    let exporter = Exporter::start(&["127.0.0.1:1"], &["--client-announce-frequency=1h"], &[]);
    let requests = || {
        exporter.scrape().value("redis_client_exporter_http_requests_total", &[("handler", "metrics"), ("code", "200")])
    };
    let first = requests().unwrap_or(0.0);
    assert_eq!(requests(), Some(first + 1.0));
    let resident = exporter.scrape().value("process_resident_memory_bytes", &[]);
    assert!(resident.is_some_and(|bytes| bytes > 1e6));
}

#[test]
fn the_exporter_is_not_ready_before_the_first_attempt_has_ended() {
    // Accepts connections, but never responds.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let exporter = Exporter::start(&[&address], &["--redis.timeout=1m"], &[]);
    let answer = get(&exporter.address, "/-/ready");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("first sample"), "{}", answer.text());
    assert_eq!(get(&exporter.address, "/-/healthy").status, 200);
    assert_eq!(exporter.scrape().value("redis_clients_up", &[]), None, "there is no result yet");
    drop(silent);
    eventually("ready", || (get(&exporter.address, "/-/ready").status == 200).then_some(()));
}

#[test]
fn hostile_names_become_escaped_labels() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let mut odd = server.peer();
    let users: [&[u8]; 4] = [b"(other)", br#"a"b\c=<script>"#, b"caf\xe9\x1b[31m", &[b'x'; 500]];
    let mut peers = Vec::new();
    for user in users {
        odd.must(&[b"ACL".as_slice(), b"SETUSER", user, b"on", b"nopass", b"+@all"]);
        let mut peer = server.peer();
        peer.must(&[b"AUTH".as_slice(), user, b"any"]);
        peers.push(peer);
    }
    let exporter = Exporter::watching(&[&server.address()]);
    let scrape =
        exporter.scrape_until("the users", |scrape| scrape.by("redis_clients_user_connections", "user").len() >= 6);
    let by_user = scrape.by("redis_clients_user_connections", "user");
    for user in [r"\(other)", r#"a"b\c=<script>"#, r"caf\xe9\x1b[31m"] {
        assert_eq!(by_user.get(user), Some(&1), "{user} in {by_user:?}");
    }
    let cut: Vec<_> = by_user.keys().filter(|user| user.starts_with("xxx")).collect();
    assert!(matches!(&*cut, [user] if user.len() == 128 && user.as_bytes()[119] == b'~'), "{cut:?}");
}

#[test]
fn many_clients_make_a_small_scrape() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let mut admin = server.peer();
    let mut peers = Vec::new();
    for number in 0..400 {
        let user = format!("{}{number}", "u".repeat(200));
        admin.must(&["ACL", "SETUSER", &user, "on", "nopass", "+@all"]);
        let mut peer = server.peer();
        peer.must(&["AUTH", &user, "any"]);
        peers.push(peer);
    }
    let exporter = Exporter::watching(&[&server.address()]);
    let scrape = exporter.scrape_until("the users", |scrape| scrape.value("redis_clients_online", &[]) == Some(401.0));
    assert_eq!(scrape.all("redis_clients_user_connections", &[]).count(), 51);
    assert_eq!(scrape.sum("redis_clients_user_connections"), 401.0);
    assert_eq!(scrape.value("redis_clients_groups_folded", &[("dimension", "user")]), Some(351.0));
    assert!(
        scrape.series.len() <= 2000 && scrape.bytes <= 200_000,
        "{} series, {} bytes",
        scrape.series.len(),
        scrape.bytes
    );
    // No series are left of users without connections.
    drop(peers);
    exporter.scrape_until("they are closed", |scrape| scrape.all("redis_clients_user_connections", &[]).count() == 1);
}

#[test]
fn a_head_that_is_too_large_or_no_head_is_refused() {
    let exporter = without_server();
    let long = format!("x: {}", "y".repeat(50_000));
    let answer = request(&exporter.address, "GET", "/metrics", &[&long]);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 431));
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").expect("bytes");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    assert_eq!(get(&exporter.address, "/-/healthy").status, 200);
}

#[test]
fn several_addresses_and_another_path() {
    let second = format!("127.0.0.1:{}", free_port());
    let args = ["--web.listen-address", &second, "--web.telemetry-path=/redis"];
    let exporter = Exporter::start(&["127.0.0.1:1"], &args, &[]);
    for address in [&exporter.address, &second] {
        assert_eq!(get(address, "/redis").status, 200);
        assert_eq!(get(address, "/metrics").status, 404);
        assert!(get(address, "/").text().contains("href=\"/redis\""));
    }
}

#[test]
fn the_external_url_is_exported_for_links() {
    let external_url = |exporter: &Exporter| {
        let scrape = exporter.scrape();
        scrape.all("redis_client_exporter_web_info", &[]).next().map(|series| series.labels["external_url"].clone())
    };
    let args = ["--web.external-url=https://clients.example.org/redis/"];
    assert_eq!(
        external_url(&Exporter::start(&["127.0.0.1:1"], &args, &[])).as_deref(),
        Some("https://clients.example.org/redis")
    );
    // The default has the actual port for port 0, and localhost: no other name is known to lead only to this machine.
    let exporter = without_server();
    assert_eq!(external_url(&exporter), Some(exporter.address.replace("127.0.0.1", "http://localhost")));
}

#[test]
fn a_port_in_use_is_reported_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&["--web.listen-address", &address]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&address) && text.contains("--web.listen-address"), "{text}");
}
