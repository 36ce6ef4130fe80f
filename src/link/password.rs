//! Reads passwords: given ones, those of a file, those of a file that maps servers to passwords, as redis_exporter has
//! it, and those that a command prints.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::address::{Credentials, Endpoint, Password, parse_address};

/// The user and the password of a link.
#[derive(Clone, Debug)]
pub struct Login {
    /// The ACL user; `None` for the user `default`.
    pub user: Option<String>,
    /// The password.
    pub password: SecretString,
}

impl Credentials {
    /// The login for a server; a file is read now. `None` if a map of passwords has none for this server, so that no
    /// password is sent to a server that it is not for.
    ///
    /// # Errors
    /// A sentence that names the file or the command, and never a password.
    pub async fn login(&self, server: &Endpoint) -> Result<Option<Login>, String> {
        let user = self.user.clone();
        match &self.password {
            Password::Given(password) => Ok(Some(Login { user, password: password.clone() })),
            Password::Command(command) => command.password(None).await.map(|password| Some(Login { user, password })),
            Password::File(path) => {
                let Ok(permit) = READING.try_acquire() else {
                    return Err("earlier reads of password files have not ended".to_owned());
                };
                let (path, server) = (path.clone(), server.clone());
                let read = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    Ok(match read(&path)? {
                        PasswordFile::One(password) => Some(Login { user, password }),
                        PasswordFile::Map(map) => login_of(map, &server, user),
                    })
                });
                read.await.unwrap_or_else(|error| Err(error.to_string()))
            }
        }
    }

    /// The login to try after the server has refused this one: `None` if there is no other one. A token may have
    /// expired, or may have been replaced.
    pub(super) async fn renewed(&self, refused: &Login) -> Option<Login> {
        let Password::Command(command) = &self.password else { return None };
        let password = command.password(Some(refused.password.clone())).await.ok()?;
        let is_another = password.expose_secret() != refused.password.expose_secret();
        is_another.then(|| Login { user: refused.user.clone(), password })
    }
}

/// Permits for reading password files. A read outlives our time-out if the file is a pipe without a writer; without a
/// limit, such reads would take all threads.
pub(super) static READING: Semaphore = Semaphore::const_new(16);

/// Checks that a password file can be read.
///
/// # Errors
/// A sentence that names the file, and never a password.
pub fn check_password_file(path: &Path) -> Result<(), String> {
    read(path).map(drop)
}

/// The contents of a password file.
enum PasswordFile {
    One(SecretString),
    Map(Vec<MapEntry>),
}

/// A server of a map, with its password.
struct MapEntry {
    server: Endpoint,
    user: Option<String>,
    password: SecretString,
}

/// Maximum size of a password file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> Result<PasswordFile, String> {
    let fault = |fault: String| format!("{}: {fault}", path.display());
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    let mut text = String::new();
    // It may be a pipe or a device.
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(fault(format!("it is larger than {MAX_BYTES} bytes")));
    }
    parse(&text).map_err(fault)
}

fn parse(text: &str) -> Result<PasswordFile, String> {
    // Editors add a byte order mark, or empty lines at the end; neither is part of a password.
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    let error = match serde_json::from_str::<BTreeMap<String, SecretString>>(text) {
        Ok(map) => return map.into_iter().zip(1..).map(entry).collect::<Result<_, _>>().map(PasswordFile::Map),
        Err(error) => error,
    };
    // Sent as a password, a map that is not quite valid would tell each server the passwords of all others.
    if text.contains(['\n', '\r']) || (text.trim_start().starts_with(['{', '[']) && text.contains('"')) {
        return Err(format!(
            "it is neither one password in one line nor a JSON object of addresses and passwords (line {}, column {})",
            error.line(),
            error.column()
        ));
    }
    match text.is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(PasswordFile::One(text.into())),
    }
}

fn entry(((server, password), number): ((String, SecretString), usize)) -> Result<MapEntry, String> {
    // The key may hold a password too, so it is not quoted.
    let fault = |fault| format!("the server of entry {number}, in the order of the names: {fault}");
    let address = parse_address(&server).map_err(fault)?;
    let password = address.password.unwrap_or(password);
    Ok(MapEntry { server: address.endpoint, user: address.user, password })
}

