//! The fields of `INFO` that are used, parsed from its text. Pure.
//!
//! A field that the server does not report is `None`: what exists differs by version (`server.c`:
//! `genRedisInfoString`) and by product. A value that cannot be true is `None` too, and its field is named. Clients can
//! write lines into the section about replication: a replica's announced address is printed as it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The server program. The meaning of client flags depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Product {
    /// Redis, or a server that reports no other name.
    #[default]
    Redis,
    /// Valkey.
    Valkey,
    /// KeyDB. It has no name of its own in `INFO` and is known by its threads.
    KeyDb,
    /// Redict.
    Redict,
    /// Dragonfly.
    Dragonfly,
    /// Apache Kvrocks.
    Kvrocks,
    /// Garnet.
    Garnet,
    /// A server with another `server_name`. The Redis version that it claims to be compatible with is not its own.
    Other,
}

impl Product {
    /// Every product.
    pub const ALL: [Product; 8] = [
        Product::Redis,
        Product::Valkey,
        Product::KeyDb,
        Product::Redict,
        Product::Dragonfly,
        Product::Kvrocks,
        Product::Garnet,
        Product::Other,
    ];

    /// Its name in lower case, also that in `server_name`.
    pub fn name(self) -> &'static str {
        match self {
            Product::Redis => "redis",
            Product::Valkey => "valkey",
            Product::KeyDb => "keydb",
            Product::Redict => "redict",
            Product::Dragonfly => "dragonfly",
            Product::Kvrocks => "kvrocks",
            Product::Garnet => "garnet",
            Product::Other => "other",
        }
    }

    /// The field with its version; `None` if no field has it.
    fn version_field(self) -> Option<&'static str> {
        match self {
            Product::Redis | Product::KeyDb => Some("redis_version"),
            Product::Valkey => Some("valkey_version"),
            Product::Redict => Some("redict_version"),
            Product::Dragonfly => Some("dragonfly_version"),
            Product::Kvrocks => Some("kvrocks_version"),
            Product::Garnet => Some("garnet_version"),
            Product::Other => None,
        }
    }

    fn named(name: &[u8]) -> Self {
        Self::ALL.into_iter().find(|product| product.name().as_bytes() == name).unwrap_or(Product::Other)
    }
}

/// The fields of `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server program.
    pub product: Product,
    /// The version of the product: for others than Redis not the Redis version that they are compatible with.
    pub version: Option<String>,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: Option<String>,
    /// `master` or `slave`; on Dragonfly `replica`, on KeyDB also `active-replica`.
    pub role: Option<String>,
    /// Identity of the server process; it changes at each start. Dragonfly and Kvrocks have none.
    pub run_id: Option<String>,
    /// Time since the start of the server, in seconds.
    pub uptime_seconds: Option<u64>,
    /// The server's wall clock, in microseconds since 1970.
    pub clock_micros: Option<i64>,
    /// `connected_clients`: connections without those of replicas.
    pub connected_clients: Option<u64>,
    /// The limit on connections (6.2+); `max_clients` on Dragonfly.
    pub maxclients: Option<u64>,
    /// Clients in a blocking command, or paused.
    pub blocked_clients: Option<u64>,
    /// Clients with key tracking (6.0+).
    pub tracking_clients: Option<u64>,
    /// Connections accepted since the start or the last `CONFIG RESETSTAT`.
    pub connections_received: Option<u64>,
    /// Connections refused because of `maxclients`.
    pub connections_rejected: Option<u64>,
    /// Clients closed to free memory for `maxmemory-clients` (7.0+).
    pub evicted_clients: Option<u64>,
    /// Clients closed because of their output buffer (Redis 7.4+, Valkey 8.0+).
    pub output_buffer_disconnections: Option<u64>,
    /// Clients closed because of their query buffer (Redis 7.4+, Valkey 8.0+).
    pub query_buffer_disconnections: Option<u64>,
    /// True if the server does not count connections, and reports 0 instead: Garnet without its metrics.
    pub counts_nothing: bool,
    /// The fields whose values cannot be true, such as a negative count. They are `None`.
    pub refused: BTreeSet<&'static str>,
}

/// Maximum length of a text in bytes. Versions, modes, roles and run ids have at most 40.
const MAX_TEXT: usize = 256;

/// The largest number of connections that can be true. A smaller count that became negative in 32 bits, as on
/// Dragonfly, is above it.
const MAX_CONNECTIONS: u64 = i32::MAX as u64;

