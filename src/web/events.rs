//! `/api/v1/events`: server-sent events. `status` is sent at each change of a node's state, `opened` and `closed` for
//! each client connection that opened or closed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::watch;

use super::WebState;
use super::query::{Query, Takes};
use super::response::{self, Body};
use super::slots::{PeerNetwork, Permit};
use crate::latest::{Latest, NodeId, NodeState, Nodes};
use crate::snapshot::Snapshot;
use crate::view::json;
use crate::view::row::ClosedRow;

/// The maximum number of streams at once, half of them for one source. The write time limit of the connection drops a
/// peer that does not read.
pub(super) const MAX_STREAMS: usize = 200;

/// The interval of comments sent when nothing changes, so that a closed connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The maximum number of `opened` events, and of `closed` events, per change of a node. The pages lose nothing: they
/// reload their rows at each change.
const MAX_PER_EVENT: usize = 100;

/// An open stream.
struct EventStream {
    latest: Arc<Latest>,
    changes: watch::Receiver<u64>,
    /// The last snapshot that was sent of each node.
    sent: HashMap<NodeId, Arc<Snapshot>>,
    query: Query,
    started: bool,
    _permit: Permit,
}

/// Starts a stream: the current state, then each change.
pub(super) fn answer(app: &WebState, source: PeerNetwork, query: &str) -> Response<Body> {
    let mut query = match Query::parse(query, Takes::Nodes) {
        Ok(query) => query,
        Err(sentence) => return response::error(StatusCode::BAD_REQUEST, &sentence),
    };
    if let Err(sentence) = query.resolve_node(&app.latest.read()) {
        return response::error(StatusCode::NOT_FOUND, &sentence);
    }
    let Some(permit) = app.streams.take(source) else {
        return response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many event streams are open; close some or try again later",
        );
    };
    let latest = Arc::clone(&app.latest);
    let stream =
        EventStream { changes: latest.changes(), sent: HashMap::new(), query, started: false, latest, _permit: permit };
    let frames = stream::unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), stream))
    });
    let mut response = response::answer(StatusCode::OK, "text/event-stream", "");
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    response
}

impl EventStream {
    /// Waits for the next text to send; `None` when the program ends.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.started, true) {
            let nodes = self.latest.read();
            self.sent = nodes.with_ids().filter_map(|(id, node)| Some((id, node.last_snapshot()?.clone()))).collect();
            return Some(event("status", &json::status(self.query.nodes(&nodes), Instant::now())));
        }
        match tokio::time::timeout(HEARTBEAT, self.changes.changed()).await {
            Err(_) => Some(": keep-alive\n\n".to_owned()),
            Ok(Err(_)) => None,
            Ok(Ok(())) => {
                let nodes = self.latest.read();
                Some(self.events(&nodes) + &event("status", &json::status(self.query.nodes(&nodes), Instant::now())))
            }
        }
    }

    fn events(&mut self, nodes: &Nodes) -> String {
        let mut text = String::new();
        self.sent.retain(|id, _| nodes.get(*id).is_some());
        for (id, node) in nodes.with_ids() {
            let Some(snapshot) = node.last_snapshot().filter(|_| self.query.selection.has_node(&node.node)) else {
                continue;
            };
            let sent = self.sent.insert(id, Arc::clone(snapshot));
            if sent.is_some_and(|sent| Arc::ptr_eq(&sent, snapshot)) {
                continue;
            }
            for (name, value) in changes(node, snapshot) {
                text += &event(name, &value);
            }
        }
        text
    }
}

/// The connections that opened and closed with a node's new snapshot.
fn changes<'a>(node: &'a NodeState, snapshot: &'a Snapshot) -> impl Iterator<Item = (&'static str, Value)> + use<'a> {
    let (opened, closed) = (&snapshot.changes.opened, &snapshot.changes.closed);
    let opened = opened.iter().take(MAX_PER_EVENT).map(|id| ("opened", json::opened(&node.node, *id)));
    let closed = closed
        .iter()
        .take(MAX_PER_EVENT)
        .map(|closed| ClosedRow { node: &node.node, closed, now: snapshot.sample.at })
        .map(|row| ("closed", json::closed_client(row, &[])));
    opened.chain(closed)
}

/// Formats one event. Serialized JSON has no line break, so the data is one line.
fn event(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}
