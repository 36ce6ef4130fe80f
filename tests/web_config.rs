//! `--web.config.file`: the format that other exporters use, its faults, and reloading while the exporter runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};

use crate::support::certificates::Certificates;
use crate::support::exporter::{Exporter, run};
use crate::support::http::{Answer, connect, get, request};
use crate::support::https::Client;
use crate::support::prometheus::Prometheus;
use crate::support::scrape::Scrape;
use crate::support::{PATIENCE, eventually};

const VALID: &str = "redis_client_exporter_web_config_last_reload_successful";

/// A configuration in the folder of its certificates, which it names by relative paths.
struct Config {
    certificates: Certificates,
}

const PAIR: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

impl Config {
    fn new(text: &str) -> Self {
        let config = Self { certificates: Certificates::new() };
        config.write(text);
        config
    }

    fn path(&self) -> PathBuf {
        self.certificates.path("web-config.yml")
    }

    /// Replaces the file in one step, so that it is never read half written.
    fn write(&self, text: &str) {
        let next = self.certificates.path("next");
        fs::write(&next, text).expect("a file");
        fs::rename(next, self.path()).expect("it can be replaced");
    }

    fn exporter(&self) -> Exporter {
        let file = format!("--web.config.file={}", self.path().display());
        Exporter::start(&["127.0.0.1:1"], &[&file, "--log.level=debug"], &[])
    }

    fn client(&self) -> Client {
        Client::trusting(&self.certificates)
    }
}

fn users(users: &[(&str, &str)]) -> String {
    let hash = |password: &str| bcrypt::hash(password, 4).expect("a hash");
    let lines: String = users.iter().map(|(user, password)| format!("  {user}: {}\n", hash(password))).collect();
    format!("basic_auth_users:\n{lines}")
}

fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn get_as(exporter: &Exporter, path: &str, user: &str, password: &str) -> Answer {
    // A change of the file closes connections, even new ones. The second attempt succeeds.
    let ask = || request(&exporter.address, "GET", path, &[&basic(user, password)]);
    ask().or_else(|_| ask()).expect("an answer")
}

fn wait_for_log(exporter: &Exporter, text: &str) {
    eventually(text, || exporter.log().iter().any(|line| line.contains(text)).then_some(()));
}

