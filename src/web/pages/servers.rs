//! The list of servers on the overview, sorted by trouble, and the targets whose discovery is in trouble.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{banners, missing_on_node, rfc3339, trouble};
use crate::latest::{NodeState, Nodes, TargetState};
use crate::server_info::ServerInfo;
use crate::snapshot::{ClientCounts, State};
use crate::text::{escaped, label_value};
use crate::view::humanize::{count, share};
use crate::web::query::Query;

/// Maximum number of servers in one table. If there are more, those without a problem are in one that is folded.
const MAX_UNFOLDED: usize = 20;

/// The number of columns that every table has.
const OTHER_COLUMNS: usize = 8;

/// Length from which a shard's name is cut: ids have 40 characters.
const MAX_SHARD: usize = 12;

/// The list of servers.
pub(super) struct ServerList {
    /// The number of servers with and without problems; empty if one is selected.
    pub(super) summary: String,
    pub(super) has_clusters: bool,
    pub(super) has_shards: bool,
    /// The number of columns, over which a problem spans.
    pub(super) columns: usize,
    pub(super) tables: Vec<ServerTable>,
    /// The targets whose discovery fails or finds nodes that are not watched.
    pub(super) targets: Vec<TargetRow>,
}

/// Servers in the order of the list.
pub(super) struct ServerTable {
    pub(super) title: String,
    /// True for a table that a reader unfolds.
    pub(super) is_folded: bool,
    pub(super) rows: Vec<ServerRow>,
}

/// A server as a row of the list.
pub(super) struct ServerRow {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) cluster: String,
    pub(super) shard: String,
    pub(super) full_shard: String,
    pub(super) role: String,
    pub(super) version: String,
    pub(super) connections: String,
    pub(super) used: String,
    pub(super) online: String,
    pub(super) idle: String,
    pub(super) at: String,
    pub(super) problem: String,
}

/// A target as a row.
pub(super) struct TargetRow {
    pub(super) name: String,
    pub(super) nodes: String,
    pub(super) dropped: String,
    pub(super) last_success: String,
    pub(super) failure: String,
}

/// The reason for which a node is left out on purpose (`--discovery.roles`).
const LEFT_OUT: &str = "role";

impl ServerList {
    pub(super) fn new(nodes: &Nodes, now: Instant, query: &Query) -> Self {
        let selected: Vec<&NodeState> = query.nodes(nodes).collect();
        let has = |of: fn(&NodeState) -> &Arc<str>| selected.iter().any(|node| !of(node).is_empty());
        let tables = if selected.len() > 1 { tables(&selected, now) } else { Vec::new() };
        let has_clusters = has(|node| &node.origin.cluster);
        let has_shards = has(|node| &node.origin.shard);
        Self {
            summary: if selected.len() > 1 || nodes.count() == 0 { summary(&selected, now) } else { String::new() },
            has_clusters,
            has_shards,
            columns: OTHER_COLUMNS + usize::from(has_clusters) + usize::from(has_shards),
            tables,
            targets: targets(nodes, query),
        }
    }
}

/// The first sentence about what is wrong with a server; empty if nothing is.
fn problem(node: &NodeState, now: Instant) -> String {
    let missing = node.fresh_snapshot(now).into_iter().flat_map(|snapshot| missing_on_node(snapshot));
    banners(node, now).into_iter().chain(missing).next().unwrap_or_default()
}

/// The numbers of servers that are down, that have other problems, and that have none.
fn summary(nodes: &[&NodeState], now: Instant) -> String {
    let is_down = |node: &&&NodeState| trouble(node, now) == 0;
    let down = nodes.iter().filter(is_down).count();
    let healthy = nodes.iter().filter(|node| problem(node, now).is_empty()).count();
    let clusters: BTreeSet<&str> = nodes.iter().map(|node| &*node.origin.cluster).collect();
    let clusters = clusters.iter().filter(|name| !name.is_empty()).count();
    let of_clusters = match clusters {
        0 | 1 => String::new(),
        several => format!(" in {several} clusters"),
    };
    let noun = if nodes.len() == 1 { "server" } else { "servers" };
    let other = nodes.len() - down - healthy;
    let number = |number: usize, text: &str| (number > 0).then(|| format!("{number} {text}"));
    let parts = [number(down, "down"), number(other, "with a problem"), number(healthy, "without a problem")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "No server is watched yet.".to_owned(),
        false => format!("{} {noun}{of_clusters}: {}.", nodes.len(), parts.join(", ")),
    }
}

