//! `/api/v1/apps`: the applications, which are there and which were.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::latest::{NodeState, Nodes};
use crate::snapshot::Seen;
use crate::view::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of_node = |node: &Arc<NodeState>| {
        let presence = &node.last_snapshot()?.presence;
        let apps: Vec<Value> = presence.all().map(object).collect();
        Some(json!({ "redis": &*node.node, "folded": presence.folded, "apps": apps }))
    };
    let wanted = nodes.nodes.iter().filter(|node| query.wants(&node.node));
    json!({ "nodes": wanted.filter_map(of_node).collect::<Vec<_>>() })
}

fn object(seen: &Seen) -> Value {
    json!({
        "app": &*seen.app,
        "online": seen.is_online(),
        "connections": seen.now.connections,
        "expected": seen.expected,
        "blocked": seen.now.blocked,
        "last_seen": seen.last_seen.map(|time| time.to_string()),
        "oldest_interaction_seconds": seen.now.oldest_interaction_seconds,
        "newest_interaction_seconds": seen.now.newest_interaction_seconds,
        "memory_bytes": seen.now.memory_bytes,
        "output_buffer_bytes": seen.now.output_buffer_bytes,
        "opened": seen.totals.opened,
        "closed": seen.totals.closed,
    })
}
