//! Applications over several nodes, and expected ones over all nodes. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::{NodeState, Nodes, TargetState};
use crate::snapshot::Snapshot;
use crate::text::OTHER;

/// The applications of several nodes: their connections to those that have a current sample of all clients.
#[derive(Clone, Debug, Default)]
pub struct FleetApps<'a> {
    /// The number of nodes.
    pub nodes: usize,
    /// The number of those whose clients are known.
    pub known: usize,
    /// The application clients by application; complete, not folded.
    connections: HashMap<&'a str, AppSum>,
    /// The largest group limit of the nodes.
    pub limit: usize,
}

/// An application over several nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppSum {
    /// Its connections to all nodes.
    pub connections: u64,
    /// The number of nodes that it is connected to.
    pub nodes: u64,
}

impl<'a> FleetApps<'a> {
    /// The applications of these nodes.
    pub fn of(nodes: impl Iterator<Item = &'a NodeState>, now: Instant) -> Self {
        let mut apps = Self::default();
        nodes.for_each(|node| apps.add(node.fresh_snapshot(now).map(|snapshot| &**snapshot)));
        apps
    }

    fn add(&mut self, snapshot: Option<&'a Snapshot>) {
        self.nodes += 1;
        let Some(snapshot) = snapshot.filter(|snapshot| snapshot.client_counts.is_some()) else { return };
        self.known += 1;
        self.limit = self.limit.max(snapshot.presence.limit);
        for (app, count) in snapshot.clients().into_iter().flat_map(|clients| clients.connections_by_app()) {
            let sum = self.connections.entry(app).or_default();
            sum.connections += count;
            sum.nodes += u64::from(count > 0);
        }
    }

    /// The connections of an application.
    pub fn sum(&self, app: &str) -> AppSum {
        self.connections.get(app).copied().unwrap_or_default()
    }

    /// True if an application is known to have no connection to any of the nodes. An application that moved to
    /// another node is not offline, and a node that is not known may have it.
    pub fn is_offline(&self, app: &str) -> bool {
        self.known == self.nodes && self.sum(app).connections == 0
    }

    /// The matching applications up to the group limit, the most connections first, then the others together as
    /// `(other)`, of which the number of nodes is not counted; and the number of the others.
    pub fn largest(&self, matches: impl Fn(&str) -> bool) -> (Vec<(&'a str, AppSum)>, usize) {
        let all = self.connections.iter().filter(|(app, _)| matches(app));
        let mut apps: Vec<_> = all.map(|(app, sum)| (*app, *sum)).collect();
        apps.sort_unstable_by_key(|(app, sum)| (Reverse(sum.connections), *app));
        let others = apps.split_off(self.limit.min(apps.len()));
        if !others.is_empty() {
            let connections = others.iter().map(|(_, sum)| sum.connections).sum();
            apps.push((OTHER, AppSum { connections, nodes: 0 }));
        }
        (apps, others.len())
    }
}

/// An application that is expected on all nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetExpectation<'a> {
    /// The application.
    pub app: &'a str,
    /// The minimum number of its connections.
    pub minimum: u64,
    /// Its connections to all nodes; `None` while some node is not known and the others have fewer than the minimum.
    pub connections: Option<u64>,
}

impl FleetExpectation<'_> {
    /// True if it is known that there are too few connections.
    pub fn is_missing(&self) -> bool {
        self.connections.is_some_and(|connections| connections < self.minimum)
    }
}

impl Nodes {
    /// The applications that are expected on all nodes together, by name.
    pub fn fleet_expectations(&self, now: Instant) -> Vec<FleetExpectation<'_>> {
        let mut expected = BTreeMap::<&str, (u64, u64)>::new();
        let mut is_known = self.targets.iter().all(TargetState::is_known);
        for node in self.iter() {
            let current = node.fresh_snapshot(now).filter(|snapshot| snapshot.client_counts.is_some());
            is_known &= current.is_some();
            for seen in node.last_snapshot().into_iter().flat_map(|snapshot| &snapshot.presence.shown) {
                let Some(minimum) = seen.expected.on_all_nodes else { continue };
                let (_, connections) = expected.entry(&seen.app).or_insert((minimum, 0));
                *connections += current.map_or(0, |_| seen.now.connections);
            }
        }
        let of_app = |(app, (minimum, connections))| {
            let connections = (is_known || connections >= minimum).then_some(connections);
            FleetExpectation { app, minimum, connections }
        };
        expected.into_iter().map(of_app).collect()
    }

    /// The applications of each target that has several nodes, by the name of the target. For one node they are those
    /// of the node.
    pub fn target_apps(&self, now: Instant) -> BTreeMap<&str, FleetApps<'_>> {
        by_target(self.iter().map(|node| (node.target(), node)), now)
    }

    /// The applications of one target, if it has several nodes.
    pub fn apps_of_target(&self, target: &str, now: Instant) -> BTreeMap<&str, FleetApps<'_>> {
        by_target(self.iter().map(|node| (node.target(), node)).filter(|(of, _)| *of == target), now)
    }
}

