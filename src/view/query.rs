//! Which clients a page or a call of the API asks for, as its query string says: filters, order, window. Pure.

use std::sync::Arc;

use url::form_urlencoded;

use super::grouped::{Group, groups};
use super::rows::{Column, Record, Row, Value, row, rows};
use super::select::{Filter, Sort, unknown};
use crate::client_list::Field;
use crate::latest::{NodeState, Nodes};
use crate::snapshot::{ClientKind, Limits, State};

/// The most clients of one window.
pub const MAX_WINDOW: usize = 1000;

/// The clients of a window where nothing is said.
const WINDOW: usize = 200;

/// The most conditions.
const MAX_FILTERS: usize = 16;

/// The longest query string, in bytes.
const MAX_QUERY_BYTES: usize = 4096;

/// What can be asked with.
const PARAMETERS: [&str; 19] = [
    "redis", "q", "app", "user", "addr", "lib", "kind", "state", "network", "min_idle", "max_idle", "min_age",
    "filter", "sort", "group", "cols", "gone", "offset", "limit",
];

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
    /// What clients are grouped by, instead of listed.
    pub group: Option<Column>,
    /// The columns that are wanted, in this order; none: the usual ones.
    pub columns: Vec<Column>,
    /// The second of the Unix epoch in which the client that is asked for was found gone.
    pub gone: Option<u64>,
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

/// The groups that are shown.
pub struct GroupWindow {
    /// All clients of the nodes asked for.
    pub total: usize,
    /// Those that match.
    pub matched: usize,
    /// How many groups these are in.
    pub groups: usize,
    /// The groups of the window.
    pub shown: Vec<Group>,
}

