//! Nodes: a server with its name, which must name one server in the whole monitoring system. Pure.

use std::fmt;
use std::sync::Arc;

use url::Host;

use super::address::{Endpoint, NodeAddress, parse_address};
use super::admission::Admission;
use super::dials::Dials;
use super::origin::Origin;
use crate::machine::Machine;
use crate::memory::{MemoryLimit, MemoryShare};

/// One server: its name in outputs, and how to connect to it.
#[derive(Clone, Debug)]
pub struct Node {
    /// The label `redis`, and the name in messages. It holds no secret.
    pub name: Arc<str>,
    /// The address to connect to.
    pub address: NodeAddress,
    /// The target that led to it.
    pub origin: Arc<Origin>,
    /// True if servers of other machines may have the same name: it is a local address.
    pub is_ambiguous: bool,
    /// The order of its links, shared by all copies.
    pub admission: Arc<Admission>,
    /// The connections that this process opened to it, counted over all copies.
    pub dials: Arc<Dials>,
    /// Its part of the memory for replies, shared by all copies.
    pub memory: Arc<MemoryShare>,
}

impl Node {
    /// A node with a name that the operator chose.
    pub fn named(name: &str, address: NodeAddress) -> Self {
        let memory = MemoryLimit::of_process().share();
        Self {
            name: name.into(),
            address,
            origin: Arc::default(),
            is_ambiguous: false,
            admission: Arc::default(),
            dials: Arc::default(),
            memory,
        }
    }

    /// A node that is named by its address. An address on this machine (loopback, a unix socket) is the same on every
    /// machine, so the name begins with that of the host. A container's host name changes with each new container, so
    /// there the address stays, and the name is ambiguous.
    pub fn on_machine(address: NodeAddress, machine: &Machine) -> Self {
        match address.endpoint.local_part() {
            Some(part) if !machine.is_container && !machine.name.is_empty() => {
                Self::named(&format!("{}:{part}", machine.name), address)
            }
            local => Self { is_ambiguous: local.is_some(), ..Self::from(address) },
        }
    }

    /// The warning about an ambiguous name.
    pub fn name_warning(&self) -> Option<String> {
        self.is_ambiguous.then(|| {
            format!(
                "{}: this name is an address on this machine, so servers of other machines have the same name, and \
                boards and alerts take them for one; set --redis.name (REDIS_NAME)",
                self.name
            )
        })
    }

    /// The address as a part of an error about it; empty if the name shows it.
    pub(super) fn at(&self) -> At<'_> {
        At(Some(&self.address.endpoint).filter(|endpoint| endpoint.to_string() != *self.name))
    }
}

impl From<NodeAddress> for Node {
    /// A node that is named by its address, without user and password.
    fn from(address: NodeAddress) -> Self {
        Self::named(&address.endpoint.to_string(), address)
    }
}

/// An address, written as ` at 127.0.0.1:6379`.
pub(super) struct At<'a>(Option<&'a Endpoint>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |endpoint| write!(f, " at {endpoint}"))
    }
}

impl Endpoint {
    /// The part of an address on this machine that differs from that of others: the port, or the path of the socket.
    /// `None` for an address that names another machine.
    pub fn local_part(&self) -> Option<String> {
        match self {
            Endpoint::Tcp { host, port, .. } => is_this_machine(host).then(|| port.to_string()),
            Endpoint::Unix(path) => Some(path.display().to_string()),
        }
    }

    /// Returns true if a text is a way to write this address, with or without scheme, user, password and database. TLS
    /// makes no difference, as a port has either.
    pub fn is_written_as(&self, text: &str) -> bool {
        parse_address(text).is_ok_and(|parsed| parsed.endpoint.key() == self.key())
    }

    /// A text that all ways to write the address have in common.
    pub fn key(&self) -> String {
        match (self, self.local_part()) {
            (Endpoint::Unix(path), _) => path.display().to_string(),
            (Endpoint::Tcp { .. }, Some(port)) => format!("localhost:{port}"),
            (Endpoint::Tcp { .. }, None) => self.to_string().to_ascii_lowercase(),
        }
    }
}

/// Names that lead to this machine on every machine, beside the domain `localhost` (RFC 6761).
const LOCAL_NAMES: [&str; 5] = ["localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"];

