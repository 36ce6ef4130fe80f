//! The fields of a row that are known by name.

/// Declares [`Field`] and its keys in one table, so that neither can lack what the other has.
macro_rules! fields {
    ($($name:ident = $key:literal, $doc:literal;)*) => {
        /// A field that some generation of Redis or Valkey reports (`networking.c`: `catClientInfoString`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Field {
            $(#[doc = $doc] $name,)*
        }

        impl Field {
            /// Every known field, in the order in which the newest servers print them.
            pub const ALL: &'static [Field] = &[$(Field::$name),*];

            /// The key as `CLIENT LIST` prints it.
            pub const fn key(self) -> &'static str {
                match self { $(Field::$name => $key),* }
            }

            /// What it tells, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Field::$name => $doc),* }
            }

            /// The field of that key; keys are ASCII by the grammar of a row.
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
    Id = "id", "Number of the connection, never used again before a restart (2.8.12+).";
    Addr = "addr", "The peer's address.";
    Laddr = "laddr", "The server's own address (6.2+).";
    Fd = "fd", "File descriptor; -1 is possible.";
    Name = "name", "What `CLIENT SETNAME` set (2.6.9+).";
    Age = "age", "Seconds since the connection was accepted (2.6+).";
    Idle = "idle", "Seconds since the last byte in either direction.";
    Flags = "flags", "One letter a property.";
    Capa = "capa", "Letters of `CLIENT CAPA` (Valkey 8.1+).";
    Db = "db", "The selected database.";
    Sub = "sub", "Channels subscribed to.";
    Psub = "psub", "Patterns subscribed to.";
    Ssub = "ssub", "Shard channels subscribed to (7.0.3+).";
    Multi = "multi", "Commands queued in `MULTI`; -1 outside one (2.6+).";
    Watch = "watch", "Keys watched (7.4+).";
    Qbuf = "qbuf", "Bytes in the query buffer.";
    QbufFree = "qbuf-free", "Spare bytes of the query buffer.";
    ArgvMem = "argv-mem", "Bytes of arguments already parsed (6.0.9+).";
    MultiMem = "multi-mem", "Bytes of commands queued in `MULTI` (7.0+).";
    Rbs = "rbs", "Size of the static reply buffer in bytes (7.0+).";
    Rbp = "rbp", "Recent peak use of the static reply buffer in bytes (7.0+).";
    Obl = "obl", "Bytes in the static reply buffer.";
    Oll = "oll", "Nodes of the reply list.";
    Omem = "omem", "Bytes of the reply list (2.6+).";
    OmemShared = "omem-shared", "Bytes of the reply list shared with keys (Redis 8.8+).";
    OmemUnshared = "omem-unshared", "Bytes of the reply list held alone (Redis 8.8+).";
    TotMem = "tot-mem", "Bytes the connection holds in all (6.0.9+).";
    Events = "events", "`r` and `w`: which handlers are installed.";
    Cmd = "cmd", "The last command; `NULL`: none yet, or an unknown one.";
    User = "user", "The ACL user (6.0+).";
    Redir = "redir", "Client that receives invalidations; -1: tracking is off (6.2+).";
    Resp = "resp", "Protocol version, 2 or 3 (7.0+).";
    LibName = "lib-name", "Client library, by `CLIENT SETINFO` (7.2+).";
    LibVer = "lib-ver", "Version of the client library (7.2+).";
    IoThread = "io-thread", "I/O thread that owns the connection; 0: the main one (Redis 8.0+).";
    TotNetIn = "tot-net-in", "Bytes read from it since it was accepted (Valkey 8.0+, Redis 8.2+).";
    TotNetOut = "tot-net-out", "Bytes written to it since it was accepted (Valkey 8.0+, Redis 8.2+).";
    TotCmds = "tot-cmds", "Commands it ran since it was accepted (Valkey 8.0+, Redis 8.2+).";
    ReadEvents = "read-events", "Times its socket was read (Redis 8.8+).";
}

/// How many fields are known.
pub(super) const FIELDS: usize = Field::ALL.len();

impl Field {
    /// Whether its value is text; all other known fields are numbers.
    pub const fn is_text(self) -> bool {
        use Field::{Addr, Capa, Cmd, Events, Flags, Laddr, LibName, LibVer, Name, User};
        matches!(self, Addr | Laddr | Name | Flags | Capa | Events | Cmd | User | LibName | LibVer)
    }
}
