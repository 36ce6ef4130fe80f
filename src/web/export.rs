//! `/api/v1/clients.csv` and `.ndjson`: all clients that match, written piece by piece, so that no such list is ever whole in
//! memory; or the groups of them, which are few.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::WebState;
use super::response::{self, Body};
use crate::latest::Nodes;
use crate::sample::Place;
use crate::snapshot::Limits;
use crate::view::grouped::Group;
use crate::view::list::{self, CsvColumns};
use crate::view::query::Query;
use crate::view::rows::{Column, Row, row};

/// The most lists that are written at once.
pub(super) const MAX_EXPORTS: usize = 4;

/// How many clients are written at once.
const PIECE: usize = 500;

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    Csv,
    Ndjson,
}

/// A list that is being written, of one state of the nodes.
struct Export {
    nodes: Nodes,
    limits: Arc<Limits>,
    form: ExportFormat,
    /// Where those are that are still to be written: the place of the node, and theirs in its snapshot.
    left: std::vec::IntoIter<(usize, Place)>,
    _permit: OwnedSemaphorePermit,
}

enum ExportFormat {
    Csv(CsvColumns),
    Ndjson(Vec<Column>),
}

/// Begins to write what is asked for.
pub(super) fn answer(app: &WebState, lines: Lines, query: &str) -> Response<Body> {
    let query = match Query::of_a_list(query) {
        Ok(query) => query,
        Err(sentence) => return response::error(StatusCode::BAD_REQUEST, &sentence),
    };
    let Ok(permit) = Arc::clone(&app.exports).try_acquire_owned() else {
        return response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many lists are written as may be; try again later",
        );
    };
    let (nodes, limits) = (app.latest.read(), Arc::clone(&app.limits.borrow()));
    if let Err(sentence) = query.check(&nodes) {
        return response::error(StatusCode::NOT_FOUND, &sentence);
    }
    if let Some(by) = query.group {
        let groups = query.group_window(by, &nodes, &limits).shown;
        return match lines {
            Lines::Csv => response::answer(StatusCode::OK, list::CSV, list::groups_csv(&groups)),
            Lines::Ndjson => {
                response::answer(StatusCode::OK, list::NDJSON, list::lines(groups.iter().map(Group::object)))
            }
        };
    }
    let (content_type, head, form, left) = begin(&nodes, &limits, lines, &query);
    let export = Export { nodes, limits, form, left: left.into_iter(), _permit: permit };
    let pieces = stream::unfold((head, export), |(head, mut export)| async move {
        let text = if head.is_empty() { export.piece() } else { head };
        (!text.is_empty()).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from(text))), (String::new(), export)))
    });
    let mut response = response::answer(StatusCode::OK, content_type, "");
    *response.body_mut() = StreamBody::new(pieces).boxed_unsync();
    response
}

/// What the list begins with, how its lines are written, and whom they are about.
fn begin(
    nodes: &Nodes,
    limits: &Limits,
    lines: Lines,
    query: &Query,
) -> (&'static str, String, ExportFormat, Vec<(usize, Place)>) {
    let rows = query.window(nodes, limits).rows;
    let node = |row: &Row<'_>| nodes.nodes.iter().position(|node| &*node.node == row.node);
    let left = rows.iter().filter_map(|row| Some((node(row)?, row.place))).collect();
    match lines {
        Lines::Csv => {
            let columns = CsvColumns::of(&rows, &query.columns);
            (list::CSV, columns.heads(), ExportFormat::Csv(columns), left)
        }
        Lines::Ndjson => (list::NDJSON, String::new(), ExportFormat::Ndjson(query.columns.clone()), left),
    }
}

impl Export {
    /// The next lines; empty when there are no more.
    fn piece(&mut self) -> String {
        let (nodes, limits) = (&self.nodes, &self.limits);
        let places = self.left.by_ref().take(PIECE);
        let rows: Vec<Row<'_>> = places
            .filter_map(|(node, place)| {
                let node = nodes.nodes.get(node)?;
                row(&node.node, node.last_snapshot()?, place, limits)
            })
            .collect();
        match &self.form {
            ExportFormat::Csv(columns) => columns.lines(&rows),
            ExportFormat::Ndjson(columns) => list::lines(rows.iter().map(|row| list::object(row, columns))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::latest::{NodeState, Phase};
    use crate::view::fixture::snapshot;
    use crate::web::fixture::app;

    #[test]
    fn so_many_lists_are_written_at_once_and_no_more() {
        let app = app();
        let ask = || answer(&app, Lines::Csv, "cols=id");
        let under_way: Vec<_> = (0..MAX_EXPORTS).map(|_| ask()).collect();
        assert!(under_way.iter().all(|list| list.status() == StatusCode::OK));
        assert_eq!(ask().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(under_way);
        assert_eq!(ask().status(), StatusCode::OK);
    }

    #[test]
    fn a_list_of_many_pieces_has_everyone_once_and_in_order() {
        let reply: String =
            (0..1234).map(|n| format!("id={n} addr=10.0.0.1:{n} name=web idle={n} cmd=get flags=N\n")).collect();
        let mut state = NodeState::starting("node:1".into());
        state.phase =
            Phase::Fresh { snapshot: Arc::new(snapshot(&reply)), stale_at: Instant::now() + Duration::from_secs(9) };
        let nodes = Nodes { generation: 1, nodes: vec![Arc::new(state)] };
        let limits = Arc::new(Limits::default());
        let query = Query::of_a_list("cols=id&sort=-idle&min_idle=10").expect("a query");
        let (_, head, form, left) = begin(&nodes, &limits, Lines::Csv, &query);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("there is room");
        let mut export = Export { nodes, limits, form, left: left.into_iter(), _permit: permit };
        let (mut text, mut pieces) = (head, 0);
        loop {
            let piece = export.piece();
            if piece.is_empty() {
                break;
            }
            text += &piece;
            pieces += 1;
        }
        let expected: Vec<String> = (10..1234).rev().map(|id| id.to_string()).collect();
        assert_eq!((pieces, text.lines().skip(1).collect::<Vec<_>>().join(" ")), (3, expected.join(" ")));
    }
}
