//! Announces the snapshots of one node on its channel, while we are the elected announcer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::pace::Pace;
use super::{AnnounceSettings, Election, MIN_STATUS_BYTES};
use crate::failure::{Failure, Reason};
use crate::latest::{ChannelTally, NodeReader, Publication};
use crate::link::{Command, Link, Node, Reply, Request};
use crate::sample::Source;
use crate::server_info::{CommandTime, ServerInfo, cluster_nodes};
use crate::snapshot::Snapshot;
use crate::status::{Announcement, ChangeBatch, MAX_MESSAGE, Received, Rotation, SIGNATURE_OVERHEAD};

/// The time without a message after which a heartbeat is sent, in multiples of the frequency: a sample may be a little
/// late. Until then, a status that is due waits for a sample that is not old.
const LATE: f64 = 1.25;

/// Announces one node.
#[derive(Debug)]
pub struct Announcer {
    node: Node,
    settings: AnnounceSettings,
    election: Election,
    tally: Arc<ChannelTally>,
    /// Main-thread time of announcing that the sampler has not yet counted, in microseconds.
    spent: Arc<AtomicU64>,
    latest: Option<Arc<Snapshot>>,
    /// The time of the last sample, if it was not announced yet.
    unannounced: Option<Instant>,
    changes: ChangeBatch,
    rotation: Rotation,
    pace: Pace,
    cluster: ClusterShare,
    seq: u64,
    /// When the last message was sent.
    last_sent: Instant,
    publishing: Option<CommandTime>,
    /// True if the last attempt to announce failed.
    failed: bool,
    announcing: bool,
    /// True if it was logged that the node is a Sentinel.
    is_sentinel: bool,
    /// For the number of nodes that the discovery knows.
    reader: Option<NodeReader>,
}

/// The size of a status in a cluster, of which each node receives every message.
#[derive(Clone, Copy, Debug, Default)]
struct ClusterShare {
    /// The number of nodes; `None` if it is unknown.
    nodes: Option<u64>,
    asked_at: Option<Instant>,
    /// True if it was logged that the number is unknown.
    is_logged: bool,
}

/// The time after which the number of nodes is asked again.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(60);

impl ClusterShare {
    /// Maximum size of a status, in bytes, where a discovery knows `discovered` nodes. The larger number counts: the
    /// server knows nodes that no discovery watches, and a discovery knows of new ones sooner. The smallest size if the
    /// number of nodes is unknown.
    fn max_bytes(self, discovered: Option<u64>) -> usize {
        let share = |nodes: u64| MAX_MESSAGE / usize::try_from(nodes.max(1)).unwrap_or(usize::MAX);
        self.nodes.max(discovered).map_or(MIN_STATUS_BYTES, |nodes| share(nodes).max(MIN_STATUS_BYTES))
    }
}

impl Announcer {
    /// An announcer for a node. It announces once the election allows it.
    pub fn new(
        node: Node,
        settings: AnnounceSettings,
        election: Election,
        tally: Arc<ChannelTally>,
        spent: Arc<AtomicU64>,
    ) -> Self {
        Self {
            pace: Pace::new(settings.frequency),
            node,
            settings,
            election,
            tally,
            spent,
            latest: None,
            unannounced: None,
            changes: ChangeBatch::default(),
            rotation: Rotation::default(),
            seq: 0,
            last_sent: Instant::now(),
            publishing: None,
            failed: false,
            announcing: false,
            cluster: ClusterShare::default(),
            is_sentinel: false,
            reader: None,
        }
    }

    /// Sets where the number of nodes of the cluster is read that its discovery knows.
    pub fn known_by(self, reader: NodeReader) -> Self {
        Self { reader: Some(reader), ..self }
    }

    /// Announces until there are no more snapshots.
    pub async fn run(
        mut self,
        mut snapshots: mpsc::Receiver<Publication>,
        mut received: mpsc::Receiver<Result<Received, Failure>>,
    ) {
        // At once, while the server has a free connection.
        self.connect().await;
        let mut is_listening = true;
        loop {
            let due = self.due();
            tokio::select! {
                snapshot = snapshots.recv() => match snapshot {
                    Some(publication) => self.take(publication.snapshot).await,
                    None => return,
                },
                message = received.recv(), if is_listening => match message {
                    Some(Ok(message)) => self.receive(&message),
                    Some(Err(_)) => {}
                    None => is_listening = false,
                },
                () = tokio::time::sleep_until(due.into()) => self.send_due().await,
            }
        }
    }

