//! The nodes that one discovery of a target found. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::failure::{Failure, Reason};
use crate::link::{Endpoint, is_special};
use crate::text::label_value;

/// Maximum number of nodes in one topology; further ones are dropped and counted. Redis Cluster is made for 1,000.
pub(super) const MAX_FOUND: usize = 10_000;

/// Maximum length of a host name (RFC 1035).
const MAX_HOST: usize = 253;

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has no primary.
    Primary,
    /// It replicates a primary.
    Replica,
}

#[cfg(test)]
impl Role {
    pub(super) fn label(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// A node in a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundNode {
    /// The address at which it is reached.
    pub endpoint: Endpoint,
    /// Its role; `None` if the source does not report it.
    pub role: Option<Role>,
    /// True if the source says that it does not work.
    pub is_failed: bool,
    /// Its shard; empty if unknown.
    pub shard: Arc<str>,
    /// Its id; empty if unknown.
    pub node_id: Arc<str>,
    /// Its availability zone; empty if unknown.
    pub availability_zone: Arc<str>,
}

/// The reason why a node of a topology is not watched. Also a metric's label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Its cluster says that it does not work, and it was not watched before, or long enough.
    Failed,
    /// It has not joined its cluster yet.
    Handshake,
    /// It announces no address, or an invalid one.
    NoAddress,
    /// It announces an address that means another machine to us than to it, such as a loopback address.
    Refused,
    /// It has another role than `--discovery.roles`.
    Role,
    /// There are more nodes than `--discovery.max-nodes`.
    MaxNodes,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 6] = [
        DropReason::Failed,
        DropReason::Handshake,
        DropReason::NoAddress,
        DropReason::Refused,
        DropReason::Role,
        DropReason::MaxNodes,
    ];

    /// The reason as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Failed => "failed",
            DropReason::Handshake => "handshake",
            DropReason::NoAddress => "no_address",
            DropReason::Refused => "refused_address",
            DropReason::Role => "role",
            DropReason::MaxNodes => "max_nodes",
        }
    }
}

/// The nodes that one discovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// By the text of their address.
    nodes: BTreeMap<String, FoundNode>,
    /// Dropped nodes by what identifies them: several sources may name one.
    dropped: BTreeMap<String, DropReason>,
}

impl Topology {
    /// Adds a node. Of one that several sources name, the parts that are known are kept, and it has failed only if all
    /// sources say so: one that is cut off believes that others have failed.
    pub fn add(&mut self, node: FoundNode) {
        let key = node.endpoint.to_string();
        if self.nodes.len() == MAX_FOUND && !self.nodes.contains_key(&key) {
            return self.drop_node(&key, DropReason::MaxNodes);
        }
        match self.nodes.get_mut(&key) {
            Some(known) => {
                known.is_failed &= node.is_failed;
                known.role = known.role.or(node.role);
                for (old, new) in [
                    (&mut known.shard, node.shard),
                    (&mut known.node_id, node.node_id),
                    (&mut known.availability_zone, node.availability_zone),
                ] {
                    if old.is_empty() {
                        *old = new;
                    }
                }
            }
            None => {
                self.nodes.insert(key, node);
            }
        }
    }

    /// Notes a node that is not watched, by its id or address.
    pub fn drop_node(&mut self, identity: &str, reason: DropReason) {
        // Enough to be noticed. More of them would only take memory.
        if self.dropped.len() < MAX_FOUND {
            self.dropped.insert(label_value(identity.as_bytes()), reason);
        }
    }

    /// Adds all nodes of another topology.
    pub fn extend(&mut self, other: Topology) {
        other.nodes.into_values().for_each(|node| self.add(node));
        for (identity, reason) in other.dropped {
            self.drop_node(&identity, reason);
        }
    }

    /// The nodes, ordered by address.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &FoundNode> {
        self.nodes.values()
    }

    /// The topology, or a failure if it has no node to watch: an answer without nodes must not end all series.
    ///
    /// # Errors
    /// There is none: a sentence with the reasons.
    pub fn or_failure(self) -> Result<Self, Failure> {
        if !self.nodes.is_empty() {
            return Ok(self);
        }
        let reasons: Vec<_> =
            self.dropped().into_iter().map(|(reason, count)| format!("{count} {}", reason.label())).collect();
        let why = if reasons.is_empty() { "the answer names none".to_owned() } else { reasons.join(", ") };
        let message = format!(
            "no node can be watched ({why}); check the addresses that the nodes announce, \
            --discovery.address-map, and with rediss:// whether they announce TLS ports"
        );
        Err(Failure { reason: Reason::Other, message })
    }

    /// The number of dropped nodes by reason.
    pub fn dropped(&self) -> BTreeMap<DropReason, u64> {
        let mut counts = BTreeMap::new();
        self.dropped.values().for_each(|reason| *counts.entry(*reason).or_default() += 1);
        counts
    }
}

/// The host that a server announces for a node, as far as it can be used. `asked` is the host that was asked.
///
/// # Errors
/// The reason why the address is not used.
pub(super) fn usable_host(announced: &str, asked: &str) -> Result<String, DropReason> {
    let host = announced.trim_start_matches('[').trim_end_matches(']');
    if host == asked {
        return Ok(host.to_owned());
    }
    let Ok(address) = host.parse::<IpAddr>() else {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        // Other notations of an address, such as 0x7f000001, would pass the checks below as names.
        let is_number =
            host.rsplit('.').next().is_some_and(|last| last.bytes().next().is_none_or(|b| b.is_ascii_digit()));
        let is_host = !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(is_name) && !is_number;
        return match is_host {
            true if is_local(host) => local(asked).map(|()| host.to_owned()),
            true => Ok(host.to_owned()),
            false => Err(DropReason::NoAddress),
        };
    };
    let address = address.to_canonical();
    let is_link_local = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let asked_address = asked.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    match address {
        _ if address.is_unspecified() => Err(DropReason::NoAddress),
        _ if address.is_loopback() => local(asked).map(|()| host.to_owned()),
        _ if is_link_local(address) && asked_address.is_some_and(is_link_local) => Ok(address.to_string()),
        _ if is_special(address) => Err(DropReason::Refused),
        _ => Ok(address.to_string()),
    }
}

