//! `/`: the state of each server, its connections by group, and its recent changes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use jiff::Timestamp;

use super::apps::{fleet_app_link, partly};
use super::servers::ServerList;
use super::{
    Frame, MAX_FULL_NODES, MAX_ROWS, banners, clients_link, missing_on_node, pairs_text, rfc3339, same_server_banners,
    selected_pairs,
};
use crate::history::{History, Point, Rates};
use crate::latest::{AppSum, FleetApps, FleetExpectation, NodeState, Nodes};
use crate::sample::Source;
use crate::snapshot::{ClientCounts, CloseReason, Groups, Snapshot, State};
use crate::text::{OTHER, escaped, is_cut};
use crate::view::humanize::{clock_difference, count, rate, share};
use crate::web::query::Query;

/// The time over which rates are computed.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// The time over which changes are shown.
const CHANGES_WINDOW: Duration = Duration::from_secs(300);

/// The number of points of the last hour between two rows of its table: five minutes.
const POINTS_PER_ROW: usize = 30;

#[derive(Template)]
#[template(path = "overview.html")]
pub(super) struct Overview<'a> {
    frame: Frame<'a>,
    banners: Vec<String>,
    servers: ServerList,
    apps: Option<TopApps>,
    nodes: Vec<NodeView>,
}

/// The applications with the most connections to the selected nodes.
struct TopApps {
    /// The nodes over which they are added up, if some are not known.
    partly: String,
    /// The link to all applications.
    link: String,
    rows: Vec<TopApp>,
}

struct TopApp {
    name: String,
    link: String,
    connections: String,
    nodes: String,
}

/// A node in full.
struct NodeView {
    name: String,
    server: String,
    sampled: Option<Sampled>,
    banners: Vec<String>,
    used: Option<Used>,
    tiles: Vec<Tile>,
    numbers: Vec<[String; 6]>,
    offline: Vec<(String, String, i64)>,
    recent: Option<Recent>,
    groups: Vec<(&'static str, Vec<GroupView>)>,
}

/// The time and the cost of the last sample.
struct Sampled {
    at: String,
    epoch: i64,
    cost: String,
}

/// The used share of maxclients.
struct Used {
    connections: u64,
    maxclients: u64,
    text: String,
}

struct Tile {
    name: &'static str,
    value: String,
    link: String,
    is_bad: bool,
}

struct GroupView {
    name: String,
    connections: String,
    link: String,
}

/// The changes in the last minutes.
struct Recent {
    /// Their period, such as `5 minutes`.
    period: String,
    since: String,
    opened: String,
    closed: String,
    reasons: Vec<(String, &'static str)>,
    apps: Vec<Change>,
}

struct Change {
    app: String,
    link: String,
    before: String,
    now: String,
    change: String,
}

pub(super) fn page<'a>(nodes: &Nodes, now: Instant, query: &Query, frame: Frame<'a>) -> Overview<'a> {
    let full_nodes = if query.nodes(nodes).count() > MAX_FULL_NODES { 0 } else { MAX_FULL_NODES };
    // One node has these banners itself.
    let missing = missing_on_all(nodes, now).filter(|_| nodes.count() > 1);
    Overview {
        frame,
        banners: same_server_banners(nodes, query, now).take(MAX_ROWS).chain(missing).collect(),
        servers: ServerList::new(nodes, now, query),
        apps: top_apps(nodes, now, query),
        nodes: query.nodes(nodes).take(full_nodes).map(|node| view(nodes, node, now)).collect(),
    }
}

/// The applications over several nodes; `None` for one node, which has its own.
fn top_apps(nodes: &Nodes, now: Instant, query: &Query) -> Option<TopApps> {
    let apps = FleetApps::of(query.nodes(nodes), now);
    let (mut largest, _) = apps.largest(|_| true);
    if apps.nodes < 2 || largest.is_empty() {
        return None;
    }
    if largest.len() > MAX_ROWS {
        let others = largest.split_off(MAX_ROWS - 1);
        let connections = others.iter().map(|(_, sum)| sum.connections).sum();
        largest.push((OTHER, AppSum { connections, nodes: 0 }));
    }
    let row = |(app, sum): (&str, AppSum)| TopApp {
        name: app.to_owned(),
        link: fleet_app_link(query, app),
        connections: count(sum.connections),
        nodes: if app == OTHER { String::new() } else { count(sum.nodes) },
    };
    Some(TopApps {
        partly: partly(&apps),
        link: format!("/apps?{}", pairs_text(&selected_pairs(query))),
        rows: largest.into_iter().map(row).collect(),
    })
}

