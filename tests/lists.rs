//! Pages and the API beyond the list of clients: groups, columns, the last hour, closed connections, and the recent
//! observations of one client.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::pages::{json, watched};
use crate::support::exporter::Exporter;
use crate::support::http::{get, request};
use crate::support::server::{Server, any_binary};
use crate::support::{eventually, project, share};

fn api(exporter: &Exporter, path: &str) -> Value {
    json(&get(&exporter.address, &format!("/api/v1/{path}")))
}

fn items(answer: &Value) -> &[Value] {
    answer["items"].as_array().expect("a list")
}

#[test]
fn clients_are_grouped_and_counted() {
    let Some((server, _crowd, exporter)) = watched(&[]) else { return };
    let total = |path: &str| api(&exporter, path)["matched"].as_u64();
    let (all, applications) = (total("clients?limit=0"), total("clients?limit=0&kind=application"));
    for by in ["app", "user", "state", "host", "command", "database"] {
        let groups = api(&exporter, &format!("clients?group={by}"));
        let sum: u64 = items(&groups).iter().filter_map(|group| group["connections"].as_u64()).sum();
        assert_eq!((Some(sum), groups["matched"].as_u64()), (applications, applications), "{by}");
        assert_eq!(groups["internal"].as_u64().zip(applications).map(|(internal, more)| internal + more), all, "{by}");
    }
    let rows = server.peer().ask(&["CLIENT", "LIST"]).lines().filter(|row| row.contains("name=web-")).count() as u64;
    let web = api(&exporter, "clients?group=app&app=web");
    assert_eq!((web["groups"].as_u64(), items(&web)[0]["connections"].as_u64()), (Some(1), Some(rows)));
    let csv = get(&exporter.address, "/api/v1/clients.csv?group=name");
    assert!(csv.text().contains("\n'=cmd|calc,1,"), "{}", csv.text());
    // The groups on the page link to their clients.
    let page = get(&exporter.address, "/clients?group=user");
    let link = page.text().split('"').find(|text| text.contains("filter=user%3Dalice")).expect("a link to alice's");
    let clients = get(&exporter.address, &link.replace("&#38;", "&").replace("&amp;", "&"));
    assert!(clients.text().contains("<strong data-matched>1</strong>"), "{link}: {}", clients.text());
}

#[test]
fn the_selected_columns_are_shown() {
    let Some((_server, _crowd, exporter)) = watched(&[]) else { return };
    let some = api(&exporter, "clients?columns=id,host,buffers&limit=1");
    let keys: Vec<&String> = items(&some)[0].as_object().map(|object| object.keys().collect()).unwrap_or_default();
    assert_eq!(keys, ["host", "id", "output_buffer_bytes"]);
    let csv = get(&exporter.address, "/api/v1/clients.csv?columns=id,name&app=web&sort=id");
    let lines: Vec<&str> = csv.text().lines().collect();
    assert!(lines[0] == "id,name" && lines[1].ends_with(",web-1") && lines[2].ends_with(",web-2"), "{lines:?}");
    let page = get(&exporter.address, "/clients?cols=id&columns=db&app=web");
    let heads = page.text().split("<th scope").skip(1).count();
    assert!(heads == 2 && page.text().contains(">Database<") && page.text().contains("<td class=\"number\">3</td>"));
    assert_eq!(get(&exporter.address, "/clients?columns=nonsense").status, 400);
}

