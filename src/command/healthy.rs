//! `healthy`: asks the exporter beside it whether it is alive, for images that have neither a shell nor a client of their own.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Exit, print, small_runtime};
use crate::cli::HealthyArgs;
use crate::config::listening;

/// How long an answer may take: less than whoever runs us every few seconds waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// Enough of an answer to hold its first line.
const HEAD_BYTES: usize = 512;

pub(super) fn run(words: &HealthyArgs) -> Result<Exit> {
    let addresses = listening(words)?;
    small_runtime()?.block_on(async {
        for address in addresses {
            let asked = timeout(PATIENCE, ask(address)).await;
            let status = asked.with_context(|| format!("{address} does not answer within {PATIENCE:?}"))??;
            print(&format!("{address} {}\n", meaning(address, status)?))?;
        }
        Ok(Exit::Success)
    })
}

/// Asks in plain text, whatever is configured: a port that speaks TLS says so in plain text as well. So neither a
/// certificate to trust, nor one to show, nor a password is needed to learn that the exporter accepts, reads and answers.
async fn ask(address: SocketAddr) -> Result<u16> {
    let mut stream = TcpStream::connect(within_reach(address).as_slice())
        .await
        .with_context(|| format!("nothing listens on {address}"))?;
    let request = b"GET /-/healthy HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.with_context(|| format!("{address} takes no request"))?;
    let mut answer = Vec::with_capacity(HEAD_BYTES);
    let read = stream.take(HEAD_BYTES as u64).read_to_end(&mut answer).await;
    read.with_context(|| format!("{address} breaks off"))?;
    status(&answer).with_context(|| format!("{address} does not speak HTTP"))
}

/// Where to ask who listens there. Who listens everywhere is asked by both loopback addresses, as either may be missing.
fn within_reach(address: SocketAddr) -> Vec<SocketAddr> {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => vec![(Ipv4Addr::LOCALHOST, port).into()],
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        address => vec![address],
    }
}

/// The status of an answer, by its first line.
fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// What a status tells of the exporter; an error if it tells that something else listens there.
fn meaning(address: SocketAddr, status: u16) -> Result<&'static str> {
    Ok(match status {
        200 => "is healthy",
        400 => "is alive: it asks for TLS",
        401 => "is alive: it asks for a user and password",
        429 => "is alive: it has more requests than it may answer",
        _ => bail!("{address} answers with status {status}: is that redis-client-exporter?"),
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
    fn who_listens_everywhere_is_asked_on_this_machine() {
        let asked =
            |text: &str| within_reach(text.parse().expect("an address")).iter().map(ToString::to_string).collect();
        let told: Vec<Vec<String>> = ["[::]:1", "0.0.0.0:1", "10.0.0.5:1"].map(asked).to_vec();
        assert_eq!(told, [vec!["127.0.0.1:1", "[::1]:1"], vec!["127.0.0.1:1"], vec!["10.0.0.5:1"]]);
    }
}
