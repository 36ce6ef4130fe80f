//! The status channel: announces samples, receives the statuses of other exporters, and elects the announcer.
//!
//! `election` decides who announces, and `pace` when; both are pure. `listener` and `announcer` run for each node.
//! `channel_group` decides which nodes share a subscription, and which of them a message is about.

mod announcer;
mod channel_group;
mod election;
mod listener;
mod pace;

pub use announcer::Announcer;
pub use channel_group::{ChannelGroups, GroupSettings, Membership, MessageQueue, MessageUse};
pub use election::{Election, Mode};
pub use listener::Listener;

use std::sync::Arc;
use std::time::Duration;

use crate::status::KeyRing;

/// The smallest maximum size of a status, in bytes.
pub const MIN_STATUS_BYTES: usize = 4 << 10;

/// Settings for announcing and receiving statuses.
#[derive(Clone, Debug)]
pub struct AnnounceSettings {
    /// When we announce.
    pub mode: Mode,
    /// The channel.
    pub channel: Arc<str>,
    /// Maximum size of one status, all parts together, in bytes. `None`: one message of maximum size; in a cluster its
    /// nodes share it.
    pub max_bytes: Option<usize>,
    /// HMAC keys: the first signs, any verifies. Without keys, statuses are neither signed nor trusted.
    pub keys: KeyRing,
    /// The time between statuses.
    pub frequency: Duration,
}
