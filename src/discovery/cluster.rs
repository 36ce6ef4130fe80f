//! Clusters: asks several nodes for the topology, and takes the union, since answers are partial while a cluster
//! changes. `CLUSTER SHARDS` (7.0+), otherwise `CLUSTER NODES`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::address_map::AddressMap;
use super::announced::{View, label};
use super::answers::gather;
use super::topology::MAX_FOUND;
use super::{DropReason, FoundNode, Role, Topology};
use crate::failure::{Failure, Reason};
use crate::link::{Command, Endpoint, Link, Node, ReplyTree, Request};

/// The number of nodes whose answers are joined.
const ANSWERS: usize = 3;

/// Asks nodes of a cluster, in this order, until some have answered.
///
/// # Errors
/// No node answered: the failure of one.
pub(super) async fn read(nodes: &[Node], map: &AddressMap) -> Result<Topology, Failure> {
    let mut topology = Topology::default();
    for found in gather(nodes, ANSWERS, |node| ask(node, map)).await? {
        topology.extend(found);
    }
    Ok(topology)
}

async fn ask(node: &Node, map: &AddressMap) -> Result<Topology, Failure> {
    let Endpoint::Tcp { host, tls, .. } = &node.address.endpoint else {
        let message = format!("{}: a cluster cannot be discovered through a unix socket; give a host", node.name);
        return Err(Failure { reason: Reason::Other, message });
    };
    let view = View { asked: host, tls: *tls, map };
    let mut link = Link::dial_for_announcing(node).await?;
    match link.ask_tree(Command::ClusterShards.into()).await? {
        Ok(shards) => Ok(view.shards(&shards.tree)),
        Err(failure) if matches!(failure.reason, Reason::UnknownCommand | Reason::NoPermission | Reason::Other) => {
            if failure.message.contains("cluster support disabled") {
                return Err(no_cluster(node, failure));
            }
            let mut replies = link.send(&[Request::from(Command::ClusterNodes)]).await?;
            let nodes = replies.remove(0).map_err(|of_nodes| match failure.reason {
                Reason::NoPermission => failure,
                _ => no_cluster(node, of_nodes),
            })?;
            // Its memory is reserved until it is read.
            let text = nodes.into_held_text();
            Ok(view.nodes(&String::from_utf8_lossy(&text)))
        }
        Err(failure) => Err(failure),
    }
}

fn no_cluster(node: &Node, failure: Failure) -> Failure {
    if !failure.message.contains("cluster support disabled") {
        return failure;
    }
    let message = format!(
        "{}: this server is no cluster (cluster support disabled); write redis:// instead of redis+cluster://",
        node.name
    );
    Failure { message, ..failure }
}