#[test]
fn only_users_with_their_password_are_admitted() {
    let config = Config::new(&users(&[("ann", "correct horse"), ("böb", "p:a:s:s"), ("empty", "")]));
    let exporter = config.exporter();
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/health", "/assets/app.css", "/nothing"] {
        let refused = get(&exporter.address, path);
        assert_eq!(refused.status, 401, "{path}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        assert!(!refused.text().contains("redis_"), "{path}");
    }
    for (user, password, status) in [
        ("ann", "correct horse", 200),
        ("ann", "correct horse", 200),
        ("böb", "p:a:s:s", 200),
        ("empty", "", 200),
        ("ann", "wrong-horse", 401),
        ("ann", "", 401),
        ("ann", "p:a:s:s", 401),
        ("unknown", "correct horse", 401),
        ("", "", 401),
        ("Ann", "correct horse", 401),
    ] {
        assert_eq!(get_as(&exporter, "/metrics", user, password).status, status, "{user} {password}");
    }
    for header in ["Authorization: Basic", "Authorization: Basic !!!", "Authorization: Bearer abc", "Authorization: "] {
        let answer = request(&exporter.address, "GET", "/metrics", &[header]).expect("an answer");
        assert_eq!(answer.status, 401, "{header}");
    }
    let scrape = Scrape::parse(get_as(&exporter, "/metrics", "ann", "correct horse").text());
    let of =
        |code| scrape.value("redis_client_exporter_http_requests_total", &[("handler", "metrics"), ("code", code)]);
    assert_eq!((of("401"), of("200"), scrape.value(VALID, &[])), (Some(11.0), Some(4.0), Some(1.0)));
    let log = exporter.log().join("\n");
    assert!(log.contains("valid user and password"), "{log}");
    for secret in ["horse", "p:a:s:s", "$2b$", "unknown"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn every_request_of_a_connection_is_authenticated() {
    let config = Config::new(&users(&[("ann", "one")]));
    let exporter = config.exporter();
    for refused in ["x: y".to_owned(), basic("ann", "two")] {
        let mut stream = connect(&exporter.address).expect("a connection");
        for (header, status) in [(basic("ann", "one"), "200"), (refused, "401")] {
            write!(stream, "GET /-/healthy HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n").expect("a request");
            assert_eq!(read_status(&mut stream), format!("HTTP/1.1 {status}"));
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it is closed after a refusal");
        assert!(rest.is_empty());
    }
    let mut stream = connect(&exporter.address).expect("a connection");
    write!(stream, "GET /-/healthy HTTP/1.1\r\nhost: x\r\n{}\r\n\r\n", basic("ann", "one")).expect("a request");
    assert_eq!(read_status(&mut stream), "HTTP/1.1 200");
    // The connection is closed when the configuration changes.
    config.write(&users(&[("ann", "three")]));
    let mut rest = Vec::new();
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.read_to_end(&mut rest).expect("it is closed");
    assert!(rest.is_empty());
}

/// Reads a response to its end and returns its status line without the reason.
fn read_status(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let read = stream.read(&mut bytes).expect("an answer");
        assert!(read > 0, "closed after {text:?}");
        text += std::str::from_utf8(&bytes[..read]).expect("UTF-8");
        if text.ends_with('\n') && text.contains("\r\n\r\n") && !text.ends_with("\r\n\r\n") {
            return text[.."HTTP/1.1 200".len()].to_owned();
        }
    }
}

#[test]
fn a_changed_password_applies_without_a_restart() {
    let config = Config::new(&users(&[("ann", "old")]));
    let exporter = config.exporter();
    assert_eq!(get_as(&exporter, "/metrics", "ann", "old").status, 200);
    config.write(&users(&[("ann", "new")]));
    eventually("the new one", || (get_as(&exporter, "/metrics", "ann", "new").status == 200).then_some(()));
    assert_eq!(get_as(&exporter, "/metrics", "ann", "old").status, 401);
    // An empty file does not open it: that takes a restart. Everything else goes on.
    let valid = || Scrape::parse(get_as(&exporter, "/metrics", "ann", "new").text()).value(VALID, &[]);
    config.write("# no users any more\n");
    eventually("the file is reported refused", || (valid() == Some(0.0)).then_some(()));
    for path in ["/metrics", "/-/healthy", "/"] {
        assert_eq!(get(&exporter.address, path).status, 401, "{path}");
        assert_eq!(get_as(&exporter, path, "ann", "new").status, 200, "{path}");
    }
    let refusals = exporter.log().iter().filter(|line| line.contains("no longer has users")).count();
    assert_eq!(refusals, 1, "logged once: {:?}", exporter.log());
    config.write(&users(&[("bob", "b")]));
    eventually("another user", || (get_as(&exporter, "/metrics", "bob", "b").status == 200).then_some(()));
    assert_eq!(get_as(&exporter, "/metrics", "ann", "new").status, 401);
    config.write("");
    drop(exporter);
    assert_eq!(get(&config.exporter().address, "/metrics").status, 200, "a restart does what the file says");
}

#[test]
fn a_hangup_reloads_the_files_and_ends_nothing() {
    let config = Config::new(&users(&[("ann", "old")]));
    let groups = config.certificates.path("groups.yml");
    fs::write(&groups, "rules: [{app: one, name: web}]").expect("a file");
    let flags =
        [format!("--web.config.file={}", config.path().display()), format!("--group.file={}", groups.display())];
    let mut exporter = Exporter::start(&["127.0.0.1:1"], &flags.each_ref().map(String::as_str), &[]);
    // Without a change, too.
    for (number, password) in ["old", "new"].into_iter().enumerate() {
        config.write(&users(&[("ann", password)]));
        exporter.signal("HUP");
        eventually("the reload", || {
            let log = exporter.log();
            let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
            let reloaded = count("reload of --group.file succeeded").min(count("web configuration reloaded"));
            (reloaded > number && count("SIGHUP") > number).then_some(())
        });
        assert_eq!(get_as(&exporter, "/metrics", "ann", password).status, 200);
    }
    // Also while it stops.
    exporter.signal("TERM");
    exporter.signal("HUP");
    assert!(exporter.wait().success());
}

#[test]
fn an_invalid_file_leaves_the_settings_unchanged() {
    let config = Config::new(&users(&[("ann", "old")]));
    let exporter = config.exporter();
    let valid = || Scrape::parse(get_as(&exporter, "/metrics", "ann", "old").text()).value(VALID, &[]);
    assert_eq!(valid(), Some(1.0));
    for invalid in
        ["basic_auth_users: {ann: hush}", "nonsense: true", "tls_server_config: {cert_file: x, key_file: y}", "{"]
    {
        config.write(invalid);
        eventually("the file is reported invalid", || (valid() == Some(0.0)).then_some(()));
        assert_eq!(get(&exporter.address, "/metrics").status, 401, "{invalid}");
        config.write(&users(&[("ann", "old")]));
        eventually("the file is reported valid again", || (valid() == Some(1.0)).then_some(()));
    }
    fs::remove_file(config.path()).expect("the file exists");
    eventually("the file is reported missing", || (valid() == Some(0.0)).then_some(()));
    let log = exporter.log();
    let is_warning = |line: &&String| line.contains("keeping the previous one") && line.contains("web-config.yml");
    assert_eq!(log.iter().filter(is_warning).count(), 5, "{log:?}");
    assert!(!log.join("\n").contains("hush"));
}

#[test]
fn tls_in_both_versions_and_headers_on_every_response() {
    let headers = "http_server_config:\n  http2: true\n  headers:\n    \
                   Strict-Transport-Security: max-age=31536000\n    X-Frame-Options: deny\n    \
                   X-XSS-Protection: \"0\"\n    Content-Security-Policy: default-src 'self'\n";
    let config = Config::new(&format!("{PAIR}{headers}{}", users(&[("ann", "one")])));
    let exporter = config.exporter();
    for version in [&TLS12, &TLS13] {
        let client = Client::speaking(&config.certificates, version);
        for (path, password, status) in [("/metrics", "one", 200), ("/nothing", "one", 404), ("/metrics", "two", 401)] {
            let answer = client.get(&exporter.address, path, &[&basic("ann", password)]).expect("an answer");
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"), "{path}");
            assert_eq!(answer.header("x-frame-options"), Some("deny"), "{path}");
            assert_eq!(answer.header("x-xss-protection"), Some("0"), "{path}");
            assert_eq!(answer.header("content-security-policy"), Some("default-src 'self'"), "{path}");
            assert_eq!(
                answer.header("x-content-type-options"),
                Some("nosniff"),
                "our header stays where the file sets none"
            );
        }
    }
    // A plain HTTP request gets only a hint to use https://.
    let plain = request(&exporter.address, "GET", "/metrics", &[&basic("ann", "one")]).expect("an answer");
    assert_eq!((plain.status, plain.text()), (400, "this port accepts only TLS; use https://\n"));
    // A client that does not trust our certificate aborts the handshake. That is logged at debug level only.
    assert_eq!(Client::trusting(&Certificates::new()).status(&exporter.address), None);
    wait_for_log(&exporter, "TLS handshake failed");
    assert!(
        exporter.log().iter().filter(|line| line.contains("TLS handshake failed")).all(|line| line.contains("debug"))
    );
}

#[test]
fn versions_out_of_range_are_refused() {
    let config = Config::new(&format!("{PAIR}  min_version: TLS13\n"));
    let exporter = config.exporter();
    let status = |version| Client::speaking(&config.certificates, version).status(&exporter.address);
    assert_eq!((status(&TLS13), status(&TLS12)), (Some(200), None));
    let suites = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]\n";
    let curves = "  curve_preferences: [CurveP256, CurveP521]\n  prefer_server_cipher_suites: false\n";
    config.write(&format!("{PAIR}  min_version: TLS10\n  max_version: TLS12\n{suites}{curves}"));
    eventually("the older version", || (status(&TLS12) == Some(200)).then_some(()));
    assert_eq!(status(&TLS13), None);
    for note in ["TLS10 is not supported", "AES_128_CBC_SHA is not supported", "CurveP521 is not supported"] {
        wait_for_log(&exporter, note);
    }
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let config = Config::new(PAIR);
    let exporter = config.exporter();
    let on_disk = || CertificateDer::from_pem_file(config.certificates.path("server.crt")).expect("a certificate");
    let first = on_disk();
    assert_eq!(config.client().shown(&exporter.address), Some(first.clone()));
    config.certificates.renew_server();
    assert_ne!(on_disk(), first);
    eventually("the new one", || config.client().shown(&exporter.address).filter(|shown| *shown == on_disk()));
    // A key that does not match the certificate changes nothing.
    let key = config.certificates.path("server.key");
    let matching = fs::read(&key).expect("a key");
    fs::copy(config.certificates.path("client.key"), &key).expect("a copy");
    let valid = || {
        let answer = config.client().get(&exporter.address, "/metrics", &[]).ok()?;
        Scrape::parse(answer.text()).value(VALID, &[])
    };
    eventually("the key is reported invalid", || (valid() == Some(0.0)).then_some(()));
    assert_eq!(config.client().shown(&exporter.address), Some(on_disk()));
    fs::write(&key, matching).expect("a key");
    eventually("the key is reported valid again", || (valid() == Some(1.0)).then_some(()));
}

#[test]
fn plain_text_becomes_tls_and_never_plain_text_again() {
    let config = Config::new("");
    let exporter = config.exporter();
    assert_eq!(get(&exporter.address, "/-/healthy").status, 200);
    config.write(PAIR);
    eventually("TLS", || (config.client().status(&exporter.address) == Some(200)).then_some(()));
    assert_eq!(get(&exporter.address, "/-/healthy").status, 400);
    config.write("{}");
    wait_for_log(&exporter, "it no longer has TLS");
    assert_eq!(get(&exporter.address, "/-/healthy").status, 400);
    assert_eq!(config.client().status(&exporter.address), Some(200));
}

#[test]
fn client_certificates_are_checked_as_the_policy_says() {
    let config = Config::new(PAIR);
    let other = Certificates::new();
    let (without, trusted, untrusted) = (
        config.client(),
        Client::showing(&config.certificates, &config.certificates),
        Client::showing(&config.certificates, &other),
    );
    for (policy, expected) in [
        ("NoClientCert", [true, true, true]),
        ("RequestClientCert", [true, true, true]),
        ("RequireAnyClientCert", [false, true, true]),
        ("VerifyClientCertIfGiven\n  client_ca_file: ca.crt", [true, true, false]),
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.crt", [false, true, false]),
        (
            "RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [other, client]",
            [false, true, false],
        ),
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [clien]", [false, false, false]),
    ] {
        config.write(&format!("{PAIR}  client_auth_type: {policy}\n"));
        let exporter = config.exporter();
        let admitted = [&without, &trusted, &untrusted].map(|client| client.status(&exporter.address) == Some(200));
        assert_eq!(admitted, expected, "{policy}");
    }
}

#[test]
fn certificates_may_be_given_inline() {
    let config = Config::new("");
    let text = |name: &str| fs::read_to_string(config.certificates.path(name)).expect("a file").replace('\n', "\n    ");
    config.write(&format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  client_auth_type: \
         RequireAndVerifyClientCert\n",
        text("server.crt"),
        text("server.key"),
        text("ca.crt")
    ));
    let exporter = config.exporter();
    let client = Client::showing(&config.certificates, &config.certificates);
    assert_eq!((client.status(&exporter.address), config.client().status(&exporter.address)), (Some(200), None));
}

