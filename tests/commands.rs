//! The subcommands as a user runs them, and the documents that they generate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use redis_client_exporter::catalogue::ALL;
use serde_json::Value;

use crate::support::cluster::cluster_node;
use crate::support::exporter::{Exporter, program, run};
use crate::support::http::get;
use crate::support::project;
use crate::support::server::{Server, any_binary, binary};
use crate::support::test_clients::{TestClients, Truth};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Runs a subcommand for this server, and asserts that it succeeds.
fn ask(server: &Server, args: &[&str]) -> String {
    let (command, args) = args.split_first().expect("a command");
    let output = run(&[&[*command, "--redis.addr", &server.address()], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn server_with_a_crowd() -> Option<(Server, TestClients)> {
    let server = Server::start(&any_binary()?);
    let crowd = TestClients::join(&server);
    Some((server, crowd))
}

#[test]
fn metrics_md_is_the_catalogue() {
    let made = text(&run(&["catalogue"]).stdout);
    let file = project("METRICS.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &made).expect("a file");
    }
    assert_eq!(
        fs::read_to_string(&file).expect("METRICS.md"),
        made,
        "update it: redis-client-exporter catalogue > METRICS.md"
    );
    let json: Value = serde_json::from_slice(&run(&["catalogue", "--format=json"]).stdout).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(ALL.len()));
}

/// `-V` is one line. `--version` and the metric name the commit that is checked out, and not an earlier one.
#[test]
fn version_and_build_info_name_the_commit_the_compiler_and_the_platform() {
    let version = concat!("redis-client-exporter ", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&run(&["-V"]).stdout).trim_end(), version);
    let revision = redis_client_exporter::build_info::REVISION;
    assert!(revision == "unknown" || revision.len() >= 7, "{revision}");
    if project(".git").exists() && std::env::var_os("BUILD_REVISION").is_none() {
        assert!(revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()), "{revision}");
    }
    let printed = text(&run(&["--version"]).stdout);
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some(version));
    let labels: BTreeMap<_, _> = lines.map(|line| line.trim_start().split_once(": ").expect("a label")).collect();
    let label = |name| labels.get(name).map(|value| value.trim_start());
    assert_eq!(label("revision"), Some(revision), "{printed}");
    let exporter = Exporter::watching(&["redis://127.0.0.1:1"]);
    let (rustc, platform) = (label("rustc").expect("a compiler"), label("platform").expect("a platform"));
    assert!(rustc.starts_with("1.") && platform.starts_with(std::env::consts::ARCH), "{printed}");
    let labels =
        [("version", env!("CARGO_PKG_VERSION")), ("revision", revision), ("rustc", rustc), ("platform", platform)];
    assert_eq!(exporter.scrape().value("redis_client_exporter_build_info", &labels), Some(1.0));
}

/// The metrics of targets with several nodes: the addresses of this test are targets of their own.
const OF_SEVERAL_NODES: [&str; 2] = ["redis_clients_fleet_app_connections", "redis_clients_fleet_apps_folded"];

