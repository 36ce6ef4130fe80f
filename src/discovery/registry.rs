//! The list of watched nodes: merges the results of all targets into one list of nodes. Pure; time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::{DiscoverySettings, DropReason, FoundNode, Target, TargetKind, Topology};
use crate::failure::Failure;
use crate::latest::TargetState;
use crate::link::{Node, Origin};
use crate::machine::Machine;

/// A node is removed when so many successful discoveries in a row did not find it: one answer may be partial.
const MAX_MISSED: u32 = 2;

/// The targets, with what their discoveries found.
#[derive(Debug)]
pub struct Registry {
    settings: DiscoverySettings,
    machine: Machine,
    targets: Vec<TargetRecord>,
    /// The names of the nodes in the last list.
    listed: BTreeSet<Arc<str>>,
    /// Nodes in the last list that a target found and another one had already, with the one that found it.
    duplicates: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Those that were reported.
    reported: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// A target, with what its discoveries found.
#[derive(Debug)]
struct TargetRecord {
    target: Target,
    /// The nodes by the text of their address.
    nodes: BTreeMap<String, KnownNode>,
    dropped: BTreeMap<DropReason, u64>,
    /// Number of nodes beyond the limit in the last list.
    above_limit: u64,
    errors: u64,
    removed: u64,
    failure: Option<Failure>,
    succeeded: Option<(Instant, Timestamp)>,
}

/// A node that a discovery found.
#[derive(Debug)]
struct KnownNode {
    node: Node,
    /// The number of successful discoveries in a row that did not find it.
    missed: u32,
    /// True if its cluster says that it does not work.
    is_failed: bool,
}

impl Registry {
    /// No targets.
    pub fn new(settings: DiscoverySettings, machine: Machine) -> Self {
        let (listed, duplicates, reported) = Default::default();
        Self { settings, machine, targets: Vec::new(), listed, duplicates, reported }
    }

    /// Replaces the targets. Of those that stay, everything that was found is kept. A target whose addresses are the
    /// same, but whose kind or encryption is not, is another one.
    pub fn set_targets(&mut self, targets: &[Target]) {
        let mut before: BTreeMap<Arc<str>, TargetRecord> =
            self.targets.drain(..).map(|record| (Arc::clone(&record.target.name), record)).collect();
        for target in targets {
            let record = match before.remove(&target.name) {
                Some(record) if record.target.finds_same(target) => record.with_target(target.clone()),
                _ => TargetRecord::new(target.clone()),
            };
            self.targets.push(record);
        }
    }

    /// The targets whose nodes must be discovered.
    pub fn discovering(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().map(|record| &record.target).filter(|target| target.node().is_none())
    }

    /// Records the result of a discovery. Returns true if it should be repeated at once, since nodes are missing.
    pub fn record(
        &mut self,
        target: &str,
        result: Result<Topology, Failure>,
        now: Instant,
        wall_now: Timestamp,
    ) -> bool {
        let forget_after = self.settings.forget_after;
        let Some(record) = self.targets.iter_mut().find(|record| &*record.target.name == target) else { return false };
        match result {
            Ok(topology) => {
                record.failure = None;
                record.succeeded = Some((now, wall_now));
                record.update(&topology, &self.settings, &self.machine)
            }
            Err(failure) => {
                record.failure = Some(failure);
                record.errors += 1;
                let is_forgotten = |(at, _): (Instant, Timestamp)| now.saturating_duration_since(at) >= forget_after;
                if record.succeeded.is_some_and(is_forgotten) {
                    record.removed += record.nodes.len() as u64;
                    record.nodes.clear();
                }
                false
            }
        }
    }

