//! The table of every metric: name, type, unit, labels, help. METRICS.md, the `catalogue` command, the exposition and the
//! tests all read it, so none of them can tell of a metric that the others do not know.

use serde::Serialize;

/// One family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// The full name, unit and `_total` included.
    pub name: &'static str,
    /// How the value behaves.
    pub kind: MetricKind,
    /// What one is one of.
    pub unit: Unit,
    /// The label names in their order. `le` of a histogram is not listed.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence or two; also the exposition's `# HELP`.
    pub help: &'static str,
}

/// How a metric's value behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until the exporter starts anew.
    Counter,
    /// How a gauge is distributed at this moment.
    Histogram,
}

impl MetricKind {
    /// The type as the text format and documents name it.
    pub const fn label(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// What a metric's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 1 is yes, 0 is no.
    Boolean,
    /// Bytes.
    Bytes,
    /// Client connections.
    Connections,
    /// Pieces of whatever the name says.
    Count,
    /// Always 1; the labels tell.
    Info,
    /// Seconds; in a `_timestamp_seconds`, since 1970.
    Seconds,
}

impl Unit {
    /// The unit as documents name it.
    pub const fn label(self) -> &'static str {
        match self {
            Unit::Boolean => "boolean",
            Unit::Bytes => "bytes",
            Unit::Connections => "connections",
            Unit::Count => "count",
            Unit::Info => "info",
            Unit::Seconds => "seconds",
        }
    }
}

