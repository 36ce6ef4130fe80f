//! Tells who is connected to a Redis or Valkey server, since when, and when each client last spoke.

use std::process::ExitCode;

fn main() -> ExitCode {
    redis_client_exporter::command::run()
}
