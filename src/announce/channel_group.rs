//! Nodes that share one subscription, and to which of them a message belongs.
//!
//! In a cluster, a message that is published on one node reaches all of them, so a subscription on any node receives
//! the messages about all. Of the listeners of a cluster's nodes one subscribes; it holds the [`Inbox`], for which the
//! others wait. A node alone is a group of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::warn;

use crate::backoff::Backoff;
use crate::clock;
use crate::failure::{Failure, Refusal};
use crate::latest::{ChannelTally, NodeReader};
use crate::link::{Delivery, Node, parse_address};
use crate::memory::MemoryLimit;
use crate::status::{Header, KeyRing, OwnNames, Received, StatusReceiver};
use crate::text::escaped;

/// Maximum number of messages per second that are parsed, and of each node of a large cluster.
const MAX_PER_SECOND: u32 = 300;
const MAX_PER_NODE: u32 = 4;

/// The time after which another node of a cluster subscribes, if the subscription received nothing about other nodes.
/// It doubles each time. The node may be cut off from the cluster, or no exporter announces.
const FIRST_HOLD: Duration = Duration::from_secs(30);
const MAX_HOLD: Duration = Duration::from_secs(600);

/// The same while the subscribed node itself fails.
const FIRST_FAILING_HOLD: Duration = Duration::from_secs(2);

/// Receives verified messages about a node, and failures of its subscription.
pub type MessageQueue = mpsc::Sender<Result<Received, Failure>>;

/// The groups of all watched nodes, by target.
#[derive(Debug, Default)]
pub struct ChannelGroups(Mutex<BTreeMap<Arc<str>, Weak<ChannelGroup>>>);

/// The settings of a group.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// The keys of which one must have signed a message.
    pub keys: KeyRing,
    /// The use of messages.
    pub usage: MessageUse,
}

/// The use of received messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageUse {
    /// Only the presence of another announcer matters.
    Presence,
    /// They may replace samples of our own.
    Samples,
    /// They are the only source of samples.
    OnlySource,
}

/// Nodes of which one subscription receives the messages of all: those of a cluster, or one node alone.
#[derive(Debug)]
pub(super) struct ChannelGroup {
    /// True if messages are about several nodes.
    is_cluster: bool,
    usage: MessageUse,
    own: OwnNames,
    /// Locked by the listener that subscribes.
    pub(super) inbox: tokio::sync::Mutex<Inbox>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    next_id: u64,
    by_id: BTreeMap<u64, Member>,
}

/// A node of a group.
#[derive(Debug)]
struct Member {
    node: Node,
    /// The text that all ways to write its address have in common.
    address: String,
    reader: NodeReader,
    tally: Arc<ChannelTally>,
    queues: Vec<MessageQueue>,
}

/// The membership of a node, which ends when it is dropped.
#[derive(Debug)]
pub struct Membership {
    pub(super) group: Arc<ChannelGroup>,
    id: u64,
    own_name: Option<String>,
}

/// The state of the subscription of a group.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: StatusReceiver,
    /// Reasons that were logged.
    logged: Vec<Refusal>,
    /// The start of the current second, and the number of messages in it.
    second: (Instant, u32),
    /// The times after which another node subscribes.
    hold: Backoff,
    failing_hold: Backoff,
}

impl ChannelGroups {
    /// Adds a node to the group of its cluster, or to one of its own. `own_name` is the name under which we announce
    /// it.
    pub fn join(
        &self,
        node: Node,
        settings: GroupSettings,
        own_name: Option<String>,
        (reader, tally): (NodeReader, Arc<ChannelTally>),
        queues: Vec<MessageQueue>,
    ) -> Membership {
        let group = if node.origin.is_in_cluster {
            let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            groups.retain(|_, group| group.strong_count() > 0);
            let existing = groups.get(&node.origin.target).and_then(Weak::upgrade);
            existing.unwrap_or_else(|| {
                let group = Arc::new(ChannelGroup::new(settings, &node));
                groups.insert(Arc::clone(&node.origin.target), Arc::downgrade(&group));
                group
            })
        } else {
            Arc::new(ChannelGroup::new(settings, &node))
        };
        own_name.iter().for_each(|name| group.own.add(name.clone()));
        let member = Member { address: node.address.endpoint.key(), node, reader, tally, queues };
        let mut members = group.members();
        let id = members.next_id;
        members.next_id += 1;
        members.by_id.insert(id, member);
        drop(members);
        Membership { group, id, own_name }
    }
}