fn view(nodes: &Nodes, node: &NodeState, now: Instant) -> NodeView {
    let snapshot = node.last_snapshot().map(|snapshot| &**snapshot);
    let missing = missing_on_all(nodes, now).filter(|_| nodes.count() == 1);
    let missing = missing.chain(snapshot.into_iter().flat_map(missing_on_node));
    NodeView {
        name: node.node.to_string(),
        server: snapshot.map_or_else(String::new, server),
        sampled: snapshot.map(sampled),
        banners: banners(node, now).into_iter().chain(missing).collect(),
        used: snapshot.and_then(|snapshot| used(snapshot, &node.history)),
        tiles: snapshot.map(|snapshot| tiles(&node.node, snapshot, &node.history)).unwrap_or_default(),
        numbers: numbers(&node.history, nodes.changed_at()),
        offline: snapshot.map(offline).unwrap_or_default(),
        recent: snapshot.and_then(|snapshot| recent(&node.node, snapshot, &node.history)),
        groups: snapshot.map(|snapshot| top_groups(&node.node, snapshot)).unwrap_or_default(),
    }
}

/// The applications with fewer connections to all nodes than expected.
fn missing_on_all(nodes: &Nodes, now: Instant) -> impl Iterator<Item = String> {
    let place = if nodes.count() > 1 { " on all servers together" } else { "" };
    let missing = nodes.fleet_expectations(now).into_iter().filter(FleetExpectation::is_missing);
    let sentence = move |of: FleetExpectation<'_>| {
        format!("{} has {} of {} expected connections{place}.", of.app, of.connections.unwrap_or(0), of.minimum)
    };
    missing.map(sentence).take(MAX_ROWS)
}

/// The offline applications, the last seen first.
fn offline(snapshot: &Snapshot) -> Vec<(String, String, i64)> {
    let seen = snapshot.presence.shown.iter().filter(|seen| !seen.is_online());
    let mut offline: Vec<_> = seen.filter_map(|seen| Some((seen.last_seen?, seen))).collect();
    offline.sort_by_key(|(at, _)| Reverse(*at));
    offline
        .into_iter()
        .take(MAX_ROWS)
        .map(|(at, seen)| (seen.app.to_string(), rfc3339(Some(at)), at.as_second()))
        .collect()
}

fn server(snapshot: &Snapshot) -> String {
    let Some(info) = snapshot.info() else { return String::new() };
    let text = |text: Option<&str>| text.map_or_else(|| "?".to_owned(), |text| escaped(text.as_bytes()));
    format!("{} {}, {}", info.product.name(), text(info.version.as_deref()), text(info.shown_role()))
}

fn sampled(snapshot: &Snapshot) -> Sampled {
    let cost = &snapshot.sample.cost;
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let mut parts = Vec::new();
    // A received sample cost this exporter nothing. One full listing counts no pages.
    if snapshot.sample.source == Source::Sampled && snapshot.pages().is_some() {
        let noun = if cost.pages <= 1 { "call" } else { "calls" };
        parts.push(format!("{} CLIENT LIST {noun}", cost.pages.max(1)));
    }
    parts.extend(cost.server_time.map(|time| format!("{} server time", ms(time))));
    parts.extend(cost.longest_command.map(|time| format!("longest command {}", ms(time))));
    let difference = snapshot.sample.clock_difference.and_then(clock_difference);
    parts.extend(difference.map(|difference| format!("the server's clock is {difference}")));
    Sampled { at: rfc3339(Some(snapshot.sample.at)), epoch: snapshot.sample.at.as_second(), cost: parts.join(", ") }
}

fn used(snapshot: &Snapshot, history: &History) -> Option<Used> {
    let connections = history.points().next_back()?.values.as_ref()?.connections?;
    let maxclients = snapshot.info()?.maxclients.filter(|maxclients| *maxclients > 0)?;
    let text = format!("{} of {} ({})", count(connections), count(maxclients), share(connections, maxclients));
    Some(Used { connections, maxclients, text })
}

