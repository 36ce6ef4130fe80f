//! The tasks that discover targets again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use super::sentinel::Sentinels;
use super::{DiscoverySettings, Registry, Target, TargetKind, Topology, cluster, dns, sentinel};
use crate::backoff::Backoff;
use crate::clock;
use crate::failure::Failure;
use crate::latest::{Latest, NodeId, NodeState, Phase};
use crate::link::{Endpoint, Node};
use crate::machine::Machine;

/// The shortest time between two discoveries of a target.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of results that wait to be recorded.
const RESULTS: usize = 16;

/// Discovers the nodes of targets until it is dropped.
pub struct Discovery {
    registry: Registry,
    settings: DiscoverySettings,
    targets: watch::Receiver<Vec<Target>>,
    latest: Arc<Latest>,
    list: watch::Sender<Vec<Node>>,
    followed: BTreeMap<Arc<str>, Followed>,
    tasks: JoinSet<()>,
    results: (mpsc::Sender<Discovered>, mpsc::Receiver<Discovered>),
    /// The state of the nodes at the last change: a difference is a reason to discover their target again.
    seen: BTreeMap<NodeId, Watermark>,
}

/// The result of a discovery of a target.
type Discovered = (Arc<str>, Result<Topology, Failure>);

/// A target with its running task.
struct Followed {
    target: Target,
    task: AbortHandle,
    /// Requests a discovery before the next one is due.
    request: Arc<Notify>,
    /// The known nodes, which can be asked, too.
    known: watch::Sender<Vec<Node>>,
    /// The last failure that was logged.
    logged: Option<String>,
}

/// The properties of a node that change with the topology: whether it fails, its role and its `run_id`.
type Watermark = (bool, Option<String>, Option<String>);

impl Discovery {
    /// Prepares the discovery of targets. Servers that are given are in the list from the beginning.
    pub fn new(
        mut targets: watch::Receiver<Vec<Target>>,
        settings: DiscoverySettings,
        machine: Machine,
        latest: Arc<Latest>,
    ) -> (Self, watch::Receiver<Vec<Node>>) {
        let mut registry = Registry::new(settings.clone(), machine);
        registry.set_targets(&targets.borrow_and_update());
        let (list, nodes) = watch::channel(registry.list());
        latest.set_targets(registry.states(), clock::now());
        let mut discovery = Self {
            registry,
            settings,
            targets,
            latest,
            list,
            followed: BTreeMap::new(),
            tasks: JoinSet::new(),
            results: mpsc::channel(RESULTS),
            seen: BTreeMap::new(),
        };
        discovery.follow_targets();
        (discovery, nodes)
    }

