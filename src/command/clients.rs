//! `clients`: lists or counts the clients of the servers once.

use std::sync::Arc;

use anyhow::Result;

use super::{Exit, print, small_runtime};
use crate::cli::{ClientsArgs, Dimension, ListFormat};
use crate::client_list::Field;
use crate::config::{self, Faults};
use crate::link::Target;
use crate::sampler::{Budget, Sampler};
use crate::snapshot::{Limits, Snapshot, derive};
use crate::view::list;
use crate::view::rows::{Column, Row, rows};
use crate::view::select::{Filter, Sort};

pub(super) fn run(words: &ClientsArgs) -> Result<Exit> {
    let (targets, limits, selection) = understood(words)?;
    let read = small_runtime()?.block_on(sample_all(&targets, &limits));
    let mut rows: Vec<_> = read.nodes.iter().flat_map(|(node, snapshot)| rows(node, snapshot, &limits)).collect();
    let total = rows.len();
    selection.apply(&mut rows);
    if words.by == Some(Dimension::App) {
        // Internal connections are of no application.
        rows.retain(|row| row.app.is_some());
    }
    let matched = rows.len();
    if words.by.is_none() {
        rows.truncate(words.limit.unwrap_or(usize::MAX));
    }
    print(&rendered(&rows, words, targets.len() > 1))?;
    if words.format == ListFormat::Table && words.by.is_none() {
        eprintln!("{} shown, {matched} matched, {total} connected", rows.len());
    }
    Ok(if read.failed { Exit::Unreachable } else { Exit::Success })
}

/// The servers that could be read, and whether any could not.
struct Read {
    nodes: Vec<(Arc<str>, Snapshot)>,
    failed: bool,
}

async fn sample_all(targets: &[Target], limits: &Limits) -> Read {
    let mut read = Read { nodes: Vec::new(), failed: false };
    for target in targets {
        match Sampler::new(target.clone(), Budget::single_sample()).sample().await {
            Ok(sample) => {
                let snapshot = derive(None, Arc::new(sample), limits);
                for failure in snapshot.refused() {
                    eprintln!("warning: {failure}");
                }
                let unreadable = snapshot.sample.unreadable.total();
                if unreadable > 0 {
                    eprintln!("warning: {}: {unreadable} lines could not be read", target.node());
                }
                read.failed |= snapshot.pages().is_none();
                read.nodes.push((target.node(), snapshot));
            }
            Err(failure) => {
                eprintln!("error: {failure}");
                read.failed = true;
            }
        }
    }
    read
}

/// Which clients, in which order.
struct Selection {
    filters: Vec<Filter>,
    sort: Sort,
}

impl Selection {
    /// # Errors
    /// All that makes no sense.
    fn new(words: &ClientsArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let filters = words
            .filters
            .iter()
            .filter_map(|text| Filter::parse(text).map_err(|fault| faults.add(format!("--filter: {fault}"))).ok());
        let filters = filters.collect();
        let sort = Sort::parse(&words.sort).map_err(|fault| faults.add(format!("--sort: {fault}"))).ok();
        match sort {
            Some(sort) if faults.is_empty() => Ok(Self { filters, sort }),
            _ => Err(faults),
        }
    }

    fn apply(&self, rows: &mut Vec<Row<'_>>) {
        rows.retain(|row| self.filters.iter().all(|filter| filter.matches(row)));
        self.sort.apply(rows);
    }
}

/// What the words mean; the faults of all of them are told together.
fn understood(words: &ClientsArgs) -> Result<(Vec<Target>, Limits, Selection), Faults> {
    match (config::listing(&words.redis, &words.group, &words.idle_after), Selection::new(words)) {
        (Ok((targets, limits)), Ok(selection)) => Ok((targets, limits, selection)),
        (Err(faults), Err(more)) => Err(faults.and(more)),
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => Err(faults),
    }
}

fn rendered(rows: &[Row<'_>], words: &ClientsArgs, several_nodes: bool) -> String {
    let Some(by) = words.by else {
        return match words.format {
            ListFormat::Table => list::table(rows, several_nodes),
            ListFormat::Json => format!("{:#}\n", list::json(rows)),
            ListFormat::Csv => list::csv(rows),
        };
    };
    let (name, column) = dimension(by);
    let mut counts = list::counts(rows, column);
    counts.truncate(words.limit.unwrap_or(usize::MAX));
    match words.format {
        ListFormat::Table => list::counts_table(&name.to_uppercase(), &counts),
        ListFormat::Json => {
            let objects: serde_json::Value =
                counts.iter().map(|(value, count)| serde_json::json!({ name: value, "connections": count })).collect();
            format!("{objects:#}\n")
        }
        ListFormat::Csv => list::counts_csv(name, &counts),
    }
}

fn dimension(by: Dimension) -> (&'static str, Column) {
    match by {
        Dimension::App => ("app", Column::App),
        Dimension::Network => ("network", Column::Network),
        Dimension::User => ("user", Column::Field(Field::User)),
        Dimension::Library => ("library", Column::Field(Field::LibName)),
        Dimension::Database => ("database", Column::Field(Field::Db)),
        Dimension::Command => ("command", Column::Field(Field::Cmd)),
        Dimension::ClientKind => ("kind", Column::ClientKind),
        Dimension::State => ("state", Column::State),
    }
}
