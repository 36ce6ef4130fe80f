//! Acceptance tests: scenarios that are heavy, take long, or measure the delays and costs that the documents promise.
//! They run one after the other, best on a machine that does nothing else: `make acceptance`, or `cargo test --test
//! acceptance -- PART` for those whose name contains a text.
//!
//! A run of all scenarios writes its table to docs/acceptance.md.

mod alerting;
mod delays;
mod frameworks;
mod limits;
mod load;
#[path = "../frameworks.rs"]
mod page;
#[expect(dead_code, reason = "much of it is for the integration tests")]
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use redis_client_exporter::clock;

/// A scenario returns its figure, or none if something that it needs is missing. It panics if it fails.
type Scenario = (&'static str, fn() -> Option<String>);

const SCENARIOS: [Scenario; 13] = [
    ("names: the frameworks of docs/frameworks.md", frameworks::names_are_those_of_the_table),
    ("alerts: a leak fires one alert, which Alertmanager receives", alerting::a_leak_fires_one_alert),
    ("delay: an opened connection is in the metrics within 2 s", delays::opened_connections),
    ("delay: a closed connection is no longer in the metrics within 10 s, the frequency", delays::closed_connections),
    ("delay: a killed application is offline within one frequency", delays::a_killed_application),
    ("delay: both are on the page as early, without a reload", delays::the_page),
    ("delay: another exporter announces within 3.5 frequencies", delays::another_announcer),
    ("delay: no gap where another exporter takes over sampling", delays::another_sampler),
    ("limit: idle connections make room for others after 20 s", limits::idle_connections),
    ("limit: an event stream that is not read is dropped after 30 s; one that is read continues", limits::streams),
    ("limit: a TLS handshake is aborted after 10 s", limits::handshakes),
    ("load: 8000 clients with default flags cost at most 1 % of the server's time", load::many_clients),
    ("load: memory stays the same under churn", load::churn),
];

/// The result of a scenario.
struct Row {
    name: &'static str,
    result: &'static str,
    figure: String,
    took: Duration,
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let rows: Vec<Row> = SCENARIOS.into_iter().filter(|(name, _)| is_wanted(name)).map(run).collect();
    let table = table(&rows);
    println!("\n{table}");
    let are_all_passed = rows.iter().all(|row| row.result == "passed");
    if rows.len() == SCENARIOS.len() && are_all_passed {
        write_page(&table);
    }
    match rows.iter().all(|row| row.result != "FAILED") {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run((name, scenario): Scenario) -> Row {
    println!("{name} …");
    let began = Instant::now();
    let (result, figure) = match catch_unwind(scenario) {
        Ok(Some(figure)) => ("passed", figure),
        Ok(None) => ("skipped", String::new()),
        Err(_) => ("FAILED", String::new()),
    };
    let took = began.elapsed();
    println!("{name} … {result} {figure} ({:.0} s)", took.as_secs_f64());
    Row { name, result, figure, took }
}

fn table(rows: &[Row]) -> String {
    let mut table = "| scenario | result | figure | duration |\n|---|---|---|---|\n".to_owned();
    for Row { name, result, figure, took } in rows {
        writeln!(table, "| {name} | {result} | {figure} | {:.0} s |", took.as_secs_f64()).expect("a string takes all");
    }
    table
}

/// Replaces what follows the introduction of docs/acceptance.md.
fn write_page(table: &str) {
    const MARK: &str = "## Last run\n";
    let path = support::project("docs/acceptance.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (introduction, _) = page.split_once(MARK).expect("the page has the table");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (date, version) = (clock::now().strftime("%Y-%m-%d"), env!("CARGO_PKG_VERSION"));
    let minutes = std::env::var("ACCEPTANCE_MINUTES")
        .map_or_else(|_| String::new(), |minutes| format!(", {minutes} minutes of churn"));
    let page = format!("{introduction}{MARK}\n{date}, version {version}, {cores} cores{minutes}.\n\n{table}");
    std::fs::write(path, page).expect("the page can be written");
}

/// Returns the seconds of the longest of some delays. Fails if it is above the limit.
fn longest(delays: &[Duration], limit: Duration) -> String {
    let longest = delays.iter().max().expect("a delay");
    assert!(*longest <= limit, "longer than {limit:?}: {delays:?}");
    format!("{:.1} s, the longest of {}", longest.as_secs_f64(), delays.len())
}
