//! How clients are grouped, who is expected, and how many are told.

use std::sync::Arc;
use std::time::Duration;

use super::Faults;
use super::sampling::{idle_after, idle_thresholds};
use super::values::{elements, number, positive};
use crate::cli::{GroupArgs, ServeArgs};
use crate::group_file::GroupFile;
use crate::snapshot::{Grouping, Limits, NetworkPrefix, app_label, escaped};

/// The most groups a dimension may have. The default of 50 keeps a node below 2,000 series and 200 KB; an application alone
/// has some twenty series.
const MAX_GROUPS: usize = 150;

/// The most clients that may be told one by one: five series each.
const MAX_PER_CLIENT: usize = 1000;

pub(super) fn limits(words: &ServeArgs, grouping: Grouping, faults: &mut Faults) -> Limits {
    let group_limit = number(&words.presence.group_limit, 1, MAX_GROUPS);
    let groups = faults.take("--group.limit", group_limit, MAX_GROUPS);
    let expected = expected(&words.presence.expect, groups);
    Limits {
        idle_after: idle_after(&words.sample.idle_after, faults),
        idle_thresholds: idle_thresholds(&words.sample.idle_thresholds, faults),
        groups,
        grouping: Arc::new(grouping),
        network_prefix: network_prefix(&words.group, faults),
        expected: faults.take("--presence.expect", expected, Vec::new()),
        forget_after: faults.take("--presence.forget-after", positive(&words.presence.forget_after), Duration::ZERO),
        per_client: faults.take("--metrics.per-client", number(&words.presence.per_client, 0, MAX_PER_CLIENT), 0),
    }
}

/// How clients are grouped, and the file that says so.
pub(super) fn grouping(words: &GroupArgs, faults: &mut Faults) -> (Grouping, Option<GroupFile>) {
    let pattern = words.name_pattern.as_deref();
    let read = match &words.file {
        None => Grouping::new(pattern, None).map(|grouping| (grouping, None)),
        Some(path) => GroupFile::read(path, pattern).map(|(grouping, file)| (grouping, Some(file))),
    };
    read.unwrap_or_else(|fault| {
        faults.add(fault);
        (Grouping::default(), None)
    })
}

pub(super) fn network_prefix(words: &GroupArgs, faults: &mut Faults) -> NetworkPrefix {
    faults.take("--group.network-prefix", prefixes(&words.network_prefix), Default::default())
}

fn prefixes(text: &str) -> Result<NetworkPrefix, String> {
    let bits = |part: &str, most: u8| match part.trim().trim_start_matches('/').parse::<u8>() {
        Ok(bits) if bits <= most => Ok(bits),
        Ok(bits) => Err(format!("/{bits} is longer than an address; at most /32,/128")),
        Err(_) => Err(format!("{text} is not two prefixes; write /24,/64")),
    };
    let (v4, v6) = text.split_once(',').ok_or_else(|| format!("{text} is not two prefixes; write /24,/64"))?;
    Ok(NetworkPrefix { v4: bits(v4, 32)?, v6: bits(v6, 128)? })
}

fn expected(texts: &[String], groups: usize) -> Result<Vec<(Arc<str>, u64)>, String> {
    let mut expected: Vec<(Arc<str>, u64)> = Vec::new();
    for text in elements(texts) {
        let (app, least) = text.rsplit_once('=').unwrap_or((text, "1"));
        let (app, least) = (app.trim(), least.trim());
        let least = match least.parse() {
            Ok(0) => return Err(format!("{text}: at least one connection can be expected")),
            Ok(least) if !app.is_empty() => least,
            _ => return Err(format!("{text} is not an application and a number; write billing or billing=2")),
        };
        if app.starts_with('(') || app_label(app.as_bytes()) != app {
            return Err(format!("no application is called {}; see clients --by app", escaped(app.as_bytes())));
        }
        if expected.iter().any(|(known, _)| **known == *app) {
            return Err(format!("{app} is named twice"));
        }
        expected.push((app.into(), least));
    }
    if expected.len() > groups {
        return Err(format!("{} are expected, and --group.limit shows {groups}; raise it", expected.len()));
    }
    Ok(expected)
}
