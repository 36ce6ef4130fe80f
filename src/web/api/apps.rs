//! `/api/v1/apps`: the applications, online and offline.

use serde_json::{Value, json};

use crate::latest::{NodeState, Nodes};
use crate::view::app_row::AppRow;
use crate::view::json as shape;
use crate::web::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of_node = |node: &NodeState| {
        let presence = &node.last_snapshot()?.presence;
        let matching =
            presence.all().filter(|seen| query.selection.matches(AppRow { node: &node.node, app: &seen.app }));
        let apps: Vec<Value> = matching.map(shape::app).collect();
        Some(json!({ "redis": &*node.node, "folded": presence.folded, "apps": apps }))
    };
    json!({ "nodes": query.nodes(nodes).filter_map(of_node).collect::<Vec<_>>() })
}
