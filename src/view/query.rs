//! Which clients a page or a call of the API asks for, as its query string says: filters, order, window. Pure.

use url::form_urlencoded;

use super::rows::{Row, rows};
use super::select::{Filter, Sort};
use crate::client_list::Field;
use crate::latest::Nodes;
use crate::snapshot::Limits;

/// The most clients of one window.
pub const LARGEST_WINDOW: usize = 1000;

/// The clients of a window where nothing is said.
const WINDOW: usize = 200;

/// The most conditions.
const MOST_FILTERS: usize = 16;

/// The longest query string, in bytes.
const LONGEST: usize = 4096;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The parameters as they were given, for links to other windows.
    pub given: Vec<(String, String)>,
    redis: Option<String>,
    search: Option<String>,
    filters: Vec<Filter>,
    sort: Sort,
    /// The order as it was given: a field, with `-` in front for the largest first.
    pub sort_text: String,
    /// How many that match come before the window.
    pub offset: usize,
    /// How many the window has at most.
    pub limit: usize,
}

/// The clients that are shown.
pub struct Window<'a> {
    /// All clients of the nodes asked for.
    pub total: usize,
    /// Those that match.
    pub matched: usize,
    /// Those of the window.
    pub rows: Vec<Row<'a>>,
}

impl Query {
    /// Reads a query string.
    ///
    /// # Errors
    /// A sentence on what is wrong with which parameter.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the query is longer than {LONGEST} bytes"));
        }
        let mut query = Self {
            given: Vec::new(),
            redis: None,
            search: None,
            filters: Vec::new(),
            sort: Sort::parse("-idle")?,
            sort_text: "-idle".to_owned(),
            offset: 0,
            limit: WINDOW,
        };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            // An input of a form that was left empty says nothing.
            if value.is_empty() {
                continue;
            }
            query.set(&name, &value)?;
            query.given.push((name.into_owned(), value.into_owned()));
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "redis" => self.redis = Some(value.to_owned()),
            "q" => self.search = Some(value.to_lowercase()),
            "app" | "user" | "addr" | "kind" | "state" | "network" => {
                self.filters.push(Filter::parse(&format!("{name}={value}"))?);
            }
            "lib" => self.filters.push(Filter::parse(&format!("library={value}"))?),
            "min_idle" => self.filters.push(Filter::parse(&format!("idle>={value}"))?),
            "max_idle" => self.filters.push(Filter::parse(&format!("idle<={value}"))?),
            "min_age" => self.filters.push(Filter::parse(&format!("age>={value}"))?),
            "filter" if self.filters.len() < MOST_FILTERS => self.filters.push(Filter::parse(value)?),
            "filter" => return Err(format!("there are more than {MOST_FILTERS} conditions")),
            "sort" => (self.sort, self.sort_text) = (Sort::parse(value)?, value.to_owned()),
            "offset" => self.offset = number(name, value, usize::MAX)?,
            "limit" => self.limit = number(name, value, LARGEST_WINDOW)?,
            _ => {
                return Err(format!(
                    "there is no parameter {name}; there are redis, q, app, user, addr, lib, kind, state, network, min_idle, max_idle, min_age, filter, sort, offset, limit"
                ));
            }
        }
        Ok(())
    }

    /// The clients that are asked for, of the newest snapshots there are.
    pub fn window<'a>(&self, nodes: &'a Nodes, limits: &Limits) -> Window<'a> {
        let wanted = nodes.nodes.iter().filter(|node| self.redis.as_ref().is_none_or(|redis| *redis == *node.node));
        let mut found: Vec<_> =
            wanted.filter_map(|node| Some(rows(&node.node, node.last_snapshot()?, limits))).flatten().collect();
        let total = found.len();
        found.retain(|row| self.filters.iter().all(|filter| filter.matches(row)) && self.finds(row));
        self.sort.apply(&mut found);
        let matched = found.len();
        let rows = found.into_iter().skip(self.offset).take(self.limit).collect();
        Window { total, matched, rows }
    }

    /// Whether the search's words are somewhere in what a client says of itself.
    fn finds(&self, row: &Row<'_>) -> bool {
        let Some(search) = &self.search else { return true };
        let fields = [Field::Id, Field::Addr, Field::Name, Field::User, Field::LibName, Field::Cmd];
        let in_fields = fields.into_iter().filter_map(|field| row.text(field));
        let mut texts = in_fields.chain(row.app.as_deref().map(str::to_owned));
        texts.any(|text| text.to_lowercase().contains(search))
    }

    /// The query string with some parameters replaced; an empty value leaves one out.
    pub fn with(&self, changed: &[(&str, &str)]) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.given {
            if !changed.iter().any(|(changed, _)| changed == name) {
                pairs.append_pair(name, value);
            }
        }
        for (name, value) in changed.iter().filter(|(_, value)| !value.is_empty()) {
            pairs.append_pair(name, value);
        }
        pairs.finish()
    }
}

fn number(name: &str, value: &str, most: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| match most {
        usize::MAX => format!("{name}: {value} is not a number"),
        most => format!("{name}: {value} is not a number up to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latest::{NodeState, Phase};
    use crate::view::fixture::snapshot;
    use std::sync::Arc;
    use std::time::Instant;

    const REPLY: &str = "id=1 addr=10.0.0.1:1 name=web-1 user=app idle=5 age=10 cmd=get flags=N\n\
                         id=2 addr=10.0.0.2:2 name=job-1 user=app idle=700 age=900 cmd=NULL flags=N\n\
                         id=3 addr=10.1.0.3:3 name= user=ops idle=9 age=9000 cmd=blpop flags=b\n";

    fn nodes() -> Nodes {
        let mut node = NodeState::starting("node:1".into());
        node.phase = Phase::Fresh { snapshot: Arc::new(snapshot(REPLY)), stale_at: Instant::now() };
        Nodes { generation: 1, nodes: vec![Arc::new(node)] }
    }

    fn ids(text: &str) -> (usize, Vec<u64>) {
        let (nodes, query) = (nodes(), Query::parse(text).expect(text));
        let window = query.window(&nodes, &Limits::default());
        (window.matched, window.rows.iter().filter_map(|row| row.client.id()).collect())
    }

    #[test]
    fn a_query_filters_before_it_cuts() {
        for (text, matched, expected) in [
            ("", 3, &[2, 3, 1][..]),
            ("sort=id&limit=1&offset=1", 3, &[2]),
            ("app=web", 1, &[1]),
            ("min_idle=1m", 1, &[2]),
            ("max_idle=9&sort=id", 2, &[1, 3]),
            ("min_age=1h", 1, &[3]),
            ("q=JOB", 1, &[2]),
            ("q=10.0.&sort=-id", 2, &[2, 1]),
            ("state=waiting", 1, &[3]),
            ("redis=other", 0, &[]),
            ("filter=idle%3E10m", 1, &[2]),
            ("app=&q=", 3, &[2, 3, 1]),
        ] {
            assert_eq!(ids(text), (matched, expected.to_vec()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for text in
            ["nonsense=1", "sort=nonsense", "limit=1001", "limit=-1", "offset=x", "min_idle=soon", &"q=x".repeat(2000)]
        {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn links_to_other_windows_keep_the_rest() {
        let query = Query::parse("app=a%26b&sort=id&offset=200").expect("a query");
        assert_eq!(query.with(&[("offset", "400")]), "app=a%26b&sort=id&offset=400");
        assert_eq!(query.with(&[("offset", ""), ("sort", "-age")]), "app=a%26b&sort=-age");
    }
}
