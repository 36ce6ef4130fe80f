//! Parses the query string of a page or an API call: the accepted parameters, the selection, and the query strings of
//! links to other windows.

use std::collections::BTreeSet;

use url::form_urlencoded;

use crate::latest::{NodeState, Nodes, TargetState};
use crate::snapshot::Snapshot;
use crate::view::column::Column;
use crate::view::filter::{Filter, check_column, unknown_column};
use crate::view::row::{ClosedRow, Row, closed_rows};
use crate::view::selection::{Selection, Sort, Window};

/// Maximum number of clients of one window.
pub(super) const MAX_WINDOW: usize = 1000;

/// The number of clients of a window if no limit is given.
const DEFAULT_WINDOW: usize = 200;

/// The parameters that can be given once.
const UNIQUE: [&str; 9] = ["redis", "cluster", "q", "sort", "group", "offset", "limit", "closed_at", "collect"];

/// The value of `collect` for the metrics that are not about one node.
pub(super) const COLLECT_EXPORTER: &str = "exporter";

/// The number of names in a sentence about an unknown server or cluster.
const MAX_NAMES: usize = 20;

/// Maximum length of a query string, in bytes.
const MAX_QUERY_BYTES: usize = 4096;

/// The parameters that a route takes. Any other is refused: ignoring it would give a wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// All parameters of clients.
    Clients,
    /// The parameters of one client.
    Client,
    /// All parameters of closed clients.
    Closed,
    /// The parameters of applications.
    Apps,
    /// Only the nodes.
    Nodes,
    /// The parameters of the metrics.
    Metrics,
}

/// The query string of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    /// The given parameters by their canonical names, for links to other windows.
    pub(super) given: Vec<(String, String)>,
    /// The selected node; `None` for all.
    pub(super) node: Option<String>,
    /// The selected cluster; `None` for all nodes.
    pub(super) cluster: Option<String>,
    /// The selection of clients of these nodes.
    pub(super) selection: Selection,
    /// The column to group by; `None` for a list.
    pub(super) group: Option<&'static Column>,
    /// The chosen columns, in order; empty for the default columns.
    pub(super) columns: Vec<&'static Column>,
    /// The closing time of the client, in seconds since the Unix epoch.
    pub(super) closed_at: Option<i64>,
    takes: Takes,
}

impl Takes {
    /// The names of the parameters, in addition to names of columns.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Takes::Clients => &[
                "redis", "cluster", "q", "filter", "min_idle", "max_idle", "min_age", "sort", "group", "columns",
                "offset", "limit",
            ],
            Takes::Client => &["redis", "cluster", "columns", "closed_at"],
            Takes::Closed => &["redis", "cluster", "q", "filter", "min_age", "sort", "columns", "offset", "limit"],
            Takes::Apps => &["redis", "cluster", "q", "app"],
            Takes::Nodes => &["redis", "cluster"],
            Takes::Metrics => &["redis", "collect", "target"],
        }
    }

    /// The columns that are parameters, and that filters, sorts and column lists can name.
    pub(super) fn columns(self) -> Vec<&'static Column> {
        match self {
            Takes::Clients | Takes::Client => Column::of_clients().collect(),
            Takes::Closed => Column::of_closed().collect(),
            Takes::Apps | Takes::Nodes | Takes::Metrics => Vec::new(),
        }
    }

    fn column(self, name: &str) -> Result<&'static Column, String> {
        let column = Column::find(name).ok_or_else(|| unknown_column(name))?;
        self.check(column).map(|()| column)
    }

    fn check(self, column: &Column) -> Result<(), String> {
        let of = if self == Takes::Closed { "closed clients" } else { "clients" };
        check_column(column, &self.columns(), of)
    }
}

impl Query {
    /// Parses a query string.
    ///
    /// # Errors
    /// Returns a sentence that names the parameter, the fault, and valid values.
    pub(super) fn parse(text: &str, takes: Takes) -> Result<Self, String> {
        Self::parse_with(text, takes, DEFAULT_WINDOW, MAX_WINDOW, false)
    }

