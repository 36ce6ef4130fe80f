//! The order of the links of one node, and of its attempts to connect.
//!
//! A server that has reached `maxclients` counts each refused connection, so all links of a node share one delay
//! between attempts. With TLS it closes without a word, as it would for other reasons, so failed handshakes have the
//! same delay. The link for sampling comes first; without it the others are of no use. If it is lost while the server
//! is full, the idle link of the announcer takes its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Link;
use crate::backoff::Backoff;
use crate::failure::{Failure, Reason};

/// The delay after the first refusal. Each further refusal doubles it.
const FIRST_DELAY: Duration = Duration::from_secs(3);

/// The longest delay after a refusal.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The time for which only sampling may use an attempt that is due.
const HEAD_START: Duration = Duration::from_secs(2);

/// The purpose of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// To sample the node.
    Sampling,
    /// To announce, or to receive announcements.
    Channel,
}

/// The state that all links of a node share.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<AdmissionState>,
    /// True once an attempt to connect has ended.
    attempted: watch::Sender<bool>,
}

#[derive(Debug)]
struct AdmissionState {
    /// The refusal, as long as the server is full.
    refused: Option<Refused>,
    delays: Backoff,
    /// A link that its owner does not use now.
    spare: Option<Link>,
}

#[derive(Debug)]
struct Refused {
    failure: Failure,
    /// The purpose of the link that was refused.
    purpose: LinkPurpose,
    /// When the server refused it.
    at: Instant,
    /// When the next attempt is due.
    until: Instant,
    /// True while an attempt is in progress.
    is_probing: bool,
}

impl Default for Admission {
    fn default() -> Self {
        let state = AdmissionState { refused: None, delays: Backoff::new(FIRST_DELAY, MAX_DELAY), spare: None };
        Self { state: Mutex::new(state), attempted: watch::Sender::new(false) }
    }
}

impl Admission {
    fn state(&self) -> MutexGuard<'_, AdmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Permits an attempt to connect, which ends with [`DialAttempt::end`] or when it is dropped.
    ///
    /// # Errors
    /// The server is full, and the next attempt is not due: the failure of the last one.
    pub(super) fn begin(&self, purpose: LinkPurpose, now: Instant) -> Result<DialAttempt<'_>, Failure> {
        if let Some(refused) = &mut self.state().refused {
            if refused.is_probing || now < refused.due(purpose) {
                return Err(refused.failure.clone());
            }
            refused.is_probing = true;
        }
        Ok(DialAttempt { admission: self, purpose })
    }

    /// The time of the next attempt to connect, while the server is full.
    pub fn due(&self, purpose: LinkPurpose) -> Option<Instant> {
        self.state().refused.as_ref().map(|refused| refused.due(purpose))
    }

    /// Waits until the first attempt to connect has ended.
    pub async fn first_attempt(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.attempted.subscribe().wait_for(|attempted| *attempted).await;
    }

    /// Keeps a link that is not used now.
    pub fn keep(&self, link: Link) {
        self.state().spare = Some(link);
    }

    /// Closes the link that is not used when the returned value is dropped: copies of the node may live longer.
    pub fn close_at_end(self: &Arc<Self>) -> OpenLinks {
        OpenLinks(Arc::clone(self))
    }

    /// Returns true if there is a link that is not used now.
    pub fn has_spare(&self) -> bool {
        self.state().spare.is_some()
    }

    /// The link that is not used now, if there is one.
    pub fn take_spare(&self) -> Option<Link> {
        self.state().spare.take()
    }
}

/// The time in which a node is watched.
#[derive(Debug)]
pub struct OpenLinks(Arc<Admission>);

impl Drop for OpenLinks {
    fn drop(&mut self) {
        drop(self.0.take_spare());
    }
}

impl Refused {
    fn due(&self, purpose: LinkPurpose) -> Instant {
        match (purpose, self.purpose) {
            // Sampling had a link, and the loss of it may have left a place.
            (LinkPurpose::Sampling, LinkPurpose::Channel) => self.at,
            (LinkPurpose::Sampling, LinkPurpose::Sampling) => self.until,
            (LinkPurpose::Channel, _) => self.until + HEAD_START,
        }
    }
}

/// True if the server may be full.
pub(super) fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::MaxClients | Reason::Tls)
}

