//! The network that a client connects from.

use std::net::IpAddr;

use ipnet::IpNet;

use super::grouping::ip_address;
use super::limits::NetworkPrefix;
use crate::client_list::{Address, Client};
use crate::text::UNIX;

/// The network that a client connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    /// The addresses with a common prefix.
    Inet(IpNet),
    /// The server's unix socket.
    Unix,
}

impl Network {
    /// The network of a client; `None` if its address is unknown.
    pub(super) fn of(client: &Client<'_>, prefix: NetworkPrefix) -> Option<Self> {
        if let Some(address) = ip_address(client) {
            let bits = match address {
                IpAddr::V4(_) => prefix.v4,
                IpAddr::V6(_) => prefix.v6,
            };
            return IpNet::new(address, bits).ok().map(|network| Self::Inet(network.trunc()));
        }
        matches!(client.address()?, Address::Unix(_)).then_some(Self::Unix)
    }

    /// The network as a label value: `10.0.3.0/24`, `(unix)`.
    pub(super) fn label(self) -> String {
        match self {
            Self::Inet(network) => network.to_string(),
            Self::Unix => UNIX.to_owned(),
        }
    }
}

/// The network of a client as a label value; `None` if its address is unknown.
pub fn network_label(client: &Client<'_>, prefix: NetworkPrefix) -> Option<String> {
    Network::of(client, prefix).map(Network::label)
}
