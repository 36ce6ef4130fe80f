//! The API against its OpenAPI description: schemathesis sends valid and invalid requests, and every response must
//! match the description.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::exporter::Exporter;
use crate::support::http::get;
use crate::support::project;
use crate::support::server::{Server, any_binary, missing};
use crate::support::test_clients::TestClients;

/// All checks but one. The description cannot express which filters and sort orders are valid, so the API refuses some
/// requests that the description allows.
const ALL: &[&str] = &["--checks=all", "--exclude-checks=positive_data_acceptance"];

/// The checks for a client without access. It gets the same refusal for every request.
const REFUSED: &[&str] =
    &["--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
     response_schema_conformance"];

/// Returns the program. If it is missing, the test is skipped with a message, and fails in CI.
fn schemathesis() -> Option<PathBuf> {
    let found = project(".cache/api/venv/bin/schemathesis");
    if !found.exists() {
        missing("schemathesis");
    }
    found.exists().then_some(found)
}

/// Tests every operation except the event stream, which does not end. The requests are the same in each run. `client`
/// is the id of a connected client.
fn try_all(program: PathBuf, exporter: &Exporter, client: u64, examples: u32, checks: &[&str]) {
    let folder = TempDir::new().expect("a temporary folder");
    let config = format!(
        "[[operations]]\ninclude-path = \"/api/v1/clients/{{id}}\"\nparameters = {{ \"path.id\" = {client} }}\n"
    );
    std::fs::write(folder.path().join("schemathesis.toml"), config).expect("a file");
    let output = Command::new("timeout")
        .args(["-k", "5", "900"])
        .arg(program)
        .current_dir(folder.path())
        .arg("run")
        .arg(project("src/web/assets/openapi.json"))
        .arg(format!("--url=http://{}", exporter.address))
        .args(checks)
        .args(["--exclude-path=/api/v1/events", "--seed=1", "--generation-deterministic"])
        .args([&format!("--max-examples={examples}"), "--request-timeout=180", "--continue-on-failure", "--no-color"])
        .output()
        .expect("schemathesis starts");
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{output_text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    // The summary says how many requests it has generated.
    let generated = output_text.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<u32>().ok());
    assert!(generated.is_some_and(|generated| generated >= 8 * examples.min(10)), "{output_text}");
    println!("{output_text}");
}

/// Returns a response of the API as JSON.
fn answer(exporter: &Exporter, path: &str) -> Value {
    serde_json::from_str(get(&exporter.address, path).text()).expect("JSON")
}

#[test]
fn every_response_of_the_api_matches_its_description() {
    let (Some(program), Some(binary)) = (schemathesis(), any_binary()) else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
    let exporter = Exporter::watching(&[&server.address()]);
    // So that every list has content: connected clients, and a closed one.
    let mut gone = server.peer();
    gone.must(&["CLIENT", "SETNAME", "gone"]);
    exporter.fresh_scrape();
    drop(gone);
    exporter.scrape_until("a closed connection", |scrape| scrape.sum("redis_clients_closed_total") > 0.0);
    assert_eq!(answer(&exporter, "/api/v1/openapi.json")["openapi"], "3.1.0");
    let client = answer(&exporter, "/api/v1/clients?app=web&limit=1")["items"][0]["id"].as_u64().expect("an id");
    try_all(program, &exporter, client, 100, ALL);
}

#[test]
fn refusals_match_the_description_too() {
    let Some(program) = schemathesis() else { return };
    let config = tempfile::NamedTempFile::new().expect("a temporary file");
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    std::fs::write(config.path(), format!("basic_auth_users:\n  ann: {hash}\n")).expect("it is written");
    let file = format!("--web.config.file={}", config.path().display());
    for (args, status) in [(file.as_str(), 401), ("--web.pages=off", 403)] {
        let exporter = Exporter::start(&["127.0.0.1:1"], &[args], &[]);
        assert_eq!(get(&exporter.address, "/api/v1/status").status, status);
        try_all(program.clone(), &exporter, 1, 3, REFUSED);
    }
}
