//! The origin of a node: the target that led to it, and its place in a cluster. Pure data.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The origin of a node. Empty texts are unknown, or do not exist for this kind of target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The target, as the operator wrote it, without user and password.
    pub target: Arc<str>,
    /// The cluster or Sentinel group: the label that the operator gave it, otherwise the target or the group's name.
    pub cluster: Arc<str>,
    /// The shard: its id where the server has one (Valkey 9.1), otherwise the lowest id of its nodes, which a failover
    /// does not change.
    pub shard: Arc<str>,
    /// The node's id in the cluster.
    pub node_id: Arc<str>,
    /// The availability zone that the node announces (Valkey 9.1).
    pub availability_zone: Arc<str>,
    /// True if other nodes of the target may come and go.
    pub is_discovered: bool,
    /// True if the target is a cluster: a message that is published on one node reaches the others.
    pub is_in_cluster: bool,
    /// Labels that the operator gave the target, for service discovery.
    pub labels: Arc<BTreeMap<String, String>>,
}