#[test]
fn peers_that_never_complete_a_handshake_do_not_block_others() {
    let config = Config::new(PAIR);
    let exporter = config.exporter();
    let mut silent: Vec<_> = (0..100).map(|_| connect(&exporter.address).expect("a connection")).collect();
    for stream in silent.iter_mut().take(50) {
        stream.write_all(&[22, 3, 1, 2, 0]).expect("the beginning of a handshake");
    }
    assert_eq!(config.client().status(&exporter.address), Some(200));
}

/// `healthy` needs neither a password nor a certificate to learn that the exporter responds.
#[test]
fn healthy_works_with_every_web_configuration() {
    let mutual = format!("{PAIR}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n");
    let limited = "rate_limit: {interval: 1h, burst: 1}";
    let cases = [
        (users(&[("ann", "one")]), "asks for a user and password"),
        (PAIR.to_owned(), "asks for TLS"),
        (format!("{mutual}{}", users(&[("ann", "one")])), "asks for TLS"),
        (limited.to_owned(), "reached its limit of requests"),
    ];
    for (text, expected) in cases {
        let config = Config::new(&text);
        let exporter = config.exporter();
        if text == limited {
            assert_eq!(get(&exporter.address, "/-/healthy").status, 200);
        }
        let output = run(&["healthy", "--web.listen-address", &exporter.address]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains(expected) && output.status.success(), "{stdout}{output:?}");
    }
}

