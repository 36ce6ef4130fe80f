//! Logging to standard error, one line per event.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::cli::{LogArgs, LogFormat, LogLevel};

/// Starts logging.
pub(super) fn start(args: &LogArgs) {
    let level = match args.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match args.format {
        LogFormat::Logfmt => tracing_logfmt::builder().with_target(false).layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_target(false).with_writer(std::io::stderr).boxed()
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(level)).init();
}
