//! Which application a client belongs to. Pure, but for a memory of names that were looked at before.
//!
//! First the operator's rules (`--group.file`), then the name without what changes per process (`rules`, or the operator's
//! `--group.name-pattern`), then the user unless it is `default`, then the library, else `(unnamed)`.

mod file;
mod rules;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex::bytes::Regex;

use super::label::{UNNAMED, app_label};
use crate::client_list::{Address, Client, Field};
use file::{FileRule, Gives};

pub use rules::{RULES, Rule};

/// The most bytes of names that are remembered of those seen lately; then those that are not seen again are forgotten.
const MAX_REMEMBERED_BYTES: usize = 8 << 20;

/// Beyond so many bytes nothing more is remembered until then.
const MAX_TOTAL_BYTES: usize = 32 << 20;

/// What a remembered name costs beside its bytes, and what each rule for it costs.
const OVERHEAD: usize = 100;
const OVERHEAD_OF_A_RULE: usize = 50;

/// How clients are grouped into applications.
pub struct Grouping {
    names: Names,
    rules: Vec<FileRule>,
    known: Mutex<Known>,
}

/// How a name tells the application.
enum Names {
    /// By the table of what changes per process.
    Table,
    /// By the first group of the operator's pattern, or all that it matches.
    Pattern(Regex),
}

/// By what a client was grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A rule of the operator's file, counted from 1.
    FileRule(usize),
    /// Its name, and what was taken off it.
    Name(Vec<&'static str>),
    /// The operator's pattern.
    Pattern,
    /// Its user.
    User,
    /// Its library.
    Library,
    /// Nothing; it says nothing of itself.
    Nothing,
}

/// What is known of names, users and libraries that were seen: lately, and before that.
#[derive(Default)]
struct Known {
    lately: Generation,
    before: Generation,
}

#[derive(Default)]
struct Generation {
    names: HashMap<Box<[u8]>, Named>,
    /// Labels of users and libraries.
    labels: HashMap<Box<[u8]>, Arc<str>>,
    bytes: usize,
}

/// What a name tells.
#[derive(Clone, Default)]
struct Named {
    app: Option<Arc<str>>,
    /// The rules of the operator's file that ask for a name and find it in this one, with the application each gives.
    rules: Box<[(usize, Arc<str>)]>,
}

impl Grouping {
    /// Groups by a pattern instead of the table, and by the rules of a file before that.
    ///
    /// # Errors
    /// A sentence on what is wrong, which begins with the flag.
    pub fn new(name_pattern: Option<&str>, file: Option<&str>) -> Result<Self, String> {
        let names = match name_pattern {
            None => Names::Table,
            Some(pattern) => {
                Names::Pattern(file::anywhere(pattern).map_err(|fault| format!("--group.name-pattern: {fault}"))?)
            }
        };
        let rules = match file {
            None => Vec::new(),
            Some(text) => file::parse(text).map_err(|fault| format!("--group.file: {fault}"))?,
        };
        Ok(Self { names, rules, known: Mutex::default() })
    }

    /// The application of one client.
    pub fn app(&self, client: &Client<'_>) -> Arc<str> {
        self.lookup().app(client)
    }

    /// By what a client is grouped.
    pub fn by(&self, client: &Client<'_>) -> By {
        let name = client.text(Field::Name).unwrap_or_default();
        let named = self.named(name);
        if let Some((place, _)) = self.rule(&named, client) {
            return By::FileRule(place + 1);
        }
        match (&named.app, &self.names) {
            (Some(_), Names::Table) => By::Name(rules::applied(name)),
            (Some(_), Names::Pattern(_)) => By::Pattern,
            (None, _) if user(client).is_some() => By::User,
            (None, _) if library(client).is_some() => By::Library,
            (None, _) => By::Nothing,
        }
    }

    /// Begins to look up many clients.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.lately.bytes > MAX_REMEMBERED_BYTES {
            known.before = std::mem::take(&mut known.lately);
        }
        Lookup { grouping: self, known }
    }

    /// What a name tells, found out anew.
    fn named(&self, name: &[u8]) -> Named {
        let rules = self.rules.iter().enumerate().filter_map(|(place, rule)| Some((place, rule.app_by_name(name)?)));
        Named { app: self.app_of_name(name), rules: rules.collect() }
    }

    fn app_of_name(&self, name: &[u8]) -> Option<Arc<str>> {
        let app = match &self.names {
            Names::Table => rules::lasting_part(name),
            Names::Pattern(pattern) => match pattern.captures(name) {
                Some(found) => found.get(1).or_else(|| found.get(0))?.as_bytes().to_vec(),
                None => name.to_vec(),
            },
        };
        (!app.is_empty()).then(|| app_label(&app).into())
    }

    /// The first rule of the operator's file that is true of a client, with the application it gives.
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
        Self { names: Names::Table, rules: Vec::new(), known: Mutex::default() }
    }
}

