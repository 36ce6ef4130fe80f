//! Checks that `openapi.json` agrees with the tables from which the API is made: `UPDATE_GOLDEN=1 cargo test openapi`
//! writes it.

use std::fs;

use serde_json::{Map, Value, json};

use super::{Call, OPENAPI};
use crate::view::column::{Column, ValueKind};
use crate::view::measure::MEASURES;
use crate::web::export::Lines;
use crate::web::query::{MAX_WINDOW, Takes};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/assets/openapi.json");

/// The paths with parameters, which parameters they take, and true for an unlimited list.
fn paths() -> Vec<(&'static str, Takes, bool)> {
    let call = |path, call: Call<'_>| (path, call.takes(), matches!(call, Call::ClosedLines(_)));
    vec![
        call("/api/v1/status", Call::Status),
        call("/api/v1/clients", Call::Clients),
        ("/api/v1/clients.csv", Takes::Clients, true),
        ("/api/v1/clients.ndjson", Takes::Clients, true),
        call("/api/v1/clients/{id}", Call::Client("")),
        call("/api/v1/closed", Call::Closed),
        call("/api/v1/closed.csv", Call::ClosedLines(Lines::Csv)),
        call("/api/v1/closed.ndjson", Call::ClosedLines(Lines::Ndjson)),
        call("/api/v1/apps", Call::Apps),
        call("/api/v1/groups", Call::Groups),
        call("/api/v1/history", Call::History),
        ("/api/v1/events", Takes::Nodes, false),
        ("/api/v1/sd", Takes::Nodes, false),
    ]
}

/// True for the columns that are documented as parameters. All other columns are accepted as well.
fn is_parameter(column: &Column) -> bool {
    (column.groupable || column.name == "address" || column.name == "closed_reason") && column.name != "redis"
}

fn parameters(takes: Takes, is_list: bool) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/parameters/{name}") });
    let mut all: Vec<Value> = Vec::new();
    if takes == Takes::Client {
        all.push(json!({ "name": "id", "in": "path", "required": true, "description": "Client id.",
            "schema": { "type": "integer", "minimum": 0 } }));
    }
    for name in takes.parameters() {
        // Only links to pages have it; the API has /api/v1/closed?id= instead.
        if *name == "closed_at" {
            continue;
        }
        all.push(reference(if is_list && *name == "limit" { "list_limit" } else { name }));
    }
    if takes != Takes::Client {
        let columns = takes.columns();
        all.extend(columns.into_iter().filter(|column| is_parameter(column)).map(|column| reference(column.name)));
    }
    all.into()
}

fn integer(default: Option<usize>, maximum: Option<usize>) -> Value {
    let mut number = json!({ "type": "integer", "minimum": 0 });
    if let Some(maximum) = maximum {
        number["maximum"] = maximum.into();
    }
    let mut schema = json!({ "anyOf": [number, { "type": "string", "maxLength": 0 }] });
    if let Some(default) = default {
        schema["default"] = default.into();
    }
    schema
}

