//! Servers that are compatible with Redis: what they report under their own names. Redict is a real one. The others
//! have no package to install, so a server in the test answers with texts that were published, or with those that their
//! source writes (`tests/corpus/engines`, where each text has its source).

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::support::exporter::{Exporter, run};
use crate::support::peer::Peer;
use crate::support::project;
use crate::support::scrape::Scrape;
use crate::support::server::{Binary, Server, binaries, missing};

/// The text of an engine, by section: those of `INFO`, and `CLIENT LIST`.
fn section(text: &str, name: &str) -> String {
    let is_wanted = |section: &&str| section.lines().next().is_some_and(|title| title.eq_ignore_ascii_case(name));
    let found = text.split("# ").find(is_wanted).unwrap_or_default();
    let rows = found.split_once('\n').map_or("", |(_, rows)| rows);
    if name == "CLIENT LIST" { rows.to_owned() } else { format!("# {}", found.replace('\n', "\r\n")) }
}

/// Starts a server that answers our commands with these texts. Returns its address.
fn engine(name: &str) -> String {
    let text = fs::read_to_string(project(&format!("tests/corpus/engines/{name}.txt"))).expect("a text");
    let text: Arc<str> = text.into();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let text = Arc::clone(&text);
            std::thread::spawn(move || answer(&stream, &text));
        }
    });
    address
}

/// Answers commands until the connection closes.
fn answer(mut stream: &TcpStream, text: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let own = section(text, "CLIENT LIST").lines().last()?.split(' ').next()?.replace("id=", "");
    loop {
        let command = read_command(&mut reader)?;
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let bulk = |text: String| format!("${}\r\n{text}\r\n", text.len());
        let reply = match words.as_slice() {
            ["CLIENT", "ID"] => format!(":{own}\r\n"),
            ["CLIENT", "LIST"] => bulk(section(text, "CLIENT LIST")),
            ["CLIENT", "LIST", ..] => "-ERR syntax error\r\n".to_owned(),
            ["INFO", wanted] => bulk(section(text, wanted)),
            _ => "+OK\r\n".to_owned(),
        };
        stream.write_all(reply.as_bytes()).ok()?;
    }
}

fn read_command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let count = read_length(reader)?;
    (0..count).map(|_| read_word(reader)).collect()
}

