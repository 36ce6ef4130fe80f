//! Subscribes to the channel of one node, and forwards verified messages.
//!
//! At most one message is in memory, plus bounded queues of verified messages. A flood of messages is bounded: above
//! the maximum rate, messages are counted but not parsed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock;
use crate::failure::Failure;
use crate::failure::Refusal;
use crate::latest::ChannelTally;
use crate::link::{Delivery, LinkPurpose, Node, Subscription};
use crate::status::{MAX_MESSAGE, Received, StatusReceiver};

/// Maximum number of messages per second that are parsed.
const MAX_PER_SECOND: u32 = 300;

/// Maximum number of messages before other nodes have their turn, however many there are.
const MAX_TURN: u32 = 64;

/// The delay after the first failure. Each further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// The longest delay after a failure.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// After this time without a message the subscription is opened again: the server may have disappeared without closing
/// the connection.
const SILENCE: Duration = Duration::from_secs(90);

/// Receives the messages on the channel of one node.
#[derive(Debug)]
pub struct Listener {
    node: Node,
    channel: Arc<str>,
    receiver: StatusReceiver,
    tally: Arc<ChannelTally>,
    receivers: Vec<mpsc::Sender<Result<Received, Failure>>>,
    /// Reasons that were logged.
    logged: Vec<Refusal>,
    /// The start of the current second, and the number of messages in it.
    second: (Instant, u32),
}

impl Listener {
    /// A listener that forwards verified messages, and failures of the subscription, to these receivers.
    pub fn new(
        node: Node,
        channel: Arc<str>,
        receiver: StatusReceiver,
        tally: Arc<ChannelTally>,
        receivers: Vec<mpsc::Sender<Result<Received, Failure>>>,
    ) -> Self {
        Self { node, channel, receiver, tally, receivers, logged: Vec::new(), second: (Instant::now(), 0) }
    }

    /// Listens until all receivers are closed.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_DELAY, MAX_DELAY);
        // True while a failure is logged and not yet a recovery.
        let mut is_failing = false;
        while !self.receivers.is_empty() {
            let (failure, lasted) = match Subscription::open(&self.node, &self.channel, MAX_MESSAGE).await {
                Ok(subscription) => {
                    if std::mem::take(&mut is_failing) {
                        info!(node = &*self.node.name, channel = &*self.channel, "receiving statuses again");
                    }
                    let opened = Instant::now();
                    (self.listen(subscription).await, opened.elapsed())
                }
                Err(failure) => (Some(failure), Duration::ZERO),
            };
            // A subscription that is closed right after it was opened, each time, has not recovered.
            if lasted >= MAX_DELAY {
                backoff.succeed();
            }
            if let Some(failure) = failure {
                if !backoff.is_failing() {
                    is_failing = true;
                    let (node, channel) = (&*self.node.name, &*self.channel);
                    warn!(node, channel, "cannot receive statuses: {failure}");
                }
                self.forward(&Err(failure));
                let due = Instant::now() + backoff.fail();
                // All links of the node together try to connect to a full server.
                let due = self.node.admission.due(LinkPurpose::Channel).map_or(due, |admitted| admitted.max(due));
                tokio::time::sleep_until(due.into()).await;
            }
        }
    }

    /// Receives messages until the link fails. Returns `None` after a long silence, or if all receivers are closed.
    async fn listen(&mut self, mut subscription: Subscription) -> Option<Failure> {
        let mut turn = 0;
        loop {
            turn = (turn + 1) % MAX_TURN;
            if turn == 0 {
                tokio::task::yield_now().await;
            }
            let delivery = match subscription.next_within(SILENCE).await {
                Ok(Some(delivery)) => delivery,
                Ok(None) => return None,
                Err(failure) => return Some(failure),
            };
            match self.accept(&delivery) {
                Ok(Some(received)) => {
                    self.tally.add_received();
                    self.forward(&Ok(received));
                    if self.receivers.is_empty() {
                        return None;
                    }
                }
                Ok(None) => {}
                Err(refusal) => self.refuse(refusal),
            }
        }
    }

    /// Forwards a message to all receivers. A receiver whose queue is full misses it, like a slow subscriber of the
    /// channel.
    fn forward(&mut self, received: &Result<Received, Failure>) {
        self.receivers.retain(|receiver| !matches!(receiver.try_send(received.clone()), Err(TrySendError::Closed(_))));
    }

    fn accept(&mut self, delivery: &Delivery) -> Result<Option<Received>, Refusal> {
        // Verified before it is counted: unsigned messages must not use up the rate limit of signed ones.
        let message = match delivery {
            Delivery::Message(bytes) => Ok(self.receiver.verify(bytes)?),
            Delivery::Oversize(_) => Err(Refusal::Oversize),
        };
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        if self.second.1 > MAX_PER_SECOND {
            return Err(Refusal::Flood);
        }
        self.receiver.receive(message?, clock::now())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.tally.add_refused(refusal);
        if !self.logged.contains(&refusal) {
            self.logged.push(refusal);
            let (node, channel) = (&*self.node.name, &*self.channel);
            let reason = refusal.label();
            warn!(
                node,
                channel, reason, "a message on the channel was refused; further ones with this reason are only counted"
            );
        }
    }
}