fn components() -> Value {
    let text = || json!({ "type": "string" });
    let columns = "A column name, an alias, or a key of CLIENT LIST";
    let fixed = [
        ("redis", "Name or address of one server. Default: all.".to_owned(), text()),
        ("cluster", "Name of one cluster, of which all servers are selected. Default: all servers.".to_owned(), text()),
        ("q", "Text that id, address, name, user, library, command or app contains, in any case.".to_owned(), text()),
        ("filter", "A condition: idle>10m, memory>1MB, name!=web, address=10.0.0.0/8. Repeatable.".to_owned(), text()),
        ("min_idle", "Minimum idle time: 10m.".to_owned(), text()),
        ("max_idle", "Maximum idle time: 10m.".to_owned(), text()),
        ("min_age", "Minimum time since the client connected: 1h.".to_owned(), text()),
        ("sort", format!("{columns}, with - in front for the largest first: -memory."), text()),
        ("group", format!("{columns} to group by: the items are groups, the most connections first."), text()),
        ("columns", "Columns of the answer, separated by commas. Default: all.".to_owned(), text()),
        ("offset", "Matching rows before the window.".to_owned(), integer(Some(0), None)),
        ("limit", "Maximum number of rows.".to_owned(), integer(Some(200), Some(MAX_WINDOW))),
        ("list_limit", "Maximum number of rows. Default: all.".to_owned(), integer(None, None)),
    ];
    let mut all = Map::new();
    for (name, help, schema) in fixed {
        let name_in_query = if name == "list_limit" { "limit" } else { name };
        let parameter = json!({ "name": name_in_query, "in": "query", "description": help, "schema": schema });
        all.insert(name.to_owned(), parameter);
    }
    let columns = Takes::Clients.columns().into_iter().chain(Takes::Closed.columns());
    for column in columns.filter(|column| is_parameter(column)) {
        let schema = match column.kind {
            ValueKind::Word(words) => {
                let mut words = words();
                if column.name == "state" {
                    words.push("waiting");
                }
                json!({ "type": "string", "enum": std::iter::once("").chain(words).collect::<Vec<_>>() })
            }
            kind if kind.is_number() => {
                json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "maxLength": 0 }] })
            }
            _ => text(),
        };
        let description = format!("{} Empty: any.", column.help);
        let parameter = json!({ "name": column.name, "in": "query", "description": description, "schema": schema });
        all.insert(column.name.to_owned(), parameter);
    }
    all.into()
}

fn column_schema(columns: impl Iterator<Item = &'static Column>, has_more: bool) -> Value {
    let properties: Map<String, Value> = columns
        .map(|column| {
            let kind = if column.kind.is_number() { "integer" } else { "string" };
            let mut schema = json!({ "type": [kind, "null"], "title": column.title, "description": column.help });
            if let ValueKind::Time = column.kind {
                schema["format"] = "date-time".into();
            }
            (column.name.to_owned(), schema)
        })
        .collect();
    // Unknown fields of a newer server are passed on unchanged.
    json!({ "type": "object", "properties": properties, "additionalProperties": has_more })
}

fn measures() -> Map<String, Value> {
    let schema = |help: &str| json!({ "type": ["integer", "null"], "description": help });
    MEASURES.iter().map(|measure| (measure.name.to_owned(), schema(measure.help))).collect()
}

fn schemas(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    schemas["Client"] = column_schema(Column::of_clients(), true);
    schemas["ClosedClient"] = column_schema(Column::of_closed(), false);
    let mut group = measures();
    group.insert(
        "group".to_owned(),
        json!({ "type": ["string", "integer", "null"], "description": "Value of the column." }),
    );
    schemas["Group"] = json!({ "type": "object", "properties": group, "additionalProperties": false });
    let mut app = measures();
    let more = [
        ("app", json!("string"), "Name of the application."),
        ("online", json!(["boolean", "null"]), "True if it has a connection; null for (other)."),
        ("expected", json!(["integer", "null"]), "Minimum expected connections to this server."),
        ("expected_on_all", json!(["integer", "null"]), "Minimum expected connections to all servers together."),
        ("last_seen_at", json!(["string", "null"]), "Last time at which it had a connection."),
        ("opened_total", json!("integer"), "Connections opened since exporter start, as observed."),
        ("closed_total", json!("integer"), "Connections closed since exporter start, as observed."),
    ];
    app.extend(more.map(|(name, kind, help)| (name.to_owned(), json!({ "type": kind, "description": help }))));
    schemas["App"] = json!({ "type": "object", "properties": app, "additionalProperties": false });
}

#[test]
fn openapi_json_is_made_from_the_tables() {
    let mut document: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
    document["components"]["parameters"] = components();
    schemas(&mut document);
    let described: Vec<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    for (path, takes, is_list) in paths() {
        assert!(described.iter().any(|known| known == path), "{path} is not described");
        document["paths"][path]["get"]["parameters"] = parameters(takes, is_list);
    }
    for path in described {
        let is_known = paths().iter().any(|(known, ..)| *known == path);
        assert!(is_known || path.ends_with("openapi.json"), "{path} is described, but unknown");
    }
    let text = format!("{document:#}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(FILE, &text).expect("it can be written");
    }
    assert!(fs::read_to_string(FILE).expect("it can be read") == text, "UPDATE_GOLDEN=1 cargo test openapi writes it");
}
