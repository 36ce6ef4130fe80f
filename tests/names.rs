//! The names of servers: one name in all outputs, and no server twice.

use serde_json::Value;

use crate::support::eventually;
use crate::support::exporter::{Exporter, program, run};
use crate::support::http::get;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};
use crate::support::subscriber::Subscriber;
use crate::support::test_clients::TestClients;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_server_has_one_name_in_all_outputs_and_can_be_selected_by_its_address() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let subscriber = Subscriber::on(&server.address());
    let args = ["--redis.name=shop/redis-0", "--announce=always", "--client-announce-frequency=1"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let scrape = exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 0.0);
    let other =
        scrape.series.iter().find(|series| series.labels.get("redis").is_some_and(|name| name != "shop/redis-0"));
    assert!(other.is_none(), "{other:?}");
    assert_eq!(subscriber.next_status().json["redis"], "shop/redis-0");
    let api = |query: &str| {
        let answer = get(&exporter.address, &format!("/api/v1/clients?{query}"));
        let json: Value = serde_json::from_str(answer.text()).unwrap_or_default();
        (answer.status, json["items"].as_array().map_or(0, Vec::len))
    };
    let by_name = api("redis=shop/redis-0");
    assert!(by_name.0 == 200 && by_name.1 > 0, "{by_name:?}");
    for way in ["127.0.0.1:PORT", "localhost:PORT", "redis://[::1]:PORT/0", "rediss%3A%2F%2F127.0.0.1:PORT"] {
        let way = way.replace("PORT", &server.port.to_string());
        assert_eq!(api(&format!("redis={way}")).0, 200, "{way}");
        assert_eq!(get(&exporter.address, &format!("/clients?redis={way}")).status, 200, "{way}");
    }
    assert_eq!(api("redis=127.0.0.1:1").0, 404);
    let page = get(&exporter.address, "/");
    assert!(page.text().contains("shop/redis-0") && !page.text().contains(&server.address()));
    let named = ["--redis.addr", &server.address(), "--redis.name=shop/redis-0"];
    let listed = run(&[&["clients", "--columns=redis,id", "--format=csv"], &named[..]].concat());
    assert!(text(&listed.stdout).contains("shop/redis-0") && !text(&listed.stdout).contains(&server.address()));
    let checked = text(&run(&[&["check"], &named[..]].concat()).stdout);
    assert!(
        checked.starts_with("shop/redis-0 (") && checked.contains(&format!("to {}", server.address())),
        "{checked}"
    );
    drop(server);
    let log =
        eventually("the failure is logged", || exporter.log().into_iter().find(|line| line.contains("cannot sample")));
    assert!(log.contains("node=shop/redis-0") && log.contains("refused at 127.0.0.1:"), "{log}");
}

/// The default depends on the machine: with its name, or with a warning.
#[test]
fn the_name_of_a_local_server_begins_with_the_host_or_is_warned_about() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let args = ["--redis.addr", &server.address(), "--web.listen-address=127.0.0.1:0", "--announce=never"];
    // A variable that is set in each container of Kubernetes.
    let exporter = Exporter::spawn(program().args(args).env("KUBERNETES_SERVICE_HOST", "10.96.0.1"));
    let warning = |text: &str| text.contains(&server.address()) && text.contains("set --redis.name (REDIS_NAME)");
    assert!(exporter.log().iter().any(|line| line.contains("level=warn") && warning(line)), "{:?}", exporter.log());
    exporter.scrape_until("up", |scrape| scrape.value("redis_clients_up", &[("redis", &server.address())]).is_some());
    let checked = program()
        .args(["check", "--redis.addr", &server.address()])
        .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        .output()
        .expect("it runs");
    assert!(warning(&text(&checked.stdout)), "{}", text(&checked.stdout));
    assert_eq!(checked.status.code(), Some(0), "a warning is no fault");

    let exporter = Exporter::spawn(program().args(args));
    let names =
        || exporter.scrape().all("redis_clients_up", &[]).map(|series| series.labels["redis"].clone()).collect();
    let names: Vec<String> = eventually("up", || Some(names()).filter(|names: &Vec<_>| !names.is_empty()));
    let is_warned = exporter.log().iter().any(|line| warning(line));
    assert!(names[0].ends_with(&format!(":{}", server.port)), "{names:?}");
    assert_ne!(names[0] != server.address(), is_warned, "{names:?}");
    let named = Exporter::spawn(program().args(args).env("REDIS_NAME", "billing"));
    named.scrape_until("up", |scrape| scrape.value("redis_clients_up", &[("redis", "billing")]).is_some());
    assert!(!named.log().iter().any(|line| line.contains("REDIS_NAME")));
}

fn same_server(scrape: &Scrape, name: &str) -> Option<f64> {
    scrape.value("redis_clients_same_server", &[("redis", name)])
}

fn warnings(exporter: &Exporter) -> Vec<String> {
    exporter.log().into_iter().filter(|line| line.contains("are one server")).collect()
}

/// `127.0.0.1` and `localhost`, or a server and its service.
#[test]
fn one_server_at_two_addresses_is_warned_about_once_everywhere_until_one_of_them_is_gone() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let socket = server.socket().display().to_string();
    let addresses = [server.address(), format!("unix://{socket}")];
    let names = ["--redis.name=port", "--redis.name=socket"];
    let exporter = Exporter::start(&[&addresses[0], &addresses[1]], &names, &[]);
    exporter.scrape_until("both names are one server", |scrape| {
        ["port", "socket"].iter().all(|name| same_server(scrape, name) == Some(1.0))
    });
    let warned = eventually("a warning", || Some(warnings(&exporter)).filter(|lines| !lines.is_empty()));
    assert!(warned[0].contains("port and socket are one server"), "{warned:?}");
    exporter.fresh_scrape();
    assert_eq!(warnings(&exporter).len(), 1);
    for page in ["/", "/clients", "/clients?redis=socket"] {
        assert!(get(&exporter.address, page).text().contains("port and socket are one server"), "{page}");
    }
    let check: Vec<&str> = ["check", "--redis.addr", &addresses[0], "--redis.addr", &addresses[1]].into();
    let checked = run(&[&check[..], &names[..]].concat());
    assert!(text(&checked.stdout).contains("warning  port and socket are one server"), "{}", text(&checked.stdout));
    assert_eq!(checked.status.code(), Some(0));

    std::fs::remove_file(&socket).expect("a socket");
    server.peer().must(&["CLIENT", "KILL", "TYPE", "normal"]);
    exporter.scrape_until("one is left", |scrape| {
        scrape.value("redis_clients_up", &[("redis", "socket")]) == Some(0.0)
            && same_server(scrape, "port") == Some(0.0)
    });
    assert!(!get(&exporter.address, "/").text().contains("are one server"));
    assert_eq!(warnings(&exporter).len(), 1);
}

#[test]
fn a_primary_and_its_replica_are_two_servers() {
    let Some(binary) = any_binary() else { return };
    let (primary, replica) = (Server::start(&binary), Server::start(&binary));
    replica.peer().must(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    let exporter = Exporter::watching(&[&primary.address(), &replica.address()]);
    exporter.scrape_until("both", |scrape| {
        [&primary, &replica].iter().all(|server| same_server(scrape, &server.address()) == Some(0.0))
            && scrape.sum("redis_clients_connections") > 2.0
    });
    exporter.fresh_scrape();
    assert_eq!(warnings(&exporter), Vec::<String>::new());
}
