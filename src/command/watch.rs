//! `watch`: subscribes to the status channel and prints what all announcers send.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::mpsc;

use super::{Exit, small_runtime};
use crate::cli::{WatchArgs, WatchFormat};
use crate::config::WatchConfig;
use crate::discovery;
use crate::failure::{Failure, Refusal};
use crate::link::{Delivery, Node, Subscription};
use crate::machine::Machine;
use crate::status::{self, Key, MAX_MESSAGE, Message, Screen};

/// The interval at which it is checked that an exporter still announces.
const TICK: Duration = Duration::from_secs(1);

/// The delay before a failed subscription is opened again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// After this time without a message the subscription is opened again: the server may have disappeared without closing
/// the connection.
const SILENCE: Duration = Duration::from_secs(90);

/// Maximum number of messages that wait to be printed.
const QUEUE: usize = 16;

/// Clears a terminal's screen and moves the cursor to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// A change of the subscription of a server, which is given by its name; or what it has sent.
enum Event {
    Subscribed(String),
    Failed(String, Failure),
    Received(String, Delivery),
}

pub(super) fn run(args: &WatchArgs) -> Result<Exit> {
    let config = WatchConfig::new(args)?;
    small_runtime()?.block_on(watch_all(config, args))
}

async fn watch_all(config: WatchConfig, args: &WatchArgs) -> Result<Exit> {
    let (sender, mut events) = mpsc::channel(QUEUE);
    let mut listeners = tokio::task::JoinSet::new();
    let (nodes, failures) = discovery::once(&config.targets, &config.discovery, &Machine::read()).await;
    config.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    for (target, failure) in &failures {
        eprintln!("error: {target}: discovery failed: {failure}");
    }
    for node in nodes {
        listeners.spawn(listen(node, config.channel.to_string(), sender.clone()));
    }
    drop(sender);
    let mut printer = Printer {
        screen: Screen::new(&config.channel, args.limit),
        keys: config.keys,
        format: args.format,
        is_terminal: args.format == WatchFormat::Table && io::stdout().is_terminal(),
        drawn: String::new(),
        printed: 0,
    };
    let mut ticks = tokio::time::interval(TICK);
    while args.count.is_none_or(|count| printer.printed < count) {
        let result = tokio::select! {
            event = events.recv() => match event {
                Some(event) => printer.handle(event?),
                None => return Ok(Exit::Unreachable),
            },
            _ = ticks.tick() => printer.tick(),
            _ = tokio::signal::ctrl_c() => break,
        };
        match result {
            Ok(()) => {}
            // A reader that closes the pipe, like `head`, ends the command without an error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Success)
}

/// Forwards what one server sends. If the first attempt to subscribe fails, that is an error; later failures are
/// retried.
async fn listen(node: Node, channel: String, events: mpsc::Sender<Result<Event>>) {
    let server = node.address.endpoint.to_string();
    let mut subscribed_once = false;
    loop {
        let failure = match Subscription::open(&node, &channel, MAX_MESSAGE).await {
            Ok(subscription) => {
                subscribed_once = true;
                if events.send(Ok(Event::Subscribed(server.clone()))).await.is_err() {
                    return;
                }
                match receive(subscription, &server, &events).await {
                    Some(failure) => failure,
                    None if events.is_closed() => return,
                    None => continue,
                }
            }
            Err(failure) => failure,
        };
        if !subscribed_once {
            let _ = events.send(Err(anyhow::Error::msg(failure))).await;
            return;
        }
        let _ = events.send(Ok(Event::Failed(server.clone(), failure))).await;
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Forwards messages until the link fails. Returns `None` after a long silence, and if the queue is closed.
async fn receive(
    mut subscription: Subscription,
    server: &str,
    events: &mpsc::Sender<Result<Event>>,
) -> Option<Failure> {
    loop {
        match subscription.next_within(SILENCE).await {
            Err(failure) => return Some(failure),
            Ok(Some(delivery)) => events.send(Ok(Event::Received(server.to_owned(), delivery))).await.ok()?,
            Ok(None) => return None,
        }
    }
}

/// Prints messages, or a screen that refreshes on a terminal.
struct Printer {
    screen: Screen,
    keys: Vec<Key>,
    format: WatchFormat,
    is_terminal: bool,
    /// The screen as it was drawn last.
    drawn: String,
    printed: u64,
}

impl Printer {
    fn handle(&mut self, event: Event) -> io::Result<()> {
        let now = Instant::now();
        match event {
            Event::Subscribed(server) => {
                let waiting = self.screen.subscribed(&server, now);
                self.note(waiting.as_deref());
            }
            Event::Failed(server, failure) => {
                self.note(Some(&format!("warning: {failure}; retrying")));
                self.screen.failed(&server, failure.to_string());
            }
            Event::Received(_, Delivery::Oversize(_)) => self.refuse(Refusal::Oversize),
            Event::Received(server, Delivery::Message(bytes)) => match self.read(&bytes) {
                Ok(Some(message)) => self.print(&server, message, &bytes, now)?,
                Ok(None) => {}
                Err(refusal) => self.refuse(refusal),
            },
        }
        self.draw(now)
    }

    fn tick(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for notice in self.screen.notices(now) {
            self.note(Some(&notice));
        }
        self.draw(now)
    }

    /// Reads a message; `None` if it is of an unknown kind.
    fn read(&self, bytes: &[u8]) -> Result<Option<Message>, Refusal> {
        status::verify(bytes, &self.keys).and_then(|_| status::read(bytes))
    }

    fn print(&mut self, server: &str, message: Message, bytes: &[u8], now: Instant) -> io::Result<()> {
        let text = self.screen.add(server, message, now);
        let mut out = io::stdout().lock();
        match (self.format, text) {
            // Unchanged, so that the reader can verify the signature; except if it contains line breaks.
            (WatchFormat::Json, _) if !bytes.contains(&b'\n') => {
                out.write_all(bytes)?;
                writeln!(out)?;
            }
            (WatchFormat::Json, _) => {
                let text: serde_json::Value = serde_json::from_slice(bytes)?;
                writeln!(out, "{text}")?;
            }
            (WatchFormat::Table, Some(text)) if !self.is_terminal => write!(out, "{text}")?,
            (WatchFormat::Table, Some(_)) => {}
            // A part of a status.
            (WatchFormat::Table, None) => return Ok(()),
        }
        self.printed += 1;
        out.flush()
    }

    /// Draws the screen again if it has changed.
    fn draw(&mut self, now: Instant) -> io::Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        let text = self.screen.text(now);
        if text != self.drawn {
            let mut out = io::stdout().lock();
            write!(out, "{CLEAR}{text}")?;
            out.flush()?;
            self.drawn = text;
        }
        Ok(())
    }

    /// Prints a note beside the messages. On a terminal the screen has it.
    fn note(&self, text: Option<&str>) {
        if let Some(text) = text.filter(|_| !self.is_terminal) {
            eprintln!("{text}");
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let warning = self.screen.refuse(refusal);
        self.note(warning.as_deref());
    }
}
