//! The fields of `INFO` that are used, parsed from its text. Pure.
//!
//! A field that the server does not report is `None`: what exists differs by version (`server.c`:
//! `genRedisInfoString`).

use serde_json::Value;

/// The server program. The meaning of client flags depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Product {
    /// Redis, or a fork that reports no other name: KeyDB, Redict.
    #[default]
    Redis,
    /// Valkey.
    Valkey,
    /// Apache Kvrocks.
    Kvrocks,
}

impl Product {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Product::Redis => "redis",
            Product::Valkey => "valkey",
            Product::Kvrocks => "kvrocks",
        }
    }
}

/// The fields of `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server program.
    pub product: Product,
    /// The version of the product: for Valkey its own, not the Redis version that it is compatible with.
    pub version: Option<String>,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: Option<String>,
    /// `master` or `slave`.
    pub role: Option<String>,
    /// Identity of the server process; it changes at each start.
    pub run_id: Option<String>,
    /// Time since the start of the server, in seconds.
    pub uptime_seconds: Option<u64>,
    /// The server's wall clock, in microseconds since 1970.
    pub clock_micros: Option<i64>,
    /// `connected_clients`: connections without those of replicas.
    pub connected_clients: Option<u64>,
    /// The limit on connections (6.2+).
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
}

impl ServerInfo {
    /// Parses the text of one or several sections. A line that is not `field:value` is ignored.
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        info.update(text);
        info
    }

    /// Parses further text, whose fields replace earlier values.
    pub fn update(&mut self, text: &[u8]) {
        for (field, value) in fields(text) {
            self.set(field, value);
        }
    }

    /// The known fields, by their names in `INFO`. Parsed again, they give the same value.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let version = match self.product {
            Product::Redis => "redis_version",
            Product::Valkey => "valkey_version",
            Product::Kvrocks => "kvrocks_version",
        };
        let texts =
            [(version, &self.version), ("redis_mode", &self.mode), ("role", &self.role), ("run_id", &self.run_id)];
        let numbers = [
            ("uptime_in_seconds", self.uptime_seconds),
            ("connected_clients", self.connected_clients),
            ("maxclients", self.maxclients),
            ("blocked_clients", self.blocked_clients),
            ("tracking_clients", self.tracking_clients),
            ("total_connections_received", self.connections_received),
            ("rejected_connections", self.connections_rejected),
            ("evicted_clients", self.evicted_clients),
            ("client_output_buffer_limit_disconnections", self.output_buffer_disconnections),
            ("client_query_buffer_limit_disconnections", self.query_buffer_disconnections),
        ];
        let texts = texts.map(|(name, text)| (name, text.clone().map(Value::from)));
        let numbers = numbers.map(|(name, number)| (name, number.map(Value::from)));
        let micros = ("server_time_usec", self.clock_micros.map(Value::from));
        let all = texts.into_iter().chain(numbers).chain([micros]);
        all.filter_map(|(name, value)| Some((name, value?)))
    }

    /// True if the server is a node of a cluster.
    pub fn is_cluster(&self) -> bool {
        self.mode.as_deref() == Some("cluster")
    }

    /// True if the server is a Sentinel.
    pub fn is_sentinel(&self) -> bool {
        self.mode.as_deref() == Some("sentinel")
    }

    fn set(&mut self, field: &[u8], value: &[u8]) {
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match field {
            b"redis_version" => self.version = self.version.take().or_else(text),
            b"valkey_version" => (self.product, self.version) = (Product::Valkey, text()),
            b"kvrocks_version" => (self.product, self.version) = (Product::Kvrocks, text()),
            b"redis_mode" | b"server_mode" => self.mode = text(),
            b"role" => self.role = text(),
            b"run_id" => self.run_id = text(),
            b"uptime_in_seconds" => self.uptime_seconds = number(),
            b"server_time_usec" => {
                self.clock_micros = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok())
            }
            b"connected_clients" => self.connected_clients = number(),
            b"maxclients" => self.maxclients = number(),
            b"blocked_clients" => self.blocked_clients = number(),
            b"tracking_clients" => self.tracking_clients = number(),
            b"total_connections_received" => self.connections_received = number(),
            b"rejected_connections" => self.connections_rejected = number(),
            b"evicted_clients" => self.evicted_clients = number(),
            b"client_output_buffer_limit_disconnections" => self.output_buffer_disconnections = number(),
            b"client_query_buffer_limit_disconnections" => self.query_buffer_disconnections = number(),
            _ => {}
        }
    }
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
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.trim_ascii();
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], &line[colon + 1..]))
    })
}

fn part(value: &[u8], name: &[u8]) -> Option<u64> {
    let number = value.split(|&byte| byte == b',').find_map(|part| part.strip_prefix(name))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valkey_has_its_own_version_in_any_order_of_fields() {
        let first = ServerInfo::parse(b"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n");
        let last = ServerInfo::parse(b"valkey_version:8.1.1\r\nredis_version:7.2.4\r\n");
        assert_eq!(first, last);
        assert_eq!((first.product, first.version.as_deref()), (Product::Valkey, Some("8.1.1")));
    }

    #[test]
    fn fields_are_the_inverse_of_parsing() {
        let text = b"valkey_version:9.1.2\nserver_mode:standalone\nrole:master\nrun_id:r\nuptime_in_seconds:1\n\
            server_time_usec:2\nconnected_clients:3\nmaxclients:4\nblocked_clients:5\ntracking_clients:6\n\
            total_connections_received:7\nrejected_connections:8\nevicted_clients:9\n\
            client_output_buffer_limit_disconnections:10\nclient_query_buffer_limit_disconnections:11\n";
        let info = ServerInfo::parse(text);
        let fields: String =
            info.fields().map(|(name, value)| format!("{name}:{}\n", value.to_string().trim_matches('"'))).collect();
        assert_eq!(ServerInfo::parse(fields.as_bytes()), info);
        assert_eq!(fields.lines().count(), 15);
    }

    #[test]
    fn a_missing_or_invalid_number_is_none() {
        let info = ServerInfo::parse(b"# Clients\r\nconnected_clients:many\r\nblocked_clients:-1\r\n\r\nno colon\r\n");
        assert_eq!(info, ServerInfo::default());
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
