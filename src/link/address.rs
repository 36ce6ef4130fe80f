//! Addresses: the server to connect to, and the credentials.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::password_command::PasswordCommand;

/// The address and the credentials of a server.
#[derive(Clone, Debug)]
pub struct NodeAddress {
    /// The port or the socket.
    pub endpoint: Endpoint,
    /// The credentials; `None` for no `AUTH`.
    pub credentials: Option<Credentials>,
    /// The options for TLS, used if the endpoint requires TLS.
    pub tls: TlsOptions,
    /// The time-out for connecting in total, and for each reply.
    pub timeout: Duration,
}

impl NodeAddress {
    /// Returns true if nothing differs from another address, secrets included.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same_login = match (&self.credentials, &other.credentials) {
            (Some(one), Some(other)) => one.user == other.user && one.password.is_same(&other.password),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.endpoint == other.endpoint && self.tls == other.tls && self.timeout == other.timeout && is_same_login
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

impl Endpoint {
    /// Returns true if the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Endpoint::Tcp { tls: true, .. })
    }
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

/// A password, or its source.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password itself; `Debug` does not print it.
    Given(SecretString),
    /// A file, read at each connect, so that a rotated password needs no restart. A byte order mark and line breaks at
    /// its end are not part of the password.
    File(PathBuf),
    /// A command that prints it.
    Command(Arc<PasswordCommand>),
}

impl Password {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Password::Given(one), Password::Given(other)) => one.expose_secret() == other.expose_secret(),
            (Password::File(one), Password::File(other)) => one == other,
            (Password::Command(one), Password::Command(other)) => one.is_same(other),
            _ => false,
        }
    }
}

/// The options for TLS. Files are in PEM format, and read at each connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The CA certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client certificate and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have; `None` for the host of the address.
    pub server_name: Option<String>,
    /// True if the server's certificate is not verified at all: another host on the way can pretend to be the server.
    pub insecure_skip_verify: bool,
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

/// Parses an address: `redis://`, `valkey://` and `tcp://`, with TLS `rediss://` and `valkeys://`, a bare `host:port`,
/// an IPv6 address with or without brackets, `unix:///path` or a bare `/path`. A database in the path is accepted and
/// ignored: `CLIENT LIST` lists the clients of all databases.
///
/// # Errors
/// A sentence with the fault, without any part of the address that may be secret.
pub fn parse_address(text: &str) -> Result<ParsedAddress, String> {
    parse_address_with_port(text, DEFAULT_PORT)
}

/// Parses an address like [`parse_address`], but with another port if the text has none.
///
/// # Errors
/// See [`parse_address`].
pub fn parse_address_with_port(text: &str, default_port: u16) -> Result<ParsedAddress, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None if text.starts_with('/') => ("unix".to_owned(), text),
        None => ("redis".to_owned(), text),
    };
    let tls = match scheme.as_str() {
        plain if PLAIN_SCHEMES.contains(&plain) => false,
        encrypted if TLS_SCHEMES.contains(&encrypted) => true,
        "unix" => return unix_address(rest),
        other => return Err(unknown_scheme(other)),
    };
    // `rediss:password@host` is not a user of that name.
    let user = rest.split_once('@').and_then(|(before, _)| Some(before.split_once(':')?.0.to_ascii_lowercase()));
    if user.is_some_and(|user| [&PLAIN_SCHEMES[..], &TLS_SCHEMES[..], &["unix"]].concat().contains(&user.as_str())) {
        return Err("the scheme ends in ://, as in redis://:PASSWORD@host:6379".to_owned());
    }
    if let Ok(address) = rest.parse::<Ipv6Addr>() {
        return bare_ipv6(rest, address, default_port, tls);
    }
    // A scheme that the URL standard does not know: hosts are not rewritten.
    let url = Url::parse(&format!("redis://{rest}")).map_err(|error| match has_reserved_character(rest) {
        true => RESERVED_IN_PASSWORD.to_owned(),
        false => format!("invalid address: {error}; examples: redis://host:6379, host:6379, [::1]:6379"),
    })?;
    let database = url.path().trim_start_matches('/');
    if url.query().is_some() || url.fragment().is_some() || !database.bytes().all(|byte| byte.is_ascii_digit()) {
        // This may be the rest of a password, so it is neither interpreted nor quoted.
        return Err(RESERVED_IN_PASSWORD.to_owned());
    }
    let host =
        url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing; example: redis://host:6379")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(default_port);
    if port == 0 {
        return Err(format!("the port is 0; the usual port is {default_port}"));
    }
    let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
    let password = url.password().map(decoded).transpose()?.map(SecretString::from);
    Ok(ParsedAddress { endpoint: Endpoint::Tcp { host, port, tls }, user, password })
}

/// Returns true if an address requires TLS.
pub fn requires_tls(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| TLS_SCHEMES.contains(&scheme.as_str()))
}

/// Schemes with and without TLS.
const TLS_SCHEMES: [&str; 2] = ["rediss", "valkeys"];
const PLAIN_SCHEMES: [&str; 3] = ["redis", "valkey", "tcp"];

/// The port of an address without one.
const DEFAULT_PORT: u16 = 6379;

const RESERVED_IN_PASSWORD: &str = "unexpected text after the port; write / ? # in a password as %2F %3F %23, or use \
     --redis.password-file, and write options as flags";

/// True if a character that ends the authority of a URL comes before the `@`: it is probably part of a password.
fn has_reserved_character(rest: &str) -> bool {
    rest.rfind('@').is_some_and(|at| rest[..at].contains(['/', '?', '#']))
}

