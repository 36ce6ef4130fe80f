//! The columns of clients: one table of names, aliases, titles, units, types and help. The page, the API, CSV, the
//! command line and the status messages are made from it. A new column is one row of the table.

mod definition;

use super::row::Row;
use super::value::Value;
use crate::client_list::{Address, Field};
use crate::snapshot::{ClientKind, CloseReason, State, last_interaction, network_label, output_buffer_bytes};
use crate::text::escaped;

use definition::ValueSource;
pub use definition::{Column, ValueKind};

use ValueKind::{Address as Addresses, Bytes, Count, Number, Seconds, Text, Time, Version, Word};

/// Every column, in the order of display.
pub static COLUMNS: &[Column] = &[
    Column::derived(
        |row| Value::text(Some(row.node)),
        "redis",
        "Server",
        Text,
        "Name of the server that the client is connected to.",
    )
    .aliases(&["node", "server"])
    .groupable()
    .closed(|row| Value::text(Some(row.node))),
    Column::field(
        Field::Id,
        "id",
        "Client ID",
        Number,
        "Number of the connection, unique until the server restarts (2.8.12+).",
    )
    .aliases(&["client_id"])
    .default_place(0)
    .closed_place(0)
    .closed(|row| Value::number(Some(row.closed.id))),
    Column::field(Field::Addr, "address", "Address", Addresses, "Address and port of the peer.")
        .default_place(1)
        .closed_place(1)
        .closed(|row| Value::text(Some(&row.closed.address))),
    Column::derived(|row| Value::text(row.app), "app", "App", Text, "Application that the client belongs to.")
        .aliases(&["client_app", "application"])
        .groupable()
        .default_place(3)
        .closed_place(2)
        .closed(|row| Value::text(row.closed.app.as_deref())),
    Column::field(Field::Name, "name", "Name", Text, "Name set with CLIENT SETNAME (2.6.9+).")
        .aliases(&["client_name"])
        .groupable()
        .default_place(4)
        .closed_place(3)
        .closed(|row| Value::text(Some(&row.closed.name))),
    Column::field(Field::User, "user", "User", Text, "ACL user (6.0+).")
        .groupable()
        .default_place(5)
        .closed_place(4)
        .closed(|row| Value::text(Some(&row.closed.user))),
    Column::derived(
        |row| Value::text(Some(row.entry.kind.label())),
        "kind",
        "Kind",
        Word(|| ClientKind::ALL.map(ClientKind::label).to_vec()),
        "Kind of connection: application, or one of the internal ones.",
    )
    .groupable()
    .closed(|row| Value::text(Some(row.closed.kind.label()))),
    Column::derived(
        |row| Value::text(row.entry.state.map(State::label)),
        "state",
        "State",
        Word(|| State::ALL.map(State::label).to_vec()),
        "State of an application client: active, blocked, subscribed or idle.",
    )
    .groupable()
    .default_place(7)
    .closed(|row| Value::text(row.closed.state.map(State::label))),
    Column::derived(
        |row| Value::time(row.entry.connected_at()),
        "connected_at",
        "Connected at",
        Time,
        "When the client connected.",
    )
    .closed(|row| Value::time(row.closed.connected_at)),
    Column::derived(
        |row| Value::time(last_interaction(row.client, row.read_at())),
        "last_interaction",
        "Last interaction at",
        Time,
        "When the last byte was read from or written to the client; none if it has never sent a command.",
    )
    .closed(|row| Value::time(row.closed.last_interaction)),
    Column::field(Field::Age, "age_seconds", "Connected", Seconds, "Seconds since the client connected (2.6+).")
        .aliases(&["lifetime_seconds", "lifetime"])
        .default_place(6)
        .closed_place(6)
        .closed(|row| Value::number(row.closed.lifetime_seconds())),
    Column::field(
        Field::Idle,
        "idle_seconds",
        "Last interaction",
        Seconds,
        "Idle time: seconds since the last byte in either direction.",
    )
    .default_place(2),
    Column::field(Field::LibName, "library", "Library", Text, "Client library, set with CLIENT SETINFO (7.2+).")
        .aliases(&["lib"])
        .groupable()
        .default_place(10)
        .closed(|row| Value::text(Some(&row.closed.library))),
    Column::field(
        Field::LibVer,
        "library_version",
        "Library version",
        Version,
        "Version of the client library, set with CLIENT SETINFO (7.2+).",
    )
    .groupable(),
    Column::new(
        ValueSource::Interpreted(Field::Cmd, command),
        "command",
        "Command",
        Text,
        "Last command; none if the client has never sent one that the server knows.",
    )
    .groupable()
    .default_place(9)
    .closed_place(7)
    .closed(|row| Value::text(row.closed.command.as_deref())),
    Column::field(Field::Db, "database", "Database", Number, "Selected database.").groupable(),
    Column::derived(
        |row| row.client.address().map_or(Value::None, host),
        "host",
        "Host",
        Addresses,
        "Address of the peer without its port.",
    )
    .groupable()
    .closed(|row| host(Address::parse(row.closed.address.as_bytes()))),
    Column::derived(
        |row| network_label(row.client, row.network_prefix()).map_or(Value::None, |label| Value::Text(label.into())),
        "network",
        "Network",
        Addresses,
        "Network that the client connects from (--group.network-prefix); (unix) for the server's unix socket.",
    )
    .groupable(),
    Column::field(Field::Laddr, "local_address", "Local address", Addresses, "Address of the server (6.2+).")
        .groupable(),
    Column::field(
        Field::TotMem,
        "memory_bytes",
        "Memory",
        Bytes,
        "Memory that the server holds for the client (6.0.9+).",
    )
    .closed(|row| Value::number(row.closed.memory_bytes)),
    Column::derived(
        |row| Value::number(Some(output_buffer_bytes(row.client))),
        "output_buffer_bytes",
        "Output buffer",
        Bytes,
        "Bytes that wait to be sent to the client: reply buffer and reply list (obl and omem).",
    )
    .aliases(&["buffers"])
    .default_place(8)
    .closed_place(9)
    .closed(|row| Value::number(Some(row.closed.output_buffer_bytes))),
    Column::field(Field::Qbuf, "query_buffer_bytes", "Query buffer", Bytes, "Bytes in the query buffer.")
        .closed(|row| Value::number(row.closed.query_buffer_bytes)),
    Column::field(
        Field::TotCmds,
        "commands_total",
        "Commands",
        Count,
        "Commands that the client ran since it connected (Valkey 8.0+, Redis 8.2+).",
    )
    .closed(|row| Value::number(row.closed.commands)),
    Column::field(
        Field::TotNetIn,
        "network_receive_bytes_total",
        "Received",
        Bytes,
        "Bytes that the server read from the client since it connected (Valkey 8.0+, Redis 8.2+).",
    )
    .closed(|row| Value::number(row.closed.received_bytes)),
    Column::field(
        Field::TotNetOut,
        "network_transmit_bytes_total",
        "Sent",
        Bytes,
        "Bytes that the server wrote to the client since it connected (Valkey 8.0+, Redis 8.2+).",
    )
    .closed(|row| Value::number(row.closed.sent_bytes)),
    Column::derived(
        |row| Value::number(Some(row.client.subscriptions())),
        "subscriptions",
        "Subscriptions",
        Count,
        "Channels, patterns and shard channels that the client is subscribed to.",
    ),
    Column::field(Field::Sub, "channels", "Channels", Count, "Channels that the client is subscribed to."),
    Column::field(Field::Psub, "patterns", "Patterns", Count, "Patterns that the client is subscribed to."),
    Column::field(
        Field::Ssub,
        "shard_channels",
        "Shard channels",
        Count,
        "Shard channels that the client is subscribed to (7.0.3+).",
    ),
    Column::field(
        Field::Flags,
        "flags",
        "Flags",
        Text,
        "Flag letters (N = none, b = blocked, P = subscribed, x = in MULTI …).",
    ),
    Column::field(Field::Resp, "resp", "RESP", Number, "Protocol version: 2 or 3 (7.0+).").groupable(),
    Column::field(
        Field::Multi,
        "queued_commands",
        "Queued commands",
        Count,
        "Commands queued in MULTI; -1 outside a transaction (2.6+).",
    ),
    Column::field(Field::Watch, "watched_keys", "Watched keys", Count, "Keys that the client watches (7.4+)."),
    Column::field(
        Field::QbufFree,
        "query_buffer_free_bytes",
        "Query buffer free",
        Bytes,
        "Spare bytes of the query buffer.",
    ),
    Column::field(Field::ArgvMem, "argument_bytes", "Arguments", Bytes, "Bytes of arguments parsed already (6.0.9+)."),
    Column::field(
        Field::MultiMem,
        "queued_bytes",
        "Queued bytes",
        Bytes,
        "Bytes of the commands queued in MULTI (7.0+).",
    ),
    Column::field(
        Field::Rbs,
        "reply_buffer_size_bytes",
        "Reply buffer size",
        Bytes,
        "Size of the static reply buffer (7.0+).",
    ),
    Column::field(
        Field::Rbp,
        "reply_buffer_peak_bytes",
        "Reply buffer peak",
        Bytes,
        "Recent peak use of the static reply buffer (7.0+).",
    ),
    Column::field(Field::Obl, "reply_buffer_bytes", "Reply buffer", Bytes, "Bytes in the static reply buffer."),
    Column::field(Field::Oll, "reply_list_length", "Reply list length", Count, "Nodes of the reply list."),
    Column::field(Field::Omem, "reply_list_bytes", "Reply list", Bytes, "Bytes of the reply list (2.6+)."),
    Column::field(
        Field::OmemShared,
        "reply_list_shared_bytes",
        "Reply list shared",
        Bytes,
        "Bytes of the reply list that are shared with keys (Redis 8.8+).",
    ),
    Column::field(
        Field::OmemUnshared,
        "reply_list_unshared_bytes",
        "Reply list unshared",
        Bytes,
        "Bytes of the reply list that are held for this client alone (Redis 8.8+).",
    ),
    Column::field(Field::Events, "events", "Events", Text, "Installed handlers: r for read, w for write."),
    Column::field(
        Field::Redir,
        "tracking_redirect",
        "Tracking redirect",
        Number,
        "Id of the client that receives invalidations; -1: tracking is off (6.2+).",
    ),
    Column::field(Field::Capa, "capabilities", "Capabilities", Text, "Letters of CLIENT CAPA (Valkey 8.1+)."),
    Column::field(
        Field::IoThread,
        "io_thread",
        "I/O thread",
        Number,
        "I/O thread that owns the connection; 0 is the main thread (Redis 8.0+).",
    )
    .groupable(),
    Column::field(
        Field::ReadEvents,
        "read_events_total",
        "Read events",
        Count,
        "Times that the socket was read (Redis 8.8+).",
    ),
    Column::field(Field::Fd, "fd", "File descriptor", Number, "File descriptor; -1 is possible."),
    Column::new(
        ValueSource::ClosedOnly,
        "last_seen_at",
        "Last seen at",
        Time,
        "Last sample in which the client was listed. It was open at least until then.",
    )
    .closed(|row| Value::time(Some(row.closed.last_seen_at))),
    Column::new(
        ValueSource::ClosedOnly,
        "closed_at",
        "Closed at (approx.)",
        Time,
        "First sample in which the client was missing. It closed before that.",
    )
    .closed_place(5)
    .closed(|row| Value::time(Some(row.closed.closed_at))),
    Column::new(
        ValueSource::ClosedOnly,
        "closed_reason",
        "Reason",
        Word(|| CloseReason::ALL.map(CloseReason::label).to_vec()),
        "Why the connection closed, as far as the server's own counters prove it.",
    )
    .aliases(&["reason"])
    .closed_place(8)
    .closed(|row| Value::text(Some(row.closed.reason.label()))),
];

