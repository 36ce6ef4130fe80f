//! Discovery: finds the nodes of targets, again and again. Asks clusters, sentinels and DNS; knows nothing of
//! clients.
//!
//! ```text
//!  Target --read--> Topology --Registry--> list of nodes --> fleet
//!                                    `--> TargetState --> latest
//! ```
//!
//! Each target has a task of its own, so one that does not answer delays no other. What they find is merged in one
//! place, the [`registry::Registry`], which decides what is watched.

mod address_map;
mod announced;
mod answers;
mod cluster;
mod dns;
mod registry;
mod run;
mod sentinel;
mod target;
mod target_form;
mod topology;

use std::net::SocketAddr;
use std::time::Duration;

pub use address_map::AddressMap;
pub use registry::Registry;
pub use run::{Discovery, once};
pub use sentinel::SWITCH_CHANNEL;
pub use target::{Access, Target, TargetKind, check_name};
pub use target_form::{DnsName, ParsedTarget, TargetForm, parse_target, split_targets};
pub use topology::{DropReason, FoundNode, Role, Topology};

/// The settings of discovery, the same for every target.
#[derive(Clone, Debug)]
pub struct DiscoverySettings {
    /// The time between two discoveries of a target.
    pub interval: Duration,
    /// Maximum number of nodes of all targets together.
    pub max_nodes: usize,
    /// The roles of nodes that are watched.
    pub roles: RoleFilter,
    /// The time for which the nodes of a target are kept while its discovery fails.
    pub forget_after: Duration,
    /// Addresses to use in place of announced ones.
    pub address_map: AddressMap,
    /// The DNS server for names of targets; `None` for those of this machine.
    pub dns_server: Option<SocketAddr>,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            max_nodes: 256,
            roles: RoleFilter::All,
            forget_after: Duration::from_secs(300),
            address_map: AddressMap::default(),
            dns_server: None,
        }
    }
}

/// The roles of nodes that are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleFilter {
    /// All nodes.
    #[default]
    All,
    /// Primaries only.
    Primary,
    /// Replicas only.
    Replica,
}

impl RoleFilter {
    /// Returns true if a node with this role is watched. A node whose role is unknown is.
    fn permits(self, role: Option<Role>) -> bool {
        match (self, role) {
            (RoleFilter::All, _) | (_, None) => true,
            (RoleFilter::Primary, Some(role)) => role == Role::Primary,
            (RoleFilter::Replica, Some(role)) => role == Role::Replica,
        }
    }
}
