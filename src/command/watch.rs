//! `watch`: subscribes to the status channel and prints the messages of all announcers.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use super::{Exit, small_runtime};
use crate::cli::{WatchArgs, WatchFormat};
use crate::config::WatchConfig;
use crate::fleet::Target;
use crate::link::{Delivery, Node, Subscription};
use crate::status::{self, Key, MAX_MESSAGE, MessageKind};

/// After this time without a message, a note is printed that no exporter announces.
const SILENCE: Duration = Duration::from_secs(30);

/// The delay before a failed subscription is opened again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Maximum number of messages that wait to be printed.
const QUEUE: usize = 16;

/// Clears a terminal's screen and moves the cursor to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) fn run(args: &WatchArgs) -> Result<Exit> {
    let config = WatchConfig::new(args)?;
    small_runtime()?.block_on(watch_all(config, args))
}

async fn watch_all(config: WatchConfig, args: &WatchArgs) -> Result<Exit> {
    let (sender, mut messages) = mpsc::channel(QUEUE);
    let mut listeners = tokio::task::JoinSet::new();
    for node in config.targets.iter().flat_map(Target::nodes) {
        listeners.spawn(listen(node, config.channel.to_string(), sender.clone()));
    }
    drop(sender);
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        let message = tokio::select! {
            message = messages.recv() => message,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(message) = message else { return Ok(Exit::Unreachable) };
        let message = message?;
        // A reader that closes the pipe, like `head`, ends the command without an error.
        match print(&message, &config.keys, args) {
            Ok(true) => printed += 1,
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Success)
}

/// Forwards each message of one server. If the first attempt to subscribe fails, that is an error; later failures are
/// retried.
async fn listen(node: Node, channel: String, messages: mpsc::Sender<Result<Vec<u8>>>) {
    let mut subscribed_once = false;
    loop {
        let failure = match Subscription::open(&node, &channel, MAX_MESSAGE).await {
            Ok(subscription) => {
                subscribed_once = true;
                match receive(subscription, &node, &channel, &messages).await {
                    Some(failure) => failure,
                    None => return,
                }
            }
            Err(failure) => failure,
        };
        if !subscribed_once {
            let _ = messages.send(Err(anyhow::Error::msg(failure))).await;
            return;
        }
        eprintln!("warning: {failure}; retrying");
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Forwards messages until the link fails. Returns `None` if the queue is closed.
async fn receive(
    mut subscription: Subscription,
    node: &Node,
    channel: &str,
    messages: &mpsc::Sender<Result<Vec<u8>>>,
) -> Option<crate::failure::Failure> {
    let mut is_noted = false;
    loop {
        match subscription.next_within(SILENCE).await {
            Err(failure) => return Some(failure),
            Ok(Some(Delivery::Message(message))) => {
                is_noted = false;
                messages.send(Ok(message)).await.ok()?;
            }
            Ok(Some(Delivery::Oversize(bytes))) => {
                eprintln!("warning: a message of {bytes} bytes was skipped; the maximum is {MAX_MESSAGE}")
            }
            Ok(None) if !std::mem::replace(&mut is_noted, true) => eprintln!(
                "no exporter announces on {channel} of {node}; start one: redis-client-exporter --redis.addr {node}",
                node = node.address.endpoint
            ),
            Ok(None) => {}
        }
    }
}

/// Prints a message. Returns false if it was refused or is of an unknown kind.
fn print(message: &[u8], keys: &[Key], args: &WatchArgs) -> io::Result<bool> {
    let read = match status::verify(message, keys).and_then(|_| status::read(message)) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(false),
        Err(refusal) => {
            eprintln!("warning: a message was refused ({})", refusal.label());
            return Ok(false);
        }
    };
    let mut out = io::stdout().lock();
    match args.format {
        // Unchanged, so that the reader can verify the signature; except if it contains line breaks.
        WatchFormat::Json if !message.contains(&b'\n') => {
            out.write_all(message)?;
            writeln!(out)?;
        }
        WatchFormat::Json => {
            let text: serde_json::Value = serde_json::from_slice(message)?;
            writeln!(out, "{text}")?;
        }
        WatchFormat::Table => {
            let begins = read.header.kind == MessageKind::Status && read.part == 1;
            let clear = if begins && io::stdout().is_terminal() { CLEAR } else { "" };
            write!(out, "{clear}{}", status::text(&read, args.limit))?;
        }
    }
    out.flush()?;
    Ok(true)
}
