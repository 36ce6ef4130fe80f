//! A subscriber of the status channel: what it heard and when, in its own thread.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::peer::Peer;
use super::{PATIENCE, eventually};

/// The channel that articles promise.
pub(crate) const CHANNEL: &str = "__redis__:cli";

/// A message.
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

    /// Who announced it.
    pub(crate) fn announcer(&self) -> &str {
        self.json["announcer"].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> u64 {
        self.json[field].as_u64().unwrap_or_else(|| panic!("{field} is no number in {}", self.json))
    }

    /// The clients that it lists.
    pub(crate) fn clients(&self) -> &[Value] {
        self.json["clients"].as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Someone who subscribed, until the server closes the connection.
pub(crate) struct Subscriber(Arc<Mutex<Vec<Received>>>);

impl Subscriber {
    /// Subscribes; what is published after this call is heard.
    pub(crate) fn on(address: &str) -> Self {
        let mut peer = Peer::subscribed(address, CHANNEL);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let messages = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Ok(bytes) = peer.message() {
                let json = serde_json::from_slice(&bytes).unwrap_or_default();
                messages.lock().expect("no reader panics").push(Received { at: Instant::now(), bytes, json });
            }
        });
        Self(heard)
    }

    /// All that was heard so far.
    pub(crate) fn heard(&self) -> Vec<Received> {
        self.0.lock().expect("no writer panics").clone()
    }

    /// What was heard since then.
    pub(crate) fn since(&self, time: Instant) -> Vec<Received> {
        self.heard().into_iter().filter(|heard| heard.at >= time).collect()
    }

    /// The first message from now on of which this is true.
    pub(crate) fn next(&self, what: &str, is_meant: impl Fn(&Received) -> bool) -> Received {
        let began = Instant::now();
        eventually(what, PATIENCE, || self.since(began).into_iter().find(&is_meant))
    }

    /// The next status.
    pub(crate) fn next_status(&self) -> Received {
        self.next("a status", Received::is_status)
    }
}
