//! Nodes as a server announces them, with addresses that lead to them from here. Pure.

use std::sync::Arc;

use super::address_map::{AddressMap, endpoint};
use super::topology::usable_host;
use super::{DropReason, FoundNode, Topology};
use crate::link::Endpoint;
use crate::text::label_value;

/// The view of the server that was asked.
pub(super) struct View<'a> {
    /// The host that was asked.
    pub(super) asked: &'a str,
    /// True if nodes are connected to with TLS.
    pub(super) tls: bool,
    /// The operator's addresses in place of announced ones.
    pub(super) map: &'a AddressMap,
}

impl View<'_> {
    /// Adds a node with the address that the server announces, unless that cannot be used. The endpoint of `found` is
    /// replaced.
    pub(super) fn add(&self, host: &str, port: Option<u16>, found: FoundNode, topology: &mut Topology) {
        match self.endpoint(host, port) {
            Ok(endpoint) => topology.add(FoundNode { endpoint, ..found }),
            Err(reason) => {
                let identity = if found.node_id.is_empty() { host } else { &found.node_id };
                topology.drop_node(identity, reason);
            }
        }
    }

    /// The endpoint at which an announced address is reached.
    ///
    /// # Errors
    /// The reason why the address is not used.
    pub(super) fn endpoint(&self, host: &str, port: Option<u16>) -> Result<Endpoint, DropReason> {
        let port = port.filter(|port| *port > 0).ok_or(DropReason::NoAddress)?;
        let address = match self.map.mapped(host, port) {
            // The operator names it, so it is not checked.
            Some(mapped) => mapped,
            None => (usable_host(host, self.asked)?, port),
        };
        Ok(endpoint(address, self.tls))
    }
}

/// A text of a server, bounded.
pub(super) fn label(text: &[u8]) -> Arc<str> {
    label_value(text).into()
}
