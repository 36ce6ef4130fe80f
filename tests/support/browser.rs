//! Scripts of `tests/browser` in a real Chromium.

use std::path::PathBuf;
use std::process::Command;

use super::exporter::Exporter;
use super::project;
use super::server::{Binary, Server, missing};
use super::test_clients::TestClients;

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

/// Runs a script with a server that has clients of every kind, and an exporter with these arguments. Returns what the
/// script prints; `None` if something is missing.
pub(crate) fn browse(script: &str, server: Option<Binary>, args: &[&str]) -> Option<String> {
    let (true, Some(binary)) = (can_browse(), server) else { return None };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let exporter = Exporter::start(&[&server.address()], args, &[]);
    exporter.scrape_until("clients", |scrape| scrape.sum("redis_clients_online") > 5.0);
    run_script(script, &exporter.address, &server.address(), &[])
}

/// Runs a script with an exporter and a server at these addresses, and with these variables. Returns what it prints;
/// `None` if something is missing.
pub(crate) fn run_script(script: &str, exporter: &str, server: &str, variables: &[(&str, &str)]) -> Option<String> {
    if !can_browse() {
        return None;
    }
    let output = Command::new("timeout")
        .args(["-k", "5", MAX_SECONDS, "node", "--test-reporter=tap"])
        .arg(project(&format!("tests/browser/{script}.test.mjs")))
        .env("EXPORTER_URL", format!("http://{exporter}"))
        .env("REDIS_ADDRESS", server)
        .envs(variables.iter().copied())
        .output()
        .expect("node starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}\n{text}", output.status);
    let passed = text.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 0), "{script} has no test\n{text}");
    println!("{text}");
    Some(text)
}