    /// The nodes to watch: servers that were given, then discovered ones up to the limit, first those that are watched
    /// already. A node that several targets name is the first one's.
    pub fn list(&mut self) -> Vec<Node> {
        let mut merged = Merged::default();
        let given = self.targets.iter().filter_map(|record| record.target.node());
        let mut list: Vec<Node> = given.filter(|node| merged.add(node)).cloned().collect();
        let mut duplicates = BTreeSet::new();
        let mut of_targets: Vec<Vec<Node>> = Vec::new();
        for record in &self.targets {
            let (own, others): (Vec<&Node>, Vec<&Node>) =
                record.nodes.values().map(|known| &known.node).partition(|node| merged.add(node));
            let target = &record.target.name;
            duplicates.extend(others.into_iter().map(|node| (Arc::clone(&node.name), Arc::clone(target))));
            of_targets.push(own.into_iter().cloned().collect());
        }
        self.duplicates = duplicates;
        // In turn, so that a target with very many nodes does not take the places of others.
        let turns = of_targets.iter().map(Vec::len).max().unwrap_or_default();
        let in_turn: Vec<(usize, &Node)> = (0..turns)
            .flat_map(|turn| of_targets.iter().enumerate().filter_map(move |(of, nodes)| Some((of, nodes.get(turn)?))))
            .collect();
        let (watched, new): (Vec<_>, Vec<_>) =
            in_turn.into_iter().partition(|(_, node)| self.listed.contains(&node.name));
        self.targets.iter_mut().for_each(|record| record.above_limit = 0);
        for (place, (of, node)) in watched.into_iter().chain(new).enumerate() {
            if place < self.settings.max_nodes {
                list.push(node.clone());
            } else {
                self.targets[of].above_limit += 1;
            }
        }
        self.listed = list.iter().map(|node| Arc::clone(&node.name)).collect();
        list
    }

    /// Nodes that several targets found, as `(node, target that does not get it)`, in the last list but not in the one
    /// of the last call.
    pub fn new_duplicates(&mut self) -> Vec<(Arc<str>, Arc<str>)> {
        let new = self.duplicates.difference(&self.reported).cloned().collect();
        self.reported.clone_from(&self.duplicates);
        new
    }

    /// The known nodes of a target, those first that work.
    pub fn known(&self, target: &str) -> Vec<Node> {
        let record = self.targets.iter().find(|record| &*record.target.name == target);
        let mut known: Vec<_> = record.into_iter().flat_map(|record| record.nodes.values()).collect();
        known.sort_by_key(|known| known.is_failed);
        known.into_iter().map(|known| known.node.clone()).collect()
    }

    /// The state of each target whose nodes are discovered.
    pub fn states(&self) -> Vec<TargetState> {
        let discovering = self.targets.iter().filter(|record| record.target.node().is_none());
        discovering.map(TargetRecord::state).collect()
    }
}

impl TargetRecord {
    fn new(target: Target) -> Self {
        Self {
            target,
            nodes: BTreeMap::new(),
            dropped: BTreeMap::new(),
            above_limit: 0,
            errors: 0,
            removed: 0,
            failure: None,
            succeeded: None,
        }
    }

    /// Replaces the target by one with the same name, perhaps with other credentials or labels.
    fn with_target(mut self, target: Target) -> Self {
        for known in self.nodes.values_mut() {
            let address = target.access.to(known.node.address.endpoint.clone());
            if !known.node.address.is_same(&address) {
                known.node.address = address;
            }
            let cluster = target.cluster();
            let origin = Origin { cluster, labels: Arc::clone(&target.labels), ..(*known.node.origin).clone() };
            known.node.origin = Arc::new(origin);
        }
        Self { target, ..self }
    }

    fn update(&mut self, topology: &Topology, settings: &DiscoverySettings, machine: &Machine) -> bool {
        self.dropped = topology.dropped();
        let mut unseen: BTreeSet<String> = self.nodes.keys().cloned().collect();
        for found in topology.nodes() {
            let key = found.endpoint.to_string();
            unseen.remove(&key);
            let dropped = match self.nodes.get(&key) {
                _ if !settings.roles.permits(found.role) => Some(DropReason::Role),
                None if found.is_failed => Some(DropReason::Failed),
                _ => None,
            };
            match dropped {
                Some(reason) => {
                    *self.dropped.entry(reason).or_default() += 1;
                    self.removed += u64::from(self.nodes.remove(&key).is_some());
                }
                None => self.keep(key, found, machine),
            }
        }
        for key in &unseen {
            let Some(known) = self.nodes.get_mut(key) else { continue };
            known.missed += 1;
            if known.missed >= MAX_MISSED {
                self.nodes.remove(key);
                self.removed += 1;
            }
        }
        self.nodes.values().any(|known| known.missed > 0)
    }