fn unknown_scheme(scheme: &str) -> String {
    match scheme {
        sentinel if sentinel.contains("sentinel") => {
            "unknown scheme; a Sentinel group is redis+sentinel://host1:26379,host2:26379/mymaster, or with TLS \
                rediss+sentinel://"
                .to_owned()
        }
        cluster if cluster.contains("cluster") => {
            "unknown scheme; a cluster is redis+cluster://host1:6379,host2:6379, or with TLS rediss+cluster://"
                .to_owned()
        }
        socket if socket.contains("socket") || socket.contains("unix") => {
            "unknown scheme; the address of a unix socket is unix:///run/redis.sock".to_owned()
        }
        "http" | "https" => "this is the URL of a web server; the address of a server is redis://host:6379".to_owned(),
        // It may be the beginning of a password.
        _ => "unknown scheme; use redis://, rediss:// (TLS), valkey://, valkeys:// (TLS), tcp:// or unix://".to_owned(),
    }
}

/// An IPv6 address without brackets: it has no port. One whose last group looks like a port is ambiguous.
fn bare_ipv6(text: &str, address: Ipv6Addr, default_port: u16, tls: bool) -> Result<ParsedAddress, String> {
    let (before, last) = text.rsplit_once(':').unwrap_or(("", text));
    if last.len() >= 4 && last.parse::<u16>().is_ok() {
        return Err(format!("an IPv6 address needs brackets; write [{before}]:{last}, or [{text}]:{default_port}"));
    }
    let endpoint = Endpoint::Tcp { host: address.to_string(), port: default_port, tls };
    Ok(ParsedAddress { endpoint, user: None, password: None })
}

/// Parses the path of a unix socket. It is not decoded, because the path may contain any character.
fn unix_address(path: &str) -> Result<ParsedAddress, String> {
    let credentials = path.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'));
    if credentials {
        return Err("a user and password cannot be part of the path of a unix socket; use --redis.user and \
            --redis.password-file"
            .into());
    }
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
            ("valkey://cache.example", "cache.example:6379", false),
            ("VALKEYS://cache.example:6380", "cache.example:6380", true),
            ("tcp://10.0.0.5:6379", "10.0.0.5:6379", false),
            ("::1", "[::1]:6379", false),
            ("[::1]", "[::1]:6379", false),
            ("rediss://2001:db8::5", "[2001:db8::5]:6379", true),
            ("redis://[2001:db8::5]:7000/0", "[2001:db8::5]:7000", false),
        ];
        for (text, node, tls) in cases {
            let endpoint = parse_address(text).expect(text).endpoint;
            assert_eq!(endpoint.to_string(), node);
            assert!(matches!(endpoint, Endpoint::Tcp { tls: has, .. } if has == tls), "{text}");
        }
        let address = parse_address("unix:///tmp/redis sock/a=b.sock").expect("a unix address");
        assert_eq!(address.endpoint, Endpoint::Unix("/tmp/redis sock/a=b.sock".into()));
        let address = parse_address("/run/redis.sock").expect("a path");
        assert_eq!(address.endpoint, Endpoint::Unix("/run/redis.sock".into()));
    }

    #[test]
    fn an_address_is_the_same_only_with_the_same_source_of_its_password() {
        let with = |user: &str, password: Option<Password>| NodeAddress {
            endpoint: parse_address("host").expect("an address").endpoint,
            credentials: password.map(|password| Credentials { user: Some(user.to_owned()), password }),
            tls: TlsOptions::default(),
            timeout: Duration::ZERO,
        };
        let command = |arg: &str, ttl| {
            let args = vec!["token".to_owned(), arg.to_owned()];
            Some(Password::Command(Arc::new(PasswordCommand::new(args, Duration::from_secs(ttl)))))
        };
        let addresses = || {
            [
                with("a", None),
                with("a", Some(Password::Given("x".into()))),
                with("b", Some(Password::Given("x".into()))),
                with("a", Some(Password::Given("y".into()))),
                with("a", Some(Password::File("x".into()))),
                with("a", Some(Password::File("y".into()))),
                with("a", command("x", 1)),
                with("a", command("y", 1)),
                with("a", command("x", 2)),
            ]
        };
        for (place, one) in addresses().iter().enumerate() {
            for (other_place, other) in addresses().iter().enumerate() {
                assert_eq!(one.is_same(other), place == other_place, "{place} {other_place}");
            }
        }
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
    fn what_people_paste_is_refused_with_the_form_that_was_meant() {
        for (text, fix) in [
            ("redis://:pa#hush@h", "%23"),
            ("redis://:pa/hush@h:6379", "%2F"),
            ("redis://:pa?hush@h:6379", "%3F"),
            ("redis-sentinel://h1:26379/hush", "redis+sentinel://host1:26379,host2:26379/mymaster"),
            ("rediss-sentinel://:hush@h1,h2/0#main", "rediss+sentinel://"),
            ("redis-cluster://:hush@h1", "redis+cluster://host1:6379,host2:6379"),
            ("rediss-cluster://:hush@h1", "rediss+cluster://"),
            ("redis-socket:///hush.sock", "unix:///run/redis.sock"),
            ("https://u:hush@h:1", "redis://host:6379"),
            ("hush://h", "valkeys://"),
            ("rediss:hush@h:6379", "redis://:PASSWORD@host:6379"),
            ("::1:6379", "[::1]:6379"),
            ("unix:///u:hush@/x.sock", "--redis.password-file"),
            ("/u:hush@/x.sock", "--redis.password-file"),
        ] {
            let error = parse_address(text).expect_err(text);
            assert!(error.contains(fix) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn an_invalid_address_is_refused_without_quoting_secrets() {
        for text in ["http://h:1", "redis://", "unix://run/x", "redis://u:hush@h:0", "redis://u:hush@h:99999"] {
            let error = parse_address(text).expect_err(text);
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
