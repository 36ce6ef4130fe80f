//! Applications over all nodes of a target. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::{NodeState, Nodes};
use crate::snapshot::Snapshot;
use crate::text::OTHER;

/// The applications of a target: their connections over those of its nodes that have a current sample of all clients.
#[derive(Clone, Debug, Default)]
pub struct TargetApps<'a> {
    /// The number of nodes of the target.
    pub nodes: usize,
    /// The application clients by application; complete, not folded.
    connections: HashMap<&'a str, u64>,
    /// The largest group limit of its nodes.
    limit: usize,
}

impl<'a> TargetApps<'a> {
    fn add(&mut self, snapshot: Option<&'a Snapshot>) {
        self.nodes += 1;
        let Some(snapshot) = snapshot else { return };
        self.limit = self.limit.max(snapshot.presence.limit);
        for (app, count) in snapshot.clients().into_iter().flat_map(|clients| clients.connections_by_app()) {
            *self.connections.entry(app).or_default() += count;
        }
    }

    /// The applications up to the group limit, the most connections first, then the others together as `(other)`; and
    /// the number of the others.
    pub fn largest(&self) -> (Vec<(&'a str, u64)>, usize) {
        let mut apps: Vec<_> = self.connections.iter().map(|(app, count)| (*app, *count)).collect();
        apps.sort_unstable_by_key(|(app, count)| (Reverse(*count), *app));
        let others = apps.split_off(self.limit.min(apps.len()));
        if !others.is_empty() {
            apps.push((OTHER, others.iter().map(|(_, count)| count).sum()));
        }
        (apps, others.len())
    }
}

impl Nodes {
    /// The applications of each target that has several nodes, by the name of the target. For one node they are those
    /// of the node.
    pub fn target_apps(&self, now: Instant) -> BTreeMap<&str, TargetApps<'_>> {
        by_target(self.iter().map(|node| (node.target(), node)), now)
    }
}

fn by_target<'a>(
    nodes: impl Iterator<Item = (&'a str, &'a NodeState)> + Clone,
    now: Instant,
) -> BTreeMap<&'a str, TargetApps<'a>> {
    let mut counts = BTreeMap::<&str, usize>::new();
    nodes.clone().for_each(|(target, _)| *counts.entry(target).or_default() += 1);
    let mut targets = BTreeMap::<&str, TargetApps<'_>>::new();
    for (target, node) in nodes.filter(|(target, _)| counts[target] > 1) {
        let counted = |snapshot: &&Snapshot| snapshot.client_counts.is_some();
        targets.entry(target).or_default().add(node.fresh_snapshot(now).map(|snapshot| &**snapshot).filter(counted));
    }
    targets
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::client_list::Listing;
    use crate::failure::{Failure, Reason};
    use crate::sample::Sample;
    use crate::snapshot::{Limits, derive};

    /// A node with these numbers of clients of the applications a, b, c …
    fn node(name: &str, apps: &[u64], groups: usize, now: Instant) -> NodeState {
        let named = apps.iter().zip('a'..).flat_map(|(count, app)| (0..*count).map(move |_| app));
        let rows: String = named.zip(1..).map(|(app, id)| format!("id={id} addr=10.0.0.1:{id} name={app}\n")).collect();
        let sample = Sample::of(jiff::Timestamp::UNIX_EPOCH, Listing::new(rows.into()));
        let snapshot = derive(None, Arc::new(sample), &Limits { groups, ..Limits::default() });
        let mut state = NodeState::starting(name.into());
        state.succeed(Arc::new(snapshot), now + Duration::from_secs(60));
        state
    }

    fn largest(nodes: &[NodeState], now: Instant) -> Option<(Vec<(String, u64)>, usize)> {
        let targets = by_target(nodes.iter().map(|node| ("shop", node)), now);
        let (apps, folded) = targets.get("shop")?.largest();
        Some((apps.into_iter().map(|(app, count)| (app.to_owned(), count)).collect(), folded))
    }

    #[test]
    fn an_application_is_added_up_over_the_nodes_that_are_known_even_where_it_is_folded() {
        let now = Instant::now();
        let mut down = node("down", &[9], 2, now);
        down.fail(Failure { reason: Reason::Closed, message: String::new() }, jiff::Timestamp::UNIX_EPOCH);
        // On both nodes c is in (other), and it is the largest of all.
        let nodes = [node("one", &[5, 0, 4, 6], 2, now), node("two", &[0, 6, 4, 1], 2, now), down];
        let expected = [("c", 8), ("d", 7), (OTHER, 11)].map(|(app, count)| (app.to_owned(), count));
        assert_eq!(largest(&nodes, now), Some((expected.to_vec(), 2)));
        assert_eq!(largest(&nodes[..1], now), None, "one node has its own series");
        let one = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, nodes);
        assert!(one.target_apps(now).is_empty(), "each address is a target of its own");
    }

    proptest! {
        /// The sum over the applications is the number of application clients of the nodes, and the number of series is
        /// bounded.
        #[test]
        fn nothing_is_lost_between_the_nodes_and_their_target(
            fleet in vec(vec(0_u64..5, 0..20), 2..6),
            groups in 0_usize..8,
        ) {
            let now = Instant::now();
            let nodes: Vec<_> = fleet.iter().map(|apps| node("n", apps, groups, now)).collect();
            let (apps, folded) = largest(&nodes, now).expect("several nodes");
            prop_assert!(apps.len() <= groups + 1);
            prop_assert_eq!(apps.iter().map(|(_, count)| count).sum::<u64>(), fleet.iter().flatten().sum::<u64>());
            let has = |app: usize, apps: &Vec<u64>| apps.get(app).is_some_and(|count| *count > 0);
            let all = (0..20).filter(|app| fleet.iter().any(|apps| has(*app, apps))).count();
            prop_assert_eq!(apps.iter().filter(|(app, _)| app != OTHER).count() + folded, all);
        }
    }
}
