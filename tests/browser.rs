//! The pages in a real Chromium: each script of `tests/browser` runs against a real server with a crowd, and a real exporter.

use std::path::PathBuf;
use std::process::Command;

use crate::support::exporter::Exporter;
use crate::support::project;
use crate::support::server::{Binary, Server, any_binary, binary, missing};
use crate::support::test_clients::TestClients;

/// A script that takes longer hangs, in seconds.
const MAX_SECONDS: &str = "100";

/// A machine that is busy with browsers makes the server look slow, and the exporter rest for it; here pages are tried, not that.
const UNHURT: &str = "--sample.max-load=50%";

/// Whether there is all that a script needs; if not, a test is skipped loudly, and fails in CI.
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

/// Runs a script against a server with a crowd, and an exporter with these words.
fn browse(script: &str, server: Option<Binary>, words: &[&str]) {
    let (true, Some(binary)) = (can_browse(), server) else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
    let exporter = Exporter::start(&[&server.address()], &[&[UNHURT], words].concat(), &[]);
    exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    let output = Command::new("timeout")
        .args(["-k", "5", MAX_SECONDS, "node", "--test-reporter=tap"])
        .arg(project(&format!("tests/browser/{script}.test.mjs")))
        .env("EXPORTER_URL", format!("http://{}", exporter.address))
        .env("REDIS_ADDRESS", server.address())
        .output()
        .expect("node starts");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}\n{told}", output.status);
    let passed = told.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 0), "{script} has no test\n{told}");
    println!("{told}");
}

#[test]
fn what_pages_say_of_clients_is_true() {
    browse("truth", any_binary(), &[]);
}

#[test]
fn who_comes_and_goes_is_seen_without_loading_the_page_anew() {
    browse("live", any_binary(), &["--client-announce-frequency=10s"]);
}

#[test]
fn the_table_sorts_filters_pages_and_holds_still() {
    browse("table", any_binary(), &[]);
}

#[test]
fn pages_work_without_a_script() {
    browse("plain", any_binary(), &[]);
}

#[test]
fn what_clients_and_links_say_never_runs() {
    // A server that knows the names of libraries, which are hostile too.
    browse("hostile", binary("redis-8.2").or_else(any_binary), &[]);
}

#[test]
fn pages_keep_nobody_out() {
    browse("accessible", any_binary(), &["--presence.expect=ghost=2"]);
}

#[test]
fn a_page_without_its_stream_says_so_and_catches_up() {
    browse("stream", any_binary(), &[]);
}

#[test]
fn news_takes_nothing_from_who_reads() {
    browse("reading", any_binary(), &[]);
}

#[test]
fn charts_hold_still_and_tell_the_hour() {
    browse("charts", any_binary(), &[]);
}