/// The largest total or time that can be true: servers print most of them as signed numbers.
const MAX_TOTAL: u64 = i64::MAX as u64;

/// The value with which servers report that they do not count something: `rejected_connections` of Dragonfly.
const NOT_COUNTED: &[u8] = b"-1";

/// The place of a number of `INFO`.
type NumberPlace = fn(&mut ServerInfo) -> &mut Option<u64>;

/// The numbers: their field, the smallest and the largest value that can be true, and their place. Our own connection
/// is one of `connected_clients`.
const NUMBERS: [(&str, u64, u64, NumberPlace); 10] = [
    ("uptime_in_seconds", 0, MAX_TOTAL, |info| &mut info.uptime_seconds),
    ("connected_clients", 1, MAX_CONNECTIONS, |info| &mut info.connected_clients),
    ("maxclients", 0, MAX_CONNECTIONS, |info| &mut info.maxclients),
    ("blocked_clients", 0, MAX_CONNECTIONS, |info| &mut info.blocked_clients),
    ("tracking_clients", 0, MAX_CONNECTIONS, |info| &mut info.tracking_clients),
    ("total_connections_received", 0, MAX_TOTAL, |info| &mut info.connections_received),
    ("rejected_connections", 0, MAX_TOTAL, |info| &mut info.connections_rejected),
    ("evicted_clients", 0, MAX_TOTAL, |info| &mut info.evicted_clients),
    ("client_output_buffer_limit_disconnections", 0, MAX_TOTAL, |info| &mut info.output_buffer_disconnections),
    ("client_query_buffer_limit_disconnections", 0, MAX_TOTAL, |info| &mut info.query_buffer_disconnections),
];

/// The place of a text of `INFO`.
type TextPlace = fn(&mut ServerInfo) -> &mut Option<String>;

/// The texts: their field, and their place.
const TEXTS: [(&str, TextPlace); 3] =
    [("redis_mode", |info| &mut info.mode), ("role", |info| &mut info.role), ("run_id", |info| &mut info.run_id)];

/// The clock.
const CLOCK: &str = "server_time_usec";

/// The further fields that are read.
const FURTHER: [&str; 5] = [CLOCK, "server_name", "monitor_task", "executable", "current_client_thread"];

impl ServerInfo {
    /// Returns true for a primary, and false for a replica; `None` if the role is unknown, or another one such as that
    /// of a sentinel.
    pub fn is_primary(&self) -> Option<bool> {
        match self.role.as_deref()? {
            "master" | "primary" => Some(true),
            // KeyDB calls a replica active that accepts writes.
            "slave" | "replica" | "active-replica" => Some(false),
            _ => None,
        }
    }

