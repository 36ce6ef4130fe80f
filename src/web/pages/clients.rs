//! `/clients`: the matching clients in windows, or grouped by a column.

use std::time::Instant;

use askama::Template;

use super::table::{Cell, Head, cell, head, with_node};
use super::{Frame, Paging, all_banners, clients_link};
use crate::latest::Nodes;
use crate::snapshot::State;
use crate::view::column::{Column, ValueKind};
use crate::view::humanize::count;
use crate::view::humanize::{group_name, measure_text};
use crate::view::measure::Measure;
use crate::view::selection::Group;
use crate::web::query::{MAX_WINDOW, Query, Takes};

#[derive(Template)]
#[template(path = "clients.html")]
pub(super) struct ClientsPage<'a> {
    frame: Frame<'a>,
    form: FilterForm,
    /// True if any server lists its clients.
    is_known: bool,
    banners: Vec<String>,
    matched: String,
    total: String,
    /// The query strings of a list of all matching clients and of the largest window.
    list: String,
    window: String,
    window_note: String,
    grouped_by: String,
    heads: Vec<Head>,
    rows: Vec<Vec<Cell>>,
    paging: Paging,
}

/// The form with the current filters.
struct FilterForm {
    search: String,
    texts: [(&'static str, &'static str, String); 4],
    filters: Vec<String>,
    states: Vec<(&'static str, bool, &'static str)>,
    groups: Vec<(&'static str, bool, &'static str)>,
    columns: Vec<ColumnChoice>,
    /// The names of the default columns.
    defaults: String,
    /// Parameters without an input in the form.
    others: Vec<(String, String)>,
}

/// A column that can be chosen.
struct ColumnChoice {
    column: &'static Column,
    is_shown: bool,
}

/// The parameters with an input in the form.
const INPUTS: [&str; 9] = ["q", "app", "user", "address", "min_idle", "filter", "state", "group", "columns"];

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> ClientsPage<'a> {
    let defaults = with_node(nodes.count() > 1, Column::defaults());
    let columns = if query.columns.is_empty() { defaults.clone() } else { query.columns.clone() };
    // A form without JavaScript sends every checked box: if these are the default columns, none were chosen.
    let without_columns =
        (columns == defaults).then(|| Query::of_page(&query.with(&[("columns", "")]), Takes::Clients).ok()).flatten();
    let query = without_columns.as_ref().unwrap_or(query);
    let is_known = nodes.iter().any(|node| node.last_snapshot().is_some_and(|last| last.clients().is_some()));
    let clients = ClientsPage {
        frame,
        form: form(query, &columns, &defaults),
        is_known,
        banners: all_banners(nodes, query, now),
        matched: String::new(),
        total: String::new(),
        list: query.with(&[("limit", ""), ("offset", "")]),
        window: query.with(&[("limit", &MAX_WINDOW.to_string()), ("offset", "")]),
        window_note: String::new(),
        grouped_by: String::new(),
        heads: Vec::new(),
        rows: Vec::new(),
        paging: Paging::new("/clients", query, 0, 0),
    };
    match query.group {
        Some(by) => clients.grouped(nodes, query, by),
        None => clients.listed(nodes, query, &columns),
    }
}

