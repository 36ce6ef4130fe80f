//! `/clients`: the clients that are asked for, in windows, or how many there are by what they have in common.

use std::time::Instant;

use askama::Template;

use super::{Frame, Paging, all_banners, client_link, clients_link, moment};
use crate::client_list::Field;
use crate::latest::Nodes;
use crate::snapshot::{Limits, State, connected_at, last_interaction};
use crate::view::grouped::Group;
use crate::view::humanize::{ago, bytes, count};
use crate::view::query::{MAX_WINDOW, Query};
use crate::view::rows::{Column, Record, Row, Value};

#[derive(Template)]
#[template(path = "clients.html")]
pub(super) struct Clients<'a> {
    frame: Frame<'a>,
    form: FilterForm,
    /// Whether any server lists its clients.
    is_known: bool,
    banners: Vec<String>,
    matched: String,
    total: String,
    /// The query of a list of all that match, and of the largest window.
    list: String,
    window: String,
    in_a_window: String,
    grouped_by: String,
    heads: Vec<Head>,
    rows: Vec<Vec<Cell>>,
    paging: Paging,
}

/// What is asked for, to be changed.
struct FilterForm {
    search: String,
    texts: [(&'static str, &'static str, String); 4],
    filters: Vec<String>,
    states: Vec<(&'static str, bool, &'static str)>,
    groups: Vec<(String, bool, String)>,
    columns: Vec<ColumnChoice>,
    /// The names of the columns that are shown where none are chosen.
    usual: String,
    /// What is asked for beside that.
    others: Vec<(String, String)>,
}

/// A column that can be chosen.
struct ColumnChoice {
    name: String,
    head: String,
    meaning: &'static str,
    is_shown: bool,
}

/// The head of a column, with where it leads.
struct Head {
    text: String,
    meaning: &'static str,
    link: String,
    /// `ascending`, `descending` or nothing: for `aria-sort`.
    sorted: &'static str,
    is_number: bool,
}

/// What stands in a cell, with where it leads and what it is exactly.
#[derive(Default)]
struct Cell {
    text: String,
    link: String,
    title: String,
    is_time: bool,
    /// It is a word of ours, and nothing that a client says.
    is_ours: bool,
    is_number: bool,
}

/// The columns that are shown where none are chosen: what is asked first, first, for narrow screens.
const USUAL: [&str; 11] = ["id", "addr", "idle", "app", "name", "user", "age", "state", "buffers", "cmd", "lib_name"];

/// How long text may be, in bytes, to fit into its column in any case.
const LONG: usize = 40;

/// The columns that can be chosen, with their heads.
const CHOICES: [(&str, &str); 29] = [
    ("redis", "Server"),
    ("id", "Client ID"),
    ("addr", "Address"),
    ("app", "WebState"),
    ("name", "Name"),
    ("user", "User"),
    ("age", "Connected"),
    ("idle", "Last interaction"),
    ("state", "State"),
    ("kind", "ClientKind"),
    ("buffers", "Buffers"),
    ("cmd", "Command"),
    ("lib_name", "Library"),
    ("lib_ver", "Library version"),
    ("network", "Network"),
    ("host", "Host"),
    ("laddr", "Server’s address"),
    ("db", "Database"),
    ("flags", "Flags"),
    ("sub", "Channels"),
    ("psub", "Patterns"),
    ("multi", "In MULTI"),
    ("watch", "Keys watched"),
    ("qbuf", "Query buffer"),
    ("tot_mem", "Memory"),
    ("resp", "RESP"),
    ("tot_cmds", "Commands"),
    ("tot_net_in", "Received"),
    ("tot_net_out", "Sent"),
];

/// What clients can be grouped by, as the form offers it.
const GROUPS: [(&str, &str); 11] = [
    ("", "nothing"),
    ("app", "application"),
    ("name", "name"),
    ("user", "user"),
    ("lib_name", "library"),
    ("host", "host"),
    ("network", "network"),
    ("cmd", "command"),
    ("db", "database"),
    ("state", "state"),
    ("kind", "kind"),
];

/// The parameters with an input of their own.
const INPUTS: [&str; 9] = ["q", "app", "user", "addr", "min_idle", "filter", "state", "group", "cols"];

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, limits: &Limits, frame: Frame<'a>) -> Clients<'a> {
    let several_nodes = nodes.nodes.len() > 1;
    let columns = columns(query, several_nodes);
    // A form without a script sends all boxes that are ticked: the usual columns are none that were chosen.
    let is_usual = columns == usual(several_nodes);
    let without = is_usual.then(|| Query::of_a_page(&query.with(&[("cols", "")])).ok()).flatten();
    let query = without.as_ref().unwrap_or(query);
    let is_known = nodes.nodes.iter().any(|node| node.last_snapshot().is_some_and(|last| last.pages().is_some()));
    let clients = Clients {
        frame,
        form: form(query, &columns, several_nodes),
        is_known,
        banners: all_banners(nodes, query, now),
        matched: String::new(),
        total: String::new(),
        list: query.with(&[("limit", ""), ("offset", "")]),
        window: query.with(&[("limit", &MAX_WINDOW.to_string()), ("offset", "")]),
        in_a_window: String::new(),
        grouped_by: String::new(),
        heads: Vec::new(),
        rows: Vec::new(),
        paging: Paging::new("/clients", query, 0, 0),
    };
    match query.group {
        Some(by) => clients.grouped(nodes, query, limits, by),
        None => clients.listed(nodes, query, limits, &columns),
    }
}

