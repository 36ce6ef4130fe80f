//! Logging to standard error, one line per event. A thread of its own writes the lines: if standard error is not read,
//! lines are dropped, and nothing else waits.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::cli::{LogArgs, LogFormat, LogLevel};

/// Maximum number of lines that wait until they are written. Further ones are dropped.
const MAX_WAITING: usize = 1024;

/// Maximum time for which the end of the program waits until the last lines are written.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// Starts logging. When the guard is dropped, the lines so far are written.
pub(super) fn start(args: &LogArgs) -> LogGuard {
    let level = match args.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let (queue, queued) = sync_channel(MAX_WAITING);
    let dropped = Arc::default();
    let lines = LineQueue { queue: queue.clone(), dropped: Arc::clone(&dropped) };
    std::thread::spawn(move || write(&queued, &mut io::stderr(), &dropped));
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match args.format {
        LogFormat::Logfmt => tracing_logfmt::builder().with_target(false).layer().with_writer(lines).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_target(false).with_writer(lines).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(level)).init();
    LogGuard(queue)
}

/// An item of the queue.
enum Queued {
    Line(Vec<u8>),
    /// Everything before it is written when the other end is dropped.
    Mark(SyncSender<()>),
}

/// Writes the lines of the queue. Never logs while the lines before cannot be written.
fn write(queued: &Receiver<Queued>, out: &mut impl Write, dropped: &AtomicU64) {
    for item in queued {
        match item {
            // Without standard error there is nowhere to report it.
            Queued::Line(line) => drop(out.write_all(&line)),
            Queued::Mark(mark) => drop(mark),
        }
        let lines = dropped.swap(0, Ordering::Relaxed);
        if lines > 0 {
            warn!(lines, "log lines were dropped, because standard error was not read");
        }
    }
}

/// Waits on drop until the lines so far are written.
pub(super) struct LogGuard(SyncSender<Queued>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (mark, marked) = sync_channel(0);
        // A full queue is not being written.
        if self.0.try_send(Queued::Mark(mark)).is_ok() {
            // It only ever ends, without a value.
            let _ = marked.recv_timeout(EXIT_PATIENCE);
        }
    }
}

/// Gives lines to the thread that writes them.
struct LineQueue {
    queue: SyncSender<Queued>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = QueuedLine<'a>;

    fn make_writer(&'a self) -> QueuedLine<'a> {
        QueuedLine { lines: self, bytes: Vec::new() }
    }
}

/// A line that is queued on drop.
struct QueuedLine<'a> {
    lines: &'a LineQueue,
    bytes: Vec<u8>,
}

impl Write for QueuedLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for QueuedLine<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() && self.lines.queue.try_send(Queued::Line(bytes)).is_err() {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
