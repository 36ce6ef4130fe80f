//! Announces the snapshots of one node on its channel, while it is our turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{AnnounceSettings, Election, Received};
use crate::latest::ChannelTally;
use crate::link::{Command, Link, Reply, Request, Target};
use crate::sample::{Failure, Reason, Source};
use crate::server_info::CommandTime;
use crate::snapshot::Snapshot;
use crate::status::SIGNED_MORE;
use crate::view::status::Announcement;

/// A heartbeat is sent when no status was for so many times the frequency: a sample may come a little late.
const LATE: f64 = 1.25;

/// Announces one node.
#[derive(Debug)]
pub struct Announcer {
    target: Target,
    node: Arc<str>,
    settings: AnnounceSettings,
    voice: Election,
    tally: Arc<ChannelTally>,
    /// Main-thread time of the node that announcing took and nobody has accounted for, in microseconds.
    spent: Arc<AtomicU64>,
    link: Option<Link>,
    latest: Option<Arc<Snapshot>>,
    seq: u64,
    /// When something was said last.
    said: Instant,
    publishing: Option<CommandTime>,
    /// Whether the last attempt to announce failed.
    failed: bool,
    talked: bool,
}

impl Announcer {
    /// An announcer that begins to listen now.
    pub fn new(
        target: Target,
        settings: AnnounceSettings,
        voice: Election,
        tally: Arc<ChannelTally>,
        spent: Arc<AtomicU64>,
    ) -> Self {
        Self {
            node: target.node(),
            target,
            settings,
            voice,
            tally,
            spent,
            link: None,
            latest: None,
            seq: 0,
            said: Instant::now(),
            publishing: None,
            failed: false,
            talked: false,
        }
    }

    /// Announces until there are no more snapshots.
    pub async fn run(
        mut self,
        mut snapshots: mpsc::Receiver<Arc<Snapshot>>,
        mut heard: mpsc::Receiver<Result<Received, Failure>>,
    ) {
        let mut listens = true;
        loop {
            let due = self.due();
            tokio::select! {
                snapshot = snapshots.recv() => match snapshot {
                    Some(snapshot) => self.take(snapshot).await,
                    None => return,
                },
                heard = heard.recv(), if listens => match heard {
                    Some(Ok(heard)) => self.hear(&heard),
                    Some(Err(_)) => {}
                    None => listens = false,
                },
                () = tokio::time::sleep_until(due.into()) => self.send_heartbeat().await,
            }
        }
    }

    /// When something has to be said though there is nothing new.
    fn due(&self) -> Instant {
        let late = self.said + self.settings.frequency.mul_f64(LATE);
        if self.talked { late } else { late.max(self.voice.turn()) }
    }

    fn hear(&mut self, heard: &Received) {
        let (Received::Status { header, .. } | Received::Continuity { header, .. }) = heard;
        let ours = self.latest.as_ref().and_then(|snapshot| snapshot.info()?.run_id.as_deref());
        // What others say of other nodes, as in a cluster where all hear all, concerns us not.
        if ours.is_some_and(|ours| ours != header.run_id) {
            return;
        }
        let frequency = Duration::try_from_secs_f64(header.frequency).unwrap_or_default();
        self.voice.hears(&header.announcer, frequency, Instant::now());
    }

    async fn take(&mut self, snapshot: Arc<Snapshot>) {
        let is_new = self.latest.as_ref().is_none_or(|latest| latest.sample.at != snapshot.sample.at);
        self.latest = Some(Arc::clone(&snapshot));
        // What was heard is not told again.
        if snapshot.sample.source != Source::Sampled || !self.may_announce() {
            return;
        }
        if let Some(message) = self.announcement().changes(&snapshot) {
            self.say(vec![message]).await;
        }
        if is_new {
            let parts = self.announcement().status(&snapshot);
            self.say(parts).await;
        }
    }

    /// Takes over from one who fell silent, or says that we are still there.
    async fn send_heartbeat(&mut self) {
        let talked = self.talked;
        self.said = Instant::now();
        let Some(snapshot) = self.latest.clone() else { return };
        if snapshot.sample.source != Source::Sampled || !self.may_announce() {
            return;
        }
        let announcement = self.announcement();
        let messages = match talked {
            false => announcement.status(&snapshot),
            true => announcement.heartbeat(&snapshot).into_iter().collect(),
        };
        self.say(messages).await;
    }

