//! Every command we ever send, in one list. There is none that writes, kills or changes the server.

use redis::Cmd;

use crate::sample::OUR_NAME;

/// A command. `AUTH` is not among them: it needs no permission, and its words are secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Which connection we are, so that we can leave ourselves out (5.0+).
    ClientId,
    /// Names our connection, so that others can tell it.
    ClientSetName,
    /// Says which program we are (7.2+).
    ClientSetInfoName,
    /// Says which version we are (7.2+).
    ClientSetInfoVersion,
    /// All clients.
    ClientList,
    /// Version, `run_id`, clock.
    InfoServer,
    /// Counts and limits of clients.
    InfoClients,
    /// Counters of connections.
    InfoStats,
    /// Role and replicas.
    InfoReplication,
    /// What commands cost, ours among them.
    InfoCommandStats,
}

impl Command {
    /// Every command, in the order in which a link's life sends them.
    pub const ALL: [Command; 10] = [
        Command::ClientId,
        Command::ClientSetName,
        Command::ClientSetInfoName,
        Command::ClientSetInfoVersion,
        Command::InfoServer,
        Command::InfoClients,
        Command::InfoStats,
        Command::InfoReplication,
        Command::ClientList,
        Command::InfoCommandStats,
    ];

    /// The command as it is sent.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Command::ClientId => &["CLIENT", "ID"],
            Command::ClientSetName => &["CLIENT", "SETNAME", OUR_NAME],
            Command::ClientSetInfoName => &["CLIENT", "SETINFO", "LIB-NAME", OUR_NAME],
            Command::ClientSetInfoVersion => &["CLIENT", "SETINFO", "LIB-VER", env!("CARGO_PKG_VERSION")],
            Command::ClientList => &["CLIENT", "LIST"],
            // One section a call: 6.2 refuses several.
            Command::InfoServer => &["INFO", "server"],
            Command::InfoClients => &["INFO", "clients"],
            Command::InfoStats => &["INFO", "stats"],
            Command::InfoReplication => &["INFO", "replication"],
            Command::InfoCommandStats => &["INFO", "commandstats"],
        }
    }

    /// The rule of an ACL that allows it.
    pub fn acl_rule(self) -> &'static str {
        match self {
            Command::ClientId => "+client|id",
            Command::ClientSetName => "+client|setname",
            Command::ClientSetInfoName | Command::ClientSetInfoVersion => "+client|setinfo",
            Command::ClientList => "+client|list",
            Command::InfoServer
            | Command::InfoClients
            | Command::InfoStats
            | Command::InfoReplication
            | Command::InfoCommandStats => "+info",
        }
    }

    pub(super) fn packed(self) -> Cmd {
        let mut command = Cmd::new();
        for word in self.words() {
            command.arg(word);
        }
        command
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words()[..2].join(" "))
    }
}
