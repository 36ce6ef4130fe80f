//! `watch`: subscribes to the status channel and prints what is announced, by whomever.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use super::{Exit, small_runtime};
use crate::cli::{WatchArgs, WatchFormat};
use crate::config::WatchConfig;
use crate::link::{Delivery, Subscription, Target};
use crate::status::{self, Key, MessageKind};
use crate::view::watch;

/// After so long a silence it is said that nobody announces.
const SILENCE: Duration = Duration::from_secs(30);

/// The pause before a link that broke is made anew.
const PAUSE: Duration = Duration::from_secs(1);

/// How many messages may wait to be printed.
const QUEUE: usize = 16;

/// Clears a terminal's screen and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) fn run(words: &WatchArgs) -> Result<Exit> {
    let config = WatchConfig::new(words)?;
    small_runtime()?.block_on(watch_all(config, words))
}

async fn watch_all(config: WatchConfig, words: &WatchArgs) -> Result<Exit> {
    let (sender, mut messages) = mpsc::channel(QUEUE);
    let mut listeners = tokio::task::JoinSet::new();
    for target in config.targets {
        listeners.spawn(listen(target, config.channel.to_string(), sender.clone()));
    }
    drop(sender);
    let mut printed = 0;
    while words.count.is_none_or(|count| printed < count) {
        let message = tokio::select! {
            message = messages.recv() => message,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(message) = message else { return Ok(Exit::Unreachable) };
        let message = message?;
        // A reader that is gone, as behind `| head`, is an end and no error.
        match print(&message, &config.keys, words) {
            Ok(true) => printed += 1,
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Success)
}

/// Hands on each message of one server. A server that cannot be reached at first is an error; later it is waited for.
async fn listen(target: Target, channel: String, messages: mpsc::Sender<Result<Vec<u8>>>) {
    let mut subscribed_once = false;
    loop {
        let failure = match Subscription::open(&target, &channel).await {
            Ok(subscription) => {
                subscribed_once = true;
                match hear(subscription, &target, &channel, &messages).await {
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
        eprintln!("warning: {failure}; trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Hears until the link breaks; `None` once nobody takes what is heard.
async fn hear(
    mut subscription: Subscription,
    target: &Target,
    channel: &str,
    messages: &mpsc::Sender<Result<Vec<u8>>>,
) -> Option<crate::sample::Failure> {
    let mut told = false;
    loop {
        match subscription.next_within(SILENCE).await {
            Err(failure) => return Some(failure),
            Ok(Some(Delivery::Message(message))) => {
                told = false;
                messages.send(Ok(message)).await.ok()?;
            }
            Ok(Some(Delivery::Oversize(bytes))) => eprintln!("warning: a message of {bytes} bytes was passed over"),
            Ok(None) if !std::mem::replace(&mut told, true) => eprintln!(
                "nobody announces on {channel} of {node}; start one: redis-client-exporter --redis.addr {node}",
                node = target.node()
            ),
            Ok(None) => {}
        }
    }
}

/// Prints a message; whether it was one to print.
fn print(message: &[u8], keys: &[Key], words: &WatchArgs) -> io::Result<bool> {
    let read = match status::is_signed(message, keys).and_then(|_| status::read(message)) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(false),
        Err(refusal) => {
            eprintln!("warning: a message was not believed ({})", refusal.label());
            return Ok(false);
        }
    };
    let mut out = io::stdout().lock();
    match words.format {
        // As it came, so that whoever reads it may check its signature; unless line ends were put into it.
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
            write!(out, "{clear}{}", watch::text(&read, words.limit))?;
        }
    }
    out.flush()?;
    Ok(true)
}
