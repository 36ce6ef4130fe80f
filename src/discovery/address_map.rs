//! Addresses to use in place of announced ones: for servers behind a translation of addresses (NAT). Pure.

use std::collections::BTreeMap;

use crate::link::Endpoint;

/// Announced addresses, and those to connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressMap {
    /// By host and port.
    endpoints: BTreeMap<(String, u16), (String, u16)>,
    /// By host; the port stays.
    hosts: BTreeMap<String, String>,
}

impl AddressMap {
    /// Reads entries of the form `FROM=TO`, in which both are `host:port`, or both are a host.
    ///
    /// # Errors
    /// A sentence about the first invalid entry.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut map = Self::default();
        for entry in entries {
            let invalid = || {
                format!("{entry} is not FROM=TO; examples: 172.18.0.2:6379=203.0.113.7:7001, 172.18.0.2=203.0.113.7")
            };
            let (from, to) = entry.split_once('=').ok_or_else(invalid)?;
            match (address(from), address(to)) {
                (Some((from, Some(port))), Some((to, Some(to_port)))) => {
                    map.endpoints.insert((from, port), (to, to_port));
                }
                (Some((from, None)), Some((to, None))) => {
                    map.hosts.insert(from, to);
                }
                _ => return Err(invalid()),
            }
        }
        Ok(map)
    }

    /// The address to connect to for an announced one; `None` if there is no entry for it.
    pub fn mapped(&self, host: &str, port: u16) -> Option<(String, u16)> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let endpoint = self.endpoints.get(&(host.clone(), port)).cloned();
        endpoint.or_else(|| self.hosts.get(&host).map(|to| (to.clone(), port)))
    }
}

/// A host, and its port if there is one.
fn address(text: &str) -> Option<(String, Option<u16>)> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::Ipv6Addr>() {
        return Some((address.to_string(), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (text.as_str(), None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_host = !host.is_empty() && !host.contains(['/', '@', ' ', '[', ']']);
    is_host.then(|| (host.to_owned(), port))
}

/// The endpoint of a mapped address.
pub(super) fn endpoint((host, port): (String, u16), tls: bool) -> Endpoint {
    Endpoint::Tcp { host, port, tls }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_mapped_with_its_port_or_by_its_host() {
        let entries =
            ["172.18.0.2:6379=203.0.113.7:7001", "172.18.0.3=node-3.example", "[fd00::2]:1=[::1]:2", "fd00::3=::1"];
        let map = AddressMap::parse(entries).expect("valid entries");
        for (host, port, expected) in [
            ("172.18.0.2", 6379, Some(("203.0.113.7", 7001))),
            ("172.18.0.2", 6380, None),
            ("172.18.0.3", 6380, Some(("node-3.example", 6380))),
            ("fd00::2", 1, Some(("::1", 2))),
            ("FD00::3", 9, Some(("::1", 9))),
            ("10.0.0.1", 1, None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(map.mapped(host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn an_invalid_entry_is_quoted_with_an_example() {
        for entry in ["a", "a=b:1", "a:1=b", "a:x=b:1", "=b", "a:0=b:1", "redis://a:1=b:1", "a:1="] {
            assert!(AddressMap::parse([entry]).is_err_and(|error| error.contains(entry) && error.contains("FROM=TO")));
        }
    }
}
