//! The status channel in real clusters: one subscription receives the messages about all nodes, which are never mixed,
//! and it moves when its node fails or leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::channel::{Watch, index_of, long_names};
use crate::support::cluster::Cluster;
use crate::support::exporter::Exporter;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, binary};
use crate::support::subscriber::Subscriber;
use crate::support::trouble::hoard;
use crate::support::{eventually, pause, project, share};

const SERVERS: [&str; 3] = ["redis-7.0", "redis-8.2", "valkey-9.1"];

/// The applications of the servers of a cluster, one of each.
const APPS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

const SECOND: Duration = Duration::from_secs(1);

const FREQUENCY: &str = "--client-announce-frequency=1";

fn target(seed: &Server) -> String {
    format!("--redis.addr=redis+cluster://{}", seed.address())
}

/// Starts an exporter that follows a cluster from one of its servers.
fn following(seed: &Server, args: &[&str]) -> Exporter {
    let target = target(seed);
    Exporter::start(&[], &[&[target.as_str(), "--discovery.interval=1s", FREQUENCY], args].concat(), &[])
}

/// Number of subscriptions of our program on a server that runs; 0 if it does not.
fn subscriptions(server: &Server) -> usize {
    let Ok(mut peer) = Peer::try_connect(&server.address()) else { return 0 };
    let rows = peer.try_ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap_or_default();
    rows.lines().filter(|row| row.contains(" name=redis-client-exporter ") && row.contains(" sub=1 ")).count()
}

/// The place of the only server with a subscription of our program.
fn carrier(what: &str, servers: &[Server], except: Option<usize>) -> usize {
    eventually(what, || {
        let counts = servers.iter().enumerate().map(|(place, server)| match Some(place) == except {
            true => 0,
            false => subscriptions(server),
        });
        let counts: Vec<usize> = counts.collect();
        let place = counts.iter().position(|count| *count == 1)?;
        (counts.iter().sum::<usize>() == 1).then_some(place)
    })
}

/// The value of a node's metric.
fn of(scrape: &Scrape, metric: &str, server: &Server, labels: &[(&str, &str)]) -> Option<f64> {
    let suffix = format!(":{}", server.port);
    scrape.all(metric, labels).find(|series| series.labels["redis"].ends_with(&suffix)).map(|series| series.value)
}

/// The announcers of each node by its port, by the statuses of the last 3 seconds.
fn announcers(subscriber: &Subscriber) -> BTreeMap<u16, BTreeSet<String>> {
    let since = Instant::now().checked_sub(3 * SECOND).expect("the machine has run so long");
    let mut announcers = BTreeMap::<u16, BTreeSet<String>>::new();
    for message in subscriber.since(since).iter().filter(|message| message.is_status()) {
        let port = message.json["redis"].as_str().and_then(|redis| redis.rsplit(':').next()?.parse().ok());
        announcers.entry(port.expect("a name with a port")).or_default().insert(message.announcer().to_owned());
    }
    announcers
}

/// Waits until each server has exactly one announcer, and returns them in the order of the servers.
fn only_announcers(what: &str, subscriber: &Subscriber, servers: &[Server]) -> Vec<String> {
    eventually(what, || {
        let announcers = announcers(subscriber);
        let of_server =
            |server: &Server| announcers.get(&server.port).filter(|names| names.len() == 1)?.first().cloned();
        servers.iter().map(of_server).collect()
    })
}

