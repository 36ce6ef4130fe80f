//! The set of watched nodes, which changes while the program runs: starts the tasks of a node that appears, and stops
//! those of a node that disappears. The end of a node is not the end of the program.

mod node_tasks;
mod same_server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::error;

use crate::backoff::Backoff;
use crate::clock;
use crate::failure::{Failure, Reason};
use crate::latest::{Latest, NodeId, Phase, Publisher};
use crate::link::Node;

pub use node_tasks::NodeTasks;
pub use same_server::warn_of_same_servers;

/// The delays before the tasks of a node that ended unexpectedly are started again.
const FIRST_RESTART: Duration = Duration::from_secs(1);
const MAX_RESTART: Duration = Duration::from_secs(60);

/// The time between the starts of two nodes that are found together, so that a hundred are not dialed in one instant.
const STAGGER: Duration = Duration::from_millis(20);

/// The longest delay of a node that is found together with others.
const MAX_STAGGER: Duration = Duration::from_secs(5);

/// Makes the future that watches a node. It runs until it is dropped, and can be dropped at any time.
pub type WatchNode = Box<dyn Fn(Node, Publisher) -> BoxFuture<'static, ()> + Send>;

/// The watched nodes.
pub struct Fleet {
    latest: Arc<Latest>,
    watch_node: WatchNode,
    /// The runtime of the nodes' tasks.
    runtime: Handle,
    list: watch::Receiver<Vec<Node>>,
    nodes: BTreeMap<Arc<str>, WatchedNode>,
    tasks: JoinSet<()>,
}

/// A node with its running task.
struct WatchedNode {
    node: Node,
    id: NodeId,
    task: AbortHandle,
    started: Instant,
    restarts: Backoff,
    /// The reason of the last unexpected end that was logged.
    logged: String,
}

impl Fleet {
    /// Starts to watch the nodes of a list.
    pub fn start(
        latest: Arc<Latest>,
        runtime: Handle,
        watch_node: WatchNode,
        mut list: watch::Receiver<Vec<Node>>,
    ) -> Self {
        let first = list.borrow_and_update().clone();
        let mut fleet = Self { latest, watch_node, runtime, list, nodes: BTreeMap::new(), tasks: JoinSet::new() };
        fleet.update(&first);
        fleet
    }

    /// Follows the changes of the list until the future is dropped, which stops all nodes. Returns when there is no
    /// node and the list cannot change anymore.
    pub async fn run(mut self) {
        let mut is_final = false;
        loop {
            tokio::select! {
                changed = self.list.changed(), if !is_final => match changed {
                    Ok(()) => {
                        let list = self.list.borrow_and_update().clone();
                        self.update(&list);
                    }
                    Err(_) => is_final = true,
                },
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    Ok((task, ())) => self.restart(task, "it returned"),
                    Err(error) => self.restart(error.id(), &reason(error)),
                },
                else => return,
            }
        }
    }

    /// Stops the nodes that are not in the list, and starts those that are new. A node whose address has changed is a
    /// new one; if only its credentials or files have changed, it continues with its counters. Of several nodes with
    /// one name, the first one is watched.
    fn update(&mut self, list: &[Node]) {
        let mut listed: BTreeMap<&str, &Node> = BTreeMap::new();
        list.iter().for_each(|node| {
            listed.entry(&node.name).or_insert(node);
        });
        self.nodes.retain(|name, watched| {
            let is_same = |node: &&Node| node.address.endpoint == watched.node.address.endpoint;
            let keep = listed.get(&**name).is_some_and(is_same);
            if !keep {
                watched.task.abort();
                self.latest.remove(watched.id, clock::now());
            }
            keep
        });
        // In the order of the list.
        let mut added = 0;
        for node in list.iter().filter(|node| listed.get(&*node.name).is_some_and(|first| std::ptr::eq(*first, *node)))
        {
            let id = match self.nodes.get(&node.name) {
                Some(watched) if watched.node.address.is_same(&node.address) => {
                    self.latest.set_origin(watched.id, &node.origin, clock::now());
                    continue;
                }
                Some(watched) => {
                    watched.task.abort();
                    Some(watched.id)
                }
                None => self.latest.add(Arc::clone(&node.name), Some(node.address.endpoint.clone()), clock::now()),
            };
            let Some(id) = id else { continue };
            self.latest.set_origin(id, &node.origin, clock::now());
            let task = self.spawn(node.clone(), id, (STAGGER * added).min(MAX_STAGGER));
            added += 1;
            let restarts = Backoff::new(FIRST_RESTART, MAX_RESTART);
            let watched =
                WatchedNode { node: node.clone(), id, task, started: Instant::now(), restarts, logged: String::new() };
            self.nodes.insert(Arc::clone(&node.name), watched);
        }
    }

    fn spawn(&mut self, node: Node, id: NodeId, delay: Duration) -> AbortHandle {
        let watch = (self.watch_node)(node, Publisher::new(Arc::clone(&self.latest), id));
        let delayed = async move {
            tokio::time::sleep(delay).await;
            watch.await;
        };
        self.tasks.spawn_on(delayed, &self.runtime)
    }

    /// Starts a node again whose task ended without being stopped, which is a bug. Its counters continue, unless it
    /// ends repeatedly: then its last snapshot may be the cause.
    fn restart(&mut self, task: Id, reason: &str) {
        // A task that was stopped has no node anymore.
        let Some(watched) = self.nodes.values_mut().find(|watched| watched.task.id() == task) else { return };
        if watched.started.elapsed() > MAX_RESTART {
            watched.restarts.succeed();
        }
        let is_repeated = watched.restarts.is_failing();
        let delay = watched.restarts.fail();
        let (node, id) = (watched.node.clone(), watched.id);
        let name = &*node.name;
        let message = format!("{name}: watching ended unexpectedly: {reason}; it starts again; please report this bug");
        if watched.logged != reason {
            reason.clone_into(&mut watched.logged);
            error!(node = name, "{message}");
        }
        let publisher = Publisher::new(Arc::clone(&self.latest), id);
        let mut state = publisher.state();
        state.fail(Failure { reason: Reason::Other, message }, clock::now());
        if let Phase::Failing { last_good, .. } = &mut state.phase
            && is_repeated
        {
            *last_good = None;
        }
        publisher.publish(&state, clock::now());
        let task = self.spawn(node.clone(), id, delay);
        if let Some(watched) = self.nodes.get_mut(&node.name) {
            (watched.task, watched.started) = (task, Instant::now() + delay);
        }
    }
}

