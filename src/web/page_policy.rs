//! The access rule of pages and the API, which show addresses and user names.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderMap};
use hyper::http::uri::Authority;
use hyper::{Response, StatusCode};

use super::auth::Peer;
use super::response::{self, Body};

/// The peers that pages and the API are served to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePolicy {
    /// Peers on this machine that request a local name, and authenticated peers.
    Auto,
    /// All peers.
    On,
    /// No peer.
    Off,
}

impl PagePolicy {
    /// Admits a peer, or returns a response that says how to get access.
    pub(super) fn admit(self, peer: Peer, headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
        let refusal = match self {
            PagePolicy::On => return Ok(()),
            PagePolicy::Off => {
                "pages and the API are disabled by --web.pages off; use /metrics, or start the exporter with \
                 --web.pages auto"
            }
            PagePolicy::Auto if peer.authenticated => return Ok(()),
            // A page of another site can make its own name resolve to this machine (DNS rebinding). The requested name
            // reveals it.
            PagePolicy::Auto
                if peer.address.to_canonical().is_loopback()
                    && requests_local_name(headers)
                    && !is_forwarded(headers) =>
            {
                return Ok(());
            }
            PagePolicy::Auto => {
                "pages and the API show addresses and user names, so they are served only to this machine under a \
                 local name (http://localhost:…); for access from elsewhere, set up a password (--web.config.file) \
                 or start the exporter with --web.pages on"
            }
        };
        Err(Box::new(response::refusal(headers, StatusCode::FORBIDDEN, refusal)))
    }
}

/// Returns true if a header says that the request comes from elsewhere: through a proxy on this machine, or from a page
/// of another site.
fn is_forwarded(headers: &HeaderMap) -> bool {
    const PROXY_HEADERS: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    PROXY_HEADERS.iter().any(|name| headers.contains_key(*name))
        || headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

/// Returns true if the requested host is a name that only a peer on this machine would use.
fn requests_local_name(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    host.is_some_and(|host| has_only_a_port(&host) && is_local(host.host()))
}

/// Returns true if nothing but a port follows the name. An authority may hold more: `localhost:80@evil.example`,
/// `[::1]evil.example`.
fn has_only_a_port(host: &Authority) -> bool {
    let rest = host.as_str().strip_prefix(host.host());
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()))
    })
}

fn is_local(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hyper::header::HeaderValue;

    use super::*;

    fn admitted(pages: PagePolicy, address: &str, authenticated: bool, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a value"));
        }
        let peer = Peer { address: address.parse().expect("an address"), authenticated };
        pages.admit(peer, &headers).is_ok()
    }

    #[test]
    fn a_request_forwarded_by_a_proxy_is_not_from_this_machine() {
        let peer = Peer { address: IpAddr::from([127, 0, 0, 1]), authenticated: false };
        for (name, value) in
            [("x-forwarded-for", "203.0.113.9"), ("via", "1.1 proxy"), ("sec-fetch-site", "cross-site")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:19121"));
            assert!(PagePolicy::Auto.admit(peer, &headers).is_ok());
            headers.insert(name, HeaderValue::from_static(value));
            assert!(PagePolicy::Auto.admit(peer, &headers).is_err(), "{name}");
        }
    }

    #[test]
    fn other_machines_and_rebound_names_are_refused() {
        for (address, host, admits) in [
            ("127.0.0.1", "localhost:19121", true),
            ("127.0.0.1", "LOCALHOST", true),
            ("::1", "[::1]:19121", true),
            ("::1", "[::1]", true),
            ("::1", "[0:0:0:0:0:0:0:1]:19121", true),
            ("::ffff:127.0.0.1", "127.0.0.1:19121", true),
            ("127.0.0.1", "127.1.2.3", true),
            ("127.0.0.1", "localhost:", true),
            ("127.0.0.1", "evil.example:19121", false),
            ("127.0.0.1", "localhost.evil.example", false),
            ("127.0.0.1", "127.0.0.1.evil.example", false),
            ("127.0.0.1", "", false),
            ("127.0.0.1", "localhost:80@evil.example", false),
            ("127.0.0.1", "localhost@localhost", false),
            ("127.0.0.1", "[::1]evil.example", false),
            ("127.0.0.1", "[::1]evil.example:80", false),
            ("127.0.0.1", "[::1", false),
            ("127.0.0.1", "::1", false),
            ("127.0.0.1", "[::2]:19121", false),
            ("127.0.0.1", "[localhost]", false),
            ("127.0.0.1", "[127.0.0.1]", false),
            ("127.0.0.1", "localhost.", false),
            ("127.0.0.1", "localhost:port", false),
            ("127.0.0.1", "localhost:80:80", false),
            ("127.0.0.1", "localhost/", false),
            ("127.0.0.1", "local host", false),
            ("127.0.0.1", ":19121", false),
            ("127.0.0.1", "@", false),
            ("10.0.0.9", "localhost:19121", false),
            ("10.0.0.9", "10.0.0.1:19121", false),
        ] {
            assert_eq!(admitted(PagePolicy::Auto, address, false, host), admits, "{address} {host}");
            assert!(admitted(PagePolicy::Auto, address, true, host) && admitted(PagePolicy::On, address, false, host));
            assert!(!admitted(PagePolicy::Off, address, true, host));
        }
    }
}
