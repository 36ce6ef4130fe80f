//! `watch`: subscribes to the status channel and prints what all announcers send.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::mpsc;

use super::{Exit, small_runtime};
use crate::cli::{WatchArgs, WatchFormat};
use crate::config::WatchConfig;
use crate::discovery::{self, DiscoverySettings, Target};
use crate::failure::{Failure, Refusal};
use crate::link::{Delivery, Node, Subscription};
use crate::machine::Machine;
use crate::status::{self, Key, MAX_MESSAGE, Message, Screen};
use crate::text::escaped;

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

/// After this time without a message another node of a cluster is subscribed to: this one may be cut off.
const CLUSTER_SILENCE: Duration = Duration::from_secs(30);

/// A change of the subscription of a server or cluster, which is given by its name; or what it has sent.
enum Event {
    Subscribed(String),
    Failed(String, Failure),
    /// The subscription of a cluster continues over another node, by its name.
    Moved(String, String),
    Received(String, Delivery),
}

pub(super) fn run(args: &WatchArgs) -> Result<Exit> {
    let config = WatchConfig::new(args)?;
    small_runtime()?.block_on(watch_all(config, args))
}

async fn watch_all(config: WatchConfig, args: &WatchArgs) -> Result<Exit> {
    let (sender, mut events) = mpsc::channel(QUEUE);
    let mut listeners = tokio::task::JoinSet::new();
    let machine = Machine::read();
    let (nodes, failures) = discovery::once(&config.targets, &config.discovery, &machine).await;
    config.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    for (target, failure) in &failures {
        eprintln!("error: {target}: discovery failed: {failure}");
    }
    for target in &config.targets {
        let nodes: Vec<Node> = nodes.iter().filter(|node| node.origin.target == target.name).cloned().collect();
        let (channel, sender) = (config.channel.to_string(), sender.clone());
        // In a cluster, a subscription on any node receives the messages about all.
        if nodes.first().is_some_and(|node| node.origin.is_in_cluster) {
            let cluster =
                Cluster { target: target.clone(), settings: config.discovery.clone(), machine: machine.clone(), nodes };
            listeners.spawn(listen_to_cluster(cluster, channel, sender));
        } else {
            nodes.into_iter().for_each(|node| drop(listeners.spawn(listen(node, channel.clone(), sender.clone()))));
        }
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
                match receive(subscription, &server, SILENCE, &events).await {
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

/// A cluster, with the nodes that were found.
struct Cluster {
    target: Target,
    settings: DiscoverySettings,
    machine: Machine,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Moves the node that was tried to the end, and reads the topology again. If that fails, the known nodes stay.
    async fn rotate(&mut self) {
        if self.nodes.is_empty() {
            return;
        }
        self.nodes.rotate_left(1);
        let (found, _) = discovery::once(std::slice::from_ref(&self.target), &self.settings, &self.machine).await;
        if found.is_empty() {
            return;
        }
        let endpoint = |node: &Node| node.address.endpoint.clone();
        let is_found = |node: &Node| found.iter().any(|other| endpoint(other) == endpoint(node));
        self.nodes.retain(is_found);
        let new = found.iter().filter(|node| !self.nodes.iter().any(|known| endpoint(known) == endpoint(node)));
        let new: Vec<Node> = new.cloned().collect();
        // The one that was tried stays the last one.
        let last = self.nodes.len().saturating_sub(1);
        self.nodes.splice(last..last, new);
    }
}

/// Forwards what one node of a cluster sends, and continues with another one when that one fails. If none can be
/// subscribed to at first, that is an error.
async fn listen_to_cluster(mut cluster: Cluster, channel: String, events: mpsc::Sender<Result<Event>>) {
    let server = cluster.target.name.to_string();
    let (mut subscribed_to, mut attempts) = (None::<Arc<str>>, 0);
    while let Some(node) = cluster.nodes.first().cloned() {
        let began = Instant::now();
        let failure = match Subscription::open(&node, &channel, MAX_MESSAGE).await {
            Ok(subscription) => {
                let before = subscribed_to.replace(Arc::clone(&node.name));
                let event = match before.filter(|before| *before != node.name) {
                    None => Event::Subscribed(server.clone()),
                    Some(_) => Event::Moved(server.clone(), node.name.to_string()),
                };
                attempts = 0;
                if events.send(Ok(event)).await.is_err() {
                    return;
                }
                receive(subscription, &server, CLUSTER_SILENCE, &events).await
            }
            Err(failure) => Some(failure),
        };
        if events.is_closed() {
            return;
        }
        attempts += 1;
        let count = cluster.nodes.len();
        match failure {
            Some(failure) if subscribed_to.is_none() && attempts >= count => {
                let _ = events.send(Err(anyhow::Error::msg(failure))).await;
                return;
            }
            // At first, only a failure of all nodes is one of the cluster.
            Some(failure) if subscribed_to.is_some() => {
                let _ = events.send(Ok(Event::Failed(server.clone(), failure))).await;
            }
            _ => {}
        }
        cluster.rotate().await;
        if began.elapsed() < RETRY_DELAY {
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Forwards messages until the link fails. Returns `None` after a long silence, and if the queue is closed.
async fn receive(
    mut subscription: Subscription,
    server: &str,
    silence: Duration,
    events: &mpsc::Sender<Result<Event>>,
) -> Option<Failure> {
    loop {
        match subscription.next_within(silence).await {
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
            Event::Moved(server, node) => {
                self.screen.subscribed(&server, now);
                self.note(Some(&format!("{server}: receiving over {}", escaped(node.as_bytes()))));
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
