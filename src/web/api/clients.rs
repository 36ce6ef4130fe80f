//! `/api/v1/clients`: a window of clients, or of groups of them; `/api/v1/clients/{id}`: one of them.

use hyper::StatusCode;
use serde_json::Value;

use super::{JSON, as_json, envelope};
use crate::latest::Nodes;
use crate::view::grouped::Group;
use crate::view::list;
use crate::view::query::Query;
use crate::web::WebState;
use crate::web::response_cache::Written;

pub(super) fn list(app: &WebState, nodes: &Nodes, query: &Query) -> Written {
    let limits = app.limits.borrow().clone();
    let Some(by) = query.group else {
        let window = query.window(nodes, &limits);
        let items: Vec<Value> = window.rows.iter().map(|row| list::object(row, &query.columns)).collect();
        return as_json(&envelope(nodes, query, window.total, window.matched, &items));
    };
    let window = query.group_window(by, nodes, &limits);
    let items: Vec<Value> = window.shown.iter().map(Group::object).collect();
    let mut all = envelope(nodes, query, window.total, window.matched, &items);
    all["groups"] = window.groups.into();
    as_json(&all)
}

pub(super) fn one(app: &WebState, nodes: &Nodes, id: &str, query: &Query) -> Written {
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