/// The newest server reports every field, so the scrape has every metric of the catalogue, and no other.
#[test]
fn a_scrape_and_the_catalogue_have_the_same_metrics() {
    let Some(binary) = binary("valkey-9.1") else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
    let folder = tempfile::tempdir().expect("a folder");
    let groups = folder.path().join("groups.yml");
    std::fs::write(&groups, "rules: [{app: batch, user: batch}]").expect("a file");
    let groups = format!("--group.file={}", groups.display());
    let web_config = folder.path().join("web-config.yml");
    std::fs::write(&web_config, "{}").expect("a file");
    let web_config = format!("--web.config.file={}", web_config.display());
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{}\n", "k".repeat(32))).expect("a file");
    let keys = format!("--announce.key-file={}", keys.display());
    let targets = folder.path().join("targets.yml");
    std::fs::write(&targets, "[]").expect("a file");
    let targets = format!("--redis.targets-file={}", targets.display());
    let args = [
        groups.as_str(),
        web_config.as_str(),
        keys.as_str(),
        targets.as_str(),
        "--presence.expect=billing,billing@*",
        "--metrics.per-client=3",
        "--announce=always",
    ];
    // The same server twice, and a target whose nodes are discovered, are metrics, too.
    let socket = server.socket().display().to_string();
    let node = cluster_node(&binary, &["--cluster-enabled yes"]);
    let cluster = format!("--redis.addr=redis+cluster://{}", node.address());
    let args = [&args[..], &[&cluster, "--redis.name=one,two,three"]].concat();
    let exporter = Exporter::start(&[&server.address(), &socket], &args, &[]);
    let scrape = exporter.scrape_until("clients of both", |scrape| {
        let online = scrape.by("redis_clients_online", "redis");
        ["one", "two"].iter().all(|name| online.contains_key(*name))
            && ["one", "two"].iter().all(|name| online[*name] > 5)
            && scrape.sum("redis_clients_same_server") > 0.0
    });
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for series in &scrape.series {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.name.strip_suffix(suffix));
        let histogram = family.filter(|family| ALL.iter().any(|metric| metric.name == *family));
        let names = labels.entry(histogram.unwrap_or(&series.name)).or_default();
        names.extend(series.labels.keys().map(String::as_str).filter(|label| *label != "le"));
    }
    let exported = || ALL.iter().filter(|metric| !OF_SEVERAL_NODES.contains(&metric.name));
    let catalogue: BTreeMap<&str, BTreeSet<&str>> =
        exported().map(|metric| (metric.name, metric.labels.iter().copied().collect())).collect();
    assert_eq!(labels, catalogue);

    let exposition = get(&exporter.address, "/metrics").text().to_owned();
    for metric in exported() {
        let kind = metric.kind.label();
        assert!(exposition.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
        assert!(exposition.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
    }
}

#[test]
fn clients_as_json_match_client_list() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    let list: Vec<Value> = serde_json::from_str(&ask(&server, &["clients", "--format=json"])).expect("JSON");
    let truth = Truth::ask(&mut server.peer(), 300);
    // Each of the two listings has one client that the other lacks: the one that sent the command.
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for client in &list {
        *kinds.entry(client["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
    }
    assert_eq!(kinds.remove("exporter"), Some(1));
    *kinds.entry("application".into()).or_default() += 1;
    assert_eq!(kinds, truth.kinds);
    let named = |name: &str| list.iter().find(|client| client["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(named("a=b")["database"], 3);
    assert_eq!(named("worker-1")["state"], "blocked");
    assert_eq!(named("local")["flags"], "U");
    assert!(named(r#"a"b\c=<script>"#)["last_interaction"].as_str().is_some_and(|time| time.ends_with('Z')));
    let silent = list.iter().filter(|client| client["command"].is_null()).collect::<Vec<_>>();
    assert!(silent.len() == 3 && silent.iter().all(|client| client["last_interaction"].is_null()), "{silent:?}");
}

#[test]
fn clients_can_be_filtered_sorted_and_counted() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    let table = ask(&server, &["clients", "--filter=state=waiting", "--filter=name=worker-1"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("worker-1") && table.contains("blpop") && table.contains("LAST INTERACTION"), "{table}");
    let ids: Vec<u64> =
        serde_json::from_str::<Vec<Value>>(&ask(&server, &["clients", "--format=json", "--sort=-id", "--limit=3"]))
            .expect("JSON")
            .iter()
            .map(|client| client["id"].as_u64().expect("an id"))
            .collect();
    assert!(ids.len() == 3 && ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let by_user = ask(&server, &["clients", "--by=user", "--filter=kind=application"]);
    assert!(by_user.contains("alice"), "{by_user}");
    let by_kind = ask(&server, &["clients", "--by=kind", "--format=csv"]);
    assert!(by_kind.starts_with("group,connections,active,") && by_kind.contains("\nmonitor,1,"), "{by_kind}");
    let by_network = ask(&server, &["clients", "--by=network", "--group.network-prefix=/8,/64", "--format=csv"]);
    assert!(by_network.contains("127.0.0.0/8,") && by_network.contains("(unix),1,"), "{by_network}");
}

/// The counts of the command match the metrics, and `check` explains the grouping.
#[test]
fn applications_are_the_same_in_every_output() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("groups.yml");
    std::fs::write(&file, "rules: [{app: jobs, name: 'worker-.*'}, {app: the-alice, user: alice}]").expect("a file");
    for args in [vec![], vec![format!("--group.file={}", file.display())]] {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let exporter = Exporter::start(&[&server.address()], &args, &[]);
        let scrape = exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_app_connections") > 5.0);
        let mut printed = ask(&server, &[&["clients", "--by=app", "--format=json"], args.as_slice()].concat());
        let counts: Vec<Value> = serde_json::from_str(&printed).expect("JSON");
        let counts: BTreeMap<String, u64> = counts
            .iter()
            .map(|count| {
                (count["group"].as_str().expect("a name").to_owned(), count["connections"].as_u64().expect("a number"))
            })
            .collect();
        assert_eq!(scrape.by("redis_clients_app_connections", "client_app"), counts);
        assert_eq!(counts.get("jobs"), (!args.is_empty()).then_some(&1), "{counts:?}");
        printed = ask(&server, &[&["check"], args.as_slice()].concat());
        let expected = if args.is_empty() { "web  (such as web-" } else { "by rule 1 of --group.file" };
        assert!(printed.contains(expected), "{printed}");
    }
    let json = ask(&server, &["clients", "--format=json", "--filter=app=web"]);
    let clients: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    assert!(clients.len() == 2 && clients.iter().all(|client| client["app"] == "web"), "{json}");
}

/// The flags of the grouping mean the same in `serve`, `clients` and `check`.
#[test]
fn versions_and_the_unnamed_are_grouped_alike_everywhere() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    let named = |name: &str| {
        let mut peer = server.peer();
        peer.must(&["CLIENT", "SETNAME", name]);
        peer
    };
    let _peers = ["api-v41", "api-v42", "bull:ZW1haWw=:w:host-1"].map(named);
    let args = ["--group.strip-version", "--group.unnamed-by=host"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    let scrape = exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_app_connections") > 8.0);
    let json = ask(&server, &[&["clients", "--by=app", "--format=json"], &args[..]].concat());
    let counts: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    let count = |count: &Value| (count["group"].as_str().expect("a name").to_owned(), count["connections"].as_u64());
    let counts: BTreeMap<String, Option<u64>> = counts.iter().map(count).collect();
    assert_eq!((counts["api"], counts["bull:email"]), (Some(2), Some(1)), "{counts:?}");
    assert!(counts.contains_key("127.0.0.1") && !counts.contains_key("(unnamed)"), "{counts:?}");
    let scraped = scrape.by("redis_clients_app_connections", "client_app");
    assert_eq!(scraped.into_iter().map(|(app, online)| (app, Some(online))).collect::<BTreeMap<_, _>>(), counts);
    let shown = ask(&server, &[&["check"], &args[..]].concat());
    assert!(shown.contains("by its host"), "{shown}");
    assert!(shown.contains("by its name without version (--group.strip-version)"), "{shown}");
}

#[test]
fn the_number_of_individually_exported_clients_is_limited() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    let none = Exporter::watching(&[&server.address()]);
    none.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    assert_eq!(none.scrape().all("redis_clients_client_info", &[]).count(), 0);
    let some = Exporter::start(&[&server.address()], &["--metrics.per-client=3"], &[]);
    let scrape = some.scrape_until("clients", |scrape| scrape.all("redis_clients_client_info", &[]).count() == 3);
    for series in scrape.all("redis_clients_client_info", &[]) {
        let id = [("id", series.labels["id"].as_str())];
        assert!(scrape.value("redis_clients_client_connection_age_seconds", &id).is_some(), "{series:?}");
        assert_eq!(series.labels["address"], "127.0.0.1", "no port");
    }
    // All clients, if they are within the limit.
    let all = Exporter::start(&[&server.address()], &["--metrics.per-client=1000"], &[]);
    let scrape = all.scrape_until("clients", |scrape| scrape.all("redis_clients_client_info", &[]).count() > 5);
    let online = scrape.value("redis_clients_online", &[]).expect("clients") as usize;
    assert_eq!(scrape.all("redis_clients_client_info", &[]).count(), online);
}

#[test]
fn a_limit_on_groups_does_not_change_their_counts() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    // The first cells are counts; the ages after them differ from one command to the next.
    let counts = |limit: &[&str]| -> Vec<Vec<String>> {
        let table = ask(&server, &[&["clients", "--by=kind", "--format=csv"], limit].concat());
        table.lines().map(|line| line.split(',').take(7).map(str::to_owned).collect()).collect()
    };
    let (all, first) = (counts(&[]), counts(&["--limit=1"]));
    assert_eq!((first.len(), &first[..]), (2, &all[..2]));
}

#[test]
fn an_empty_variable_is_the_same_as_none() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let names = ["REDIS_USER", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "REDIS_TLS_CA_FILE", "REDIS_TIMEOUT"];
    let variables = names.map(|name| (name, ""));
    let output = program()
        .args(["check", "--redis.addr", &server.address()])
        .envs(variables)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let more = [("WEB_LISTEN_ADDRESS", ""), ("LOG_LEVEL", ""), ("CLIENT_ANNOUNCE_FREQUENCY", ""), ("REDIS_USER", "")];
    let exporter = Exporter::start(&[&server.address()], &[], &more);
    exporter.scrape_until("up", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
}

#[test]
fn csv_contains_no_formulas() {
    let Some((server, _crowd)) = server_with_a_crowd() else { return };
    let text = ask(&server, &["clients", "--format=csv"]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().expect("heads").clone();
    let name = heads.iter().position(|head| head == "name").expect("a column");
    let names: Vec<_> = reader.records().map(|record| record.expect("a record")[name].to_owned()).collect();
    assert!(names.contains(&"'=cmd|calc".to_owned()) && names.contains(&r#"a"b\c=<script>"#.to_owned()), "{names:?}");
}

#[test]
fn check_reports_by_its_exit_code() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let output = run(&["check", "--redis.addr", &server.address()]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("ok       CLIENT LIST: 1 clients, 0 unreadable lines"));
    let output = run(&["check", "--redis.addr", &server.address(), "--redis.addr", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(4), "the worst result of all servers counts");
    assert!(text(&output.stdout).contains("127.0.0.1:1: connection refused"));
    let output = run(&["clients", "--redis.addr", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(4));
}

/// Returns the output of `healthy` for an address, and its exit code.
fn healthy(address: &str) -> (String, Option<i32>) {
    let output = run(&["healthy", "--web.listen-address", address]);
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

#[test]
fn healthy_probes_the_local_exporter() {
    // A server that is down does not make the exporter unhealthy.
    let exporter = Exporter::watching(&["127.0.0.1:1"]);
    assert_eq!(healthy(&exporter.address), (format!("{} is healthy\n", exporter.address), Some(0)));
    let port = exporter.address.rsplit(':').next().expect("a port");
    for everywhere in [format!(":{port}"), format!("0.0.0.0:{port}"), format!("localhost:{port}")] {
        assert_eq!(healthy(&everywhere).1, Some(0), "{everywhere}");
    }
    // The environment variables of serve are enough.
    let output = program().arg("healthy").env("WEB_LISTEN_ADDRESS", &exporter.address).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // If there are several addresses, all must respond.
    let (printed, code) = healthy(&format!("{},127.0.0.1:1", exporter.address));
    assert_eq!((printed.contains("nothing listens on 127.0.0.1:1"), code), (true, Some(1)), "{printed}");
}

/// Listeners that are not a working exporter: one with another response, one that closes the connection, and a stopped
/// exporter, which sends nothing.
#[test]
fn healthy_fails_for_other_listeners_and_does_not_wait_forever() {
    let (printed, code) = healthy("127.0.0.1:1");
    assert_eq!((printed.contains("nothing listens on 127.0.0.1:1"), code), (true, Some(1)), "{printed}");
    for (said, expected) in
        [("HTTP/1.1 404 Not Found\r\n\r\n", "status 404"), ("-ERR\r\n", "not speak HTTP"), ("", "not speak HTTP")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("healthy connects");
            let read = stream.read(&mut [0; 512]).expect("a request");
            stream.write_all(said.as_bytes()).expect("the connection is open");
            read
        });
        let (printed, code) = healthy(&address);
        assert_eq!((printed.contains(expected), code), (true, Some(1)), "{printed}");
        assert!(answering.join().expect("it answers") > 0);
    }
    let exporter = Exporter::watching(&["127.0.0.1:1"]);
    exporter.signal("STOP");
    let (printed, code) = healthy(&exporter.address);
    assert_eq!((printed.contains("does not answer within 3s"), code), (true, Some(1)), "{printed}");
}

fn usage_fault(args: &[&str], expected: &str) {
    let output: Output = run(args);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {printed}");
    assert!(printed.contains(expected), "{args:?}: {printed}");
}

#[test]
fn invalid_arguments_are_refused_before_anything_starts() {
    usage_fault(&["--client-announce-frequency=0", "--group.limit=x", "--redis.timeout=never"], "--group.limit");
    usage_fault(&["--client-announce-frequency=0", "--group.limit=x", "--redis.timeout=never"], "--redis.timeout");
    usage_fault(&["--no-such-flag"], "--no-such-flag");
    usage_fault(&["clients", "--filter=nonsense=1"], "unknown column \"nonsense\"");
    usage_fault(&["clients", "--sort=nonsense"], "unknown column \"nonsense\"");
    for (filter, values) in [
        ("state=blokked", "values are active, blocked, subscribed, idle, waiting"),
        ("kind=app", "values are application"),
        ("idle=abc", "not a duration"),
        ("address=localhost", "not an address"),
    ] {
        usage_fault(&["clients", &format!("--filter={filter}")], values);
    }
    usage_fault(&["clients", "--by=memory"], "columns to group by are");
    usage_fault(&["clients", "--columns=id,nonsense"], "unknown column");
    usage_fault(&["clients", "--by=app", "--columns=id"], "cannot be used with");
    for arg in ["--filter=closed_reason=limit", "--sort=-closed_at", "--columns=id,closed_at"] {
        usage_fault(&["clients", arg], "clients have no column closed_");
    }
    let together = ["clients", "--sort=nonsense", "--filter=idle>soon", "--group.limit=0"];
    for flag in ["--sort", "--filter", "--group.limit"] {
        usage_fault(&together, flag);
    }
    usage_fault(&["--client-announce-frequency=1e19"], "--client-announce-frequency");
    usage_fault(&["--redis.addr=redis://default:12345#x@127.0.0.1"], "%23");
    usage_fault(&["healthy", "--web.listen-address=nonsense"], "--web.listen-address");
    usage_fault(&["healthy", "--web.listen-address=,"], "no address");
    usage_fault(&["--redis.tls-ca-file=/nowhere", "--redis.addr=rediss://h"], "/nowhere");
}

#[test]
fn help_says_what_a_new_user_must_know() {
    let help = text(&run(&["--help"]).stdout);
    // Lines are wrapped at the width of the terminal.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for needed in [
        "No stock server has a `client-announce-frequency` of its own",
        "--redis.addr",
        "[env: REDIS_ADDR]",
        "[default: 10s]",
        "--web.listen-address",
        "Exit codes:",
        "Examples:",
    ] {
        assert!(help.contains(needed), "{needed} is missing in:\n{help}");
    }
}
