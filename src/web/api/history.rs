//! `/api/v1/history`: the last hour of each node, from memory.

use serde_json::{Value, json};

use crate::clock;
use crate::history::STEP_SECONDS;
use crate::latest::{NodeState, Nodes};
use crate::view::history::columns;
use crate::view::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let wanted = nodes.nodes.iter().filter(|node| query.wants(&node.node));
    json!({ "step_seconds": STEP_SECONDS, "nodes": wanted.map(|node| of(node)).collect::<Vec<_>>() })
}

fn of(node: &NodeState) -> Value {
    let client_counts = node.last_snapshot().and_then(|snapshot| snapshot.client_counts.as_ref());
    columns(&node.node, &node.history, client_counts.map(|client_counts| &client_counts.last_interaction), clock::now())
}