    /// Parses the query string of a page. Parameters that no route takes, such as `utm_source`, are ignored.
    ///
    /// # Errors
    /// See [`Query::parse`].
    pub(super) fn of_page(text: &str, takes: Takes) -> Result<Self, String> {
        Self::parse_with(text, takes, DEFAULT_WINDOW, MAX_WINDOW, true)
    }

    /// Parses the query string of a scrape. Parameters that no route takes, such as `name[]`, are ignored: scrapers add
    /// them.
    ///
    /// # Errors
    /// See [`Query::parse`].
    pub(super) fn of_scrape(text: &str) -> Result<Self, String> {
        let query = Self::of_page(text, Takes::Metrics)?;
        match query.node.is_some() && query.is_of_exporter() {
            true => Err("redis and collect exclude each other; remove one".to_owned()),
            false => Ok(query),
        }
    }

    /// True for the metrics that are not about one node.
    pub(super) fn is_of_exporter(&self) -> bool {
        !self.given("collect").is_empty()
    }

    /// Parses the query string of a list, which by default has all matching rows.
    ///
    /// # Errors
    /// See [`Query::parse`].
    pub(super) fn of_list(text: &str, takes: Takes) -> Result<Self, String> {
        Self::parse_with(text, takes, usize::MAX, usize::MAX, false)
    }

