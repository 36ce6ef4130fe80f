//! The flags for the servers: addresses, credentials, TLS, time-out.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Faults;
use super::values::{elements, number, positive};
use crate::cli::{DiscoveryArgs, DiscoveryRoles, RedisArgs};
use crate::discovery::{
    Access, AddressMap, DiscoverySettings, RoleFilter, Target, check_name, parse_target, split_targets,
};
use crate::link::{self, Credentials, Node, Password, TlsOptions};
use crate::machine::Machine;
use crate::targets_file::{DefaultAccess, TargetSources, TargetsFile};

/// The targets, and the file from which some are and that must be followed.
pub(super) type Targets = (Vec<Target>, Option<TargetsFile>);

pub(super) fn targets(args: &RedisArgs, machine: &Machine, faults: &mut Faults) -> Targets {
    let timeout = faults.take("--redis.timeout", positive(&args.timeout), Duration::ZERO);
    let tls = tls_options(args, faults);
    let password = password(args, faults);
    let sentinel_credentials = sentinel_credentials(args, faults);
    let defaults = DefaultAccess { user: args.user.clone(), password, sentinel_credentials, tls, timeout };
    let given = given(args, &defaults, machine, faults);
    check_tls(&given, &defaults.tls, args.targets_file.is_some(), faults);
    let Some(targets_file) = args.targets_file.clone() else {
        if args.auth_file.is_some() {
            faults
                .add("--redis.auth-file is given without --redis.targets-file, whose labels name its modules; add it");
        }
        return (given, None);
    };
    // A fault of this flag is reported elsewhere.
    let max_targets = max_nodes(&args.discovery).unwrap_or(MAX_NODES);
    let auth_file = args.auth_file.clone();
    let (machine, known) = (machine.clone(), given.clone());
    match TargetsFile::read(TargetSources { targets_file, auth_file, given, defaults, machine, max_targets }) {
        Ok((targets, file)) => (targets, Some(file)),
        Err(of_file) => {
            of_file.into_iter().for_each(|fault| faults.add(fault));
            (known, None)
        }
    }
}

/// The targets of the command line.
fn given(args: &RedisArgs, defaults: &DefaultAccess, machine: &Machine, faults: &mut Faults) -> Vec<Target> {
    let DefaultAccess { password, sentinel_credentials, tls, timeout, .. } = defaults;
    let mut targets: Vec<Target> = Vec::new();
    let texts: Vec<String> = args.addresses.iter().flat_map(|text| split_targets(text)).collect();
    let names = names(args, texts.len(), faults);
    let has_tls = texts.iter().any(|text| requires_tls(text));
    for (place, text) in texts.iter().enumerate() {
        // Other clients apply the scheme before the first of several hosts to all of them. Here it would be an address
        // without TLS, to which the password would be sent.
        if has_tls && !text.contains("://") && !text.starts_with('/') {
            faults.add(format!(
                "--redis.addr, address {}: another address uses TLS, and this one has no scheme; write rediss:// in \
                front of it, or redis:// for no TLS (a comma or space in a password is %2C or %20)",
                place + 1
            ));
            continue;
        }
        // The text may hold a password, so the fault names the address by its number.
        let parsed = match parse_target(text) {
            Ok(parsed) => parsed,
            Err(fault) => {
                faults.add(format!("--redis.addr, address {}: {fault}", place + 1));
                continue;
            }
        };
        // User and password of an address each take precedence over their flags.
        let user = parsed.user.or_else(|| args.user.clone());
        let password = parsed.password.map(Password::Given).or_else(|| password.clone());
        if user.is_some() && password.is_none() {
            let shown = &parsed.form;
            faults.add(format!("{shown}: a user without a password; add --redis.password-file or --redis.password"));
        }
        let credentials = password.map(|password| Credentials { user, password });
        let sentinel_credentials = sentinel_credentials.clone();
        let access = Access { credentials, sentinel_credentials, tls: tls.clone(), timeout: *timeout };
        let target = Target::new(parsed.form, access, names.get(place).map(String::as_str), machine);
        if let Some(fault) = targets.iter().find_map(|known| clash(known, &target, names.is_empty())) {
            faults.add(fault);
        }
        targets.push(target);
    }
    if texts.is_empty() && args.targets_file.is_none() {
        faults.add("--redis.addr: no server is given; example: redis://127.0.0.1:6379");
    }
    targets
}

