//! The kind of a connection, and the state of an application client.

use std::time::Duration;

use crate::client_list::{Client, Field};
use crate::sample::OUR_NAME;
use crate::server_info::Product;

/// The purpose of a connection. Every connection is of exactly one kind; all but the first are internal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// A client of the server that is not internal.
    Application,
    /// A replica of this node.
    Replica,
    /// The node's own link to its primary.
    Primary,
    /// A client in `MONITOR`.
    Monitor,
    /// A link of a Sentinel.
    Sentinel,
    /// Slot migration, internal and module connections.
    Other,
    /// Our own links, and those of another exporter.
    Exporter,
}

impl ClientKind {
    /// Every kind, in the order in which they are counted.
    pub const ALL: [ClientKind; 7] = [
        ClientKind::Application,
        ClientKind::Replica,
        ClientKind::Primary,
        ClientKind::Monitor,
        ClientKind::Sentinel,
        ClientKind::Other,
        ClientKind::Exporter,
    ];

    /// The kind as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            ClientKind::Application => "application",
            ClientKind::Replica => "replica",
            ClientKind::Primary => "primary",
            ClientKind::Monitor => "monitor",
            ClientKind::Sentinel => "sentinel",
            ClientKind::Other => "other",
            ClientKind::Exporter => "exporter",
        }
    }

    /// Classifies in the order of the server (`networking.c`: `getClientType`): the link to the primary first, then
    /// monitors, which also have the replica flag, then replicas.
    pub fn of(client: &Client<'_>, product: Product, own_ids: &[u64]) -> Self {
        let flags = client.flags();
        let name = client.text(Field::Name).unwrap_or_default();
        if client.id().is_some_and(|id| own_ids.contains(&id)) || name == OUR_NAME.as_bytes() {
            return ClientKind::Exporter;
        }
        // Kvrocks uses `M` for monitors, and has no link to a primary in the list.
        match product {
            Product::Kvrocks if flags.has('M') => return ClientKind::Monitor,
            Product::Kvrocks => {}
            _ if flags.has('M') => return ClientKind::Primary,
            _ => {}
        }
        let internal = match product {
            // Internal connections (8.0+), atomic slot migration (8.4+).
            Product::Redis => ['I', 'g', 'o'].as_slice(),
            // Slot import and export (9.0+). Its `I` is an import source: an application.
            Product::Valkey => ['i', 'E'].as_slice(),
            // KeyDB and Redict are forks from before these, and the others have none.
            Product::KeyDb
            | Product::Redict
            | Product::Dragonfly
            | Product::Kvrocks
            | Product::Garnet
            | Product::Other => [].as_slice(),
        };
        if flags.has('O') {
            ClientKind::Monitor
        } else if flags.has('S') {
            ClientKind::Replica
        } else if internal.iter().any(|&letter| flags.has(letter)) || client.text(Field::User) == Some(b"(superuser)") {
            ClientKind::Other
        } else if is_sentinel(name) {
            ClientKind::Sentinel
        } else {
            ClientKind::Application
        }
    }
}

/// The state of an application client. Every application client is in exactly one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A byte was read or written less than `--idle-after` ago, or the server does not report idle times.
    Active,
    /// Waits in a blocking command, or is paused: silent by design.
    Blocked,
    /// Subscribed to a channel, a pattern or a shard channel: silent by design.
    Subscribed,
    /// Had no byte in either direction for `--idle-after` or longer.
    Idle,
}

impl State {
    /// Every state, in the order in which they are counted.
    pub const ALL: [State; 4] = [State::Active, State::Blocked, State::Subscribed, State::Idle];

