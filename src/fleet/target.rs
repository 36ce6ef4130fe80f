//! Targets: what the operator names. Each target leads to nodes, the servers to connect to. Pure.

use std::fmt;

use crate::link::{Node, NodeAddress};

/// A target, as named on the command line.
#[derive(Clone, Debug)]
pub enum Target {
    /// One server.
    Server(Node),
}

impl Target {
    /// The addresses that the target names.
    pub fn addresses(&self) -> impl Iterator<Item = &NodeAddress> {
        match self {
            Target::Server(node) => std::iter::once(&node.address),
        }
    }

    /// The nodes of the target.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        match self {
            Target::Server(node) => std::iter::once(node.clone()),
        }
    }
}

impl fmt::Display for Target {
    /// The address without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Server(node) => node.address.endpoint.fmt(f),
        }
    }
}