/// The number in a line such as `*2` or `$4`.
fn read_length(reader: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

fn read_word(reader: &mut impl BufRead) -> Option<String> {
    let length = read_length(reader)?;
    let mut word = vec![0; length + "\r\n".len()];
    reader.read_exact(&mut word).ok()?;
    Some(String::from_utf8_lossy(&word[..length]).into_owned())
}

/// A scrape once the server was sampled.
fn sampled(address: &str) -> (Exporter, Scrape) {
    let exporter = Exporter::watching(&[address]);
    exporter.scrape_until("a sample", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
    let scrape = exporter.fresh_scrape();
    (exporter, scrape)
}

/// The product and the version of the server, and the roles that it has.
fn server(scrape: &Scrape) -> [String; 3] {
    let info = scrape.all("redis_clients_server_info", &[]).next().expect("the server is known");
    let roles = scrape.by("redis_clients_node_role", "role").into_keys().collect::<Vec<_>>().join(",");
    [info.labels["product"].clone(), info.labels["version"].clone(), roles]
}

fn apps(scrape: &Scrape) -> BTreeSet<String> {
    scrape.by("redis_clients_app_connections", "client_app").into_keys().collect()
}

#[test]
fn dragonfly_is_known_by_its_own_fields_and_impossible_numbers_are_left_out() {
    let address = engine("dragonfly");
    let (exporter, scrape) = sampled(&address);
    assert_eq!(server(&scrape), ["dragonfly", "df-v1.21.2", "replica"]);
    assert_eq!(scrape.value("redis_clients_maxclients", &[]), Some(64000.0));
    for absent in ["redis_clients_reported_connections", "redis_clients_sample_drift"] {
        assert_eq!(scrape.value(absent, &[]), None, "{absent}");
    }
    assert_eq!(scrape.value("redis_clients_connections_rejected_total", &[]), None, "-1 means: not counted");
    assert_eq!(scrape.value("redis_clients_info_fields_refused", &[]), Some(1.0));
    assert_eq!(exporter.log().iter().filter(|line| line.contains("field=connected_clients")).count(), 1);
    // The row of the client whose name has a line break, without the row in its name.
    let faults = scrape.by("redis_clients_unreadable_lines_total", "reason");
    assert!(faults["continuation"] >= 1 && faults.values().filter(|lines| **lines > 0).count() == 1, "{faults:?}");
    assert_eq!(scrape.value("redis_clients_sample_complete", &[]), Some(0.0));
    assert_eq!(scrape.value("redis_clients_online", &[]), Some(3.0));
    assert!(apps(&scrape).contains("evil") && !apps(&scrape).contains("forged"), "{:?}", apps(&scrape));
    let check = run(&["check", &format!("--redis.addr={address}")]);
    let report = String::from_utf8_lossy(&check.stdout);
    assert!(report.contains("without values that cannot be true: connected_clients"), "{report}");
}

#[test]
fn kvrocks_keydb_and_garnet_are_known_by_their_own_fields() {
    let cases = [
        ("kvrocks", ["kvrocks", "2.10.0", "primary"], Some(10000.0), None, Some(41.0), 1.0),
        ("keydb", ["keydb", "6.3.4", "replica"], Some(10000.0), Some(2.0), Some(62.0), 0.0),
        // It has no limit, and counts nothing.
        ("garnet", ["garnet", "2.2.8", "primary"], None, None, None, 0.0),
    ];
    for (name, expected, limit, connections, received, refused) in cases {
        let (_exporter, scrape) = sampled(&engine(name));
        assert_eq!(server(&scrape), expected);
        let value = |metric| scrape.value(metric, &[]);
        assert_eq!(value("redis_clients_maxclients"), limit, "{name}");
        assert_eq!(value("redis_clients_reported_connections"), connections, "{name}");
        assert_eq!(value("redis_clients_connections_received_total"), received, "{name}");
        assert_eq!(value("redis_clients_info_fields_refused"), Some(refused), "{name}");
        assert_eq!(value("redis_clients_sample_complete"), Some(1.0), "{name}");
        assert_eq!(value("redis_clients_online"), Some(1.0), "{name}");
        assert_eq!(apps(&scrape), BTreeSet::from(["web".to_owned()]), "{name}");
    }
}

#[test]
fn redict_is_not_redis() {
    let path = project(".cache/servers/redict/redict-server");
    if !path.exists() {
        return missing("redict");
    }
    let redict = Server::start(&Binary { name: "redict".into(), path });
    let (_exporter, scrape) = sampled(&redict.address());
    let [product, version, role] = server(&scrape);
    assert_eq!((product.as_str(), role.as_str()), ("redict", "primary"));
    assert!(version.starts_with("7.3."), "{version}");
    assert!(scrape.value("redis_clients_maxclients", &[]).is_some_and(|limit| limit > 0.0));
}

/// Servers print the address that a replica announces as it is: its line breaks make lines of `INFO`.
#[test]
fn a_client_that_claims_to_be_a_replica_writes_no_field_of_info() {
    for binary in binaries() {
        println!("{}", binary.name);
        let server_process = Server::start(&binary);
        let (exporter, before) = sampled(&server_process.address());
        let mut replica = server_process.peer();
        let forged = "x\r\nvalkey_version:99\r\nmaxclients:7\r\n# Server\r\nrun_id:forged\r\nrole:slave\r\nz";
        replica.must(&["REPLCONF", "ip-address", forged]);
        replica.send(&["PSYNC", "?", "-1"]);
        exporter.scrape_until("a replica", |scrape| {
            scrape.value("redis_clients_connections", &[("kind", "replica")]) == Some(1.0)
        });
        let info = Peer::connect(&server_process.address()).ask(&["INFO", "replication"]);
        assert!(info.contains("\nrun_id:forged"), "{info}");
        let scrape = exporter.fresh_scrape();
        assert_eq!(server(&scrape), server(&before));
        let limit = |scrape: &Scrape| scrape.value("redis_clients_maxclients", &[]);
        assert_eq!(limit(&scrape), limit(&before));
        assert_eq!(scrape.sum("redis_clients_closed_total"), 0.0, "no other server");
    }
}