    fn parse_with(text: &str, takes: Takes, limit: usize, max: usize, is_page: bool) -> Result<Self, String> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(format!("the query is longer than {MAX_QUERY_BYTES} bytes"));
        }
        let selection = Selection::of(limit);
        let mut query = Self {
            given: Vec::new(),
            node: None,
            cluster: None,
            selection,
            group: None,
            columns: Vec::new(),
            closed_at: None,
            takes,
        };
        if takes == Takes::Closed {
            query.selection.sort = Sort { column: takes.column("closed_at")?, descending: true };
        }
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let name = canonical(&name, takes);
            // An empty input of a form sets no condition.
            if value.is_empty() || is_page && !is_known(name) {
                continue;
            }
            // Only conditions and columns can be repeated: of two orders or limits one would be ignored.
            if UNIQUE.contains(&name) && !query.given(name).is_empty() {
                return Err(format!("{name} is given twice; remove one"));
            }
            query.set(name, &value, max)?;
            query.given.push((name.to_owned(), value.into_owned()));
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, max: usize) -> Result<(), String> {
        if !self.takes.parameters().contains(&name) {
            return self.set_column(name, value);
        }
        match name {
            "redis" => self.node = Some(value.to_owned()),
            "cluster" => self.cluster = Some(value.to_owned()),
            "q" => self.selection.search(value),
            "filter" => self.add(Filter::parse(value))?,
            "min_idle" => self.add(Filter::parse(&format!("idle_seconds>={value}")))?,
            "max_idle" => self.add(Filter::parse(&format!("idle_seconds<={value}")))?,
            "min_age" => self.add(Filter::parse(&format!("age_seconds>={value}")))?,
            "app" => self.add(Filter::equal(Column::find("app").ok_or("unknown column app")?, value))?,
            "sort" => {
                let sort = Sort::parse(value)?;
                self.takes.check(sort.column)?;
                self.selection.sort = sort;
            }
            "group" => self.group = Some(grouping(value)?),
            "columns" => {
                for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    let column = self.takes.column(name)?;
                    // Each column once, so that the number of columns is bounded.
                    if !self.columns.contains(&column) {
                        self.columns.push(column);
                    }
                }
            }
            "closed_at" => {
                self.closed_at = Some(value.parse().map_err(|_| format!("closed_at: {value:?} is not a number"))?);
            }
            "collect" if value == COLLECT_EXPORTER => {}
            "collect" => return Err(format!("collect: {value:?} is unknown; the only value is {COLLECT_EXPORTER}")),
            "target" => {
                return Err(
                    "target: no server of the caller's choice is connected to; redis=NAME selects one that is \
                            watched"
                        .to_owned(),
                );
            }
            "offset" => self.selection.offset = number(name, value, usize::MAX)?,
            "limit" => self.selection.limit = number(name, value, max)?,
            _ => return Err(format!("unknown parameter {name}")),
        }
        Ok(())
    }

    /// Sets the condition that a column equals a value.
    fn set_column(&mut self, name: &str, value: &str) -> Result<(), String> {
        match Column::find(name).filter(|column| self.takes.columns().contains(column)) {
            Some(column) if self.takes != Takes::Client => self.add(Filter::equal(column, value)),
            _ => {
                let mut names = self.takes.parameters().to_vec();
                if self.takes != Takes::Client {
                    names.extend(self.takes.columns().iter().map(|column| column.name));
                }
                Err(format!("unknown parameter {name}; parameters are {}", names.join(", ")))
            }
        }
    }

    fn add(&mut self, filter: Result<Filter, String>) -> Result<(), String> {
        let filter = filter?;
        if self.takes != Takes::Apps {
            self.takes.check(filter.column())?;
        }
        self.selection.add_filter(filter)
    }

    /// True if the node is selected.
    pub(super) fn has(&self, node: &NodeState) -> bool {
        self.node.as_ref().is_none_or(|name| **name == *node.node) && self.is_of_cluster(node)
    }

    /// True if only some nodes are selected.
    pub(super) fn selects_nodes(&self) -> bool {
        self.node.is_some() || self.cluster.is_some()
    }

    /// The selected nodes.
    pub(super) fn nodes<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = &'a NodeState> + Clone {
        nodes.iter().filter(|node| self.has(node))
    }

    /// The targets that lead to a selected node; if none is selected, all of them.
    pub(super) fn targets<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = &'a TargetState> {
        let selected: BTreeSet<&str> = self.nodes(nodes).map(NodeState::target).collect();
        let selects_nodes = self.selects_nodes();
        nodes.targets().iter().filter(move |target| !selects_nodes || selected.contains(&*target.name))
    }

    /// The last snapshots of the selected nodes, as input of a selection.
    pub(super) fn snapshots<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = (&'a str, &'a Snapshot)> {
        self.nodes(nodes).filter_map(|node| Some((&*node.node, &**node.last_snapshot()?)))
    }

    /// The clients with an id: at most one per selected node.
    pub(super) fn find<'a>(&self, nodes: &'a Nodes, id: u64) -> Vec<Row<'a>> {
        let of_node = |(node, snapshot): (&'a str, &'a Snapshot)| {
            let index = snapshot.clients()?.find(id)?;
            Row::new(node, snapshot, index)
        };
        self.snapshots(nodes).filter_map(of_node).collect()
    }

    /// The window of the closed clients; the default order is the last closed first.
    pub(super) fn closed<'a>(&self, nodes: &'a Nodes) -> Window<ClosedRow<'a>> {
        self.selection.window_of(self.snapshots(nodes).flat_map(|(node, snapshot)| closed_rows(node, snapshot)))
    }

    /// Finds the selected node by its name or its address, and selects it by its name. Checks the selected cluster.
    ///
    /// # Errors
    /// Returns a sentence that names watched nodes or clusters, if none of them is selected.
    pub(super) fn resolve_nodes(&mut self, nodes: &Nodes) -> Result<(), String> {
        if let Some(cluster) = &self.cluster
            && !nodes.iter().any(|node| *node.origin.cluster == **cluster)
        {
            let clusters: BTreeSet<&str> = nodes.iter().map(|node| &*node.origin.cluster).collect();
            return Err(match some_names(clusters.into_iter().filter(|cluster| !cluster.is_empty())) {
                names if names.is_empty() => "cluster: no server that is watched belongs to a cluster".to_owned(),
                names => format!("cluster: no server of this cluster is watched; clusters are {names}"),
            });
        }
        let Some(selected) = &self.node else { return Ok(()) };
        let found = nodes.find_by_name_or_address(selected).filter(|node| self.is_of_cluster(node));
        if let Some(node) = found.map(|node| node.node.to_string()) {
            for (_, value) in self.given.iter_mut().filter(|(name, _)| name == "redis") {
                value.clone_from(&node);
            }
            self.node = Some(node);
            return Ok(());
        }
        let place = if self.cluster.is_some() { " in this cluster" } else { "" };
        let names = some_names(self.nodes_of_cluster(nodes).map(|node| &*node.node));
        Err(format!("redis: this server is not watched{place}; servers are {names}"))
    }

    /// The nodes of the selected cluster; all nodes if none is selected.
    pub(super) fn nodes_of_cluster<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = &'a NodeState> {
        nodes.iter().filter(|node| self.is_of_cluster(node))
    }

    fn is_of_cluster(&self, node: &NodeState) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| **cluster == *node.origin.cluster)
    }

    /// The first value of a parameter; empty if it is not given.
    pub(super) fn given(&self, name: &str) -> &str {
        self.given.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// The parameters without an input in the form, and repeated ones. The offset is left out.
    pub(super) fn others(&self, inputs: &[&str]) -> Vec<(String, String)> {
        let is_first = |index: usize, name: &str| !self.given[..index].iter().any(|(given, _)| given == name);
        let rest = self.given.iter().enumerate().filter(|(index, (name, _))| {
            name != "offset" && !(inputs.contains(&name.as_str()) && is_first(*index, name))
        });
        rest.map(|(_, parameter)| parameter.clone()).collect()
    }

    /// The query string with some parameters replaced; an empty value removes one.
    pub(super) fn with(&self, changed: &[(&str, &str)]) -> String {
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

/// The canonical name of a parameter: for an alias, the column's name, so that each parameter has one name.
fn canonical(name: &str, takes: Takes) -> &str {
    match name {
        "cols" => "columns",
        name if takes.parameters().contains(&name) => name,
        name => Column::find(name).map_or(name, |column| column.name),
    }
}

/// True if any route takes the parameter.
fn is_known(name: &str) -> bool {
    let all = [Takes::Clients, Takes::Client, Takes::Closed, Takes::Apps, Takes::Nodes, Takes::Metrics];
    Column::find(name).is_some() || all.iter().any(|takes| takes.parameters().contains(&name))
}

/// The first of some names, and the number of the others.
fn some_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(MAX_NAMES)].join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        others => format!("{shown} and {others} more"),
    }
}

