//! The operator's own rules (`--group.file`), which map names, users and networks to applications. Pure: reads text,
//! opens no file.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::text::app_label;

/// Maximum number of rules of a file.
const MAX_RULES: usize = 1000;

/// The maximum size of a compiled pattern, in bytes. A larger one is refused before it costs anything.
const MAX_PATTERN: usize = 1 << 20;

/// One rule. A client must match all that the rule has of name, user and network.
#[derive(Clone, Debug)]
pub(super) struct FileRule {
    pub(super) gives: Gives,
    user: Option<Regex>,
    networks: Vec<IpNet>,
}

/// The application that a rule gives.
#[derive(Clone, Debug)]
pub(super) enum Gives {
    /// The same application for every name.
    Always(Arc<str>),
    /// An application for each name that matches: `$1` or `${name}` stand for the text that a group of the pattern
    /// matched.
    ByName { pattern: Regex, app: String },
}

/// The text of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    app: String,
    name: Option<String>,
    user: Option<String>,
    #[serde(default)]
    network: Networks,
}

/// One network or a list of them, as text.
#[derive(Default)]
struct Networks(Option<Vec<String>>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a network such as 10.20.0.0/16, or a list of them")
            }

            fn visit_str<E>(self, one: &str) -> Result<Networks, E> {
                Ok(Networks(Some(vec![one.to_owned()])))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Networks, A::Error> {
                let mut networks = Vec::new();
                while let Some(network) = list.next_element()? {
                    networks.push(network);
                }
                Ok(Networks(Some(networks)))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

/// Reads the rules.
///
/// # Errors
/// A sentence on what is wrong, where, and what is expected there.
pub(super) fn parse(text: &str) -> Result<Vec<FileRule>, String> {
    let text: Text = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        format!(
            "{}; a file has `rules:`, each with `app` and some of `name`, `user`, `network`",
            error.lines().next().unwrap_or_default()
        )
    })?;
    if text.rules.len() > MAX_RULES {
        return Err(format!("there are {} rules; at most {MAX_RULES} are read", text.rules.len()));
    }
    let rules = text.rules.iter().enumerate();
    rules.map(|(place, rule)| FileRule::new(rule).map_err(|fault| format!("rule {}: {fault}", place + 1))).collect()
}

impl FileRule {
    fn new(text: &RuleText) -> Result<Self, String> {
        if text.app.is_empty() || text.app.starts_with('(') {
            return Err("app must not be empty, nor begin with `(`: only groups of the exporter do".into());
        }
        let networks = match &text.network.0 {
            None => Vec::new(),
            Some(list) if list.is_empty() => return Err("network is an empty list".into()),
            Some(list) => list.iter().map(|text| network(text)).collect::<Result<_, _>>()?,
        };
        let user = text.user.as_deref().map(whole).transpose()?;
        if text.name.is_none() && user.is_none() && networks.is_empty() {
            return Err(format!("{} has none of name, user, network; it would match every client", text.app));
        }
        let gives = match &text.name {
            Some(name) => {
                let pattern = whole(name)?;
                check_references(&text.app, &pattern)?;
                Gives::ByName { pattern, app: text.app.clone() }
            }
            None if text.app.contains('$') => {
                return Err(format!("{} refers to a group of `name`, and there is no name", text.app));
            }
            None => Gives::Always(app_label(text.app.as_bytes()).into()),
        };
        Ok(Self { gives, user, networks })
    }

    /// Returns the application of a name; `None` if the rule has no name, or another one.
    pub(super) fn app_by_name(&self, name: &[u8]) -> Option<Arc<str>> {
        let Gives::ByName { pattern, app } = &self.gives else { return None };
        let mut expanded = Vec::new();
        pattern.captures(name)?.expand(app.as_bytes(), &mut expanded);
        (!expanded.is_empty()).then(|| app_label(&expanded).into())
    }

    /// True if user and address match. The rule's name is matched elsewhere, once for each name.
    pub(super) fn matches(&self, user: &[u8], address: Option<IpAddr>) -> bool {
        self.user.as_ref().is_none_or(|pattern| pattern.is_match(user))
            && (self.networks.is_empty()
                || address.is_some_and(|address| self.networks.iter().any(|network| network.contains(&address))))
    }
}

/// Refuses an application that refers to a group which the pattern does not have: the reference would be empty.
fn check_references(app: &str, pattern: &Regex) -> Result<(), String> {
    let mut rest = app;
    while let Some((_, after)) = rest.split_once('$') {
        let (name, tail) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some(braced) => braced,
            None if after.starts_with('$') => ("0", &after[1..]),
            None => {
                let end = after.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        let known = match name.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|known| known == name),
        };
        if !known {
            return Err(format!(
                "{app} refers to a group ${name} that `name` does not have; write ${{1}} for the first"
            ));
        }
        rest = tail;
    }
    Ok(())
}

/// Compiles a pattern that must match the whole text, as in Prometheus's relabeling.
fn whole(pattern: &str) -> Result<Regex, String> {
    // Alone first: a surplus parenthesis must not close the group that is put around the pattern.
    compiled(pattern, pattern)?;
    compiled(&format!("^(?:{pattern})$"), pattern)
}

/// Compiles a pattern that may match anywhere.
pub(super) fn anywhere(pattern: &str) -> Result<Regex, String> {
    compiled(pattern, pattern)
}

fn compiled(text: &str, given: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(text).unicode(false).size_limit(MAX_PATTERN).build();
    regex.map_err(|error| {
        let error = error.to_string();
        format!("{given} is not a regular expression ({})", error.lines().last().unwrap_or_default().trim())
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map_err(|_| format!("{text} is not a network; write 10.20.0.0/16 or an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_rule_and_the_fix() {
        for (text, fault) in [
            ("", "rules"),
            ("rules: [{name: a}]", "app"),
            ("rules: [{app: a, nme: b}]", "nme"),
            ("rules: [{app: a}]", "rule 1: a has none of"),
            ("rules: [{app: a, name: b}, {app: '(x)', name: b}]", "rule 2: app must not"),
            ("rules: [{app: a, name: 'b('}]", "not a regular expression"),
            ("rules: [{app: a, network: 10.0.0.0/33}]", "10.0.0.0/33 is not a network"),
            ("rules: [{app: a, network: 10.0}]", "a network such as"),
            ("rules: [{app: a, network: []}]", "empty list"),
            ("rules: [{app: '$1', user: b}]", "there is no name"),
            ("rules: [{app: '$1', name: b}]", "a group $1 that"),
            ("rules: [{app: '$1_jobs', name: '(b)'}]", "a group $1_jobs that"),
            ("rules: [{app: a, name: 'x)|(?:y'}]", "not a regular expression"),
            ("rules: [{app: a, name: '(?:a{999}){999}'}]", "not a regular expression"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.contains(fault), "{text}: {found}");
        }
    }

    #[test]
    fn all_conditions_of_a_rule_have_to_hold() {
        let rules = parse("rules: [{app: a, user: 'batch-.*', network: [10.0.0.0/8, '::1']}]").expect("a rule");
        let matches = |user: &str, address: Option<&str>| {
            rules[0].matches(user.as_bytes(), address.map(|text| text.parse().expect("an address")))
        };
        assert!(matches("batch-1", Some("10.2.3.4")) && matches("batch-", Some("::1")));
        assert!(!matches("batch-1", Some("11.2.3.4")) && !matches("x-batch-1", Some("10.2.3.4")));
        assert!(!matches("batch-1", None));
    }
}
