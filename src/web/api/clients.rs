//! `/api/v1/clients`: a window of clients, or of groups of them; `/api/v1/clients/{id}`: one of them.

use hyper::StatusCode;
use serde_json::Value;

use super::{Format, JSON, as_json, envelope};
use crate::latest::Nodes;
use crate::view::list;
use crate::view::query::Query;
use crate::view::rows::Column;
use crate::web::App;
use crate::web::renderings::Written;

pub(super) fn list(app: &App, nodes: &Nodes, format: Format, query: &Query) -> Written {
    if let Some(by) = query.group {
        return groups(app, nodes, format, query, by);
    }
    let limits = app.limits.borrow().clone();
    let window = query.window(nodes, &limits);
    let objects = || window.rows.iter().map(|row| list::object(row, &query.columns));
    match format {
        Format::Json => as_json(&envelope(nodes, query, window.total, window.matched, &objects().collect::<Vec<_>>())),
        Format::Csv => Ok((list::CSV, list::csv(&window.rows, &query.columns))),
        Format::Ndjson => lines(objects()),
    }
}

fn groups(app: &App, nodes: &Nodes, format: Format, query: &Query, by: Column) -> Written {
    let limits = app.limits.borrow().clone();
    let window = query.group_window(by, nodes, &limits);
    let objects = || window.shown.iter().map(|group| group.object());
    match format {
        Format::Json => {
            let mut all = envelope(nodes, query, window.total, window.matched, &objects().collect::<Vec<_>>());
            all["groups"] = window.groups.into();
            as_json(&all)
        }
        Format::Csv => Ok((list::CSV, list::groups_csv(&window.shown))),
        Format::Ndjson => lines(objects()),
    }
}

/// Objects, one a line.
pub(super) fn lines(objects: impl Iterator<Item = Value>) -> Written {
    Ok(("application/x-ndjson", objects.map(|object| format!("{object}\n")).collect()))
}

pub(super) fn one(app: &App, nodes: &Nodes, id: &str, query: &Query) -> Written {
    let bad = |sentence: String| Err((StatusCode::BAD_REQUEST, sentence));
    let Ok(id) = id.parse() else { return bad(format!("{id:?} is not a client's id")) };
    let limits = app.limits.borrow().clone();
    match &query.client(id, nodes, &limits)[..] {
        [] => {
            let sentence = "no client has this id; it may have gone: see /api/v1/closed";
            Err((StatusCode::NOT_FOUND, sentence.to_owned()))
        }
        [row] => Ok((JSON, format!("{}\n", list::object(row, &query.columns)))),
        _ => bad("several nodes have a client of this id; add redis=".to_owned()),
    }
}