    fn keep(&mut self, key: String, found: &FoundNode, machine: &Machine) {
        let origin = Origin {
            target: Arc::clone(&self.target.name),
            cluster: self.target.cluster(),
            shard: Arc::clone(&found.shard),
            node_id: Arc::clone(&found.node_id),
            availability_zone: Arc::clone(&found.availability_zone),
            is_discovered: true,
            is_in_cluster: matches!(self.target.kind, TargetKind::Cluster { .. }),
            labels: Arc::clone(&self.target.labels),
        };
        let known = self.nodes.entry(key).or_insert_with(|| KnownNode {
            node: Node::on_machine(self.target.access.to(found.endpoint.clone()), machine),
            missed: 0,
            is_failed: false,
        });
        known.missed = 0;
        known.is_failed = found.is_failed;
        if *known.node.origin != origin {
            known.node.origin = Arc::new(origin);
        }
    }

    fn state(&self) -> TargetState {
        let dropped = |reason: DropReason| {
            let above_limit = if reason == DropReason::MaxNodes { self.above_limit } else { 0 };
            self.dropped.get(&reason).copied().unwrap_or_default() + above_limit
        };
        TargetState {
            name: Arc::clone(&self.target.name),
            nodes: (self.nodes.len() as u64).saturating_sub(self.above_limit),
            working: self.nodes.len() as u64
                + [DropReason::Role, DropReason::MaxNodes]
                    .into_iter()
                    .filter_map(|reason| self.dropped.get(&reason))
                    .sum::<u64>(),
            dropped: DropReason::ALL.map(|reason| (reason.label(), dropped(reason))).into(),
            errors: self.errors,
            removed: self.removed,
            last_success: self.succeeded.map(|(_, at)| at),
            failure: self.failure.clone(),
        }
    }
}

/// The nodes of a list in which each server is once.
#[derive(Default)]
struct Merged {
    names: BTreeSet<Arc<str>>,
    addresses: BTreeSet<String>,
}

impl Merged {
    fn has(&self, node: &Node) -> bool {
        self.names.contains(&node.name) || self.addresses.contains(&node.address.endpoint.key())
    }

    /// Adds a node. Returns false if it is in the list.
    fn add(&mut self, node: &Node) -> bool {
        // A server that the operator named is watched under this name, and perhaps under a second one.
        let is_given = !node.origin.is_discovered;
        if self.names.contains(&node.name) || !is_given && self.has(node) {
            return false;
        }
        self.names.insert(Arc::clone(&node.name));
        self.addresses.insert(node.address.endpoint.key());
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Access, Role, RoleFilter, parse_target};
    use super::*;
    use crate::failure::Reason;
    use crate::link::{Endpoint, TlsOptions};

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::Tcp { host: "10.0.0.1".to_owned(), port, tls: false }
    }

    fn access() -> Access {
        Access { credentials: None, sentinel_credentials: None, tls: TlsOptions::default(), timeout: SECOND }
    }

    fn cluster(name: &str) -> Target {
        let kind = TargetKind::Cluster { seeds: vec![endpoint(1)] };
        Target { name: name.into(), kind, access: access(), labels: Arc::default() }
    }

    fn found(port: u16) -> FoundNode {
        let [shard, node_id, availability_zone] = [(); 3].map(|()| Arc::default());
        let role = Some(if port.is_multiple_of(2) { Role::Replica } else { Role::Primary });
        FoundNode { endpoint: endpoint(port), role, is_failed: false, shard, node_id, availability_zone }
    }

    fn topology(nodes: impl IntoIterator<Item = FoundNode>) -> Result<Topology, Failure> {
        let mut topology = Topology::default();
        nodes.into_iter().for_each(|node| topology.add(node));
        Ok(topology)
    }

    fn failure() -> Result<Topology, Failure> {
        Err(Failure { reason: Reason::Connect, message: String::new() })
    }

    struct Run {
        registry: Registry,
        now: Instant,
    }

    impl Run {
        fn of(settings: DiscoverySettings, targets: &[Target]) -> Self {
            let mut registry = Registry::new(settings, Machine { name: "m".to_owned(), is_container: false });
            registry.set_targets(targets);
            Self { registry, now: Instant::now() }
        }