impl ChannelGroup {
    fn new(settings: GroupSettings, node: &Node) -> Self {
        let is_cluster = node.origin.is_in_cluster;
        let memory = if is_cluster { MemoryLimit::of_process().share() } else { Arc::clone(&node.memory) };
        let own = OwnNames::default();
        let receiver = StatusReceiver::of_ring(settings.keys, own.clone()).within(memory);
        let receiver = if settings.usage == MessageUse::Presence { receiver.presence_only() } else { receiver };
        let inbox = Inbox {
            receiver,
            logged: Vec::new(),
            second: (Instant::now(), 0),
            hold: Backoff::new(FIRST_HOLD, MAX_HOLD),
            failing_hold: Backoff::new(FIRST_FAILING_HOLD, MAX_HOLD),
        };
        let inbox = tokio::sync::Mutex::new(inbox);
        Self { is_cluster, usage: settings.usage, own, inbox, members: Mutex::default() }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    /// The node.
    pub(super) fn node(&self) -> Node {
        self.with_own(|member| member.node.clone())
    }

    /// Returns true if someone waits for messages about the node.
    pub(super) fn is_wanted(&self) -> bool {
        self.with_own(|member| !member.queues.is_empty())
    }

    /// Returns true if messages about several nodes are received.
    pub(super) fn is_shared(&self) -> bool {
        self.group.is_cluster
    }

    /// Returns true if another node can subscribe.
    pub(super) fn has_others(&self) -> bool {
        self.group.members().by_id.len() > 1
    }

    /// Forwards a failure of the subscription to this node alone.
    pub(super) fn fail(&self, failure: Failure) {
        self.with_own(|member| member.forward(&Err(failure)));
    }

    /// The time after which another node should subscribe.
    pub(super) fn hold(&self, inbox: &Inbox) -> Duration {
        let is_failing = self.with_own(|member| member.reader.is_failing());
        let mut hold = if is_failing { inbox.failing_hold.clone() } else { inbox.hold.clone() };
        hold.fail()
    }

    /// Processes what was received on the subscription of this node. Returns true if it is about another node.
    pub(super) fn process(&self, inbox: &mut Inbox, delivery: &Delivery) -> bool {
        let count = self.group.members().by_id.len();
        match inbox.accept(delivery, count) {
            Ok(Some(received)) => self.deliver(inbox, &received),
            Ok(None) => false,
            Err(refusal) => {
                self.refuse(inbox, refusal);
                false
            }
        }
    }

    /// Forwards a message to the nodes that it is about. Returns true if another one is among them.
    fn deliver(&self, inbox: &mut Inbox, received: &Received) -> bool {
        let (Received::Status { header, .. } | Received::KeepAlive { header, .. }) = received;
        let mut members = self.group.members();
        let addressed: Vec<u64> = if self.group.is_cluster {
            let address = parse_address(&header.node).ok().map(|parsed| parsed.endpoint.key());
            let known = members.by_id.iter().map(|(id, member)| (*id, member.recognizes(header, address.as_deref())));
            addressed(&known.collect::<Vec<_>>(), self.group.usage)
        } else {
            members.by_id.keys().copied().collect()
        };
        for id in &addressed {
            if let Some(member) = members.by_id.get_mut(id) {
                member.tally.add_received();
                member.forward(&Ok(received.clone()));
            }
        }
        drop(members);
        let is_status = matches!(received, Received::Status { .. });
        if addressed.is_empty() && is_status && self.group.usage == MessageUse::OnlySource {
            self.not_followed(inbox, header);
        }
        addressed.iter().any(|id| *id != self.id)
    }

    fn not_followed(&self, inbox: &mut Inbox, header: &Header) {
        self.with_own(|member| member.tally.add_refused(Refusal::NotFollowed));
        if inbox.is_first(Refusal::NotFollowed) {
            let (target, announced) = (&*self.node().origin.target.clone(), escaped(header.node.as_bytes()));
            warn!(
                target,
                announced,
                "a status of a node is announced that is none of this cluster by its name or address; its exporter \
                must watch the cluster by the same addresses, without --redis.name"
            );
        }
    }

    fn refuse(&self, inbox: &mut Inbox, refusal: Refusal) {
        self.with_own(|member| member.tally.add_refused(refusal));
        if inbox.is_first(refusal) {
            let (node, reason) = (&*self.node().name, refusal.label());
            warn!(node, reason, "a message on the channel was refused; further ones with this reason are only counted");
        }
    }

    fn with_own<T>(&self, of: impl FnOnce(&mut Member) -> T) -> T {
        let mut members = self.group.members();
        of(members.by_id.get_mut(&self.id).expect("a node is a member until its membership is dropped"))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.group.members().by_id.remove(&self.id);
        self.own_name.iter().for_each(|name| self.group.own.remove(name));
    }
}

/// The signs by which a node may recognize a message as its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recognition {
    /// The message has its name or address.
    is_named: bool,
    /// The message has the `run_id` of its last snapshot. `None` before the first one.
    has_run_id: Option<bool>,
}

