//! A message of the status channel as text for people.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::message::{Message, MessageKind};
use crate::text::escaped;
use crate::view::column::Column;
use crate::view::humanize::ago;
use crate::view::table::{plain_table, render, truncated};

/// The columns of a client.
const COLUMNS: [&str; 8] = ["id", "address", "app", "name", "user", "command", AGE, IDLE];
const AGE: &str = "age_seconds";
const IDLE: &str = "idle_seconds";

/// Formats a message: a status as totals and a table, changes as one line each. Ends with a newline.
pub fn text(message: &Message, limit: usize) -> String {
    match message.header.kind {
        MessageKind::Status => status(message, limit),
        MessageKind::Changes => changes(message),
        MessageKind::Heartbeat => format!("{} (heartbeat: the current sample takes long)\n", totals(message)),
    }
}

fn status(message: &Message, limit: usize) -> String {
    let mut text = totals(message) + "\n";
    if !message.apps.is_empty() {
        let apps = message.apps.iter().map(|count| format!("{} {}", escaped_text(&count.app), count.connections));
        text += &format!("{}\n", apps.collect::<Vec<_>>().join(" · "));
    }
    let heads: Vec<String> =
        COLUMNS.into_iter().filter_map(Column::find).map(|column| column.title.to_uppercase()).collect();
    let mut table = plain_table(heads.iter().map(String::as_str));
    // Only internal connections have a kind; their idle times are not interactions.
    let clients: Vec<_> = message.clients.iter().filter(|client| !client.contains_key("kind")).collect();
    for client in clients.iter().take(limit) {
        let seconds = |key: &str| client.get(key).and_then(Value::as_u64).unwrap_or(0);
        table.add_row(COLUMNS.map(|key| match key {
            IDLE if !client.contains_key("last_interaction") => "never".to_owned(),
            AGE | IDLE => ago(seconds(key)),
            key => truncated(cell(client, key)),
        }));
    }
    text += &render(&table);
    let left = message.header.online.saturating_sub(clients.len().min(limit) as u64);
    if left > 0 {
        writeln!(text, "… and {left} more").expect("writing to a string cannot fail");
    }
    text
}

fn totals(message: &Message) -> String {
    let header = &message.header;
    let at = header.sampled_at;
    let limit = header.maxclients.map_or_else(String::new, |limit| format!(" of {limit}"));
    format!(
        "{at}  {}  {}{limit} connections, {} online, {} silent  (by {} every {} s)",
        escaped_text(&header.node),
        header.connections,
        header.online,
        header.silent,
        escaped_text(&header.announcer),
        header.frequency
    )
}

fn changes(message: &Message) -> String {
    let line = |sign: char, client: &Map<String, Value>| {
        let reason = Some(cell(client, "closed_reason")).filter(|reason| !reason.is_empty());
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let [id, addr, app, name] = ["id", "address", "app", "name"].map(|key| cell(client, key));
        format!("{sign} {id} {addr} {app} {name}{reason}").trim_end().to_owned() + "\n"
    };
    let opened = message.opened.iter().map(|client| line('+', client));
    opened.chain(message.closed.iter().map(|client| line('-', client))).collect()
}

fn cell(client: &Map<String, Value>, key: &str) -> String {
    match client.get(key) {
        Some(Value::String(text)) => escaped_text(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Escapes text of a message: any publisher can put terminal control characters into it.
fn escaped_text(text: &str) -> String {
    escaped(text.as_bytes())
}