/// The servers that are down first, then those with other problems, then by name; the healthy ones of many are folded.
fn tables(nodes: &[&NodeState], now: Instant) -> Vec<ServerTable> {
    let mut rows: Vec<_> = nodes.iter().map(|node| (trouble(node, now), row(node, now))).collect();
    rows.sort_by(|(rank, row), (other_rank, other)| {
        let healthy = |row: &ServerRow| row.problem.is_empty();
        (healthy(row), rank, &row.name).cmp(&(healthy(other), other_rank, &other.name))
    });
    let mut rows: Vec<ServerRow> = rows.into_iter().map(|(_, row)| row).collect();
    let table = |title: String, is_folded, rows| ServerTable { title, is_folded, rows };
    if rows.len() <= MAX_UNFOLDED {
        return vec![table("Servers".to_owned(), false, rows)];
    }
    let healthy = rows.split_off(rows.partition_point(|row| !row.problem.is_empty()));
    let title = format!("{} servers without a problem", healthy.len());
    let tables = [table("Servers with a problem".to_owned(), false, rows), table(title, true, healthy)];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn row(node: &NodeState, now: Instant) -> ServerRow {
    let snapshot = node.last_snapshot();
    let info = snapshot.and_then(|snapshot| snapshot.info());
    let client_counts = snapshot.and_then(|snapshot| snapshot.client_counts.as_ref());
    let number =
        |number: fn(&ClientCounts) -> u64| client_counts.map_or_else(|| "?".to_owned(), |counts| count(number(counts)));
    let used = client_counts.zip(info.and_then(|info| info.maxclients)).filter(|(_, maxclients)| *maxclients > 0);
    let redis: String = url::form_urlencoded::byte_serialize(node.node.as_bytes()).collect();
    let full_shard = label_value(node.origin.shard.as_bytes());
    let shard: String = full_shard.chars().take(MAX_SHARD).collect();
    ServerRow {
        name: node.node.to_string(),
        link: format!("/?redis={redis}"),
        cluster: node.origin.cluster.to_string(),
        shard: if shard.len() < full_shard.len() { format!("{shard}…") } else { shard },
        full_shard,
        role: info.map_or_else(String::new, role),
        version: info.map_or_else(String::new, version),
        connections: number(ClientCounts::connections),
        used: used.map_or_else(String::new, |(counts, maxclients)| share(counts.connections(), maxclients)),
        online: number(ClientCounts::online),
        idle: number(|counts| counts.in_state(State::Idle)),
        at: rfc3339(snapshot.map(|snapshot| snapshot.sample.at)),
        problem: problem(node, now),
    }
}

/// The role as the metrics name it; another one as it is shown elsewhere.
fn role(info: &ServerInfo) -> String {
    let role = info.role_label().or(info.shown_role());
    role.map_or_else(String::new, |role| escaped(role.as_bytes()))
}

fn version(info: &ServerInfo) -> String {
    let version = info.version.as_ref().map_or_else(|| "?".to_owned(), |version| escaped(version.as_bytes()));
    format!("{} {version}", info.product.name())
}

/// The targets in trouble.
fn targets(nodes: &Nodes, query: &Query) -> Vec<TargetRow> {
    let is_in_trouble = |target: &&TargetState| {
        let loses = target.dropped.iter().any(|(reason, number)| *number > 0 && *reason != LEFT_OUT);
        target.failure.is_some() || loses
    };
    query.targets(nodes).filter(is_in_trouble).map(target_row).collect()
}

fn target_row(target: &TargetState) -> TargetRow {
    let dropped = target.dropped.iter().filter(|(_, number)| *number > 0);
    let dropped: Vec<String> =
        dropped.map(|(reason, number)| format!("{number} ({})", reason.replace('_', " "))).collect();
    let failure = target.failure.as_ref();
    TargetRow {
        name: target.name.to_string(),
        nodes: count(target.nodes),
        dropped: dropped.join(", "),
        last_success: rfc3339(target.last_success),
        failure: failure
            .map_or_else(String::new, |of| format!("{}: {}", of.reason.label(), escaped(of.message.as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::failure::{Failure, Reason};
    use crate::latest::Latest;
    use crate::link::Origin;
    use crate::view::fixture::snapshot;
    use crate::web::fixture::app;
    use crate::web::pages::{PageRoute, write};
    use crate::web::query::Takes;

    /// A fleet of servers in clusters of ten, each with a client of 60 applications. The first numbers are down.
    fn fleet(count: usize, down: usize, now: Instant) -> Arc<Nodes> {
        let latest = Latest::default();
        let rows: String = (0..60).map(|id| format!("id={id} addr=10.0.0.1:{id} name=app{id}x flags=N\n")).collect();
        let snapshot = Arc::new(snapshot(&rows));
        for number in 0..count {
            let name: Arc<str> = format!("redis-{number:03}.example.org:6379").into();
            let id = latest.add(Arc::clone(&name), None, Timestamp::UNIX_EPOCH).expect("a new name");
            let mut state = NodeState::starting(name);
            state.succeed(Arc::clone(&snapshot), now + Duration::from_secs(60));
            if number < down {
                let message = "connection refused; is the server running?".to_owned();
                state.fail(Failure { reason: Reason::Connect, message }, Timestamp::UNIX_EPOCH);
            }
            latest.publish(id, state, Timestamp::UNIX_EPOCH);
            let cluster: Arc<str> = format!("cluster-{}", number / 10).into();
            let origin =
                Origin { target: Arc::clone(&cluster), cluster, shard: "f".repeat(40).into(), ..Origin::default() };
            latest.set_origin(id, &Arc::new(origin), Timestamp::UNIX_EPOCH);
        }
        let target = |number: usize, failure: Option<&str>, dropped: &[(&'static str, u64)]| TargetState {
            name: format!("cluster-{number}").into(),
            nodes: 10,
            working: 10,
            dropped: dropped.into(),
            errors: 1,
            removed: 0,
            last_success: None,
            failure: failure.map(|message| Failure { reason: Reason::Timeout, message: message.to_owned() }),
        };
        let hostile = target(0, Some("<script>alert(1)</script>\u{202e}"), &[("failed", 0)]);
        let targets = [hostile, target(1, None, &[("role", 5)]), target(2, None, &[("no_address", 2), ("role", 1)])];
        latest.set_targets(targets.into(), Timestamp::UNIX_EPOCH);
        latest.read()
    }

    fn list(nodes: &Nodes, query: &str, now: Instant) -> ServerList {
        ServerList::new(nodes, now, &Query::of_page(query, Takes::Nodes).expect("a query"))
    }

    fn page(nodes: &Nodes, page: PageRoute<'_>, query: &str, now: Instant) -> String {
        let (_, text) = write(&app(), nodes, now, page, query).expect("a page");
        text
    }

    #[test]
    fn the_list_begins_with_trouble_and_folds_the_healthy_servers_of_many() {
        let now = Instant::now();
        let names =
            |table: &ServerTable| -> Vec<String> { table.rows.iter().map(|row| row.name[..9].to_owned()).collect() };
        let few = list(&fleet(3, 0, now), "", now);
        assert_eq!((few.tables.len(), few.tables[0].is_folded, few.tables[0].rows.len()), (1, false, 3));
        let nodes = fleet(100, 2, now);
        let many = list(&nodes, "", now);
        assert_eq!(many.summary, "100 servers in 10 clusters: 2 down, 98 without a problem.");
        let [trouble, healthy] = &many.tables[..] else { panic!("two tables") };
        assert_eq!((names(trouble), trouble.is_folded), (vec!["redis-000".to_owned(), "redis-001".to_owned()], false));
        assert_eq!((healthy.rows.len(), healthy.is_folded, &names(healthy)[0][..]), (98, true, "redis-002"));
        assert_eq!((&*healthy.rows[0].cluster, &*healthy.rows[0].shard), ("cluster-0", "ffffffffffff…"));
        // A sample that is too old is a problem as well, but less than a server that is down.
        let later = now + Duration::from_secs(60);
        let stale = list(&nodes, "cluster=cluster-0", later);
        assert_eq!((stale.tables.len(), stale.tables[0].rows.len()), (1, 10));
        assert_eq!(stale.summary, "10 servers: 2 down, 8 with a problem.");
        assert!(names(&stale.tables[0])[0] == "redis-000" && stale.tables[0].rows[2].problem.contains("No sample"));
        assert!(list(&nodes, "redis=redis-001.example.org:6379", now).tables.is_empty(), "one is shown in full");
    }

    #[test]
    fn targets_whose_discovery_fails_or_drops_nodes_are_shown_with_the_reason_and_escaped() {
        let now = Instant::now();
        let nodes = fleet(30, 0, now);
        let all = list(&nodes, "", now);
        let shown: Vec<_> = all.targets.iter().map(|target| (&*target.name, &*target.dropped)).collect();
        assert_eq!(shown, [("cluster-0", ""), ("cluster-2", "2 (no address), 1 (role)")], "--discovery.roles is meant");
        assert!(list(&nodes, "cluster=cluster-1", now).targets.is_empty());
        let page = page(&nodes, PageRoute::Overview, "cluster=cluster-0", now);
        assert!(page.contains("timeout: &#60;script&#62;alert(1)&#60;/script&#62;\\xe2\\x80\\xae"), "{page}");
    }

    #[test]
    fn pages_of_a_hundred_servers_have_a_bounded_size_even_if_all_are_down() {
        let now = Instant::now();
        for down in [0, 3, 100] {
            let nodes = fleet(100, down, now);
            for (route, max) in [
                (PageRoute::Overview, 100_000),
                (PageRoute::Apps, 50_000),
                (PageRoute::Closed, 20_000),
                // 200 clients.
                (PageRoute::Clients, 200_000),
            ] {
                let text = page(&nodes, route, "", now);
                println!("{route:?} with {down} down: {} bytes", text.len());
                assert!(text.len() < max, "{route:?} with {down} down: {} bytes", text.len());
                assert!(text.matches("role=\"alert\"").count() <= 5, "{route:?} with {down} down");
                assert!(text.contains("<datalist") && text.contains("redis-099"), "every server can be chosen");
            }
        }
        let apps = page(&fleet(100, 3, now), PageRoute::Apps, "q=app59x", now);
        assert!(apps.contains("Added up over 97 of 100 servers") && apps.contains(">97</a>"), "{apps}");
    }
}