impl Member {
    /// `address` is that of the message, if it has one as its name.
    fn recognizes(&self, header: &Header, address: Option<&str>) -> Recognition {
        let is_named = *self.node.name == *header.node || address == Some(&*self.address);
        Recognition { is_named, has_run_id: self.reader.run_id().map(|run_id| run_id == header.run_id) }
    }

    /// Forwards a message to all queues. One that is full misses it, like a slow subscriber of the channel.
    fn forward(&mut self, received: &Result<Received, Failure>) {
        self.queues.retain(|queue| !matches!(queue.try_send(received.clone()), Err(TrySendError::Closed(_))));
    }
}

/// The nodes that a message is about. A node that we sample is known by its `run_id`, however its announcer names it.
/// Without samples of our own the name counts: a `run_id` that was received may be that of a node which has moved.
fn addressed(nodes: &[(u64, Recognition)], usage: MessageUse) -> Vec<u64> {
    let is_any_named = nodes.iter().any(|(_, it)| it.is_named);
    let is_addressed = |it: Recognition| match (usage, it.has_run_id) {
        (MessageUse::OnlySource, has_run_id) => it.is_named || !is_any_named && has_run_id == Some(true),
        (MessageUse::Presence | MessageUse::Samples, Some(has_run_id)) => has_run_id,
        (MessageUse::Presence | MessageUse::Samples, None) => it.is_named,
    };
    nodes.iter().filter(|(_, it)| is_addressed(*it)).map(|(id, _)| *id).collect()
}

impl Inbox {
    fn accept(&mut self, delivery: &Delivery, nodes: usize) -> Result<Option<Received>, Refusal> {
        // Verified before it is counted: unsigned messages must not use up the rate limit of signed ones.
        let message = match delivery {
            Delivery::Message(bytes) => Ok(self.receiver.verify(bytes)?),
            Delivery::Oversize(_) => Err(Refusal::Oversize),
        };
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        let of_nodes = u32::try_from(nodes).unwrap_or(u32::MAX).saturating_mul(MAX_PER_NODE);
        if self.second.1 > MAX_PER_SECOND.max(of_nodes) {
            return Err(Refusal::Flood);
        }
        self.receiver.set_nodes(nodes);
        self.receiver.receive(message?, clock::now())
    }

    /// Returns true if nothing was refused for this reason before.
    fn is_first(&mut self, refusal: Refusal) -> bool {
        let is_first = !self.logged.contains(&refusal);
        if is_first {
            self.logged.push(refusal);
        }
        is_first
    }

    /// Notes that the subscription receives messages about other nodes, too.
    pub(super) fn receives_of_others(&mut self) {
        self.hold.succeed();
        self.failing_hold.succeed();
    }

    /// Notes that another node should subscribe.
    pub(super) fn gives_up(&mut self) {
        self.hold.fail();
        self.failing_hold.fail();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognition(is_named: bool, has_run_id: Option<bool>) -> Recognition {
        Recognition { is_named, has_run_id }
    }

    fn addressed_of(usage: MessageUse, nodes: &[Recognition]) -> Vec<u64> {
        addressed(&(0..).zip(nodes.iter().copied()).collect::<Vec<_>>(), usage)
    }

    #[test]
    fn a_node_that_is_sampled_is_known_by_its_run() {
        for usage in [MessageUse::Presence, MessageUse::Samples] {
            let named_otherwise = [recognition(true, Some(false)), recognition(false, Some(true))];
            assert_eq!(addressed_of(usage, &named_otherwise), [1], "the name is the announcer's choice");
            let before_the_first_sample = [recognition(false, None), recognition(true, None)];
            assert_eq!(addressed_of(usage, &before_the_first_sample), [1]);
            let of_another = [recognition(false, Some(false)), recognition(false, None)];
            assert_eq!(addressed_of(usage, &of_another), [0; 0]);
        }
    }

    #[test]
    fn a_node_that_is_not_sampled_is_known_by_its_name_and_without_one_by_its_run() {
        let usage = MessageUse::OnlySource;
        let restarted = [recognition(false, Some(false)), recognition(true, Some(false))];
        assert_eq!(addressed_of(usage, &restarted), [1]);
        let moved = [recognition(false, Some(true)), recognition(true, None)];
        assert_eq!(addressed_of(usage, &moved), [1], "never both");
        let named_otherwise = [recognition(false, Some(false)), recognition(false, Some(true))];
        assert_eq!(addressed_of(usage, &named_otherwise), [1]);
        assert_eq!(addressed_of(usage, &[recognition(false, None)]), [0; 0]);
    }
}
