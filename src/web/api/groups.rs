//! `/api/v1/groups`: what else application clients are counted by.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::latest::{NodeState, Nodes};
use crate::snapshot::Groups;
use crate::view::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of_node = |node: &Arc<NodeState>| {
        let crowd = node.last_snapshot()?.crowd.as_ref()?;
        Some(json!({
            "redis": &*node.node,
            "user": counted(&crowd.users),
            "library": counted(&crowd.libraries),
            "network": counted(&crowd.networks),
            "database": counted(&crowd.databases),
            "command": counted(&crowd.commands),
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
