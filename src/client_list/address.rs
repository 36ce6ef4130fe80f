//! The address of a peer, in every format that servers use.

use std::net::{Ipv6Addr, SocketAddr};

/// The address from which a client connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The path of the server's unix socket, as configured: any byte but NUL.
    Unix(&'a [u8]),
    /// The peer disconnected before the server read its address (`?:0`, or empty since 7.2), or the format is unknown.
    Unknown(&'a [u8]),
}

impl<'a> Address<'a> {
    /// Parses the value of `addr` or `laddr`. Accepts `1.2.3.4:5`, `[::1]:5`, Azure's bare `fd40::1:5` (the port
    /// follows the last colon), `/path:0`, a path truncated by the server's buffer of 78 bytes, and Valkey 9's
    /// `[/path:0]:0`.
    pub fn parse(text: &'a [u8]) -> Self {
        inet(text).map(Address::Inet).or_else(|| unix(text).map(Address::Unix)).unwrap_or(Address::Unknown(text))
    }
}

fn inet(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| {
        let (ip, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(ip.parse::<Ipv6Addr>().ok()?.into(), port.parse().ok()?))
    })
}

fn unix(text: &[u8]) -> Option<&[u8]> {
    let bare = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]:0")).unwrap_or(text);
    bare.starts_with(b"/").then(|| bare.strip_suffix(b":0").unwrap_or(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(ip: &str, port: u16) -> Address<'static> {
        Address::Inet(SocketAddr::new(ip.parse().expect("an IP address"), port))
    }

    #[test]
    fn every_format_is_parsed() {
        let cases: &[(&[u8], Address<'_>)] = &[
            (b"10.0.0.1:52654", inet("10.0.0.1", 52654)),
            (b"[2001:db8::1]:52654", inet("2001:db8::1", 52654)),
            (b"[::ffff:10.0.0.1]:1", inet("::ffff:10.0.0.1", 1)),
            (b"fd40:1481:21:dbe0:7021:300:a03:1a06:44426", inet("fd40:1481:21:dbe0:7021:300:a03:1a06", 44426)),
            (b"/tmp/redis sock/redis.sock:0", Address::Unix(b"/tmp/redis sock/redis.sock")),
            (b"/tmp/a[b]=c:0", Address::Unix(b"/tmp/a[b]=c")),
            (b"[/run/valkey.sock:0]:0", Address::Unix(b"/run/valkey.sock")),
            (b"/a/path/that/the/server/cut", Address::Unix(b"/a/path/that/the/server/cut")),
            (b"?:0", Address::Unknown(b"?:0")),
            (b"", Address::Unknown(b"")),
            (b"not-an-address", Address::Unknown(b"not-an-address")),
            (b"10.10.xx.138:38638", Address::Unknown(b"10.10.xx.138:38638")),
            (b"\xff\xfe:0", Address::Unknown(b"\xff\xfe:0")),
        ];
        for (text, address) in cases {
            assert_eq!(Address::parse(text), *address, "{}", String::from_utf8_lossy(text));
        }
    }
}
