//! The pages. The server renders them, so they work without JavaScript, which only keeps them up to date and draws
//! charts. One file per page.

mod apps;
mod client;
mod clients;
mod closed;
mod overview;
mod table;

use std::time::Instant;

use askama::Template;
use hyper::StatusCode;
use jiff::Timestamp;
use url::form_urlencoded;

use super::WebState;
use super::query::{Query, Takes};
use super::response_cache::Written;
use crate::latest::{NodeState, Nodes, Phase, SameServer, same_server_warning};
use crate::sample::SampleCondition;
use crate::snapshot::Closed;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageRoute<'a> {
    Overview,
    Clients,
    Client(&'a str),
    Apps,
    Closed,
}

/// The parts that all pages have.
#[derive(Clone, Copy)]
struct Frame<'a> {
    /// The path of the current page in the navigation.
    path: &'static str,
    version: &'static str,
    telemetry_path: &'a str,
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
    query.resolve_node(nodes).map_err(|sentence| (StatusCode::NOT_FOUND, sentence))?;
    let frame = |path| Frame { path, version: env!("CARGO_PKG_VERSION"), telemetry_path: &state.telemetry_path };
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
    let is_selected = |names: &SameServer<'_>| names.iter().any(|name| query.selection.has_node(name));
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
    query.nodes(nodes).flat_map(named).chain(same_server_banners(nodes, query, now)).collect()
}

/// The link to the clients page with these parameters.
fn clients_link(parameters: &[(&str, &str)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(parameters);
    format!("/clients?{}", pairs.finish())
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
