//! What an alert says, and the page that tells what to do about it: each alert has both, and what a page tells one to type
//! works.

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

/// What Prometheus is asked on the pages, as `(page, expression)`.
pub(crate) fn expressions() -> Vec<(String, String)> {
    typed("promql")
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() {
    for (name, alert) in alerts() {
        let severity = alert.labels.get("severity").map_or("", String::as_str);
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        // What is the same for every node and application tells alerts apart in a list.
        let summary = said(&alert, "summary");
        assert!(summary.ends_with('.') && !summary.contains("{{"), "{name}: {summary}");
        assert!(said(&alert, "description").ends_with(['.', '?']), "{name}: description");
        assert_eq!(said(&alert, "runbook_url"), page_of(&name), "{name}");
        // Where nothing is known of any exporter there is no page.
        let has_page = said(&alert, "page_url").starts_with("{{ with query (printf \"redis:redis_clients_page:info{");
        assert!(has_page != (alert.labels.get("cause").is_some_and(|cause| cause == "absent")), "{name}: page_url");
    }
}

#[test]
fn alerts_speak_of_labels_that_they_have() {
    let known = recorded();
    for (name, alert) in alerts() {
        let mut labels = known.labels(&read_promql(&alert.expr)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        // A pair of exporters is one alert.
        assert!(!labels.contains("instance"), "{name}: {labels:?}");
        labels.extend(alert.labels.into_keys());
        for said in alert.annotations.values() {
            let named = said.split("$labels.").skip(1);
            let named =
                named.map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next());
            let unknown: Vec<_> = named.flatten().filter(|label| !labels.contains(*label)).collect();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
        }
    }
}

/// With the labels of an alert put in, each link is answered by the exporter's pages.
#[test]
fn links_of_alerts_are_answered() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
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

/// Also where two have the same name, and differ in a label.
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
fn what_pages_tell_one_to_type_works() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _crowd = TestClients::join(&server);
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

/// What an alert says under a name.
fn said<'a>(alert: &'a Rule, name: &str) -> &'a str {
    alert.annotations.get(name).map_or("", |text| text.trim())
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
