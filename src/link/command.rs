//! Every command that we send, in one list. None of them writes a key, closes a connection, or changes the server.

use redis::Cmd;

use crate::sample::OUR_NAME;

/// A command. `AUTH` is not in this list: it needs no permission, and its args are secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Returns the id of our connection, so that it can be excluded (5.0+).
    ClientId,
    /// Sets the name of our connection, so that others can identify it.
    ClientSetName,
    /// Sets our library name (7.2+).
    ClientSetInfoName,
    /// Sets our library version (7.2+).
    ClientSetInfoVersion,
    /// Lists all clients.
    ClientList,
    /// Lists the clients with some ids (6.2+).
    ClientListIds,
    /// Returns version, `run_id` and clock.
    InfoServer,
    /// Returns counts and limits of clients.
    InfoClients,
    /// Returns counters of connections.
    InfoStats,
    /// Returns role and replicas.
    InfoReplication,
    /// Returns the cost of commands, ours included.
    InfoCommandStats,
    /// Returns the number of nodes of a cluster.
    ClusterInfo,
    /// Returns the shards of a cluster with their nodes (7.0+).
    ClusterShards,
    /// Returns the nodes of a cluster.
    ClusterNodes,
    /// Returns all primaries that a sentinel watches.
    SentinelMasters,
    /// Returns one of the primaries that a sentinel watches.
    SentinelMaster,
    /// Returns the replicas of a primary.
    SentinelReplicas,
    /// Returns the other sentinels of a primary.
    SentinelSentinels,
    /// Publishes a message on the status channel.
    Publish,
    /// Subscribes to the status channel.
    Subscribe,
}

/// The servers to which a command is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// All servers.
    Any,
    /// Servers with data, so all but sentinels.
    Data,
    /// Nodes of a cluster.
    Cluster,
    /// Sentinels.
    Sentinel,
}

impl Command {
    /// Every command, in the order in which they are sent.
    pub const ALL: [Command; 20] = [
        Command::ClientId,
        Command::ClientSetName,
        Command::ClientSetInfoName,
        Command::ClientSetInfoVersion,
        Command::InfoServer,
        Command::InfoClients,
        Command::InfoStats,
        Command::InfoReplication,
        Command::ClientList,
        Command::ClientListIds,
        Command::InfoCommandStats,
        Command::ClusterInfo,
        Command::ClusterShards,
        Command::ClusterNodes,
        Command::SentinelMasters,
        Command::SentinelMaster,
        Command::SentinelReplicas,
        Command::SentinelSentinels,
        Command::Publish,
        Command::Subscribe,
    ];