impl ClientsPage<'_> {
    fn listed(mut self, nodes: &Nodes, query: &Query, columns: &[&'static Column]) -> Self {
        let window = query.selection.window(query.snapshots(nodes));
        self.heads = columns.iter().map(|column| head("/clients", query, column)).collect();
        self.rows = window.rows.iter().map(|row| columns.iter().map(|column| cell(*row, column)).collect()).collect();
        self.paging = Paging::new("/clients", query, window.rows.len(), window.matched);
        self.with_totals(window.matched, window.total, window.matched)
    }

    fn grouped(mut self, nodes: &Nodes, query: &Query, by: &'static Column) -> Self {
        let window = query.selection.groups(by, query.snapshots(nodes));
        let measures = Measure::shown().map(|measure| Head {
            text: measure.title,
            help: measure.help,
            is_number: true,
            ..Head::default()
        });
        self.heads =
            std::iter::once(Head { text: by.title, help: by.help, ..Head::default() }).chain(measures).collect();
        self.rows = window.rows.iter().map(|group| group_cells(group, query, by)).collect();
        self.paging = Paging::new("/clients", query, window.rows.len(), window.groups);
        let noun = if window.groups == 1 { "group" } else { "groups" };
        let internal = match window.internal {
            0 => String::new(),
            internal => format!(", {} internal connections not counted", count(internal as u64)),
        };
        self.grouped_by = format!(" in {} {noun}{internal}", count(window.groups as u64));
        self.with_totals(window.matched, window.total, window.groups)
    }

    fn with_totals(mut self, matched: usize, total: usize, listed: usize) -> Self {
        self.matched = count(matched as u64);
        self.total = count(total as u64);
        if listed > MAX_WINDOW {
            self.window_note = format!(" (the first {})", count(MAX_WINDOW as u64));
        }
        self
    }
}

fn form(query: &Query, columns: &[&'static Column], defaults: &[&Column]) -> FilterForm {
    let text = |name, label| (name, label, query.given(name).to_owned());
    let filters = query.given.iter().filter(|(name, _)| name == "filter").map(|(_, value)| value.clone());
    let states = [("", "any"), ("waiting", "blocked or subscribed")].into_iter();
    let states = states.chain(State::ALL.map(|state| (state.label(), state.label())));
    let groups = std::iter::once(("", "None")).chain(Column::groupings().map(|column| (column.name, column.title)));
    let by = query.group.map_or("", |column| column.name);
    let state = query.given("state");
    // Filters and columns have inputs, one per value.
    let others = query.others(&INPUTS).into_iter().filter(|(name, _)| !["filter", "columns"].contains(&name.as_str()));
    FilterForm {
        search: query.given("q").to_owned(),
        texts: [
            text("app", "Application"),
            text("user", "User"),
            text("address", "Address"),
            text("min_idle", "Idle at least"),
        ],
        filters: filters.chain([String::new()]).collect(),
        states: states.map(|(value, title)| (value, value == state, title)).collect(),
        groups: groups.map(|(value, title)| (value, value == by, title)).collect(),
        columns: Column::of_clients()
            .map(|column| ColumnChoice { column, is_shown: columns.contains(&column) })
            .collect(),
        defaults: defaults.iter().map(|column| column.name).collect::<Vec<_>>().join(","),
        others: others.collect(),
    }
}

fn group_cells(group: &Group<'_>, query: &Query, by: &Column) -> Vec<Cell> {
    let measure = |measure: &Measure| {
        let value = measure.value(&group.tally);
        let title = match (measure.kind, value) {
            (ValueKind::Bytes, Some(size)) => format!("{size} bytes"),
            _ => String::new(),
        };
        Cell { text: measure_text(measure, value), title, is_number: true, ..Cell::default() }
    };
    std::iter::once(group_cell(group, query, by)).chain(Measure::shown().map(measure)).collect()
}

/// The name of a group, with the link to its clients.
fn group_cell(group: &Group<'_>, query: &Query, by: &Column) -> Cell {
    let value = group.value.clone().into_text();
    let condition = format!("{}={value}", by.name);
    let kept = query.with(&[("group", ""), ("offset", ""), ("limit", "")]);
    // If the group counts application clients, its link lists only these.
    let mut conditions = vec![("filter", condition.as_str())];
    if !query.selection.counts_internal(by) {
        conditions.push(("kind", "application"));
    }
    let separator = if kept.is_empty() { "" } else { "&" };
    let link = format!("{}{separator}{kept}", clients_link(&conditions));
    Cell { text: group_name(group), link, is_placeholder: value.is_empty(), ..Cell::default() }
}