/// The login of a server: the entry of the wanted user, or else one without a user. Without a wanted user, an entry
/// with a user serves too.
fn login_of(map: Vec<MapEntry>, server: &Endpoint, user: Option<String>) -> Option<Login> {
    let is_usable = |entry: &MapEntry| is_for(&entry.server, server) && (user.is_none() || entry.user.is_none());
    let has_user = |entry: &MapEntry| is_for(&entry.server, server) && entry.user == user;
    let is_exact = |entry: &MapEntry| entry.server == *server && entry.user == user;
    let first = |fits: &dyn Fn(&MapEntry) -> bool| map.iter().position(fits);
    let place = first(&is_exact).or_else(|| first(&has_user)).or_else(|| first(&is_usable))?;
    let MapEntry { user: of_entry, password, .. } = map.into_iter().nth(place)?;
    let is_empty = password.expose_secret().is_empty();
    (!is_empty).then(|| Login { user: user.or(of_entry), password })
}

/// Returns true if a password that is for one address may be sent to another: a password for TLS is not sent without.
fn is_for(named: &Endpoint, server: &Endpoint) -> bool {
    match (named, server) {
        (Endpoint::Tcp { host, port, tls }, Endpoint::Tcp { host: to_host, port: to_port, tls: to_tls }) => {
            host.eq_ignore_ascii_case(to_host) && port == to_port && (!tls || *to_tls)
        }
        (named, server) => named == server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user and the password for an address, from a file with this text.
    fn login(text: &str, user: Option<&str>, address: &str) -> Result<Option<(Option<String>, String)>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passwords");
        std::fs::write(&path, text).expect("a file");
        let credentials = Credentials { user: user.map(str::to_owned), password: Password::File(path) };
        let server = parse_address(address).expect("an address").endpoint;
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let login = runtime.block_on(credentials.login(&server))?;
        Ok(login.map(|login| (login.user, login.password.expose_secret().to_owned())))
    }

    fn some(user: Option<&str>, password: &str) -> Result<Option<(Option<String>, String)>, String> {
        Ok(Some((user.map(str::to_owned), password.to_owned())))
    }

    #[test]
    fn a_password_file_of_an_editor_is_read_without_its_mark_and_empty_lines() {
        for text in ["s e", "s e\n", "s e\r\n", "\u{feff}s e\r\n\r\n", "s e\n\n\n"] {
            assert_eq!(login(text, Some("bob"), "h"), some(Some("bob"), "s e"), "{text:?}");
        }
        assert_eq!(login("{not a map}", None, "h"), some(None, "{not a map}"));
    }

    /// The whole file was sent as a password to every server.
    #[test]
    fn of_a_map_each_server_gets_its_own_password_and_no_other() {
        let map = r#"{"redis://one:6379": "a", "redis://exporter@two:6390": "b", "rediss://three": "c",
            "redis://four": "", "redis://[::1]:7000": "f", "redis://eve@one": "e"}"#;
        assert_eq!(login(map, None, "redis://ONE"), some(None, "a"));
        assert_eq!(login(map, Some("bob"), "one:6379"), some(Some("bob"), "a"));
        assert_eq!(login(map, Some("eve"), "one:6379"), some(Some("eve"), "e"));
        assert_eq!(login(map, None, "two:6390"), some(Some("exporter"), "b"));
        assert_eq!(login(map, Some("bob"), "two:6390"), Ok(None), "the password of another user");
        assert_eq!(login(map, None, "rediss://three"), some(None, "c"));
        assert_eq!(login(map, None, "redis://three"), Ok(None), "not without TLS");
        assert_eq!(login(map, None, "four"), Ok(None), "a server without a password");
        assert_eq!(login(map, None, "one:6380"), Ok(None), "another server");
        assert_eq!(login(map, None, "[::1]:7000"), some(None, "f"));
    }

    #[test]
    fn a_map_that_is_not_valid_is_never_sent_as_a_password() {
        for text in [
            r#"{"redis://one": "hush",}"#,
            r#"{"redis://one": 5, "b": "hush"}"#,
            r#"{"redis://one": "hush""#,
            r#"{"one:6379": "hush", "two:6379": "hush",}"#,
            r#"{"one:6379": {"password": "hush"}}"#,
            r#"{"redis:\/\/one": "hush",}"#,
            r#"[{"redis://one": "hush"}]"#,
            "// map\n{\"redis://one\": \"hush\"}",
            "redis://one: hush\nredis://two: hush\n",
            "",
            "\n\n",
        ] {
            let error = login(text, None, "one").expect_err(text);
            assert!(error.contains("passwords: it is ") && !error.contains("hush"), "{error}");
        }
        let error = login(r#"{"http://u:hush@one": "hush"}"#, None, "one").expect_err("no address");
        assert!(error.contains("entry 1") && !error.contains("hush"), "{error}");
    }

    #[tokio::test]
    async fn a_password_file_without_end_is_refused() {
        let credentials = Credentials { user: None, password: Password::File("/dev/zero".into()) };
        let server = parse_address("one").expect("an address").endpoint;
        assert!(credentials.login(&server).await.is_err_and(|error| error.contains("larger than")));
    }
}
