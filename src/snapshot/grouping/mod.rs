//! The application that a client belongs to. Pure, but for a memory of names seen before.
//!
//! First the operator's rules (`--group.file`), then the name without what changes per process (`rules`, or the
//! operator's `--group.name-pattern`), then the user unless it is `default`, then what `--group.unnamed-by` says (the
//! library, the library and the host, or the host), else `(unnamed)`.

mod bull;
mod file;
mod host;
mod library;
mod memory;
mod rules;

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use regex::bytes::Regex;

use crate::client_list::{Address, Client, Field};
use crate::text::{UNIX, UNNAMED, app_label};
use file::{FileRule, Gives};
use library::{LibraryApp, library_app};
use memory::{Known, Named};

pub(super) use memory::Lookup;
pub use rules::{RULES, Rule};

/// Options of the grouping, all but the rules of the operator's file.
#[derive(Clone, Debug, Default)]
pub struct GroupingOptions {
    /// Replaces the table of rules (`--group.name-pattern`).
    pub name_pattern: Option<String>,
    /// Takes versions off names too (`--group.strip-version`).
    pub strip_version: bool,
    /// The application of clients without a name and a user (`--group.unnamed-by`).
    pub fallback: Fallback,
}

/// The application of clients that have neither a lasting name nor a user of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The library, or the driver that it names.
    #[default]
    Library,
    /// The library and the host: `redis-py@10.0.0.5`. One of them if the other is not known.
    LibraryHost,
    /// The host; the library if the host is not known.
    Host,
}

/// The rules that group clients into applications.
pub struct Grouping {
    names: Names,
    fallback: Fallback,
    rules: Vec<FileRule>,
    known: Mutex<Known>,
}

/// The way from a name to an application.
enum Names {
    /// By the table of rules.
    Table { strips_version: bool },
    /// By the first group of the operator's pattern, or its whole match.
    Pattern(Regex),
}

/// The reason why a client belongs to its application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A rule of the operator's file, counted from 1.
    FileRule(usize),
    /// Its name; lists what was taken off.
    Name(Vec<&'static str>),
    /// The operator's pattern.
    Pattern,
    /// Its user.
    User,
    /// Its library.
    Library,
    /// The driver that its library names.
    Driver,
    /// Its library (or the driver that it names) and its host.
    LibraryHost,
    /// Its host.
    Host,
    /// Nothing: it has no name, user or library, nor, with `--group.unnamed-by`, a host.
    Nothing,
}

impl Grouping {
    /// Groups by the rules of a file, then by the options.
    ///
    /// # Errors
    /// A sentence on what is wrong, which begins with the flag.
    pub fn new(options: &GroupingOptions, file: Option<&str>) -> Result<Self, String> {
        let names = match &options.name_pattern {
            None => Names::Table { strips_version: options.strip_version },
            Some(_) if options.strip_version => {
                return Err(
                    "--group.strip-version: has no effect with --group.name-pattern, which replaces the rules \
                     for names; take the version off in the pattern"
                        .into(),
                );
            }
            Some(pattern) => {
                Names::Pattern(file::anywhere(pattern).map_err(|fault| format!("--group.name-pattern: {fault}"))?)
            }
        };
        let rules = match file {
            None => Vec::new(),
            Some(text) => file::parse(text).map_err(|fault| format!("--group.file: {fault}"))?,
        };
        Ok(Self { names, fallback: options.fallback, rules, known: Mutex::default() })
    }

    /// The application of one client.
    pub fn app(&self, client: &Client<'_>) -> Arc<str> {
        self.lookup().app(client)
    }

    /// The reason why a client belongs to its application.
    pub fn by(&self, client: &Client<'_>) -> By {
        let name = client.text(Field::Name).unwrap_or_default();
        let named = self.named(name);
        if let Some((place, _)) = self.rule(&named, client) {
            return By::FileRule(place + 1);
        }
        match (&named.app, &self.names) {
            (Some(_), &Names::Table { strips_version }) => By::Name(rules::applied(name, strips_version)),
            (Some(_), Names::Pattern(_)) => By::Pattern,
            (None, _) if user(client).is_some() => By::User,
            (None, _) => match self.library_and_host(client) {
                (Some(_), Some(_)) => By::LibraryHost,
                (Some(library), None) if library.is_driver => By::Driver,
                (Some(_), None) => By::Library,
                (None, Some(_)) => By::Host,
                (None, None) => By::Nothing,
            },
        }
    }