/// The fault of two targets that cannot both be watched; `None` if they can.
fn clash(known: &Target, target: &Target, is_unnamed: bool) -> Option<String> {
    match (known.node(), target.node()) {
        (Some(known), Some(node)) => is_same(known, node, is_unnamed).then(|| twice(known, node)),
        _ => (known.name == target.name).then(|| format!("--redis.addr: {known} is given twice; give it once")),
    }
}

/// The given names of the servers, in the order of their addresses; empty if none is given.
fn names(args: &RedisArgs, addresses: usize, faults: &mut Faults) -> Vec<String> {
    let names: Vec<String> = elements(&args.names).map(str::to_owned).collect();
    if !names.is_empty() && names.len() != addresses {
        let (names, addresses) = (names.len(), addresses);
        faults.add(format!(
            "--redis.name: {names} names for {addresses} addresses; give one for each --redis.addr, in their order"
        ));
        return Vec::new();
    }
    for (place, name) in names.iter().enumerate() {
        // It may hold a password, so the fault names it by its number.
        if let Err(fault) = check_name(name) {
            faults.add(format!("--redis.name, name {}: {fault}", place + 1));
        } else if names[..place].contains(name) {
            faults.add(format!("--redis.name: {name} is given twice; each server needs a name of its own"));
        }
    }
    names
}

/// True if two addresses cannot both be watched: their series would be the same, or they are two ways to write one
/// address. `127.0.0.1` and `localhost` could be two servers, which an operator who names them knows.
fn is_same(known: &Node, node: &Node, is_unnamed: bool) -> bool {
    let (one, other) = (&known.address.endpoint, &node.address.endpoint);
    known.name == node.name || one.to_string() == other.to_string() || is_unnamed && one.key() == other.key()
}

fn twice(known: &Node, node: &Node) -> String {
    let (one, other) = (&known.address.endpoint, &node.address.endpoint);
    if one.to_string() == other.to_string() {
        return format!("--redis.addr: {one} is given twice; give each server once");
    }
    let why = match known.name == node.name {
        true => format!("would both have the name {}", node.name),
        false => "are two ways to write one address".to_owned(),
    };
    format!(
        "--redis.addr: {one} and {other} {why}; if they are one server, give one of them, otherwise give a \
        --redis.name for each address"
    )
}

fn password(args: &RedisArgs, faults: &mut Faults) -> Option<Password> {
    let password = match (&args.password, &args.password_file) {
        (Some(_), Some(_)) => {
            faults.add("--redis.password and --redis.password-file are both given; remove one");
            return None;
        }
        (Some(password), None) => Password::Given(password.as_str().into()),
        (None, Some(file)) => Password::File(file.clone()),
        (None, None) => return None,
    };
    if let Password::File(file) = &password {
        check_password_file("--redis.password-file", file, faults);
    }
    Some(password)
}

fn check_password_file(flag: &str, file: &Path, faults: &mut Faults) {
    // A pipe can be read only once, and its content is needed for the first connect.
    let is_pipe = file.metadata().is_ok_and(|file| !file.is_file());
    if !is_pipe && let Err(fault) = link::check_password_file(file) {
        faults.add(format!("{flag}: {fault}"));
    }
}

/// The credentials for sentinels. Those for the servers are never sent to them.
fn sentinel_credentials(args: &RedisArgs, faults: &mut Faults) -> Option<Credentials> {
    match (&args.sentinel_user, &args.sentinel_password_file) {
        (user, Some(file)) => {
            check_password_file("--redis.sentinel-password-file", file, faults);
            Some(Credentials { user: user.clone(), password: Password::File(file.clone()) })
        }
        (Some(_), None) => {
            faults.add("--redis.sentinel-user: a user without a password; add --redis.sentinel-password-file");
            None
        }
        (None, None) => None,
    }
}

