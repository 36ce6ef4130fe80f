//! `/api/v1/groups`: application clients by user, library, network, database and command, as the metrics count them.

use serde_json::{Value, json};

use crate::latest::{NodeState, Nodes};
use crate::snapshot::Groups;
use crate::web::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of_node = |node: &NodeState| {
        let counts = node.last_snapshot()?.client_counts.as_ref()?;
        Some(json!({
            "redis": &*node.node,
            "user": counted(&counts.users),
            "library": counted(&counts.libraries),
            "network": counted(&counts.networks),
            "database": counted(&counts.databases),
            "command": counted(&counts.commands),
        }))
    };
    json!({ "nodes": query.nodes(nodes).filter_map(of_node).collect::<Vec<_>>() })
}

fn counted(groups: &Option<Groups>) -> Value {
    let Some(groups) = groups else { return Value::Null };
    let counts = groups.iter().map(|(group, connections)| json!({ "group": group, "connections": connections }));
    json!({ "folded": groups.folded(), "groups": counts.collect::<Vec<_>>() })
}
