//! Who may see pages and the API: they show addresses and users.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderMap};
use hyper::http::uri::Authority;
use hyper::{Response, StatusCode};

use super::auth::Peer;
use super::response::{self, Body};

/// To whom pages and the API are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePolicy {
    /// To peers on this machine who ask for a local name, and to whoever has shown who he is.
    Auto,
    /// To everybody.
    On,
    /// To nobody.
    Off,
}

impl PagePolicy {
    /// Lets somebody in, or tells him how he could be.
    pub(super) fn admit(self, peer: Peer, headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
        let refusal = match self {
            PagePolicy::On => return Ok(()),
            PagePolicy::Off => "pages and the API are switched off (--web.pages off); /metrics is served",
            PagePolicy::Auto if peer.authenticated => return Ok(()),
            // A page from elsewhere may have its own name resolve to this machine; the name it asks for gives it away.
            PagePolicy::Auto
                if peer.address.to_canonical().is_loopback()
                    && asks_for_a_local_name(headers)
                    && !is_handed_on(headers) =>
            {
                return Ok(());
            }
            PagePolicy::Auto => {
                "pages and the API show addresses and users: they are served to this machine under a local name (http://localhost:…), and to others with a password (--web.config.file) or with --web.pages on"
            }
        };
        Err(Box::new(response::refusal(headers, StatusCode::FORBIDDEN, refusal)))
    }
}

/// Whether the request says that it comes from somewhere else: by a proxy on this machine, or from another site's page.
fn is_handed_on(headers: &HeaderMap) -> bool {
    const BY_PROXIES: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    BY_PROXIES.iter().any(|name| headers.contains_key(*name))
        || headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

/// Whether the request names this machine as only somebody on it would.
fn asks_for_a_local_name(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    host.is_some_and(|host| has_only_a_port(&host) && is_local(host.host()))
}

/// Whether nothing but a port stands beside the name. An authority may hold more: `localhost:80@evil.example`, `[::1]evil.example`.
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
    fn what_a_proxy_hands_on_is_not_of_this_machine() {
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
    fn strangers_stay_out_and_so_do_names_that_were_rebound() {
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
