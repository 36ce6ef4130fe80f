//! `/api/v1/events`: server-sent events. The first `status` has all selected nodes, each further one those that changed
//! or were added. `removed` is sent for a node that is no longer watched, `opened` and `closed` for each client
//! connection that opened or closed.

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
use crate::latest::{Latest, NodeState, Nodes};
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
    /// The state that was sent.
    sent: Option<Arc<Nodes>>,
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
    if let Err(sentence) = query.resolve_nodes(&app.latest.read()) {
        return response::error(StatusCode::NOT_FOUND, &sentence);
    }
    let Some(permit) = app.streams.take(source) else {
        return response::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many event streams are open; close some or try again later",
        );
    };
    let latest = Arc::clone(&app.latest);
    let stream = EventStream { changes: latest.changes(), sent: None, query, started: false, latest, _permit: permit };
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
            return Some(self.first(&nodes));
        }
        loop {
            match tokio::time::timeout(HEARTBEAT, self.changes.changed()).await {
                Err(_) => return Some(": keep-alive\n\n".to_owned()),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {
                    let nodes = self.latest.read();
                    let text = self.events(&nodes);
                    if !text.is_empty() {
                        return Some(text);
                    }
                }
            }
        }
    }

    /// The state of all selected nodes.
    fn first(&mut self, nodes: &Arc<Nodes>) -> String {
        self.sent = Some(Arc::clone(nodes));
        event("status", &json::status(self.query.nodes(nodes), self.query.targets(nodes), Instant::now()))
    }

    /// The changes since the state that was sent before; empty if no selected node has changed.
    fn events(&mut self, nodes: &Arc<Nodes>) -> String {
        let Some(before) = self.sent.replace(Arc::clone(nodes)) else { return self.first(nodes) };
        let mut text = String::new();
        let selected = |nodes: &Arc<Nodes>, id| nodes.get(id).is_some_and(|node| self.query.has(node));
        for (id, node) in before.with_ids() {
            if selected(&before, id) && !selected(nodes, id) {
                text += &event("removed", &json::removed(&node.node));
            }
        }
        let mut changed = Vec::new();
        for (id, node) in nodes.with_ids().filter(|(_, node)| self.query.has(node)) {
            let known = before.get(id).filter(|_| selected(&before, id));
            if known.is_some_and(|known| std::ptr::eq(known, node)) {
                continue;
            }
            changed.push(node);
            let Some(snapshot) = node.last_snapshot() else { continue };
            // A stream begins with the clients that there are, and so does a node that was added.
            let sent = known.map_or(Some(snapshot), NodeState::last_snapshot);
            if !sent.is_some_and(|sent| Arc::ptr_eq(sent, snapshot)) {
                changes(node, snapshot).for_each(|(name, value)| text += &event(name, &value));
            }
        }
        if !changed.is_empty() || before.targets() != nodes.targets() {
            let targets = self.query.targets(nodes);
            text += &event("status", &json::status(changed.into_iter(), targets, Instant::now()));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::latest::NodeId;
    use crate::view::fixture::snapshot;
    use crate::web::slots::Permits;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn add(latest: &Latest, name: &str) -> NodeId {
        let id = latest.add(name.into(), None, NOW).expect("a new name");
        sample(latest, id, name);
        id
    }

    fn sample(latest: &Latest, id: NodeId, name: &str) {
        let mut state = NodeState::starting(name.into());
        let snapshot = snapshot("id=1 addr=10.0.0.1:1 flags=N\n");
        state.succeed(Arc::new(snapshot), Instant::now() + Duration::from_secs(60));
        latest.publish(id, state, NOW);
    }

    /// The events of the current state: the event and the names of the servers in its data.
    fn events(stream: &mut EventStream) -> Vec<(String, Vec<String>)> {
        let text = stream.events(&stream.latest.read());
        let of_event = |event: &str| {
            let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
            let data: Value = serde_json::from_str(data).ok()?;
            let nodes = data["nodes"].as_array().cloned().unwrap_or_else(|| vec![data.clone()]);
            let names = nodes.iter().filter_map(|node| node["redis"].as_str().map(str::to_owned));
            Some((name.to_owned(), names.collect()))
        };
        text.split("\n\n").filter_map(of_event).collect()
    }

    fn stream(latest: &Arc<Latest>, query: &str) -> EventStream {
        EventStream {
            latest: Arc::clone(latest),
            changes: latest.changes(),
            sent: None,
            query: Query::parse(query, Takes::Nodes).expect("a query"),
            started: false,
            _permit: Permits::new(1, 1).take(PeerNetwork::of([10, 0, 0, 1].into())).expect("there is room"),
        }
    }

    #[test]
    fn a_stream_has_only_what_changed_and_says_which_nodes_were_added_and_removed() {
        let latest = Arc::new(Latest::default());
        let ids = ["a", "b"].map(|name| add(&latest, name));
        let (mut all, mut of_a) = (stream(&latest, ""), stream(&latest, "redis=a"));
        let event = |name: &str, nodes: &[&str]| {
            (name.to_owned(), nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(events(&mut all), [event("status", &["a", "b"])], "it begins with all");
        assert_eq!(events(&mut of_a), [event("status", &["a"])]);
        sample(&latest, ids[1], "b");
        assert_eq!(events(&mut all), [event("status", &["b"])]);
        assert_eq!(events(&mut of_a), [], "another node is no concern of this stream");
        add(&latest, "c");
        assert_eq!(events(&mut all), [event("status", &["c"])]);
        latest.remove(ids[0], NOW);
        assert_eq!(events(&mut all), [event("removed", &["a"])]);
        assert_eq!(events(&mut of_a), [event("removed", &["a"])]);
        add(&latest, "a");
        assert_eq!(events(&mut of_a), [event("status", &["a"])], "it returned, as another node");
        assert_eq!(events(&mut all), [event("status", &["a"])]);
        assert_eq!(events(&mut all), []);
    }
}