/// An attempt to connect.
#[derive(Debug)]
pub(super) struct DialAttempt<'a> {
    admission: &'a Admission,
    purpose: LinkPurpose,
}

impl DialAttempt<'_> {
    /// Notes the result of the attempt.
    pub(super) fn end(self, failure: Option<&Failure>, now: Instant) {
        let mut state = self.admission.state();
        match failure.filter(|failure| is_refusal(failure)) {
            Some(failure) => {
                let (failure, purpose, until) = (failure.clone(), self.purpose, now + state.delays.fail());
                state.refused = Some(Refused { failure, purpose, at: now, until, is_probing: false });
            }
            None => {
                state.delays.succeed();
                state.refused = None;
            }
        }
    }
}

impl Drop for DialAttempt<'_> {
    fn drop(&mut self) {
        if let Some(refused) = &mut self.admission.state().refused {
            refused.is_probing = false;
        }
        self.admission.attempted.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn full() -> Failure {
        Failure { reason: Reason::MaxClients, message: "node: the server has reached maxclients".to_owned() }
    }

    /// Simulates links that try as soon as they may, each with its purpose, at a full server. Returns the seconds at
    /// which an attempt reached the server.
    fn rejections(purposes: &[LinkPurpose], seconds: u64) -> Vec<u64> {
        let (admission, start) = (Admission::default(), Instant::now());
        let mut rejected = Vec::new();
        for second in 0..seconds {
            let now = start + SECOND * u32::try_from(second).expect("a short time");
            for purpose in purposes {
                match admission.begin(*purpose, now) {
                    Ok(attempt) => {
                        rejected.push(second);
                        attempt.end(Some(&full()), now);
                    }
                    Err(failure) => assert_eq!(failure, full()),
                }
            }
        }
        rejected
    }

    /// There were 7 rejections in the first 10 s, and then two in 10 s.
    #[test]
    fn all_links_together_are_refused_three_times_in_ten_seconds_and_then_once_in_half_a_minute() {
        use LinkPurpose::{Channel, Sampling};
        assert_eq!(rejections(&[Sampling, Channel, Channel], 140), [0, 3, 9, 21, 45, 75, 105, 135]);
        assert_eq!(rejections(&[Channel, Channel], 60), [0, 5, 13, 27, 53], "an exporter that only receives");
    }

    #[test]
    fn sampling_comes_first_and_one_attempt_at_a_time() {
        use LinkPurpose::{Channel, Sampling};
        let (admission, now) = (Admission::default(), Instant::now());
        let both = [admission.begin(Sampling, now), admission.begin(Channel, now)];
        for attempt in both {
            attempt.expect("the server is not known to be full").end(Some(&full()), now);
        }
        assert!(admission.due(Sampling).is_some_and(|due| due <= now), "the listener was refused, not sampling");
        admission.begin(Sampling, now).expect("sampling may try").end(Some(&full()), now);
        let due = admission.due(Sampling).expect("it is full");
        assert!(due > now);
        assert_eq!(admission.due(Channel), Some(due + HEAD_START));
        assert!(admission.begin(Channel, due).is_err(), "sampling comes first");
        let probe = admission.begin(Sampling, due).expect("it is due");
        assert!(admission.begin(Channel, due + HEAD_START).is_err(), "another attempt is in progress");
        drop(probe);
        let probe = admission.begin(Channel, due + HEAD_START).expect("the attempt before was cancelled");
        probe.end(None, due + HEAD_START);
        assert_eq!(admission.due(Sampling), None, "the server is not full anymore");
        admission.begin(Sampling, now).expect("at once").end(Some(&full()), now);
        assert_eq!(admission.due(Sampling), Some(now + FIRST_DELAY), "the delays begin again");
        let other = Failure { reason: Reason::Connect, message: String::new() };
        admission.begin(Sampling, now + FIRST_DELAY).expect("it is due").end(Some(&other), now + FIRST_DELAY);
        assert_eq!(admission.due(Sampling), None, "a server that is down is not full");
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_links_wait_for_the_first_attempt() {
        let admission = Admission::default();
        let attempt = admission.begin(LinkPurpose::Sampling, Instant::now()).expect("the first one");
        assert!(tokio::time::timeout(Duration::ZERO, admission.first_attempt()).await.is_err());
        attempt.end(Some(&full()), Instant::now());
        tokio::time::timeout(SECOND, admission.first_attempt()).await.expect("it has ended");
    }
}
