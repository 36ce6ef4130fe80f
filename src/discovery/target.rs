//! Targets: what the operator names. Each target leads to nodes, the servers to connect to. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::link::{Credentials, Endpoint, Node, NodeAddress, Origin, TlsOptions, parse_address};
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
}

/// The way in which nodes are connected to.
#[derive(Clone, Debug)]
pub struct Access {
    /// The credentials; `None` for no `AUTH`.
    pub credentials: Option<Credentials>,
    /// The options for TLS.
    pub tls: TlsOptions,
    /// The time-out for connecting in total, and for each reply.
    pub timeout: Duration,
}

impl Access {
    /// The address of a server, with this access to it.
    pub fn to(&self, endpoint: Endpoint) -> NodeAddress {
        let Self { credentials, tls, timeout } = self.clone();
        NodeAddress { endpoint, credentials, tls, timeout }
    }
}

impl Target {
    /// A target with the name that the operator gave the server or the cluster, if there is one.
    pub fn new(form: TargetForm, access: Access, name: Option<&str>, machine: &Machine) -> Self {
        let seeds = match form {
            TargetForm::Server(endpoint) => {
                let address = access.to(endpoint);
                return Self::server(match name {
                    Some(name) => Node::named(name, address),
                    None => Node::on_machine(address, machine),
                });
            }
            TargetForm::Cluster(seeds) => seeds,
        };
        let shown: Vec<_> = seeds.iter().map(Endpoint::to_string).collect();
        let labels = name.map(|name| ("cluster".to_owned(), name.to_owned())).into_iter().collect();
        let kind = TargetKind::Cluster { seeds };
        Self { name: shown.join(",").into(), kind, access, labels: Arc::new(labels) }
    }

    /// A target that is one server.
    pub fn server(mut node: Node) -> Self {
        let NodeAddress { endpoint, credentials, tls, timeout } = node.address.clone();
        let name: Arc<str> = endpoint.to_string().into();
        node.origin = Arc::new(Origin { target: Arc::clone(&name), ..Origin::default() });
        let access = Access { credentials, tls, timeout };
        Self { name, kind: TargetKind::Server(Box::new(node)), access, labels: Arc::default() }
    }

    /// The node of a target that is one server.
    pub fn node(&self) -> Option<&Node> {
        match &self.kind {
            TargetKind::Server(node) => Some(node),
            TargetKind::Cluster { .. } => None,
        }
    }

    /// The addresses that the target names.
    pub fn endpoints(&self) -> &[Endpoint] {
        match &self.kind {
            TargetKind::Server(node) => std::slice::from_ref(&node.address.endpoint),
            TargetKind::Cluster { seeds } => seeds,
        }
    }

    /// The name of the cluster that the target is; empty for one server.
    pub fn cluster(&self) -> Arc<str> {
        let given = self.labels.get("cluster").map(|name| name.as_str().into());
        given.unwrap_or_else(|| match &self.kind {
            TargetKind::Server(_) => Arc::default(),
            TargetKind::Cluster { .. } => Arc::clone(&self.name),
        })
    }
}

impl fmt::Display for Target {
    /// The addresses without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The parts of a target given by the operator.
#[derive(Debug)]
pub struct ParsedTarget {
    /// The kind of target, and its addresses.
    pub form: TargetForm,
    /// The user in it.
    pub user: Option<String>,
    /// The password in it.
    pub password: Option<SecretString>,
}

/// The kind of a parsed target, and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// One server.
    Server(Endpoint),
    /// Some nodes of a cluster.
    Cluster(Vec<Endpoint>),
}

impl TargetForm {
    /// The addresses that it names.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            TargetForm::Server(endpoint) => std::slice::from_ref(endpoint),
            TargetForm::Cluster(seeds) => seeds,
        }
    }
}

/// Maximum number of addresses in one target.
const MAX_SEEDS: usize = 32;

/// Parses a target: an address ([`parse_address`]), or `redis+cluster://a:6379,b:6379`. The scheme before the `+` is
/// one of those of an address.
///
/// # Errors
/// A sentence with the fault, without any part of the text that may be secret.
pub fn parse_target(text: &str) -> Result<ParsedTarget, String> {
    let composite = text.split_once("://").and_then(|(scheme, rest)| Some((scheme.rsplit_once('+')?, rest)));
    let Some(((scheme, kind), rest)) = composite else {
        let address = parse_address(text)?;
        let form = TargetForm::Server(address.endpoint);
        return Ok(ParsedTarget { form, user: address.user, password: address.password });
    };
    match kind.to_ascii_lowercase().as_str() {
        "cluster" => {
            let (seeds, user, password) = seeds(scheme, rest)?;
            Ok(ParsedTarget { form: TargetForm::Cluster(seeds), user, password })
        }
        _ => Err("unknown scheme; for a cluster, use redis+cluster://, or rediss+cluster:// for TLS".to_owned()),
    }
}

/// Addresses with the user and the password for all of them.
type Seeds = (Vec<Endpoint>, Option<String>, Option<SecretString>);

