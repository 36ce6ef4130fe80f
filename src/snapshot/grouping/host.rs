//! Distinguishes a host with its domain from another name with dots. Pure.
//!
//! `web-3.example.com` is a host, `orders.v2`, `com.acme.billing` and `price.feed` are not, and `orders.dev` and
//! `orders.us` are environments or regions that must stay apart. So a domain needs two signs: a host's place (behind
//! `@`) or a number in the host's own name, and an ending that domains have and applications do not have.

/// The ends of public domains. Countries and `io`, `dev`, `app`, `cloud` are not here: they end names of applications
/// too.
const PUBLIC: [&str; 6] = ["com", "net", "org", "edu", "gov", "mil"];

/// The ends of private domains.
const PRIVATE: [&str; 8] = ["local", "localdomain", "lan", "internal", "intranet", "corp", "host", "arpa"];

/// Domains that only machines have, so that the host's name needs no number.
const MACHINES: [&str; 4] = [".cluster.local", ".ec2.internal", ".compute.internal", ".compute.amazonaws.com"];

/// Labels before a country: `co.uk`, `com.au`.
const SECOND_LEVEL: [&str; 6] = ["com", "co", "net", "org", "ac", "gov"];

/// Signs that divide the parts of a name.
const DIVIDERS: &[u8] = b":@/#|,;";

/// True if `domain`, which begins with a dot, is the domain of the host at the end of `before`.
pub(super) fn is_domain(before: &[u8], domain: &[u8]) -> bool {
    let Ok(domain) = std::str::from_utf8(domain).map(str::to_ascii_lowercase) else { return false };
    let begin = before.iter().rposition(|byte| DIVIDERS.contains(byte)).map_or(0, |divider| divider + 1);
    let host = &before[begin..];
    let is_behind_at = begin > 1 && before[begin - 1] == b'@';
    let labels: Vec<_> = domain.split('.').skip(1).collect();
    let Some(&last) = labels.last() else { return false };
    if MACHINES.iter().any(|end| domain.ends_with(end)) {
        return true;
    }
    if is_version(host) || is_version(last.as_bytes()) {
        return false;
    }
    let is_numbered = host.iter().any(u8::is_ascii_digit);
    if is_behind_at {
        let is_any = is_numbered && last.bytes().any(|byte| byte.is_ascii_alphabetic());
        return is_any || PRIVATE.contains(&last) || is_public(&labels);
    }
    is_numbered && (PRIVATE.contains(&last) || labels.len() >= 2 && is_public(&labels))
}

fn is_public(labels: &[&str]) -> bool {
    match labels {
        [.., second, last] if last.len() == 2 && SECOND_LEVEL.contains(second) => true,
        [.., last] => PUBLIC.contains(last),
        [] => false,
    }
}

/// True for `2` and `v2`, which are parts of a version and not of a domain.
fn is_version(label: &[u8]) -> bool {
    let digits = label.strip_prefix(b"v").unwrap_or(label);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_host(name: &str) -> bool {
        let begin = name.rfind('@').map_or(0, |at| at + 1);
        let dot = begin + name[begin..].find('.').expect("a dot");
        is_domain(&name.as_bytes()[..dot], &name.as_bytes()[dot..])
    }

    #[test]
    fn hosts_have_a_domain() {
        for name in [
            "node-3.example.com",
            "web01.prod.example.com",
            "NODE-3.EXAMPLE.COM",
            "db2.lan",
            "web-1.local",
            "web1.acme.co.uk",
            "web-0.web.default.svc.cluster.local",
            "cart.default.svc.cluster.local",
            "celery@worker1.host",
            "celery@worker1.host1",
            "celery@george.example.com",
            "worker1@example.com",
            "4711@web-1.example.org",
            "celery@w1.fra.acme.de",
        ] {
            assert!(is_host(name), "{name}");
        }
    }

    #[test]
    fn other_names_with_dots_have_none() {
        for name in [
            "com.acme.billing",
            "orders.v2",
            "app.module.Worker",
            "price.feed",
            "ingest.x8k2",
            "SE.Redis",
            "oqs.sync.metadata",
            "asp.net",
            "socket.io",
            "worker1.socket.io",
            "orders.dev",
            "feed1.prices.us",
            "web3.com",
            "billing.prod.example.com",
            "orders.internal",
            "v2.orders.internal",
            "1.2.3",
            "api@1.2.3",
            "api@v1.2.local",
            "orders@billing.v2",
            "app@eu.prod",
            "@acme.com",
            "4711.db",
            "mail.worker",
        ] {
            assert!(!is_host(name), "{name}");
        }
    }
}
