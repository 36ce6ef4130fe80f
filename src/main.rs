//! Exports the client connections of Redis and Valkey servers: who is connected, since when, and the last interaction.

use std::process::ExitCode;

fn main() -> ExitCode {
    redis_client_exporter::command::run()
}