impl View<'_> {
    /// Reads the reply to `CLUSTER SHARDS` (`cluster.c: clusterReplyShards`). Parts with an unexpected type are left
    /// out.
    fn shards(&self, reply: &ReplyTree) -> Topology {
        let mut topology = Topology::default();
        for shard in reply.list() {
            let nodes = shard.get("nodes").map_or(&[][..], ReplyTree::list);
            let id = shard.get("id").and_then(ReplyTree::text).map(label);
            let lowest = nodes.iter().filter_map(|node| node.get("id")?.text()).min().map(label);
            let shard = id.filter(|id| !id.is_empty()).or(lowest).unwrap_or_default();
            for node in nodes {
                self.shard_node(node, &shard, &mut topology);
            }
        }
        topology
    }

    fn shard_node(&self, node: &ReplyTree, shard: &Arc<str>, topology: &mut Topology) {
        let text = |key: &str| node.get(key).and_then(ReplyTree::text).map(String::from_utf8_lossy);
        let node_id = text("id").unwrap_or_default();
        let port = node.get(if self.tls { "tls-port" } else { "port" }).and_then(ReplyTree::number);
        // NULL means: the host that you have asked. `?` means: unknown. A node that no other one has met does not know
        // its own address.
        let is_empty = |key: &str| text(key).is_none_or(|text| text.is_empty());
        let host = match node.get("endpoint") {
            Some(ReplyTree::Nothing) => self.asked.into(),
            _ if is_empty("endpoint") && is_empty("ip") => self.asked.into(),
            _ => text("endpoint")
                .filter(|host| host != "?" && !host.is_empty())
                .or_else(|| text("ip"))
                .unwrap_or_default(),
        };
        let role = match text("role").as_deref() {
            Some("master" | "primary") => Some(Role::Primary),
            Some("slave" | "replica") => Some(Role::Replica),
            _ => None,
        };
        let found = FoundNode {
            endpoint: Endpoint::Tcp { host: String::new(), port: 0, tls: self.tls },
            role,
            is_failed: text("health").as_deref() == Some("fail"),
            shard: Arc::clone(shard),
            node_id: label(node_id.as_bytes()),
            availability_zone: label(text("availability-zone").unwrap_or_default().as_bytes()),
        };
        self.add(&host, port.and_then(|port| u16::try_from(port).ok()), found, topology);
    }

    /// Reads the reply to `CLUSTER NODES`: a line per node, `ID HOST:PORT@BUS[,HOSTNAME] FLAGS PRIMARY …`.
    fn nodes(&self, reply: &str) -> Topology {
        // One more than are kept, so that it is counted that some are not.
        let lines: Vec<[&str; 4]> = reply.lines().filter_map(columns).take(MAX_FOUND + 1).collect();
        // A shard is a primary with its replicas. Its name is the lowest id of them.
        let mut shards: BTreeMap<&str, &str> = BTreeMap::new();
        for line in &lines {
            let lowest = shards.entry(shard_of(line)).or_insert(line[0]);
            *lowest = line[0].min(*lowest);
        }
        let mut topology = Topology::default();
        for line in &lines {
            let flags: Vec<_> = line[2].split(',').collect();
            if flags.contains(&"handshake") {
                topology.drop_node(line[0], DropReason::Handshake);
                continue;
            }
            let (address, hostname) = line[1].split_once(',').unwrap_or((line[1], ""));
            let hostname = hostname.split(',').next().filter(|name| !name.contains('=')).unwrap_or_default();
            let address = address.split('@').next().unwrap_or_default();
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            // A node learns its own address from the messages of others.
            let host = match (host, flags.contains(&"myself")) {
                ("", true) => self.asked,
                ("" | "?", _) => hostname,
                (host, _) => host,
            };
            let found = FoundNode {
                endpoint: Endpoint::Tcp { host: String::new(), port: 0, tls: self.tls },
                role: Some(if flags.contains(&"slave") { Role::Replica } else { Role::Primary }),
                is_failed: flags.contains(&"fail"),
                shard: label(shards.get(shard_of(line)).copied().unwrap_or_default().as_bytes()),
                node_id: label(line[0].as_bytes()),
                availability_zone: Arc::default(),
            };
            match flags.contains(&"noaddr") {
                true => topology.drop_node(line[0], DropReason::NoAddress),
                false => self.add(host, port.parse().ok(), found, &mut topology),
            }
        }
        topology
    }
}

