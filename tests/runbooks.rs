//! Alerts and their runbooks: each alert has annotations and a page, and the commands of the pages work.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::exporter::{Exporter, run};
use crate::support::http::get;
use crate::support::project;
use crate::support::promql::read as read_promql;
use crate::support::rules::{Check, Rule, alerts, checks, recorded};
use crate::support::server::{Server, any_binary};
use crate::support::test_clients::TestClients;

/// Returns the PromQL expressions of the pages, as `(page, expression)`.
pub(crate) fn expressions() -> Vec<(String, String)> {
    code_lines("promql")
}

#[test]
fn every_alert_has_a_severity_a_summary_a_description_and_links() {
    for (name, alert) in alerts() {
        let severity = alert.labels.get("severity").map_or("", String::as_str);
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        // The summary is the same for every node and application, so that a list groups alerts by it.
        let summary = annotation(&alert, "summary");
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{name}: {summary}");
        assert!(annotation(&alert, "description").ends_with(['.', '?']), "{name}: description");
        assert_eq!(annotation(&alert, "runbook_url"), page_of(&name), "{name}");
        // If no exporter is scraped, there is no page to link to.
        let has_page =
            annotation(&alert, "page_url").starts_with("{{ with query (printf \"redis:redis_clients_page:info{");
        assert!(has_page != (alert.labels.get("cause").is_some_and(|cause| cause == "absent")), "{name}: page_url");
    }
}

#[test]
fn annotations_use_only_labels_of_their_alert() {
    let known = recorded();
    for (name, alert) in alerts() {
        let mut labels = known.labels(&read_promql(&alert.expr)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        // A pair of exporters gives one alert.
        assert!(!labels.contains("instance"), "{name}: {labels:?}");
        labels.extend(alert.labels.into_keys());
        for text in alert.annotations.values() {
            let named = text.split("$labels.").skip(1);
            let named =
                named.map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next());
            let unknown: Vec<_> = named.flatten().filter(|label| !labels.contains(*label)).collect();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
        }
    }
}

/// With an alert's labels inserted, each link opens a page of the exporter.
#[test]
fn links_of_alerts_work() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.fresh_scrape();
    let node = server.address().replace(':', "%3A");
    for (name, alert) in alerts() {
        let Some((_, path)) = alert.annotations.get("page_url").and_then(|url| url.rsplit_once("{{ end }}")) else {
            continue;
        };
        let filled = path.replace("{{ $labels.redis | urlquery }}", &node);
        let filled = filled.replace("{{ $labels.client_app | urlquery }}", "web");
        assert!(!filled.contains("{{"), "{name}: {filled}");
        let page = get(&exporter.address, &filled);
        assert_eq!(page.status, 200, "{name}: {filled}: {}", page.text());
    }
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let needed: BTreeSet<String> = alerts().iter().map(|(name, _)| page_of(name)).collect();
    let listed = read("docs/runbooks/README.md");
    for (name, _) in alerts() {
        let page = page_of(&name);
        let text = read(&page);
        assert!(text.starts_with(&format!("# {name}\n")), "{page}: title");
        let sections: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(sections, ["## Diagnosis", "## Mitigation", "## When to ignore it"], "{page}");
        assert!(listed.contains(&format!("[{name}]({})", file_of(&name))), "README.md: {name}");
    }
    assert_eq!(pages(), needed);
}

/// This includes alerts of the same name that differ in a label.
#[test]
fn every_alert_is_tested_to_fire_and_to_be_quiet() {
    let checks = checks();
    for (name, alert) in alerts() {
        let of_it = checks.iter().filter(|check| check.alertname == name);
        let fires = |check: &Check| {
            check
                .exp_alerts
                .iter()
                .any(|expected| alert.labels.iter().all(|label| expected.exp_labels.iter().any(|other| other == label)))
        };
        let (firing, quiet): (Vec<&Check>, Vec<&Check>) = of_it.partition(|check| fires(check));
        assert!(!firing.is_empty() && quiet.len() > 2, "{name} {:?}: {} {}", alert.labels, firing.len(), quiet.len());
    }
}

#[test]
fn commands_of_the_pages_work() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let commands = code_lines("sh");
    assert!(commands.len() > 10);
    for (page, command) in commands {
        let command_line = command.replace("NODE", &server.address());
        let args: Vec<&str> = command_line.split_whitespace().map(|arg| arg.trim_matches('\'')).collect();
        let output = run(&args[1..]);
        assert_eq!(args[0], "redis-client-exporter", "{page}");
        assert!(output.status.success(), "{page}: {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns an annotation of an alert.
fn annotation<'a>(alert: &'a Rule, name: &str) -> &'a str {
    alert.annotations.get(name).map_or("", |text| text.trim())
}

/// Returns the file of an alert's page: `redis-clients-node-down.md` for `RedisClientsNodeDown`.
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

/// Returns every page except the index.
fn pages() -> BTreeSet<String> {
    let folder = fs::read_dir(project("docs/runbooks")).expect("the pages are in the repository");
    let names = folder.map(|entry| entry.expect("a folder can be listed").file_name());
    let names = names.filter(|name| Path::new(name) != Path::new("README.md"));
    names.map(|name| format!("docs/runbooks/{}", name.to_string_lossy())).collect()
}

/// Returns the lines of the pages' code blocks in a language, as `(page, line)`.
fn code_lines(language: &str) -> Vec<(String, String)> {
    let fence = format!("```{language}\n");
    let mut lines = Vec::new();
    for page in pages() {
        let text = read(&page);
        let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
        lines.extend(blocks.flat_map(str::lines).map(|line| (page.clone(), line.to_owned())));
    }
    lines
}
