//! The known fields of a row.

/// Declares [`Field`], its keys and descriptions in one table, so that they are complete and consistent.
macro_rules! fields {
    ($($name:ident = $key:literal, $doc:literal;)*) => {
        /// A field that some version of Redis or Valkey reports (`networking.c`: `catClientInfoString`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Field {
            $(#[doc = $doc] $name,)*
        }

        impl Field {
            /// Every known field, in the order of the newest servers.
            pub const ALL: &'static [Field] = &[$(Field::$name),*];

            /// The key as `CLIENT LIST` prints it.
            pub const fn key(self) -> &'static str {
                match self { $(Field::$name => $key),* }
            }

            /// The description of the field, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Field::$name => $doc),* }
            }

            /// The field with this key. Keys are ASCII by the grammar of a row.
            pub fn from_key(key: &[u8]) -> Option<Self> {
                match std::str::from_utf8(key).ok()? {
                    $($key => Some(Field::$name),)*
                    _ => None,
                }
            }
        }
    };
}

fields! {
    Id = "id", "Id of the connection, unique until the server restarts (2.8.12+).";
    Addr = "addr", "Address of the client.";
    Laddr = "laddr", "Address of the server to which the client is connected (6.2+).";
    Fd = "fd", "File descriptor of the socket; may be -1.";
    Name = "name", "Name set by `CLIENT SETNAME` (2.6.9+).";
    Age = "age", "Seconds since the connection was accepted (2.6+).";
    Idle = "idle", "Seconds since the last byte in either direction.";
    Flags = "flags", "Flag letters (N = none, b = blocked …).";
    Capa = "capa", "Capabilities set by `CLIENT CAPA` (Valkey 8.1+).";
    Db = "db", "Number of the selected database.";
    Sub = "sub", "Number of subscribed channels.";
    Psub = "psub", "Number of subscribed patterns.";
    Ssub = "ssub", "Number of subscribed shard channels (7.0.3+).";
    Multi = "multi", "Number of commands queued in `MULTI`; -1 outside of `MULTI` (2.6+).";
    Watch = "watch", "Number of watched keys (7.4+).";
    Qbuf = "qbuf", "Bytes in the query buffer.";
    QbufFree = "qbuf-free", "Free bytes in the query buffer.";
    ArgvMem = "argv-mem", "Bytes of the arguments parsed so far (6.0.9+).";
    MultiMem = "multi-mem", "Bytes of commands queued in `MULTI` (7.0+).";
    Rbs = "rbs", "Size of the static reply buffer in bytes (7.0+).";
    Rbp = "rbp", "Recent peak use of the static reply buffer in bytes (7.0+).";
    Obl = "obl", "Bytes in the static reply buffer.";
    Oll = "oll", "Number of nodes in the reply list.";
    Omem = "omem", "Bytes of the reply list (2.6+).";
    OmemShared = "omem-shared", "Bytes of the reply list shared with keys (Redis 8.8+).";
    OmemUnshared = "omem-unshared", "Bytes of the reply list not shared with keys (Redis 8.8+).";
    TotMem = "tot-mem", "Total memory of the connection in bytes (6.0.9+).";
    Events = "events", "Installed event handlers: `r` (read), `w` (write).";
    Cmd = "cmd", "Last command; `NULL` if there was none yet, or it was unknown.";
    User = "user", "ACL user (6.0+).";
    Redir = "redir", "Id of the client that receives invalidations; -1 if tracking is off (6.2+).";
    Resp = "resp", "Protocol version, 2 or 3 (7.0+).";
    LibName = "lib-name", "Client library, set by `CLIENT SETINFO` (7.2+).";
    LibVer = "lib-ver", "Version of the client library (7.2+).";
    IoThread = "io-thread", "I/O thread of the connection; 0 is the main thread (Redis 8.0+).";
    TotNetIn = "tot-net-in", "Bytes received from the client since it connected (Valkey 8.0+, Redis 8.2+).";
    TotNetOut = "tot-net-out", "Bytes sent to the client since it connected (Valkey 8.0+, Redis 8.2+).";
    TotCmds = "tot-cmds", "Number of commands since it connected (Valkey 8.0+, Redis 8.2+).";
    ReadEvents = "read-events", "Number of reads from the socket (Redis 8.8+).";
}

/// The number of known fields.
pub(super) const FIELDS: usize = Field::ALL.len();

impl Field {
    /// Returns true for the name and the fields before it. Nothing that a client sets can be read as the first
    /// occurrence of such a field.
    pub(super) const fn precedes_text_of_clients(self) -> bool {
        matches!(self, Field::Id | Field::Addr | Field::Laddr | Field::Fd | Field::Name)
    }

    /// Returns true if clients set its value.
    pub(super) const fn is_set_by_clients(self) -> bool {
        matches!(self, Field::Name | Field::LibName | Field::LibVer)
    }

    /// Returns true if its value is text. All other known fields are numbers.
    pub const fn is_text(self) -> bool {
        use Field::{Addr, Capa, Cmd, Events, Flags, Laddr, LibName, LibVer, Name, User};
        matches!(self, Addr | Laddr | Name | Flags | Capa | Events | Cmd | User | LibName | LibVer)
    }
}