impl Clients<'_> {
    fn listed(mut self, nodes: &Nodes, query: &Query, limits: &Limits, columns: &[Column]) -> Self {
        let window = query.window(nodes, limits);
        self.heads = columns.iter().map(|&column| head(query, column)).collect();
        self.rows = window.rows.iter().map(|row| columns.iter().map(|&column| cell(row, column)).collect()).collect();
        self.paging = Paging::new("/clients", query, window.rows.len(), window.matched);
        self.told(window.matched, window.total, window.matched)
    }

    fn grouped(mut self, nodes: &Nodes, query: &Query, limits: &Limits, by: Column) -> Self {
        let window = query.group_window(by, nodes, limits);
        let heads = ["Connections", "Active", "Waiting", "Idle", "Oldest interaction", "Buffers"];
        let heads = heads.map(|text| Head { text: text.to_owned(), is_number: true, ..Head::plain() });
        self.heads =
            std::iter::once(Head { text: title(by), meaning: by.meaning(), ..Head::plain() }).chain(heads).collect();
        self.rows = window.shown.iter().map(|group| group_cells(group, query, by)).collect();
        self.paging = Paging::new("/clients", query, window.shown.len(), window.groups);
        self.grouped_by =
            format!(" in {} {}", count(window.groups as u64), if window.groups == 1 { "group" } else { "groups" });
        self.told(window.matched, window.total, window.groups)
    }

    fn told(mut self, matched: usize, total: usize, listed: usize) -> Self {
        self.matched = count(matched as u64);
        self.total = count(total as u64);
        self.in_a_window =
            if listed > MAX_WINDOW { format!(" (the first {})", count(MAX_WINDOW as u64)) } else { String::new() };
        self
    }
}

fn columns(query: &Query, several_nodes: bool) -> Vec<Column> {
    if query.columns.is_empty() { usual(several_nodes) } else { query.columns.clone() }
}

fn usual(several_nodes: bool) -> Vec<Column> {
    let node = several_nodes.then_some(Column::Redis);
    node.into_iter().chain(USUAL.into_iter().filter_map(Column::from_name)).collect()
}

fn title(column: Column) -> String {
    let name = column.name();
    CHOICES.iter().find(|(choice, _)| *choice == name).map_or(name, |(_, head)| (*head).to_owned())
}

fn form(query: &Query, columns: &[Column], several_nodes: bool) -> FilterForm {
    let chosen = |name: &'static str, choices: &[(&'static str, &'static str)]| {
        let given = query.given(name);
        choices.iter().map(|&(value, text)| (value, value == given, text)).collect()
    };
    let text = |name, label| (name, label, query.given(name).to_owned());
    let filters = query.given.iter().filter(|(name, _)| name == "filter").map(|(_, value)| value.clone());
    let shown: Vec<String> = columns.iter().map(|column| column.name()).collect();
    let choice = |&(name, head): &(&str, &str)| ColumnChoice {
        name: name.to_owned(),
        head: head.to_owned(),
        meaning: Column::from_name(name).map_or("", Column::meaning),
        is_shown: shown.iter().any(|shown| shown == name),
    };
    let beside = columns.iter().filter(|column| !CHOICES.iter().any(|(name, _)| *name == column.name()));
    let beside = beside.map(|column| ColumnChoice {
        name: column.name(),
        head: column.name(),
        meaning: column.meaning(),
        is_shown: true,
    });
    // Conditions have an input each, columns a box each.
    let others = query.others(&INPUTS).into_iter().filter(|(name, _)| !["filter", "cols"].contains(&name.as_str()));
    FilterForm {
        search: query.given("q").to_owned(),
        texts: [
            text("app", "Application"),
            text("user", "User"),
            text("addr", "Address"),
            text("min_idle", "Idle at least"),
        ],
        filters: filters.chain([String::new()]).collect(),
        states: chosen("state", &[("", "any"), ("active", "active"), ("waiting", "waiting"), ("idle", "idle")]),
        groups: groups(query),
        columns: CHOICES.iter().map(choice).chain(beside).collect(),
        usual: usual(several_nodes).iter().map(|column| column.name()).collect::<Vec<_>>().join(","),
        others: others.collect(),
    }
}