    /// Starts a lookup of many clients.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.begin_lookup();
        Lookup { grouping: self, known }
    }

    /// Applies the rules to a name.
    fn named(&self, name: &[u8]) -> Named {
        let rules = self.rules.iter().enumerate().filter_map(|(place, rule)| Some((place, rule.app_by_name(name)?)));
        Named { app: self.app_of_name(name), rules: rules.collect() }
    }

    fn app_of_name(&self, name: &[u8]) -> Option<Arc<str>> {
        let app = match &self.names {
            &Names::Table { strips_version } => rules::application(name, strips_version),
            Names::Pattern(pattern) => match pattern.captures(name) {
                Some(found) => found.get(1).or_else(|| found.get(0))?.as_bytes().to_vec(),
                None => name.to_vec(),
            },
        };
        (!app.is_empty()).then(|| app_label(&app).into())
    }

    /// The application of a client whose name is grouped. Labels of users, libraries and hosts are in the memory.
    fn app_by(&self, named: &Named, client: &Client<'_>, known: &mut Known) -> Arc<str> {
        if let Some((_, app)) = self.rule(named, client) {
            return Arc::clone(app);
        }
        if let Some(app) = &named.app {
            return Arc::clone(app);
        }
        if let Some(user) = user(client) {
            return known.label(user, || app_label(user).into());
        }
        let value = match self.library_and_host(client) {
            (Some(library), None) => Cow::Borrowed(library.name),
            (Some(library), Some(host)) => {
                let mut value = library.name.to_vec();
                write!(value, "@{host}").expect("writing to a vector cannot fail");
                Cow::Owned(value)
            }
            // Not a client's text, so it is not escaped; the key is one that no client's text can be.
            (None, Some(Host::Unix)) => return known.label(b"\n", || UNIX.into()),
            (None, Some(host)) => Cow::Owned(host.to_string().into_bytes()),
            (None, None) => return known.label(b"", || UNNAMED.into()),
        };
        known.label(&value, || app_label(&value).into())
    }

    /// The library and the host that stand for a client without name and user, by the fallback.
    fn library_and_host<'a>(&self, client: &'a Client<'_>) -> (Option<LibraryApp<'a>>, Option<Host>) {
        let library = || client.text(Field::LibName).filter(|library| !library.is_empty()).map(library_app);
        match self.fallback {
            Fallback::Library => (library(), None),
            Fallback::LibraryHost => (library(), Host::of(client)),
            Fallback::Host => match Host::of(client) {
                Some(host) => (None, Some(host)),
                None => (library(), None),
            },
        }
    }

    /// The first rule of the operator's file that a client matches, with the application that it gives.
    fn rule<'a>(&'a self, named: &'a Named, client: &Client<'_>) -> Option<(usize, &'a Arc<str>)> {
        if self.rules.is_empty() {
            return None;
        }
        let user = client.text(Field::User).unwrap_or_default();
        let address = ip_address(client);
        self.rules.iter().enumerate().find_map(|(place, rule)| {
            let app = match &rule.gives {
                Gives::Always(app) => app,
                Gives::ByName { .. } => &named.rules.iter().find(|(known, _)| *known == place)?.1,
            };
            rule.matches(user, address).then_some((place, app))
        })
    }
}

impl Default for Grouping {
    fn default() -> Self {
        let names = Names::Table { strips_version: false };
        Self { names, fallback: Fallback::default(), rules: Vec::new(), known: Mutex::default() }
    }
}

impl fmt::Debug for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouping").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

fn user<'a>(client: &'a Client<'_>) -> Option<&'a [u8]> {
    client.text(Field::User).filter(|user| !user.is_empty() && *user != b"default")
}

/// The host of a client, as far as its address is certain. Text that is not an address is never shown as a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Inet(IpAddr),
    /// The server's own machine, by its unix socket.
    Unix,
}

impl Host {
    fn of(client: &Client<'_>) -> Option<Self> {
        ip_address(client)
            .map(Self::Inet)
            .or_else(|| matches!(client.address()?, Address::Unix(_)).then_some(Self::Unix))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix => f.write_str(UNIX),
        }
    }
}

