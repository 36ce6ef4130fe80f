//! TLS and secrets with a real server, and certificates made for the test.

use std::fs;

use crate::support::certificates::Certificates;
use crate::support::eventually;
use crate::support::exporter::{Exporter, run};
use crate::support::http::get;
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary};

const SECRET: &str = "c0rrect-h0rse";

fn up(scrape: &Scrape) -> bool {
    scrape.value("redis_clients_up", &[]) == Some(1.0)
}

pub(crate) fn tls_server(certificates: &Certificates, clients: &str) -> Option<Server> {
    tls_server_with(certificates, "server", clients)
}

/// A server with the certificate and key of this name.
fn tls_server_with(certificates: &Certificates, name: &str, clients: &str) -> Option<Server> {
    let file = |name: &str| certificates.text(name);
    let (certificate, key, ca) = (file(&format!("{name}.crt")), file(&format!("{name}.key")), file("ca.crt"));
    let options = [
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        clients,
    ];
    Some(Server::start_with(&any_binary()?, &options))
}

#[test]
fn tls_with_a_given_authority_and_a_client_certificate() {
    let certificates = Certificates::new();
    let Some(server) = tls_server(&certificates, "yes") else { return };
    let address = format!("rediss://{}", server.address());
    let ca = format!("--redis.tls-ca-file={}", certificates.text("ca.crt"));
    let certificate = format!("--redis.tls-cert-file={}", certificates.text("client.crt"));
    let key = format!("--redis.tls-key-file={}", certificates.text("client.key"));
    Exporter::start(&[&address], &[&ca, &certificate, &key], &[]).scrape_until("up", up);

    let without = Exporter::start(&[&address], &[&ca], &[]);
    without.scrape_until("a refused handshake", |scrape| {
        ["tls", "closed"].iter().any(|reason| errors(scrape, reason) > 0.0)
    });
    assert!(!up(&without.scrape()));
}

fn errors(scrape: &Scrape, reason: &str) -> f64 {
    scrape.value("redis_clients_sample_errors_total", &[("reason", reason)]).expect("every reason is exported")
}

#[test]
fn tls_with_the_systems_authorities_and_a_name() {
    let certificates = Certificates::new();
    let Some(server) = tls_server(&certificates, "no") else { return };
    let address = format!("rediss://localhost:{}", server.port);
    let system = [("SSL_CERT_FILE", certificates.path("ca.crt").display().to_string())];
    let system: Vec<_> = system.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Exporter::start(&[&address], &[], &system).scrape_until("up", up);

    let other = Certificates::new();
    let other_ca = format!("--redis.tls-ca-file={}", other.text("ca.crt"));
    let distrusting = Exporter::start(&[&address], &[&other_ca], &[]);
    distrusting.scrape_until("a refused certificate", |scrape| errors(scrape, "tls") > 0.0);
    let line = distrusting.log().into_iter().find(|line| line.contains("reason=tls")).expect("it is logged");
    assert!(line.contains("UnknownIssuer") && line.contains("--redis.tls-ca-file"), "{line}");
}

/// A full server closes before the handshake, and counts each of our attempts as rejected.
#[test]
fn a_full_server_with_tls_refuses_one_connection_an_attempt() {
    let certificates = Certificates::new();
    let Some(server) = tls_server(&certificates, "no") else { return };
    let mut control = Peer::connect_unix(&server.socket());
    control.must(&["CONFIG", "SET", "maxclients", "1"]);
    let mut rejected = || -> u64 {
        let info = control.ask(&["INFO", "stats"]);
        let count = info.lines().find_map(|line| line.strip_prefix("rejected_connections:"));
        count.expect("every server counts them").trim().parse().expect("a number")
    };
    let before = rejected();
    let ca = format!("--redis.tls-ca-file={}", certificates.text("ca.crt"));
    let address = format!("rediss://{}", server.address());
    let exporter = Exporter::start(&[&address], &[&ca, "--announce=auto"], &[]);
    exporter.scrape_until("two attempts", |scrape| errors(scrape, "tls") >= 2.0);
    eventually("each attempt is one connection, of all links together", || {
        (rejected() - before == errors(&exporter.scrape(), "tls") as u64).then_some(())
    });
    let line = exporter.log().into_iter().find(|line| line.contains("reason=tls")).expect("it is logged");
    assert!(line.contains("maxclients"), "{line}");
}

/// The sentence that is logged when a server's certificate is refused.
fn refusal(address: &str, args: &[&str]) -> String {
    let exporter = Exporter::start(&[address], args, &[]);
    exporter.scrape_until("a refused certificate", |scrape| errors(scrape, "tls") > 0.0);
    exporter.log().into_iter().find(|line| line.contains("reason=tls")).expect("it is logged")
}

/// Tunnels, port forwarding, and services with one certificate for many addresses.
#[test]
fn a_certificate_for_another_name_is_accepted_if_that_name_is_given() {
    let certificates = Certificates::new();
    certificates.sign("other", &["redis.example"]);
    let Some(server) = tls_server_with(&certificates, "other", "no") else { return };
    let address = format!("rediss://{}", server.address());
    let ca = format!("--redis.tls-ca-file={}", certificates.text("ca.crt"));
    let line = refusal(&address, &[&ca]);
    assert!(line.contains("--redis.tls-server-name") && line.contains("is not for 127.0.0.1"), "{line}");
    let named = Exporter::start(&[&address], &[&ca, "--redis.tls-server-name=redis.example"], &[]);
    let scrape = named.scrape_until("up", up);
    assert_eq!(scrape.value("redis_client_exporter_tls_insecure_skip_verify", &[]), Some(0.0));
    let line = refusal(&address, &[&ca, "--redis.tls-server-name=db.example"]);
    assert!(line.contains("is not for db.example"), "{line}");
}

