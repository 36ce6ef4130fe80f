//! The status channel: announces what was sampled, hears what others announce, and decides who talks.
//!
//! `voice` decides who talks and `receiver` what is believed: both pure. `listener` and `announcer` are tasks, one of each a node.

mod announcer;
mod election;
mod listener;
mod status_receiver;

pub use announcer::Announcer;
pub use election::{Election, Mode};
pub use listener::Listener;
pub use status_receiver::{Received, StatusReceiver};

use std::sync::Arc;
use std::time::Duration;

use crate::status::Key;

/// How statuses are announced and heard.
#[derive(Clone, Debug)]
pub struct AnnounceSettings {
    /// When we talk.
    pub mode: Mode,
    /// The channel.
    pub channel: Arc<str>,
    /// The most bytes of one status in all its parts.
    pub max_bytes: usize,
    /// Keys that are accepted; the first signs. Without any, statuses are neither signed nor trusted.
    pub keys: Arc<[Key]>,
    /// The time between statuses.
    pub frequency: Duration,
}