impl fmt::Debug for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouping").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// Clients looked up one after another.
pub(super) struct Lookup<'a> {
    grouping: &'a Grouping,
    known: MutexGuard<'a, Known>,
}

impl Lookup<'_> {
    /// The application of a client, as a label's value.
    pub(super) fn app(&mut self, client: &Client<'_>) -> Arc<str> {
        let name = client.text(Field::Name).unwrap_or_default();
        let (grouping, known) = (self.grouping, &mut *self.known);
        if !known.remembers(name) {
            let named = grouping.named(name);
            if known.lately.bytes > MAX_TOTAL_BYTES {
                return known.app(grouping, &named, client);
            }
            known.lately.bytes += name.len() + OVERHEAD + named.rules.len() * OVERHEAD_OF_A_RULE;
            known.lately.names.insert(name.into(), named);
        }
        // Taken out for a moment, since users and libraries may have to be remembered meanwhile.
        let named = known.lately.names.get_mut(name).map(std::mem::take).unwrap_or_default();
        let app = known.app(grouping, &named, client);
        if let Some(place) = known.lately.names.get_mut(name) {
            *place = named;
        }
        app
    }
}

impl Known {
    /// Whether a name was seen lately; one that was seen before that is seen lately now.
    fn remembers(&mut self, name: &[u8]) -> bool {
        if self.lately.names.contains_key(name) {
            return true;
        }
        let Some((name, named)) = self.before.names.remove_entry(name) else { return false };
        self.lately.bytes += name.len() + OVERHEAD + named.rules.len() * OVERHEAD_OF_A_RULE;
        self.lately.names.insert(name, named);
        true
    }

    fn app(&mut self, grouping: &Grouping, named: &Named, client: &Client<'_>) -> Arc<str> {
        if let Some((_, app)) = grouping.rule(named, client) {
            return Arc::clone(app);
        }
        if let Some(app) = &named.app {
            return Arc::clone(app);
        }
        match user(client).or_else(|| library(client)) {
            Some(value) => self.label(value, || app_label(value).into()),
            None => self.label(b"", || UNNAMED.into()),
        }
    }

    fn label(&mut self, value: &[u8], make: impl FnOnce() -> Arc<str>) -> Arc<str> {
        if let Some(label) = self.lately.labels.get(value) {
            return Arc::clone(label);
        }
        let label = make();
        if self.lately.bytes <= MAX_TOTAL_BYTES {
            self.lately.bytes += value.len() + OVERHEAD;
            self.lately.labels.insert(value.into(), Arc::clone(&label));
        }
        label
    }
}

fn user<'a>(client: &'a Client<'_>) -> Option<&'a [u8]> {
    client.text(Field::User).filter(|user| !user.is_empty() && *user != b"default")
}

fn library<'a>(client: &'a Client<'_>) -> Option<&'a [u8]> {
    client.text(Field::LibName).filter(|library| !library.is_empty())
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
    fn the_operators_file_goes_first_and_the_first_rule_that_holds_wins() {
        let file = "rules:\n- {app: office, network: 10.9.0.0/16}\n- {app: '$1-jobs', name: '([a-z]+)-job-.*', user: ops}\n- {app: ops, user: ops}\n";
        let grouping = Grouping::new(None, Some(file)).expect("a file");
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
        let grouping = Grouping::new(Some("^team-([a-z]+)"), None).expect("a pattern");
        assert_eq!(app(&grouping, "id=1 name=team-a-17"), "a");
        assert_eq!(app(&grouping, "id=1 name=worker-17"), "worker-17");
        assert!(Grouping::new(Some("("), None).is_err());
    }

    #[test]
    fn a_name_that_is_seen_again_is_not_forgotten_with_the_others() {
        let grouping = Grouping::default();
        for number in 0..1000 {
            app(&grouping, "id=1 name=always-1");
            app(&grouping, &format!("id=1 name={}{number}", "x".repeat(60_000)));
        }
        let known = grouping.lookup().known;
        assert!([&known.lately, &known.before].iter().any(|seen| seen.names.contains_key(&b"always-1"[..])));
    }

    #[test]
    fn names_without_end_are_not_all_remembered() {
        let grouping = Grouping::default();
        for number in 0..2000 {
            app(&grouping, &format!("id=1 name={}{number}", "x".repeat(60_000)));
            let known = grouping.lookup().known;
            assert!(known.lately.bytes + known.before.bytes <= 2 * (MAX_REMEMBERED_BYTES + 70_000));
        }
    }
}
