//! The shipped rule files, parsed as YAML, and their tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use regex::{Captures, Regex};
use serde::Deserialize;

use super::project;
use super::promql::{Known, read};

/// A recording or alerting rule.
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

/// The state that a rule test expects of an alert at some time.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) alertname: String,
    #[serde(default)]
    pub(crate) exp_alerts: Vec<Expected>,
}

/// An expected alert.
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

/// Returns the text of the shipped rules.
pub(crate) fn text() -> String {
    fs::read_to_string(project("deploy/prometheus/rules.yml")).expect("the rules are in the repository")
}

/// Returns every rule, in order of evaluation.
pub(crate) fn rules() -> Vec<Rule> {
    let file: RuleFile = serde_saphyr::from_str(&text()).unwrap_or_else(|error| panic!("rules.yml: {error}"));
    let rules: Vec<Rule> = file.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(rules.iter().all(|rule| rule.alert.is_some() != rule.record.is_some()));
    rules
}

/// Returns every alerting rule with its name.
pub(crate) fn alerts() -> Vec<(String, Rule)> {
    let alerts: Vec<_> = rules().into_iter().filter_map(|rule| Some((rule.alert.clone()?, rule))).collect();
    assert!(!alerts.is_empty());
    alerts
}

/// Returns the recorded series with their labels.
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

/// Returns the paths of the rule tests.
pub(crate) fn test_files() -> Vec<PathBuf> {
    let folder = fs::read_dir(project("deploy/prometheus")).expect("the rules are in the repository");
    let files = folder.map(|entry| entry.expect("a folder can be listed").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with("_test.yml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Returns all expectations of the rule tests.
pub(crate) fn checks() -> Vec<Check> {
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("a file that was listed");
        let file: TestFile =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file.tests
    };
    test_files().into_iter().flat_map(read).flat_map(|case| case.alert_rule_test).collect()
}

/// Returns the rules with every duration divided by 3600, so that days pass in a minute. An idle time of an hour
/// becomes a second. The expressions are otherwise the same.
pub(crate) fn sped_up() -> String {
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
        // A range must contain several scrapes, and `for` must span an evaluation.
        let min = if &found["before"] == "[" { 1000.0 } else { 250.0 };
        format!("{}{}ms", &found["before"], (count * unit * 1000.0 / 3600.0).max(min).round())
    };
    duration.replace_all(&text(), shorter).replace(r#"min_idle="3600""#, r#"min_idle="1""#)
}

#[test]
fn sped_up_rules_differ_only_in_their_durations() {
    let (rules, sped_up) = (text(), sped_up());
    assert_eq!(rules.lines().count(), sped_up.lines().count());
    for (slow, fast) in [
        ("[1d] offset 7h)", "[24000ms] offset 7000ms)"),
        ("[1d:5m]", "[24000ms:250ms]"),
        ("for: 15m", "for: 250ms"),
        (r#"{min_idle="3600""#, r#"{min_idle="1""#),
        ("[2m]", "[1000ms]"),
    ] {
        assert!(rules.contains(slow) && sped_up.contains(fast) && !sped_up.contains(slow), "{slow}");
    }
}
