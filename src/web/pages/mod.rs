//! The pages. The server renders them, so they work without JavaScript, which only keeps them up to date and draws
//! charts. One file per page.

mod apps;
mod client;
mod clients;
mod closed;
mod overview;
mod servers;
mod switcher;
mod table;

use std::collections::HashSet;
use std::time::Instant;

use askama::Template;
use hyper::StatusCode;
use jiff::Timestamp;
use url::form_urlencoded;

use self::switcher::Switcher;
use super::WebState;
use super::query::{Query, Takes};
use super::response_cache::Written;
use crate::latest::{NodeState, Nodes, Phase, SameServer, same_server_warning};
use crate::sample::SampleCondition;
use crate::snapshot::{Closed, Snapshot};

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageRoute<'a> {
    Overview,
    Clients,
    Client(&'a str),
    Apps,
    Closed,
}

/// Maximum number of servers that a page shows in full or has banners of.
const MAX_FULL_NODES: usize = 4;

/// Maximum number of rows of each table of the overview, and of sentences about missing applications.
const MAX_ROWS: usize = 10;

/// The parts that all pages have.
struct Frame<'a> {
    /// The path of the current page in the navigation.
    path: &'static str,
    version: &'static str,
    telemetry_path: &'a str,
    /// The query string that selects the same nodes on another page: `?redis=…`; empty for all.
    selected: String,
    switcher: Switcher,
}

impl PageRoute<'_> {
    fn takes(self) -> Takes {
        match self {
            PageRoute::Overview => Takes::Nodes,
            PageRoute::Clients => Takes::Clients,
            PageRoute::Client(_) => Takes::Client,
            PageRoute::Apps => Takes::Apps,
            PageRoute::Closed => Takes::Closed,
        }
    }
}

/// Writes a page.
pub(super) fn write(state: &WebState, nodes: &Nodes, now: Instant, page: PageRoute<'_>, query: &str) -> Written {
    let mut query = Query::of_page(query, page.takes()).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    query.resolve_nodes(nodes).map_err(|sentence| (StatusCode::NOT_FOUND, sentence))?;
    let selected = selected_pairs(&query);
    let frame = |path| Frame {
        path,
        version: env!("CARGO_PKG_VERSION"),
        telemetry_path: &state.telemetry_path,
        selected: if selected.is_empty() { String::new() } else { format!("?{}", pairs_text(&selected)) },
        switcher: Switcher::new(path, nodes, &query, !matches!(page, PageRoute::Client(_))),
    };
    match page {
        PageRoute::Overview => html(&overview::page(nodes, now, &query, frame("/"))),
        PageRoute::Apps => html(&apps::page(nodes, now, &query, frame("/apps"))),
        PageRoute::Closed => html(&closed::page(nodes, now, &query, frame("/closed"))),
        PageRoute::Clients => html(&clients::page(nodes, now, &query, frame("/clients"))),
        PageRoute::Client(id) => client::write(state, (nodes, now), id, &query, frame("/clients")),
    }
}

fn html(page: &impl Template) -> Written {
    let text = page.render().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(("text/html; charset=utf-8", text))
}

/// Warnings about a node, which an operator needs to interpret the rest of the page.
fn banners(node: &NodeState, now: Instant) -> Vec<String> {
    let mut banners = Vec::new();
    match &node.phase {
        Phase::Starting => banners.push("Not sampled yet.".to_owned()),
        Phase::Failing { failure, since, last_good } => {
            let shown = if last_good.is_some() { " Showing the last successful sample." } else { "" };
            let message = without_node(&node.node, &failure.message);
            let stop = if message.ends_with(['.', '?', '!']) { "" } else { "." };
            banners.push(format!("{} is down since {since:.0}: {message}{stop}{shown}", node.node));
        }
        Phase::Fresh { snapshot, .. } if node.fresh_snapshot(now).is_none() => {
            banners.push(format!("No sample since {:.0}.", snapshot.sample.at));
        }
        Phase::Fresh { snapshot, .. } => {
            banners.extend(snapshot.refused().map(|failure| failure.message.clone()));
            if snapshot.sample.cost.within_budget == Some(false) {
                banners.push("Sampling budget exceeded; samples come less often.".to_owned());
            }
            let conditions = snapshot.conditions();
            banners.extend(conditions.iter().map(|condition| condition.sentence().to_owned()));
            let is_named = conditions.iter().any(SampleCondition::is_incomplete);
            if snapshot.pages().is_some() && !snapshot.is_complete() && !is_named {
                banners.push("Some clients are missing from this list.".to_owned());
            }
        }
    }
    banners
}

/// The message of a failure without the node's name, which the banner begins with.
fn without_node<'a>(node: &str, message: &'a str) -> &'a str {
    message.strip_prefix(node).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
}

