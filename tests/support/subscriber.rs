//! A subscriber of the status channel. Its own thread records each message and when it was received.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::eventually;
use super::peer::Peer;

/// The channel that the article describes.
pub(crate) const CHANNEL: &str = "__redis__:cli";

/// A received message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) bytes: Vec<u8>,
    pub(crate) json: Value,
}

impl Received {
    pub(crate) fn kind(&self) -> &str {
        self.json["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_status(&self) -> bool {
        self.kind() == "status"
    }

    /// Returns the name of the announcer.
    pub(crate) fn announcer(&self) -> &str {
        self.json["announcer"].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> u64 {
        self.json[field].as_u64().unwrap_or_else(|| panic!("{field} is not a number in {}", self.json))
    }

    /// Returns the clients that it lists.
    pub(crate) fn clients(&self) -> &[Value] {
        self.json["clients"].as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// A subscription. It ends when the server closes the connection.
pub(crate) struct Subscriber(Arc<Mutex<Vec<Received>>>);

impl Subscriber {
    /// Subscribes. All messages published after this call are received.
    pub(crate) fn on(address: &str) -> Self {
        let mut peer = Peer::subscribed(address, CHANNEL);
        let received = Arc::new(Mutex::new(Vec::new()));
        let messages = Arc::clone(&received);
        std::thread::spawn(move || {
            while let Ok(bytes) = peer.message() {
                let json = serde_json::from_slice(&bytes).unwrap_or_default();
                messages.lock().expect("no reader panics").push(Received { at: Instant::now(), bytes, json });
            }
        });
        Self(received)
    }

    /// Returns all messages received so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.0.lock().expect("no writer panics").clone()
    }

    /// Returns the messages received since `time`.
    pub(crate) fn since(&self, time: Instant) -> Vec<Received> {
        self.received().into_iter().filter(|message| message.at >= time).collect()
    }

    /// Waits for the first message from now on that matches.
    pub(crate) fn next(&self, what: &str, matches: impl Fn(&Received) -> bool) -> Received {
        let began = Instant::now();
        eventually(what, || self.since(began).into_iter().find(&matches))
    }

    /// Waits for the next status.
    pub(crate) fn next_status(&self) -> Received {
        self.next("a status", Received::is_status)
    }
}