/// Instance: a listener on each of N nodes received every message N times.
#[test]
fn two_exporters_of_a_cluster_announce_each_node_once_over_one_subscription_each() {
    for binary in SERVERS.into_iter().filter_map(binary) {
        println!("{}", binary.name);
        let cluster = Cluster::start(&binary, 3, false, &[]);
        let subscriber = Subscriber::on(&cluster.servers[2].address());
        let mut exporters = vec![following(&cluster.servers[0], &["--announce=auto"])];
        only_announcers("the first announces all", &subscriber, &cluster.servers);
        exporters.push(following(&cluster.servers[1], &["--announce=auto"]));
        exporters[1].scrape_until("it receives the messages about each node", |scrape| {
            let received = |server| of(scrape, "redis_clients_announcements_received_total", server, &[]) >= Some(3.0);
            cluster.servers.iter().all(received)
        });
        let names = only_announcers("each node has one announcer", &subscriber, &cluster.servers);
        assert!(names.iter().all(|name| index_of(&exporters, name) == 0), "{names:?}");
        assert_eq!(cluster.servers.iter().map(subscriptions).sum::<usize>(), 2, "one of each exporter");
        let announced = exporters[1].scrape().sum("redis_clients_announcements_total");
        assert_eq!(announced, 0.0);

        exporters.swap_remove(0).signal("KILL");
        // Its statuses are too old to count.
        pause(3 * SECOND);
        let names = only_announcers("the other one takes over", &subscriber, &cluster.servers);
        assert!(names.iter().all(|name| index_of(&exporters, name) == 0), "{names:?}");
        assert_eq!(cluster.servers.iter().map(subscriptions).sum::<usize>(), 1);
    }
}

/// The statuses of each node are shown as its own, and no other node's.
fn are_apart(scrape: &Scrape, servers: &[Server]) -> bool {
    for (place, server) in servers.iter().enumerate() {
        let suffix = format!(":{}", server.port);
        let apps = scrape.all("redis_clients_app_connections", &[]);
        let apps = apps.filter(|series| series.labels["redis"].ends_with(&suffix) && series.value > 0.0);
        for (app, _) in apps.map(|series| (series.labels["client_app"].as_str(), series.value)) {
            let is_of_another = APPS.iter().any(|other| app == *other && app != APPS[place]);
            assert!(!is_of_another, "{app} is shown on node {place}");
        }
    }
    servers.iter().enumerate().all(|(place, server)| {
        of(scrape, "redis_clients_app_connections", server, &[("client_app", APPS[place])]) == Some(place as f64 + 2.0)
            && of(scrape, "redis_clients_up", server, &[]) == Some(1.0)
    })
}

/// Clients of an application of its own on each server.
fn apps(servers: &[Server]) -> Vec<Peer> {
    let of = |(place, server): (usize, &Server)| hoard(server, APPS[place], place + 2);
    servers.iter().enumerate().flat_map(of).collect()
}

/// Without samples of its own, an exporter shows each node from the statuses about it.
#[test]
fn statuses_of_the_nodes_of_a_cluster_are_never_mixed_while_the_subscription_moves() {
    for binary in SERVERS.into_iter().filter_map(binary) {
        println!("{}", binary.name);
        let mut cluster = Cluster::start(&binary, 4, false, &[]);
        let _clients = apps(&cluster.servers);
        let _announcer = following(&cluster.servers[0], &["--announce=always"]);
        let seeds = format!("{},{}", target(&cluster.servers[3]), cluster.servers[0].address());
        let args = [&seeds, "--discovery.interval=1s", FREQUENCY, "--sample=never", "--sample.max-age=5s"];
        let listener = Exporter::start(&[], &args, &[]);
        listener.scrape_until("each node is shown", |scrape| are_apart(scrape, &cluster.servers));
        let received = |scrape: &Scrape, server: &Server| {
            of(scrape, "redis_clients_announcements_received_total", server, &[]).unwrap_or_default()
        };
        let others_are_received = |what: &str, servers: &[Server], except: usize| {
            let before = listener.scrape();
            listener.scrape_until(what, |scrape| {
                let grows = |server| received(scrape, server) >= received(&before, server) + 2.0;
                (0..servers.len()).filter(|place| *place != except).all(|place| grows(&servers[place]))
            });
        };

        // It hangs: nothing is closed.
        let first = carrier("one subscription", &cluster.servers, None);
        let pid = cluster.servers[first].pid().to_string();
        assert!(Command::new("kill").args(["-s", "STOP", &pid]).status().expect("kill runs").success());
        let others: Vec<&Server> =
            cluster.servers.iter().enumerate().filter(|(place, _)| *place != first).map(|(_, it)| it).collect();
        eventually("another node subscribes", || others.iter().any(|server| subscriptions(server) == 1).then_some(()));
        others_are_received("the others are received", &cluster.servers, first);
        assert!(Command::new("kill").args(["-s", "CONT", &pid]).status().expect("kill runs").success());
        listener.scrape_until("each node is shown again", |scrape| are_apart(scrape, &cluster.servers));

        // It dies.
        let second = carrier("one subscription again", &cluster.servers, None);
        cluster.servers[second].kill();
        others_are_received("the others are received", &cluster.servers, second);
        listener.scrape_until("the dead node is down", |scrape| {
            of(scrape, "redis_clients_up", &cluster.servers[second], &[]) == Some(0.0)
        });
        cluster.servers[second].restart();
        let _clients = hoard(&cluster.servers[second], APPS[second], second + 2);
        listener.scrape_until("with another run, each node is shown", |scrape| are_apart(scrape, &cluster.servers));
    }
}

