//! Exports the client connections of Redis and Valkey servers: who is connected, since when, and the last interaction.
//!
//! The modules are listed in the order of the flow, and depend only on modules in their own block and above it
//! (`tests/structure.rs`).
//!
//! ```text
//!  target --discovery--> node --link--> sampler --Sample--> derive(previous, sample) --Snapshot--> subscribers
//!                         ^  |                       ^                                               |
//!                         |  `--channel--> listener -'    latest: exposition, pages, API, events <---|
//!                         `------channel-- status <-- announcer <------------------------------------'
//! ```
//!
//! To follow one client from the server to a gauge: [`sampler`] asks for the list, [`client_list`] reads its row,
//! [`snapshot::derive`] counts it, [`latest`] keeps the count, [`exposition`] writes it, [`web`] serves it.

// Failures, text and time, as every module uses them, and facts about this build and this machine.
pub mod backoff;
pub mod build_info;
pub mod clock;
pub mod failure;
pub mod machine;
pub mod text;

// From a server's replies to a sample.
pub mod client_list;
pub mod link;
pub mod memory;
pub mod sample;
pub mod sampler;
pub mod server_info;

// From a sample to a snapshot, and to the newest state of every node.
pub mod history;
pub mod latest;
pub mod snapshot;

// The contents of outputs: columns, rows, selections, and their shapes.
pub mod duration;
pub mod size;
pub mod view;

// The metrics.
pub mod catalogue;
pub mod exposition;

// The messages of the status channel.
pub mod announce;
pub mod status;

// The watched nodes.
pub mod discovery;
pub mod fleet;
pub mod watcher;

// The web server.
pub mod followed_file;
pub mod web;

// The command line: args,
pub mod cli;

// configuration,
pub mod config;
pub mod group_file;
pub mod key_file;
pub mod targets_file;

// and subcommands.
pub mod command;

// The properties that fuzz targets assert.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