    /// The time at which a message is due even without a new snapshot.
    fn due(&self) -> Instant {
        let late = self.last_sent + self.settings.frequency.mul_f64(LATE);
        if !self.announcing {
            return late.max(self.election.eligible_at());
        }
        let status = self.unannounced.map(|sampled| self.pace.status_at(sampled));
        let changes = (!self.changes.is_empty()).then(|| self.pace.changes_at(Instant::now(), self.max_bytes()));
        [status, changes].into_iter().flatten().fold(late, Instant::min)
    }

    fn receive(&mut self, message: &Received) {
        let (Received::Status { header, .. } | Received::KeepAlive { header, .. }) = message;
        let run_id = self.latest.as_ref().and_then(|snapshot| snapshot.info()?.run_id.as_deref());
        // In a cluster every node receives the messages about all nodes; only those about this node count.
        if run_id.is_some_and(|run_id| run_id != header.run_id) {
            return;
        }
        let frequency = Duration::try_from_secs_f64(header.frequency).unwrap_or_default();
        self.election.observe(&header.announcer, frequency, Instant::now());
    }

    async fn take(&mut self, snapshot: Arc<Snapshot>) {
        let is_new = self.latest.as_ref().is_none_or(|latest| latest.sample.at != snapshot.sample.at);
        self.latest = Some(Arc::clone(&snapshot));
        let is_sentinel = snapshot.info().is_some_and(ServerInfo::is_sentinel);
        if is_sentinel {
            // The link that was opened for announcing is of no use.
            drop(self.node.admission.take_spare());
        } else {
            self.connect().await;
        }
        if !self.is_announceable(&snapshot) || !self.may_announce() {
            self.unannounced = None;
            self.changes.clear();
            return;
        }
        if is_new {
            self.unannounced = Some(Instant::now());
        }
        self.changes.add(&snapshot);
        if self.due() <= Instant::now() {
            self.send_due().await;
        }
    }

    /// Sends what is due: changes, and a status; or a heartbeat, if nothing was sent for long. When we take over from
    /// an announcer that stopped, a first status is due.
    async fn send_due(&mut self) {
        let (now, was_announcing) = (Instant::now(), self.announcing);
        let is_late = now >= self.last_sent + self.settings.frequency.mul_f64(LATE);
        let Some(snapshot) = self.latest.clone() else {
            self.last_sent = now;
            return;
        };
        if !self.is_announceable(&snapshot) || !self.may_announce() {
            self.last_sent = now;
            return;
        }
        self.update_cluster_share().await;
        if !was_announcing {
            self.unannounced.get_or_insert(now);
        }
        let (changes, max_bytes) = (self.due_changes(&snapshot, now), self.max_bytes());
        let (is_status_due, rotation) =
            (self.unannounced.is_some_and(|sampled| self.pace.status_at(sampled) <= now), self.rotation);
        let mut messages = Vec::from_iter(changes);
        if is_status_due {
            self.unannounced = None;
            let mut rotation = self.rotation;
            messages.extend(self.announcement(max_bytes).status(&snapshot, &mut rotation));
            self.rotation = rotation;
        } else if messages.is_empty() && is_late {
            messages.extend(self.announcement(max_bytes).heartbeat(&snapshot));
        }
        let result = self.send(messages).await;
        match result {
            // The server may still run a command after the time-out.
            Err(Reason::Timeout) | Ok(()) if is_status_due => self.pace.status_sent(now),
            Err(_) if is_status_due => {
                self.pace.status_failed(now);
                (self.rotation, self.unannounced) = (rotation, Some(now));
            }
            _ => {}
        }
    }

