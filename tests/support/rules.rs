//! The rule files that are shipped, read as YAML, and their tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use regex::{Captures, Regex};
use serde::Deserialize;

use super::project;
use super::promql::{Known, read};

/// A rule: it either records or alerts.
#[derive(Debug, Deserialize)]
pub(crate) struct Rule {
    pub(crate) alert: Option<String>,
    pub(crate) record: Option<String>,
    pub(crate) expr: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What a test of the rules expects of an alert at some moment.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) alertname: String,
    #[serde(default)]
    pub(crate) exp_alerts: Vec<Expected>,
}

/// An alert that has to be there.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    #[serde(default)]
    pub(crate) exp_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alert_rule_test: Vec<Check>,
}

/// The rules as they are shipped.
pub(crate) fn text() -> String {
    fs::read_to_string(project("deploy/prometheus/rules.yml")).expect("the rules are in the repository")
}

/// Every rule, in the order in which they are evaluated.
pub(crate) fn rules() -> Vec<Rule> {
    let file: RuleFile = serde_saphyr::from_str(&text()).unwrap_or_else(|error| panic!("rules.yml: {error}"));
    let rules: Vec<Rule> = file.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(rules.iter().all(|rule| rule.alert.is_some() != rule.record.is_some()));
    rules
}

/// Every alert with its name.
pub(crate) fn alerts() -> Vec<(String, Rule)> {
    let alerts: Vec<_> = rules().into_iter().filter_map(|rule| Some((rule.alert.clone()?, rule))).collect();
    assert!(!alerts.is_empty());
    alerts
}

/// What is recorded, with the labels it has.
pub(crate) fn recorded() -> Known {
    let mut known = Known::default();
    for rule in rules() {
        if let Some(series) = &rule.record {
            let labels = known.labels(&read(&rule.expr)).unwrap_or_else(|fault| panic!("{series}: {fault}"));
            known.record(series, labels);
        }
    }
    known
}

/// The files of tests.
pub(crate) fn test_files() -> Vec<PathBuf> {
    let folder = fs::read_dir(project("deploy/prometheus")).expect("the rules are in the repository");
    let files = folder.map(|entry| entry.expect("a folder can be listed").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with("_test.yml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Everything that is expected in those files.
pub(crate) fn checks() -> Vec<Check> {
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("a file that was listed");
        let file: TestFile =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file.tests
    };
    test_files().into_iter().flat_map(read).flat_map(|case| case.alert_rule_test).collect()
}

/// The rules with an hour in every second, and idle for a second where they say an hour, so that days pass in a minute: the
/// same expressions, seen through a faster clock.
pub(crate) fn hurried() -> String {
    let duration = Regex::new(r"(?P<before>[\[ :])(?P<count>\d+)(?P<unit>[smhdw])\b").expect("an expression");
    let shorter = |found: &Captures<'_>| {
        let unit = match &found["unit"] {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => 604_800.0,
        };
        let count: f64 = found["count"].parse().expect("digits");
        // A window has to hold some scrapes, and a rule some time to be evaluated.
        let least = if &found["before"] == "[" { 1000.0 } else { 250.0 };
        format!("{}{}ms", &found["before"], (count * unit * 1000.0 / 3600.0).max(least).round())
    };
    duration.replace_all(&text(), shorter).replace(r#"min_idle="3600""#, r#"min_idle="1""#)
}

#[test]
fn hurried_rules_are_the_same_but_for_their_durations() {
    let (rules, hurried) = (text(), hurried());
    assert_eq!(rules.lines().count(), hurried.lines().count());
    for (slow, fast) in [
        ("[1d] offset 7h)", "[24000ms] offset 7000ms)"),
        ("[1d:5m]", "[24000ms:250ms]"),
        ("for: 15m", "for: 250ms"),
        (r#"{min_idle="3600""#, r#"{min_idle="1""#),
        ("[2m]", "[1000ms]"),
    ] {
        assert!(rules.contains(slow) && hurried.contains(fast) && !hurried.contains(slow), "{slow}");
    }
}
