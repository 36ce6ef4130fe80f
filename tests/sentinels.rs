//! Real Sentinel groups, whose nodes are found from their sentinels and followed through failovers.

use std::fs;

use tempfile::TempDir;

use crate::support::certificates::Certificates;
use crate::support::exporter::{Exporter, run};
use crate::support::scrape::Scrape;
use crate::support::sentinel::{PRIMARY, Sentinel, SentinelGroup, monitor};
use crate::support::server::{Server, any_binary, binary};
use crate::support::trouble::hoard;

/// Follows a group from one of its sentinels.
fn following(sentinel: &Sentinel, args: &[&str]) -> Exporter {
    let target = format!("--redis.addr=redis+sentinel://{}/{PRIMARY}", sentinel.address());
    let args = [&[target.as_str(), "--sample.quick-poll=0.2"], args].concat();
    Exporter::start(&[], &args, &[])
}

fn errors(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_discovery_errors_total", &[])
}

#[test]
fn a_group_is_followed_through_a_failover_and_the_return_of_the_old_primary() {
    for name in ["redis-7.0", "redis-8.2", "valkey-9.1"] {
        let Some(binary) = binary(name) else { continue };
        let mut group = SentinelGroup::start(&binary);
        let exporter = following(&group.sentinels[0], &["--discovery.interval=1s"]);
        let scrape = exporter.scrape_until("all three are up", |scrape| {
            group.servers.iter().all(|server| scrape.is_up(server.port, 1.0))
        });
        assert!(scrape.has_role(group.servers[0].port, "primary"), "{name}");
        assert!(group.servers[1..].iter().all(|server| scrape.has_role(server.port, "replica")), "{name}");
        let of_group = [("cluster", PRIMARY), ("shard", PRIMARY)];
        assert_eq!(scrape.all("redis_clients_node_info", &of_group).count(), 3, "{name}");
        let before = hoard(&group.servers[0], "billing", 3);
        exporter.scrape_until("the clients of the primary", |scrape| {
            let app = [("client_app", "billing")];
            scrape.of_port("redis_clients_app_connections", group.servers[0].port, &app) == Some(3.0)
        });

        let new = group.fail_over(0);
        drop(before);
        let _after = hoard(&group.servers[new], "billing", 3);
        let scrape = exporter.scrape_until("the clients have moved", |scrape| {
            let app = [("client_app", "billing")];
            scrape.is_up(group.servers[0].port, 0.0)
                && scrape.has_role(group.servers[new].port, "primary")
                && scrape.of_port("redis_clients_app_connections", group.servers[new].port, &app) == Some(3.0)
        });
        assert_eq!(scrape.value("redis_clients_discovery_nodes", &[]), Some(3.0), "{name}: the old one is listed");
        group.servers[0].restart();
        let scrape = exporter.scrape_until("the old primary is a replica", |scrape| {
            scrape.is_up(group.servers[0].port, 1.0) && scrape.has_role(group.servers[0].port, "replica")
        });
        assert_eq!(
            scrape.all("redis_clients_node_role", &[("role", "primary")]).map(|role| role.value).sum::<f64>(),
            1.0
        );
        assert_eq!((errors(&scrape), scrape.sum("redis_clients_discovery_removed_nodes_total")), (Some(0.0), 0.0));
    }
}

/// The sentinel that the operator named is not the only one that is asked.
#[test]
fn a_group_is_followed_while_the_named_sentinel_is_dead() {
    let Some(binary) = any_binary() else { return };
    let mut group = SentinelGroup::start(&binary);
    let exporter = following(&group.sentinels[0], &["--discovery.interval=1s"]);
    exporter
        .scrape_until("all three are up", |scrape| group.servers.iter().all(|server| scrape.is_up(server.port, 1.0)));
    group.sentinels[0].kill();
    let new = group.fail_over(0);
    exporter.scrape_until("another one is the primary", |scrape| {
        scrape.is_up(group.servers[0].port, 0.0) && scrape.has_role(group.servers[new].port, "primary")
    });
    // Only the other sentinels know it.
    let added = group.add_replica(new);
    let scrape = exporter.scrape_until("the new replica is up", |scrape| scrape.is_up(group.servers[added].port, 1.0));
    assert_eq!(errors(&scrape), Some(0.0), "{:?}", exporter.log());
}