#[test]
fn the_last_hour_is_returned_in_columns() {
    let Some((server, _crowd, exporter)) = watched(&["--client-announce-frequency=1"]) else { return };
    let _more: Vec<_> = (0..7).map(|_| server.peer()).collect();
    exporter.fresh_scrape();
    // Points are ten seconds apart.
    let history = eventually("a second point", || {
        let history = api(&exporter, "history");
        (history["nodes"][0]["at"].as_array()?.len() > 1).then_some(history)
    });
    let node = &history["nodes"][0];
    let length = node["at"].as_array().map(Vec::len);
    for column in
        ["connections", "online", "active", "blocked", "subscribed", "idle", "opened_per_second", "closed_per_second"]
    {
        assert_eq!(node[column].as_array().map(Vec::len), length, "{column}");
    }
    let last = |column: &Value| column.as_array().and_then(|column| column.last()).and_then(Value::as_u64);
    let status = api(&exporter, "status");
    assert_eq!(last(&node["online"]), status["nodes"][0]["online"].as_u64());
    let apps = node["apps"].as_array().expect("a list");
    let sum: u64 = apps.iter().filter_map(|app| last(&app["connections"])).sum();
    assert_eq!(Some(sum), last(&node["online"]));
    let ages = node["last_interaction"]["counts"].as_array().expect("a list");
    let node = &status["nodes"][0];
    let count = |value: &Value| value.as_u64().expect("a number");
    let waiting = count(&node["states"]["blocked"]) + count(&node["states"]["subscribed"]);
    let counted: u64 = ages.iter().filter_map(Value::as_u64).sum();
    assert_eq!(counted, count(&node["online"]) - count(&node["silent"]) - waiting);
    assert!(get(&exporter.address, "/").text().contains("Recent changes"));
}

#[test]
fn a_closed_connection_is_listed_and_its_page_says_so() {
    let Some((server, _crowd, exporter)) = watched(&["--client-announce-frequency=1"]) else { return };
    let mut leaver = server.peer();
    let id = leaver.ask(&["CLIENT", "ID"])[1..].to_owned();
    leaver.must(&["CLIENT", "SETNAME", "leaver-<b>"]);
    eventually("it is listed", || {
        get(&exporter.address, &format!("/clients/{id}")).text().contains("leaver").then_some(())
    });
    drop(leaver);
    let page = eventually("it is closed", || {
        let page = get(&exporter.address, &format!("/clients/{id}"));
        page.text().contains("Closed by").then_some(page)
    });
    assert!(page.text().contains("reason unknown") && !page.text().contains("<b>"), "{}", page.text());
    for (path, found) in
        [("closed?q=leaver", 1), ("closed?q=missing", 0), ("closed?app=leaver-%3Cb%3E", 1), ("closed?user=x", 0)]
    {
        let answer = api(&exporter, path);
        assert_eq!(answer["matched"].as_u64(), Some(found), "{path}");
        assert!(answer["total"].as_u64() >= Some(1));
    }
    let csv = get(&exporter.address, "/api/v1/closed.csv?q=leaver");
    assert!(csv.text().lines().count() == 2 && csv.text().contains("leaver-<b>"), "{}", csv.text());
    let page = get(&exporter.address, "/closed?q=leaver");
    assert!(page.text().contains(&format!("/clients/{id}?redis=")));
    assert!(page.text().contains(r#"aria-sort="descending"><a href="/closed?q=leaver&#38;sort=closed_at">"#));
    let page = get(&exporter.address, "/closed?q=leaver&columns=id,closed_reason&sort=-id");
    let heads = page.text().matches("<th scope=\"col\"").count();
    assert_eq!((heads, page.text().matches(">unknown</td>").count()), (2, 1), "{}", page.text());
    assert_eq!(get(&exporter.address, "/closed?columns=flags").status, 400);
}

#[test]
fn observations_of_a_client_are_kept_while_its_page_is_requested() {
    let Some((server, _crowd, exporter)) = watched(&["--client-announce-frequency=1"]) else { return };
    let mut peer = server.peer();
    let id = peer.ask(&["CLIENT", "ID"])[1..].to_owned();
    exporter.fresh_scrape();
    let path = format!("/clients/{id}");
    for (command, key) in [("GET", "a"), ("EXISTS", "a")] {
        peer.ask(&[command, key]);
        eventually("it is sampled", || {
            let page = get(&exporter.address, &path);
            page.text().contains(&format!("<td>{}</td>", command.to_lowercase())).then_some(())
        });
    }
    let page = get(&exporter.address, &path);
    let commands: Vec<_> = ["exists", "get"].map(|command| page.text().find(&format!("<td>{command}</td>"))).into();
    assert!(commands[0].is_some() && commands[0] < commands[1], "the newest first: {}", page.text());
}

/// The list needs several chunks, and is larger than the window of a page.
#[test]
fn an_export_has_every_connected_client() {
    let _alone = share::alone();
    let Some((server, _crowd, exporter)) = watched(&["--client-announce-frequency=1"]) else { return };
    let _many: Vec<_> = (0..1300).map(|_| server.peer()).collect();
    exporter.scrape_until("all", |scrape| scrape.sum("redis_clients_online") > 1300.0);
    let ids: BTreeSet<String> = server
        .peer()
        .ask(&["CLIENT", "LIST"])
        .lines()
        .filter_map(|row| row.strip_prefix("id=")?.split(' ').next().map(str::to_owned))
        .collect();
    let csv = get(&exporter.address, "/api/v1/clients.csv?columns=id");
    let listed: BTreeSet<String> = csv.text().lines().skip(1).map(str::to_owned).collect();
    assert_eq!(csv.text().lines().count() - 1, listed.len(), "no client twice");
    // The client that sent CLIENT LIST has closed again.
    assert!(listed.len() + 1 == ids.len() && listed.is_subset(&ids), "{} of {}", listed.len(), ids.len());
    let lines = get(&exporter.address, "/api/v1/clients.ndjson?limit=700&offset=100&sort=id");
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 700);
    assert!(lines.is_sorted_by_key(|line| line["id"].as_u64()));
    assert_eq!(get(&exporter.address, "/api/v1/clients.csv?sort=nonsense").status, 400);
}

/// The documented commands and links work as written: curl does not encode URLs.
#[test]
fn documented_examples_work() {
    let Some((_server, _crowd, exporter)) = watched(&[]) else { return };
    for (file, begin, end) in
        [("README.md", "curl -s 'localhost:19121", '\''), ("docs/diagnosing.md", "](http://localhost:19121", ')')]
    {
        let text = std::fs::read_to_string(project(file)).expect("a document");
        let paths: Vec<&str> = text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect();
        assert!(paths.len() > 1, "{file}: {paths:?}");
        for path in paths {
            assert_eq!(get(&exporter.address, path).status, 200, "{file}: {path}");
        }
    }
}

#[test]
fn compressed_pages_are_small() {
    let Some((_server, _crowd, exporter)) = watched(&[]) else { return };
    for path in ["/", "/clients", "/api/v1/clients", "/api/v1/history", "/assets/uplot/uPlot.esm.js"] {
        let plain = get(&exporter.address, path);
        let small = request(&exporter.address, "GET", path, &["accept-encoding: gzip"]).expect("an answer");
        assert_eq!(small.header("content-encoding"), Some("gzip"), "{path}");
        assert!(small.body.len() * 2 < plain.body.len(), "{path}: {} and {}", small.body.len(), plain.body.len());
    }
}

/// Returns the links of a page, each with the rest of its table row.
fn links<'a>(page: &'a str, begin: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    page.split("<tr>").filter_map(move |row| {
        let link = row.split('"').find(|text| text.starts_with(begin))?;
        let number = row.split("class=\"number\">").nth(1)?.split('<').next()?;
        Some((link.replace("&#38;", "&"), number))
    })
}

