//! Nodes: the server to connect to, its name, and the credentials.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// One server: its name in outputs, and how to connect to it.
#[derive(Clone, Debug)]
pub struct Node {
    /// The label `redis`, and the name in messages. It holds no secret.
    pub name: Arc<str>,
    /// The address to connect to.
    pub address: NodeAddress,
}

/// The address and the credentials of a server.
#[derive(Clone, Debug)]
pub struct NodeAddress {
    /// The port or the socket.
    pub endpoint: Endpoint,
    /// The credentials; `None` for no `AUTH`.
    pub credentials: Option<Credentials>,
    /// The files for TLS, used if the endpoint requires TLS.
    pub tls: TlsFiles,
    /// The time-out for connecting in total, and for each reply.
    pub timeout: Duration,
}

impl From<NodeAddress> for Node {
    /// A node that is named by its address, without user and password.
    fn from(address: NodeAddress) -> Self {
        Self { name: address.endpoint.to_string().into(), address }
    }
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port, with or without TLS.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// True for TLS.
        tls: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The ACL user; `None` means the user `default`. Servers before 6.0 have no users.
    pub user: Option<String>,
    /// The password.
    pub password: Password,
}

/// A password, or the file that holds it.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password itself; `Debug` does not print it.
    Given(SecretString),
    /// A file, read at each connect, so that a rotated password needs no restart. The line break at its end is not part
    /// of the password.
    File(PathBuf),
}

/// Files in PEM format for TLS, read at each connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CA certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client certificate and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The parts of an address given by the operator.
#[derive(Debug)]
pub struct ParsedAddress {
    /// The server.
    pub endpoint: Endpoint,
    /// The user in it.
    pub user: Option<String>,
    /// The password in it.
    pub password: Option<SecretString>,
}

/// Parses `redis://`, `rediss://`, `unix://` or a bare `host:port`. A database in the path is accepted and ignored:
/// `CLIENT LIST` lists the clients of all databases.
///
/// # Errors
/// A sentence with the fault, without any part of the address that may be secret.
pub fn parse_address(text: &str) -> Result<ParsedAddress, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return unix_address(path);
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
    let url = Url::parse(&with_scheme)
        .map_err(|error| format!("invalid address: {error}; examples: redis://host:6379, host:6379"))?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        other => return Err(format!("unknown scheme {other}://; use redis://, rediss:// or unix://")),
    };
    let database = url.path().trim_start_matches('/');
    if url.query().is_some() || url.fragment().is_some() || !database.bytes().all(|byte| byte.is_ascii_digit()) {
        // This may be the rest of a password, so it is neither interpreted nor quoted.
        return Err(
            "unexpected text after the port; write / ? # in a password as %2F %3F %23, and options as flags".into()
        );
    }
    let host =
        url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing; example: redis://host:6379")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(6379);
    if port == 0 {
        return Err("the port is 0; the usual port is 6379".into());
    }
    let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
    let password = url.password().map(decoded).transpose()?.map(SecretString::from);
    Ok(ParsedAddress { endpoint: Endpoint::Tcp { host, port, tls }, user, password })
}

/// Parses the path of a unix socket. It is not decoded, because the path may contain any character.
fn unix_address(path: &str) -> Result<ParsedAddress, String> {
    if !path.starts_with('/') {
        return Err("the path of a unix socket must begin with a slash; example: unix:///run/redis.sock".into());
    }
    if path.rsplit_once('?').is_some_and(|(_, options)| options.contains('=')) {
        return Err("options after the path are not supported; use the flags for user and password".into());
    }
    Ok(ParsedAddress { endpoint: Endpoint::Unix(path.into()), user: None, password: None })
}

fn decoded(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| "the user or the password is not UTF-8 after decoding; check its %XX sequences".to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        let cases = [
            ("redis://127.0.0.1:6379", "127.0.0.1:6379", false),
            ("rediss://redis.example:6380/3", "redis.example:6380", true),
            ("redis.example", "redis.example:6379", false),
            ("localhost:7000", "localhost:7000", false),
            ("redis://[::1]:7000", "[::1]:7000", false),
            ("redis://alice:s%40cret@host", "host:6379", false),
        ];
        for (text, node, tls) in cases {
            let endpoint = parse_address(text).expect(text).endpoint;
            assert_eq!(endpoint.to_string(), node);
            assert!(matches!(endpoint, Endpoint::Tcp { tls: has, .. } if has == tls), "{text}");
        }
        let address = parse_address("unix:///tmp/redis sock/a=b.sock").expect("a unix address");
        assert_eq!(address.endpoint, Endpoint::Unix("/tmp/redis sock/a=b.sock".into()));
    }

    #[test]
    fn credentials_are_decoded() {
        let address = parse_address("redis://al%69ce:s%40cret@host").expect("an address");
        assert_eq!(address.user.as_deref(), Some("alice"));
        assert_eq!(address.password.expect("a password").expose_secret(), "s@cret");
        let address = parse_address("redis://:secret@host").expect("an address");
        assert!(address.user.is_none() && address.password.is_some());
        let address = parse_address("redis://alice@host").expect("an address");
        assert!(address.user.is_some() && address.password.is_none(), "the password may come from elsewhere");
    }

    #[test]
    fn an_invalid_address_is_refused_without_quoting_secrets() {
        for text in ["http://h:1", "redis://", "unix://run/x", "redis://u:hush@h:0", "redis://u:hush@h:99999"] {
            let error = parse_address(text).expect_err(text);
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
