//! The flags for the servers: addresses, credentials, TLS, time-out.

use std::path::PathBuf;
use std::time::Duration;

use super::Faults;
use super::values::{elements, positive};
use crate::cli::RedisArgs;
use crate::fleet::Target;
use crate::link::{self, Credentials, Node, NodeAddress, Password, TlsOptions};
use crate::machine::Machine;

pub(super) fn targets(args: &RedisArgs, machine: &Machine, faults: &mut Faults) -> Vec<Target> {
    let timeout = faults.take("--redis.timeout", positive(&args.timeout), Duration::ZERO);
    let tls = tls_options(args, faults);
    let password = password(args, faults);
    let mut targets: Vec<Target> = Vec::new();
    let texts: Vec<&str> = elements(&args.addresses).flat_map(separated).collect();
    let names = names(args, texts.len(), faults);
    let has_tls = texts.iter().any(|text| link::requires_tls(text));
    for (place, text) in texts.into_iter().enumerate() {
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
        let address = match link::parse_address(text) {
            Ok(address) => address,
            Err(fault) => {
                faults.add(format!("--redis.addr, address {}: {fault}", place + 1));
                continue;
            }
        };
        // User and password of an address each take precedence over their flags.
        let user = address.user.or_else(|| args.user.clone());
        let password = address.password.map(Password::Given).or_else(|| password.clone());
        let endpoint = address.endpoint;
        if user.is_some() && password.is_none() {
            faults.add(format!("{endpoint}: a user without a password; add --redis.password-file or --redis.password"));
        }
        let credentials = password.map(|password| Credentials { user, password });
        let address = NodeAddress { endpoint, credentials, tls: tls.clone(), timeout };
        let node = match names.get(place) {
            Some(name) => Node::named(name, address),
            None => Node::on_machine(address, machine),
        };
        if let Some(known) =
            targets.iter().flat_map(Target::nodes).find(|known| is_same(known, &node, names.is_empty()))
        {
            faults.add(twice(&known, &node));
        }
        targets.push(Target::Server(node));
    }
    if elements(&args.addresses).next().is_none() {
        faults.add("--redis.addr: no server is given; example: redis://127.0.0.1:6379");
    }
    check_tls(&targets, &tls, faults);
    targets
}

/// Maximum length of a name, in bytes. Every series has it as a label.
const MAX_NAME: usize = 128;

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
        if name.contains('@') || name.contains("://") {
            let place = place + 1;
            faults.add(format!("--redis.name, name {place}: an address is no name; example: --redis.name=billing"));
        } else if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let place = place + 1;
            faults.add(format!("--redis.name, name {place}: use at most {MAX_NAME} bytes, without control characters"));
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

/// Separates addresses at spaces. The path of a unix socket may have spaces, so it ends only before a further scheme.
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
    // A pipe can be read only once, and its content is needed for the first connect.
    let is_pipe = args.password_file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|file| !file.is_file()));
    if let Password::File(file) = &password
        && !is_pipe
        && let Err(fault) = link::check_password_file(file)
    {
        faults.add(format!("--redis.password-file: {fault}"));
    }
    Some(password)
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

fn check_tls(targets: &[Target], tls: &TlsOptions, faults: &mut Faults) {
    let wanted = targets.iter().flat_map(Target::addresses).any(|address| address.endpoint.is_tls());
    if *tls != TlsOptions::default() && !wanted && !targets.is_empty() {
        faults.add("--redis.tls-…: no address uses TLS; write rediss:// instead of redis:// in --redis.addr");
    } else if wanted && let Err(fault) = link::tls_config(tls) {
        faults.add(format!("--redis.tls-…: {fault}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_separated_by_spaces_but_paths_keep_theirs() {
        assert_eq!(separated(" a:1  b:2\tredis://c "), ["a:1", "b:2", "redis://c"]);
        assert_eq!(separated("unix:///tmp/redis sock/a b.sock"), ["unix:///tmp/redis sock/a b.sock"]);
        assert_eq!(
            separated("/tmp/a b.sock  unix:///c d redis://e f"),
            ["/tmp/a b.sock", "unix:///c d", "redis://e", "f"]
        );
        assert_eq!(separated("   "), [""; 0]);
    }
}
