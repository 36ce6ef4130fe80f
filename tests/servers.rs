//! Every server generation: the metrics match `CLIENT LIST`.

use std::time::Duration;

use crate::support::exporter::{Exporter, run};
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, binaries, binary};
use crate::support::test_clients::{TestClients, Truth};
use crate::support::{eventually, pause, project};

/// One test per server, so that the report names the one that differs. `further` has those of `TEST_SERVERS`.
macro_rules! on_every_server {
    ($($test:ident)*) => {$(
        mod $test {
            #[test] fn redis_6_2() { super::on("redis-6.2", super::$test); }
            #[test] fn redis_7_0() { super::on("redis-7.0", super::$test); }
            #[test] fn redis_8_0() { super::on("redis-8.0", super::$test); }
            #[test] fn redis_8_2() { super::on("redis-8.2", super::$test); }
            #[test] fn valkey_8_1() { super::on("valkey-8.1", super::$test); }
            #[test] fn valkey_9_1() { super::on("valkey-9.1", super::$test); }
            #[test] fn further() { binaries().iter().skip(6).for_each(super::$test); }
            use super::binaries;
        }
    )*};
}

fn on(name: &str, test: fn(&Binary)) {
    if let Some(binary) = binary(name) {
        test(&binary);
    }
}

on_every_server! {
    counts_are_those_of_client_list
    the_acl_line_of_check_grants_what_is_needed_and_no_more
    counters_survive_resetstat_and_restart
    a_unix_socket_works_like_a_port
}

const IDLE_AFTER: i64 = 2;

