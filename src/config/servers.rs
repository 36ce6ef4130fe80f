//! Which servers, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use super::Faults;
use super::values::{elements, positive};
use crate::cli::RedisArgs;
use crate::link::{self, Credentials, Endpoint, Password, Target, TlsFiles};

pub(super) fn targets(words: &RedisArgs, faults: &mut Faults) -> Vec<Target> {
    let timeout = faults.take("--redis.timeout", positive(&words.timeout), Duration::ZERO);
    let tls = tls_files(words, faults);
    let password = password(words, faults);
    let mut targets: Vec<Target> = Vec::new();
    for (place, text) in elements(&words.addresses).enumerate() {
        // The text may hold a password, so the fault tells which address is meant by counting.
        let address = match link::parse_address(text) {
            Ok(address) => address,
            Err(fault) => {
                faults.add(format!("--redis.addr, address {}: {fault}", place + 1));
                continue;
            }
        };
        // What an address says goes before what flags say, each part by itself.
        let user = address.user.or_else(|| words.user.clone());
        let password = address.password.map(Password::Given).or_else(|| password.clone());
        let endpoint = address.endpoint;
        if user.is_some() && password.is_none() {
            faults
                .add(format!("{endpoint}: its user needs a password; give --redis.password-file or --redis.password"));
        }
        let credentials = password.map(|password| Credentials { user, password });
        let target = Target { endpoint, credentials, tls: tls.clone(), timeout };
        if targets.iter().any(|known| known.node() == target.node()) {
            faults.add(format!("--redis.addr: {} is named twice; name each server once", target.node()));
        }
        targets.push(target);
    }
    if elements(&words.addresses).next().is_none() {
        faults.add("--redis.addr: it names no server; write redis://127.0.0.1:6379");
    }
    check_tls(&targets, &tls, faults);
    targets
}

fn password(words: &RedisArgs, faults: &mut Faults) -> Option<Password> {
    let password = match (&words.password, &words.password_file) {
        (Some(_), Some(_)) => {
            faults.add("--redis.password and --redis.password-file exclude each other; give one");
            return None;
        }
        (Some(password), None) => Password::Given(password.as_str().into()),
        (None, Some(file)) => Password::File(file.clone()),
        (None, None) => return None,
    };
    // A pipe gives what it has only once, and that is for the first connect.
    let is_pipe = words.password_file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|file| !file.is_file()));
    if !is_pipe && let Err(fault) = link::read_password(&password) {
        faults.add(format!("--redis.password-file: {fault}"));
    }
    Some(password)
}

fn tls_files(words: &RedisArgs, faults: &mut Faults) -> TlsFiles {
    let client = match (&words.tls_cert_file, &words.tls_key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => missing_half("--redis.tls-cert-file", "--redis.tls-key-file", faults),
        (None, Some(_)) => missing_half("--redis.tls-key-file", "--redis.tls-cert-file", faults),
    };
    TlsFiles { ca: words.tls_ca_file.clone(), client }
}

fn missing_half(given: &str, missing: &str, faults: &mut Faults) -> Option<(PathBuf, PathBuf)> {
    faults.add(format!("{given} needs {missing} beside it"));
    None
}

fn check_tls(targets: &[Target], tls: &TlsFiles, faults: &mut Faults) {
    let wanted = targets.iter().any(|target| matches!(target.endpoint, Endpoint::Tcp { tls: true, .. }));
    if *tls != TlsFiles::default() && !wanted && !targets.is_empty() {
        faults.add("--redis.tls-…-file: no address uses TLS; write rediss:// instead of redis://");
    } else if wanted && let Err(fault) = link::tls_config(tls) {
        faults.add(format!("--redis.tls-…-file: {fault}"));
    }
}
