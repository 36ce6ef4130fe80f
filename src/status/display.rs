//! The parts of a message as text for people.

use std::cmp::Reverse;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::message::{AppCount, Header, Message};
use crate::text::escaped;
use crate::view::column::Column;
use crate::view::humanize::ago;
use crate::view::table::{plain_table, render, truncated};

/// The columns of a client.
const COLUMNS: [&str; 8] = ["id", "address", "app", "name", "user", "command", AGE, IDLE];
const AGE: &str = "age_seconds";
const IDLE: &str = "idle_seconds";

/// Maximum number of applications in a line.
const MAX_APPS: usize = 20;

/// An application client as a line of a table.
#[derive(Debug)]
pub(super) struct ClientLine {
    cells: [String; COLUMNS.len()],
    /// `None` if it never sent a command.
    idle_seconds: Option<u64>,
}

impl ClientLine {
    /// The line of a client; `None` for an internal connection: its idle time is no interaction.
    pub(super) fn new(client: &Map<String, Value>) -> Option<Self> {
        if client.contains_key("kind") {
            return None;
        }
        let seconds = |key: &str| client.get(key).and_then(Value::as_u64).unwrap_or(0);
        let idle_seconds = client.contains_key("last_interaction").then(|| seconds(IDLE));
        let cells = COLUMNS.map(|key| match key {
            IDLE => idle_seconds.map_or_else(|| "never".to_owned(), ago),
            AGE => ago(seconds(AGE)),
            key => truncated(cell(client, key)),
        });
        Some(Self { cells, idle_seconds })
    }

    /// The key by which lines are sorted: the longest idle first.
    pub(super) fn order(&self) -> Reverse<Option<u64>> {
        Reverse(self.idle_seconds)
    }
}

/// The totals of a node in one line, without its end.
pub(super) fn totals(header: &Header) -> String {
    let at = header.sampled_at;
    let limit = header.maxclients.map_or_else(String::new, |limit| format!(" of {limit}"));
    let since = header.opened_total.zip(header.closed_total);
    let since = since.map_or_else(String::new, |(opened, closed)| format!(", {opened} opened, {closed} closed"));
    format!(
        "{at}  {}  {}{limit} connections, {} online, {} silent{since}  (by {} every {} s)",
        shown(&header.node),
        header.connections,
        header.online,
        header.silent,
        shown(&header.announcer),
        header.frequency
    )
}

/// The applications and clients of a node with this number of online clients.
pub(super) fn contents(apps: &[AppCount], clients: &[ClientLine], online: u64) -> String {
    let mut text = String::new();
    if !apps.is_empty() {
        let names = apps.iter().take(MAX_APPS).map(|app| format!("{} {}", shown(&app.app), app.connections));
        let more = apps.len().saturating_sub(MAX_APPS);
        let more = (more > 0).then(|| format!("… and {more} more applications"));
        text += &format!("{}\n", names.chain(more).collect::<Vec<_>>().join(" · "));
    }
    let heads: Vec<String> =
        COLUMNS.into_iter().filter_map(Column::find).map(|column| column.title.to_uppercase()).collect();
    let mut table = plain_table(heads.iter().map(String::as_str));
    for client in clients {
        table.add_row(&client.cells);
    }
    text += &render(&table);
    let left = online.saturating_sub(clients.len() as u64);
    if left > 0 {
        writeln!(text, "… and {left} more").expect("writing to a string cannot fail");
    }
    text
}

/// The opened and closed connections of a message, one line each.
pub(super) fn changes(message: &Message) -> Vec<String> {
    let line = |sign: char, client: &Map<String, Value>| {
        let reason = Some(truncated(cell(client, "closed_reason"))).filter(|reason| !reason.is_empty());
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let [id, addr, app, name] = ["id", "address", "app", "name"].map(|key| truncated(cell(client, key)));
        format!("{sign} {id} {addr} {app} {name}{reason}").trim_end().to_owned()
    };
    let opened = message.opened.iter().map(|client| line('+', client));
    opened.chain(message.closed.iter().map(|client| line('-', client))).collect()
}

fn cell(client: &Map<String, Value>, key: &str) -> String {
    match client.get(key) {
        Some(Value::String(text)) => escaped(text.as_bytes()),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Escapes and cuts text of a message: any publisher can put terminal control characters into it.
pub(super) fn shown(text: &str) -> String {
    truncated(escaped(text.as_bytes()))
}
