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
        "When the sample was begun that the client gauges tell of, by the node's own clock. Newcomers since are in them too.";
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
    GROUPS_FOLDED: Gauge, Count, "redis_clients_groups_folded", ["redis", "dimension"],
        "Groups that were folded into (other), because there are more than --group.limit.";
    BUILD_INFO: Gauge, Info, "redis_client_exporter_build_info", ["version"],
        "Always 1. The version of this exporter.";
    HTTP_REQUESTS: Counter, Count, "redis_client_exporter_http_requests_total", ["handler", "code"],
        "HTTP requests answered, by route and status code.";
    HTTP_ACCEPT_ERRORS: Counter, Count, "redis_client_exporter_http_accept_errors_total", [],
        "Connections to the web server that could not be accepted, as when file descriptors run out.";
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
