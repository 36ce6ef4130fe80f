//! `/api/v1/clients`: a window of clients or of groups; `/api/v1/clients/{id}`: one client.

use hyper::StatusCode;
use serde_json::Value;

use crate::latest::Nodes;
use crate::view::json;
use crate::web::query::Query;

pub(super) fn list(nodes: &Nodes, query: &Query) -> Value {
    let Some(by) = query.group else {
        let window = query.selection.window(query.snapshots(nodes));
        let items: Vec<Value> = window.rows.iter().map(|row| json::client(*row, &query.columns)).collect();
        return json::window(query.nodes(nodes), &query.selection, (window.total, window.matched), &items);
    };
    let groups = query.selection.groups(by, query.snapshots(nodes));
    json::group_window(query.nodes(nodes), &query.selection, &groups)
}

pub(super) fn one(nodes: &Nodes, id: &str, query: &Query) -> Result<Value, (StatusCode, String)> {
    let invalid = |sentence: String| Err((StatusCode::BAD_REQUEST, sentence));
    let Ok(number) = id.parse() else { return invalid(format!("{id:?} is not a client id, which is a number")) };
    match &query.find(nodes, number)[..] {
        [] => {
            let sentence = "no client has this id; if it has closed, it is in /api/v1/closed";
            Err((StatusCode::NOT_FOUND, sentence.to_owned()))
        }
        [row] => Ok(json::client(*row, &query.columns)),
        _ => invalid("several servers have a client with this id; add the parameter redis=".to_owned()),
    }
}
