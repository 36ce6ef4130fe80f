//! The pages, written whole by the server: they work without a script, which only keeps them up to date.

use std::time::Instant;

use askama::Template;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::App;
use super::api::all_closed;
use super::response::{self, Body};
use crate::client_list::Field;
use crate::latest::{NodeState, Nodes, Phase};
use crate::snapshot::{Crowd, Groups, Seen, Snapshot, State, connected_at, last_interaction, output_buffer_bytes};
use crate::view::list::ago;
use crate::view::query::{LARGEST_WINDOW, Query};
use crate::view::rows::Row;

/// How many of each sort the overview shows.
const TOP: usize = 10;

/// How many departures are shown.
const DEPARTURES: usize = 500;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page<'a> {
    Overview,
    Clients,
    Client(&'a str),
    Apps,
    Closed,
}

/// What every page shows.
#[derive(Clone, Copy)]
struct Frame<'a> {
    version: &'static str,
    telemetry_path: &'a str,
}

/// Answers with a page; or that there is nothing newer than what the browser has.
pub(super) fn answer(app: &App, page: Page<'_>, query: &str, headers: &HeaderMap) -> Response<Body> {
    let nodes = app.latest.read();
    let now = Instant::now();
    // What is shown changes with the nodes, and when the last sample gets too old.
    let fresh: String =
        nodes.nodes.iter().map(|node| if node.fresh_snapshot(now).is_some() { '1' } else { '0' }).collect();
    let tag = format!("\"{}-{}-{fresh}\"", app.started, nodes.generation);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        let mut response = response::answer(StatusCode::NOT_MODIFIED, "text/html; charset=utf-8", "");
        tagged(&mut response, &tag);
        return response;
    }
    let frame = Frame { version: env!("CARGO_PKG_VERSION"), telemetry_path: &app.telemetry_path };
    let written = match page {
        Page::Overview => written(&overview(&nodes, now, frame)),
        Page::Apps => written(&apps(&nodes, frame)),
        Page::Closed => written(&closed(&nodes, frame)),
        Page::Clients => clients(app, &nodes, now, query, frame),
        Page::Client(id) => client(app, &nodes, id, query, frame),
    };
    match written {
        Ok(html) => {
            let mut response = response::answer(StatusCode::OK, "text/html; charset=utf-8", html);
            tagged(&mut response, &tag);
            response
        }
        Err((status, sentence)) => response::error(status, &sentence),
    }
}

fn tagged(response: &mut Response<Body>, tag: &str) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
}

type Written = Result<String, (StatusCode, String)>;

fn written(page: &impl Template) -> Written {
    page.render().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    version: &'static str,
    telemetry_path: &'a str,
    nodes: Vec<NodeView>,
}

/// A node on the overview.
struct NodeView {
    name: String,
    server: String,
    at: String,
    banners: Vec<String>,
    tiles: Vec<(&'static str, String)>,
    groups: Vec<(&'static str, Vec<GroupView>)>,
}

struct GroupView {
    name: String,
    connections: u64,
    link: String,
}

fn overview<'a>(nodes: &Nodes, now: Instant, frame: Frame<'a>) -> Overview<'a> {
    let nodes = nodes.nodes.iter().map(|node| node_view(node, now)).collect();
    Overview { version: frame.version, telemetry_path: frame.telemetry_path, nodes }
}

fn node_view(node: &NodeState, now: Instant) -> NodeView {
    let snapshot = node.last_snapshot();
    let info = snapshot.and_then(|snapshot| snapshot.info());
    let word = |word: Option<&String>| {
        word.map_or_else(|| "?".to_owned(), |word| crate::snapshot::spelled_out(word.as_bytes()))
    };
    let server = info.map_or_else(String::new, |info| {
        format!("{} {}, {}", info.product.name(), word(info.version.as_ref()), word(info.role.as_ref()))
    });
    NodeView {
        name: node.node.to_string(),
        server,
        at: snapshot.map_or_else(String::new, |snapshot| format!("{:.0}", snapshot.sample.at)),
        banners: banners(node, now),
        tiles: snapshot.map(|snapshot| tiles(snapshot)).unwrap_or_default(),
        groups: snapshot.map(|snapshot| top_groups(&node.node, snapshot)).unwrap_or_default(),
    }
}

