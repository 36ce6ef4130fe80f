//! Servers that DNS names, from a DNS server of the test.

use std::net::IpAddr;

use crate::support::certificates::Certificates;
use crate::support::dns::{DnsServer, Record};
use crate::support::exporter::{Exporter, run};
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};

const NAME: &str = "redis.example";

/// Follows a name of a DNS server.
fn following(dns: &DnsServer, target: &str, args: &[&str]) -> Exporter {
    let (target, server) = (format!("--redis.addr={target}"), format!("--discovery.dns-server={}", dns.address));
    Exporter::start(&[], &[&[target.as_str(), &server, "--discovery.interval=1s"], args].concat(), &[])
}

fn service(server: &Server) -> Record {
    Record::Service(server.port, "localhost".to_owned())
}

fn address(text: &str) -> Record {
    Record::Address(text.parse::<IpAddr>().expect("an address"))
}

fn up(scrape: &Scrape, server: &Server) -> Option<f64> {
    let is_it = |name: &str| name.ends_with(&format!(":{}", server.port));
    scrape.all("redis_clients_up", &[]).find(|series| is_it(&series.labels["redis"])).map(|series| series.value)
}

fn dropped(scrape: &Scrape, reason: &str) -> Option<f64> {
    scrape.value("redis_clients_discovery_dropped_nodes", &[("reason", reason)])
}

#[test]
fn servers_of_srv_records_come_and_go_and_stay_while_dns_has_none() {
    let Some(binary) = any_binary() else { return };
    let servers: Vec<_> = (0..3).map(|_| Server::start(&binary)).collect();
    let dns = DnsServer::start();
    dns.set(NAME, servers[..2].iter().map(service).collect());
    let exporter = following(&dns, "redis+srv://redis.example", &[]);
    let are_up = |scrape: &Scrape, expected: [bool; 3]| {
        servers.iter().zip(expected).all(|(server, is_up)| up(scrape, server) == is_up.then_some(1.0))
    };
    let scrape = exporter.scrape_until("the first two are up", |scrape| are_up(scrape, [true, true, false]));
    let infos: Vec<_> = scrape.all("redis_clients_node_info", &[("cluster", NAME)]).collect();
    assert!(infos.len() == 2 && infos.iter().all(|series| series.labels["target"] == NAME), "{infos:?}");

    dns.set(NAME, servers[1..].iter().map(service).collect());
    exporter.scrape_until("the last two are up", |scrape| are_up(scrape, [false, true, true]));
    dns.set(NAME, Vec::new());
    let failed = |scrape: &Scrape| scrape.value("redis_clients_discovery_errors_total", &[]).is_some_and(|n| n >= 3.0);
    let scrape = exporter.scrape_until("discovery fails", failed);
    assert!(are_up(&scrape, [false, true, true]));
    let log = exporter.log();
    assert!(log.iter().any(|line| line.contains("no SRV record (NXDOMAIN)")), "{log:?}");
}

#[test]
fn addresses_that_no_server_has_are_refused_and_too_many_records_are_cut() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let dns = DnsServer::start();
    let addresses = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "fe80::1", "::ffff:169.254.169.254"];
    dns.set(NAME, addresses.map(address).into());
    let exporter = following(&dns, &format!("redis+dns://{NAME}:{}", server.port), &[]);
    let scrape = exporter.scrape_until("it is up", |scrape| up(scrape, &server) == Some(1.0));
    assert_eq!((dropped(&scrape, "refused_address"), scrape.all("redis_clients_up", &[]).count()), (Some(4.0), 1));

    // As many as one message has room for, which UDP has not.
    let names = (0..1500).map(|number| Record::Service(6379, format!("n{number}.invalid")));
    dns.set("many.example", names.collect());
    let exporter = following(&dns, "redis+srv://many.example", &["--discovery.max-nodes=2"]);
    exporter.scrape_until("two of them", |scrape| {
        dropped(scrape, "max_nodes") == Some(1498.0) && scrape.all("redis_clients_up", &[]).count() == 2
    });
}

#[test]
fn certificates_of_addresses_have_the_name_that_led_to_them() {
    let Some(binary) = any_binary() else { return };
    let certificates = Certificates::new();
    certificates.sign("named", &[NAME]);
    let (certificate, key) = (certificates.text("named.crt"), certificates.text("named.key"));
    let ca = certificates.text("ca.crt");
    let options = ["--tls-port", "PORT", "--tls-auth-clients", "no", "--tls-ca-cert-file", &ca];
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
    let server = Server::start_with(&binary, &[&options[..], &files].concat());
    let dns = DnsServer::start();
    dns.set(NAME, vec![address("127.0.0.1")]);
    let (target, ca) = (format!("rediss+dns://{NAME}:{}", server.port), format!("--redis.tls-ca-file={ca}"));
    following(&dns, &target, &[&ca]).scrape_until("it is up", |scrape| up(scrape, &server) == Some(1.0));
}

#[test]
fn a_name_without_records_is_said_with_the_fix() {
    let dns = DnsServer::start();
    dns.set("empty.example", vec![address("127.0.0.1")]);
    dns.set("none.example", vec![Record::Service(0, String::new())]);
    dns.set("refused.example", vec![address("169.254.169.254")]);
    let server = format!("--discovery.dns-server={}", dns.address);
    for (target, expected) in [
        ("redis+srv://empty.example", "DNS has no SRV record; check the name"),
        ("redis+srv://none.example", "there is no such service"),
        ("redis+dns://missing.example:6379", "no A record (NXDOMAIN)"),
        // It must not end the series of the nodes that are watched.
        ("redis+dns://refused.example:6379", "no node can be watched (1 refused_address)"),
    ] {
        let output = run(&["check", "--redis.addr", target, &server]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(4) && text.contains(expected), "{text}");
    }
    // The system's resolver knows this name on every machine.
    let output = run(&["check", "--redis.addr=redis+dns://localhost:1"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("discovery: 1 nodes"), "{text}");
}