/// True if a host is this machine, wherever the program runs: a loopback address in any form that the resolver reads
/// (`127.1`, `0x7f000001`), the unspecified address, or a name of it.
fn is_this_machine(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") || LOCAL_NAMES.contains(&&*name) {
        return true;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { name };
    let address = match Host::parse(&host) {
        Ok(Host::Ipv4(address)) => address.into(),
        Ok(Host::Ipv6(address)) => address.to_canonical(),
        Ok(Host::Domain(_)) | Err(_) => return false,
    };
    address.is_loopback() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::link::TlsOptions;

    fn address(text: &str) -> NodeAddress {
        let endpoint = parse_address(text).expect(text).endpoint;
        NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout: Duration::from_secs(1) }
    }

    fn machine(name: &str) -> Machine {
        Machine { name: name.to_owned(), is_container: false }
    }

    /// Two hosts with the shipped defaults were one node to Prometheus.
    #[test]
    fn a_local_server_is_named_by_its_host_and_others_by_their_address() {
        for (text, expected) in [
            ("redis://127.0.0.1:6379", "db-1:6379"),
            ("127.8.8.8:7000", "db-1:7000"),
            ("localhost:7001", "db-1:7001"),
            ("rediss://LOCALHOST.:7001", "db-1:7001"),
            ("cache.localhost", "db-1:6379"),
            ("localhost.localdomain", "db-1:6379"),
            ("ip6-localhost", "db-1:6379"),
            ("[::1]:7002", "db-1:7002"),
            ("::1", "db-1:6379"),
            ("[::ffff:127.0.0.1]:7003", "db-1:7003"),
            ("127.1:7004", "db-1:7004"),
            ("0x7f000001:7004", "db-1:7004"),
            ("2130706433", "db-1:6379"),
            ("0.0.0.0:7005", "db-1:7005"),
            ("[::]:7006", "db-1:7006"),
            ("unix:///run/redis/a b.sock", "db-1:/run/redis/a b.sock"),
            ("/run/redis.sock", "db-1:/run/redis.sock"),
            ("10.0.0.5:6379", "10.0.0.5:6379"),
            ("redis://user:secret@cache.example", "cache.example:6379"),
            ("localhost.example:6379", "localhost.example:6379"),
            ("mylocalhost:6379", "mylocalhost:6379"),
            ("128.0.0.1:6379", "128.0.0.1:6379"),
            ("[2001:db8::1]:6379", "[2001:db8::1]:6379"),
        ] {
            let node = Node::on_machine(address(text), &machine("db-1"));
            assert_eq!((&*node.name, node.is_ambiguous), (expected, false), "{text}");
        }
        let names =
            ["db-1", "db-2"].map(|host| Node::on_machine(address("redis://127.0.0.1:6379"), &machine(host)).name);
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn in_a_container_and_on_a_host_without_a_name_the_address_stays_and_is_ambiguous() {
        let container = Machine { name: "6f1d0c9a7b21".to_owned(), is_container: true };
        for host in [&container, &machine("")] {
            for (text, name) in [("127.0.0.1", "127.0.0.1:6379"), ("localhost:7000", "localhost:7000"), ("/a", "/a")] {
                let node = Node::on_machine(address(text), host);
                assert_eq!((&*node.name, node.is_ambiguous), (name, true));
                assert!(node.name_warning().is_some_and(|warning| warning.contains("REDIS_NAME")));
            }
            let node = Node::on_machine(address("redis:6379"), host);
            assert_eq!((&*node.name, node.name_warning()), ("redis:6379", None));
        }
        assert_eq!(Node::named("billing", address("127.0.0.1")).name_warning(), None);
    }

    #[test]
    fn an_address_is_found_however_it_is_written() {
        let is_written_as = |one: &str, other: &str| address(one).endpoint.is_written_as(other);
        for (one, other) in [
            ("127.0.0.1:6379", "localhost"),
            ("localhost:6379", "redis://127.0.0.1:6379/3"),
            ("127.0.0.1", "[::1]:6379"),
            ("rediss://Cache.example", "cache.example:6379"),
            ("10.0.0.5", "redis://user:secret@10.0.0.5:6379"),
            ("unix:///run/a.sock", "/run/a.sock"),
        ] {
            assert!(is_written_as(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:6379", "127.0.0.1:6380"),
            ("10.0.0.5", "10.0.0.6"),
            ("/run/a.sock", "/run/A.sock"),
            ("127.0.0.1", ""),
            ("127.0.0.1", "http://127.0.0.1:6379"),
        ] {
            assert!(!is_written_as(one, other), "{one} {other}");
        }
    }

    #[test]
    fn an_error_shows_the_address_that_a_name_hides() {
        let named = Node::named("billing", address("10.0.0.5"));
        assert_eq!(named.at().to_string(), " at 10.0.0.5:6379");
        assert_eq!(Node::from(address("10.0.0.5")).at().to_string(), "");
    }
}