fn tls_options(args: &RedisArgs, faults: &mut Faults) -> TlsOptions {
    let client = match (&args.tls_cert_file, &args.tls_key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => missing_half("--redis.tls-cert-file", "--redis.tls-key-file", faults),
        (None, Some(_)) => missing_half("--redis.tls-key-file", "--redis.tls-cert-file", faults),
    };
    if let Some(name) = &args.tls_server_name
        && !link::is_server_name(name)
    {
        faults.add("--redis.tls-server-name: this is not a host name or IP address; example: redis.example.com");
    }
    TlsOptions {
        ca: args.tls_ca_file.clone(),
        client,
        server_name: args.tls_server_name.clone(),
        insecure_skip_verify: args.tls_insecure_skip_verify,
    }
}

fn missing_half(given: &str, missing: &str, faults: &mut Faults) -> Option<(PathBuf, PathBuf)> {
    faults.add(format!("{given} is given without {missing}; add it"));
    None
}

/// Checks the options for TLS. If there is a file with targets, they may be for those.
fn check_tls(targets: &[Target], tls: &TlsOptions, has_file: bool, faults: &mut Faults) {
    let is_given = *tls != TlsOptions::default();
    let wanted = targets.iter().any(Target::is_tls) || has_file && is_given;
    if is_given && !wanted && !targets.is_empty() {
        faults.add("--redis.tls-…: no address uses TLS; write rediss:// instead of redis:// in --redis.addr");
    } else if wanted && let Err(fault) = link::tls_config(tls) {
        faults.add(format!("--redis.tls-…: {fault}"));
    }
}

/// Returns true if a target requires TLS.
fn requires_tls(text: &str) -> bool {
    let composite = text.split_once("://").and_then(|(scheme, _)| Some(scheme.rsplit_once('+')?.0));
    match composite {
        Some(scheme) => link::requires_tls(&format!("{scheme}://")),
        None => link::requires_tls(text),
    }
}

/// Maximum of `--discovery.max-nodes`. Each node takes up to three connections of this process.
const MAX_NODES: usize = 5000;

fn max_nodes(args: &DiscoveryArgs) -> Result<usize, String> {
    number(&args.max_nodes, 1, MAX_NODES)
}

pub(super) fn discovery(args: &DiscoveryArgs, faults: &mut Faults) -> DiscoverySettings {
    let defaults = DiscoverySettings::default();
    let interval = faults.take("--discovery.interval", positive(&args.interval), defaults.interval);
    if interval < Duration::from_secs(1) {
        faults.add("--discovery.interval: shorter than 1s would keep the servers busy; write 1s or more");
    }
    let address_map = AddressMap::parse(elements(&args.address_map));
    DiscoverySettings {
        interval,
        max_nodes: faults.take("--discovery.max-nodes", max_nodes(args), defaults.max_nodes),
        roles: match args.roles {
            DiscoveryRoles::All => RoleFilter::All,
            DiscoveryRoles::Primary => RoleFilter::Primary,
            DiscoveryRoles::Replica => RoleFilter::Replica,
        },
        forget_after: faults.take("--discovery.forget-after", positive(&args.forget_after), defaults.forget_after),
        address_map: faults.take("--discovery.address-map", address_map, defaults.address_map),
        dns_server: args.dns_server.as_deref().and_then(|text| {
            let server = dns_server(text).map(Some);
            faults.take("--discovery.dns-server", server, None)
        }),
    }
}

/// The usual port of a DNS server.
const DNS_PORT: u16 = 53;

/// Parses an IP address, with a port or without.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().or_else(|_| {
        let address: IpAddr = text.trim_start_matches('[').trim_end_matches(']').parse()?;
        Ok(SocketAddr::new(address, DNS_PORT))
    });
    address
        .map_err(|_: AddrParseError| format!("{text} is no IP address; examples: 10.0.0.2, 127.0.0.1:8600, [::1]:53"))
}