/// The rights that `check` prints are enough, for the sentinel and for what it announces as a host name.
#[test]
fn a_sentinel_with_users_of_its_own_is_asked_with_its_own_credentials() {
    for binary in ["redis-7.0", "valkey-9.1"].into_iter().filter_map(binary) {
        let server = Server::start_with(&binary, &["--requirepass of-the-data"]);
        let lines = ["sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"].map(str::to_owned);
        let auth = format!("sentinel auth-pass {PRIMARY} of-the-data");
        let lines = [&lines[..], &monitor(&format!("localhost {}", server.port), 1), &[auth]].concat();
        let sentinel = Sentinel::start(&binary, &lines);
        let addr = format!("--redis.addr=redis+sentinel://:of-the-data@{}/{PRIMARY}", sentinel.address());
        let checked = |args: &[&str]| {
            let output = run(&[&["check", addr.as_str()], args].concat());
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (code, text) = checked(&[]);
        assert!(code == Some(0) && text.contains("discovery: 1 nodes"), "{text}");
        let mut lines = text.lines();
        lines.find(|line| line.contains("on the sentinels")).expect("the ACL of sentinels");
        let line = lines.next().expect("its line").trim().replace("PASSWORD", "of-the-sentinel");
        sentinel.peer().must(&line.split(' ').collect::<Vec<_>>());
        sentinel.peer().must(&["ACL", "SETUSER", "default", "off"]);

        let (code, text) = checked(&[]);
        assert!(code == Some(4) && text.contains("--redis.sentinel-password-file"), "{text}");
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("password");
        fs::write(&file, "of-the-sentinel\n").expect("a file");
        let password = format!("--redis.sentinel-password-file={}", file.display());
        let args = ["--redis.sentinel-user=redis-client-exporter", &password];
        assert_eq!(checked(&args).0, Some(0), "{}", checked(&args).1);
        let exporter = Exporter::start(&[], &[&[addr.as_str(), "--discovery.interval=1s"], &args[..]].concat(), &[]);
        let scrape = exporter.scrape_until("it is up", |scrape| scrape.is_up(server.port, 1.0));
        assert_eq!(errors(&scrape), Some(0.0));
        let refused: Vec<_> = exporter.log().into_iter().filter(|line| line.contains("WARN")).collect();
        assert!(!refused.iter().any(|line| line.contains("sentinel")), "{refused:?}");
    }
}

#[test]
fn a_wrong_name_and_a_server_that_is_no_sentinel_are_said_with_what_is_right() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let sentinel = Sentinel::start(&binary, &monitor(&server.address().replace(':', " "), 1));
    let check = |address: &str| {
        let output = run(&["check", &format!("--redis.addr={address}")]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = check(&format!("redis+sentinel://{}/other", sentinel.address()));
    assert!(code == Some(4) && text.contains("named other; it knows: main"), "{text}");
    let (code, text) = check(&format!("redis+sentinel://{}/main", server.address()));
    assert!(code == Some(4) && text.contains("no sentinel") && text.contains("26379"), "{text}");
    // One that does not know the name does not matter beside one that does.
    let other = Sentinel::start(&binary, &[]);
    let (code, text) = check(&format!("redis+sentinel://{},{}/main", other.address(), sentinel.address()));
    assert!(code == Some(0) && text.contains("discovery: 1 nodes"), "{text}");
}

#[test]
fn tls_of_the_address_is_for_sentinels_and_servers() {
    let Some(binary) = any_binary() else { return };
    let certificates = Certificates::new();
    let file = |name: &str| certificates.text(name);
    let options = [
        format!("tls-cert-file {}", file("server.crt")),
        format!("tls-key-file {}", file("server.key")),
        format!("tls-ca-cert-file {}", file("ca.crt")),
        "tls-auth-clients no".to_owned(),
        "tls-replication yes".to_owned(),
        "tls-port PORT".to_owned(),
    ];
    let of_server: Vec<_> = options.iter().flat_map(|option| option.split_once(' ')).collect();
    let of_server: Vec<String> =
        of_server.into_iter().flat_map(|(name, value)| [format!("--{name}"), value.to_owned()]).collect();
    let server = Server::start_with(&binary, &of_server.iter().map(String::as_str).collect::<Vec<_>>());
    let monitor = monitor(&server.address().replace(':', " "), 1);
    let sentinel = Sentinel::start(&binary, &[&options[..], &monitor].concat());
    let target = format!("--redis.addr=rediss+sentinel://{}/{PRIMARY}", sentinel.address());
    let ca = format!("--redis.tls-ca-file={}", file("ca.crt"));
    let exporter = Exporter::start(&[], &[&target, &ca], &[]);
    exporter.scrape_until("it is up", |scrape| scrape.is_up(server.port, 1.0));
}