    /// The role as metrics and labels name it; `None` where [`ServerInfo::is_primary`] is.
    pub fn role_label(&self) -> Option<&'static str> {
        self.is_primary().map(|is_primary| if is_primary { "primary" } else { "replica" })
    }

    /// The role to show: a Sentinel reports none.
    pub fn shown_role(&self) -> Option<&str> {
        self.role.as_deref().or(self.is_sentinel().then_some("sentinel"))
    }

    /// Parses the text of one or several sections. A line that is not `field:value` is ignored.
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        info.update(text);
        info
    }

    /// Parses further text, whose fields replace earlier values.
    pub fn update(&mut self, text: &[u8]) {
        let found = Found::read(text);
        self.update_product(&found);
        for (field, place) in TEXTS {
            if let Some(value) = found.get(field) {
                let text = text_of(value);
                self.note(field, text.is_some());
                *place(self) = text;
            }
        }
        if let Some(value) = found.get(CLOCK) {
            self.clock_micros = number_of(value, 1, MAX_TOTAL).and_then(|micros| i64::try_from(micros).ok());
            self.note(CLOCK, self.clock_micros.is_some());
        }
        for (field, least, most, place) in NUMBERS {
            if let Some(value) = found.get(field) {
                let number = number_of(value, least, most);
                self.note(field, number.is_some() || value == NOT_COUNTED);
                *place(self) = number;
            }
        }
        if let Some(state) = found.get("monitor_task") {
            self.counts_nothing = state == b"disabled";
        }
        if self.counts_nothing {
            (self.connected_clients, self.connections_received) = (None, None);
            self.note("connected_clients", true);
        }
    }

    /// True if the server is a node of a cluster.
    pub fn is_cluster(&self) -> bool {
        self.mode.as_deref() == Some("cluster")
    }

    /// True if the server is a Sentinel.
    pub fn is_sentinel(&self) -> bool {
        self.mode.as_deref() == Some("sentinel")
    }

    /// Takes product and version from the field that only this product has. Every product reports `redis_version`, too.
    fn update_product(&mut self, found: &Found<'_>) {
        const COMPATIBLE: &str = "redis_version";
        let has_own = |product: &Product| product.version_field().is_some_and(|field| found.get(field).is_some());
        let own =
            Product::ALL.iter().filter(|product| product.version_field() != Some(COMPATIBLE)).find(|p| has_own(p));
        let executable = found.get("executable").unwrap_or_default();
        let is_keydb = found.get("current_client_thread").is_some() || executable.ends_with(b"keydb-server");
        let by_name = found.get("server_name").map(Product::named);
        let by_traits = is_keydb.then_some(Product::KeyDb);
        let by_version = found.get(COMPATIBLE).map(|_| Product::Redis);
        let Some(product) = own.copied().or(by_name).or(by_traits).or(by_version) else { return };
        self.product = product;
        if let Some(field) = product.version_field()
            && let Some(version) = found.get(field)
        {
            self.version = text_of(version);
            self.note(field, self.version.is_some());
        }
    }

    /// Notes that the value of a field could be true, or not.
    fn note(&mut self, field: &'static str, is_possible: bool) {
        if is_possible {
            self.refused.remove(field);
        } else {
            self.refused.insert(field);
        }
    }

    /// The known fields, by their names in `INFO`. Parsed again, they give the same values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let mut info = self.clone();
        let version = self.product.version_field().zip(info.version.take().map(Value::from));
        let has_no_own_field = matches!(self.product, Product::KeyDb | Product::Other)
            || self.version.is_none() && self.product != Product::Redis;
        let name = has_no_own_field.then(|| ("server_name", Value::from(self.product.name())));
        let counts = self.counts_nothing.then(|| ("monitor_task", Value::from("disabled")));
        let clock = info.clock_micros.map(|micros| (CLOCK, Value::from(micros)));
        let texts = TEXTS.map(|(field, place)| Some((field, Value::from(place(&mut info).take()?))));
        let numbers = NUMBERS.map(|(field, _, _, place)| Some((field, Value::from(place(&mut info).take()?))));
        [version, name, counts].into_iter().chain(texts).chain(numbers).chain([clock]).flatten()
    }
}

/// The values of the known fields in a text: the first of each. No line that a client wrote comes before the line that
/// it imitates.
struct Found<'a>(BTreeMap<&'static str, &'a [u8]>);

impl<'a> Found<'a> {
    fn read(text: &'a [u8]) -> Self {
        let mut found = BTreeMap::new();
        // The section about replication is the last one that is asked for, and only the role is in it.
        let mut in_replication = false;
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            in_replication |= line.starts_with(b"# Replication");
            let Some((field, value)) = field_and_value(line) else { continue };
            if let Some(field) = known(field).filter(|field| !in_replication || *field == "role") {
                found.entry(field).or_insert(value);
            }
        }
        Self(found)
    }

    fn get(&self, field: &str) -> Option<&'a [u8]> {
        self.0.get(field).copied()
    }
}

/// The name under which a field is kept, if it is known.
fn known(field: &[u8]) -> Option<&'static str> {
    let field = match field {
        b"server_mode" | b"kvrocks_mode" | b"redict_mode" => b"redis_mode",
        b"max_clients" => b"maxclients",
        field => field,
    };
    let versions = Product::ALL.into_iter().filter_map(Product::version_field);
    let numbers = NUMBERS.into_iter().map(|(field, ..)| field);
    let texts = TEXTS.into_iter().map(|(field, _)| field);
    numbers.chain(texts).chain(versions).chain(FURTHER).find(|known| known.as_bytes() == field)
}

fn text_of(value: &[u8]) -> Option<String> {
    // A byte that is no text becomes a character of three bytes.
    Some(String::from_utf8_lossy(value.get(..=MAX_TEXT).unwrap_or(value)))
        .filter(|text| text.len() <= MAX_TEXT)
        .map(Cow::into_owned)
}

fn number_of(value: &[u8], least: u64, most: u64) -> Option<u64> {
    let number = std::str::from_utf8(value).ok()?.parse().ok()?;
    (least..=most).contains(&number).then_some(number)
}

