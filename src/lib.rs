//! Exports the client connections of Redis and Valkey servers: who is connected, since when, and the last interaction.
//!
//! The modules are listed in reading order: first the pure ones, from a server's replies to the outputs, without clock
//! and I/O; then those that sample and serve. A module depends only on modules nearer to the source of the flow.
//!
//! ```text
//!  node --link--> sampler --Sample--> derive(previous, sample) --Snapshot--> latest --> view::metrics --> web /metrics
//!   ^  |                     ^                                                  |--> view::selection --> web, clients
//!   |  `--channel--> announce: receiver (a received status is a Sample, too)    |
//!   `------channel-- announce: announcer <-- view::status ----------------------'
//! ```
//!
//! To follow one client from the server to a gauge: [`sampler`] asks for the list, [`client_list`] reads its row,
//! [`snapshot::derive`] counts it, [`latest`] keeps the count, [`view::metrics`] writes it, [`web`] serves it.

// Parsing of a server's replies.
pub mod client_list;
pub mod server_info;

// The list of metrics.
pub mod catalogue;

// From a sample to a snapshot.
pub mod sample;
pub mod snapshot;
pub mod status;

// From a snapshot to the outputs.
pub mod duration;
pub mod history;
pub mod latest;
pub mod size;
pub mod view;

// Sources of samples.
pub mod announce;
pub mod clock;
pub mod link;
pub mod sampler;
pub mod watcher;

// The web server.
pub mod followed_file;
pub mod web;

// The command line: args,
pub mod cli;

// configuration,
pub mod config;
pub mod group_file;

// and subcommands.
pub mod command;
