//! The operator's own rules (`--group.file`): names, users and networks, and the application they stand for. Pure: reads
//! text, opens no file.

use std::net::IpAddr;

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// The most rules of a file.
const MOST_RULES: usize = 1000;

/// What a compiled pattern may take, in bytes; an unreasonable one is refused and not paid for.
const LARGEST_PATTERN: usize = 1 << 20;

/// One rule: what is given of name, user and network must all be true of a client.
#[derive(Clone, Debug)]
pub(super) struct FileRule {
    /// The application; `$1` or `${name}` stand for what a group of the name's pattern matched.
    pub(super) app: String,
    pub(super) name: Option<Regex>,
    user: Option<Regex>,
    networks: Vec<IpNet>,
}

/// A file as it is written.
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
    network: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Reads the rules.
///
/// # Errors
/// What is wrong, where, and what is meant to be there.
pub(super) fn parse(text: &str) -> Result<Vec<FileRule>, String> {
    let text: Text = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        format!(
            "{}; a file has `rules:`, each with `app` and some of `name`, `user`, `network`",
            error.lines().next().unwrap_or_default()
        )
    })?;
    if text.rules.len() > MOST_RULES {
        return Err(format!("there are {} rules; at most {MOST_RULES} are read", text.rules.len()));
    }
    let rules = text.rules.iter().enumerate();
    rules.map(|(place, rule)| FileRule::new(rule).map_err(|fault| format!("rule {}: {fault}", place + 1))).collect()
}

impl FileRule {
    fn new(text: &RuleText) -> Result<Self, String> {
        if text.app.is_empty() || text.app.starts_with('(') {
            return Err("app must not be empty, nor begin with `(`: such groups are ours".into());
        }
        let networks = match &text.network {
            None => Vec::new(),
            Some(OneOrMore::One(one)) => vec![network(one)?],
            Some(OneOrMore::More(more)) if more.is_empty() => return Err("network is an empty list".into()),
            Some(OneOrMore::More(more)) => more.iter().map(|text| network(text)).collect::<Result<_, _>>()?,
        };
        let rule = Self {
            app: text.app.clone(),
            name: text.name.as_deref().map(whole).transpose()?,
            user: text.user.as_deref().map(whole).transpose()?,
            networks,
        };
        if rule.name.is_none() && rule.user.is_none() && rule.networks.is_empty() {
            return Err(format!("{} has none of name, user, network; it would take every client", rule.app));
        }
        Ok(rule)
    }

    /// Whether user and address are those of the rule. Its name is looked at elsewhere, once a name.
    pub(super) fn matches(&self, user: &[u8], address: Option<IpAddr>) -> bool {
        self.user.as_ref().is_none_or(|pattern| pattern.is_match(user))
            && (self.networks.is_empty()
                || address.is_some_and(|address| self.networks.iter().any(|network| network.contains(&address))))
    }
}

/// A pattern that must match the whole text, as in Prometheus's relabelling.
pub(super) fn whole(pattern: &str) -> Result<Regex, String> {
    compiled(&format!("^(?:{pattern})$"), pattern)
}

/// A pattern that may match anywhere.
pub(super) fn anywhere(pattern: &str) -> Result<Regex, String> {
    compiled(pattern, pattern)
}

fn compiled(text: &str, given: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(text).unicode(false).size_limit(LARGEST_PATTERN).build();
    regex.map_err(|error| {
        let error = error.to_string();
        format!("{given} is no regular expression ({})", error.lines().last().unwrap_or_default().trim())
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
    fn faults_name_the_rule_and_the_mend() {
        for (text, fault) in [
            ("", "rules"),
            ("rules: [{name: a}]", "app"),
            ("rules: [{app: a, nme: b}]", "nme"),
            ("rules: [{app: a}]", "rule 1: a has none of"),
            ("rules: [{app: a, name: b}, {app: '(x)', name: b}]", "rule 2: app must not"),
            ("rules: [{app: a, name: 'b('}]", "no regular expression"),
            ("rules: [{app: a, network: 10.0.0.0/33}]", "10.0.0.0/33 is not a network"),
            ("rules: [{app: a, name: '(?:a{999}){999}'}]", "no regular expression"),
        ] {
            let told = parse(text).expect_err(text);
            assert!(told.contains(fault), "{text}: {told}");
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