/// A node that leaves the cluster is no longer watched, so its subscription ends.
#[test]
fn the_subscription_moves_when_its_node_leaves() {
    let Some(binary) = any_binary() else { return };
    let mut cluster = Cluster::start(&binary, 3, false, &[]);
    let _announcer = following(&cluster.servers[0], &["--announce=always"]);
    let seeds =
        format!("{},{},{}", target(&cluster.servers[0]), cluster.servers[1].address(), cluster.servers[2].address());
    let listener = Exporter::start(&[], &[&seeds, "--discovery.interval=1s", FREQUENCY, "--sample=never"], &[]);
    listener.scrape_until("all are shown", |scrape| {
        cluster.servers.iter().all(|server| of(scrape, "redis_clients_up", server, &[]) == Some(1.0))
    });
    let place = carrier("one subscription", &cluster.servers, None);
    let id = cluster.id(place);
    let left = cluster.servers.remove(place);
    for other in &cluster.servers {
        other.peer().must(&["CLUSTER", "FORGET", &id]);
    }
    left.peer().must(&["FLUSHALL"]).must(&["CLUSTER", "RESET", "HARD"]);
    carrier("another node subscribes", &cluster.servers, None);
    let before = listener.scrape();
    listener.scrape_until("the others are received", |scrape| {
        let received = |scrape, server| of(scrape, "redis_clients_announcements_received_total", server, &[]);
        cluster.servers.iter().all(|server| received(scrape, server) > received(&before, server))
    });
}

/// Instance: the number of nodes was asked once a minute, and without `+cluster|info` statuses had 4 KiB.
#[test]
fn the_size_of_a_status_follows_a_cluster_that_grows() {
    let _alone = share::alone();
    let Some(binary) = binary("redis-7.0") else { return };
    let mut cluster = Cluster::start(&binary, 2, false, &[]);
    for server in &cluster.servers {
        server.peer().must(&["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-cluster|info"]);
    }
    let _clients = long_names(&cluster.servers[0], 400, 200);
    let subscriber = Subscriber::on(&cluster.servers[1].address());
    for user in [&[][..], &["--redis.user=limited", "--redis.password=secret"]] {
        let exporter = following(&cluster.servers[0], &[&["--announce=always"], user].concat());
        let nodes = cluster.servers.len();
        let next = |nodes: usize| {
            let share = 65_536 / nodes;
            subscriber.next("a full status of this size", |message| {
                let is_full = message.is_status() && message.number("truncated") > 0;
                is_full && (share - 1000..=share).contains(&message.bytes.len())
            });
        };
        next(nodes);
        let added = cluster.add(&binary, &[]);
        cluster.servers[added].peer().must(&["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all"]);
        next(nodes + 1);
        let log = exporter.log();
        assert!(!log.iter().any(|line| line.contains("the number of nodes of the cluster")), "{log:?}");
    }
}

