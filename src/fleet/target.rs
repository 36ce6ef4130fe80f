//! Targets: what the operator names. Each target leads to nodes, the servers to connect to. Pure.

use std::fmt;

use crate::link::{Node, NodeAddress};

/// A target, as named on the command line.
#[derive(Clone, Debug)]
pub enum Target {
    /// One server.
    Server(NodeAddress),
}

impl Target {
    /// The addresses that the target names.
    pub fn addresses(&self) -> impl Iterator<Item = &NodeAddress> {
        match self {
            Target::Server(address) => std::iter::once(address),
        }
    }

    /// The nodes of the target.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        match self {
            Target::Server(address) => std::iter::once(Node::from(address.clone())),
        }
    }
}

impl fmt::Display for Target {
    /// The address without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Server(address) => address.endpoint.fmt(f),
        }
    }
}
