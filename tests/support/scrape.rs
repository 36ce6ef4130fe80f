//! A strict parser of the text format: it refuses what Prometheus would refuse.

use std::collections::{BTreeMap, HashSet};

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All series of a scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) series: Vec<Series>,
    pub(crate) bytes: usize,
}

impl Scrape {
    /// Parses the text of a scrape.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series: Vec<_> = lines.map(|line| series(line).unwrap_or_else(|| panic!("not a series: {line}"))).collect();
        let distinct: HashSet<_> = series.iter().map(|series| (&series.name, &series.labels)).collect();
        assert_eq!(distinct.len(), series.len(), "a series is listed twice");
        Self { series, bytes: text.len() }
    }

    /// Returns the series of a family that have these labels.
    pub(crate) fn all<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| {
            let has = |(label, value): &(&str, &str)| series.labels.get(*label).is_some_and(|found| found == value);
            series.name == name && labels.iter().all(has)
        })
    }

    /// Returns the value of the only series with these labels; `None` if there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut all = self.all(name, labels);
        let first = all.next()?;
        assert!(all.next().is_none(), "more than one {name} has {labels:?}");
        Some(first.value)
    }

    /// Returns the value of a node's metric, by the node's port: its name depends on the machine.
    pub(crate) fn of_port(&self, metric: &str, port: u16, labels: &[(&str, &str)]) -> Option<f64> {
        let end = format!(":{port}");
        self.all(metric, labels).find(|series| series.labels["redis"].ends_with(&end)).map(|series| series.value)
    }

    /// True if `redis_clients_up` of the node at this port has this value.
    pub(crate) fn is_up(&self, port: u16, value: f64) -> bool {
        self.of_port("redis_clients_up", port, &[]) == Some(value)
    }

    /// True if the node at this port has this role.
    pub(crate) fn has_role(&self, port: u16, role: &str) -> bool {
        self.of_port("redis_clients_node_role", port, &[("role", role)]) == Some(1.0)
    }

    /// Returns the sum of a family.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.all(name, &[]).map(|series| series.value).sum()
    }

    /// Returns the non-zero values of a family, by one of its labels.
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let found = self.all(name, &[]).filter(|series| series.value > 0.0);
        found.map(|series| (series.labels[label].clone(), series.value as u64)).collect()
    }
}

fn series(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let name = line[..end].to_owned();
    let (labels, rest) = match line[end..].strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), &line[end..]),
    };
    Some(Series { name, labels, value: rest.strip_prefix(' ')?.parse().ok()? })
}

/// Parses labels up to the closing brace. Returns them and the rest.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = quoted(value)?;
        assert!(labels.insert(name.to_owned(), value).is_none(), "label {name} twice");
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((labels, after.strip_prefix('}')?)),
        }
    }
}

/// Unescapes a quoted text up to its closing quote. Returns it and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}