    /// Discovers until the future is dropped.
    pub async fn run(mut self) {
        let mut changes = self.latest.changes();
        let mut is_final = false;
        loop {
            tokio::select! {
                Some((target, result)) = self.results.1.recv() => self.record(&target, result),
                changed = self.targets.changed(), if !is_final => match changed {
                    Ok(()) => {
                        let targets = self.targets.borrow_and_update().clone();
                        self.registry.set_targets(&targets);
                        self.follow_targets();
                        self.publish();
                    }
                    Err(_) => is_final = true,
                },
                // It cannot fail: `latest` lives as long as this future.
                _ = changes.changed() => self.request_where_nodes_changed(),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        warn!("a discovery ended unexpectedly; it starts again; please report this as a bug");
                        self.followed.retain(|_, followed| !followed.task.is_finished());
                        self.follow_targets();
                    }
                }
            }
        }
    }

    /// Starts the tasks of new targets, and stops those of removed ones.
    fn follow_targets(&mut self) {
        let targets: BTreeMap<_, _> =
            self.registry.discovering().map(|target| (Arc::clone(&target.name), target.clone())).collect();
        self.followed.retain(|name, followed| {
            let stays = targets.get(name).is_some_and(|target| target.is_same(&followed.target));
            if !stays {
                followed.task.abort();
            }
            stays
        });
        for (name, target) in targets {
            if self.followed.contains_key(&name) {
                continue;
            }
            let (request, (known, nodes)) = (Arc::new(Notify::new()), watch::channel(self.registry.known(&name)));
            let follow =
                follow(target.clone(), self.settings.clone(), nodes, Arc::clone(&request), self.results.0.clone());
            let task = self.tasks.spawn(follow);
            self.followed.insert(name, Followed { target, task, request, known, logged: None });
        }
    }

    fn record(&mut self, target: &str, result: Result<Topology, Failure>) {
        let Some(followed) = self.followed.get_mut(target) else { return };
        followed.log(&result);
        if self.registry.record(target, result, Instant::now(), clock::now()) {
            followed.request.notify_one();
        }
        followed.known.send_replace(self.registry.known(target));
        self.publish();
    }

    fn publish(&mut self) {
        self.list.send_replace(self.registry.list());
        for (node, target) in self.registry.new_duplicates() {
            info!(node = &*node, target = &*target, "this node is found by several targets; it is watched once");
        }
        self.latest.set_targets(self.registry.states(), clock::now());
    }

    /// A node that fails, has another role, or was restarted is a sign of a change of the topology.
    fn request_where_nodes_changed(&mut self) {
        let nodes = self.latest.read();
        let mut seen = BTreeMap::new();
        for (id, node) in nodes.with_ids().filter(|(_, node)| node.origin.is_discovered) {
            let before = self.seen.remove(&id);
            let now = seen_of(node).or_else(|| before.clone());
            if before.is_some()
                && before != now
                && let Some(followed) = self.followed.get(&node.origin.target)
            {
                followed.request.notify_one();
            }
            seen.extend(now.map(|now| (id, now)));
        }
        self.seen = seen;
    }
}

fn seen_of(node: &NodeState) -> Option<Watermark> {
    let info = |node: &NodeState| {
        let info = node.last_snapshot().and_then(|snapshot| snapshot.sample.info.as_ref().ok());
        (info.and_then(|info| info.role.clone()), info.and_then(|info| info.run_id.clone()))
    };
    match node.phase {
        Phase::Starting => None,
        Phase::Fresh { .. } | Phase::Failing { .. } => {
            let (role, run_id) = info(node);
            Some((matches!(node.phase, Phase::Failing { .. }), role, run_id))
        }
    }
}

impl Followed {
    /// Logs changes only: a failure when it begins, another failure, and its end.
    fn log(&mut self, result: &Result<Topology, Failure>) {
        let name = &*self.target.name;
        match result {
            Ok(topology) if self.logged.take().is_some() => {
                info!(target = name, nodes = topology.nodes().len(), "discovery succeeds again");
            }
            Ok(_) => {}
            Err(failure) if self.logged.as_ref() == Some(&failure.message) => {}
            Err(failure) => {
                warn!(target = name, "discovery failed: {failure}; the nodes that are known are still watched");
                self.logged = Some(failure.message.clone());
            }
        }
    }
}

/// Discovers one target again and again.
async fn follow(
    target: Target,
    settings: DiscoverySettings,
    known: watch::Receiver<Vec<Node>>,
    request: Arc<Notify>,
    results: mpsc::Sender<Discovered>,
) {
    let sentinels = watch::Sender::new(Sentinels::default());
    let discover = discover(&target, &settings, known, &request, results, &sentinels);
    match &target.kind {
        TargetKind::Sentinel { primary, .. } => {
            let listen = sentinel::listen(primary, sentinels.subscribe(), &request, settings.interval);
            tokio::select! {
                () = discover => {}
                () = listen => {}
            }
        }
        TargetKind::Server(_) | TargetKind::Cluster { .. } | TargetKind::Dns(_) => discover.await,
    }
}