/// What can be grouped by, and what is.
fn groups(query: &Query) -> Vec<(String, bool, String)> {
    let by = query.group.map(Column::name).unwrap_or_default();
    let mut groups: Vec<_> =
        GROUPS.iter().map(|&(value, text)| (value.to_owned(), value == by, text.to_owned())).collect();
    if !GROUPS.iter().any(|(value, _)| *value == by) {
        groups.push((by.clone(), true, by));
    }
    groups
}

impl Head {
    fn plain() -> Self {
        Self { text: String::new(), meaning: "", link: String::new(), sorted: "", is_number: false }
    }
}

fn head(query: &Query, column: Column) -> Head {
    let name = column.name();
    let (descending, by) = query.sort_text.strip_prefix('-').map_or((false, &*query.sort_text), |by| (true, by));
    let is_sorted = Column::from_name(by) == Some(column);
    // What is sorted by already is turned round; numbers begin with the largest.
    let numeric = is_number(column) && column != Column::Field(Field::Id);
    let sort = if is_sorted && !descending || !is_sorted && numeric { format!("-{name}") } else { name };
    Head {
        text: title(column),
        meaning: column.meaning(),
        link: format!("/clients?{}", query.with(&[("offset", ""), ("sort", &sort)])),
        sorted: match (is_sorted, descending) {
            (false, _) => "",
            (true, true) => "descending",
            (true, false) => "ascending",
        },
        is_number: lines_up_right(column),
    }
}

fn is_number(column: Column) -> bool {
    match column {
        Column::Field(field) => !field.is_text(),
        column => column == Column::Buffers,
    }
}

/// Whether a column lines up to the right. Ids are names.
fn lines_up_right(column: Column) -> bool {
    is_number(column) && column != Column::Field(Field::Id)
}

fn cell(row: &Row<'_>, column: Column) -> Cell {
    let plain = |text| Cell { text, is_number: lines_up_right(column), ..Cell::default() };
    let time = |seconds: Option<u64>, at| Cell {
        title: moment(at),
        is_time: true,
        ..plain(seconds.map_or_else(String::new, ago))
    };
    match (column, row.value(column)) {
        (Column::Field(Field::Id), Value::Number(id)) => {
            Cell { link: client_link(row.node, id.unsigned_abs()), ..plain(id.to_string()) }
        }
        (Column::Field(Field::Age), _) => time(row.client.age_seconds(), connected_at(row.client, row.at)),
        (Column::Field(Field::Idle), _) if row.client.is_silent() => plain("never".to_owned()),
        (Column::Field(Field::Idle), _) => time(row.client.idle_seconds(), last_interaction(row.client, row.at)),
        (Column::App, Value::None) => plain(format!("({})", row.kind.label())),
        (column, Value::Number(number)) if is_size(column) => {
            let size = u64::try_from(number).map_or_else(|_| number.to_string(), bytes);
            Cell { title: format!("{number} bytes"), ..plain(size) }
        }
        (_, Value::Number(number)) => plain(number.to_string()),
        // What is long is cut where it is shown.
        (_, Value::Text(text)) if text.len() > LONG => Cell { title: text.clone(), ..plain(text) },
        (_, Value::Text(text)) => plain(text),
        (_, Value::None) => plain(String::new()),
    }
}

/// Whether a column holds numbers of bytes.
fn is_size(column: Column) -> bool {
    use Field::{ArgvMem, MultiMem, Obl, Omem, Qbuf, QbufFree, Rbp, Rbs, TotMem, TotNetIn, TotNetOut};
    match column {
        Column::Buffers => true,
        Column::Field(field) => {
            [ArgvMem, MultiMem, Obl, Omem, Qbuf, QbufFree, Rbp, Rbs, TotMem, TotNetIn, TotNetOut].contains(&field)
        }
        _ => false,
    }
}

fn group_cells(group: &Group, query: &Query, by: Column) -> Vec<Cell> {
    let number = |number: u64| Cell { text: count(number), is_number: true, ..Cell::default() };
    let oldest = group.oldest_interaction_seconds.map_or_else(|| "never".to_owned(), ago);
    let size = u64::try_from(group.buffers_bytes).unwrap_or_default();
    vec![
        group_name(group, query, by),
        number(group.connections),
        number(group.in_state(State::Active)),
        number(group.in_state(State::Waiting)),
        number(group.in_state(State::Idle)),
        Cell { text: oldest, is_number: true, ..Cell::default() },
        Cell { text: bytes(size), title: format!("{size} bytes"), is_number: true, ..Cell::default() },
    ]
}

/// The name of a group, and where its clients are.
fn group_name(group: &Group, query: &Query, by: Column) -> Cell {
    let value = match &group.value {
        Value::None => String::new(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    let is_ours = value.is_empty();
    let text = if is_ours { "none".to_owned() } else { value.clone() };
    let condition = format!("{}={value}", by.name());
    let kept = query.with(&[("group", ""), ("offset", ""), ("limit", "")]);
    let separator = if kept.is_empty() { "" } else { "&" };
    let link = format!("{}{separator}{kept}", clients_link(&[("filter", &condition)]));
    Cell { text, link, is_ours, ..Cell::default() }
}
