//! The flags for grouping, expected applications, and the number of exported groups and clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Faults;
use super::sampling::{idle_after, idle_thresholds};
use super::values::{elements, number, positive};
use crate::cli::{GroupArgs, ServeArgs, UnnamedBy};
use crate::group_file::GroupFile;
use crate::snapshot::{
    Expectation, ExpectedOn, Fallback, Grouping, GroupingOptions, Limits, NamePattern, NetworkPrefix,
};
use crate::text::{app_label, escaped};

/// Maximum number of groups of a dimension. The default of 50 keeps a node below 2,000 series and 200 KB; each
/// application has about twenty series.
const MAX_GROUPS: usize = 150;

/// Maximum number of clients that are exported individually, with five series each.
const MAX_PER_CLIENT: usize = 1000;

/// Smallest bound on the series of all nodes: one node with a few groups.
const MIN_SERIES: usize = 1000;

/// Largest bound on the series of all nodes: more than any Prometheus takes from one target.
const MAX_SERIES: usize = 10_000_000;

fn max_series(text: &str) -> Result<usize, String> {
    number(text, MIN_SERIES, MAX_SERIES)
}

pub(super) fn limits(args: &ServeArgs, grouping: Grouping, faults: &mut Faults) -> Limits {
    let group_limit = number(&args.presence.group_limit, 1, MAX_GROUPS);
    let groups = faults.take("--group.limit", group_limit, MAX_GROUPS);
    let expected = expected(&args.presence.expect, groups);
    Limits {
        idle_after: idle_after(&args.sample.idle_after, faults),
        idle_thresholds: idle_thresholds(&args.sample.idle_thresholds, faults),
        groups,
        grouping: Arc::new(grouping),
        network_prefix: network_prefix(&args.group, faults),
        expected: faults.take("--presence.expect", expected, Vec::new()),
        forget_after: faults.take("--presence.forget-after", positive(&args.presence.forget_after), Duration::ZERO),
        per_client: faults.take("--metrics.per-client", number(&args.presence.per_client, 0, MAX_PER_CLIENT), 0),
        max_series: faults.take("--metrics.max-series", max_series(&args.presence.max_series), MIN_SERIES),
    }
}

/// Reads how clients are grouped, and the file with the rules.
pub(super) fn grouping(args: &GroupArgs, faults: &mut Faults) -> (Grouping, Option<GroupFile>) {
    let options = GroupingOptions {
        name_pattern: args.name_pattern.clone(),
        strip_version: args.strip_version,
        fallback: match args.unnamed_by {
            UnnamedBy::Library => Fallback::Library,
            UnnamedBy::LibraryHost => Fallback::LibraryHost,
            UnnamedBy::Host => Fallback::Host,
        },
    };
    let read = match &args.file {
        None => Grouping::new(&options, None).map(|grouping| (grouping, None)),
        Some(path) => GroupFile::read(path, &options).map(|(grouping, file)| (grouping, Some(file))),
    };
    read.unwrap_or_else(|fault| {
        faults.add(fault);
        (Grouping::default(), None)
    })
}

pub(super) fn network_prefix(args: &GroupArgs, faults: &mut Faults) -> NetworkPrefix {
    faults.take("--group.network-prefix", prefixes(&args.network_prefix), Default::default())
}

fn prefixes(text: &str) -> Result<NetworkPrefix, String> {
    let bits = |part: &str, max: u8| match part.trim().trim_start_matches('/').parse::<u8>() {
        Ok(bits) if bits <= max => Ok(bits),
        Ok(bits) => Err(format!("/{bits} is longer than an address; the maximum is /32,/128")),
        Err(_) => Err(format!("{text} is not two prefix lengths; example: /24,/64")),
    };
    let (v4, v6) = text.split_once(',').ok_or_else(|| format!("{text} is not two prefix lengths; example: /24,/64"))?;
    Ok(NetworkPrefix { v4: bits(v4, 32)?, v6: bits(v6, 128)? })
}

fn expected(texts: &[String], groups: usize) -> Result<Vec<Expectation>, String> {
    let mut expected: Vec<Expectation> = Vec::new();
    for text in elements(texts) {
        let (name, minimum) = text.rsplit_once('=').unwrap_or((text, "1"));
        let minimum = match minimum.trim().parse() {
            Ok(0) => return Err(format!("{text}: the minimum is 0; it must be 1 or more")),
            Ok(minimum) if !name.trim().is_empty() => minimum,
            _ => {
                let examples = "examples: billing, billing=2, billing@db-1=2, billing@db-*";
                return Err(format!("{text} is not an application with a number; {examples}"));
            }
        };
        let (app, scope) = match name.rsplit_once('@') {
            None => (name, ExpectedOn::AllNodes),
            // A name with an @ has another one at its end.
            Some((app, pattern)) if pattern.trim().is_empty() => (app, ExpectedOn::AllNodes),
            Some((app, pattern)) => (app, ExpectedOn::EachNode(NamePattern::new(pattern.trim()))),
        };
        let app = app.trim();
        if app.is_empty() || app.starts_with('(') || app_label(app.as_bytes()) != app {
            return Err(format!(
                "{} cannot be the name of an application; list the names with: redis-client-exporter clients --by app",
                escaped(app.as_bytes())
            ));
        }
        if expected.iter().any(|known| *known.app == *app && known.scope == scope) {
            return Err(format!("{app} is given twice; remove one"));
        }
        expected.push(Expectation { app: app.into(), minimum, scope });
    }
    let apps: BTreeSet<_> = expected.iter().map(|expectation| &expectation.app).collect();
    if apps.len() > groups {
        return Err(format!("{} applications are expected, but --group.limit is {groups}; raise it", apps.len()));
    }
    Ok(expected)
}
