//! The pages, the API and the event stream of a real exporter with real clients.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;

use crate::support::exporter::Exporter;
use crate::support::http::{Answer, get, request, request_as};
use crate::support::server::{Server, any_binary};
use crate::support::test_clients::TestClients;
use crate::support::{PATIENCE, eventually, share};

/// Starts a server with clients of every kind, and an exporter that has sampled it.
pub(crate) fn watched(words: &[&str]) -> Option<(Server, TestClients, Exporter)> {
    let server = Server::start(&any_binary()?);
    let crowd = TestClients::join(&server);
    let exporter = Exporter::start(&[&server.address()], words, &[]);
    exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    Some((server, crowd, exporter))
}

pub(crate) fn json(answer: &Answer) -> Value {
    serde_json::from_str(answer.text()).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}

#[test]
fn every_page_is_complete_and_correct_without_javascript() {
    let Some((server, _crowd, exporter)) = watched(&["--presence.expect=ghost=2"]) else { return };
    let overview = get(&exporter.address, "/");
    assert!(overview.status == 200 && overview.text().contains(&server.address()), "{}", overview.text());
    let clients = get(&exporter.address, "/clients?sort=id");
    for row in server.peer().ask(&["CLIENT", "LIST"]).lines().filter(|row| row.contains("name=web-")) {
        let field = |key: &str| {
            row.split(' ').find_map(|part| part.strip_prefix(key)).unwrap_or_else(|| panic!("{key} in {row}"))
        };
        let (id, address) = (field("id="), field("addr="));
        assert!(clients.text().contains(&format!("/clients/{id}?redis=")), "{id}");
        assert!(clients.text().contains(&format!("<td>{address}</td>")), "{address}");
    }
    let apps = get(&exporter.address, "/apps");
    assert!(apps.text().contains("ghost") && apps.text().contains("missing"), "{}", apps.text());
    assert_eq!(get(&exporter.address, "/closed").status, 200);
    let first = json(&get(&exporter.address, "/api/v1/clients?app=web&limit=1"));
    let id = &first["items"][0]["id"];
    let page = get(&exporter.address, &format!("/clients/{id}"));
    assert!(page.status == 200 && page.text().contains("tot-mem") && page.text().contains("web"), "{}", page.text());
    assert_eq!(get(&exporter.address, "/clients/999999999").status, 404);
    assert_eq!(get(&exporter.address, "/clients?sort=nonsense").status, 400);
}

#[test]
fn names_of_clients_are_text_on_every_page() {
    let Some((server, _crowd, exporter)) = watched(&[]) else { return };
    let mut hostile = server.peer();
    hostile.must(&["CLIENT", "SETNAME", "<img/src=x/onerror=alert(1)>"]);
    exporter.fresh_scrape();
    for path in ["/", "/clients", "/clients?q=onerror", "/apps", "/clients?app=%3Cimg/src=x/onerror=alert(1)%3E"] {
        let answer = get(&exporter.address, path);
        assert!(answer.status == 200 && !answer.text().contains("<img"), "{path}");
        assert!(answer.text().contains("&#60;img/src=x") || answer.text().contains("&lt;img/src=x"), "{path}");
    }
    let policy = get(&exporter.address, "/clients").header("content-security-policy").unwrap_or_default().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let csv = get(&exporter.address, "/api/v1/clients.csv");
    assert!(csv.text().contains("'=cmd|calc") && !csv.text().contains(",=cmd|calc"), "{}", csv.text());
}

#[test]
fn the_api_counts_what_client_list_counts() {
    let Some((server, _crowd, exporter)) = watched(&[]) else { return };
    let rows = server.peer().ask(&["CLIENT", "LIST"]).lines().count() as u64;
    let all = json(&get(&exporter.address, "/api/v1/clients?limit=1000"));
    // The client that sent CLIENT LIST has closed again.
    assert_eq!(all["total"].as_u64(), Some(rows - 1));
    assert_eq!(all["items"].as_array().map(|items| items.len() as u64), Some(rows - 1));
    let status = json(&get(&exporter.address, "/api/v1/status"));
    assert_eq!(status["nodes"][0]["connections"].as_u64(), Some(rows - 1));
    let some = json(&get(&exporter.address, "/api/v1/clients?app=web&limit=1&offset=1&sort=id"));
    assert_eq!((some["matched"].as_u64(), some["items"].as_array().map(Vec::len)), (Some(2), Some(1)));
    let lines = get(&exporter.address, "/api/v1/clients.ndjson?app=web");
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    let apps = json(&get(&exporter.address, "/api/v1/apps"));
    let web = apps["nodes"][0]["apps"].as_array().and_then(|apps| apps.iter().find(|app| app["app"] == "web").cloned());
    assert_eq!(web.map(|web| web["connections"].clone()), Some(2.into()));
    for (path, status) in [("clients/x", 400), ("clients?limit=5000", 400), ("nothing", 404), ("openapi.json", 200)] {
        assert_eq!(get(&exporter.address, &format!("/api/v1/{path}")).status, status, "{path}");
    }
    // Every path of the description exists.
    let openapi = json(&get(&exporter.address, "/api/v1/openapi.json"));
    for path in openapi["paths"].as_object().expect("paths").keys().filter(|path| !path.ends_with("/events")) {
        let id = all["items"][0]["id"].to_string();
        assert_eq!(get(&exporter.address, &path.replace("{id}", &id)).status, 200, "{path}");
    }
}

