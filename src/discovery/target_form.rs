//! The text of a target, as the operator writes it: one server, or a list of addresses or a name that leads to several.
//! Pure.

use std::fmt;

use secrecy::SecretString;

use crate::link::{Endpoint, parse_address, parse_address_with_port};

/// A name in DNS, which leads to several servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName {
    /// The name.
    pub name: String,
    /// The port of all servers, whose addresses are asked for; `None` to ask for SRV records, which have ports.
    pub port: Option<u16>,
    /// True if the servers are connected to with TLS.
    pub tls: bool,
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
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
    /// A primary with its replicas.
    Sentinel {
        /// Some sentinels that watch it.
        sentinels: Vec<Endpoint>,
        /// Its name on the sentinels.
        primary: String,
    },
    /// A name in DNS.
    Dns(DnsName),
}

impl TargetForm {
    /// Returns true if a server is connected to by TCP without TLS.
    pub fn is_plain_tcp(&self) -> bool {
        let is_plain = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp { tls: false, .. });
        match self {
            TargetForm::Server(endpoint) => is_plain(endpoint),
            TargetForm::Cluster(seeds) => seeds.iter().any(is_plain),
            TargetForm::Sentinel { sentinels, .. } => sentinels.iter().any(is_plain),
            TargetForm::Dns(dns) => !dns.tls,
        }
    }
}

impl fmt::Display for TargetForm {
    /// The addresses without scheme, user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |endpoints: &[Endpoint]| endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(",");
        match self {
            TargetForm::Server(endpoint) => write!(f, "{endpoint}"),
            TargetForm::Cluster(seeds) => f.write_str(&list(seeds)),
            TargetForm::Sentinel { sentinels, primary } => write!(f, "{}/{primary}", list(sentinels)),
            TargetForm::Dns(dns) => write!(f, "{dns}"),
        }
    }
}

/// Maximum number of addresses in one target.
const MAX_SEEDS: usize = 32;

/// Parses a target: an address ([`parse_address`]), `redis+cluster://a:6379,b:6379`,
/// `redis+sentinel://a:26379,b:26379/mymaster`, `redis+srv://name`, or `redis+dns://name:6379`. The scheme before the
/// `+` is one of those of an address.
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
            let parts = AddressList::of(rest);
            // A database is accepted and ignored, as in the address of a server.
            if !is_database(parts.path) {
                return Err("unexpected text after the addresses; write / ? # in a password as %2F %3F %23".to_owned());
            }
            let (seeds, user, password) =
                seeds(scheme, &parts, DEFAULT_PORT, "redis+cluster://10.0.0.1:6379,10.0.0.2:6379")?;
            Ok(ParsedTarget { form: TargetForm::Cluster(seeds), user, password })
        }
        "sentinel" => sentinel_group(scheme, &AddressList::of(rest)),
        "dns" => dns_name(scheme, &AddressList::of(rest), true),
        "srv" => dns_name(scheme, &AddressList::of(rest), false),
        _ => Err("unknown scheme; a cluster is redis+cluster://10.0.0.1:6379, a Sentinel group \
            redis+sentinel://10.0.0.1:26379/mymaster, a name with several addresses redis+dns://NAME:6379, one with \
            SRV records redis+srv://NAME; with TLS, they begin with rediss+"
            .to_owned()),
    }
}

/// The port of a server without one.
const DEFAULT_PORT: u16 = 6379;

/// The port of a sentinel without one.
const SENTINEL_PORT: u16 = 26379;

/// The parts of a target that names several servers.
struct AddressList<'a> {
    /// User and password with the `@` after them; empty if there are none.
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
}

impl<'a> AddressList<'a> {
    fn of(text: &'a str) -> Self {
        let (login, rest) = text.split_at(text.rfind('@').map_or(0, |at| at + 1));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self { login, hosts, path }
    }
}

fn is_database(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_digit())
}

/// Addresses with the user and the password for all of them.
type Seeds = (Vec<Endpoint>, Option<String>, Option<SecretString>);