    /// The message of the changes, if it is due and there are any.
    fn due_changes(&mut self, snapshot: &Snapshot, now: Instant) -> Option<String> {
        let max_bytes = self.max_bytes();
        if self.changes.is_empty() || self.pace.changes_at(now, max_bytes) > now {
            return None;
        }
        let bytes = self.pace.changes_bytes(now, max_bytes);
        let changes = std::mem::take(&mut self.changes);
        let message = self.announcement(max_bytes).changes(&changes, snapshot, bytes)?;
        self.pace.changes_sent(now, message.len(), max_bytes);
        Some(message)
    }

    fn may_announce(&mut self) -> bool {
        let may = self.election.may_announce(Instant::now());
        if may != self.announcing {
            self.announcing = may;
            let (node, channel) = (&*self.node.name, &*self.settings.channel);
            match may {
                true => info!(node, channel, name = self.election.name(), "announcing"),
                false => info!(node, channel, "another exporter announces; not announcing"),
            }
        }
        may
    }

    /// A builder for the next message.
    fn announcement(&mut self, max_bytes: usize) -> Announcement<'_> {
        self.seq += 1;
        Announcement {
            announcer: self.election.name(),
            node: &self.node.name,
            seq: self.seq,
            frequency: self.settings.frequency.as_secs_f64(),
            max_bytes,
            reserve: if self.settings.keys.keys().is_empty() { 0 } else { SIGNATURE_OVERHEAD },
        }
    }

    /// Maximum size of a status, in bytes.
    fn max_bytes(&self) -> usize {
        let discovered = || self.reader.as_ref().and_then(NodeReader::nodes_of_target);
        let default = if self.is_in_cluster() { self.cluster.max_bytes(discovered()) } else { MAX_MESSAGE };
        self.settings.max_bytes.unwrap_or(default)
    }

    fn is_in_cluster(&self) -> bool {
        self.latest.as_ref().and_then(|latest| latest.info()).is_some_and(ServerInfo::is_cluster)
    }

    /// Returns false for a status that was received, which is not announced again, and for a Sentinel, which refuses
    /// messages.
    fn is_announceable(&mut self, snapshot: &Snapshot) -> bool {
        let is_sentinel = snapshot.info().is_some_and(ServerInfo::is_sentinel);
        if is_sentinel && !std::mem::replace(&mut self.is_sentinel, true) {
            info!(node = &*self.node.name, "it is a Sentinel, which has no channel for statuses; not announcing");
        }
        !is_sentinel && snapshot.sample.source == Source::Sampled
    }

    /// Asks for the number of nodes of the cluster, now and then.
    async fn update_cluster_share(&mut self) {
        let is_known = self.cluster.asked_at.is_some_and(|at| at.elapsed() < CLUSTER_INTERVAL);
        if self.settings.max_bytes.is_some() || !self.is_in_cluster() || is_known {
            return;
        }
        let Ok(mut replies) = self.request(&[Command::ClusterInfo.into()]).await else { return };
        self.cluster.asked_at = Some(Instant::now());
        self.spent.fetch_add(ASSUMED_INFO_MICROS, Ordering::Relaxed);
        match replies.pop().expect("there are as many replies as requests") {
            Ok(reply) => self.cluster.nodes = cluster_nodes(&reply.into_text()),
            // The discovery knows the number, or one that is nearly right.
            Err(_) if self.reader.as_ref().is_some_and(|reader| reader.nodes_of_target().is_some()) => {}
            Err(failure) if !std::mem::replace(&mut self.cluster.is_logged, true) => {
                let (node, max_bytes) = (&*self.node.name, self.max_bytes());
                warn!(
                    node,
                    max_bytes,
                    "the number of nodes of the cluster is unknown, so statuses are small; --announce.max-bytes sets \
                    another size: {failure}"
                );
            }
            Err(_) => {}
        }
    }

    /// Publishes messages as one batch. Returns the reason if that fails.
    async fn send(&mut self, mut messages: Vec<String>) -> Result<(), Reason> {
        if messages.is_empty() {
            return Ok(());
        }
        if let Some(key) = self.settings.keys.keys().first() {
            messages.iter_mut().for_each(|message| key.sign(message));
        }
        self.last_sent = Instant::now();
        let result = self.publish(&messages).await;
        let (node, channel) = (&*self.node.name, &*self.settings.channel);
        match &result {
            Ok(()) => {
                messages.iter().for_each(|_| self.tally.add_announced());
                if std::mem::take(&mut self.failed) {
                    info!(node, channel, "announcing again");
                }
            }
            Err(failure) if !std::mem::replace(&mut self.failed, true) => {
                warn!(node, channel, "cannot announce: {failure}; to turn announcing off, set --announce never");
            }
            Err(_) => {}
        }
        result.map_err(|failure| failure.reason)
    }

    /// Opens the link before it is needed, if there is none. A failure is logged when there is something to announce.
    async fn connect(&mut self) {
        if !self.node.admission.has_spare()
            && let Ok(link) = self.dial().await
        {
            self.node.admission.keep(link);
        }
    }

    async fn dial(&mut self) -> Result<Link, Failure> {
        self.publishing = None;
        Link::dial_for_announcing(&self.node).await
    }

    async fn publish(&mut self, messages: &[String]) -> Result<(), Failure> {
        let channel = Arc::clone(&self.settings.channel);
        let mut requests: Vec<_> =
            messages.iter().map(|message| Request::publish(&channel, message.as_bytes())).collect();
        requests.push(Command::InfoCommandStats.into());
        let mut replies = self.request(&requests).await?;
        let statistics = replies.pop().and_then(Result::ok).map(Reply::into_text);
        self.account(statistics.as_deref(), messages);
        replies.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    /// Sends commands over the link, or over a new one. A refusal is an inner error.
    async fn request(&mut self, requests: &[Request<'_>]) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        if let Some(link) = self.node.admission.take_spare() {
            match self.request_over(link, requests).await {
                // The server may have closed the idle link.
                Err(failure) if failure.reason == Reason::Closed => {}
                result => return result,
            }
        }
        let link = self.dial().await?;
        self.request_over(link, requests).await
    }

    async fn request_over(
        &mut self,
        mut link: Link,
        requests: &[Request<'_>],
    ) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let replies = link.send(requests).await?;
        self.node.admission.keep(link);
        Ok(replies)
    }

    /// Adds the cost of publishing to the node: measured by its own statistics, or estimated if others published too.
    fn account(&mut self, statistics: Option<&[u8]>, messages: &[String]) {
        let now = statistics.and_then(|text| CommandTime::parse(text, &["publish"]));
        let before = std::mem::replace(&mut self.publishing, now);
        let increase = now.zip(before).and_then(|(now, before)| now.since(before));
        let measured =
            increase.filter(|increase| increase.calls == messages.len() as u64).map(|increase| increase.micros);
        let bytes: usize = messages.iter().map(String::len).sum();
        let assumed = messages.len() as u64 * ASSUMED_MESSAGE_MICROS + (bytes / ASSUMED_BYTES_PER_MICRO) as u64;
        self.spent.fetch_add(measured.unwrap_or(assumed) + ASSUMED_INFO_MICROS, Ordering::Relaxed);
    }
}

/// The assumed cost of a message in microseconds, and the number of bytes that cost one more microsecond.
const ASSUMED_MESSAGE_MICROS: u64 = 5;
const ASSUMED_BYTES_PER_MICRO: usize = 1000;

/// The assumed cost of the `INFO` at the end of each batch, and of a `CLUSTER INFO`, in microseconds.
const ASSUMED_INFO_MICROS: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_cluster_share_the_size_of_a_message() {
        let share = |nodes| ClusterShare { nodes, ..ClusterShare::default() }.max_bytes(None);
        assert_eq!([Some(0), Some(1), Some(3), Some(16)].map(share), [65_536, 65_536, 21_845, 4_096]);
        assert_eq!([Some(1000), Some(u64::MAX), None].map(share), [4_096; 3], "not less, and if it is unknown");
        let both = |nodes, discovered| ClusterShare { nodes, ..ClusterShare::default() }.max_bytes(discovered);
        assert_eq!([both(Some(2), Some(4)), both(Some(4), Some(2)), both(None, Some(4))], [16_384; 3]);
    }
}