#[test]
fn a_count_links_to_a_list_of_as_many_clients() {
    let Some((server, _crowd, exporter)) = watched(&[]) else { return };
    let mut odd = server.peer();
    odd.must(&["ACL", "SETUSER", "\u{a0}nb", "on", "nopass", "+@all"]);
    odd.must(&["AUTH", "\u{a0}nb", "any"]).must(&["CLIENT", "SETNAME", "nb&a=\"b\"%3D"]);
    let mut long = server.peer();
    long.must(&["CLIENT", "SETNAME", &"x".repeat(300)]);
    exporter.fresh_scrape();
    let pages = ["app", "name", "user", "host", "network", "cmd", "db", "state", "kind", "library"];
    let pages = pages.map(|by| format!("/clients?group={by}")).into_iter().chain(["/".to_owned()]);
    for path in pages {
        // A connection of the test itself may still be closing while the pages are fetched.
        eventually(&format!("the counts of {path} are those of their lists"), || {
            let page = get(&exporter.address, &path);
            let found: Vec<_> = links(page.text(), "/clients?").collect();
            assert!(!found.is_empty(), "{path}");
            let is_right = |(link, number): &(String, &str)| {
                let clients = get(&exporter.address, link);
                let is_right = clients.text().contains(&format!("data-matched>{number}<"));
                if !is_right {
                    println!("{path}: {number} by {link}");
                }
                is_right
            };
            found.iter().all(is_right).then_some(())
        });
    }
}