/// The addresses of a list, which all have the scheme and the credentials before it.
fn seeds(scheme: &str, parts: &AddressList<'_>, default_port: u16, example: &str) -> Result<Seeds, String> {
    let (mut seeds, mut user, mut password) = (Vec::new(), None, None);
    for host in parts.hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        let address = parse_address_with_port(&format!("{scheme}://{}{host}", parts.login), default_port)?;
        if matches!(address.endpoint, Endpoint::Unix(_)) {
            return Err(format!("a unix socket cannot be given here; example: {example}"));
        }
        (user, password) = (address.user, address.password);
        if !seeds.contains(&address.endpoint) {
            seeds.push(address.endpoint);
        }
    }
    match seeds.len() {
        0 => Err(format!("the host is missing; example: {example}")),
        1..=MAX_SEEDS => Ok((seeds, user, password)),
        _ => Err(format!("more than {MAX_SEEDS} addresses; all nodes are found from a few")),
    }
}

/// A Sentinel group. Its user and password are for the data nodes, as those in other addresses are.
fn sentinel_group(scheme: &str, parts: &AddressList<'_>) -> Result<ParsedTarget, String> {
    const EXAMPLE: &str = "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster";
    let (sentinels, user, password) = seeds(scheme, parts, SENTINEL_PORT, EXAMPLE)?;
    let (primary, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if primary.is_empty() {
        return Err(format!("the name of the primary, as the sentinels have it, is missing; example: {EXAMPLE}"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'%');
    let decoded = percent_encoding::percent_decode_str(primary).decode_utf8().ok();
    let decoded = decoded.filter(|name| !name.chars().any(char::is_control) && name.len() <= MAX_PRIMARY);
    match decoded {
        Some(decoded) if primary.bytes().all(is_name) && is_database(database) => {
            let form = TargetForm::Sentinel { sentinels, primary: decoded.into_owned() };
            Ok(ParsedTarget { form, user, password })
        }
        // It may be a part of a password.
        _ => Err(format!(
            "the name of the primary after the / may have letters, digits, . - and _, others as %XX; write / ? # in a \
            password as %2F %3F %23; example: {EXAMPLE}"
        )),
    }
}

/// A name in DNS: with a port for addresses, without one for SRV records.
fn dns_name(scheme: &str, list: &AddressList<'_>, has_port: bool) -> Result<ParsedTarget, String> {
    let example = if has_port { "redis+dns://redis.example:6379" } else { "redis+srv://_redis._tcp.redis.example" };
    if !is_database(list.path) {
        return Err(format!(
            "unexpected text after the name; write / ? # in a password as %2F %3F %23; example: {example}"
        ));
    }
    if list.hosts.contains(',') {
        return Err(format!("several names; give each as a target of its own; example: {example}"));
    }
    let (mut seeds, user, password) = seeds(scheme, list, DEFAULT_PORT, example)?;
    let Some(Endpoint::Tcp { host: name, port, tls }) = seeds.pop() else {
        return Err(format!("the name is missing; example: {example}"));
    };
    if name.contains(':') || name.parse::<std::net::IpAddr>().is_ok() {
        return Err("this is an address and not a name in DNS; write redis:// in front of it".to_owned());
    }
    if !has_port && list.hosts.contains(':') {
        return Err(format!("SRV records have ports of their own; leave the port out; example: {example}"));
    }
    let form = TargetForm::Dns(DnsName { name, port: has_port.then_some(port), tls });
    Ok(ParsedTarget { form, user, password })
}

/// Maximum length of the name of a primary, in bytes. It is a label value.
const MAX_PRIMARY: usize = 128;

/// Separates targets at commas and spaces. The addresses of a cluster are separated by commas, too: an address without
/// a scheme that follows one of a cluster after a comma belongs to it. The path of a unix socket may have spaces, so it
/// ends only at a comma, or before a further scheme. A Sentinel group with several primaries is one target for each.
pub fn split_targets(text: &str) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for spaced in text.split(',').map(str::trim).enumerate() {
        let (place, part) = spaced;
        for (number, address) in separated(part).into_iter().enumerate() {
            let continues = place > 0 && number == 0 && !address.contains("://") && !address.starts_with('/');
            match targets.last_mut() {
                Some(last) if continues && is_continued(last, address) => {
                    last.push(',');
                    last.push_str(address);
                }
                _ => targets.push(address.to_owned()),
            }
        }
    }
    targets.into_iter().flat_map(|target| one_by_one(&target)).collect()
}

/// Returns true if a text that follows a target after a comma belongs to it: a further address, or after a `/` the name
/// of a further primary.
fn is_continued(target: &str, text: &str) -> bool {
    let Some((scheme, rest)) = target.split_once("://") else { return false };
    scheme.contains('+') && (AddressList::of(rest).path.is_empty() || !text.contains(':'))
}

/// A target for each primary of a Sentinel group.
fn one_by_one(target: &str) -> Vec<String> {
    let is_group = |scheme: &str| scheme.to_ascii_lowercase().ends_with("+sentinel");
    let group = target.split_once("://").filter(|(scheme, _)| is_group(scheme));
    let Some(AddressList { path, .. }) =
        group.map(|(_, rest)| AddressList::of(rest)).filter(|parts| parts.path.contains(','))
    else {
        return vec![target.to_owned()];
    };
    let begin = &target[..target.len() - path.len()];
    path.split(',').filter(|name| !name.is_empty()).map(|name| format!("{begin}{name}")).collect()
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
            ("redis+sentinel://a,b:1/m, n,c:2", &["redis+sentinel://a,b:1/m", "redis+sentinel://a,b:1/n", "c:2"]),
            ("rediss+SENTINEL://:s@[::1],b/m/0 c,d", &["rediss+SENTINEL://:s@[::1],b/m/0", "c", "d"]),
            ("redis+sentinel://a,b,redis://c", &["redis+sentinel://a,b", "redis://c"]),
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
            ("redis+hush://a", "redis+sentinel://"),
            ("redis+cluster://me:hu/sh@a", "%2F"),
            ("redis+cluster://a/hush", "%2F"),
            ("redis+cluster://a:99999", "invalid address"),
        ] {
            let error = parse_target(text).expect_err(text);
            assert!(error.contains(fix) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn a_sentinel_group_is_read_with_the_name_of_its_primary() {
        let target = parse_target("valkeys+sentinel://me:s%40cret@a,[::1]:26380/main-1.db/0").expect("a group");
        let TargetForm::Sentinel { sentinels, primary } = &target.form else { panic!("a group") };
        assert_eq!(sentinels.iter().map(Endpoint::to_string).collect::<Vec<_>>(), ["a:26379", "[::1]:26380"]);
        assert!(sentinels.iter().all(Endpoint::is_tls) && primary == "main-1.db");
        assert_eq!(target.user.as_deref(), Some("me"));
        let target = parse_target("redis+sentinel://a/m%3A1").expect("a name with a colon");
        assert!(matches!(target.form, TargetForm::Sentinel { primary, .. } if primary == "m:1"));
        for (text, fix) in [
            ("redis+sentinel://", "the host is missing"),
            ("redis+sentinel://a,b", "/mymaster"),
            ("redis+sentinel://a/", "/mymaster"),
            ("redis+sentinel://:hush@a/m/hush", "%2F"),
            ("redis+sentinel://a/hush#0", "%XX"),
            ("redis+sentinel://a/%00hush", "%XX"),
            ("redis+sentinel://me:hu/sh@a/m", "%2F"),
            ("unix+sentinel:///hush.sock/m", "redis+sentinel://10.0.0.1:26379"),
        ] {
            let error = parse_target(text).expect_err(text);
            assert!(error.contains(fix) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn names_in_dns_have_a_port_or_srv_records() {
        let name = |text: &str| match parse_target(text).expect(text).form {
            TargetForm::Dns(dns) => (dns.to_string(), dns.port, dns.tls),
            form => panic!("{form}"),
        };
        assert_eq!(name("redis+dns://:s@redis.example:7000/0"), ("redis.example:7000".into(), Some(7000), false));
        assert_eq!(name("valkeys+dns://redis"), ("redis:6379".into(), Some(6379), true));
        assert_eq!(name("rediss+srv://_redis._tcp.redis"), ("_redis._tcp.redis".into(), None, true));
        for (text, fix) in [
            ("redis+dns://", "redis+dns://redis.example:6379"),
            ("redis+dns://10.0.0.1:6379", "redis://"),
            ("redis+dns://[::1]:6379", "redis://"),
            ("redis+dns://a,b", "each as a target"),
            ("redis+dns://a/hush", "%2F"),
            ("redis+srv://a:6379", "leave the port out"),
            ("redis+srv://:hush@", "_redis._tcp"),
        ] {
            let error = parse_target(text).expect_err(text);
            assert!(error.contains(fix) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