/// The first columns of a line.
fn columns(line: &str) -> Option<[&str; 4]> {
    let mut parts = line.splitn(5, ' ');
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

/// The id of the primary of a line's shard.
fn shard_of<'a>(line: &[&'a str; 4]) -> &'a str {
    if line[3] == "-" { line[0] } else { line[3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(tls: bool) -> View<'static> {
        static MAP: std::sync::LazyLock<AddressMap> = std::sync::LazyLock::new(AddressMap::default);
        View { asked: "10.0.0.1", tls, map: &MAP }
    }

    fn text(text: &str) -> ReplyTree {
        ReplyTree::Text(text.into())
    }

    /// A list of keys and values.
    fn map(pairs: impl IntoIterator<Item = (&'static str, ReplyTree)>) -> ReplyTree {
        ReplyTree::List(pairs.into_iter().flat_map(|(key, value)| [text(key), value]).collect())
    }

    fn node(id: &str, more: Vec<(&'static str, ReplyTree)>) -> ReplyTree {
        let node = [
            ("id", text(id)),
            ("port", ReplyTree::Number(6379)),
            ("ip", text("10.0.0.5")),
            ("role", text("master")),
            ("health", text("online")),
        ];
        // A later key replaces an earlier one.
        let known: Vec<_> = more.iter().map(|(key, _)| *key).collect();
        map(node.into_iter().filter(|(key, _)| !known.contains(key)).chain(more))
    }

    fn found(topology: &Topology) -> Vec<String> {
        let show = |node: &FoundNode| {
            let role = node.role.map_or("?", Role::label);
            let failed = if node.is_failed { " failed" } else { "" };
            format!("{} {role}{failed} {}/{}", node.endpoint, node.shard, node.node_id)
        };
        topology.nodes().map(show).collect()
    }

    #[test]
    fn endpoints_of_shards_are_read_as_servers_mean_them() {
        let shards = ReplyTree::List(vec![map([
            ("slots", ReplyTree::List(vec![ReplyTree::Number(0), ReplyTree::Number(5460)])),
            (
                "nodes",
                ReplyTree::List(vec![
                    node("b", vec![("endpoint", text("10.0.0.2"))]),
                    node("a", vec![("endpoint", ReplyTree::Nothing), ("role", text("replica"))]),
                    node("c", vec![("endpoint", text("?")), ("ip", text("10.0.0.3")), ("health", text("fail"))]),
                    node("d", vec![("endpoint", text("?")), ("ip", text(""))]),
                    node("h", vec![("endpoint", text("")), ("ip", text("")), ("port", ReplyTree::Number(7000))]),
                    node("e", vec![("endpoint", text("169.254.169.254"))]),
                    node("f", vec![("endpoint", text("10.0.0.4")), ("port", ReplyTree::Number(70_000))]),
                    node("g", vec![("endpoint", text("node-g.example"))]),
                    ReplyTree::Number(7),
                ]),
            ),
        ])]);
        let topology = view(false).shards(&shards);
        assert_eq!(
            found(&topology),
            [
                "10.0.0.1:6379 replica a/a",
                "10.0.0.1:7000 primary a/h",
                "10.0.0.2:6379 primary a/b",
                "10.0.0.3:6379 primary failed a/c",
                "node-g.example:6379 primary a/g",
            ]
        );
        let dropped = topology.dropped();
        // Node d, node f, and what is no node.
        assert_eq!((dropped[&DropReason::NoAddress], dropped[&DropReason::Refused]), (3, 1));
        let topology = view(true).shards(&shards);
        assert_eq!(topology.nodes().len(), 0, "no node has a TLS port");
    }

    #[test]
    fn lines_of_nodes_are_read_with_hostnames_and_without_dead_addresses() {
        let lines = "\
            b 10.0.0.2:7001@17001 master - 0 0 1 connected 0-5460\n\
            a :7002@17002 myself,slave b 0 0 1 connected\n\
            c 10.0.0.3:7003@17003,node-c.example,shard-id=x master,fail - 0 0 2 disconnected\n\
            d :0@0 master,noaddr - 0 0 2 disconnected\n\
            e 10.0.0.9:7009@17009 handshake - 0 0 0 disconnected\n\
            f fd00::7:7004@17004 master,fail? - 0 0 3 connected\n\
            g ?:7005@17005,node-g.example slave f 0 0 3 connected\n\
            nonsense\n\n";
        let topology = view(false).nodes(lines);
        assert_eq!(
            found(&topology),
            [
                "10.0.0.1:7002 replica a/a",
                "10.0.0.2:7001 primary a/b",
                "10.0.0.3:7003 primary failed c/c",
                "[fd00::7]:7004 primary f/f",
                "node-g.example:7005 replica f/g",
            ]
        );
        let dropped = topology.dropped();
        assert_eq!((dropped[&DropReason::NoAddress], dropped[&DropReason::Handshake]), (1, 1));
    }

    #[test]
    fn an_address_map_replaces_announced_addresses_and_may_lead_to_this_machine() {
        let map = AddressMap::parse(["172.18.0.2:6379=127.0.0.1:7001"]).expect("a valid map");
        let view = View { asked: "10.0.0.1", tls: false, map: &map };
        let topology =
            view.nodes("a 172.18.0.2:6379@1 master - 0 0 1 connected\nb 127.0.0.1:1@1 master - 0 0 1 connected");
        assert_eq!(found(&topology), ["127.0.0.1:7001 primary a/a"]);
    }

    /// A vector for each line took a hundred bytes for each byte of the reply.
    #[test]
    fn lines_without_columns_are_not_kept() {
        let lines = format!("{}a 10.0.0.2:7001@17001 master - 0 0 1 connected", "\n".repeat(4 << 20));
        assert_eq!(view(false).nodes(&lines).nodes().len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_lines_are_read(lines in "[ -~\n]{0,200}") {
            view(false).nodes(&lines);
        }
    }
}