#[test]
fn watch_of_a_cluster_has_one_subscription_shows_each_node_apart_and_follows() {
    for binary in SERVERS.into_iter().filter_map(binary) {
        println!("{}", binary.name);
        let mut cluster = Cluster::start(&binary, 3, false, &[]);
        let _clients = apps(&cluster.servers);
        let watch = Watch::start(&[&target(&cluster.servers[1])]);
        let name = cluster.servers[1].address();
        watch.notes_until("at the start", &format!("waiting for a status on __redis__:cli of {name};"), 1);
        let announcer = following(&cluster.servers[0], &["--announce=always"]);
        let shows = |what: &str, from: usize, servers: &[&Server]| {
            eventually(what, || {
                let output = watch.output();
                let is_shown = |server: &&Server| output[from..].contains(&format!(":{} ", server.port));
                servers.iter().all(is_shown).then_some(())
            });
        };
        shows("each node is shown", 0, &cluster.servers.iter().collect::<Vec<_>>());
        let place = carrier("one subscription", &cluster.servers, None);
        cluster.servers[place].kill();
        watch.notes_until("it follows", "receiving over", 1);
        let from = watch.output().len();
        let others: Vec<&Server> =
            cluster.servers.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, it)| it).collect();
        shows("the other nodes are shown", from, &others);
        assert_eq!(others.iter().map(|server| subscriptions(server)).sum::<usize>(), 1);
        // A block begins with the totals of its node.
        let output = watch.output();
        let mut node = None;
        for line in output.lines() {
            let of_line =
                |server: &Server| line.contains(&format!(":{} ", server.port)) && line.contains("connections");
            node = cluster.servers.iter().position(of_line).or(node);
            let app = (0..3).find(|place| line.contains(APPS[*place]) && line.contains("default"));
            assert!(app.is_none() || app == node, "{line} in the block of {node:?}");
        }
        drop(announcer);
        watch.notes_until("the announcer has stopped", "no exporter announces", 3);
    }
}

/// The subscribers in deploy/subscribers receive the statuses of all nodes from one of them.
#[test]
fn subscribers_of_one_node_tell_the_nodes_of_a_cluster_apart() {
    let python = project(".cache/subscribers/venv/bin/python");
    let Some(binary) = any_binary().filter(|_| python.exists()) else { return };
    let cluster = Cluster::start(&binary, 3, false, &[]);
    let _clients = apps(&cluster.servers);
    let _exporter = following(&cluster.servers[0], &["--announce=always"]);
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let database = folder.path().join("clients.db");
    let program = |name: &str| -> PathBuf { project(&format!("deploy/subscribers/{name}")) };
    pause(SECOND);
    let watched =
        crate::support::exporter::run(&["watch", &target(&cluster.servers[2]), "--format=json", "--count=12"]);
    let mut loader = Command::new("python3");
    let mut loader =
        loader.arg(program("to_sqlite.py")).arg(&database).stdin(Stdio::piped()).spawn().expect("it starts");
    std::io::Write::write_all(&mut loader.stdin.take().expect("it is piped"), &watched.stdout).expect("it reads");
    assert!(loader.wait().expect("it ends").success());
    let script = "import sqlite3, sys, json\nd = sqlite3.connect(sys.argv[1])\n\
        q = \"SELECT redis, app, count(*) FROM latest_clients WHERE app IN ('alpha', 'beta', 'gamma') GROUP BY 1, 2\"\n\
        print(json.dumps(d.execute(q).fetchall()))";
    let output = Command::new("python3").args(["-c", script]).arg(&database).output().expect("it runs");
    let rows: Vec<(String, String, usize)> = serde_json::from_slice(&output.stdout).expect("rows");
    let rows: BTreeSet<_> = rows
        .into_iter()
        .map(|(redis, app, count)| (redis.rsplit(':').next().unwrap_or_default().to_owned(), app, count))
        .collect();
    let expected = |(place, server): (usize, &Server)| (server.port.to_string(), APPS[place].to_owned(), place + 2);
    assert_eq!(rows, cluster.servers.iter().enumerate().map(expected).collect());

    let mut subscriber = Command::new(&python);
    subscriber.arg(program("subscriber.py")).env("REDIS_URL", format!("redis://{}", cluster.servers[1].address()));
    let mut child = subscriber.stdout(Stdio::piped()).spawn().expect("Python starts");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("it is piped")));
    let mut seen = BTreeSet::new();
    let mut node = None;
    for line in lines.map_while(Result::ok) {
        if let Some((_, on)) = line.split_once(" on ").filter(|_| line.starts_with("connections ")) {
            node = cluster.servers.iter().position(|server| on.ends_with(&format!(":{}", server.port)));
        } else if let Some(app) = (0..3).find(|place| line.contains(APPS[*place])) {
            assert_eq!(Some(app), node, "{line}");
            seen.insert(app);
        }
        if seen.len() == 3 {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(seen.len(), 3);
}
