//! Which server to connect to, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// As whom to log in; `None` for no `AUTH` at all.
    pub credentials: Option<Credentials>,
    /// The files for TLS, used where the endpoint asks for it.
    pub tls: TlsFiles,
    /// How long connecting may take in all, and each reply.
    pub timeout: Duration,
}

impl Target {
    /// The address as it is shown: never with a user or a password.
    pub fn node(&self) -> Arc<str> {
        self.endpoint.to_string().into()
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port, with or without TLS.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether to speak TLS.
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

/// A user and where its password is.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The ACL user; `None` is the user `default`, and the only way before 6.0.
    pub user: Option<String>,
    /// The password.
    pub password: Password,
}

/// A password, or the file that holds it.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password itself; `Debug` does not print it.
    Given(SecretString),
    /// A file, read at each connect, so that a rotated password needs no restart. The end of its line is not part of it.
    File(PathBuf),
}

/// Files in PEM format for TLS, read at each connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What an address says: where, and perhaps as whom.
#[derive(Debug)]
pub struct ParsedAddress {
    /// Where.
    pub endpoint: Endpoint,
    /// The user in it.
    pub user: Option<String>,
    /// The password in it.
    pub password: Option<SecretString>,
}

/// Reads `redis://`, `rediss://`, `unix://` or a bare `host:port`. A database in the path is accepted and has no meaning:
/// clients are listed whatever is selected.
///
/// # Errors
/// A sentence that says what is wrong with it, without any part that may be secret.
pub fn parse_address(text: &str) -> Result<ParsedAddress, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return unix_address(path);
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| format!("it cannot be read: {error}"))?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        other => return Err(format!("it begins with {other}://; use redis://, rediss:// or unix://")),
    };
    let database = url.path().trim_start_matches('/');
    if url.query().is_some() || url.fragment().is_some() || !database.bytes().all(|byte| byte.is_ascii_digit()) {
        // Perhaps the rest of a password; it must not be taken for anything else, nor be repeated.
        return Err("something follows the port; write / ? # in a password as %2F %3F %23, and options as flags".into());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(6379);
    if port == 0 {
        return Err("its port is 0".into());
    }
    let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
    let password = url.password().map(decoded).transpose()?.map(SecretString::from);
    Ok(ParsedAddress { endpoint: Endpoint::Tcp { host, port, tls }, user, password })
}

/// The path is taken as it stands, spaces and all: a socket's path may hold anything.
fn unix_address(path: &str) -> Result<ParsedAddress, String> {
    if !path.starts_with('/') {
        return Err("the path of a unix socket must begin with a slash: unix:///run/redis.sock".into());
    }
    if path.rsplit_once('?').is_some_and(|(_, options)| options.contains('=')) {
        return Err("options behind the path are not read; give user and password as flags".into());
    }
    Ok(ParsedAddress { endpoint: Endpoint::Unix(path.into()), user: None, password: None })
}

fn decoded(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| "its user or password is not UTF-8".to_owned())
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
    fn what_cannot_be_meant_is_refused_without_repeating_secrets() {
        for text in ["http://h:1", "redis://", "unix://run/x", "redis://u:hush@h:0", "redis://u:hush@h:99999"] {
            let error = parse_address(text).expect_err(text);
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
