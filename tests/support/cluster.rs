//! Real clusters: some servers with all slots, each primary with its replicas.

use super::eventually;
use super::peer::Peer;
use super::server::{Binary, Server};

/// The number of hash slots of a cluster.
const SLOTS: usize = 16384;

/// A cluster. Its first servers are the primaries.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster with this many primaries, and one replica of each if there are replicas. `options` are those of
    /// every server, `login` are the args of `AUTH`.
    pub(crate) fn start(binary: &Binary, primaries: usize, replicas: bool, options: &[&str]) -> Self {
        let options = [&["--cluster-enabled yes", "--cluster-node-timeout 2000"], options].concat();
        let count = primaries * if replicas { 2 } else { 1 };
        let servers: Vec<_> = (0..count).map(|_| cluster_node(binary, &options)).collect();
        let cluster = Self { servers };
        for (place, server) in cluster.servers.iter().enumerate() {
            server.peer().must(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
            if place > 0 {
                cluster.servers[0].peer().must(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string()]);
            }
        }
        cluster.know_each_other(count);
        for place in 0..primaries {
            let (first, last) = (place * SLOTS / primaries, (place + 1) * SLOTS / primaries - 1);
            let range = ["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()];
            cluster.servers[place].peer().must(&range);
        }
        for place in primaries..count {
            cluster.replicate(place, place - primaries);
        }
        cluster.works();
        cluster
    }

    /// Starts a further server, which the others know.
    pub(crate) fn add(&mut self, binary: &Binary, options: &[&str]) -> usize {
        let options = [&["--cluster-enabled yes", "--cluster-node-timeout 2000"], options].concat();
        let server = cluster_node(binary, &options);
        self.servers[0].peer().must(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string()]);
        self.servers.push(server);
        self.know_each_other(self.servers.len());
        self.servers.len() - 1
    }

    /// Makes a server a replica of another one.
    pub(crate) fn replicate(&self, place: usize, primary: usize) {
        let id = self.id(primary);
        // It knows the primary only after a few messages.
        eventually("it is a replica", || {
            let answer = self.servers[place].peer().ask(&["CLUSTER", "REPLICATE", &id]);
            (answer == "+OK").then_some(())
        });
        eventually("it is linked to its primary", || {
            let info = self.servers[place].peer().ask(&["INFO", "replication"]);
            info.contains("master_link_status:up").then_some(())
        });
    }

    /// The id of a server in the cluster.
    pub(crate) fn id(&self, place: usize) -> String {
        self.servers[place].peer().ask(&["CLUSTER", "MYID"]).lines().last().unwrap_or_default().to_owned()
    }

    /// Removes a server from the cluster: the others forget it, and it is killed.
    pub(crate) fn forget(&mut self, place: usize) -> Server {
        let id = self.id(place);
        let mut server = self.servers.remove(place);
        server.kill();
        for other in &self.servers {
            other.peer().must(&["CLUSTER", "FORGET", &id]);
        }
        server
    }

    fn know_each_other(&self, count: usize) {
        let is_met = |server: &Server| {
            let nodes = server.peer().ask(&["CLUSTER", "NODES"]);
            nodes.matches(" connected").count() == count && !nodes.contains("handshake")
        };
        eventually("all nodes know each other", || self.servers.iter().all(is_met).then_some(()));
    }

    /// Waits until all slots are served, as every server that runs knows.
    pub(crate) fn works(&self) {
        let is_ok = |server: &Server| match Peer::try_connect(&server.address()) {
            Ok(mut peer) => peer.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"),
            Err(_) => true,
        };
        eventually("the cluster works", || self.servers.iter().all(is_ok).then_some(()));
    }
}

/// Starts a server in cluster mode. It ends at once if another program uses its second port, then it is tried again.
pub(crate) fn cluster_node(binary: &Binary, options: &[&str]) -> Server {
    eventually("a server has both ports", || {
        let server = Server::start_with(binary, options);
        let answer = Peer::try_connect(&server.address()).and_then(|mut peer| peer.try_ask(&["PING"]));
        answer.is_ok_and(|answer| answer == "+PONG" || answer.contains("NOAUTH")).then_some(server)
    })
}