async fn discover(
    target: &Target,
    settings: &DiscoverySettings,
    known: watch::Receiver<Vec<Node>>,
    request: &Notify,
    results: mpsc::Sender<Discovered>,
    sentinels: &watch::Sender<Sentinels>,
) {
    let mut seeds: BTreeMap<String, Node> = BTreeMap::new();
    let mut retries = Backoff::new(MIN_PAUSE, settings.interval);
    loop {
        let began = tokio::time::Instant::now();
        let others = match &target.kind {
            TargetKind::Sentinel { .. } => sentinels.borrow().all(),
            TargetKind::Server(_) | TargetKind::Cluster { .. } | TargetKind::Dns(_) => known.borrow().clone(),
        };
        let nodes = candidates(target, &mut seeds, &others);
        let result = read(target, &nodes, settings, sentinels).await;
        let delay = match &result {
            Ok(_) => {
                retries.succeed();
                settings.interval
            }
            Err(_) => retries.fail(),
        };
        if results.send((Arc::clone(&target.name), result)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(began + delay) => {}
            () = request.notified() => tokio::time::sleep_until(began + MIN_PAUSE).await,
        }
    }
}

/// The nodes to ask. Of a cluster, first those that were found: their connections are known as ours, while a name that
/// leads to one of them is not. Otherwise first those that the operator named.
fn candidates(target: &Target, seeds: &mut BTreeMap<String, Node>, known: &[Node]) -> Vec<Node> {
    let same = |node: &Node, endpoint: &Endpoint| node.address.endpoint == *endpoint;
    let named = target.endpoints().iter().map(|endpoint| {
        // The same node, so that its connections are known as ours.
        known.iter().find(|node| same(node, endpoint)).cloned().unwrap_or_else(|| {
            let seed = seeds.entry(endpoint.to_string());
            seed.or_insert_with(|| Node::from(target.address_to_ask(endpoint.clone()))).clone()
        })
    });
    let others = known.iter().filter(|node| !target.endpoints().iter().any(|endpoint| same(node, endpoint))).cloned();
    match target.kind {
        TargetKind::Cluster { .. } => others.chain(named).collect(),
        TargetKind::Server(_) | TargetKind::Sentinel { .. } | TargetKind::Dns(_) => named.chain(others).collect(),
    }
}

/// Asks nodes about a target; of a Sentinel group, notes the sentinels to ask the next time.
async fn read(
    target: &Target,
    nodes: &[Node],
    settings: &DiscoverySettings,
    sentinels: &watch::Sender<Sentinels>,
) -> Result<Topology, Failure> {
    match &target.kind {
        TargetKind::Server(_) => Ok(Topology::default()),
        TargetKind::Cluster { .. } => cluster::read(nodes, &settings.address_map).await?.or_failure(),
        TargetKind::Sentinel { primary, .. } => {
            let (topology, known) = sentinel::read(nodes, primary, &settings.address_map).await?;
            sentinels.send_replace(known);
            topology.or_failure()
        }
        TargetKind::Dns(name) => dns::read(name, settings, target.access.timeout).await?.or_failure(),
    }
}

/// Discovers each target once. Returns the nodes, and the failure of each target that could not be discovered.
pub async fn once(
    targets: &[Target],
    settings: &DiscoverySettings,
    machine: &Machine,
) -> (Vec<Node>, Vec<(Arc<str>, Failure)>) {
    let mut registry = Registry::new(settings.clone(), machine.clone());
    registry.set_targets(targets);
    let mut failures = Vec::new();
    for target in targets.iter().filter(|target| target.node().is_none()) {
        let nodes = candidates(target, &mut BTreeMap::new(), &[]);
        let result = read(target, &nodes, settings, &watch::Sender::new(Sentinels::default())).await;
        failures.extend(result.as_ref().err().map(|failure| (Arc::clone(&target.name), failure.clone())));
        registry.record(&target.name, result, Instant::now(), clock::now());
    }
    (registry.list(), failures)
}
