//! The nodes of a list that changes while they are watched, without the program around them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis_client_exporter::announce::{AnnounceSettings, Mode};
use redis_client_exporter::fleet::{Fleet, NodeTasks, WatchNode};
use redis_client_exporter::latest::Latest;
use redis_client_exporter::link::{Node, NodeAddress, TlsOptions, parse_address};
use redis_client_exporter::sampler::Budget;
use redis_client_exporter::snapshot::Limits;
use redis_client_exporter::status::KeyRing;
use redis_client_exporter::watcher::RemoteUse;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::server::Server;

/// A node of this name.
pub(crate) fn node(name: &str, server: &Server) -> Node {
    let endpoint = parse_address(&server.address()).expect("an address").endpoint;
    let timeout = Duration::from_secs(60);
    Node::named(name, NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout })
}

/// Nodes that are sampled every tenth of a second.
pub(crate) struct WatchedNodes {
    pub(crate) runtime: Runtime,
    pub(crate) latest: Arc<Latest>,
    pub(crate) list: watch::Sender<Vec<Node>>,
}

impl WatchedNodes {
    pub(crate) fn start(nodes: Vec<Node>, mode: Mode, limits: Limits) -> Self {
        let tasks = NodeTasks {
            budget: Budget { interval: Duration::from_millis(100), ..Budget::single_sample() },
            limits: watch::channel(Arc::new(limits)).1,
            announce: AnnounceSettings {
                mode,
                channel: "__redis__:cli".into(),
                max_bytes: Some(1 << 16),
                keys: KeyRing::default(),
                frequency: Duration::from_millis(100),
            },
            remote: RemoteUse::Off,
            channels: Arc::default(),
            host: "test".to_owned(),
        };
        let (runtime, latest) = (Runtime::new().expect("a runtime"), Arc::new(Latest::default()));
        let (list, nodes) = watch::channel(nodes);
        let watch_node: WatchNode = Box::new(move |node, publisher| tasks.clone().run(node, publisher).boxed());
        runtime.spawn(Fleet::start(Arc::clone(&latest), runtime.handle().clone(), watch_node, nodes).run());
        Self { runtime, latest, list }
    }
}