/// The number of nodes of a cluster that a node knows, from the reply to `CLUSTER INFO`.
pub fn cluster_nodes(text: &[u8]) -> Option<u64> {
    let (_, value) = fields(text).find(|(field, _)| *field == b"cluster_known_nodes")?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The number of calls of some commands, and their main-thread time, from `INFO commandstats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTime {
    /// Calls since the start or the last `CONFIG RESETSTAT`.
    pub calls: u64,
    /// Microseconds of the main thread in these calls.
    pub micros: u64,
}

impl CommandTime {
    /// Sums up the named commands. A subcommand is written as `client|list`; before 7.0 all subcommands of `client`
    /// share one line. Returns `None` if none of them is listed, as before their first call.
    pub fn parse(text: &[u8], commands: &[&str]) -> Option<Self> {
        let mut sum = None;
        for (field, value) in fields(text) {
            let Some(command) = field.strip_prefix(b"cmdstat_") else { continue };
            if commands.iter().any(|wanted| wanted.as_bytes() == command) {
                let sum: &mut CommandTime = sum.get_or_insert_default();
                sum.calls = sum.calls.saturating_add(part(value, b"calls=").unwrap_or(0));
                sum.micros = sum.micros.saturating_add(part(value, b"usec=").unwrap_or(0));
            }
        }
        sum
    }

    /// The increase since an earlier reading; `None` if the counters were reset in between.
    pub fn since(self, earlier: CommandTime) -> Option<Self> {
        Some(Self { calls: self.calls.checked_sub(earlier.calls)?, micros: self.micros.checked_sub(earlier.micros)? })
    }
}

fn fields(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(|line| field_and_value(line.trim_ascii()))
}

fn field_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn part(value: &[u8], name: &[u8]) -> Option<u64> {
    let number = value.split(|&byte| byte == b',').find_map(|part| part.strip_prefix(name))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_has_its_own_version_in_any_order_of_fields() {
        let cases = [
            ("server_name:valkey\r\nvalkey_version:8.1.1", Product::Valkey, Some("8.1.1")),
            ("dragonfly_version:df-v1.21.2", Product::Dragonfly, Some("df-v1.21.2")),
            ("kvrocks_version:2.10.0", Product::Kvrocks, Some("2.10.0")),
            ("garnet_version:2.2.8\r\nserver_name:garnet", Product::Garnet, Some("2.2.8")),
            ("redict_version:7.3.6", Product::Redict, Some("7.3.6")),
            ("executable:/usr/bin/keydb-server", Product::KeyDb, Some("7.2.4")),
            ("current_client_thread:0", Product::KeyDb, Some("7.2.4")),
            ("server_name:newdb", Product::Other, None),
            ("executable:/usr/bin/redis-server", Product::Redis, Some("7.2.4")),
        ];
        for (fields, product, version) in cases {
            for text in [format!("redis_version:7.2.4\r\n{fields}"), format!("{fields}\r\nredis_version:7.2.4\r\n")] {
                let info = ServerInfo::parse(text.as_bytes());
                assert_eq!((info.product, info.version.as_deref()), (product, version), "{text}");
            }
        }
    }

    #[test]
    fn fields_are_the_inverse_of_parsing() {
        let numbers = "server_mode:standalone\nrole:master\nrun_id:r\nuptime_in_seconds:1\nserver_time_usec:2\n\
            connected_clients:3\nmaxclients:4\nblocked_clients:5\ntracking_clients:6\n\
            total_connections_received:7\nrejected_connections:8\nevicted_clients:9\n\
            client_output_buffer_limit_disconnections:10\nclient_query_buffer_limit_disconnections:11\n";
        let servers = [
            ("valkey_version:9.1.2", 15),
            ("dragonfly_version:df-v1.2", 15),
            ("redis_version:6.3.4\ncurrent_client_thread:0", 16),
            ("redis_version:7.4\nserver_name:newdb", 15),
            ("server_name:valkey", 15),
            ("garnet_version:2.2.8\nmonitor_task:disabled", 14),
        ];
        for (server, count) in servers {
            let info = ServerInfo::parse(format!("{server}\n{numbers}").as_bytes());
            let line = |(name, value): (&str, Value)| format!("{name}:{}\n", value.to_string().trim_matches('"'));
            let fields: String = info.fields().map(line).collect();
            assert_eq!(ServerInfo::parse(fields.as_bytes()), info, "{fields}");
            assert_eq!(fields.lines().count(), count, "{fields}");
        }
    }

    #[test]
    fn a_number_that_cannot_be_true_is_none_and_named() {
        // A count of Dragonfly that became negative, and what other servers may report.
        for value in ["4294964742", "18446744073697705472", "-3", "0", "many", "", "1e3", "0x10", "3\0", "\u{1d7db}"] {
            let text = format!("connected_clients:12\r\nblocked_clients:-1\r\nconnected_clients:{value}\r\n");
            let (first, again) = text.split_at("connected_clients:12\r\n".len());
            let mut info = ServerInfo::parse(first.as_bytes());
            info.update(again.as_bytes());
            assert_eq!(info.connected_clients, None, "{value:?}");
            assert_eq!(info.refused.iter().copied().collect::<Vec<_>>(), ["connected_clients"], "-1 is: not counted");
            info.update(first.as_bytes());
            assert_eq!((info.connected_clients, info.refused.len()), (Some(12), 0), "{value:?}");
        }
        let long = format!("run_id:{}\r\nredis_version:7.2\r\n", "x".repeat(1 << 20));
        let info = ServerInfo::parse(long.as_bytes());
        assert_eq!((info.run_id, info.version.as_deref()), (None, Some("7.2")));
        assert!(info.refused.contains("run_id"));
    }

    #[test]
    fn a_server_that_counts_nothing_has_no_counts() {
        let server = "garnet_version:2.2.8\r\nmonitor_task:disabled\r\nrun_id:r\r\n";
        let counts = "connected_clients:0\r\ntotal_connections_received:0\r\n";
        for text in [format!("{server}{counts}"), format!("{counts}{server}")] {
            let mut info = ServerInfo::parse(text.as_bytes());
            info.update(counts.as_bytes());
            assert_eq!((info.connected_clients, info.connections_received), (None, None));
            assert!(info.counts_nothing && info.refused.is_empty(), "{info:?}");
        }
    }

    /// A client that says that it is a replica, and announces an address with line breaks.
    #[test]
    fn lines_that_a_replica_announces_are_not_read() {
        let server = "# Server\r\nredis_version:7.0.15\r\nrun_id:true\r\n\n# Clients\r\nmaxclients:10000\r\n";
        let forged = "x\r\nvalkey_version:99\r\nmaxclients:7\r\nrole:slave\r\n# Server\r\nrun_id:forged\r\n\
            evicted_clients:9\r\nz,port=0";
        let replication = format!("# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip={forged}\r\n");
        let info = ServerInfo::parse(format!("{server}\n{replication}").as_bytes());
        assert_eq!(info, ServerInfo::parse(format!("{server}role:master\r\n").as_bytes()));
    }

    #[test]
    fn the_nodes_of_a_cluster_are_those_that_are_known() {
        let text = b"cluster_enabled:1\r\ncluster_known_nodes:6\r\ncluster_size:3\r\n";
        assert_eq!(cluster_nodes(text), Some(6));
        assert_eq!((cluster_nodes(b"cluster_known_nodes:-1\r\n"), cluster_nodes(b"")), (None, None));
    }

    #[test]
    fn command_times_are_read_with_and_without_subcommands() {
        let text = b"cmdstat_client|list:calls=3,usec=120,usec_per_call=40.00\r\ncmdstat_client|id:calls=9,usec=9\r\n";
        assert_eq!(CommandTime::parse(text, &["client|list"]), Some(CommandTime { calls: 3, micros: 120 }));
        let lumped = b"cmdstat_client:calls=4,usec=200,usec_per_call=50.00,rejected_calls=0,failed_calls=0\r\n";
        let commands = ["client|list", "client"];
        assert_eq!(CommandTime::parse(lumped, &commands), Some(CommandTime { calls: 4, micros: 200 }));
        assert_eq!(CommandTime::parse(b"", &commands), None);
    }

    #[test]
    fn command_times_too_large_for_a_sum_do_not_overflow() {
        let line = format!("cmdstat_client|list:calls={max},usec={max}\n", max = u64::MAX);
        let sum = CommandTime::parse(line.repeat(2).as_bytes(), &["client|list"]);
        assert_eq!(sum, Some(CommandTime { calls: u64::MAX, micros: u64::MAX }));
    }

    #[test]
    fn a_reset_between_two_readings_gives_no_increase() {
        let (before, after) = (CommandTime { calls: 5, micros: 50 }, CommandTime { calls: 1, micros: 60 });
        assert_eq!(after.since(before), None);
        assert_eq!(before.since(after), None);
    }
}
