//! `/api/v1/history`: the last hour of each node.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::history::STEP_SECONDS;
use crate::latest::{NodeState, Nodes};
use crate::view::history::columns;
use crate::web::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of = |node: &NodeState| of(node, nodes.changed_at());
    json!({ "step_seconds": STEP_SECONDS, "nodes": query.nodes(nodes).map(of).collect::<Vec<_>>() })
}

fn of(node: &NodeState, now: Timestamp) -> Value {
    let counts = node.last_snapshot().and_then(|snapshot| snapshot.client_counts.as_ref());
    columns(&node.node, &node.history, counts.map(|counts| &counts.last_interaction), now)
}
