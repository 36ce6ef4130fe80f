//! Conditions on addresses: with and without a port, networks, prefixes, unix sockets.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::client_list::Address;

/// A condition on an address.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AddressCondition {
    /// As it was written. An address that is shown as this text always matches: `fd00::1:5` can be read in two ways.
    text: String,
    pattern: AddressPattern,
    /// True if the addresses of the column have a port.
    has_port: bool,
}

/// A pattern for addresses.
#[derive(Clone, Debug, PartialEq)]
enum AddressPattern {
    /// The beginning of addresses, without a bracket.
    StartsWith(String),
    Socket(SocketAddr),
    Host(IpAddr),
    Network(IpNet),
    /// The path of a unix socket, or one of our group names such as `(unix)`.
    Text(String),
}

pub(super) fn address(value: &str, has_port: bool) -> Result<AddressCondition, String> {
    Ok(AddressCondition { text: value.to_owned(), pattern: address_pattern(value, has_port)?, has_port })
}

fn has_port_number(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn address_pattern(value: &str, has_port: bool) -> Result<AddressPattern, String> {
    // A prefix of addresses: `10.0.`, `10.0.*`, `fd00:*`.
    let begins = value.strip_suffix('*').or_else(|| value.ends_with(['.', ':']).then_some(value));
    if let Some(begin) = begins.filter(|_| !value.starts_with('/') && value.parse::<IpAddr>().is_err()) {
        return Ok(AddressPattern::StartsWith(begin.trim_start_matches('[').to_ascii_lowercase()));
    }
    let pattern = if let Ok(ip) = value.trim_matches(['[', ']']).parse::<IpAddr>() {
        AddressPattern::Host(ip.to_canonical())
    } else if let Ok(network) = value.parse::<IpNet>() {
        AddressPattern::Network(canonical_network(network.trunc()))
    } else if let (Address::Inet(socket), true) = (Address::parse(value.as_bytes()), has_port) {
        AddressPattern::Socket(canonical(socket))
    } else if value.starts_with(['/', '(', '[', '?']) || has_port && has_port_number(value) {
        // Also what a server prints and this program cannot parse: `10.10.xx.138:38638`.
        AddressPattern::Text(value.to_owned())
    } else {
        return Err(format!(
            "{value:?} is not an address; write 10.0.0.5, 10.0.0.5:6379, 10.0.0.0/8, 10.0.* or the path of a unix \
             socket"
        ));
    };
    Ok(pattern)
}

fn canonical(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip().to_canonical(), socket.port())
}

/// The network of IPv4 addresses, if one of IPv4 addresses that are written as IPv6.
fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let prefix = mapped.prefix_len().checked_sub(96);
    let inner = mapped.addr().to_ipv4_mapped().zip(prefix).and_then(|(ip, prefix)| Ipv4Net::new(ip, prefix).ok());
    inner.map_or(network, IpNet::V4)
}

impl AddressCondition {
    pub(super) fn matches(&self, text: &str) -> bool {
        self.text == text || self.pattern.matches(text, self.has_port)
    }
}

impl AddressPattern {
    fn matches(&self, text: &str, has_port: bool) -> bool {
        let socket = match Address::parse(text.as_bytes()) {
            Address::Inet(socket) if has_port => Some(canonical(socket)),
            Address::Unix(path) => return self.is_text(text) || self.is_text(&String::from_utf8_lossy(path)),
            Address::Inet(_) | Address::Unknown(_) => None,
        };
        let ip = socket.map(|socket| socket.ip()).or_else(|| text.parse().ok()).map(|ip: IpAddr| ip.to_canonical());
        let network = text.parse::<IpNet>().ok();
        match (self, ip, network) {
            // As it is reported, and an IPv4 address also if it is written as IPv6.
            (AddressPattern::StartsWith(begin), ..) => {
                let begins = |text: &str| text.trim_start_matches('[').starts_with(begin.as_str());
                begins(text) || socket.is_some_and(|socket| begins(&socket.to_string()))
            }
            (AddressPattern::Socket(other), ..) => socket == Some(*other),
            (AddressPattern::Host(other), Some(ip), _) => ip == *other,
            (AddressPattern::Host(other), _, Some(network)) => network.contains(other),
            (AddressPattern::Network(other), Some(ip), _) => other.contains(&ip),
            (AddressPattern::Network(other), _, Some(network)) => other.contains(&network),
            _ => self.is_text(text),
        }
    }

    fn is_text(&self, text: &str) -> bool {
        matches!(self, AddressPattern::Text(other) if other == text)
    }
}
