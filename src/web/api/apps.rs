//! `/api/v1/apps`: the applications, online and offline.

use serde_json::{Value, json};

use crate::latest::{NodeState, Nodes};
use crate::snapshot::Seen;
use crate::text::OTHER;
use crate::view::app_row::AppRow;
use crate::view::measure;
use crate::web::query::Query;

pub(super) fn nodes(nodes: &Nodes, query: &Query) -> Value {
    let of_node = |node: &NodeState| {
        let presence = &node.last_snapshot()?.presence;
        let matching =
            presence.all().filter(|seen| query.selection.matches(AppRow { node: &node.node, app: &seen.app }));
        let apps: Vec<Value> = matching.map(object).collect();
        Some(json!({ "redis": &*node.node, "folded": presence.folded, "apps": apps }))
    };
    json!({ "nodes": query.nodes(nodes).filter_map(of_node).collect::<Vec<_>>() })
}

fn object(seen: &Seen) -> Value {
    let mut object = measure::members(&seen.now);
    object.insert("app".to_owned(), (*seen.app).into());
    // (other) is no application that could be online or offline.
    object.insert("online".to_owned(), (&*seen.app != OTHER).then(|| seen.is_online()).into());
    object.insert("expected".to_owned(), seen.expected.into());
    object.insert("last_seen_at".to_owned(), seen.last_seen.map(|time| format!("{time:.0}")).into());
    object.insert("opened_total".to_owned(), seen.totals.opened.into());
    object.insert("closed_total".to_owned(), seen.totals.closed.into());
    object.into()
}