/// The text of a panic, which the panic hook has printed as well.
fn reason(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::link::{Endpoint, NodeAddress, TlsOptions};

    fn node(name: &str, port: u16) -> Node {
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port, tls: false };
        let timeout = Duration::from_secs(1);
        Node::named(name, NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout })
    }

    fn names(latest: &Latest) -> Vec<String> {
        latest.read().iter().map(|node| node.node.to_string()).collect()
    }

    /// Counts a running node until it is dropped.
    struct Running(Arc<AtomicU32>);

    impl Running {
        fn new(count: &Arc<AtomicU32>) -> Self {
            count.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(count))
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Waits for a condition; the time is paused, so only the tasks' own steps count.
    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(condition(), "the condition holds in the end");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_of_the_list_are_watched_and_others_are_stopped_with_all_they_showed() {
        let (latest, running) = (Arc::new(Latest::default()), Arc::new(AtomicU32::new(0)));
        let starts = Arc::new(AtomicU32::new(0));
        let (count, started) = (Arc::clone(&running), Arc::clone(&starts));
        let watch_node: WatchNode = Box::new(move |_, _| {
            started.fetch_add(1, Ordering::SeqCst);
            let running = Running::new(&count);
            Box::pin(async move {
                let _running = running;
                std::future::pending().await
            })
        });
        let (list, watched) = watch::channel(vec![node("a", 1), node("b", 2)]);
        let fleet = Fleet::start(Arc::clone(&latest), Handle::current(), watch_node, watched);
        assert_eq!(names(&latest), ["a", "b"], "known before the first poll");
        let task = tokio::spawn(fleet.run());
        list.send_replace(vec![node("b", 2), node("c", 3), node("c", 4)]);
        until(|| names(&latest) == ["b", "c"] && running.load(Ordering::SeqCst) == 2).await;
        let before = latest.read().find("b").map(|(id, _)| id);
        list.send_replace(vec![node("b", 9)]);
        until(|| names(&latest) == ["b"] && running.load(Ordering::SeqCst) == 1).await;
        assert_ne!(latest.read().find("b").map(|(id, _)| id), before, "another server has this name now");
        let (id, mut renewed) = (latest.read().find("b").map(|(id, _)| id), node("b", 9));
        renewed.address.tls.ca = Some("/new/ca.pem".into());
        let starts_before = starts.load(Ordering::SeqCst);
        list.send_replace(vec![renewed]);
        until(|| starts.load(Ordering::SeqCst) > starts_before && running.load(Ordering::SeqCst) == 1).await;
        assert_eq!(latest.read().find("b").map(|(id, _)| id), id, "the same server with another file");
        list.send_replace(Vec::new());
        until(|| names(&latest).is_empty() && running.load(Ordering::SeqCst) == 0).await;
        drop(list);
        task.await.expect("the end of the list ends the fleet");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_ends_unexpectedly_is_shown_as_failing_and_starts_again_and_the_others_continue() {
        let (latest, starts) = (Arc::new(Latest::default()), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&starts);
        let watch_node: WatchNode = Box::new(move |node, _| {
            let number = if &*node.name == "bad" { count.fetch_add(1, Ordering::SeqCst) } else { u32::MAX };
            Box::pin(async move {
                match number {
                    0 => panic!("an index out of bounds"),
                    1 => {}
                    _ => std::future::pending().await,
                }
            })
        });
        let (_list, watched) = watch::channel(vec![node("bad", 1), node("good", 2)]);
        let fleet = Fleet::start(Arc::clone(&latest), Handle::current(), watch_node, watched);
        let task = tokio::spawn(fleet.run());
        until(|| starts.load(Ordering::SeqCst) == 3).await;
        let nodes = latest.read();
        let (_, bad) = nodes.find("bad").expect("it is still there");
        let Phase::Failing { failure, .. } = &bad.phase else { panic!("it is failing") };
        assert!(failure.reason == Reason::Other && failure.message.contains("it returned"), "{failure}");
        assert_eq!(bad.tally.failed, 2, "one for the panic, one for the return");
        assert!(matches!(nodes.find("good").map(|(_, node)| &node.phase), Some(Phase::Starting)));
        assert!(!task.is_finished(), "the end of a node is not the end of the program");
        task.abort();
    }
}
