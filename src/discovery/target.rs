//! Targets: what the operator names. Each target leads to nodes, the servers to connect to. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{DnsName, TargetForm};
use crate::link::{Credentials, Endpoint, Node, NodeAddress, Origin, TlsOptions};
use crate::machine::Machine;

/// A target, as named on the command line or in a targets file.
#[derive(Clone, Debug)]
pub struct Target {
    /// The addresses as written, without scheme, user and password. Also a metric's label value.
    pub name: Arc<str>,
    /// The way in which its nodes are found.
    pub kind: TargetKind,
    /// The way in which its nodes are connected to.
    pub access: Access,
    /// Labels that the operator gave it.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// The way in which the nodes of a target are found.
#[derive(Clone, Debug)]
pub enum TargetKind {
    /// One server, which is the node.
    Server(Box<Node>),
    /// A cluster, of which some nodes are given.
    Cluster {
        /// The addresses to ask first.
        seeds: Vec<Endpoint>,
    },
    /// A primary with its replicas, which sentinels watch.
    Sentinel {
        /// The sentinels to ask first.
        sentinels: Vec<Endpoint>,
        /// The name of the primary on the sentinels.
        primary: Arc<str>,
    },
    /// A name in DNS, which leads to several servers.
    Dns(DnsName),
}

/// The way in which nodes are connected to.
#[derive(Clone, Debug)]
pub struct Access {
    /// The credentials; `None` for no `AUTH`.
    pub credentials: Option<Credentials>,
    /// The credentials for sentinels; `None` for no `AUTH`.
    pub sentinel_credentials: Option<Credentials>,
    /// The options for TLS.
    pub tls: TlsOptions,
    /// The time-out for connecting in total, and for each reply.
    pub timeout: Duration,
}

impl Access {
    /// The address of a server, with this access to it.
    pub fn to(&self, endpoint: Endpoint) -> NodeAddress {
        let Self { credentials, tls, timeout, .. } = self.clone();
        NodeAddress { endpoint, credentials, tls, timeout }
    }
}

impl Target {
    /// A target with the name that the operator gave the server or the cluster, if there is one.
    pub fn new(form: TargetForm, mut access: Access, name: Option<&str>, machine: &Machine) -> Self {
        let shown = form.to_string();
        let kind = match form {
            TargetForm::Server(endpoint) => {
                let address = access.to(endpoint);
                return Self::server(match name {
                    Some(name) => Node::named(name, address),
                    None => Node::on_machine(address, machine),
                });
            }
            TargetForm::Cluster(seeds) => TargetKind::Cluster { seeds },
            TargetForm::Sentinel { sentinels, primary } => TargetKind::Sentinel { sentinels, primary: primary.into() },
            TargetForm::Dns(dns) => {
                // The nodes are addresses, and certificates have names.
                if dns.port.is_some() && access.tls.server_name.is_none() {
                    access.tls.server_name = Some(dns.name.clone());
                }
                TargetKind::Dns(dns)
            }
        };
        let labels = name.map(|name| ("cluster".to_owned(), name.to_owned())).into_iter().collect();
        Self { name: shown.into(), kind, access, labels: Arc::new(labels) }
    }

    /// A target that is one server.
    pub fn server(mut node: Node) -> Self {
        let NodeAddress { endpoint, credentials, tls, timeout } = node.address.clone();
        let name: Arc<str> = endpoint.to_string().into();
        node.origin = Arc::new(Origin { target: Arc::clone(&name), ..Origin::default() });
        let access = Access { credentials, sentinel_credentials: None, tls, timeout };
        Self { name, kind: TargetKind::Server(Box::new(node)), access, labels: Arc::default() }
    }

    /// The same target with labels of the operator.
    #[must_use]
    pub fn with_labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = Arc::new(labels);
        let (target, cluster, labels) = (Arc::clone(&self.name), self.cluster(), Arc::clone(&self.labels));
        if let TargetKind::Server(node) = &mut self.kind {
            node.origin = Arc::new(Origin { target, cluster, labels, ..Origin::default() });
        }
        self
    }

    /// The node of a target that is one server.
    pub fn node(&self) -> Option<&Node> {
        match &self.kind {
            TargetKind::Server(node) => Some(node),
            TargetKind::Cluster { .. } | TargetKind::Sentinel { .. } | TargetKind::Dns(_) => None,
        }
    }

    /// The addresses that the target names; none for a name in DNS.
    pub fn endpoints(&self) -> &[Endpoint] {
        match &self.kind {
            TargetKind::Server(node) => std::slice::from_ref(&node.address.endpoint),
            TargetKind::Cluster { seeds } => seeds,
            TargetKind::Sentinel { sentinels, .. } => sentinels,
            TargetKind::Dns(_) => &[],
        }
    }

