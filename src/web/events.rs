//! `/api/v1/events`: tells as it happens (server-sent events): `status` at each change of a node's state, `opened` and `closed` for
//! clients that came and went.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::WebState;
use super::api;
use super::query::{Query, Takes};
use super::response::{self, Body};
use crate::latest::{Latest, NodeState, Nodes};
use crate::snapshot::Snapshot;
use crate::view::list;
use crate::view::row::ClosedRow;

/// The most streams at once. A reader that does not read is dropped by the write time-out of its connection.
pub(super) const MAX_STREAMS: usize = 200;

/// How often something is said though there is nothing new, so that a reader that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The most who came, and who went, of one change; a page that missed some reads its window anew anyway.
const MAX_PER_EVENT: usize = 100;

/// A stream under way.
struct EventStream {
    latest: Arc<Latest>,
    changes: watch::Receiver<u64>,
    /// The snapshots that were told of, in the order of the nodes.
    told: Vec<Option<Arc<Snapshot>>>,
    query: Query,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

/// Begins a stream: the state now, and then each change.
pub(super) fn answer(app: &WebState, query: &str) -> Response<Body> {
    let query = match Query::parse(query, Takes::Nodes) {
        Ok(query) => query,
        Err(sentence) => return response::error(StatusCode::BAD_REQUEST, &sentence),
    };
    if let Err(sentence) = query.check_node(&app.latest.read()) {
        return response::error(StatusCode::NOT_FOUND, &sentence);
    }
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        return response::error(StatusCode::SERVICE_UNAVAILABLE, "as many streams are open as may be; try again later");
    };
    let latest = Arc::clone(&app.latest);
    let stream =
        EventStream { changes: latest.changes(), told: Vec::new(), query, begun: false, latest, _permit: permit };
    let frames = stream::unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), stream))
    });
    let mut response = response::answer(StatusCode::OK, "text/event-stream", "");
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    response
}

impl EventStream {
    /// What is to be said next; `None` when the program ends.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            let nodes = self.latest.read();
            self.told = nodes.nodes.iter().map(|node| node.last_snapshot().cloned()).collect();
            return Some(told("status", &api::status(&nodes, &self.query, Instant::now())));
        }
        match tokio::time::timeout(HEARTBEAT, self.changes.changed()).await {
            Err(_) => Some(": still here\n\n".to_owned()),
            Ok(Err(_)) => None,
            Ok(Ok(())) => {
                let nodes = self.latest.read();
                Some(self.events(&nodes) + &told("status", &api::status(&nodes, &self.query, Instant::now())))
            }
        }
    }

    fn events(&mut self, nodes: &Nodes) -> String {
        let mut text = String::new();
        for (node, told_of) in nodes.nodes.iter().zip(&mut self.told) {
            let Some(snapshot) = node.last_snapshot().filter(|_| self.query.selection.has_node(&node.node)) else {
                continue;
            };
            if told_of.as_ref().is_some_and(|told_of| Arc::ptr_eq(told_of, snapshot)) {
                continue;
            }
            *told_of = Some(Arc::clone(snapshot));
            for (name, value) in changes(node, snapshot) {
                text += &told(name, &value);
            }
        }
        text
    }
}

/// Who came and who went with a node's new snapshot.
fn changes<'a>(node: &'a NodeState, snapshot: &'a Snapshot) -> impl Iterator<Item = (&'static str, Value)> + use<'a> {
    let (opened, closed) = (&snapshot.changes.opened, &snapshot.changes.closed);
    let opened = opened.iter().take(MAX_PER_EVENT).map(|id| ("opened", json!({ "redis": &*node.node, "id": id })));
    let closed = closed
        .iter()
        .take(MAX_PER_EVENT)
        .map(|closed| ("closed", list::closed_object(ClosedRow { node: &node.node, closed }, &[])));
    opened.chain(closed)
}

/// One event. JSON has no line end in it, so it is one line of data.
fn told(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}
