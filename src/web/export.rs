//! `/api/v1/clients.csv` and `.ndjson`: all matching clients, written in chunks, so that no list is whole in memory; or
//! their groups, which are few.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};

use super::WebState;
use super::query::{Query, Takes};
use super::response::{self, Body};
use super::slots::{PeerNetwork, Permit};
use crate::latest::{NodeId, Nodes};
use crate::view::column::Column;
use crate::view::row::Row;
use crate::view::{csv, json};

/// Maximum number of lists that are written at the same time, half of them for one source.
pub(super) const MAX_EXPORTS: usize = 4;

/// Number of clients of one chunk.
const CHUNK: usize = 500;

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    Csv,
    Ndjson,
}

/// A list in progress, of one state of the nodes.
struct Export {
    nodes: Arc<Nodes>,
    lines: Lines,
    columns: Vec<&'static Column>,
    /// The remaining clients: the node, and the index of the client's entry.
    remaining: std::vec::IntoIter<(NodeId, usize)>,
    _permit: Permit,
}

/// Answers with a list, which is written while it is sent.
pub(super) fn answer(state: &WebState, source: PeerNetwork, lines: Lines, query: &str) -> Response<Body> {
    let mut query = match Query::of_list(query, Takes::Clients) {
        Ok(query) => query,
        Err(sentence) => return response::error(StatusCode::BAD_REQUEST, &sentence),
    };
    let Some(permit) = state.exports.take(source) else {
        let sentence = "as many lists are in progress as may be; try again later";
        return response::error(StatusCode::SERVICE_UNAVAILABLE, sentence);
    };
    let nodes = state.latest.read();
    if let Err(sentence) = query.resolve_nodes(&nodes) {
        return response::error(StatusCode::NOT_FOUND, &sentence);
    }
    if let Some(by) = query.group {
        let groups = query.selection.groups(by, query.snapshots(&nodes)).rows;
        return match lines {
            Lines::Csv => response::answer(StatusCode::OK, csv::CONTENT_TYPE, csv::groups(&groups)),
            Lines::Ndjson => {
                response::answer(StatusCode::OK, json::LINES_CONTENT_TYPE, json::lines(groups.iter().map(json::group)))
            }
        };
    }
    let (content_type, head, columns, remaining) = begin(&nodes, lines, &query);
    let export = Export { nodes, lines, columns, remaining: remaining.into_iter(), _permit: permit };
    let chunks = stream::unfold((head, export), |(head, mut export)| async move {
        let text = if head.is_empty() { export.chunk() } else { head };
        (!text.is_empty()).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from(text))), (String::new(), export)))
    });
    let mut response = response::answer(StatusCode::OK, content_type, "");
    *response.body_mut() = StreamBody::new(chunks).boxed_unsync();
    response
}

/// The content type, the header line, the columns, and the clients of a list.
fn begin(
    nodes: &Nodes,
    lines: Lines,
    query: &Query,
) -> (&'static str, String, Vec<&'static Column>, Vec<(NodeId, usize)>) {
    let rows = query.selection.window(query.snapshots(nodes)).rows;
    let ids: HashMap<&str, NodeId> = nodes.with_ids().map(|(id, node)| (&*node.node, id)).collect();
    let remaining = rows.iter().filter_map(|row| Some((*ids.get(row.node)?, row.index))).collect();
    match lines {
        Lines::Csv => {
            let columns = csv::columns(&rows, &query.columns);
            (csv::CONTENT_TYPE, csv::head(&columns), columns, remaining)
        }
        Lines::Ndjson => (json::LINES_CONTENT_TYPE, String::new(), query.columns.clone(), remaining),
    }
}

impl Export {
    /// The next lines; empty when there are no more.
    fn chunk(&mut self) -> String {
        let nodes = &self.nodes;
        let rows = self.remaining.by_ref().take(CHUNK).filter_map(|(node, client)| {
            let node = nodes.get(node)?;
            Row::new(&node.node, node.last_snapshot()?, client)
        });
        match self.lines {
            Lines::Csv => csv::lines(rows, &self.columns),
            Lines::Ndjson => json::lines(rows.map(|row| json::client(row, &self.columns))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::latest::{NodeState, Phase};
    use crate::view::fixture::snapshot;
    use crate::web::fixture::app;
    use crate::web::slots::Permits;

    #[test]
    fn the_number_of_lists_at_the_same_time_is_bounded() {
        let app = app();
        let request = |peer: u8| answer(&app, PeerNetwork::of([10, 0, 0, peer].into()), Lines::Csv, "columns=id");
        let mut in_progress: Vec<_> = (0..MAX_EXPORTS / 2).map(|_| request(1)).collect();
        assert_eq!(request(1).status(), StatusCode::SERVICE_UNAVAILABLE, "half of them are for others");
        in_progress.extend((0..MAX_EXPORTS / 2).map(|_| request(2)));
        assert!(in_progress.iter().all(|list| list.status() == StatusCode::OK));
        assert_eq!(request(3).status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(in_progress);
        assert_eq!(request(1).status(), StatusCode::OK);
    }

    #[test]
    fn a_list_of_many_chunks_has_every_client_once_and_in_order() {
        let reply: String =
            (0..1234).map(|n| format!("id={n} addr=10.0.0.1:{n} name=web idle={n} cmd=get flags=N\n")).collect();
        let mut state = NodeState::starting("node:1".into());
        state.phase =
            Phase::Fresh { snapshot: Arc::new(snapshot(&reply)), stale_at: Instant::now() + Duration::from_secs(9) };
        let nodes = Arc::new(Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [state]));
        let query = Query::of_list("columns=id&sort=-idle&min_idle=10", Takes::Clients).expect("a query");
        let (_, head, columns, remaining) = begin(&nodes, Lines::Csv, &query);
        let permit = Permits::new(1, 1).take(PeerNetwork::of([10, 0, 0, 1].into())).expect("there is room");
        let mut export =
            Export { nodes, lines: Lines::Csv, columns, remaining: remaining.into_iter(), _permit: permit };
        let (mut text, mut chunks) = (head, 0);
        loop {
            let chunk = export.chunk();
            if chunk.is_empty() {
                break;
            }
            text += &chunk;
            chunks += 1;
        }
        let expected: Vec<String> = (10..1234).rev().map(|id| id.to_string()).collect();
        assert_eq!((chunks, text.lines().skip(1).collect::<Vec<_>>().join(" ")), (3, expected.join(" ")));
    }
}