    /// Returns true if its servers are connected to with TLS.
    pub fn is_tls(&self) -> bool {
        match &self.kind {
            TargetKind::Dns(dns) => dns.tls,
            _ => self.endpoints().iter().any(Endpoint::is_tls),
        }
    }

    /// Returns true if another target leads to the same nodes, perhaps with other credentials or labels.
    pub(super) fn finds_same(&self, other: &Target) -> bool {
        let is_same_kind = match (&self.kind, &other.kind) {
            (TargetKind::Dns(one), TargetKind::Dns(other)) => one == other,
            (TargetKind::Sentinel { primary: one, .. }, TargetKind::Sentinel { primary: other, .. }) => one == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        };
        is_same_kind && self.endpoints() == other.endpoints()
    }

    /// Returns true if another target with this name is discovered in the same way.
    pub(super) fn is_same(&self, other: &Target) -> bool {
        // For any address: the access is the same.
        let any = || Endpoint::Unix(std::path::PathBuf::new());
        self.finds_same(other)
            && self.access.to(any()).is_same(&other.access.to(any()))
            && self.address_to_ask(any()).is_same(&other.address_to_ask(any()))
    }

    /// The address of a server that the target names, with the access to it.
    pub fn address_to_ask(&self, endpoint: Endpoint) -> NodeAddress {
        let address = self.access.to(endpoint);
        match self.kind {
            TargetKind::Server(_) | TargetKind::Cluster { .. } | TargetKind::Dns(_) => address,
            TargetKind::Sentinel { .. } => {
                NodeAddress { credentials: self.access.sentinel_credentials.clone(), ..address }
            }
        }
    }

    /// The name of the cluster that the target is; empty for one server.
    pub fn cluster(&self) -> Arc<str> {
        let given = self.labels.get("cluster").map(|name| name.as_str().into());
        given.unwrap_or_else(|| match &self.kind {
            TargetKind::Server(_) => Arc::default(),
            TargetKind::Cluster { .. } | TargetKind::Dns(_) => Arc::clone(&self.name),
            TargetKind::Sentinel { primary, .. } => Arc::clone(primary),
        })
    }
}

impl fmt::Display for Target {
    /// The addresses without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Maximum length of a name, in bytes. Every series has it as a label.
const MAX_NAME: usize = 128;

/// Checks the name that the operator gives a server or a cluster.
///
/// # Errors
/// A sentence without the name, which may hold a password.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.contains('@') || name.contains("://") {
        Err("an address is no name; example: billing".to_owned())
    } else if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        Err(format!("use at most {MAX_NAME} bytes, without control characters"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_target;
    use super::*;
    use crate::link::Password;

    #[test]
    fn credentials_of_a_group_are_for_the_data_nodes_and_its_sentinels_have_their_own() {
        let credentials = |user: &str| {
            let password = Password::Given("secret".into());
            Some(Credentials { user: Some(user.to_owned()), password })
        };
        let access = Access {
            credentials: credentials("data"),
            sentinel_credentials: credentials("watch"),
            tls: TlsOptions::default(),
            timeout: Duration::from_secs(1),
        };
        let machine = Machine { name: "m".to_owned(), is_container: false };
        let target =
            |text: &str, name| Target::new(parse_target(text).expect(text).form, access.clone(), name, &machine);
        let user = |address: NodeAddress| address.credentials.and_then(|credentials| credentials.user);
        let group = target("redis+sentinel://a,b/main", None);
        assert_eq!((&*group.name, &*group.cluster()), ("a:26379,b:26379/main", "main"));
        assert_eq!(user(group.address_to_ask(group.endpoints()[0].clone())).as_deref(), Some("watch"));
        assert_eq!(user(group.access.to(group.endpoints()[0].clone())).as_deref(), Some("data"));
        assert_eq!(&*target("redis+sentinel://a/main", Some("billing")).cluster(), "billing");
        let cluster = target("redis+cluster://a", None);
        assert_eq!(user(cluster.address_to_ask(cluster.endpoints()[0].clone())).as_deref(), Some("data"));
    }

    #[test]
    fn the_certificates_of_addresses_have_the_name_that_led_to_them() {
        let machine = Machine { name: "m".to_owned(), is_container: false };
        let server_name = |text: &str, given: Option<&str>| {
            let tls = TlsOptions { server_name: given.map(str::to_owned), ..TlsOptions::default() };
            let timeout = Duration::from_secs(1);
            let access = Access { credentials: None, sentinel_credentials: None, tls, timeout };
            let target = Target::new(parse_target(text).expect(text).form, access, None, &machine);
            assert!(target.is_tls() && target.is_same(&target.clone()));
            target.access.tls.server_name
        };
        assert_eq!(server_name("rediss+dns://redis.example:6379", None).as_deref(), Some("redis.example"));
        assert_eq!(server_name("rediss+dns://redis.example:6379", Some("x")).as_deref(), Some("x"));
        assert_eq!(server_name("rediss+srv://redis.example", None), None, "its records have names");
    }
}
