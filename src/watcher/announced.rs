//! The node whose statuses are used, where several may be announced on a channel. Pure.
//!
//! Anyone can publish on the channel, so another node than the one that is followed is not taken before that one has
//! been silent: a forged status would replace it, or make it unknown which one is meant. In a cluster the statuses of
//! all nodes arrive: once one has the name or the address of ours, no other is taken.

use std::time::{Duration, Instant};

use crate::status::Header;
use crate::text::escaped;

/// The time for which a status with our node's name or address is waited for before another one is followed, in
/// multiples of the announced frequency.
const OWN_FIRST: f64 = 1.25;

/// The node that is followed.
#[derive(Debug, Default)]
pub(super) struct FollowedNode {
    run: Option<FollowedRun>,
    /// True once a status had our node's name or address.
    has_own: bool,
    /// The time until which a status of our node is waited for.
    own_until: Option<Instant>,
    /// True once another node was announced that is not followed.
    has_warned: bool,
}

/// A run of the node that is followed.
#[derive(Debug)]
struct FollowedRun {
    run_id: String,
    name: String,
    announcer: String,
    /// True if it has our node's name or address.
    is_own: bool,
    /// The time from which another one may be followed.
    silent_at: Instant,
    /// The latest time to which signs of life without a status can extend that.
    keep_until: Instant,
}

/// The decision about a status.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Its node is followed.
    Follow,
    /// Another node is followed. With a warning, the first time.
    Ignore(Option<String>),
}

impl FollowedNode {
    /// Decides about a status. Its node counts as silent after `patience`, or with signs of life after `max_patience`.
    /// `is_own` is true if it has our node's name or address.
    pub(super) fn status(
        &mut self,
        node: &str,
        header: &Header,
        (signed, is_own): (bool, bool),
        patience: Duration,
        max_patience: Duration,
        now: Instant,
    ) -> Decision {
        self.has_own |= is_own;
        if let Some(run) = &self.run
            && run.run_id != header.run_id
            && (now < run.silent_at || self.has_own && !is_own)
            && (run.is_own || !is_own)
            // Only who has a key can claim to be this announcer, whose node has restarted.
            && !(signed && (&run.announcer, &run.name) == (&header.announcer, &header.node))
        {
            let is_first = !std::mem::replace(&mut self.has_warned, true);
            return Decision::Ignore(is_first.then(|| several(node, &run.name, &header.node)));
        }
        if self.run.as_ref().is_none_or(|run| run.run_id != header.run_id) {
            let wait = Duration::try_from_secs_f64(header.frequency * OWN_FIRST).unwrap_or(max_patience);
            let own_until = *self.own_until.get_or_insert(now + wait.min(max_patience));
            if !is_own && (self.has_own || now < own_until) {
                return Decision::Ignore(None);
            }
            self.has_warned = false;
        }
        self.run = Some(FollowedRun {
            run_id: header.run_id.clone(),
            name: header.node.clone(),
            announcer: header.announcer.clone(),
            is_own,
            silent_at: now + patience,
            keep_until: now + max_patience.max(patience),
        });
        Decision::Follow
    }

    /// Notes a sign of life. It extends the time after which a node counts as silent, but not forever: it may be forged
    /// after the node has restarted.
    pub(super) fn keep_alive(&mut self, header: &Header, patience: Duration, now: Instant) {
        if let Some(run) = self.run.as_mut().filter(|run| run.run_id == header.run_id) {
            run.silent_at = run.silent_at.max((now + patience).min(run.keep_until));
        }
    }
}