/// What an operator must know before he believes what is shown.
fn banners(node: &NodeState, now: Instant) -> Vec<String> {
    let mut banners = Vec::new();
    match &node.phase {
        Phase::Starting => banners.push("Not sampled yet.".to_owned()),
        Phase::Failing { failure, since, .. } => {
            banners.push(format!("Not reachable since {since:.0}: {}. What is shown is from before.", failure.message));
        }
        Phase::Fresh { snapshot, .. } if node.fresh_snapshot(now).is_none() => {
            banners.push(format!("No news since {:.0}.", snapshot.sample.at));
        }
        Phase::Fresh { snapshot, .. } => {
            banners.extend(snapshot.refused().map(|failure| failure.message.clone()));
            if snapshot.sample.cost.within_budget == Some(false) {
                banners.push("Samples cannot be taken as gently as was promised; they come less often.".to_owned());
            }
            if snapshot.pages().is_some() && !snapshot.is_complete() {
                banners.push("Some clients are missing from what is shown.".to_owned());
            }
        }
    }
    banners
}

fn tiles(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let Some(crowd) = &snapshot.crowd else { return Vec::new() };
    let maxclients = snapshot.info().and_then(|info| info.maxclients);
    let limit = maxclients.map_or_else(String::new, |limit| format!(" of {limit}"));
    let rejected = snapshot.counters.connections_rejected.map_or(0, |counter| counter.total());
    vec![
        ("Connections", format!("{}{limit}", crowd.connections())),
        ("Online", crowd.online().to_string()),
        ("Active", crowd.in_state(State::Active).to_string()),
        ("Waiting", crowd.in_state(State::Waiting).to_string()),
        ("Idle", crowd.in_state(State::Idle).to_string()),
        ("Never spoke", crowd.silent.to_string()),
        ("Rejected", rejected.to_string()),
        ("Came and went unseen", snapshot.churn.unseen().to_string()),
    ]
}

fn top_groups(node: &str, snapshot: &Snapshot) -> Vec<(&'static str, Vec<GroupView>)> {
    let link = |parameter: &str, group: &str| clients_link(&[("redis", node), (parameter, group)]);
    let apps = snapshot.presence.shown.iter().filter(|seen| seen.is_online()).take(TOP);
    let apps = apps.map(|seen| GroupView {
        name: seen.app.to_string(),
        connections: seen.now.connections,
        link: link("app", &seen.app),
    });
    let of = |groups: fn(&Crowd) -> &Option<Groups>, parameter: &str| -> Vec<GroupView> {
        let groups = snapshot.crowd.as_ref().and_then(|crowd| groups(crowd).as_ref());
        let all = groups.into_iter().flat_map(Groups::iter).take(TOP);
        let view = |(name, connections): (&str, u64)| {
            // A group of ours is no value that a client has.
            let link =
                if name.starts_with('(') || name.starts_with('\\') { String::new() } else { link(parameter, name) };
            GroupView { name: name.to_owned(), connections, link }
        };
        all.map(view).collect()
    };
    vec![
        ("Application", apps.collect()),
        ("User", of(|crowd| &crowd.users, "user")),
        ("Library", of(|crowd| &crowd.libraries, "lib")),
        ("Network", of(|crowd| &crowd.networks, "network")),
    ]
    .into_iter()
    .filter(|(_, groups): &(_, Vec<GroupView>)| !groups.is_empty())
    .collect()
}

fn clients_link(parameters: &[(&str, &str)]) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(parameters);
    format!("/clients?{}", pairs.finish())
}

#[derive(Template)]
#[template(path = "clients.html")]
struct Clients<'a> {
    version: &'static str,
    telemetry_path: &'a str,
    q: String,
    app: String,
    user: String,
    min_idle: String,
    sort: String,
    states: Vec<(&'static str, bool, &'static str)>,
    banners: Vec<String>,
    matched: usize,
    total: usize,
    query: String,
    /// How many of them a list of their own holds.
    in_a_list: usize,
    heads: Vec<Head>,
    rows: Vec<ClientView>,
    previous: String,
    next: String,
    range: String,
}

/// The head of a column, with where it leads.
struct Head {
    text: &'static str,
    link: String,
    /// `ascending`, `descending` or nothing: for `aria-sort`.
    sorted: &'static str,
}

struct ClientView {
    link: String,
    id: String,
    address: String,
    app: String,
    name: String,
    user: String,
    connected: String,
    connected_at: String,
    last: String,
    last_at: String,
    state: &'static str,
    buffers: String,
    command: String,
    library: String,
}

