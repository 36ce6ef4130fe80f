//! What an alert says, and the page that tells what to do about it: each alert has both, and what a page tells one to type
//! works.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::crowd::Crowd;
use crate::support::exporter::run;
use crate::support::project;
use crate::support::server::{Server, any_binary};

/// An alert of rules.yml: its name, and the lines that are its own.
struct Alert<'a> {
    name: &'a str,
    text: &'a str,
}

/// What Prometheus is asked on the pages, as `(page, expression)`.
pub(crate) fn expressions() -> Vec<(String, String)> {
    typed("promql")
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() {
    let rules = read("deploy/prometheus/rules.yml");
    for Alert { name, text } in alerts(&rules) {
        let severity = value(text, "severity").unwrap_or_default();
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        // What is the same for every node and application tells alerts apart in a list.
        let summary = value(text, "summary").unwrap_or_default();
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{name}: {summary}");
        assert!(text.contains("\n          description: >-\n            "), "{name}: description");
        assert_eq!(value(text, "runbook_url"), Some(&*page_of(name)), "{name}");
    }
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let rules = read("deploy/prometheus/rules.yml");
    let needed: BTreeSet<String> = alerts(&rules).iter().map(|alert| page_of(alert.name)).collect();
    let listed = read("docs/runbooks/README.md");
    for alert in alerts(&rules) {
        let (page, name) = (page_of(alert.name), alert.name);
        let text = read(&page);
        assert!(text.starts_with(&format!("# {name}\n")), "{page}: title");
        let sections: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(sections, ["## Look", "## Do", "## Harmless when"], "{page}");
        assert!(listed.contains(&format!("[{name}]({})", file_of(name))), "README.md: {name}");
    }
    assert_eq!(pages(), needed);
}

#[test]
fn every_alert_is_tested_to_fire() {
    let rules = read("deploy/prometheus/rules.yml");
    let tests = ["rules_test.yml", "rules_nodes_test.yml", "rules_hours_test.yml", "rules_days_test.yml"]
        .map(|file| read(&format!("deploy/prometheus/{file}")))
        .concat();
    for Alert { name, .. } in alerts(&rules) {
        let checks: Vec<&str> =
            tests.split("- eval_time:").filter(|check| value(check, "alertname") == Some(name)).collect();
        let quiet = checks.iter().filter(|check| check.contains("exp_alerts: []")).count();
        assert!(quiet > 0 && quiet < checks.len(), "{name}: {quiet} of {}", checks.len());
    }
}

#[test]
fn what_pages_tell_one_to_type_works() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = Crowd::join(&server);
    let commands = typed("sh");
    assert!(commands.len() > 10);
    for (page, command) in commands {
        let words = command.replace("NODE", &server.address());
        let words: Vec<&str> = words.split_whitespace().map(|word| word.trim_matches('\'')).collect();
        let output = run(&words[1..]);
        assert_eq!(words[0], "redis-client-exporter", "{page}");
        assert!(output.status.success(), "{page}: {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts(rules: &str) -> Vec<Alert<'_>> {
    let parts = rules.split("      - alert: ").skip(1);
    let alerts: Vec<_> = parts.filter_map(|text| Some(Alert { name: text.lines().next()?, text })).collect();
    assert!(!alerts.is_empty());
    alerts
}

/// The value of a key that stands on a line of its own.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(": "))
}

/// `RedisClientsNodeDown` is explained in `redis-clients-node-down.md`.
fn file_of(alert: &str) -> String {
    let mut file = String::new();
    for letter in alert.chars() {
        if letter.is_ascii_uppercase() && !file.is_empty() {
            file.push('-');
        }
        file.push(letter.to_ascii_lowercase());
    }
    file + ".md"
}

fn page_of(alert: &str) -> String {
    format!("docs/runbooks/{}", file_of(alert))
}

/// Every page but the list of them.
fn pages() -> BTreeSet<String> {
    let folder = fs::read_dir(project("docs/runbooks")).expect("the pages are in the repository");
    let names = folder.map(|entry| entry.expect("a folder can be listed").file_name());
    let names = names.filter(|name| Path::new(name) != Path::new("README.md"));
    names.map(|name| format!("docs/runbooks/{}", name.to_string_lossy())).collect()
}

/// The lines of the pages' blocks in a language, with their pages.
fn typed(language: &str) -> Vec<(String, String)> {
    let fence = format!("```{language}\n");
    let mut typed = Vec::new();
    for page in pages() {
        let text = read(&page);
        let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
        typed.extend(blocks.flat_map(str::lines).map(|line| (page.clone(), line.to_owned())));
    }
    typed
}
