//! The subcommands, one file each: wiring, output, exit codes.

mod catalogue;
mod check;
mod clients;
mod healthy;
mod log;
mod serve;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, CliCommand};
use crate::config::Faults;

/// The exit code of the program; a higher one is worse. The numbers are documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Success.
    Success = 0,
    /// A failure at run time.
    Failed = 1,
    /// Invalid command line; clap uses the same code.
    Usage = 2,
    /// `check`: something is missing.
    Incomplete = 3,
    /// A server cannot be sampled.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Parses the command line and runs the subcommand.
pub fn run() -> ExitCode {
    let matches = without_empty_variables(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match &cli.command {
        None => serve::run(&cli.serve),
        Some(CliCommand::Serve(args)) => serve::run(args),
        Some(CliCommand::Watch(args)) => watch::run(args),
        Some(CliCommand::Clients(args)) => clients::run(args),
        Some(CliCommand::Check(args)) => check::run(args),
        Some(CliCommand::Healthy(args)) => healthy::run(args),
        Some(CliCommand::Catalogue(args)) => catalogue::run(args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            let faults = error.downcast_ref::<Faults>();
            match faults {
                Some(faults) => eprintln!("{faults}"),
                None => eprintln!("error: {error:#}"),
            }
            if faults.is_some() { Exit::Usage.into() } else { Exit::Failed.into() }
        }
    }
}

/// Ignores environment variables that are set but empty, as compose files create them.
fn without_empty_variables(mut command: clap::Command) -> clap::Command {
    let subcommands: Vec<_> = command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    for name in subcommands {
        command = command.mut_subcommand(name, without_empty_variables);
    }
    command.mut_args(|arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if value.is_empty() => arg.env(None::<&str>),
        _ => arg,
    })
}

/// Writes to standard output. A reader that closes the pipe, like `head`, is not an error.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A single-threaded runtime for commands that only wait for a few replies.
fn small_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
