//! Listens to the channel of one node for ever, and hands on what is believed.
//!
//! At most one message is in memory, and few that were believed wait to be taken. Whoever floods the channel is cut short: of more
//! messages a second than anybody would announce, the others are counted and not read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{info, warn};

use super::{Received, StatusReceiver};
use crate::clock;
use crate::latest::ChannelTally;
use crate::link::{Delivery, Subscription, Target};
use crate::sample::Failure;
use crate::status::Refusal;

/// The most messages a second that are read.
const MAX_PER_SECOND: u32 = 300;

/// The shortest pause after a failure. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// After so long a silence the subscription is made anew: a server that is gone may not have said so.
const SILENCE: Duration = Duration::from_secs(90);

/// Listens to one node.
#[derive(Debug)]
pub struct Listener {
    target: Target,
    channel: Arc<str>,
    receiver: StatusReceiver,
    tally: Arc<ChannelTally>,
    heard: Vec<mpsc::Sender<Result<Received, Failure>>>,
    /// Reasons that were logged.
    told: Vec<Refusal>,
    second: (Instant, u32),
}

impl Listener {
    /// A listener that hands on what it hears to these, and failures to listen.
    pub fn new(
        target: Target,
        channel: Arc<str>,
        receiver: StatusReceiver,
        tally: Arc<ChannelTally>,
        heard: Vec<mpsc::Sender<Result<Received, Failure>>>,
    ) -> Self {
        Self { target, channel, receiver, tally, heard, told: Vec::new(), second: (Instant::now(), 0) }
    }

    /// Listens until nobody takes what it hears any more.
    pub async fn run(mut self) {
        let mut failures = 0_u32;
        while !self.heard.is_empty() {
            let failure = match Subscription::open(&self.target, &self.channel).await {
                Ok(subscription) => {
                    if failures > 0 {
                        info!(node = &*self.target.node(), channel = &*self.channel, "listening again");
                    }
                    failures = 0;
                    self.listen(subscription).await
                }
                Err(failure) => Some(failure),
            };
            if let Some(failure) = failure {
                if failures == 0 {
                    let (node, channel) = (self.target.node(), &*self.channel);
                    warn!(node = &*node, channel, "cannot listen: {failure}");
                }
                self.hand_on(&Err(failure));
                failures = failures.saturating_add(1);
                tokio::time::sleep((FIRST_PAUSE * (1 << failures.min(6))).min(MAX_PAUSE)).await;
            }
        }
    }

    /// Listens until the link breaks; `None` if only a silence ended it, or nobody listens any more.
    async fn listen(&mut self, mut subscription: Subscription) -> Option<Failure> {
        loop {
            let word = match subscription.next_within(SILENCE).await {
                Ok(Some(word)) => word,
                Ok(None) => return None,
                Err(failure) => return Some(failure),
            };
            match self.understood(&word) {
                Ok(Some(heard)) => {
                    self.tally.add_heard();
                    self.hand_on(&Ok(heard));
                    if self.heard.is_empty() {
                        return None;
                    }
                }
                Ok(None) => {}
                Err(refusal) => self.refuse(refusal),
            }
        }
    }

    /// Hands on what was heard to everybody who is there to take it. Whoever is busy for so long that his queue is full misses it, as
    /// he would on the channel itself.
    fn hand_on(&mut self, heard: &Result<Received, Failure>) {
        self.heard.retain(|taker| !matches!(taker.try_send(heard.clone()), Err(TrySendError::Closed(_))));
    }

    fn understood(&mut self, word: &Delivery) -> Result<Option<Received>, Refusal> {
        // What is not signed must not use up what those may say who are believed.
        let message = match word {
            Delivery::Message(bytes) => Ok(self.receiver.credible(bytes)?),
            Delivery::Oversize(_) => Err(Refusal::Oversize),
        };
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        if self.second.1 > MAX_PER_SECOND {
            return Err(Refusal::Flood);
        }
        self.receiver.hear(message?, clock::now())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.tally.add_refused(refusal);
        if !self.told.contains(&refusal) {
            self.told.push(refusal);
            let (node, channel) = (self.target.node(), &*self.channel);
            let reason = refusal.label();
            warn!(
                node = &*node,
                channel, reason, "a message on the channel was refused; more of these are only counted"
            );
        }
    }
}
