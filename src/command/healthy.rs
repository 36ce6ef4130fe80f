//! `healthy`: checks that the exporter on this machine answers, for images without a shell or an HTTP client.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Exit, print, small_runtime};
use crate::cli::HealthyArgs;
use crate::config::listening;

/// The time-out for an answer: shorter than the usual time-outs of health checks.
const PATIENCE: Duration = Duration::from_secs(3);

/// Number of bytes of an answer that are read: enough for its first line.
const HEAD_BYTES: usize = 512;

pub(super) fn run(args: &HealthyArgs) -> Result<Exit> {
    let addresses = listening(args)?;
    small_runtime()?.block_on(async {
        for address in addresses {
            let asked = timeout(PATIENCE, ask(address)).await;
            let status = asked.with_context(|| format!("{address} does not answer within {PATIENCE:?}"))??;
            print(&format!("{address} {}\n", meaning(address, status)?))?;
        }
        Ok(Exit::Success)
    })
}

/// Sends a request in plain text, even if TLS is configured: the exporter answers it with status 400 in plain text. So
/// the check needs no CA certificate, client certificate or password.
async fn ask(address: SocketAddr) -> Result<u16> {
    let mut stream = TcpStream::connect(reachable_addresses(address).as_slice()).await.with_context(|| {
        format!("nothing listens on {address} (is the exporter running, with this --web.listen-address?)")
    })?;
    let request = b"GET /-/healthy HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.with_context(|| format!("cannot send a request to {address}"))?;
    let mut answer = Vec::with_capacity(HEAD_BYTES);
    let read = stream.take(HEAD_BYTES as u64).read_to_end(&mut answer).await;
    read.with_context(|| format!("{address} closed the connection while it answered"))?;
    status(&answer).with_context(|| format!("{address} does not speak HTTP"))
}

/// The addresses to connect to. For an exporter that listens on all addresses these are both loopback addresses, as
/// either may be missing.
fn reachable_addresses(address: SocketAddr) -> Vec<SocketAddr> {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => vec![(Ipv4Addr::LOCALHOST, port).into()],
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        address => vec![address],
    }
}

/// The HTTP status in the first line of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// The meaning of an HTTP status; an error if it shows that another program listens there.
fn meaning(address: SocketAddr, status: u16) -> Result<&'static str> {
    Ok(match status {
        200 => "is healthy",
        400 => "is alive: it asks for TLS",
        401 => "is alive: it asks for a user and password",
        429 => "is alive: it has reached its limit of requests",
        _ => bail!("{address} answers with status {status}; is another program listening there?"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nserver: x\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.1 401\r\n"), Some(401));
        for other in [&b""[..], b"-ERR unknown command\r\n", b"HTTP/1.1 OK\r\n", b"HTTP/1.1", b"\x15\x03\x01\r\n"] {
            assert_eq!(status(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_exporter_on_all_addresses_is_checked_on_loopback() {
        let asked = |text: &str| {
            reachable_addresses(text.parse().expect("an address")).iter().map(ToString::to_string).collect()
        };
        let addresses: Vec<Vec<String>> = ["[::]:1", "0.0.0.0:1", "10.0.0.5:1"].map(asked).to_vec();
        assert_eq!(addresses, [vec!["127.0.0.1:1", "[::1]:1"], vec!["127.0.0.1:1"], vec!["10.0.0.5:1"]]);
    }
}