macro_rules! catalogue {
    ($($id:ident: $kind:ident, $unit:ident, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric {
                name: $name,
                kind: MetricKind::$kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric, in the order in which a reader wants to meet them.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

catalogue! {
    UP: Gauge, Boolean, "redis_clients_up", ["redis"],
        "Whether the last attempt to sample the node succeeded, in whole or in part.";
    SAMPLE_TIMESTAMP: Gauge, Seconds, "redis_clients_sample_timestamp_seconds", ["redis"],
        "When the sample was begun that the client gauges tell of, by the node's own clock. NewIds since are in them too.";
    SAMPLE_DURATION: Gauge, Seconds, "redis_clients_sample_duration_seconds", ["redis"],
        "How long taking the last sample took, from the first command to the last reply.";
    SAMPLE_LONGEST_COMMAND: Gauge, Seconds, "redis_clients_sample_longest_command_seconds", ["redis"],
        "How long the longest command of the last sample held the node's main thread, by the node's own command statistics.";
    SAMPLE_PAGES: Gauge, Count, "redis_clients_sample_pages", ["redis"],
        "Pages in which the clients were listed in the last sample; 0: all at once, by one full listing.";
    SAMPLE_WITHIN_BUDGET: Gauge, Boolean, "redis_clients_sample_within_budget", ["redis"],
        "Whether the clients can be listed within --sample.max-stall and --sample.max-load with an answer no older than --sample.max-age; if not, the least harmful way is taken.";
    SAMPLE_DRIFT: Gauge, Connections, "redis_clients_sample_drift", ["redis"],
        "Connections that INFO counts more than were listed (negative: fewer). Connections that came and went while the sample was taken make it differ from 0 for a moment; a lasting one is mended by a full listing.";
    SAMPLE_COMPLETE: Gauge, Boolean, "redis_clients_sample_complete", ["redis"],
        "Whether every client of the node is in the last sample: it could be listed and no line was unreadable.";
    SAMPLE_SOURCE: Gauge, Info, "redis_clients_sample_source", ["redis", "source"],
        "Always 1. The source is sampled: read from the node by this exporter.";
    SAMPLE_SERVER_SECONDS: Counter, Seconds, "redis_clients_sample_server_seconds_total", ["redis"],
        "Main-thread time of the node that sampling took, by the node's own command statistics. Logging in and naming the connection are not in it.";
    SAMPLES: Counter, Count, "redis_clients_samples_total", ["redis", "result"],
        "Attempts to sample the node. The result is whole, partial (the node refused one of INFO and CLIENT LIST) or failed.";
    SAMPLE_ERRORS: Counter, Count, "redis_clients_sample_errors_total", ["redis", "reason"],
        "What went wrong while sampling, by reason.";
    UNREADABLE_LINES: Counter, Count, "redis_clients_unreadable_lines_total", ["redis", "reason"],
        "Lines of CLIENT LIST that could not be read as a client. These clients are missing from all other metrics.";
    ANNOUNCEMENTS: Counter, Count, "redis_clients_announcements_total", ["redis"],
        "Messages announced on the node's channel: statuses, changes, heartbeats.";
    ANNOUNCEMENTS_HEARD: Counter, Count, "redis_clients_announcements_heard_total", ["redis"],
        "Messages heard on the node's channel and believed, ours among them. Only counted where we listen.";
    ANNOUNCEMENTS_REFUSED: Counter, Count, "redis_clients_announcements_refused_total", ["redis", "reason"],
        "Messages heard on the node's channel and not believed: oversize, malformed, schema, client (one that cannot be), incomplete, replay, signature or flood.";
    SERVER_INFO: Gauge, Info, "redis_clients_server_info", ["redis", "product", "version", "role", "mode"],
        "Always 1. What the node says it is; role and mode in the words of INFO.";
    MAXCLIENTS: Gauge, Connections, "redis_clients_maxclients", ["redis"],
        "The node's limit on connections. Replicas and cluster links count against it too.";
    REPORTED_CONNECTIONS: Gauge, Connections, "redis_clients_reported_connections", ["redis"],
        "Connections by INFO's connected_clients, which leaves out replicas.";
    BLOCKED: Gauge, Connections, "redis_clients_blocked", ["redis"],
        "Clients that wait in a blocking command or are paused, by INFO.";
    TRACKING: Gauge, Connections, "redis_clients_tracking", ["redis"],
        "Clients that track keys for client-side caching, by INFO.";
    CONNECTIONS_RECEIVED: Counter, Count, "redis_clients_connections_received_total", ["redis"],
        "Connections the node accepted. Goes on over its restarts and CONFIG RESETSTAT.";
    CONNECTIONS_REJECTED: Counter, Count, "redis_clients_connections_rejected_total", ["redis"],
        "Connections the node refused because maxclients was reached. Goes on over its restarts and CONFIG RESETSTAT.";
    EVICTED: Counter, Count, "redis_clients_evicted_total", ["redis"],
        "Clients the node closed to stay below maxmemory-clients. Goes on over its restarts and CONFIG RESETSTAT.";
    OUTPUT_BUFFER_DISCONNECTIONS: Counter, Count, "redis_clients_output_buffer_limit_disconnections_total", ["redis"],
        "Clients the node closed because their output buffer grew beyond its limit.";
    QUERY_BUFFER_DISCONNECTIONS: Counter, Count, "redis_clients_query_buffer_limit_disconnections_total", ["redis"],
        "Clients the node closed because their query buffer grew beyond its limit.";
    CONNECTIONS: Gauge, Connections, "redis_clients_connections", ["redis", "kind"],
        "Connections of the node by kind: application, replica, primary, monitor, sentinel, other (slot migration, internal), exporter. The sum is every line of CLIENT LIST.";
    ONLINE: Gauge, Connections, "redis_clients_online", ["redis"],
        "Connections of applications: all that are not internal.";
    SILENT: Gauge, Connections, "redis_clients_silent", ["redis"],
        "Online connections that have never sent a command (or one the node does not know), and so have no last interaction.";
    OLDEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_oldest_interaction_age_seconds", ["redis"],
        "Time since the longest silent online client last spoke or was spoken to. Waiting and silent clients are left out.";
    NEWEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_newest_interaction_age_seconds", ["redis"],
        "Time since any online client last spoke or was spoken to. Waiting and silent clients are left out.";
    STATE_CONNECTIONS: Gauge, Connections, "redis_clients_state_connections", ["redis", "state"],
        "Online connections by state: waiting (blocked or subscribed, silent by design), idle (silent for --idle-after or longer) or active.";
    LAST_INTERACTION_AGE: Histogram, Seconds, "redis_clients_last_interaction_age_seconds", ["redis"],
        "How the time since their last interaction is distributed over the online clients now (silent ones left out). A histogram of the moment: use histogram_quantile on _bucket, never rate; do not convert it (convert_classic_histograms_to_nhcb).";
    CONNECTION_AGE: Histogram, Seconds, "redis_clients_connection_age_seconds", ["redis"],
        "How the time since they connected is distributed over the online clients now. A histogram of the moment: use histogram_quantile on _bucket, never rate; do not convert it (convert_classic_histograms_to_nhcb).";
    IDLE_CONNECTIONS: Gauge, Connections, "redis_clients_idle_connections", ["redis", "min_idle"],
        "Online connections that are not waiting and had no byte in either direction for at least min_idle seconds.";
    USER_CONNECTIONS: Gauge, Connections, "redis_clients_user_connections", ["redis", "user"],
        "Online connections by ACL user. The largest groups; the rest is (other).";
    LIBRARY_CONNECTIONS: Gauge, Connections, "redis_clients_library_connections", ["redis", "library"],
        "Online connections by client library, as set with CLIENT SETINFO. The largest groups; the rest is (other).";
    DATABASE_CONNECTIONS: Gauge, Connections, "redis_clients_database_connections", ["redis", "database"],
        "Online connections by selected database. The largest groups; the rest is (other).";
    COMMAND_CONNECTIONS: Gauge, Connections, "redis_clients_command_connections", ["redis", "command"],
        "Online connections by the last command they sent; (none) if there was none. The largest groups; the rest is (other).";
    NETWORK_CONNECTIONS: Gauge, Connections, "redis_clients_network_connections", ["redis", "network"],
        "Online connections by the network they come from (--group.network-prefix); (unix) is the server's own socket. The largest groups; the rest is (other).";
    GROUPS_FOLDED: Gauge, Count, "redis_clients_groups_folded", ["redis", "dimension"],
        "Groups that were folded into (other), because there are more than --group.limit.";
    APP_CONNECTIONS: Gauge, Connections, "redis_clients_app_connections", ["redis", "client_app"],
        "Online connections by application: by --group.file, else the client's name without what changes per process, else its user, else its library, else (unnamed). An application that went lately, or is expected, has 0. The sum is redis_clients_online.";
    APP_IDLE_CONNECTIONS: Gauge, Connections, "redis_clients_app_idle_connections", ["redis", "client_app", "min_idle"],
        "Online connections of an application that are not waiting and had no byte in either direction for at least min_idle seconds.";
    APP_BLOCKED_CONNECTIONS: Gauge, Connections, "redis_clients_app_blocked_connections", ["redis", "client_app"],
        "Online connections of an application that wait in a blocking command.";
    APP_NEWEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_app_newest_interaction_age_seconds", ["redis", "client_app"],
        "Time since any connection of an application last spoke or was spoken to. Waiting and silent ones are left out.";
    APP_OLDEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_app_oldest_interaction_age_seconds", ["redis", "client_app"],
        "Time since the longest silent connection of an application last spoke or was spoken to. Waiting and silent ones are left out.";
    APP_MEMORY: Gauge, Bytes, "redis_clients_app_memory_bytes", ["redis", "client_app"],
        "Memory the node holds for the connections of an application (tot-mem, 6.0.9 and later).";
    APP_OUTPUT_BUFFER: Gauge, Bytes, "redis_clients_app_output_buffer_bytes", ["redis", "client_app"],
        "Bytes that wait to be sent to the connections of an application (obl and omem).";
    APP_LARGEST_OUTPUT_BUFFER: Gauge, Bytes, "redis_clients_app_largest_output_buffer_bytes", ["redis", "client_app"],
        "The most bytes that wait to be sent to one connection of an application.";
    APP_OPENED: Counter, Count, "redis_clients_app_opened_total", ["redis", "client_app"],
        "Connections of an application that came since we watch, and were seen. Counted for the application it was first seen as: some take their name only later.";
    APP_CLOSED: Counter, Count, "redis_clients_app_closed_total", ["redis", "client_app"],
        "Connections of an application that went since we watch. Counted for the application it was last seen as.";
    APP_COMMANDS: Counter, Count, "redis_clients_app_commands_total", ["redis", "client_app"],
        "Commands the connections of an application ran since we watch (Valkey 8.0, Redis 8.2 and later). What a connection did after it was last seen is not in it.";
    APP_NETWORK_RECEIVE: Counter, Bytes, "redis_clients_app_network_receive_bytes_total", ["redis", "client_app"],
        "Bytes the node read from the connections of an application, as above.";
    APP_NETWORK_TRANSMIT: Counter, Bytes, "redis_clients_app_network_transmit_bytes_total", ["redis", "client_app"],
        "Bytes the node wrote to the connections of an application, as above.";
    APP_ONLINE: Gauge, Boolean, "redis_clients_app_online", ["redis", "client_app"],
        "Whether an application has a connection. Stays at 0 for --presence.forget-after once it has none, unless it was folded into (other) or too many went since; always there for --presence.expect.";
    APP_LAST_SEEN: Gauge, Seconds, "redis_clients_app_last_seen_timestamp_seconds", ["redis", "client_app"],
        "When an application last had a connection, by the node's clock.";
    APP_EXPECTED: Gauge, Connections, "redis_clients_app_expected", ["redis", "client_app"],
        "The least connections that an application should have, by --presence.expect.";
    CLOSED: Counter, Count, "redis_clients_closed_total", ["redis", "reason"],
        "Connections that went since we watch: limit (the node closed it for its buffers), evicted (for maxmemory-clients) or restart as far as the node's own counters prove it, else unknown. Our own are left out.";
    UNSEEN: Counter, Count, "redis_clients_unseen_total", ["redis"],
        "Connections that came and went between two looks, so that nobody saw whose they were.";
    CLIENT_INFO: Gauge, Info, "redis_clients_client_info", ["redis", "id", "client_app", "name", "user", "library", "address"],
        "Always 1. A client told one by one, by --metrics.per-client: the longest silent ones. The address has no port.";
    CLIENT_LAST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_client_last_interaction_age_seconds", ["redis", "id"],
        "Time since this client last spoke or was spoken to; left out if it never sent a command.";
    CLIENT_CONNECTION_AGE: Gauge, Seconds, "redis_clients_client_connection_age_seconds", ["redis", "id"],
        "Time since this client connected.";
    CLIENT_MEMORY: Gauge, Bytes, "redis_clients_client_memory_bytes", ["redis", "id"],
        "Memory the node holds for this client (tot-mem, 6.0.9 and later).";
    CLIENT_OUTPUT_BUFFER: Gauge, Bytes, "redis_clients_client_output_buffer_bytes", ["redis", "id"],
        "Bytes that wait to be sent to this client (obl and omem).";
    BUILD_INFO: Gauge, Info, "redis_client_exporter_build_info", ["version"],
        "Always 1. The version of this exporter.";
    WEB_INFO: Gauge, Info, "redis_client_exporter_web_info", ["external_url"],
        "Always 1. Where browsers find the pages of this exporter, for links: --web.external-url, else the host's name and the port.";
    HTTP_REQUESTS: Counter, Count, "redis_client_exporter_http_requests_total", ["handler", "code"],
        "HTTP requests answered, by route and status code.";
    HTTP_ACCEPT_ERRORS: Counter, Count, "redis_client_exporter_http_accept_errors_total", [],
        "Connections to the web server that could not be accepted, as when file descriptors run out.";
    GROUP_FILE_VALID: Gauge, Boolean, "redis_client_exporter_group_file_last_reload_successful", [],
        "Whether --group.file made sense when it was read last; only there with that flag. If not, the rules before are in use.";
    WEB_CONFIG_VALID: Gauge, Boolean, "redis_client_exporter_web_config_last_reload_successful", [],
        "Whether --web.config.file and the files it names made sense when they were read last; only there with that flag. If not, the configuration before is in use.";
    PROCESS_CPU: Counter, Seconds, "process_cpu_seconds_total", [],
        "Total user and system CPU time spent in seconds.";
    PROCESS_OPEN_FDS: Gauge, Count, "process_open_fds", [],
        "Number of open file descriptors.";
    PROCESS_MAX_FDS: Gauge, Count, "process_max_fds", [],
        "Maximum number of open file descriptors.";
    PROCESS_VIRTUAL_MEMORY: Gauge, Bytes, "process_virtual_memory_bytes", [],
        "Virtual memory size in bytes.";
    PROCESS_RESIDENT_MEMORY: Gauge, Bytes, "process_resident_memory_bytes", [],
        "Resident memory size in bytes.";
    PROCESS_START_TIME: Gauge, Seconds, "process_start_time_seconds", [],
        "Start time of the process since unix epoch in seconds.";
    PROCESS_THREADS: Gauge, Count, "process_threads", [],
        "Number of OS threads in the process.";
}