/// The columns, and the field that each is sorted by.
const COLUMNS: [(&str, &str); 11] = [
    ("Client ID", "id"),
    ("Address", "addr"),
    ("App", "app"),
    ("Name", "name"),
    ("User", "user"),
    ("Connected", "age"),
    ("Last interaction", "idle"),
    ("State", "state"),
    ("Buffers", "omem"),
    ("Command", "cmd"),
    ("Library", "library"),
];

fn clients(app: &App, nodes: &Nodes, now: Instant, query: &str, frame: Frame<'_>) -> Written {
    let query = Query::parse(query).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    let limits = app.limits.borrow().clone();
    let window = query.window(nodes, &limits);
    let given = |name: &str| {
        query.given.iter().find(|(given, _)| given == name).map_or_else(String::new, |(_, value)| value.clone())
    };
    let state = given("state");
    let states = [("", "any"), ("active", "active"), ("waiting", "waiting"), ("idle", "idle")];
    let at = |offset: usize| format!("/clients?{}", query.with(&[("offset", &offset.to_string())]));
    let last = (query.offset + window.rows.len()).min(window.matched);
    written(&Clients {
        version: frame.version,
        telemetry_path: frame.telemetry_path,
        q: given("q"),
        app: given("app"),
        user: given("user"),
        min_idle: given("min_idle"),
        sort: query.sort_text.clone(),
        states: states.map(|(value, text)| (value, value == state, text)).into(),
        banners: nodes.nodes.iter().flat_map(|node| named_banners(nodes, node, now)).collect(),
        matched: window.matched,
        total: window.total,
        query: query.with(&[("limit", &LARGEST_WINDOW.to_string()), ("offset", "")]),
        in_a_list: window.matched.min(LARGEST_WINDOW),
        heads: COLUMNS.iter().map(|&(text, field)| head(&query, text, field)).collect(),
        rows: window.rows.iter().map(client_view).collect(),
        previous: if query.offset > 0 { at(query.offset.saturating_sub(query.limit)) } else { String::new() },
        next: if last < window.matched { at(last) } else { String::new() },
        range: if window.rows.is_empty() { "none".to_owned() } else { format!("{}–{last}", query.offset + 1) },
    })
}

fn named_banners(nodes: &Nodes, node: &NodeState, now: Instant) -> Vec<String> {
    let name = if nodes.nodes.len() > 1 { format!("{}: ", node.node) } else { String::new() };
    banners(node, now).into_iter().map(|banner| format!("{name}{banner}")).collect()
}

fn head(query: &Query, text: &'static str, field: &str) -> Head {
    let (descending, by) = query.sort_text.strip_prefix('-').map_or((false, &*query.sort_text), |by| (true, by));
    let is_sorted = by == field;
    // What is sorted by already is turned round; numbers begin with the largest.
    let numeric = ["age", "idle", "omem"].contains(&field);
    let sort = if is_sorted && !descending || !is_sorted && numeric { format!("-{field}") } else { field.to_owned() };
    Head {
        text,
        link: format!("/clients?{}", query.with(&[("offset", ""), ("sort", &sort)])),
        sorted: match (is_sorted, descending) {
            (false, _) => "",
            // More idle is an earlier interaction; what is sorted is what is read.
            (true, true) => "descending",
            (true, false) => "ascending",
        },
    }
}

fn client_view(row: &Row<'_>) -> ClientView {
    let text = |field| row.text(field).unwrap_or_default();
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(String::new, |time| format!("{time:.0}"));
    let id = text(Field::Id);
    let redis: String = url::form_urlencoded::byte_serialize(row.node.as_bytes()).collect();
    ClientView {
        link: format!("/clients/{id}?redis={redis}"),
        id,
        address: text(Field::Addr),
        app: row.app.clone().unwrap_or_else(|| format!("({})", row.kind.label())),
        name: text(Field::Name),
        user: text(Field::User),
        connected: row.client.age_seconds().map_or_else(String::new, ago),
        connected_at: time(connected_at(row.client, row.at)),
        last: row.client.idle_seconds().map_or_else(String::new, ago),
        last_at: time(last_interaction(row.client, row.at)),
        state: row.state.map_or("", State::label),
        buffers: output_buffer_bytes(row.client).to_string(),
        command: text(Field::Cmd),
        library: text(Field::LibName),
    }
}

#[derive(Template)]
#[template(path = "client.html")]
struct ClientPage<'a> {
    version: &'static str,
    telemetry_path: &'a str,
    id: u64,
    node: String,
    summary: String,
    fields: Vec<(String, String, &'static str)>,
}

