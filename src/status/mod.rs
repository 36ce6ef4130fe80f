//! The wire format of the status channel: one JSON object per message. Pure: snapshots, bytes and the time are passed
//! in. It is documented in docs/status-messages.md.
//!
//! `encode` makes messages from a snapshot. `receiver` verifies received messages, and `assembly` makes a sample from
//! the parts of a status, so that received and sampled clients are processed by the same code. `screen` is the channel
//! as a person sees it, `display` its lines.

mod assembly;
mod changes;
mod display;
mod encode;
mod message;
mod receiver;
mod rotation;
mod screen;
mod signature;

pub use changes::ChangeBatch;
pub use encode::Announcement;
pub use message::{AppCount, CHANNEL, FIELDS, Header, MAX_MESSAGE, Message, MessageKind, SCHEMA, read};
pub use receiver::{OwnNames, Received, StatusReceiver, VerifiedMessage};
pub use rotation::Rotation;
pub use screen::{PATIENCE, Screen};
pub use signature::{Key, KeyRing, SIGNATURE_OVERHEAD, verify};
