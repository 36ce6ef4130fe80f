//! The pages in a real Chromium. Each script of `tests/browser` runs with a real server that has many clients, and a
//! real exporter.

use std::path::PathBuf;
use std::process::Command;

use crate::support::exporter::Exporter;
use crate::support::project;
use crate::support::server::{Binary, Server, any_binary, binary, missing};
use crate::support::test_clients::TestClients;

/// The time limit for a script, in seconds. Only a hang exceeds it.
const MAX_SECONDS: &str = "900";

/// Returns true if everything that a script needs is installed. If not, the test is skipped with a message, and fails
/// in CI.
fn can_browse() -> bool {
    let packages = project(".cache/browser/node_modules/playwright-core");
    let found = [("chromium", on_path("chromium")), ("playwright-core", packages.exists().then_some(packages))];
    let lacking: Vec<_> = found.into_iter().filter(|(_, path)| path.is_none()).map(|(name, _)| name).collect();
    lacking.iter().for_each(|name| missing(name));
    lacking.is_empty()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.exists())
}

/// Runs a script with a server that has clients of every kind, and an exporter with these arguments.
fn browse(script: &str, server: Option<Binary>, args: &[&str]) {
    let (true, Some(binary)) = (can_browse(), server) else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let exporter = Exporter::start(&[&server.address()], args, &[]);
    exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    let output = Command::new("timeout")
        .args(["-k", "5", MAX_SECONDS, "node", "--test-reporter=tap"])
        .arg(project(&format!("tests/browser/{script}.test.mjs")))
        .env("EXPORTER_URL", format!("http://{}", exporter.address))
        .env("REDIS_ADDRESS", server.address())
        .output()
        .expect("node starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}\n{text}", output.status);
    let passed = text.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 0), "{script} has no test\n{text}");
    println!("{text}");
}

#[test]
fn pages_match_client_list() {
    browse("truth", any_binary(), &[]);
}

#[test]
fn opened_and_closed_connections_appear_without_a_reload() {
    browse("live", any_binary(), &["--client-announce-frequency=1h"]);
}

#[test]
fn the_table_sorts_filters_pages_and_stays_stable() {
    browse("table", any_binary(), &[]);
}

#[test]
fn pages_work_without_a_script() {
    browse("plain", any_binary(), &[]);
}

#[test]
fn text_from_clients_and_links_is_never_executed() {
    // A server that supports library names, which are hostile too.
    browse("hostile", binary("redis-8.2").or_else(any_binary), &[]);
}

#[test]
fn pages_are_accessible() {
    browse("accessible", any_binary(), &["--presence.expect=ghost=2"]);
}

#[test]
fn a_page_without_its_stream_shows_it_and_recovers() {
    browse("stream", any_binary(), &[]);
}

#[test]
fn updates_do_not_disturb_the_reader() {
    browse("reading", any_binary(), &[]);
}

#[test]
fn charts_stay_stable_and_show_the_last_hour() {
    browse("charts", any_binary(), &[]);
}
