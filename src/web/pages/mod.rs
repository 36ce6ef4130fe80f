//! The pages, written whole by the server: they work without a script, which only keeps them up to date and draws charts. One
//! file a page.

mod apps;
mod client;
mod clients;
mod closed;
mod overview;

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use hyper::StatusCode;
use jiff::Timestamp;
use url::form_urlencoded;

use super::WebState;
use super::response_cache::Written;
use crate::latest::{NodeState, Nodes, Phase};
use crate::snapshot::Closed;
use crate::view::query::Query;

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

/// Writes a page.
pub(super) fn write(app: &WebState, nodes: &Nodes, now: Instant, page: PageRoute<'_>, query: &str) -> Written {
    let query = Query::of_a_page(query).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    query.check(nodes).map_err(|sentence| (StatusCode::NOT_FOUND, sentence))?;
    let frame = |here| Frame { here, version: env!("CARGO_PKG_VERSION"), telemetry_path: &app.telemetry_path };
    match page {
        PageRoute::Overview => html(&overview::page(nodes, now, &query, frame("/"))),
        PageRoute::Apps => html(&apps::page(nodes, now, &query, frame("/apps"))),
        PageRoute::Closed => html(&closed::page(nodes, now, &query, frame("/closed"))),
        PageRoute::Clients => {
            let limits = app.limits.borrow().clone();
            html(&clients::page(nodes, now, &query, &limits, frame("/clients")))
        }
        PageRoute::Client(id) => client::write(app, (nodes, now), id, &query, frame("/clients")),
    }
}

fn html(page: &impl Template) -> Written {
    let text = page.render().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(("text/html; charset=utf-8", text))
}

/// The nodes that are asked for.
fn wanted<'a>(nodes: &'a Nodes, query: &Query) -> impl Iterator<Item = &'a Arc<NodeState>> {
    nodes.nodes.iter().filter(|node| query.wants(&node.node))
}

/// What an operator must know before he believes what is shown of a node.
fn banners(node: &NodeState, now: Instant) -> Vec<String> {
    let mut banners = Vec::new();
    match &node.phase {
        Phase::Starting => banners.push("Not sampled yet.".to_owned()),
        Phase::Failing { failure, since, last_good } => {
            let before = if last_good.is_some() { " What is shown is from before." } else { "" };
            let stop = if failure.message.ends_with(['.', '?', '!']) { "" } else { "." };
            banners.push(format!("No sample since {since:.0}: {}{stop}{before}", failure.message));
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

/// The same of all nodes that are asked for, each with its name if there are several.
fn all_banners(nodes: &Nodes, query: &Query, now: Instant) -> Vec<String> {
    let named = |node: &Arc<NodeState>| {
        let named = |banner: String| match nodes.nodes.len() > 1 && !banner.contains(&*node.node) {
            true => format!("{}: {banner}", node.node),
            false => banner,
        };
        banners(node, now).into_iter().map(named).collect::<Vec<_>>()
    };
    wanted(nodes, query).flat_map(named).collect()
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

/// The page of a client that went. Ids are given again after a restart, so it says when.
fn departure_link(node: &str, closed: &Closed) -> String {
    format!("{}&gone={}", client_link(node, closed.id), closed.gone_at.as_second())
}

/// A moment, as `datetime` and titles have it.
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
        let last = query.offset.saturating_add(shown).min(all);
        Self {
            previous: match query.offset {
                0 => String::new(),
                // From far behind the end it leads to the last window.
                offset => at(offset.min(all + query.limit.max(1) - 1).saturating_sub(query.limit.max(1))),
            },
            next: if shown > 0 && last < all { at(last) } else { String::new() },
            range: if shown == 0 { "none".to_owned() } else { format!("{}–{last}", query.offset + 1) },
        }
    }
}
