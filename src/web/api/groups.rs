//! `/api/v1/groups`: what else application clients are counted by.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::latest::{NodeState, Nodes};
use crate::snapshot::Groups;
use crate::view::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of_node = |node: &Arc<NodeState>| {
        let client_counts = node.last_snapshot()?.client_counts.as_ref()?;
        Some(json!({
            "redis": &*node.node,
            "user": counted(&client_counts.users),
            "library": counted(&client_counts.libraries),
            "network": counted(&client_counts.networks),
            "database": counted(&client_counts.databases),
            "command": counted(&client_counts.commands),
        }))
    };
    let wanted = nodes.nodes.iter().filter(|node| query.wants(&node.node));
    json!({ "nodes": wanted.filter_map(of_node).collect::<Vec<_>>() })
}

fn counted(groups: &Option<Groups>) -> Value {
    let Some(groups) = groups else { return Value::Null };
    let counts = groups.iter().map(|(group, connections)| json!({ "group": group, "connections": connections }));
    json!({ "folded": groups.folded(), "groups": counts.collect::<Vec<_>>() })
}