        fn record(&mut self, target: &str, result: Result<Topology, Failure>) -> bool {
            self.now += SECOND;
            self.registry.record(target, result, self.now, Timestamp::UNIX_EPOCH)
        }

        fn ports(&mut self) -> Vec<u16> {
            let ports = self.registry.list().into_iter().map(|node| match node.address.endpoint {
                Endpoint::Tcp { port, .. } => port,
                Endpoint::Unix(_) => 0,
            });
            ports.collect()
        }

        fn state(&self) -> TargetState {
            self.registry.states().remove(0)
        }
    }

    #[test]
    fn a_node_that_two_discoveries_miss_is_removed_and_one_that_returns_is_the_same() {
        let mut run = Run::of(DiscoverySettings::default(), &[cluster("c")]);
        assert!(!run.record("c", topology([found(1), found(2)])));
        assert_eq!(run.ports(), [1, 2]);
        let before = run.registry.known("c");
        assert!(run.record("c", topology([found(1)])), "asked again at once");
        assert_eq!(run.ports(), [1, 2]);
        assert!(!run.record("c", topology([found(1), found(2)])));
        assert!(Arc::ptr_eq(&run.registry.known("c")[1].admission, &before[1].admission));
        run.record("c", topology([found(1)]));
        assert!(!run.record("c", topology([found(1)])));
        assert_eq!((run.ports(), run.state().removed), (vec![1], 1));
    }

    #[test]
    fn while_discovery_fails_the_last_topology_is_kept_until_it_is_forgotten() {
        let settings = DiscoverySettings { forget_after: 4 * SECOND, ..DiscoverySettings::default() };
        let mut run = Run::of(settings, &[cluster("c")]);
        run.record("c", failure());
        assert_eq!((run.ports(), run.state().errors, run.state().last_success), (vec![], 1, None));
        run.record("c", topology([found(1)]));
        for _ in 0..3 {
            run.record("c", failure());
            assert_eq!(run.ports(), [1]);
        }
        run.record("c", failure());
        assert_eq!((run.ports(), run.state().errors, run.state().removed), (vec![], 5, 1));
        assert!(run.state().last_success.is_some() && run.state().failure.is_some());
        run.record("c", topology([found(1)]));
        assert_eq!((run.ports(), run.state().failure), (vec![1], None));
    }

    #[test]
    fn a_failed_node_is_kept_as_long_as_it_is_listed_if_it_was_watched_and_else_left_out() {
        let settings = DiscoverySettings { forget_after: 3 * SECOND, ..DiscoverySettings::default() };
        let mut run = Run::of(settings, &[cluster("c")]);
        let failed = |port| FoundNode { is_failed: true, ..found(port) };
        run.record("c", topology([found(1), failed(3)]));
        assert_eq!((run.ports(), run.state().dropped[0]), (vec![1], ("failed", 1)));
        for _ in 0..10 {
            run.record("c", topology([failed(1), failed(3)]));
            assert_eq!(run.ports(), [1], "shown as down");
        }
        run.record("c", topology([failed(3)]));
        run.record("c", topology([failed(3)]));
        assert_eq!((run.ports(), run.state().removed), (vec![], 1), "its cluster forgot it");
    }