fn counts_are_those_of_client_list(binary: &Binary) {
    let primary = Server::start_with(binary, &["--repl-diskless-sync-delay", "0"]);
    let replica = Server::start(binary);
    replica.peer().must(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    let args = ["--idle-after=2s", "--idle.thresholds=2s"];
    let exporter = Exporter::start(&[&primary.address(), &replica.address()], &args, &[]);
    let _clients = TestClients::join(&primary);
    exporter.scrape_until("the replica is connected", |scrape| {
        scrape.value("redis_clients_connections", &[("redis", &primary.address()), ("kind", "replica")]) == Some(1.0)
    });
    pause(Duration::from_secs(IDLE_AFTER as u64));
    let mut controls = [primary.peer(), replica.peer()];
    let expected = [("replica", "primary"), ("primary", "replica")];
    for (server, control) in [&primary, &replica].into_iter().zip(&mut controls) {
        let node = server.address();
        eventually("the metrics match CLIENT LIST", || {
            let truth = Truth::ask(control, IDLE_AFTER);
            (counts_of(&exporter.fresh_scrape(), &node) == truth).then_some(())
        });
    }
    let scrape = exporter.fresh_scrape();
    let value = |server: &Server, name: &str, labels: &[(&str, &str)]| {
        let node = server.address();
        let labels: Vec<_> = labels.iter().copied().chain([("redis", node.as_str())]).collect();
        scrape.value(name, &labels)
    };
    for (server, (present, absent)) in [&primary, &replica].into_iter().zip(expected) {
        assert_eq!(value(server, "redis_clients_connections", &[("kind", present)]), Some(1.0), "{present}");
        assert_eq!(value(server, "redis_clients_connections", &[("kind", absent)]), Some(0.0), "{absent}");
        assert_eq!(value(server, "redis_clients_connections", &[("kind", "exporter")]), Some(1.0));
        assert_eq!(value(server, "redis_clients_sample_complete", &[]), Some(1.0));
        assert!(value(server, "redis_clients_sample_longest_command_seconds", &[]).is_some_and(|time| time > 0.0));
    }
    assert_eq!(value(&primary, "redis_clients_blocked", &[]), Some(2.0));
    assert_eq!(value(&primary, "redis_clients_maxclients", &[]), Some(10_000.0));
    assert_eq!(value(&primary, "redis_clients_tracking", &[]), Some(1.0));
    let reported = value(&primary, "redis_clients_reported_connections", &[]);
    let listed: f64 = scrape.all("redis_clients_connections", &[("redis", &primary.address())]).map(|s| s.value).sum();
    assert_eq!(reported.map(|reported| reported + 1.0), Some(listed), "INFO leaves out the replica only");
}

/// Returns the metrics of one node in the form of the `CLIENT LIST` counts.
fn counts_of(scrape: &Scrape, node: &str) -> Truth {
    let of_node = Scrape {
        series: scrape
            .series
            .iter()
            .filter(|s| s.labels.get("redis").is_some_and(|found| found == node))
            .cloned()
            .collect(),
        bytes: 0,
    };
    Truth {
        kinds: of_node.by("redis_clients_connections", "kind"),
        states: of_node.by("redis_clients_state_connections", "state"),
        users: of_node.by("redis_clients_user_connections", "user"),
        databases: of_node.by("redis_clients_database_connections", "database"),
        silent: of_node.sum("redis_clients_silent") as u64,
        idle: of_node.sum("redis_clients_idle_connections") as u64,
    }
}

fn the_acl_line_of_check_grants_what_is_needed_and_no_more(binary: &Binary) {
    let server = Server::start(binary);
    let address = server.address();
    let text = String::from_utf8(run(&["check", "--redis.addr", &address]).stdout).expect("UTF-8");
    let line = text.lines().find(|line| line.trim().starts_with("ACL SETUSER")).expect("check prints the line");
    let line = line.replace("PASSWORD", "secret");
    server.peer().must(&line.split_whitespace().collect::<Vec<_>>());

    let user = ["--redis.user=redis-client-exporter", "--redis.password=secret"];
    let checked = run(&[["check", "--redis.addr", &address].as_slice(), &user].concat());
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let announcer = Exporter::start(&[&address], &[&user[..], &["--announce=auto"]].concat(), &[]);
    let announced = |scrape: &Scrape| scrape.value("redis_clients_announcements_total", &[]);
    announcer.scrape_until("a status", |scrape| announced(scrape).is_some_and(|count| count > 0.0));
    let log = announcer.log().join("\n");
    assert!(!log.contains("level=warn"), "{log}");
    drop(announcer);
    let exporter = Exporter::start(&[&address], &user, &[]);
    let scrape = exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    assert_eq!(scrape.value("redis_clients_samples_total", &[("result", "partial")]), Some(0.0));

    let rows = server.peer().ask(&["CLIENT", "LIST"]);
    let ours = rows.lines().find(|row| row.contains("name=redis-client-exporter")).expect("our link has a name");
    assert_eq!(ours.contains("lib-name=redis-client-exporter"), ours.contains("lib-name="), "{ours}");

    // Without a name, our own links are still recognized by their ids.
    server.peer().must(&[
        "ACL",
        "SETUSER",
        "nameless",
        "on",
        ">secret",
        "-@all",
        "+client|list",
        "+client|id",
        "+info",
    ]);
    let nameless = Exporter::start(&[&address], &["--redis.user=nameless", "--redis.password=secret"], &[]);
    // Those of the announcer may take a while to close.
    nameless.scrape_until("two links", |scrape| {
        scrape.value("redis_clients_connections", &[("kind", "exporter")]) == Some(2.0)
    });

    let mut peer = server.peer();
    peer.must(&["AUTH", "redis-client-exporter", "secret"]);
    for forbidden in [
        &["GET", "key"][..],
        &["PUBLISH", "news", "any"],
        &["CLIENT", "KILL", "ID", "1"],
        &["CONFIG", "GET", "*"],
        &["FLUSHALL"],
    ] {
        assert!(peer.ask(forbidden).starts_with("-NOPERM"), "{forbidden:?}");
    }
}

fn counters_survive_resetstat_and_restart(binary: &Binary) {
    const RECEIVED: &str = "redis_clients_connections_received_total";
    let mut server = Server::start(binary);
    for _ in 0..20 {
        server.peer().must(&["PING"]);
    }
    let exporter = Exporter::watching(&[&server.address()]);
    let received = |scrape: &Scrape| scrape.value(RECEIVED, &[]).unwrap_or(0.0);
    let before = received(&exporter.scrape_until("a sample", |scrape| received(scrape) >= 20.0));

    server.peer().must(&["CONFIG", "RESETSTAT"]);
    let after_reset = received(&exporter.fresh_scrape());
    assert!(after_reset >= before, "{after_reset} after {before}");

    server.restart();
    let scrape = exporter.scrape_until("the restarted server is sampled", |scrape| {
        scrape.value("redis_clients_up", &[]) == Some(1.0) && received(scrape) > after_reset
    });
    assert_eq!(scrape.value("redis_clients_connections", &[("kind", "exporter")]), Some(1.0));
}

fn a_unix_socket_works_like_a_port(binary: &Binary) {
    let server = Server::start(binary);
    let _clients = TestClients::join(&server);
    let path = server.socket().display().to_string();
    assert!(path.contains(' '), "{path}");
    let exporter = Exporter::watching(&[&format!("unix://{path}")]);
    let mut control = server.peer();
    eventually("the metrics are those of CLIENT LIST", || {
        let truth = Truth::ask(&mut control, 300).kinds;
        let scrape = exporter.fresh_scrape();
        assert!(scrape.all("redis_clients_online", &[]).all(|series| series.labels["redis"] == path));
        (scrape.by("redis_clients_connections", "kind") == truth).then_some(())
    });
}

/// Writes each server's `CLIENT LIST` reply into `tests/corpus/real`, as goldens of `corpus`. Run it by hand for a new
/// server: `cargo test --test integration -- --ignored capture`.
#[test]
#[ignore = "writes the goldens"]
fn capture() {
    for binary in binaries() {
        let server = Server::start_with(&binary, &["--bind", "127.0.0.1", "::1", "--repl-diskless-sync-delay", "0"]);
        let replica = Server::start(&binary);
        replica.peer().must(&["REPLICAOF", "127.0.0.1", &server.port.to_string()]);
        let _clients = TestClients::join(&server);
        let mut control = server.peer();
        let six = crate::support::peer::Peer::connect(&format!("[::1]:{}", server.port));
        control.must(&[b"ACL".as_slice(), b"SETUSER", b"caf\xe9", b"on", b"nopass", b"~*", b"+@all"]);
        let mut odd = server.peer();
        odd.must(&[b"AUTH".as_slice(), b"caf\xe9", b"any"]);
        eventually("the replica is connected", || control.ask(&["CLIENT", "LIST"]).contains("flags=S").then_some(()));
        let rows = control.ask_bytes(&["CLIENT", "LIST"]);
        drop(six);
        std::fs::write(project(&format!("tests/corpus/real/{}.txt", binary.name)), rows).expect("a file");
    }
}
