//! The forms with which every page switches to a cluster or a server, if there are several servers. They work without
//! JavaScript and keep the other parameters of the page.

use std::collections::BTreeMap;

use crate::latest::Nodes;
use crate::web::query::Query;

/// Maximum number of servers in a list that opens. If there are more, one is typed, and the browser suggests names that
/// contain the text.
const MAX_OPTIONS: usize = 30;

/// The clusters and servers to choose from; empty if there is one server.
#[derive(Default)]
pub(super) struct Switcher {
    /// The path of the page, to which the forms lead.
    pub(super) path: &'static str,
    /// The names of the clusters, by name, if there is a choice.
    pub(super) clusters: Vec<Choice>,
    /// The servers of the selected cluster, by cluster and name. The first part has those that belong to no cluster.
    pub(super) servers: Vec<(String, Vec<Choice>)>,
    /// True if there are too many servers for a list that opens.
    pub(super) is_typed: bool,
    /// The text that selects all servers.
    pub(super) all: &'static str,
    /// The selected server.
    pub(super) server: String,
    /// The parameters that the form of clusters keeps.
    pub(super) kept: Vec<(String, String)>,
    /// The selected cluster, which the form of servers keeps, too.
    pub(super) cluster: String,
}

/// A cluster or a server that can be chosen.
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) is_chosen: bool,
}

impl Choice {
    fn new(name: &str, chosen: Option<&String>) -> Self {
        Self { name: name.to_owned(), is_chosen: chosen.is_some_and(|chosen| chosen == name) }
    }
}

impl Switcher {
    /// The switcher of a page. `keeps` is false where the parameters are about one server.
    pub(super) fn new(path: &'static str, nodes: &Nodes, query: &Query, keeps: bool) -> Self {
        if nodes.count() < 2 {
            return Self::default();
        }
        let mut by_cluster: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        nodes.iter().for_each(|node| by_cluster.entry(&node.origin.cluster).or_default().push(&node.node));
        // Of one cluster to which all servers belong there is nothing to choose.
        let clusters = by_cluster.keys().filter(|name| !name.is_empty() && by_cluster.len() > 1);
        let clusters = clusters.map(|name| Choice::new(name, query.cluster.as_ref())).collect();
        by_cluster.retain(|name, _| query.cluster.as_ref().is_none_or(|cluster| cluster == name));
        let count = by_cluster.values().map(Vec::len).sum::<usize>();
        let servers = by_cluster.into_iter().map(|(cluster, mut names)| {
            names.sort_unstable();
            let choices = names.into_iter().map(|name| Choice::new(name, query.node.as_ref()));
            (cluster.to_owned(), choices.collect())
        });
        Self {
            path,
            clusters,
            servers: servers.collect(),
            is_typed: count > MAX_OPTIONS,
            all: if query.cluster.is_some() { "All of this cluster" } else { "All servers" },
            server: query.node.clone().unwrap_or_default(),
            kept: if keeps { query.others(&["redis", "cluster"]) } else { Vec::new() },
            cluster: query.cluster.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::latest::NodeState;
    use crate::link::Origin;
    use crate::web::query::Takes;

    fn nodes(nodes: &[(&str, &str)]) -> Nodes {
        let node = |(name, cluster): &(&str, &str)| {
            let origin = Arc::new(Origin { cluster: (*cluster).into(), ..Origin::default() });
            NodeState { origin, ..NodeState::starting((*name).into()) }
        };
        Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, nodes.iter().map(node))
    }

    fn switcher(nodes: &Nodes, query: &str) -> Switcher {
        let query = Query::of_page(query, Takes::Clients).expect("a query");
        Switcher::new("/clients", nodes, &query, true)
    }

    fn names(choices: &[Choice]) -> Vec<&str> {
        choices.iter().map(|choice| &*choice.name).collect()
    }

    #[test]
    fn servers_are_by_cluster_and_other_parameters_are_kept() {
        let nodes = nodes(&[("b", "shop"), ("c", "mail"), ("a", "shop"), ("single", "")]);
        let all = switcher(&nodes, "app=web&sort=id&offset=200");
        assert_eq!(names(&all.clusters), ["mail", "shop"]);
        let servers: Vec<_> = all.servers.iter().map(|(cluster, servers)| (&**cluster, names(servers))).collect();
        assert_eq!(servers, [("", vec!["single"]), ("mail", vec!["c"]), ("shop", vec!["a", "b"])]);
        let kept = [("app", "web"), ("sort", "id")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(all.kept, kept, "not the place in the list of other servers");
        let shop = switcher(&nodes, "cluster=shop&redis=b");
        assert_eq!((names(&shop.clusters), shop.servers.len()), (vec!["mail", "shop"], 1));
        assert!(shop.servers[0].1[1].is_chosen && !shop.servers[0].1[0].is_chosen && shop.clusters[1].is_chosen);
        assert_eq!((shop.cluster.as_str(), shop.kept.len()), ("shop", 0));
    }

    #[test]
    fn one_server_needs_no_switcher_and_many_are_typed() {
        assert!(switcher(&nodes(&[("a", "shop")]), "").servers.is_empty());
        let names: Vec<_> = (0..100).map(|number| format!("node-{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "shop")).collect();
        let of = |count: usize| switcher(&nodes(&many[..count]), "");
        assert!(!of(MAX_OPTIONS).is_typed && of(100).is_typed);
        assert!(of(100).clusters.is_empty(), "there is one cluster");
    }
}