fn several(node: &str, followed: &str, other: &str) -> String {
    let (followed, other) = (escaped(followed.as_bytes()), escaped(other.as_bytes()));
    if followed == other {
        return format!(
            "{node}: two servers are announced on its channel with the same name ({followed}), and the first one is \
            followed; start their exporters with a different --redis.name for each server, or find out who forges \
            statuses"
        );
    }
    format!(
        "{node}: several nodes are announced on its channel ({followed}, {other}), and {followed} is followed; choose \
        one with --announce.node"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::SCHEMA;

    const PATIENCE: Duration = Duration::from_secs(25);
    const MAX_PATIENCE: Duration = Duration::from_secs(60);

    fn header(run_id: &str, node: &str, announcer: &str) -> Header {
        let members = serde_json::json!({"schema": SCHEMA, "kind": "status", "announcer": announcer, "redis": node,
            "run_id": run_id, "seq": 1, "sampled_at": "2026-01-01T00:00:00Z", "frequency": 10, "connections": 0,
            "online": 0, "silent": 0});
        serde_json::from_value(members).expect("a header")
    }

    fn follows(followed: &mut FollowedNode, header: &Header, signed: bool, now: Instant) -> bool {
        followed.status("n", header, (signed, true), PATIENCE, MAX_PATIENCE, now) == Decision::Follow
    }

    /// Instance: a node of a cluster that was down was shown with the clients of another one.
    #[test]
    fn a_node_of_another_name_is_never_taken_for_ours() {
        let (mut followed, start) = (FollowedNode::default(), Instant::now());
        let mut follows = |header: &Header, is_own: bool, seconds| {
            let at = start + Duration::from_secs(seconds);
            followed.status("n", header, (true, is_own), PATIENCE, MAX_PATIENCE, at) == Decision::Follow
        };
        let (ours, other, third) = (header("a", "here", "x"), header("b", "there", "x"), header("c", "else", "x"));
        assert!(!follows(&other, false, 0) && !follows(&other, false, 12), "ours may arrive");
        assert!(follows(&other, false, 13), "its announcer has another name for it");
        assert!(!follows(&third, false, 14));
        assert!(follows(&ours, true, 20), "at once");
        assert!(!follows(&other, false, 21) && !follows(&other, false, 1000), "also while ours is down");
        assert!(follows(&header("d", "here", "x"), true, 1001), "it has restarted");
    }

    #[test]
    fn another_run_is_followed_only_after_silence() {
        let (mut followed, start) = (FollowedNode::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (genuine, forged) = (header("a", "here", "x"), header("b", "here", "x"));
        for second in 0..100 {
            if second % 10 == 0 {
                assert!(follows(&mut followed, &genuine, false, at(second)));
            }
            assert!(!follows(&mut followed, &forged, false, at(second)), "{second}");
        }
        // Its last status was at 90.
        assert!(!follows(&mut followed, &forged, false, at(114)));
        assert!(follows(&mut followed, &forged, false, at(115)), "it has restarted");
        assert!(!follows(&mut followed, &genuine, false, at(116)));
    }

    #[test]
    fn signs_of_life_delay_that_but_not_forever() {
        let (mut followed, start) = (FollowedNode::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (genuine, other) = (header("a", "here", "x"), header("b", "here", "x"));
        assert!(follows(&mut followed, &genuine, false, start));
        for second in 0..60 {
            followed.keep_alive(&genuine, PATIENCE, at(second));
            followed.keep_alive(&other, Duration::from_secs(1_000_000), at(second));
            assert!(!follows(&mut followed, &other, false, at(second)), "{second}");
        }
        assert!(follows(&mut followed, &other, false, at(60)));
    }

    #[test]
    fn a_signed_status_of_the_same_announcer_shows_a_restart_at_once() {
        let now = Instant::now();
        for (signed, node, announcer, expected) in [
            (true, "here", "x", true),
            (false, "here", "x", false),
            (true, "there", "x", false),
            (true, "here", "y", false),
        ] {
            let mut followed = FollowedNode::default();
            assert!(follows(&mut followed, &header("a", "here", "x"), signed, now));
            assert_eq!(follows(&mut followed, &header("b", node, announcer), signed, now), expected);
        }
    }

    #[test]
    fn another_node_is_warned_about_once() {
        let (mut followed, now) = (FollowedNode::default(), Instant::now());
        let mut warning = |run_id, name| match followed.status(
            "n",
            &header(run_id, name, "x"),
            (false, name == "here"),
            PATIENCE,
            MAX_PATIENCE,
            now,
        ) {
            Decision::Follow => None,
            Decision::Ignore(warning) => warning,
        };
        assert_eq!(warning("a", "here"), None);
        assert!(
            warning("b", "there").is_some_and(|text| text.contains("here, there") && text.contains("--announce.node"))
        );
        assert_eq!((warning("b", "there"), warning("c", "\u{1b}[2J")), (None, None));
        let mut followed = FollowedNode::default();
        assert!(follows(&mut followed, &header("a", "here", "x"), false, now));
        let again = followed.status("n", &header("b", "here", "x"), (false, true), PATIENCE, MAX_PATIENCE, now);
        assert!(matches!(again, Decision::Ignore(Some(text)) if text.contains("--redis.name")));
    }
}
