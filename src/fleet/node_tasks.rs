//! The tasks of one node: its watcher, and an announcer and a listener where the settings need them.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::announce::{
    AnnounceSettings, Announcer, ChannelGroups, Election, GroupSettings, Listener, MessageUse, Mode,
};
use crate::latest::Publisher;
use crate::link::Node;
use crate::sampler::Budget;
use crate::snapshot::Limits;
use crate::watcher::{RemoteSource, RemoteUse, Watcher};

/// Maximum number of received messages in a queue.
const MESSAGES: usize = 64;

/// Maximum number of snapshots that wait for the announcer. Each holds all clients, and a newer one replaces an older
/// one but for its changes.
const SNAPSHOTS: usize = 4;

/// The settings of a node's tasks, the same for every node.
#[derive(Clone, Debug)]
pub struct NodeTasks {
    /// The limits of sampling.
    pub budget: Budget,
    /// Grouping, thresholds and bounds for deriving snapshots.
    pub limits: watch::Receiver<Arc<Limits>>,
    /// Settings for announcing and receiving statuses.
    pub announce: AnnounceSettings,
    /// The use of statuses of others.
    pub remote: RemoteUse,
    /// The nodes that share a subscription.
    pub channels: Arc<ChannelGroups>,
    /// The name of this host, which the names of announcers begin with.
    pub host: String,
}

impl NodeTasks {
    /// Watches a node until the future is dropped. It returns only if there is no more source of samples.
    pub async fn run(self, node: Node, publisher: Publisher) {
        let _open = node.admission.close_at_end();
        let reader = publisher.reader();
        let mut watcher = Watcher::new(node.clone(), self.budget, self.limits.clone(), publisher);
        let (tally, mut receivers) = (watcher.channel(), Vec::new());
        if self.remote != RemoteUse::Off {
            let (sender, received) = mpsc::channel(MESSAGES);
            receivers.push(sender);
            watcher = watcher.remote_source(RemoteSource::new(self.remote.clone(), received));
        }
        let name = format!("{}/{:08x}", self.host, rand::random::<u32>());
        let is_announcing = self.announce.mode != Mode::Never && !matches!(self.remote, RemoteUse::Only { .. });
        let announcing = is_announcing.then(|| {
            let (sender, received) = mpsc::channel(MESSAGES);
            // An exporter that always announces does not need the messages of others.
            if self.announce.mode == Mode::Auto {
                receivers.push(sender);
            }
            let (queue, snapshots) = mpsc::channel(SNAPSHOTS);
            watcher.subscribe("announcer", queue);
            let (mode, frequency) = (self.announce.mode, self.announce.frequency);
            let election = Election::new(mode, name.clone(), frequency, rand::random(), Instant::now());
            let settings = self.announce.clone();
            let tally = Arc::clone(&tally);
            let announcer =
                Announcer::new(node.clone(), settings, election, tally, watcher.spent()).known_by(reader.clone());
            announcer.run(snapshots, received)
        });
        let listening = (!receivers.is_empty()).then(|| {
            let usage = match self.remote {
                // If we always sample, only the presence of another announcer matters.
                RemoteUse::Off => MessageUse::Presence,
                RemoteUse::Preferred => MessageUse::Samples,
                RemoteUse::Only { .. } => MessageUse::OnlySource,
            };
            let settings = GroupSettings { keys: self.announce.keys.clone(), usage };
            let own_name = is_announcing.then_some(name);
            let membership = self.channels.join(node.clone(), settings, own_name, (reader, tally), receivers);
            Listener::new(Arc::clone(&self.announce.channel), membership).run()
        });
        let is_sampling = !matches!(self.remote, RemoteUse::Only { .. });
        let channel = async {
            // All links are opened now, while the server has free connections, and the one for sampling first.
            if is_sampling {
                node.admission.first_attempt().await;
            }
            tokio::join!(until_end(announcing), until_end(listening));
        };
        // One task for all three: they end together.
        tokio::join!(watcher.run(), channel);
    }
}

async fn until_end(task: Option<impl Future<Output = ()>>) {
    if let Some(task) = task {
        task.await;
    }
}
