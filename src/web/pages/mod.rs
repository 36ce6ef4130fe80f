//! The pages, written by the server: they work without a script, which only keeps them up to date and draws charts. One file a
//! page.

mod apps;
mod client;
mod clients;
mod closed;
mod overview;

use std::time::Instant;

use askama::Template;
use hyper::StatusCode;
use jiff::Timestamp;
use url::form_urlencoded;

use super::WebState;
use super::query::{Query, Takes};
use super::response_cache::Written;
use crate::latest::{NodeState, Nodes, Phase};
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

/// What every page shows.
#[derive(Clone, Copy)]
struct Frame<'a> {
    /// The path of the page in the navigation.
    here: &'static str,
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
pub(super) fn write(app: &WebState, nodes: &Nodes, now: Instant, page: PageRoute<'_>, query: &str) -> Written {
    let query = Query::of_page(query, page.takes()).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    query.check_node(nodes).map_err(|sentence| (StatusCode::NOT_FOUND, sentence))?;
    let frame = |here| Frame { here, version: env!("CARGO_PKG_VERSION"), telemetry_path: &app.telemetry_path };
    match page {
        PageRoute::Overview => html(&overview::page(nodes, now, &query, frame("/"))),
        PageRoute::Apps => html(&apps::page(nodes, now, &query, frame("/apps"))),
        PageRoute::Closed => html(&closed::page(nodes, now, &query, frame("/closed"))),
        PageRoute::Clients => html(&clients::page(nodes, now, &query, frame("/clients"))),
        PageRoute::Client(id) => client::write(app, (nodes, now), id, &query, frame("/clients")),
    }
}

fn html(page: &impl Template) -> Written {
    let text = page.render().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(("text/html; charset=utf-8", text))
}

/// Sentences about a node that an operator must know to read the rest.
fn banners(node: &NodeState, now: Instant) -> Vec<String> {
    let mut banners = Vec::new();
    match &node.phase {
        Phase::Starting => banners.push("Not sampled yet.".to_owned()),
        Phase::Failing { failure, since, last_good } => {
            let before = if last_good.is_some() { " Showing the last successful sample." } else { "" };
            let stop = if failure.message.ends_with(['.', '?', '!']) { "" } else { "." };
            banners.push(format!("{} is down since {since:.0}: {}{stop}{before}", node.node, failure.message));
        }
        Phase::Fresh { snapshot, .. } if node.fresh_snapshot(now).is_none() => {
            banners.push(format!("No sample since {:.0}.", snapshot.sample.at));
        }
        Phase::Fresh { snapshot, .. } => {
            banners.extend(snapshot.refused().map(|failure| failure.message.clone()));
            if snapshot.sample.cost.within_budget == Some(false) {
                banners.push("Sampling budget exceeded; samples come less often.".to_owned());
            }
            if snapshot.pages().is_some() && !snapshot.is_complete() {
                banners.push("Some clients are missing from this list.".to_owned());
            }
        }
    }
    banners
}

/// The banners of all nodes that are asked for, each with the node's name if there are several.
fn all_banners(nodes: &Nodes, query: &Query, now: Instant) -> Vec<String> {
    let named = |node: &NodeState| {
        let named = |banner: String| match nodes.nodes.len() > 1 && !banner.contains(&*node.node) {
            true => format!("{}: {banner}", node.node),
            false => banner,
        };
        banners(node, now).into_iter().map(named).collect::<Vec<_>>()
    };
    query.nodes(nodes).flat_map(named).collect()
}

/// The clients with these parameters.
fn clients_link(parameters: &[(&str, &str)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(parameters);
    format!("/clients?{}", pairs.finish())
}

/// The page of one client.
fn client_link(node: &str, id: u64) -> String {
    let redis: String = form_urlencoded::byte_serialize(node.as_bytes()).collect();
    format!("/clients/{id}?redis={redis}")
}

/// The page of a closed client. Ids are reused after a restart, so the link has the time of closing.
fn closed_link(node: &str, closed: &Closed) -> String {
    format!("{}&closed_at={}", client_link(node, closed.id), closed.closed_at.as_second())
}

/// A time as `datetime` attributes and tooltips have it; empty if it is unknown.
fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| format!("{at:.0}"))
}

/// The windows before and after the one that is shown.
struct Paging {
    previous: String,
    next: String,
    /// `1–200`, or that there is none.
    range: String,
}

impl Paging {
    fn new(path: &str, query: &Query, shown: usize, all: usize) -> Self {
        let at = |offset: usize| format!("{path}?{}", query.with(&[("offset", &offset.to_string())]));
        let last = query.selection.offset.saturating_add(shown).min(all);
        Self {
            previous: match query.selection.offset {
                0 => String::new(),
                // From far behind the end it leads to the last window.
                offset => {
                    at(offset.min(all + query.selection.limit.max(1) - 1).saturating_sub(query.selection.limit.max(1)))
                }
            },
            next: if shown > 0 && last < all { at(last) } else { String::new() },
            range: if shown == 0 { "none".to_owned() } else { format!("{}–{last}", query.selection.offset + 1) },
        }
    }
}
