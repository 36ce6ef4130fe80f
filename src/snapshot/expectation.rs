//! Expected applications: how many connections each must have, and where.

use std::sync::Arc;

use super::limits::Limits;

/// The minimum number of connections of an application (`--presence.expect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The application.
    pub app: Arc<str>,
    /// The minimum number of connections.
    pub minimum: u64,
    /// The nodes that must have them.
    pub scope: ExpectedOn,
}

/// The nodes of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedOn {
    /// All nodes together.
    AllNodes,
    /// Each node whose name matches.
    EachNode(NamePattern),
}

/// A pattern of names of nodes, in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Box<str>);

/// The minimum numbers of connections of an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minimum {
    /// On this node; `None` if it is not expected there.
    pub on_node: Option<u64>,
    /// On all nodes together.
    pub on_all_nodes: Option<u64>,
}

impl NamePattern {
    /// The pattern of a text. Every text is one.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// True if the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        // The first place of each part is as good as a later one.
        for part in middle.split('*') {
            let Some((_, after)) = name.split_once(part) else { return false };
            name = after;
        }
        name.ends_with(last)
    }
}

impl Expectation {
    /// An expectation that all nodes together meet.
    pub fn on_all_nodes(app: &str, minimum: u64) -> Self {
        Self { app: app.into(), minimum, scope: ExpectedOn::AllNodes }
    }

    /// True if it is about this node, alone or with others.
    pub fn is_about(&self, node: &str) -> bool {
        match &self.scope {
            ExpectedOn::AllNodes => true,
            ExpectedOn::EachNode(pattern) => pattern.matches(node),
        }
    }
}

impl Limits {
    /// The limits of a node: without the expectations of others.
    pub fn of_node(mut self, node: &str) -> Self {
        self.expected.retain(|expectation| expectation.is_about(node));
        self
    }

    /// The expected applications with their minimums, in the order in which they are first expected. The largest of
    /// several minimums counts.
    pub fn expected_apps(&self) -> Vec<(Arc<str>, Minimum)> {
        let mut apps: Vec<(Arc<str>, Minimum)> = Vec::new();
        for Expectation { app, minimum, scope } in &self.expected {
            let index = apps.iter().position(|(known, _)| known == app).unwrap_or_else(|| {
                apps.push((Arc::clone(app), Minimum::default()));
                apps.len() - 1
            });
            let of_app = &mut apps[index].1;
            let place = match scope {
                ExpectedOn::AllNodes => &mut of_app.on_all_nodes,
                ExpectedOn::EachNode(_) => &mut of_app.on_node,
            };
            *place = (*place).max(Some(*minimum));
        }
        apps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, matches) in [
            ("db-1", "db-1", true),
            ("db-1", "db-12", false),
            ("db-*", "db-12:6379", true),
            ("db-*", "my-db-1", false),
            ("*", "", true),
            ("*:6379", "db-1:6379", true),
            ("*:6379", "db-1:6380", false),
            ("shop/*/primary", "shop/eu/primary", true),
            ("shop/*/primary", "shop/primary", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a**a", "aa", true),
            ("ab*ba", "aba", false),
            ("", "", true),
            ("", "db", false),
        ] {
            assert_eq!(NamePattern::new(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_node_has_the_expectations_about_it_and_those_about_all() {
        let on = |app: &str, minimum, pattern: &str| Expectation {
            app: app.into(),
            minimum,
            scope: ExpectedOn::EachNode(NamePattern::new(pattern)),
        };
        let all = Expectation::on_all_nodes;
        let expected = vec![on("cron", 1, "db-1"), all("web", 9), on("web", 2, "db-*"), on("web", 3, "*-1")];
        let limits = Limits { expected, ..Limits::default() };
        let apps = |node: &str| {
            let apps = limits.clone().of_node(node).expected_apps().into_iter();
            apps.map(|(app, minimum)| (app.to_string(), minimum.on_node, minimum.on_all_nodes)).collect::<Vec<_>>()
        };
        assert_eq!(apps("db-1"), [("cron".to_owned(), Some(1), None), ("web".to_owned(), Some(3), Some(9))]);
        assert_eq!(apps("db-2"), [("web".to_owned(), Some(2), Some(9))]);
        assert_eq!(apps("cache"), [("web".to_owned(), None, Some(9))]);
    }
}