/// The banners about selected nodes that are one server.
fn same_server_banners(nodes: &Nodes, query: &Query, now: Instant) -> impl Iterator<Item = String> {
    let selected: HashSet<&str> = query.nodes(nodes).map(|node| &*node.node).collect();
    let is_selected = move |names: &SameServer<'_>| names.iter().any(|name| selected.contains(name));
    nodes.same_servers(now).into_iter().filter(is_selected).map(|names| {
        let warning = same_server_warning(&names);
        format!("{warning}.")
    })
}

/// The banners of the selected nodes, each with the node's name if there are several, and about nodes that are one
/// server.
fn all_banners(nodes: &Nodes, query: &Query, now: Instant) -> Vec<String> {
    let named = |node: &NodeState| {
        let named = |banner: String| match nodes.count() > 1 && !banner.contains(&*node.node) {
            true => format!("{}: {banner}", node.node),
            false => banner,
        };
        banners(node, now).into_iter().map(named).collect::<Vec<_>>()
    };
    let mut selected: Vec<&NodeState> = query.nodes(nodes).collect();
    selected.sort_by_key(|node| trouble(node, now));
    let mut of_nodes = selected.into_iter().map(named).filter(|banners| !banners.is_empty());
    let mut all: Vec<String> = of_nodes.by_ref().take(MAX_FULL_NODES).flatten().collect();
    match of_nodes.count() {
        0 => {}
        1 => all.push("1 more server has a problem; the overview lists it.".to_owned()),
        others => all.push(format!("{others} more servers have a problem; the overview lists them.")),
    }
    all.extend(same_server_banners(nodes, query, now).take(MAX_FULL_NODES));
    all
}

/// The place of a node in a list that is sorted by trouble: 0 if it is down.
fn trouble(node: &NodeState, now: Instant) -> u8 {
    match &node.phase {
        Phase::Failing { .. } => 0,
        Phase::Fresh { .. } if node.fresh_snapshot(now).is_none() => 1,
        Phase::Fresh { .. } => 2,
        Phase::Starting => 3,
    }
}

/// The applications with fewer connections to a node than expected there.
fn missing_on_node(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let missing = snapshot.presence.shown.iter().filter_map(|seen| {
        let minimum = seen.expected.on_node.filter(|minimum| seen.now.connections < *minimum)?;
        Some(format!("{} has {} of {minimum} expected connections.", seen.app, seen.now.connections))
    });
    missing.take(MAX_ROWS)
}

/// The parameters that select the same nodes.
fn selected_pairs(query: &Query) -> Vec<(&'static str, &str)> {
    let pairs = [("redis", query.node.as_deref()), ("cluster", query.cluster.as_deref())];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn pairs_text(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// The link to the clients page with these parameters.
fn clients_link(parameters: &[(&str, &str)]) -> String {
    format!("/clients?{}", pairs_text(parameters))
}

/// The link to the page of one client.
fn client_link(node: &str, id: u64) -> String {
    let redis: String = form_urlencoded::byte_serialize(node.as_bytes()).collect();
    format!("/clients/{id}?redis={redis}")
}

/// The link to the page of a closed client. Ids are reused after a restart, so the link has the time of closing.
fn closed_link(node: &str, closed: &Closed) -> String {
    format!("{}&closed_at={}", client_link(node, closed.id), closed.closed_at.as_second())
}

/// A time for `datetime` attributes and tooltips; empty if it is unknown.
fn rfc3339(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| format!("{at:.0}"))
}

/// Links to the previous and the next window.
struct Paging {
    previous: String,
    next: String,
    /// The rows that are shown, such as `1–200`; empty if there are none.
    range: String,
}

impl Paging {
    fn new(path: &str, query: &Query, shown: usize, all: usize) -> Self {
        let at = |offset: usize| format!("{path}?{}", query.with(&[("offset", &offset.to_string())]));
        let last = query.selection.offset.saturating_add(shown).min(all);
        Self {
            previous: match query.selection.offset {
                0 => String::new(),
                // From an offset beyond the end it leads to the last window.
                offset => {
                    at(offset.min(all + query.selection.limit.max(1) - 1).saturating_sub(query.selection.limit.max(1)))
                }
            },
            next: if shown > 0 && last < all { at(last) } else { String::new() },
            range: if shown == 0 { String::new() } else { format!("{}–{last}", query.selection.offset + 1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_has_the_address_once() {
        let reason = "connection refused; is the server running?";
        assert_eq!(without_node("10.0.0.1:6379", &format!("10.0.0.1:6379: {reason}")), reason);
        assert_eq!(without_node("10.0.0.1:6379", reason), reason);
    }
}
