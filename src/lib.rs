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

// Text and failures, as every module shows them.
pub mod failure;
pub mod text;

// Parsing of a server's replies.
pub mod client_list;
pub mod server_info;

// From a sample to a snapshot.
pub mod sample;
pub mod snapshot;

// From a snapshot to what outputs show: columns, rows, selections.
pub mod duration;
pub mod size;
pub mod view;

// The newest state of every node, and its last hour.
pub mod history;
pub mod latest;

// The metrics.
pub mod catalogue;
pub mod exposition;

// The messages of the status channel.
pub mod status;

// Sources of samples, and the nodes that are watched.
pub mod announce;
pub mod backoff;
pub mod clock;
pub mod fleet;
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
