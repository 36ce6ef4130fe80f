//! `clients`: lists or groups the clients of the servers once.

use std::sync::Arc;

use anyhow::Result;

use super::{Exit, print, small_runtime};
use crate::cli::{ClientsArgs, ListFormat};
use crate::config::{self, Faults, ListingConfig};
use crate::discovery;
use crate::machine::Machine;
use crate::sampler::{Budget, Sampler};
use crate::snapshot::{Snapshot, derive};
use crate::view::column::Column;
use crate::view::filter::{Filter, check_column, unknown_column};
use crate::view::selection::{Selection, Sort};
use crate::view::{csv, json, table};

pub(super) fn run(args: &ClientsArgs) -> Result<Exit> {
    let (config, request) = validated(args)?;
    let read = small_runtime()?.block_on(sample_all(&config));
    let nodes = read.nodes.iter().map(|(node, snapshot)| (&**node, snapshot));
    match request.by {
        Some(by) => print(&groups(&request, by, args.format, nodes))?,
        None => {
            let (text, totals) =
                clients(&request, args.format, read.nodes.len() > 1 || config.targets.len() > 1, nodes);
            print(&text)?;
            if args.format == ListFormat::Table {
                eprintln!("{totals}");
            }
        }
    }
    Ok(if read.failed { Exit::Unreachable } else { Exit::Success })
}

fn clients<'a>(
    request: &ClientsRequest,
    format: ListFormat,
    several_nodes: bool,
    nodes: impl Iterator<Item = (&'a str, &'a Snapshot)>,
) -> (String, String) {
    let window = request.selection.window(nodes);
    let totals = format!("{} shown, {} matched, {} connected", window.rows.len(), window.matched, window.total);
    let text = match format {
        ListFormat::Table if request.columns.is_empty() => {
            let node = Column::find("redis").filter(|_| several_nodes);
            let columns: Vec<_> = node.into_iter().chain(Column::defaults()).collect();
            table::clients(&window.rows, &columns)
        }
        ListFormat::Table => table::clients(&window.rows, &request.columns),
        ListFormat::Json => format!("{:#}\n", json::clients(&window.rows, &request.columns)),
        ListFormat::Csv => csv::clients(&window.rows, &request.columns),
    };
    (text, totals)
}

fn groups<'a>(
    request: &ClientsRequest,
    by: &Column,
    format: ListFormat,
    nodes: impl Iterator<Item = (&'a str, &'a Snapshot)>,
) -> String {
    let groups = request.selection.groups(by, nodes).rows;
    match format {
        ListFormat::Table => table::groups(by, &groups),
        ListFormat::Json => {
            format!("{:#}\n", groups.iter().map(json::group).collect::<serde_json::Value>())
        }
        ListFormat::Csv => csv::groups(&groups),
    }
}

/// The servers that could be read, and whether any could not.
struct Read {
    nodes: Vec<(Arc<str>, Snapshot)>,
    failed: bool,
}

async fn sample_all(config: &ListingConfig) -> Read {
    let (nodes, failures) = discovery::once(&config.targets, &config.discovery, &Machine::read()).await;
    config.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    for (target, failure) in &failures {
        eprintln!("error: {target}: discovery failed: {failure}");
    }
    let mut read = Read { nodes: Vec::new(), failed: !failures.is_empty() };
    for node in nodes {
        match Sampler::new(node.clone(), Budget::single_sample()).sample().await {
            Ok(sample) => {
                let snapshot = derive(None, Arc::new(sample), &config.limits);
                for failure in snapshot.refused() {
                    eprintln!("warning: {failure}");
                }
                let unreadable = snapshot.sample.unreadable.total();
                if unreadable > 0 {
                    eprintln!("warning: {}: {unreadable} lines of CLIENT LIST could not be parsed", node.name);
                }
                for condition in snapshot.sample.conditions.iter().filter(|condition| condition.is_incomplete()) {
                    eprintln!("warning: {}: {}", node.name, condition.sentence());
                }
                read.failed |= snapshot.pages().is_none();
                read.nodes.push((node.name, snapshot));
            }
            Err(failure) => {
                eprintln!("error: {failure}");
                read.failed = true;
            }
        }
    }
    read
}

/// The clients to list, in which columns, or how to group them.
struct ClientsRequest {
    selection: Selection,
    columns: Vec<&'static Column>,
    by: Option<&'static Column>,
}

impl ClientsRequest {
    /// # Errors
    /// All faults of the args together.
    fn new(args: &ClientsArgs) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut selection = Selection::of(args.limit.unwrap_or(usize::MAX));
        for text in &args.filters {
            let filter = Filter::parse(text).and_then(|filter| checked(filter.column()).map(|_| filter));
            let added = filter.and_then(|filter| selection.add_filter(filter));
            faults.take("--filter", added, ());
        }
        let sort = Sort::parse(&args.sort).and_then(|sort| checked(sort.column).map(|_| sort));
        selection.sort = faults.take("--sort", sort, selection.sort);
        let names = args.columns.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        let columns = names.map(column).collect::<Result<_, _>>();
        let columns = faults.take("--columns", columns, Vec::new());
        let by = faults.take("--by", args.by.as_deref().map(grouping).transpose(), None);
        if faults.is_empty() { Ok(Self { selection, columns, by }) } else { Err(faults) }
    }
}

fn column(name: &str) -> Result<&'static Column, String> {
    checked(Column::find(name).ok_or_else(|| unknown_column(name))?)
}

/// Refuses a column that only closed clients have: it would be empty for every client.
fn checked(column: &'static Column) -> Result<&'static Column, String> {
    check_column(column, &Column::of_clients().collect::<Vec<_>>(), "clients").map(|()| column)
}

fn grouping(name: &str) -> Result<&'static Column, String> {
    column(name)?.check_groupable()
}

/// The meaning of the args; the faults of all of them together.
fn validated(args: &ClientsArgs) -> Result<(ListingConfig, ClientsRequest), Faults> {
    match (config::listing(&args.redis, &args.group, &args.idle_after), ClientsRequest::new(args)) {
        (Ok(config), Ok(request)) => Ok((config, request)),
        (Err(faults), Err(more)) => Err(faults.and(more)),
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => Err(faults),
    }
}