/// A client's address without its port; an IPv4 address that is written as IPv6 is an IPv4 address.
pub(super) fn ip_address(client: &Client<'_>) -> Option<IpAddr> {
    match client.address()? {
        Address::Inet(address) => Some(address.ip().to_canonical()),
        Address::Unix(_) | Address::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_list::parse;

    fn app(grouping: &Grouping, row: &str) -> String {
        grouping.app(&parse(row.as_bytes()).clients[0]).to_string()
    }

    #[test]
    fn a_client_without_a_lasting_name_is_known_by_its_user_then_its_library() {
        let grouping = Grouping::default();
        for (row, expected) in [
            ("id=1 name=worker-17-0a3f9 user=app lib-name=redis-py", "worker"),
            ("id=1 name=12345 user=app lib-name=redis-py", "app"),
            ("id=1 name= user=default lib-name=redis-py", "redis-py"),
            ("id=1 name= user=default lib-name=", "(unnamed)"),
            ("id=1 addr=a", "(unnamed)"),
            ("id=1 name=(unnamed)", r"\(unnamed)"),
            ("id=1 name=(other)-7", r"\(other)"),
            ("id=1 name= user=(other)", r"\(other)"),
        ] {
            assert_eq!(app(&grouping, row), expected, "{row}");
        }
    }

    #[test]
    fn a_client_without_name_and_user_is_grouped_as_the_option_says() {
        let cases = [
            ("lib-name=redis-py addr=10.0.0.5:1", "redis-py", "redis-py@10.0.0.5", "10.0.0.5"),
            ("lib-name=redis-py(my_v1) addr=10.0.0.5:2", "my", "my@10.0.0.5", "10.0.0.5"),
            ("lib-name=redis-py addr=[2001:db8::1]:1", "redis-py", "redis-py@2001:db8::1", "2001:db8::1"),
            ("lib-name=redis-py addr=[::ffff:10.0.0.5]:1", "redis-py", "redis-py@10.0.0.5", "10.0.0.5"),
            ("lib-name=redis-py addr=/run/redis.sock:0", "redis-py", "redis-py@(unix)", "(unix)"),
            ("lib-name=redis-py addr=?:0", "redis-py", "redis-py", "redis-py"),
            ("lib-name=redis-py addr=(other)\x1b[31m", "redis-py", "redis-py", "redis-py"),
            ("lib-name=(other) addr=10.0.0.5:1", r"\(other)", r"\(other)@10.0.0.5", "10.0.0.5"),
            ("lib-name= addr=10.0.0.5:1", "(unnamed)", "10.0.0.5", "10.0.0.5"),
            ("addr=/run/redis.sock:0", "(unnamed)", "(unix)", "(unix)"),
            ("addr=nonsense", "(unnamed)", "(unnamed)", "(unnamed)"),
            ("user=ops lib-name=redis-py addr=10.0.0.5:1", "ops", "ops", "ops"),
            ("name=web-1 lib-name=redis-py addr=10.0.0.5:1", "web", "web", "web"),
        ];
        let by = |fallback| Grouping::new(&GroupingOptions { fallback, ..GroupingOptions::default() }, None);
        let by =
            [Fallback::Library, Fallback::LibraryHost, Fallback::Host].map(|fallback| by(fallback).expect("valid"));
        for (row, library, library_host, host) in cases {
            let row = format!("id=1 {row}");
            let found = by.each_ref().map(|grouping| app(grouping, &row));
            assert_eq!(found, [library, library_host, host], "{row}");
            // Again, from memory.
            assert_eq!(by.each_ref().map(|grouping| app(grouping, &row)), found, "{row}");
        }
        let reasons = |row: &str| by.each_ref().map(|grouping| grouping.by(&parse(row.as_bytes()).clients[0]));
        assert_eq!(reasons("id=1 lib-name=a addr=10.0.0.5:1"), [By::Library, By::LibraryHost, By::Host]);
        assert_eq!(reasons("id=1 lib-name=a(b_v1) addr=10.0.0.5:1"), [By::Driver, By::LibraryHost, By::Host]);
        assert_eq!(reasons("id=1 lib-name=a addr=?:0"), [By::Library, By::Library, By::Library]);
        assert_eq!(reasons("id=1 addr=10.0.0.5:1"), [By::Nothing, By::Host, By::Host]);
    }

    #[test]
    fn the_operators_file_goes_first_and_the_first_rule_that_holds_wins() {
        let file = "rules: [{app: office, network: 10.9.0.0/16},
            {app: '$1-jobs', name: '([a-z]+)-job-.*', user: ops}, {app: ops, user: ops}]";
        let grouping = Grouping::new(&GroupingOptions::default(), Some(file)).expect("a file");
        for (row, expected, by) in [
            ("id=1 addr=10.9.1.2:5 name=web-1 user=ops", "office", By::FileRule(1)),
            ("id=1 addr=[::ffff:10.9.1.2]:5 name=web-1", "office", By::FileRule(1)),
            ("id=1 addr=10.8.1.2:5 name=mail-job-7 user=ops", "mail-jobs", By::FileRule(2)),
            ("id=1 addr=10.8.1.2:5 name=mail-7 user=ops", "ops", By::FileRule(3)),
            ("id=1 addr=10.8.1.2:5 name=mail-7 user=default", "mail", By::Name(vec!["counter"])),
        ] {
            assert_eq!(app(&grouping, row), expected, "{row}");
            assert_eq!(grouping.by(&parse(row.as_bytes()).clients[0]), by, "{row}");
        }
    }

    #[test]
    fn the_operators_pattern_replaces_the_table() {
        let by_pattern = |pattern: &str, strip_version| {
            let name_pattern = Some(pattern.to_owned());
            Grouping::new(&GroupingOptions { name_pattern, strip_version, ..GroupingOptions::default() }, None)
        };
        let grouping = by_pattern("^team-([a-z]+)", false).expect("a pattern");
        assert_eq!(app(&grouping, "id=1 name=team-a-17"), "a");
        assert_eq!(app(&grouping, "id=1 name=worker-17"), "worker-17");
        assert!(by_pattern("(", false).is_err());
        let fault = by_pattern("^team-([a-z]+)", true).expect_err("the version is in the pattern's hands");
        assert!(fault.starts_with("--group.strip-version: "), "{fault}");
    }
}