fn grouping(name: &str) -> Result<&'static Column, String> {
    Column::find(name).ok_or_else(|| unknown_column(name))?.check_groupable()
}

fn number(name: &str, value: &str, max: usize) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| match max {
        usize::MAX => format!("{name}: {value:?} is not a number"),
        max => format!("{name}: {value:?} is not a number up to {max}"),
    })
}

/// Asserts that an accepted query string has the same meaning after it was written into a link.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_query(text: &str) {
    for takes in [Takes::Clients, Takes::Client, Takes::Closed, Takes::Apps, Takes::Nodes, Takes::Metrics] {
        for parse in [Query::parse, Query::of_page, Query::of_list] {
            let Ok(query) = parse(text, takes) else { continue };
            let link = query.with(&[]);
            // Escapes may make it too long.
            if link.len() <= MAX_QUERY_BYTES {
                assert_eq!(parse(&link, takes).as_ref(), Ok(&query), "{text} became {link}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::latest::Phase;
    use crate::link::{Endpoint, Origin};
    use crate::view::fixture::snapshot;

    const REPLY: &str = "id=1 addr=10.0.0.1:1 name=web-1 user=app idle=5 age=10 cmd=get flags=N\n\
                         id=2 addr=10.0.0.2:2 name=job-1 user=app idle=700 age=900 cmd=NULL flags=N\n\
                         id=3 addr=10.1.0.3:3 name= user=ops idle=9 age=9000 cmd=blpop flags=b\n";

    fn nodes() -> Nodes {
        let mut node = NodeState::starting("node:1".into());
        node.phase = Phase::Fresh { snapshot: Arc::new(snapshot(REPLY)), stale_at: Instant::now() };
        Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [node])
    }

    fn parse(text: &str) -> Result<Query, String> {
        Query::parse(text, Takes::Clients)
    }

    fn ids(text: &str) -> (usize, Vec<u64>) {
        let (nodes, query) = (nodes(), parse(text).expect(text));
        let window = query.selection.window(query.snapshots(&nodes));
        (window.matched, window.rows.iter().filter_map(|row| row.entry.id).collect())
    }

    #[test]
    fn a_query_filters_before_it_takes_the_window() {
        for (text, matched, expected) in [
            ("", 3, &[2, 3, 1][..]),
            ("sort=id&limit=1&offset=1", 3, &[2]),
            ("app=web", 1, &[1]),
            ("address=10.0.0.1", 1, &[1]),
            ("addr=10.0.0.0/24&sort=id", 2, &[1, 2]),
            ("database=", 3, &[2, 3, 1]),
            ("min_idle=1m", 1, &[2]),
            ("max_idle=9&sort=id", 2, &[1, 3]),
            ("min_age=1h", 1, &[3]),
            ("q=JOB", 1, &[2]),
            ("q=10.0.&sort=-id", 2, &[2, 1]),
            ("state=waiting", 1, &[3]),
            ("state=blocked", 1, &[3]),
            ("redis=other", 0, &[]),
            ("filter=idle%3E10m", 1, &[2]),
            ("app=&q=", 3, &[2, 3, 1]),
        ] {
            assert_eq!(ids(text), (matched, expected.to_vec()), "{text}");
        }
    }

    #[test]
    fn an_invalid_parameter_is_an_error() {
        for text in [
            "nonsense=1",
            "sort=nonsense",
            "sort=closed_at",
            "limit=1001",
            "limit=-1",
            "offset=x",
            "min_idle=soon",
            "columns=x",
            "columns=id,nonsense",
            "group=memory_bytes",
            "group=nonsense",
            "state=idel",
            "kind=x",
            "address=x",
            "closed_reason=limit",
            "sort=id&sort=name",
            "q=a&q=b",
            &"q=x".repeat(2000),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_that_a_route_does_not_take_is_refused_and_not_ignored() {
        for (takes, text) in [
            (Takes::Nodes, "min_idle=5"),
            (Takes::Nodes, "app=web"),
            (Takes::Apps, "state=idle"),
            (Takes::Client, "q=x"),
            (Takes::Closed, "flags=N"),
            (Takes::Closed, "filter=idle%3E5"),
            (Takes::Closed, "group=app"),
            (Takes::Closed, "sort=idle"),
        ] {
            for fault in [Query::parse(text, takes), Query::of_page(text, takes)].map(Result::err) {
                assert!(fault.is_some_and(|fault| fault.contains(" are ")), "{takes:?} {text}");
            }
        }
        for (takes, text) in [
            (Takes::Nodes, "redis=node:1"),
            (Takes::Apps, "q=web&app=web"),
            (Takes::Closed, "reason=limit&sort=-age&library=x&min_age=5m"),
        ] {
            assert!(Query::parse(text, takes).is_ok(), "{takes:?} {text}");
        }
    }

    #[test]
    fn pages_ignore_parameters_that_other_sites_add_to_links() {
        let query = Query::of_page("utm_source=x&q=web&fbclid=1", Takes::Clients).expect("a query");
        assert_eq!(query.given, [("q".to_owned(), "web".to_owned())]);
        assert!(Query::of_page("q=web&limit=x", Takes::Clients).is_err());
    }

    #[test]
    fn white_space_of_a_value_is_kept() {
        let with = |text| parse(text).expect(text).selection;
        assert_ne!(with("user=%C2%A0nb"), with("user=nb"));
    }

    #[test]
    fn a_server_that_is_not_watched_is_an_error() {
        let nodes = nodes();
        assert!(parse("redis=node:1").expect("a query").resolve_nodes(&nodes).is_ok());
        let mut by_address = parse("redis=rediss%3A%2F%2Flocalhost:7000/3&q=web").expect("a query");
        let local = |name: &str, port: u16| {
            let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port, tls: false };
            NodeState { address: Some(endpoint), ..NodeState::starting(name.into()) }
        };
        // A name takes precedence over the address of another node.
        let named = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [local("a", 7000), local("127.0.0.1:7000", 7001)]);
        assert!(by_address.resolve_nodes(&named).is_ok() && by_address.node.as_deref() == Some("a"));
        assert_eq!(by_address.with(&[]), "redis=a&q=web");
        let mut by_name = parse("redis=127.0.0.1:7000").expect("a query");
        assert!(by_name.resolve_nodes(&named).is_ok() && by_name.node.as_deref() != Some("a"));
        assert!(parse("redis=localhost:7002").expect("a query").resolve_nodes(&named).is_err());
        let twice = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [local("a", 7000), local("b", 7000)]);
        assert!(parse("redis=localhost:7000").expect("a query").resolve_nodes(&twice).is_err(), "it could be either");
        let fault = parse("redis=node:2").expect("a query").resolve_nodes(&nodes).expect_err("it is not watched");
        assert!(fault.contains("servers are node:1"), "{fault}");
    }

    #[test]
    fn a_cluster_selects_its_servers_and_an_unknown_one_is_an_error_that_names_others() {
        let node = |name: &str, cluster: &str| {
            let origin = Arc::new(Origin { cluster: cluster.into(), ..Origin::default() });
            NodeState { origin, ..NodeState::starting(name.into()) }
        };
        let all = [node("a", "shop"), node("b", "mail"), node("c", "shop"), node("single", "")];
        let nodes = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, all);
        let resolved = |text: &str| {
            let mut query = parse(text).expect(text);
            query.resolve_nodes(&nodes)?;
            Ok::<Vec<String>, String>(query.nodes(&nodes).map(|node| node.node.to_string()).collect())
        };
        assert_eq!(resolved("cluster=shop"), Ok(vec!["a".to_owned(), "c".to_owned()]));
        assert_eq!(resolved("cluster=shop&redis=c"), Ok(vec!["c".to_owned()]));
        let fault = |text| resolved(text).expect_err("it is not watched");
        assert!(fault("cluster=shops").ends_with("clusters are mail, shop"), "{}", fault("cluster=shops"));
        assert!(fault("cluster=shop&redis=b").ends_with("in this cluster; servers are a, c"));
        let many = (0..30).map(|number| node(&format!("n{number}"), &format!("c{number:02}")));
        let many = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, many);
        let fault = parse("cluster=x").expect("a query").resolve_nodes(&many).expect_err("it is unknown");
        assert!(fault.ends_with(", c18, c19 and 10 more"), "{fault}");
        let none = parse("cluster=x").expect("a query").resolve_nodes(&self::nodes());
        assert!(none.is_err_and(|fault| fault.contains("no server that is watched belongs to a cluster")));
    }

    #[test]
    fn a_list_has_all_matching_rows() {
        let limit = |text| Query::of_list(text, Takes::Clients).map(|query| query.selection.limit);
        assert_eq!((limit(""), limit("limit=5000")), (Ok(usize::MAX), Ok(5000)));
    }

    #[test]
    fn columns_are_chosen_individually_or_as_a_list() {
        let names = |text: &str| parse(text).map(|query| query.columns.iter().map(|c| c.name).collect::<Vec<_>>());
        assert_eq!(names("columns=id,addr&cols=lib&columns=id"), Ok(vec!["id", "address", "library"]));
        assert_eq!(names("columns="), Ok(vec![]));
    }

    #[test]
    fn links_to_other_windows_keep_the_rest_by_canonical_names() {
        let query = parse("app=a%26b&lib=x&sort=id&offset=200").expect("a query");
        assert_eq!(query.with(&[("offset", "400")]), "app=a%26b&library=x&sort=id&offset=400");
        assert_eq!(query.with(&[("offset", ""), ("sort", "-age")]), "app=a%26b&library=x&sort=-age");
    }
}
