//! Subscribes to the channel on one node, and forwards verified messages to the nodes that they are about.
//!
//! The nodes of a cluster share one subscription: while the listener of one subscribes, the others wait. When its
//! subscription fails, or receives nothing about other nodes for long, the next one subscribes.
//!
//! At most one message is in memory, plus bounded queues of verified messages. A flood of messages is bounded: above
//! the maximum rate, messages are counted but not parsed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::channel_group::{Inbox, Membership};
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::link::{LinkPurpose, Node, Subscription};
use crate::status::MAX_MESSAGE;

/// Maximum number of messages before other nodes have their turn, however many there are.
const MAX_TURN: u32 = 64;

/// The delay after the first failure. Each further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// The longest delay after a failure.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// After this time without a message the subscription is opened again: the server may have disappeared without closing
/// the connection.
const SILENCE: Duration = Duration::from_secs(90);

/// The interval at which it is checked whether another node should subscribe.
const CHECK: Duration = Duration::from_secs(1);

/// Receives the messages on the channel of one node, or of all nodes of its cluster.
#[derive(Debug)]
pub struct Listener {
    node: Node,
    channel: Arc<str>,
    membership: Membership,
}

/// The end of a subscription.
enum Ended {
    /// The link failed.
    Failed(Failure),
    /// Nothing was received for long. It may be another node's turn.
    Silent,
}

impl Listener {
    /// A listener that forwards verified messages to the members of the group, and failures of the subscription to
    /// this one.
    pub fn new(channel: Arc<str>, membership: Membership) -> Self {
        Self { node: membership.node(), channel, membership }
    }

    /// Listens until messages about this node are not wanted anymore.
    pub async fn run(self) {
        let group = Arc::clone(&self.membership.group);
        let mut backoff = Backoff::new(FIRST_DELAY, MAX_DELAY);
        // True while a failure is logged and not yet a recovery.
        let mut is_failing = false;
        loop {
            let mut inbox = group.inbox.lock().await;
            if !self.membership.is_wanted() {
                return;
            }
            let (node, channel) = (&*self.node.name, &*self.channel);
            let (ended, lasted) = match Subscription::open(&self.node, &self.channel, MAX_MESSAGE).await {
                Ok(subscription) => {
                    if std::mem::take(&mut is_failing) {
                        info!(node, channel, "receiving statuses again");
                    }
                    debug!(node, channel, "subscribed");
                    let opened = Instant::now();
                    let ended = self.listen(subscription, &mut inbox).await;
                    if let Ended::Failed(failure) = &ended
                        && !self.membership.has_others()
                    {
                        self.membership.fail(failure.clone());
                    }
                    (ended, opened.elapsed())
                }
                Err(failure) => {
                    self.membership.fail(failure.clone());
                    (Ended::Failed(failure), Duration::ZERO)
                }
            };
            drop(inbox);
            // A subscription that is closed right after it was opened, each time, has not recovered.
            if lasted >= MAX_DELAY {
                backoff.succeed();
            }
            let Ended::Failed(failure) = ended else { continue };
            if !backoff.is_failing() {
                is_failing = true;
                warn!(node, channel, "cannot receive statuses: {failure}");
            }
            let due = Instant::now() + backoff.fail();
            // All links of the node together try to connect to a full server.
            let due = self.node.admission.due(LinkPurpose::Channel).map_or(due, |admitted| admitted.max(due));
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Receives messages until the link fails, nothing is received for long, or messages are not wanted anymore.
    async fn listen(&self, mut subscription: Subscription, inbox: &mut Inbox) -> Ended {
        let wait = if self.membership.is_shared() { CHECK } else { SILENCE };
        let (mut turn, mut received_at, mut others_at) = (0, Instant::now(), Instant::now());
        loop {
            turn = (turn + 1) % MAX_TURN;
            if turn == 0 {
                tokio::task::yield_now().await;
            }
            match subscription.next_within(wait).await {
                Ok(Some(delivery)) => {
                    received_at = Instant::now();
                    if self.membership.process(inbox, &delivery) {
                        others_at = received_at;
                        inbox.receives_of_others();
                    }
                }
                Ok(None) => {}
                Err(failure) => return Ended::Failed(failure),
            }
            if received_at.elapsed() >= SILENCE || !self.membership.is_wanted() {
                return Ended::Silent;
            }
            if others_at.elapsed() >= self.membership.hold(inbox) && self.membership.has_others() {
                inbox.gives_up();
                return Ended::Silent;
            }
        }
    }
}
