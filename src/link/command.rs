//! Every command we ever send, in one list. There is none that writes a key, kills or changes the server.

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
    /// All clients at once.
    ClientList,
    /// The clients of some ids (6.2+).
    ClientListIds,
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
    /// Tells whoever listens on our channel.
    Publish,
    /// Listens on our channel.
    Subscribe,
}

impl Command {
    /// Every command, in the order in which a link's life sends them.
    pub const ALL: [Command; 13] = [
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
        Command::Publish,
        Command::Subscribe,
    ];

    /// The command as it is sent.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Command::ClientId => &["CLIENT", "ID"],
            Command::ClientSetName => &["CLIENT", "SETNAME", OUR_NAME],
            Command::ClientSetInfoName => &["CLIENT", "SETINFO", "LIB-NAME", OUR_NAME],
            Command::ClientSetInfoVersion => &["CLIENT", "SETINFO", "LIB-VER", env!("CARGO_PKG_VERSION")],
            Command::ClientList => &["CLIENT", "LIST"],
            Command::ClientListIds => &["CLIENT", "LIST", "ID"],
            // One section a call: 6.2 refuses several.
            Command::InfoServer => &["INFO", "server"],
            Command::InfoClients => &["INFO", "clients"],
            Command::InfoStats => &["INFO", "stats"],
            Command::InfoReplication => &["INFO", "replication"],
            Command::InfoCommandStats => &["INFO", "commandstats"],
            Command::Publish => &["PUBLISH"],
            Command::Subscribe => &["SUBSCRIBE"],
        }
    }

    /// The rule of an ACL that allows it.
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
            Command::Publish => "+publish",
            Command::Subscribe => "+subscribe",
        }
    }
}

/// A command with what follows its words.
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
    /// Asks for the clients of these ids. Valkey refuses an id of 0; every server refuses none at all.
    pub fn clients(ids: &'a [u64]) -> Self {
        Self { command: Command::ClientListIds, ids, texts: [&[]; 2] }
    }

    /// Tells a message on a channel.
    pub fn publish(channel: &'a str, message: &'a [u8]) -> Self {
        Self { command: Command::Publish, ids: &[], texts: [channel.as_bytes(), message] }
    }

    pub(super) fn packed(self) -> Cmd {
        let mut command = Cmd::new();
        for word in self.command.words() {
            command.arg(word);
        }
        for id in self.ids {
            command.arg(*id);
        }
        if self.command == Command::Publish {
            command.arg(&self.texts);
        }
        command
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = if *self == Command::ClientListIds { 3 } else { 2 };
        f.write_str(&self.words()[..shown.min(self.words().len())].join(" "))
    }
}