#[test]
fn unauthenticated_peers_see_metrics_but_no_clients() {
    let Some((_server, _crowd, exporter)) = watched(&[]) else { return };
    for path in ["/", "/clients", "/api/v1/clients", "/api/v1/events"] {
        let answer = request_as(&exporter.address, "rebound.example", "GET", path, &[]).expect("an answer");
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("--web.pages on") && !answer.text().contains("web-1"), "{}", answer.text());
    }
    let answer = request_as(&exporter.address, "rebound.example", "GET", "/metrics", &[]).expect("an answer");
    assert_eq!(answer.status, 200);
    let Some((_server, _crowd, off)) = watched(&["--web.pages=off"]) else { return };
    assert_eq!((get(&off.address, "/clients").status, get(&off.address, "/metrics").status), (403, 200));
}

/// An event stream, read line by line.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(exporter: &Exporter) -> Self {
        let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
        Self(BufReader::new(stream))
    }

    /// Reads until a line contains all of these texts.
    fn until(&mut self, wanted: &[&str]) -> String {
        let mut line = String::new();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            line.clear();
            self.0.read_line(&mut line).expect("the stream continues");
            if wanted.iter().all(|wanted| line.contains(wanted)) {
                return line;
            }
        }
        panic!("no event with {wanted:?}");
    }
}

#[test]
fn events_report_the_state_at_once_and_opened_and_closed_connections() {
    let Some((server, _crowd, exporter)) = watched(&[]) else { return };
    let mut events = Events::open(&exporter);
    events.until(&["event: status"]);
    let mut new_client = server.peer();
    let id = new_client.ask(&["CLIENT", "ID"])[1..].to_owned();
    new_client.must(&["CLIENT", "SETNAME", "new-client"]);
    events.until(&["event: opened"]);
    events.until(&["data:", &format!("\"id\":{id}")]);
    drop(new_client);
    let gone = events.until(&["data:", &format!("\"id\":{id},"), "\"closed_reason\""]);
    assert!(gone.contains("\"name\":\"new-client\""), "{gone}");
}

#[test]
fn streams_are_bounded_and_end_with_the_program() {
    let _alone = share::alone();
    let Some((_server, _crowd, mut exporter)) = watched(&[]) else { return };
    // One peer may have half of all streams.
    let mut streams: Vec<Events> = (0..100).map(|_| Events::open(&exporter)).collect();
    for stream in &mut streams {
        stream.until(&["event: status"]);
    }
    let one_more = get(&exporter.address, "/api/v1/events");
    assert_eq!(one_more.status, 503);
    assert_eq!(get(&exporter.address, "/metrics").status, 200, "scrapes still work");
    streams.truncate(1);
    eventually("a place is free again", || {
        let mut stream = Events::open(&exporter);
        let mut line = String::new();
        stream.0.read_line(&mut line).ok()?;
        line.contains("200").then_some(())
    });
    exporter.signal("TERM");
    assert!(exporter.wait().success());
}

#[test]
fn browsers_get_errors_as_pages() {
    let Some((_server, _crowd, exporter)) = watched(&["--presence.expect=ghost=2"]) else { return };
    for path in ["/clients?sort=%3Cscript%3E", "/clients/999999999", "/nothing"] {
        let page = request(&exporter.address, "GET", path, &["accept: text/html,*/*"]).expect("an answer");
        assert!(page.status >= 400 && page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
        assert!(page.text().contains("<h1>") && !page.text().contains("<script>"), "{}", page.text());
        assert!(json(&get(&exporter.address, path))["error"].is_string(), "{path}");
    }
    let overview = get(&exporter.address, "/");
    assert!(overview.text().contains("ghost has 0 of 2 expected connections"), "{}", overview.text());
}

#[test]
fn an_unchanged_page_is_not_sent_again() {
    let Some((_server, _crowd, exporter)) = watched(&["--client-announce-frequency=60"]) else { return };
    let tag = get(&exporter.address, "/apps").header("etag").expect("a tag").to_owned();
    let known = format!("if-none-match: {tag}");
    assert_eq!(request(&exporter.address, "GET", "/apps", &[&known]).expect("an answer").status, 304);
}