/// A loopback address is this machine only if the server that announces it is on this machine.
fn local(asked: &str) -> Result<(), DropReason> {
    if is_local(asked) { Ok(()) } else { Err(DropReason::Refused) }
}

/// True for an address or a name of this machine.
fn is_local(host: &str) -> bool {
    Endpoint::Tcp { host: host.to_owned(), port: 1, tls: false }.local_part().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_addresses_that_would_lead_elsewhere_are_refused() {
        for (announced, asked, expected) in [
            ("10.0.0.5", "10.0.0.1", Ok("10.0.0.5")),
            ("node-3.example", "10.0.0.1", Ok("node-3.example")),
            ("2001:db8::5", "10.0.0.1", Ok("2001:db8::5")),
            ("[2001:db8::5]", "10.0.0.1", Ok("2001:db8::5")),
            ("::ffff:10.0.0.5", "10.0.0.1", Ok("10.0.0.5")),
            ("127.0.0.1", "localhost", Ok("127.0.0.1")),
            ("127.0.0.1", "10.0.0.1", Err(DropReason::Refused)),
            ("::ffff:127.0.0.1", "10.0.0.1", Err(DropReason::Refused)),
            ("localhost", "10.0.0.1", Err(DropReason::Refused)),
            ("LOCALHOST", "10.0.0.1", Err(DropReason::Refused)),
            ("ip6-localhost", "10.0.0.1", Err(DropReason::Refused)),
            ("LocalHost", "127.0.0.1", Ok("LocalHost")),
            ("169.254.169.254", "10.0.0.1", Err(DropReason::Refused)),
            ("::ffff:169.254.169.254", "127.0.0.1", Err(DropReason::Refused)),
            ("169.254.7.7", "169.254.7.1", Ok("169.254.7.7")),
            ("fe80::1", "10.0.0.1", Err(DropReason::Refused)),
            ("fd00:ec2::254", "10.0.0.1", Err(DropReason::Refused)),
            ("224.0.0.1", "10.0.0.1", Err(DropReason::Refused)),
            ("255.255.255.255", "10.0.0.1", Err(DropReason::Refused)),
            ("0.0.0.0", "10.0.0.1", Err(DropReason::NoAddress)),
            ("", "10.0.0.1", Err(DropReason::NoAddress)),
            ("0x7f000001", "10.0.0.1", Err(DropReason::NoAddress)),
            ("2130706433", "10.0.0.1", Err(DropReason::NoAddress)),
            ("127.1", "10.0.0.1", Err(DropReason::NoAddress)),
            ("a b", "10.0.0.1", Err(DropReason::NoAddress)),
            ("a/../b", "10.0.0.1", Err(DropReason::NoAddress)),
            (&"x".repeat(254), "10.0.0.1", Err(DropReason::NoAddress)),
        ] {
            assert_eq!(usable_host(announced, asked), expected.map(str::to_owned), "{announced} from {asked}");
        }
    }

    #[test]
    fn several_sources_make_one_topology() {
        let node = |host: &str, is_failed| FoundNode {
            endpoint: Endpoint::Tcp { host: host.to_owned(), port: 1, tls: false },
            role: None,
            is_failed,
            shard: "".into(),
            node_id: "".into(),
            availability_zone: "".into(),
        };
        let (mut one, mut other) = (Topology::default(), Topology::default());
        one.add(node("a", true));
        one.add(node("b", true));
        one.drop_node("c", DropReason::Handshake);
        other.add(FoundNode { shard: "s".into(), role: Some(Role::Replica), ..node("a", false) });
        other.drop_node("c", DropReason::Handshake);
        one.extend(other);
        let nodes: Vec<_> = one.nodes().map(|node| (node.endpoint.to_string(), node.is_failed, &*node.shard)).collect();
        assert_eq!(nodes, [("a:1".to_owned(), false, "s"), ("b:1".to_owned(), true, "")]);
        assert_eq!(one.dropped(), BTreeMap::from([(DropReason::Handshake, 1)]));
    }

    #[test]
    fn a_topology_without_nodes_is_a_failure_with_the_reasons() {
        let mut topology = Topology::default();
        topology.drop_node("a", DropReason::Refused);
        topology.drop_node("b", DropReason::Refused);
        let failure = topology.or_failure().expect_err("no node");
        assert!(failure.message.contains("2 refused_address"), "{failure}");
        assert!(Topology::default().or_failure().is_err_and(|failure| failure.message.contains("names none")));
    }

    #[test]
    fn a_topology_of_any_size_is_bounded() {
        let mut topology = Topology::default();
        for port in 0..60_000 {
            let endpoint = Endpoint::Tcp { host: "a".to_owned(), port, tls: false };
            let empty: Arc<str> = "".into();
            topology.add(FoundNode {
                endpoint,
                role: None,
                is_failed: false,
                shard: Arc::clone(&empty),
                node_id: Arc::clone(&empty),
                availability_zone: empty,
            });
        }
        assert_eq!((topology.nodes().len(), topology.dropped()[&DropReason::MaxNodes]), (MAX_FOUND, MAX_FOUND as u64));
    }
}
