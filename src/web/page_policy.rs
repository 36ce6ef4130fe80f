//! The access rule of pages and the API, which show addresses and user names.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Response, StatusCode, Version};

use super::auth::Peer;
use super::response::{self, Body};

/// The peers that pages and the API are served to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePolicy {
    /// Authenticated peers, and peers on this machine that request a local name, unless something in the request says
    /// that a proxy forwards it.
    Auto,
    /// All peers.
    On,
    /// No peer.
    Off,
}

impl PagePolicy {
    /// Admits a peer, or returns a response that says how to get access.
    pub(super) fn admit(self, peer: Peer, request: &Parts) -> Result<(), Box<Response<Body>>> {
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
                    && requests_local_name(request)
                    && !is_forwarded(request) =>
            {
                return Ok(());
            }
            PagePolicy::Auto => {
                "pages and the API show addresses and user names, so they are served only to this machine under a \
                 local name (http://localhost:…) and not through a proxy; for access from elsewhere or through a \
                 proxy, set up a password (--web.config.file) or start the exporter with --web.pages on"
            }
        };
        Err(Box::new(response::refusal(&request.headers, StatusCode::FORBIDDEN, refusal)))
    }
}

/// The headers with which proxies name the client, and the beginning of the names of others.
const PROXY_HEADERS: [&str; 6] = ["forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip"];
const PROXY_HEADERS_BEGIN: &str = "x-forwarded-";

/// Returns true if the request comes from elsewhere: through a proxy on this machine, or from a page of another site.
/// nginx forwards requests as HTTP/1.0 by default (before 1.29.7), and no browser sends it.
fn is_forwarded(request: &Parts) -> bool {
    let headers = &request.headers;
    let names_a_client = |name: &str| name.starts_with(PROXY_HEADERS_BEGIN) || PROXY_HEADERS.contains(&name);
    request.version < Version::HTTP_11
        || headers.keys().any(|name| names_a_client(name.as_str()))
        || headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

/// Returns true if the requested host is a name that only a peer on this machine would use.
fn requests_local_name(request: &Parts) -> bool {
    requested_host(request).is_some_and(|host| is_local(host.host()))
}

/// The requested host, with its port if one is given. The host of a URI in absolute form has precedence over the header
/// (RFC 9112 §3.2.2). `None` if there is none, or if it is more than a host and a port.
pub(super) fn requested_host(request: &Parts) -> Option<Authority> {
    let header = || Authority::try_from(request.headers.get(header::HOST)?.as_bytes()).ok();
    request.uri.authority().cloned().or_else(header).filter(has_only_a_port)
}

/// Returns true if there is more than one host header: two programs that each use another one would disagree about the
/// name that is requested (RFC 9112 §3.2).
pub(super) fn has_several_hosts(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().nth(1).is_some()
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

    use hyper::Request;

    use super::*;

    /// A request from this machine with these headers.
    fn request(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn admitted(pages: PagePolicy, address: &str, authenticated: bool, host: &str) -> bool {
        let host = (!host.is_empty()).then_some(("host", host));
        let peer = Peer { address: address.parse().expect("an address"), authenticated };
        pages.admit(peer, &request(Version::HTTP_11, "/", host.as_slice())).is_ok()
    }

    fn is_local_request(request: &Parts) -> bool {
        let peer = Peer { address: IpAddr::from([127, 0, 0, 1]), authenticated: false };
        let with_password = Peer { authenticated: true, ..peer };
        assert!(PagePolicy::Auto.admit(with_password, request).is_ok(), "a password is enough");
        PagePolicy::Auto.admit(peer, request).is_ok()
    }

    #[test]
    fn a_request_forwarded_by_a_proxy_is_not_from_this_machine() {
        let host = ("host", "localhost:19121");
        assert!(is_local_request(&request(Version::HTTP_11, "/", &[host])));
        assert!(!is_local_request(&request(Version::HTTP_10, "/", &[host])), "nginx, without any setting");
        for (name, value) in [
            ("forwarded", "for=203.0.113.9"),
            ("via", "1.1 proxy"),
            ("x-forwarded-for", "203.0.113.9"),
            ("X-Forwarded-Host", "clients.example.org"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/redis"),
            ("x-forwarded-whatever", ""),
            ("x-real-ip", "203.0.113.9"),
            ("cf-connecting-ip", "203.0.113.9"),
            ("True-Client-IP", "203.0.113.9"),
            ("x-client-ip", "203.0.113.9"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert!(!is_local_request(&request(Version::HTTP_11, "/", &[host, (name, value)])), "{name}");
        }
        for (name, value) in [("x-forwarded", "1"), ("sec-fetch-site", "same-origin"), ("accept", "via")] {
            assert!(is_local_request(&request(Version::HTTP_11, "/", &[host, (name, value)])), "{name}");
        }
    }

    #[test]
    fn the_host_of_an_absolute_uri_has_precedence() {
        for (target, host, admits) in [
            ("http://localhost:19121/", "evil.example", true),
            ("http://evil.example/", "localhost:19121", false),
            ("http://evil.example:80/", "localhost", false),
            ("http://localhost@evil.example/", "localhost", false),
            ("http://localhost:80@evil.example/", "localhost", false),
            ("http://[::1]:19121/", "", true),
        ] {
            let host = (!host.is_empty()).then_some(("host", host));
            assert_eq!(is_local_request(&request(Version::HTTP_11, target, host.as_slice())), admits, "{target}");
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