fn tiles(node: &str, snapshot: &Snapshot, history: &History) -> Vec<Tile> {
    let client_counts = snapshot.client_counts.as_ref();
    let rates = history.rates(RATE_WINDOW);
    let per_second = |of: fn(Rates) -> f64| rates.map_or_else(unknown, |rates| rate(of(rates)));
    let plain = |name, value: String| Tile { name, value, link: String::new(), is_bad: false };
    let number = |name, number: Option<u64>| plain(name, number.map_or_else(unknown, count));
    let linked = |tile: Tile, parameters: &[(&str, &str)]| match client_counts {
        Some(_) => Tile { link: clients_link(&[&[("redis", node)], parameters].concat()), ..tile },
        None => tile,
    };
    let in_state = |name, state: State| {
        linked(number(name, client_counts.map(|counts| counts.in_state(state))), &[("state", state.label())])
    };
    let values = history.points().next_back().and_then(|point| point.values.as_ref());
    let rejected = snapshot.counters.connections_rejected.map(|counter| counter.total());
    vec![
        linked(number("Connections", values.and_then(|values| values.connections)), &[]),
        linked(number("Online", values.and_then(|values| values.online)), &[("kind", "application")]),
        in_state("Active", State::Active),
        in_state("Blocked", State::Blocked),
        in_state("Subscribed", State::Subscribed),
        in_state("Idle", State::Idle),
        plain("Opened/s", per_second(|rates| rates.opened)),
        plain("Closed/s", per_second(|rates| rates.closed)),
        Tile { is_bad: rejected.is_some_and(|rejected| rejected > 0), ..number("Rejected", rejected) },
        number("No command yet", client_counts.map(|counts| counts.silent())),
        plain("Missed between samples", count(snapshot.churn.unseen())),
    ]
}

fn unknown() -> String {
    "–".to_owned()
}

/// The rows of the last hour, the newest first: time, connections, online, idle, opened/s and closed/s.
fn numbers(history: &History, now: Timestamp) -> Vec<[String; 6]> {
    let points: Vec<&Point> = history.hour(now).rev().step_by(POINTS_PER_ROW).collect();
    let known = |number: Option<u64>| number.map_or_else(unknown, count);
    let row = |(index, point): (usize, &&Point)| {
        let values = point.values.as_ref();
        let before = points.get(index + 1).copied().or_else(|| history.hour(now).next());
        let rates = before.and_then(|before| Rates::between(before, point));
        let per_second = |of: fn(Rates) -> f64| rates.map_or_else(unknown, |rates| rate(of(rates)));
        [
            rfc3339(Some(point.at)),
            known(values.and_then(|values| values.connections)),
            known(values.and_then(|values| values.online)),
            known(values.and_then(|values| Some(values.states?[State::Idle as usize]))),
            per_second(|rates| rates.opened),
            per_second(|rates| rates.closed),
        ]
    };
    points.iter().enumerate().map(row).collect()
}

fn recent(node: &str, snapshot: &Snapshot, history: &History) -> Option<Recent> {
    let last = history.points().next_back()?;
    let before = history.before(CHANGES_WINDOW)?;
    let (then, now) = (before.values.as_ref()?, last.values.as_ref()?);
    if before.at == last.at {
        return None;
    }
    let rates = Rates::between(before, last);
    let seconds = last.at.duration_since(before.at).as_secs_f64();
    let whole = |of: fn(Rates) -> f64| {
        rates.map_or_else(|| "?".to_owned(), |rates| count((of(rates) * seconds).round() as u64))
    };
    Some(Recent {
        period: period(seconds),
        since: rfc3339(Some(before.at)),
        opened: whole(|rates| rates.opened),
        closed: whole(|rates| rates.closed),
        reasons: reasons(snapshot, before.at),
        apps: changes(node, &then.apps, &now.apps),
    })
}

/// Formats a period in seconds or minutes: `40 seconds`, `5 minutes`.
fn period(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} seconds") } else { format!("{:.0} minutes", seconds / 60.0) }
}

/// The known reasons of the connections that closed since then, each with its count.
fn reasons(snapshot: &Snapshot, since: Timestamp) -> Vec<(String, &'static str)> {
    let mut counts = [0_u64; CloseReason::ALL.len()];
    snapshot.churn.ring.iter().take_while(|closed| closed.closed_at > since).for_each(|closed| {
        counts[closed.reason as usize] += 1;
    });
    let known = CloseReason::ALL.into_iter().zip(counts);
    let known = known.filter(|(reason, number)| *reason != CloseReason::Unknown && *number > 0);
    known.map(|(reason, number)| (count(number), phrase(reason))).collect()
}