#[test]
fn a_client_closed_by_a_restart_is_not_confused_with_a_later_one() {
    let Some((mut server, crowd, exporter)) = watched(&["--client-announce-frequency=1"]) else { return };
    let mut before = server.peer();
    before.must(&["CLIENT", "SETNAME", "before"]);
    exporter.scrape_until("it is sampled", |scrape| {
        scrape.value("redis_clients_app_connections", &[("client_app", "before")]) == Some(1.0)
    });
    let id = before.ask(&["CLIENT", "ID"])[1..].parse::<u64>().expect("an id");
    drop((before, crowd));
    server.restart();
    let mut after: Vec<_> = (0..id + 5).map(|_| server.peer()).collect();
    for peer in &mut after {
        peer.must(&["CLIENT", "SETNAME", "after"]);
    }
    let link = eventually("it is listed as closed", || {
        let page = get(&exporter.address, "/closed?q=before");
        let link = page.text().split('"').find(|text| text.starts_with(&format!("/clients/{id}?")))?;
        Some(link.replace("&#38;", "&"))
    });
    eventually("another has its id", || {
        get(&exporter.address, &format!("/clients/{id}")).text().contains(">after<").then_some(())
    });
    let page = get(&exporter.address, &link);
    assert!(page.text().contains("Closed by") && page.text().contains(">before<"), "{link}: {}", page.text());
}

#[test]
fn pages_say_when_they_show_an_old_sample() {
    let Some((mut server, crowd, exporter)) = watched(&["--client-announce-frequency=1"]) else { return };
    let id = items(&api(&exporter, "clients?app=web&limit=1"))[0]["id"].clone();
    drop(crowd);
    server.kill();
    for path in ["/", "/clients", "/apps", "/closed", &format!("/clients/{id}")] {
        eventually(path, || {
            get(&exporter.address, path).text().contains("Showing the last successful sample").then_some(())
        });
    }
}

#[test]
fn a_form_keeps_its_parameters() {
    let Some((server, _crowd, exporter)) = watched(&[]) else { return };
    let page =
        get(&exporter.address, "/clients?group=library&app=web&app=web&cols=id&cols=fd&kind=application&utm_source=x");
    for part in [
        r#"<option value="library" selected>"#,
        r#"<input type="hidden" name="app" value="web">"#,
        r#"<input type="hidden" name="kind" value="application">"#,
        r#"name="columns" value="fd" checked>"#,
    ] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    assert!(!page.text().contains("utm_source"));
    let usual = get(&exporter.address, "/clients")
        .text()
        .split('"')
        .find(|text| text.starts_with("id,address,"))
        .map(str::to_owned);
    let page = get(&exporter.address, &format!("/clients?q=web&columns={}", usual.expect("the usual columns")));
    assert!(page.text().contains(r#"href="/api/v1/clients.csv?q=web" download"#), "{}", page.text());
    for path in ["/?redis=nope", "/clients?redis=nope", "/api/v1/status?redis=nope", "/api/v1/clients.csv?redis=nope"] {
        let answer = get(&exporter.address, path);
        assert!(answer.status == 404 && answer.text().contains(&server.address()), "{path}: {}", answer.text());
    }
    let far = get(&exporter.address, "/clients?offset=99999999&limit=5");
    let back = far.text().split('"').find(|text| text.contains("offset=") && text.contains("limit=5"));
    let back = get(&exporter.address, &back.expect("a link back").replace("&#38;", "&"));
    assert!(back.text().contains("data-rows") && !back.text().contains("No clients match"), "{}", back.text());
}

#[test]
fn without_permission_to_list_clients_their_number_is_shown() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    server.peer().must(&["ACL", "SETUSER", "watcher", "on", ">secret", "+info"]);
    let words = ["--redis.user=watcher", "--redis.password=secret"];
    let exporter = Exporter::start(&[&server.address()], &words, &[]);
    exporter.fresh_scrape();
    let overview = get(&exporter.address, "/");
    assert!(overview.text().contains("<dt>Connections</dt><dd>1</dd>"), "{}", overview.text());
    assert!(get(&exporter.address, "/clients").text().contains("No client list"));
}
