//! Who is connected to a Redis or Valkey server, since when, and when did each last speak.
//!
//! The modules are listed in the order in which to read them: first what is pure, from a server's words to what they look
//! like, with no clock and no I/O; then what fills and serves it. A module looks only towards the source of the flow.
//!
//! ```text
//!  node --link--> sampler --Sample--> derive(previous, sample) --Snapshot--> latest --> view::metrics --> web /metrics
//!   ^  |                     ^                                                     |--> view::query   --> web pages, API, events
//!   |  `--channel--> announce: receiver (what others tell is a Sample, too)             |--> view::list    --> clients
//!   `------channel-- announce: announcer <-- view::status -------------------------'
//! ```
//!
//! To follow one client from the server to a gauge: [`sampler`] asks for the list, [`client_list`] reads its row,
//! [`snapshot::derive`] counts it, [`latest`] keeps the count, [`view::metrics`] writes it, [`web`] serves it.

// What a server says, read.
pub mod client_list;
pub mod server_info;

// What can be told of it.
pub mod catalogue;

// From a reading to what it means.
pub mod sample;
pub mod snapshot;
pub mod status;

// What it looks like.
pub mod duration;
pub mod history;
pub mod latest;
pub mod size;
pub mod view;

// Where readings come from.
pub mod announce;
pub mod clock;
pub mod link;
pub mod sampler;
pub mod watcher;

// Where it goes.
pub mod followed_file;
pub mod web;

// What was typed,
pub mod cli;

// what it means,
pub mod config;
pub mod group_file;

// and what is done about it.
pub mod command;