/// See [`Nodes::target_apps`].
pub(crate) fn by_target<'a>(
    nodes: impl Iterator<Item = (&'a str, &'a NodeState)> + Clone,
    now: Instant,
) -> BTreeMap<&'a str, FleetApps<'a>> {
    let mut counts = BTreeMap::<&str, usize>::new();
    nodes.clone().for_each(|(target, _)| *counts.entry(target).or_default() += 1);
    let mut targets = BTreeMap::<&str, FleetApps<'_>>::new();
    for (target, node) in nodes.filter(|(target, _)| counts[target] > 1) {
        targets.entry(target).or_default().add(node.fresh_snapshot(now).map(|snapshot| &**snapshot));
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
    use crate::latest::Latest;
    use crate::sample::Sample;
    use crate::snapshot::{Expectation, Limits, derive};

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
        let (apps, folded) = targets.get("shop")?.largest(|_| true);
        Some((apps.into_iter().map(|(app, sum)| (app.to_owned(), sum.connections)).collect(), folded))
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

    #[test]
    fn the_nodes_of_an_application_are_counted_and_a_search_finds_what_would_be_folded() {
        let now = Instant::now();
        let nodes = [node("one", &[5, 0, 1], 1, now), node("two", &[2, 3, 1], 1, now)];
        let apps = FleetApps::of(nodes.iter(), now);
        assert_eq!((apps.nodes, apps.known), (2, 2));
        let sum = |connections, nodes| AppSum { connections, nodes };
        assert_eq!(apps.largest(|_| true), (vec![("a", sum(7, 2)), (OTHER, sum(5, 0))], 2));
        assert_eq!(apps.largest(|app| app == "c"), (vec![("c", sum(2, 2))], 0));
        assert_eq!((apps.sum("b"), apps.sum("none")), (sum(3, 1), sum(0, 0)));
    }

    #[test]
    fn an_application_is_offline_only_if_no_node_of_the_target_may_have_it() {
        let now = Instant::now();
        let (old, new) = (node("old", &[0, 2], 50, now), node("new", &[3, 2], 50, now));
        let is_offline = |nodes: &[&NodeState], app| {
            by_target(nodes.iter().map(|node| ("shop", *node)), now)["shop"].is_offline(app)
        };
        assert!(!is_offline(&[&old, &new], "a"), "it moved");
        assert!(is_offline(&[&old, &old], "a"));
        let mut down = old.clone();
        down.fail(Failure { reason: Reason::Closed, message: String::new() }, jiff::Timestamp::UNIX_EPOCH);
        assert!(!is_offline(&[&old, &down], "a"), "the node that is down may have it");
    }

    #[test]
    fn an_expectation_is_met_by_the_sum_over_all_nodes_and_unknown_while_one_may_have_the_missing_ones() {
        let now = Instant::now();
        let expecting = |name: &str, connections: usize, minimum: u64| {
            let rows: String = (1..=connections).map(|id| format!("id={id} addr=10.0.0.1:{id} name=a\n")).collect();
            let sample = Sample::of(jiff::Timestamp::UNIX_EPOCH, Listing::new(rows.into()));
            let expected = vec![Expectation::on_all_nodes("a", minimum)];
            let snapshot = derive(None, Arc::new(sample), &Limits { expected, ..Limits::default() });
            let mut state = NodeState::starting(name.into());
            state.succeed(Arc::new(snapshot), now + Duration::from_secs(60));
            state
        };
        let expectation = |nodes: &[&NodeState], now| {
            let nodes = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, nodes.iter().map(|node| (*node).clone()));
            let all = nodes.fleet_expectations(now);
            all.first().map(|of| (of.minimum, of.connections, of.is_missing()))
        };
        let (one, none) = (expecting("one", 2, 3), expecting("two", 0, 3));
        assert_eq!(expectation(&[&one, &expecting("two", 1, 3)], now), Some((3, Some(3), false)));
        assert_eq!(expectation(&[&one, &none], now), Some((3, Some(2), true)));
        let mut down = none.clone();
        down.fail(Failure { reason: Reason::Closed, message: String::new() }, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(expectation(&[&one, &down], now), Some((3, None, false)), "the missing one may be there");
        assert_eq!(expectation(&[&expecting("one", 3, 3), &down], now), Some((3, Some(3), false)), "met anyway");
        let starting = NodeState::starting("two".into());
        assert_eq!(expectation(&[&one, &starting], now), Some((3, None, false)));
        let later = now + Duration::from_secs(60);
        assert_eq!(expectation(&[&one, &none], later), Some((3, None, false)), "the samples are too old");
        assert_eq!(expectation(&[&starting], now), None);
    }

    /// The nodes of another target, which are not known, may have the missing connections.
    #[test]
    fn an_expectation_is_unknown_while_nodes_are_not_discovered() {
        let now = Instant::now();
        let known = TargetState {
            name: "c".into(),
            nodes: 0,
            working: 0,
            dropped: [("max_nodes", 0)].into(),
            errors: 0,
            removed: 0,
            last_success: Some(jiff::Timestamp::UNIX_EPOCH),
            failure: None,
        };
        let failure = Some(Failure { reason: Reason::Connect, message: String::new() });
        let expected = vec![Expectation::on_all_nodes("a", 3)];
        let sample = Sample::of(jiff::Timestamp::UNIX_EPOCH, Listing::new("id=1 addr=10.0.0.1:1 name=a\n".into()));
        let snapshot = Arc::new(derive(None, Arc::new(sample), &Limits { expected, ..Limits::default() }));
        for (target, is_missing) in [
            (known.clone(), true),
            (TargetState { last_success: None, ..known.clone() }, false),
            (TargetState { failure: failure.clone(), ..known.clone() }, false),
            (TargetState { failure, nodes: 6, ..known.clone() }, true),
            (TargetState { dropped: [("max_nodes", 1)].into(), ..known }, false),
        ] {
            let latest = Latest::default();
            let id = latest.add("one".into(), None, jiff::Timestamp::UNIX_EPOCH).expect("a new node");
            let mut state = NodeState::starting("one".into());
            state.succeed(Arc::clone(&snapshot), now + Duration::from_secs(60));
            latest.publish(id, state, jiff::Timestamp::UNIX_EPOCH);
            latest.set_targets(vec![target.clone()], jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(latest.read().fleet_expectations(now)[0].is_missing(), is_missing, "{target:?}");
        }
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