    /// The args of the command as it is sent, without ids and texts.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Command::ClientId => &["CLIENT", "ID"],
            Command::ClientSetName => &["CLIENT", "SETNAME", OUR_NAME],
            Command::ClientSetInfoName => &["CLIENT", "SETINFO", "LIB-NAME", OUR_NAME],
            Command::ClientSetInfoVersion => &["CLIENT", "SETINFO", "LIB-VER", env!("CARGO_PKG_VERSION")],
            Command::ClientList => &["CLIENT", "LIST"],
            Command::ClientListIds => &["CLIENT", "LIST", "ID"],
            // One section per call, because 6.2 refuses several.
            Command::InfoServer => &["INFO", "server"],
            Command::InfoClients => &["INFO", "clients"],
            Command::InfoStats => &["INFO", "stats"],
            Command::InfoReplication => &["INFO", "replication"],
            Command::InfoCommandStats => &["INFO", "commandstats"],
            Command::ClusterInfo => &["CLUSTER", "INFO"],
            Command::ClusterShards => &["CLUSTER", "SHARDS"],
            Command::ClusterNodes => &["CLUSTER", "NODES"],
            Command::SentinelMasters => &["SENTINEL", "MASTERS"],
            Command::SentinelMaster => &["SENTINEL", "MASTER"],
            Command::SentinelReplicas => &["SENTINEL", "REPLICAS"],
            Command::SentinelSentinels => &["SENTINEL", "SENTINELS"],
            Command::Publish => &["PUBLISH"],
            Command::Subscribe => &["SUBSCRIBE"],
        }
    }

    /// The servers to which it is sent. Others do not know the subcommand, and refuse an ACL rule with it.
    pub fn servers(self) -> ServerKind {
        match self {
            Command::ClusterInfo | Command::ClusterShards | Command::ClusterNodes => ServerKind::Cluster,
            Command::SentinelMasters
            | Command::SentinelMaster
            | Command::SentinelReplicas
            | Command::SentinelSentinels => ServerKind::Sentinel,
            Command::Publish => ServerKind::Data,
            Command::ClientId
            | Command::ClientSetName
            | Command::ClientSetInfoName
            | Command::ClientSetInfoVersion
            | Command::ClientList
            | Command::ClientListIds
            | Command::InfoServer
            | Command::InfoClients
            | Command::InfoStats
            | Command::InfoReplication
            | Command::InfoCommandStats
            | Command::Subscribe => ServerKind::Any,
        }
    }

    /// Returns true if the reply lists clients.
    pub(super) fn is_listing(self) -> bool {
        matches!(self, Command::ClientList | Command::ClientListIds)
    }

    /// Maximum number of bytes of the reply. That of a listing is bounded by its batch.
    pub(super) fn max_reply(self) -> u64 {
        match self {
            Command::ClientList | Command::ClientListIds => u64::MAX,
            Command::InfoServer
            | Command::InfoClients
            | Command::InfoStats
            | Command::InfoReplication
            | Command::InfoCommandStats => 1024 * 1024,
            Command::ClusterInfo => 64 * 1024,
            Command::ClusterShards
            | Command::ClusterNodes
            | Command::SentinelMasters
            | Command::SentinelMaster
            | Command::SentinelReplicas
            | Command::SentinelSentinels => MAX_TOPOLOGY,
            Command::ClientId
            | Command::ClientSetName
            | Command::ClientSetInfoName
            | Command::ClientSetInfoVersion
            | Command::Publish
            | Command::Subscribe => super::MAX_CONFIRMATION,
        }
    }

    /// The ACL rule that permits it.
    pub fn acl_rule(self) -> &'static str {
        match self {
            Command::ClientId => "+client|id",
            Command::ClientSetName => "+client|setname",
            Command::ClientSetInfoName | Command::ClientSetInfoVersion => "+client|setinfo",
            Command::ClientList | Command::ClientListIds => "+client|list",
            Command::InfoServer
            | Command::InfoClients
            | Command::InfoStats
            | Command::InfoReplication
            | Command::InfoCommandStats => "+info",
            Command::ClusterInfo => "+cluster|info",
            Command::ClusterShards => "+cluster|shards",
            Command::ClusterNodes => "+cluster|nodes",
            Command::SentinelMasters => "+sentinel|masters",
            Command::SentinelMaster => "+sentinel|master",
            Command::SentinelReplicas => "+sentinel|replicas",
            Command::SentinelSentinels => "+sentinel|sentinels",
            Command::Publish => "+publish",
            Command::Subscribe => "+subscribe",
        }
    }
}

/// Maximum size of a reply about topology, in bytes: a cluster of 10,000 nodes has 4 MB.
const MAX_TOPOLOGY: u64 = 16 * 1024 * 1024;

/// A command with its variable args.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(super) command: Command,
    ids: &'a [u64],
    texts: [&'a [u8]; 2],
}

impl From<Command> for Request<'_> {
    fn from(command: Command) -> Self {
        Self { command, ids: &[], texts: [&[]; 2] }
    }
}

impl<'a> Request<'a> {
    /// Lists the clients with these ids. Valkey refuses the id 0, and every server refuses an empty list.
    pub fn clients(ids: &'a [u64]) -> Self {
        Self { command: Command::ClientListIds, ids, texts: [&[]; 2] }
    }

    /// Publishes a message on a channel.
    pub fn publish(channel: &'a str, message: &'a [u8]) -> Self {
        Self { command: Command::Publish, ids: &[], texts: [channel.as_bytes(), message] }
    }

    /// Asks a sentinel about a primary.
    pub fn of_master(command: Command, master: &'a str) -> Self {
        Self { command, ids: &[], texts: [master.as_bytes(), &[]] }
    }

    pub(super) fn packed(self) -> Cmd {
        let mut command = Cmd::new();
        for arg in self.command.args() {
            command.arg(arg);
        }
        for id in self.ids {
            command.arg(*id);
        }
        match self.command {
            Command::Publish => drop(command.arg(&self.texts)),
            Command::SentinelMaster | Command::SentinelReplicas | Command::SentinelSentinels => {
                command.arg(self.texts[0]);
            }
            _ => {}
        }
        command
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = if *self == Command::ClientListIds { 3 } else { 2 };
        f.write_str(&self.args()[..shown.min(self.args().len())].join(" "))
    }
}