    /// The state as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Blocked => "blocked",
            State::Subscribed => "subscribed",
            State::Idle => "idle",
        }
    }

    /// True if the client is blocked or subscribed, so that its idle time says nothing about it.
    pub fn is_waiting(self) -> bool {
        matches!(self, State::Blocked | State::Subscribed)
    }

    /// The state of an application client.
    pub fn of(client: &Client<'_>, idle_after: Duration) -> Self {
        let flags = client.flags();
        if flags.has('b') {
            return State::Blocked;
        }
        // Before 5.0 a subscriber has no flag, only its number of subscriptions.
        if flags.has('P') || client.subscriptions() > 0 {
            return State::Subscribed;
        }
        match client.idle_seconds() {
            Some(idle) if idle >= idle_after.as_secs() => State::Idle,
            _ => State::Active,
        }
    }
}

/// True for `sentinel-<8 hex digits>-cmd` and `-pubsub` (`sentinel.c`: `sentinelSetClientName`).
fn is_sentinel(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"sentinel-") else { return false };
    let Some(id) = rest.strip_suffix(b"-cmd").or_else(|| rest.strip_suffix(b"-pubsub")) else { return false };
    id.len() == 8 && id.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_list::parse;

    fn kind(row: &str, product: Product) -> ClientKind {
        ClientKind::of(&parse(row.as_bytes()).clients[0], product, &[7])
    }

    #[test]
    fn the_kind_follows_from_flags_user_name_and_id() {
        let cases = [
            ("id=1 addr=a flags=N name=web", ClientKind::Application),
            ("id=1 addr=a flags=", ClientKind::Application),
            ("id=1 addr=a", ClientKind::Application),
            ("id=1 addr=a flags=S", ClientKind::Replica),
            ("id=1 addr=a flags=SC", ClientKind::Replica),
            ("id=1 addr=a flags=M user=(superuser)", ClientKind::Primary),
            ("id=1 addr=a flags=SM", ClientKind::Primary),
            ("id=1 addr=a flags=O", ClientKind::Monitor),
            ("id=1 addr=a flags=SO", ClientKind::Monitor),
            ("id=1 addr=a flags=I", ClientKind::Other),
            ("id=1 addr=a flags=N user=(superuser)", ClientKind::Other),
            ("id=1 addr=a flags=N name=sentinel-ed03f0f8-cmd", ClientKind::Sentinel),
            ("id=1 addr=a flags=P name=sentinel-ed03f0f8-pubsub", ClientKind::Sentinel),
            ("id=1 addr=a flags=N name=sentinel-dashboard-cmd", ClientKind::Application),
            ("id=7 addr=a flags=N", ClientKind::Exporter),
            ("id=8 addr=a flags=N name=redis-client-exporter", ClientKind::Exporter),
        ];
        for (row, expected) in cases {
            assert_eq!(kind(row, Product::Redis), expected, "{row}");
        }
    }

    #[test]
    fn a_flag_letter_is_read_as_its_server_defines_it() {
        assert_eq!(kind("id=1 addr=a flags=I", Product::Valkey), ClientKind::Application);
        assert_eq!(kind("id=1 addr=a flags=E", Product::Valkey), ClientKind::Other);
        assert_eq!(kind("id=1 addr=a flags=M", Product::Kvrocks), ClientKind::Monitor);
    }

    #[test]
    fn a_waiting_client_is_never_idle() {
        let state = |row: &str| State::of(&parse(row.as_bytes()).clients[0], Duration::from_secs(300));
        assert_eq!(state("id=1 idle=299 flags=N"), State::Active);
        assert_eq!(state("id=1 idle=300 flags=N"), State::Idle);
        assert_eq!(state("id=1 idle=300 flags=b"), State::Blocked);
        assert_eq!(state("id=1 idle=300 flags=xP"), State::Subscribed);
        assert_eq!(state("id=1 idle=300 flags=N sub=0 psub=1"), State::Subscribed);
        assert_eq!(state("id=1 idle=-4 flags=N"), State::Active);
        // Not a sum that overflows, whatever a compatible server or a forged status reports.
        let most = i64::MAX;
        assert_eq!(state(&format!("id=1 flags=N sub={most} psub={most} ssub={most}")), State::Subscribed);
        assert_eq!(state("id=1 flags=N"), State::Active);
    }
}