/// `openssl req -x509` makes such certificates: a CA that is its own leaf.
#[test]
fn a_self_signed_certificate_needs_the_loud_flag_that_skips_verification() {
    let certificates = Certificates::new();
    let Some(server) = tls_server_with(&certificates, "ca", "no") else { return };
    let address = format!("rediss://{}", server.address());
    let ca = format!("--redis.tls-ca-file={}", certificates.text("ca.crt"));
    let line = refusal(&address, &[&ca]);
    assert!(line.contains("--redis.tls-insecure-skip-verify"), "{line}");
    let trusting = Exporter::start(&[&address], &["--redis.tls-insecure-skip-verify"], &[]);
    let scrape = trusting.scrape_until("up", up);
    assert_eq!(scrape.value("redis_client_exporter_tls_insecure_skip_verify", &[]), Some(1.0));
    assert!(trusting.log().iter().any(|line| line.contains("level=warn") && line.contains("not verified")));
}

#[test]
fn tls_to_a_plain_port_and_plain_to_a_tls_port() {
    let certificates = Certificates::new();
    let (Some(with), Some(binary)) = (tls_server(&certificates, "no"), any_binary()) else { return };
    let without = Server::start(&binary);
    let plain = Exporter::watching(&[&with.address()]);
    plain.scrape_until("a mismatch", |scrape| errors(scrape, "closed") + errors(scrape, "protocol") > 0.0);
    assert!(plain.log().join("\n").contains("use rediss://"), "{:?}", plain.log());

    let ca = format!("--redis.tls-ca-file={}", certificates.text("ca.crt"));
    let secure = Exporter::start(&[&format!("rediss://{}", without.address())], &[&ca, "--redis.timeout=2s"], &[]);
    secure.scrape_until("a mismatch", |scrape| errors(scrape, "tls") + errors(scrape, "timeout") > 0.0);
    let log = secure.log().join("\n");
    assert!(log.contains("TLS failed") || log.contains("could not connect and log in"), "{log}");
}

#[test]
fn the_password_may_come_from_any_source_and_appears_nowhere() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start_with(&binary, &["--requirepass", SECRET]);
    let mut admin = server.peer();
    admin.must(&["AUTH", SECRET]).must(&["ACL", "SETUSER", "alice", "on", &format!(">{SECRET}"), "+@all"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    fs::write(&file, format!("{SECRET}\n")).expect("a file");
    let file = file.display().to_string();
    let address = server.address();
    let with_password = format!("redis://:{SECRET}@{address}");
    let with_user = format!("redis://alice:{SECRET}@{address}");
    let flag = format!("--redis.password={SECRET}");
    let from_file = format!("--redis.password-file={file}");
    type Source<'a> = (&'a str, Vec<&'a str>, Vec<(&'a str, &'a str)>);
    let sources: [Source<'_>; 7] = [
        (&with_password, vec![], vec![]),
        (&with_user, vec![], vec![]),
        (&address, vec![&flag], vec![]),
        (&address, vec![&flag, "--redis.user=alice", "--log.format=json"], vec![]),
        (&address, vec![&from_file], vec![]),
        (&address, vec!["--log.level=trace"], vec![("REDIS_PASSWORD", SECRET)]),
        (&address, vec![], vec![("REDIS_PASSWORD_FILE", &file), ("REDIS_USER", "alice")]),
    ];
    for (address, args, environment) in sources {
        let exporter = Exporter::start(&[address], &args, &environment);
        exporter.scrape_until("up", up);
        let seen = [
            exporter.log().join("\n"),
            get(&exporter.address, "/metrics").text().to_owned(),
            get(&exporter.address, "/").text().to_owned(),
        ];
        assert!(!seen.concat().contains(SECRET), "{args:?} {environment:?}");
        let command_line =
            fs::read_to_string(format!("/proc/{}/cmdline", exporter.pid())).expect("the kernel reports it");
        let is_typed = address.contains(SECRET) || args.iter().any(|arg| arg.contains(SECRET));
        assert_eq!(
            command_line.contains(SECRET),
            is_typed,
            "ps shows a password only if it was is_typed, which --help warns of"
        );
    }
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    assert!(help.contains("may run ps can read it"), "{help}");
}

#[test]
fn a_changed_password_needs_no_restart() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start_with(&binary, &["--requirepass", "first"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    fs::write(&file, "first\n").expect("a file");
    let args = [format!("--redis.password-file={}", file.display())];
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    exporter.scrape_until("up", up);
    fs::write(&file, "second").expect("a file");
    server.kill();
    server.restart();
    exporter.scrape_until("the server does not have the new password yet", |scrape| errors(scrape, "auth") > 0.0);
    server.peer().must(&["AUTH", "first"]).must(&["CONFIG", "SET", "requirepass", "second"]);
    exporter.scrape_until("up with the new password", up);
}