    fn may_announce(&mut self) -> bool {
        let may = self.voice.may_announce(Instant::now());
        if may != self.talked {
            self.talked = may;
            let (node, channel) = (&*self.node, &*self.settings.channel);
            match may {
                true => info!(node, channel, name = self.voice.name(), "announcing"),
                false => info!(node, channel, "another announces; keeping quiet"),
            }
        }
        may
    }

    /// The next message in the making.
    fn announcement(&mut self) -> Announcement<'_> {
        self.seq += 1;
        Announcement {
            announcer: self.voice.name(),
            node: &self.node,
            seq: self.seq,
            frequency: self.settings.frequency.as_secs_f64(),
            max_bytes: self.settings.max_bytes,
            reserve: if self.settings.keys.is_empty() { 0 } else { SIGNED_MORE },
        }
    }

    /// Publishes messages as one batch.
    async fn say(&mut self, mut messages: Vec<String>) {
        if messages.is_empty() {
            return;
        }
        if let Some(key) = self.settings.keys.first() {
            messages.iter_mut().for_each(|message| key.sign(message));
        }
        self.said = Instant::now();
        let result = self.publish(&messages).await;
        let (node, channel) = (&*self.node, &*self.settings.channel);
        match result {
            Ok(()) => {
                messages.iter().for_each(|_| self.tally.add_announced());
                if std::mem::take(&mut self.failed) {
                    info!(node, channel, "announcing again");
                }
            }
            Err(failure) if !std::mem::replace(&mut self.failed, true) => {
                warn!(node, channel, "cannot announce: {failure}; --announce never leaves it out");
            }
            Err(_) => {}
        }
    }

    async fn publish(&mut self, messages: &[String]) -> Result<(), Failure> {
        if let Some(link) = self.link.take() {
            match self.publish_over(link, messages).await {
                // The server may have closed a link that was quiet for long.
                Err(failure) if failure.reason == Reason::Closed => {}
                result => return result,
            }
        }
        self.publishing = None;
        let link = Link::dial(&self.target).await?;
        self.publish_over(link, messages).await
    }

    async fn publish_over(&mut self, mut link: Link, messages: &[String]) -> Result<(), Failure> {
        let channel = Arc::clone(&self.settings.channel);
        let mut requests: Vec<_> =
            messages.iter().map(|message| Request::publish(&channel, message.as_bytes())).collect();
        requests.push(Command::InfoCommandStats.into());
        let mut replies = link.send(&requests).await?;
        let statistics = replies.pop().and_then(Result::ok).map(Reply::into_text);
        self.account(statistics.as_deref(), messages);
        self.link = Some(link);
        replies.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    /// Notes what publishing cost the node: from its own statistics, unless others published meanwhile.
    fn account(&mut self, statistics: Option<&[u8]>, messages: &[String]) {
        let now = statistics.and_then(|text| CommandTime::parse(text, &["publish"]));
        let before = std::mem::replace(&mut self.publishing, now);
        let grown = now.zip(before).and_then(|(now, before)| now.since(before));
        let measured = grown.filter(|grown| grown.calls == messages.len() as u64).map(|grown| grown.micros);
        let bytes: usize = messages.iter().map(String::len).sum();
        let believed = messages.len() as u64 * BELIEVED_MESSAGE_MICROS + (bytes / BELIEVED_BYTES_A_MICRO) as u64;
        self.spent.fetch_add(measured.unwrap_or(believed) + BELIEVED_INFO_MICROS, Ordering::Relaxed);
    }
}

/// What a message is believed to cost where the server does not tell, and how many of its bytes a microsecond more.
const BELIEVED_MESSAGE_MICROS: u64 = 5;
const BELIEVED_BYTES_A_MICRO: usize = 1000;

/// What the `INFO` behind each batch is believed to cost.
const BELIEVED_INFO_MICROS: u64 = 30;