fn client(app: &App, nodes: &Nodes, id: &str, query: &str, frame: Frame<'_>) -> Written {
    let bad = |sentence: String| (StatusCode::BAD_REQUEST, sentence);
    let id: u64 = id.parse().map_err(|_| bad("a client's id is a number".to_owned()))?;
    let given = Query::parse(query).map_err(bad)?;
    let query = Query::parse(&given.with(&[("filter", &format!("id={id}"))])).map_err(bad)?;
    let limits = app.limits.borrow().clone();
    let window = query.window(nodes, &limits);
    let Some(row) = window.rows.first() else {
        let sentence = "no client has this id; it may have gone: see Departures (/closed)";
        return Err((StatusCode::NOT_FOUND, sentence.to_owned()));
    };
    let view = client_view(row);
    let fields = row.client.fields().map(|(key, value)| {
        let known = Field::from_key(key);
        let key = crate::snapshot::spelled_out(key);
        (key, crate::snapshot::spelled_out(value), known.map_or("not known here", Field::meaning))
    });
    let summary = format!(
        "{} {}, connected {} ago, last interaction {}",
        row.kind.label(),
        view.state,
        view.connected,
        if view.last_at.is_empty() { "never".to_owned() } else { format!("{} ago", view.last) }
    );
    written(&ClientPage {
        version: frame.version,
        telemetry_path: frame.telemetry_path,
        id,
        node: row.node.to_owned(),
        summary,
        fields: fields.collect(),
    })
}

#[derive(Template)]
#[template(path = "apps.html")]
struct Apps<'a> {
    version: &'static str,
    telemetry_path: &'a str,
    nodes: Vec<(String, Vec<AppView>)>,
}

struct AppView {
    name: String,
    link: String,
    state: &'static str,
    connections: u64,
    expected: String,
    blocked: u64,
    oldest: String,
    memory: String,
    output: u64,
    opened: u64,
    closed: u64,
    last_seen: String,
}

fn apps<'a>(nodes: &Nodes, frame: Frame<'a>) -> Apps<'a> {
    let of_node = |node: &std::sync::Arc<NodeState>| {
        let seen = node.last_snapshot().into_iter().flat_map(|snapshot| snapshot.presence.all());
        (node.node.to_string(), seen.map(|seen| app_view(&node.node, seen)).collect())
    };
    let nodes = nodes.nodes.iter().map(of_node).collect();
    Apps { version: frame.version, telemetry_path: frame.telemetry_path, nodes }
}

fn app_view(node: &str, seen: &Seen) -> AppView {
    let is_other = &*seen.app == "(other)";
    AppView {
        name: seen.app.to_string(),
        link: if is_other { String::new() } else { clients_link(&[("redis", node), ("app", &seen.app)]) },
        state: match (seen.is_online(), seen.expected) {
            (true, Some(least)) if seen.now.connections < least => "missing",
            (true, _) => "online",
            (false, _) => "offline",
        },
        connections: seen.now.connections,
        expected: seen.expected.map_or_else(String::new, |least| least.to_string()),
        blocked: seen.now.blocked,
        oldest: seen.now.oldest_interaction_seconds.map_or_else(String::new, ago),
        memory: seen.now.memory_bytes.map_or_else(String::new, |bytes| bytes.to_string()),
        output: seen.now.output_buffer_bytes,
        opened: seen.totals.opened,
        closed: seen.totals.closed,
        last_seen: seen.last_seen.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}")),
    }
}

#[derive(Template)]
#[template(path = "closed.html")]
struct ClosedPage<'a> {
    version: &'static str,
    telemetry_path: &'a str,
    total: usize,
    rows: Vec<ClosedView>,
}

struct ClosedView {
    id: u64,
    address: String,
    app: String,
    name: String,
    user: String,
    gone_at: String,
    lived: String,
    command: String,
    reason: &'static str,
}

fn closed<'a>(nodes: &Nodes, frame: Frame<'a>) -> ClosedPage<'a> {
    let all = all_closed(nodes);
    let rows = all.iter().take(DEPARTURES).map(|(_, closed)| ClosedView {
        id: closed.id,
        address: closed.address.to_string(),
        app: closed.app.as_deref().unwrap_or(closed.kind.label()).to_owned(),
        name: closed.name.to_string(),
        user: closed.user.to_string(),
        gone_at: format!("{:.0}", closed.gone_at),
        lived: closed.lifetime_seconds().map_or_else(String::new, ago),
        command: closed.command.to_string(),
        reason: closed.reason.label(),
    });
    ClosedPage { version: frame.version, telemetry_path: frame.telemetry_path, total: all.len(), rows: rows.collect() }
}