#[test]
fn requests_are_limited_if_configured() {
    let exporter = Config::new("rate_limit:\n  interval: 1h\n  burst: 2\n").exporter();
    let statuses = [(); 3].map(|()| get(&exporter.address, "/-/healthy").status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn faults_are_reported_at_the_start_with_all_others() {
    for (text, expected) in [
        ("tls_server_config: {cert_file: server.crt}", "key_file or key is missing"),
        ("tls_server_config: {key_file: server.key}", "cert_file or cert is missing"),
        ("tls_server_config: {cert_file: missing.crt, key_file: server.key}", "missing.crt cannot be used"),
        ("tls_server_config: {cert_file: server.key, key_file: server.key}", "no certificate in PEM format"),
        ("tls_server_config: {cert_file: server.crt, key_file: server.crt}", "no unencrypted private key"),
        ("tls_server_config: {cert_file: server.crt, key_file: client.key}", "cannot be used together"),
        ("tls_server_config: {client_auth_type: Sometimes, cert_file: server.crt, key_file: server.key}", "Sometimes"),
        (
            "tls_server_config: {client_ca_file: ca.crt, cert_file: server.crt, key_file: server.key}",
            "client_auth_type",
        ),
        ("tls_server_config: {max_version: TLS11}", "not secure; write TLS12 or TLS13"),
        ("tls_server_config: {cipher_suites: [RC4]}", "RC4 is not known"),
        ("tls_server_config: {curve_preferences: [CurveP521]}", "use X25519"),
        ("http_server_config: {headers: {Server: hush}}", "Server cannot be set"),
        ("basic_auth_users: {ann: hush}", "htpasswd"),
        ("basic_auth_users: {ann: $2y$31$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}", "cost 31"),
        ("basic_auth_usres: {ann: hush}", "basic_auth_usres is not known"),
    ] {
        let config = Config::new(text);
        let file = config.path().display().to_string();
        let output = run(&["--web.config.file", &file, "--redis.timeout=0"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(&format!("error: --web.config.file: {file}: ")) && stderr.contains(expected),
            "{stderr}"
        );
        assert!(stderr.contains("--redis.timeout") && !stderr.contains("hush") && !stderr.contains("$2y$"), "{stderr}");
    }
}

#[test]
fn prometheus_scrapes_with_tls_and_a_password() {
    let config = Config::new(&format!("{PAIR}{}", users(&[("prometheus", "scr4pe")])));
    let exporter = config.exporter();
    let more = serde_json::json!({
        "scheme": "https",
        "basic_auth": { "username": "prometheus", "password": "scr4pe" },
        "tls_config": { "ca_file": config.certificates.path("ca.crt") },
    });
    let Some(prometheus) = Prometheus::scraping_with(&[&exporter.address], &more) else { return };
    eventually("it is scraped", || {
        (prometheus.value("up{job=\"redis-clients\"}") == Some(1.0) && prometheus.value(VALID) == Some(1.0))
            .then_some(())
    });
    config.certificates.renew_server();
    config.write(&format!("{PAIR}{}", users(&[("prometheus", "scr4pe")])));
    wait_for_log(&exporter, "reloaded");
    let requests = "redis_client_exporter_http_requests_total{handler=\"metrics\",code=\"200\"}";
    let before = prometheus.value(requests).unwrap_or(0.0);
    eventually("it is scraped again", || prometheus.value(requests).filter(|now| *now > before + 1.0));
}
