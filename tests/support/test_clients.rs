//! Clients of every kind, and the counts that the test itself derives from `CLIENT LIST`.

use std::collections::BTreeMap;
use std::net::TcpStream;

use super::peer::Peer;
use super::server::Server;

/// Connections that stay open until it is dropped.
pub(crate) struct TestClients {
    _peers: Vec<Peer>,
    _silent: Vec<TcpStream>,
}

impl TestClients {
    /// Connects clients of every kind: named, idle, blocked, subscribed, monitoring, silent (no command yet), in a
    /// transaction, on the unix socket, of another user, and with hostile names.
    pub(crate) fn join(server: &Server) -> Self {
        let mut peers = Vec::new();
        let mut join = |commands: &[&[&str]]| {
            let mut peer = server.peer();
            let (last, before) = commands.split_last().expect("a client sends a command");
            for command in before {
                peer.must(command);
            }
            peer.send(last);
            peers.push(peer);
        };
        server.peer().must(&["ACL", "SETUSER", "alice", "on", "nopass", "~*", "&*", "+@all"]);
        for name in ["web-1", "web-2", "a=b", "(other)", r#"a"b\c=<script>"#, "=cmd|calc"] {
            join(&[&["CLIENT", "SETNAME", name], &["SELECT", "3"]]);
        }
        join(&[&["AUTH", "alice", "any"], &["GET", "key"]]);
        join(&[&["CLIENT", "SETNAME", "worker-1"], &["BLPOP", "queue", "0"]]);
        join(&[&["BLPOP", "queue", "0"]]);
        join(&[&["SUBSCRIBE", "news"]]);
        join(&[&["PSUBSCRIBE", "news.*"]]);
        join(&[&["MONITOR"]]);
        join(&[&["MULTI"], &["GET", "key"]]);
        join(&[&["CLIENT", "SETNAME", "sentinel-0a1b2c3d-cmd"], &["PING"]]);
        join(&[&["CLIENT", "TRACKING", "ON"], &["GET", "key"]]);
        join(&[&["NOSUCHCOMMAND"]]);
        let mut local = Peer::connect_unix(&server.socket());
        local.must(&["CLIENT", "SETNAME", "local"]);
        peers.push(local);
        let silent = (0..2).map(|_| TcpStream::connect(server.address()).expect("a connection")).collect();
        Self { _peers: peers, _silent: silent }
    }
}

/// The counts of a `CLIENT LIST` reply.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Truth {
    pub(crate) kinds: BTreeMap<String, u64>,
    pub(crate) states: BTreeMap<String, u64>,
    pub(crate) users: BTreeMap<String, u64>,
    pub(crate) databases: BTreeMap<String, u64>,
    pub(crate) silent: u64,
    pub(crate) idle: u64,
}

impl Truth {
    /// Sends `CLIENT LIST` over this connection, which is then one of the clients.
    pub(crate) fn ask(peer: &mut Peer, idle_after: i64) -> Self {
        let mut truth = Truth::default();
        for row in peer.ask(&["CLIENT", "LIST"]).lines() {
            let fields: BTreeMap<&str, &str> = row.split(' ').filter_map(|token| token.split_once('=')).collect();
            truth.add(&fields, idle_after);
        }
        truth
    }

    fn add(&mut self, fields: &BTreeMap<&str, &str>, idle_after: i64) {
        let flags = fields["flags"];
        let name = fields["name"];
        let kind = match flags {
            _ if name == "redis-client-exporter" => "exporter",
            _ if flags.contains('M') => "primary",
            _ if flags.contains('O') => "monitor",
            _ if flags.contains('S') => "replica",
            _ if name.starts_with("sentinel-") => "sentinel",
            _ => "application",
        };
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        if kind != "application" {
            return;
        }
        let idle = fields["idle"].parse::<i64>().expect("idle is a number") >= idle_after;
        let waits = flags.contains(['b', 'P']);
        let state = if flags.contains('b') {
            "blocked"
        } else if waits {
            "subscribed"
        } else if idle {
            "idle"
        } else {
            "active"
        };
        *self.states.entry(state.to_owned()).or_default() += 1;
        *self.users.entry(fields["user"].to_owned()).or_default() += 1;
        *self.databases.entry(fields["db"].to_owned()).or_default() += 1;
        self.silent += u64::from(fields["cmd"] == "NULL");
        self.idle += u64::from(idle && !waits);
    }
}