/// The text of a reason after "closed by".
fn phrase(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Limit => "buffer limit",
        CloseReason::Evicted => "client eviction",
        CloseReason::Restart => "server restart",
        CloseReason::Failover => "failover",
        CloseReason::Unknown => "unknown reason",
    }
}

type AppConnections = [(Arc<str>, u64)];

/// The applications with the largest changes.
fn changes(node: &str, then: &AppConnections, now: &AppConnections) -> Vec<Change> {
    let mut counts: HashMap<&Arc<str>, (u64, u64)> = HashMap::new();
    then.iter().for_each(|(app, connections)| counts.entry(app).or_default().0 = *connections);
    now.iter().for_each(|(app, connections)| counts.entry(app).or_default().1 = *connections);
    let mut changed: Vec<_> = counts.into_iter().filter(|(_, (before, now))| before != now).collect();
    changed.sort_by(|(app, (before, now)), (other, (other_before, other_now))| {
        let by_size = other_now.abs_diff(*other_before).cmp(&now.abs_diff(*before));
        by_size.then_with(|| app.cmp(other))
    });
    let change = |(app, (before, now)): (&Arc<str>, (u64, u64))| Change {
        app: app.to_string(),
        link: app_link(node, app),
        before: count(before),
        now: count(now),
        change: match (before, now) {
            (0, _) => "new".to_owned(),
            (_, 0) => "offline".to_owned(),
            (before, now) if now > before => format!("+{}", count(now - before)),
            (before, now) => format!("−{}", count(before - now)),
        },
    };
    changed.into_iter().take(MAX_ROWS).map(change).collect()
}

/// The link to the clients of an application; empty for `(other)`, which is not one application.
pub(super) fn app_link(node: &str, app: &str) -> String {
    if app == OTHER { String::new() } else { clients_link(&[("redis", node), ("app", app)]) }
}

fn top_groups(node: &str, snapshot: &Snapshot) -> Vec<(&'static str, Vec<GroupView>)> {
    let apps = snapshot.presence.shown.iter().filter(|seen| seen.is_online()).take(MAX_ROWS);
    let apps = apps.map(|seen| GroupView {
        name: seen.app.to_string(),
        connections: count(seen.now.connections),
        link: app_link(node, &seen.app),
    });
    let of = |groups: fn(&ClientCounts) -> &Option<Groups>, parameter: &str| -> Vec<GroupView> {
        let groups = snapshot.client_counts.as_ref().and_then(|counts| groups(counts).as_ref());
        let all = groups.into_iter().flat_map(Groups::iter).take(MAX_ROWS);
        let view = |(name, connections): (&str, u64)| {
            // No client has the name of one of our groups, or an escaped or cut value.
            let is_ours = name.starts_with(['(', '\\']);
            let parameters = [("redis", node), ("kind", "application"), (parameter, name)];
            let link = if is_ours || is_cut(name) { String::new() } else { clients_link(&parameters) };
            GroupView { name: name.to_owned(), connections: count(connections), link }
        };
        all.map(view).collect()
    };
    vec![
        ("Application", apps.collect()),
        ("User", of(|counts| &counts.users, "user")),
        ("Library", of(|counts| &counts.libraries, "library")),
        ("Network", of(|counts| &counts.networks, "network")),
    ]
    .into_iter()
    .filter(|(_, groups): &(_, Vec<GroupView>)| !groups.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_changes_come_first() {
        let apps = |apps: &[(&str, u64)]| -> Vec<(Arc<str>, u64)> {
            apps.iter().map(|&(app, connections)| (app.into(), connections)).collect()
        };
        let then = apps(&[("web", 10), ("job", 5), ("same", 3), ("old", 1)]);
        let now = apps(&[("web", 1200), ("job", 2), ("same", 3), ("new", 2)]);
        let shown: Vec<_> = changes("n", &then, &now).into_iter().map(|change| (change.app, change.change)).collect();
        let expected = [("web", "+1,190"), ("job", "−3"), ("new", "new"), ("old", "offline")];
        assert_eq!(shown, expected.map(|(app, change)| (app.to_owned(), change.to_owned())));
    }
}