/// The last command; none for a client that has never sent one, for which the server prints `NULL`.
fn command(row: Row<'_>) -> Value<'_> {
    if row.entry.is_silent { Value::None } else { Value::untrusted(row.client.text(Field::Cmd)) }
}

fn host(address: Address<'_>) -> Value<'_> {
    match address {
        Address::Inet(address) => Value::Text(address.ip().to_canonical().to_string().into()),
        Address::Unix(path) => Value::Text(escaped(path).into()),
        Address::Unknown(text) => Value::untrusted(Some(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_finds_its_column_and_no_other() {
        let mut names = HashSet::new();
        for column in COLUMNS {
            assert!(names.insert(column.name), "{} is defined twice", column.name);
            // "Last interaction" is the title of idle_seconds, and the name of a time.
            assert!(
                Column::find(column.title).is_some_and(|found| found == column || found.name == "last_interaction")
            );
            let others = column.aliases.iter().copied().chain(column.key()).chain([column.name]);
            for name in others {
                assert_eq!(Column::find(name).map(|found| found.name), Some(column.name), "{name}");
            }
            assert!(column.help.ends_with('.') && !column.title.is_empty(), "{}", column.name);
        }
        assert!(Column::find("nonsense").is_none());
    }

    #[test]
    fn every_field_is_a_column() {
        for &field in Field::ALL {
            assert_eq!(Column::of_field(field).key(), Some(field.key()));
            assert_eq!(Column::find(&field.key().replace('-', "_")), Some(Column::of_field(field)));
        }
    }

    #[test]
    fn ages_are_never_negative() {
        let snapshot = crate::view::fixture::snapshot("id=1 addr=a idle=-5 age=-5 multi=-1 flags=N\n");
        let row = Row::new("node", &snapshot, 0).expect("a client");
        let value = |name| Column::find(name).expect(name).value(row);
        assert_eq!(["idle", "age", "multi"].map(value), [0, 0, -1].map(Value::Number));
    }

    #[test]
    fn default_columns_are_columns_of_their_list_at_places_of_their_own() {
        let defaults = Column::defaults();
        assert!(defaults.iter().all(|column| Column::of_clients().any(|known| known == *column)));
        assert!(defaults.windows(2).all(|two| two[0].default_place < two[1].default_place));
        let closed = Column::closed_defaults();
        assert!(closed.iter().all(|column| column.closed.is_some()));
        assert!(closed.windows(2).all(|two| two[0].closed_place < two[1].closed_place));
    }

    #[test]
    fn names_have_the_unit_of_their_type() {
        for column in COLUMNS {
            let has = |unit| column.name.split('_').any(|part| part == unit);
            assert_eq!(has("bytes"), matches!(column.kind, Bytes), "{}", column.name);
            assert_eq!(has("seconds"), matches!(column.kind, Seconds), "{}", column.name);
        }
    }
}