impl Query {
    /// Reads a query string.
    ///
    /// # Errors
    /// A sentence on what is wrong with which parameter.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, WINDOW, MAX_WINDOW, false)
    }

    /// Reads the query string of a page: what others put into links, to see who follows them, is passed over.
    ///
    /// # Errors
    /// As [`Query::parse`], but for parameters that there are not.
    pub fn of_a_page(text: &str) -> Result<Self, String> {
        Self::read(text, WINDOW, MAX_WINDOW, true)
    }

    /// Reads the query string of a list: without a limit, it is of all that match.
    ///
    /// # Errors
    /// As [`Query::parse`].
    pub fn of_a_list(text: &str) -> Result<Self, String> {
        Self::read(text, usize::MAX, usize::MAX, false)
    }

    fn read(text: &str, limit: usize, most: usize, lenient: bool) -> Result<Self, String> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(format!("the query is longer than {MAX_QUERY_BYTES} bytes"));
        }
        let mut query = Self {
            given: Vec::new(),
            redis: None,
            search: None,
            filters: Vec::new(),
            sort: Sort::parse("-idle")?,
            sort_text: "-idle".to_owned(),
            group: None,
            columns: Vec::new(),
            gone: None,
            offset: 0,
            limit,
        };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            // An input of a form that was left empty says nothing.
            if value.is_empty() || lenient && !PARAMETERS.contains(&&*name) {
                continue;
            }
            query.set(&name, &value, most)?;
            query.given.push((name.into_owned(), value.into_owned()));
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, most: usize) -> Result<(), String> {
        match name {
            "redis" => self.redis = Some(value.to_owned()),
            "q" => self.search = Some(value.to_lowercase()),
            "kind" if !ClientKind::ALL.iter().any(|kind| kind.label() == value) => {
                return Err(none_such(name, value, &ClientKind::ALL.map(ClientKind::label)));
            }
            "state" if !State::ALL.iter().any(|state| state.label() == value) => {
                return Err(none_such(name, value, &State::ALL.map(State::label)));
            }
            "app" | "user" | "addr" | "kind" | "state" | "network" => self.add_filter(Filter::equal(name, value))?,
            "lib" => self.add_filter(Filter::equal("library", value))?,
            "min_idle" => self.add_filter(Filter::parse(&format!("idle>={value}")))?,
            "max_idle" => self.add_filter(Filter::parse(&format!("idle<={value}")))?,
            "min_age" => self.add_filter(Filter::parse(&format!("age>={value}")))?,
            "filter" => self.add_filter(Filter::parse(value))?,
            "sort" => (self.sort, self.sort_text) = (Sort::parse(value)?, value.to_owned()),
            "group" => self.group = Some(column(value)?),
            "cols" => {
                for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    // Each once: there are no more than columns there are.
                    let column = column(name)?;
                    if !self.columns.contains(&column) {
                        self.columns.push(column);
                    }
                }
            }
            "gone" => self.gone = Some(number(name, value, usize::MAX)? as u64),
            "offset" => self.offset = number(name, value, usize::MAX)?,
            "limit" => self.limit = number(name, value, most)?,
            _ => {
                return Err(format!("there is no parameter {name}; there are {}", PARAMETERS.join(", ")));
            }
        }
        Ok(())
    }

    fn add_filter(&mut self, filter: Result<Filter, String>) -> Result<(), String> {
        if self.filters.len() >= MAX_FILTERS {
            return Err(format!("there are more than {MAX_FILTERS} conditions"));
        }
        self.filters.push(filter?);
        Ok(())
    }

    /// The client of this id, of the nodes asked for: several, if several nodes have one.
    pub fn client<'a>(&self, id: u64, nodes: &'a Nodes, limits: &Limits) -> Vec<Row<'a>> {
        let on_node = |node: &'a Arc<NodeState>| {
            let snapshot = node.last_snapshot()?;
            let (place, _) = snapshot.pages()?.places().find(|(_, client)| client.id() == Some(id))?;
            row(&node.node, snapshot, place, limits)
        };
        nodes.nodes.iter().filter(|node| self.wants(&node.node)).filter_map(on_node).collect()
    }

    /// The clients that are asked for, of the newest snapshots there are.
    pub fn window<'a>(&self, nodes: &'a Nodes, limits: &Limits) -> Window<'a> {
        let (total, mut found) = self.matching(nodes, limits);
        self.sort.apply(&mut found);
        let matched = found.len();
        let rows = found.into_iter().skip(self.offset).take(self.limit).collect();
        Window { total, matched, rows }
    }

    /// The same clients in groups.
    pub fn group_window(&self, by: Column, nodes: &Nodes, limits: &Limits) -> GroupWindow {
        let (total, found) = self.matching(nodes, limits);
        let all = groups(&found, by);
        let (matched, groups) = (found.len(), all.len());
        GroupWindow { total, matched, groups, shown: all.into_iter().skip(self.offset).take(self.limit).collect() }
    }

    /// How many there are, and those of them that match.
    fn matching<'a>(&self, nodes: &'a Nodes, limits: &Limits) -> (usize, Vec<Row<'a>>) {
        let mut found = self.all(nodes, limits);
        let total = found.len();
        found.retain(|row| self.matches(row));
        (total, found)
    }

    fn all<'a>(&self, nodes: &'a Nodes, limits: &Limits) -> Vec<Row<'a>> {
        let wanted = nodes.nodes.iter().filter(|node| self.wants(&node.node));
        wanted.filter_map(|node| Some(rows(&node.node, node.last_snapshot()?, limits))).flatten().collect()
    }

    /// That the node that is asked for is one that is watched.
    ///
    /// # Errors
    /// That it is not, and which are.
    pub fn check(&self, nodes: &Nodes) -> Result<(), String> {
        if nodes.nodes.iter().any(|node| self.wants(&node.node)) {
            return Ok(());
        }
        let names: Vec<&str> = nodes.nodes.iter().map(|node| &*node.node).take(20).collect();
        Err(format!("redis: no such server is watched; there are {}", names.join(", ")))
    }

    /// Whether a node is asked for.
    pub fn wants(&self, node: &str) -> bool {
        self.redis.as_ref().is_none_or(|redis| redis == node)
    }

    /// The first value that was given for a parameter; empty if none was.
    pub fn given(&self, name: &str) -> &str {
        self.given.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// Whether a client, or one that went, is as is asked for.
    pub fn matches(&self, record: &impl Record) -> bool {
        self.filters.iter().all(|filter| filter.matches(record)) && self.finds(record)
    }

    /// Whether the search's words are somewhere in what a client says of itself.
    fn finds(&self, record: &impl Record) -> bool {
        let Some(search) = &self.search else { return true };
        let fields = [Field::Id, Field::Addr, Field::Name, Field::User, Field::LibName, Field::Cmd];
        let mut columns = fields.into_iter().map(Column::Field).chain([Column::App]);
        columns.any(|column| match record.value(column) {
            Value::None => false,
            Value::Number(number) => number.to_string().contains(search),
            Value::Text(text) => text.to_lowercase().contains(search),
        })
    }

    /// The parameters that were given beside these, and those of these that were given again, but for where the window begins.
    pub fn others(&self, inputs: &[&str]) -> Vec<(String, String)> {
        let is_first = |place: usize, name: &str| !self.given[..place].iter().any(|(given, _)| given == name);
        let rest = self.given.iter().enumerate().filter(|(place, (name, _))| {
            name != "offset" && !(inputs.contains(&name.as_str()) && is_first(*place, name))
        });
        rest.map(|(_, parameter)| parameter.clone()).collect()
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

fn column(name: &str) -> Result<Column, String> {
    Column::from_name(name).ok_or_else(|| unknown(name))
}

fn none_such(name: &str, value: &str, known: &[&str]) -> String {
    format!("there is no {name} {value}; there are {}", known.join(", "))
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
    use crate::latest::Phase;
    use crate::view::fixture::snapshot;
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
        for text in [
            "nonsense=1",
            "sort=nonsense",
            "limit=1001",
            "limit=-1",
            "offset=x",
            "min_idle=soon",
            "cols=x",
            "state=idel",
            "kind=x",
            &"q=x".repeat(2000),
        ] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pages_pass_over_what_others_put_into_links() {
        let query = Query::of_a_page("utm_source=x&q=web&fbclid=1").expect("a query");
        assert_eq!(query.given, [("q".to_owned(), "web".to_owned())]);
        assert!(Query::of_a_page("q=web&limit=x").is_err());
    }

    #[test]
    fn white_space_of_a_value_is_kept() {
        let query = Query::parse("user=%C2%A0nb").expect("a query");
        assert_eq!(query.filters, [Filter::equal("user", "\u{a0}nb").expect("a condition")]);
        assert_ne!(query.filters, [Filter::equal("user", "nb").expect("a condition")]);
    }

    #[test]
    fn a_server_that_is_not_watched_is_told() {
        let nodes = nodes();
        assert!(Query::parse("redis=node:1").expect("a query").check(&nodes).is_ok());
        let told = Query::parse("redis=node:2").expect("a query").check(&nodes).expect_err("it is not watched");
        assert!(told.contains("there are node:1"), "{told}");
    }

    #[test]
    fn a_list_is_of_all_that_match() {
        assert_eq!(Query::of_a_list("").map(|query| query.limit), Ok(usize::MAX));
        assert_eq!(Query::of_a_list("limit=5000").map(|query| query.limit), Ok(5000));
    }

    #[test]
    fn groups_are_of_those_that_match() {
        let nodes = nodes();
        let query = Query::parse("group=user&min_idle=6&limit=1").expect("a query");
        let window = query.group_window(query.group.expect("a column"), &nodes, &Limits::default());
        assert_eq!((window.total, window.matched, window.groups, window.shown.len()), (3, 2, 2, 1));
        assert!(Query::parse("group=nonsense").is_err());
    }

    #[test]
    fn columns_are_chosen_one_by_one_or_as_a_list() {
        let names =
            |text: &str| Query::parse(text).map(|query| query.columns.iter().map(|c| c.name()).collect::<Vec<_>>());
        assert_eq!(names("cols=id,addr&cols=lib&cols=id"), Ok(vec!["id".into(), "addr".into(), "lib_name".into()]));
        assert_eq!(names("cols="), Ok(vec![]));
        assert!(names("cols=id,nonsense").is_err());
    }

    #[test]
    fn conditions_are_bounded() {
        let conditions = |count| vec!["filter=id%3E0"; count].join("&");
        assert_eq!(ids(&conditions(MAX_FILTERS)).0, 3);
        let fault = Query::parse(&conditions(MAX_FILTERS + 1)).expect_err("one too many");
        assert!(fault.contains("more than 16"), "{fault}");
        assert!(Query::parse(&["app=x"; MAX_FILTERS + 1].join("&")).is_err());
    }

    #[test]
    fn links_to_other_windows_keep_the_rest() {
        let query = Query::parse("app=a%26b&sort=id&offset=200").expect("a query");
        assert_eq!(query.with(&[("offset", "400")]), "app=a%26b&sort=id&offset=400");
        assert_eq!(query.with(&[("offset", ""), ("sort", "-age")]), "app=a%26b&sort=-age");
    }
}