/// The addresses of a list, which all have the scheme and the credentials before it.
fn seeds(scheme: &str, rest: &str) -> Result<Seeds, String> {
    let (login, hosts) = match rest.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), rest),
    };
    // A database is accepted and ignored, as in the address of a server.
    let (hosts, path) = hosts.split_once('/').unwrap_or((hosts, ""));
    if !path.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("unexpected text after the addresses; write / ? # in a password as %2F %3F %23".to_owned());
    }
    let (mut seeds, mut user, mut password) = (Vec::new(), None, None);
    for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        let address = parse_address(&format!("{scheme}://{login}{host}"))?;
        if matches!(address.endpoint, Endpoint::Unix(_)) {
            return Err("the address of a cluster is a host; example: redis+cluster://10.0.0.1:6379".to_owned());
        }
        (user, password) = (address.user, address.password);
        if !seeds.contains(&address.endpoint) {
            seeds.push(address.endpoint);
        }
    }
    match seeds.len() {
        0 => Err("the host is missing; example: redis+cluster://10.0.0.1:6379,10.0.0.2:6379".to_owned()),
        1..=MAX_SEEDS => Ok((seeds, user, password)),
        _ => Err(format!("more than {MAX_SEEDS} addresses; a cluster is found from a few of its nodes")),
    }
}

/// Separates targets at commas and spaces. The addresses of a cluster are separated by commas, too: an address without
/// a scheme that follows one of a cluster after a comma belongs to it. The path of a unix socket may have spaces, so it
/// ends only at a comma, or before a further scheme.
pub fn split_targets(text: &str) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for spaced in text.split(',').map(str::trim).enumerate() {
        let (place, part) = spaced;
        for (number, address) in separated(part).into_iter().enumerate() {
            let continues = place > 0 && number == 0 && !address.contains("://") && !address.starts_with('/');
            match targets.last_mut() {
                Some(last) if continues && is_composite(last) => {
                    last.push(',');
                    last.push_str(address);
                }
                _ => targets.push(address.to_owned()),
            }
        }
    }
    targets
}

fn is_composite(target: &str) -> bool {
    target.split_once("://").is_some_and(|(scheme, _)| scheme.contains('+'))
}

/// Separates addresses at spaces.
fn separated(element: &str) -> Vec<&str> {
    let is_unix = |address: &str| address.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("unix://"));
    let is_path = |address: &str| is_unix(address) || address.starts_with('/');
    let (mut addresses, mut rest) = (Vec::new(), element.trim());
    while !rest.is_empty() {
        let mut spaces = rest.match_indices(char::is_whitespace).map(|(at, _)| at);
        let end = spaces.find(|&at| {
            let next = rest[at..].trim_start().split(char::is_whitespace).next().unwrap_or_default();
            !is_path(rest) || next.contains("://")
        });
        let (address, further) = rest.split_at(end.unwrap_or(rest.len()));
        addresses.push(address.trim_end());
        rest = further.trim_start();
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_separated_by_commas_and_spaces_but_clusters_and_paths_keep_theirs() {
        for (text, expected) in [
            (" a:1  b:2\tredis://c ", &["a:1", "b:2", "redis://c"][..]),
            ("a,b, c,,", &["a", "b", "c"]),
            ("unix:///tmp/redis sock/a b.sock", &["unix:///tmp/redis sock/a b.sock"]),
            ("/tmp/a b.sock  unix:///c d redis://e f", &["/tmp/a b.sock", "unix:///c d", "redis://e", "f"]),
            ("redis+cluster://a,b:1,c", &["redis+cluster://a,b:1,c"]),
            ("redis+cluster://a,b c", &["redis+cluster://a,b", "c"]),
            ("x,rediss+cluster://a, b,redis://c,d,/e", &["x", "rediss+cluster://a,b", "redis://c", "d", "/e"]),
            ("redis+cluster://:s@a,b", &["redis+cluster://:s@a,b"]),
            ("   ", &[]),
        ] {
            assert_eq!(split_targets(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cluster_is_read_with_its_credentials_and_scheme() {
        let target = parse_target("valkeys+cluster://me:s%40cret@a,[::1]:7001,a/0").expect("a cluster");
        let TargetForm::Cluster(seeds) = &target.form else { panic!("a cluster") };
        assert_eq!(seeds.iter().map(Endpoint::to_string).collect::<Vec<_>>(), ["a:6379", "[::1]:7001"]);
        assert!(seeds.iter().all(Endpoint::is_tls) && target.user.as_deref() == Some("me"));
        for (text, fix) in [
            ("redis+cluster://", "10.0.0.2:6379"),
            ("redis+cluster://me:hush@", "10.0.0.2:6379"),
            ("unix+cluster:///hush.sock", "unexpected text"),
            ("redis+hush://a", "redis+cluster://"),
            ("redis+cluster://me:hu/sh@a", "%2F"),
            ("redis+cluster://a/hush", "%2F"),
            ("redis+cluster://a:99999", "invalid address"),
        ] {
            let error = parse_target(text).expect_err(text);
            assert!(error.contains(fix) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