    #[test]
    fn a_target_with_many_nodes_does_not_take_the_places_of_others() {
        let settings = DiscoverySettings { max_nodes: 4, ..DiscoverySettings::default() };
        let mut run = Run::of(settings, &[cluster("c"), cluster("d")]);
        for (target, ports) in [("c", 101..200), ("d", 201..203)] {
            run.registry.record(target, topology(ports.map(found)), run.now, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(run.ports(), [101, 201, 102, 202]);
        assert_eq!(run.registry.states()[1].dropped[5], ("max_nodes", 0));
    }

    #[test]
    fn the_limit_keeps_what_is_watched_and_counts_the_rest() {
        let settings = DiscoverySettings { max_nodes: 2, ..DiscoverySettings::default() };
        let mut run = Run::of(settings, &[cluster("c")]);
        run.record("c", topology([found(7), found(9)]));
        assert_eq!(run.ports(), [7, 9]);
        run.record("c", topology([found(1), found(3), found(7), found(9)]));
        assert_eq!(run.ports(), [7, 9]);
        let state = run.state();
        assert_eq!((state.nodes, state.dropped[5]), (2, ("max_nodes", 2)));
    }

    #[test]
    fn roles_are_filtered_and_a_node_that_changes_its_role_leaves_at_once() {
        let settings = DiscoverySettings { roles: RoleFilter::Primary, ..DiscoverySettings::default() };
        let mut run = Run::of(settings, &[cluster("c")]);
        run.record("c", topology([found(1), found(2)]));
        assert_eq!(run.ports(), [1]);
        run.record("c", topology([FoundNode { role: Some(Role::Replica), ..found(1) }, found(3)]));
        assert_eq!((run.ports(), run.state().dropped[4]), (vec![3], ("role", 1)));
    }

    #[test]
    fn a_server_that_several_targets_name_is_one_node() {
        let given = Target::server(Node::named("billing", access().to(endpoint(2))));
        let mut run = Run::of(DiscoverySettings::default(), &[cluster("c"), given, cluster("d")]);
        run.record("c", topology([found(1), found(2)]));
        run.record("d", topology([found(1), found(3)]));
        let names: Vec<_> = run.registry.list().into_iter().map(|node| node.name.to_string()).collect();
        assert_eq!(names, ["billing", "10.0.0.1:1", "10.0.0.1:3"]);
        let duplicates: Vec<_> = run.registry.new_duplicates().iter().map(|(node, _)| node.to_string()).collect();
        assert_eq!(duplicates, ["10.0.0.1:1", "10.0.0.1:2"]);
        assert!(run.registry.new_duplicates().is_empty(), "reported once");
        let target_of = |run: &mut Run, name: &str| {
            let node = run.registry.list().into_iter().find(|node| &*node.name == name).expect("it is watched");
            node.origin.target.to_string()
        };
        assert_eq!(target_of(&mut run, "10.0.0.1:3"), "d");
        run.record("c", topology([1, 2, 3, 4].map(found)));
        assert_eq!(target_of(&mut run, "10.0.0.1:3"), "c", "the first target's, although it is not its first node");
    }

    #[test]
    fn targets_that_stay_keep_their_nodes_and_get_new_credentials() {
        let mut run = Run::of(DiscoverySettings::default(), &[cluster("c"), cluster("d")]);
        run.record("c", topology([found(1)]));
        run.record("d", topology([found(3)]));
        let mut changed = cluster("d");
        changed.access.tls.insecure_skip_verify = true;
        run.registry.set_targets(&[changed]);
        assert_eq!(run.ports(), [3]);
        assert!(run.registry.list()[0].address.tls.insecure_skip_verify);
        assert!(!run.record("c", topology([found(1)])), "a late result of a removed target");
        assert_eq!(run.ports(), [3]);
    }

    #[test]
    fn a_target_with_the_same_addresses_but_another_kind_or_encryption_is_another_one() {
        let target = |form: &str| {
            let form = parse_target(form).expect("a target").form;
            Target::new(form, access(), None, &Machine::default())
        };
        let mut run = Run::of(DiscoverySettings::default(), &[target("redis+cluster://10.0.0.1:1")]);
        run.record("10.0.0.1:1", topology([found(1), found(2)]));
        assert_eq!(run.ports(), [1, 2]);
        run.registry.set_targets(&[target("rediss+cluster://10.0.0.1:1")]);
        assert_eq!(run.ports(), [0; 0], "its nodes were found without TLS");
        run.registry.set_targets(&[target("redis+cluster://10.0.0.1:1")]);
        run.record("10.0.0.1:1", topology([found(1), found(2)]));
        run.registry.set_targets(&[target("redis://10.0.0.1:1")]);
        assert_eq!(run.ports(), [1], "it is one server now");
        for name in ["dns://redis.example:1", "srv://redis.example"] {
            let plain = target(&format!("redis+{name}"));
            let mut run = Run::of(DiscoverySettings::default(), std::slice::from_ref(&plain));
            run.record(&plain.name, topology([found(1)]));
            assert_eq!(run.ports(), [1]);
            run.registry.set_targets(&[target(&format!("rediss+{name}"))]);
            assert_eq!(run.ports(), [0; 0], "{name}: its nodes were found without TLS");
        }
    }
}
