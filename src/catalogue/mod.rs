//! The table of all metrics: name, type, unit, labels, help. METRICS.md, the `catalogue` command, the exposition and
//! the tests are made from it, so they all have the same metrics.

mod document;

use serde::Serialize;

pub use document::{json, markdown};

/// One family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// The full name, with unit and `_total`.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The unit.
    pub unit: Unit,
    /// The label names in order, without `le` of a histogram.
    pub labels: &'static [&'static str],
    /// One or two self-contained sentences; also the exposition's `# HELP`.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Rises and falls.
    Gauge,
    /// Only rises, until the exporter restarts.
    Counter,
    /// Distribution of values in the current sample.
    Histogram,
}

impl MetricKind {
    /// The name of the type in the text format and in documents.
    pub const fn label(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 1 for true, 0 for false.
    Boolean,
    /// Bytes.
    Bytes,
    /// Client connections.
    Connections,
    /// A number of the things in the name.
    Count,
    /// Always 1; the labels hold the information.
    Info,
    /// Seconds; in a `_timestamp_seconds`, since 1970.
    Seconds,
}

impl Unit {
    /// The name of the unit in documents.
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

        /// Every metric, in the order of METRICS.md.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

catalogue! {
    UP: Gauge, Boolean, "redis_clients_up", ["redis"],
        "1 if the last attempt to sample the server succeeded, at least in part; else 0.";
    SAME_SERVER: Gauge, Boolean, "redis_clients_same_server", ["redis"],
        "1 if another name leads to the same server (both report the same run_id), so that its clients are counted \
         more than once; else 0. Absent if there is only one name.";
    SAMPLE_TIMESTAMP: Gauge, Seconds, "redis_clients_sample_timestamp_seconds", ["redis"],
        "Time at which the current sample began, by the exporter's clock. Clients that connected after it are added by \
         quick polls.";
    CLOCK_DIFFERENCE: Gauge, Seconds, "redis_clients_clock_difference_seconds", ["redis"],
        "The server's clock minus the exporter's. No exported time depends on it.";
    SAMPLE_DURATION: Gauge, Seconds, "redis_clients_sample_duration_seconds", ["redis"],
        "Duration of the last sample, from the first command to the last reply.";
    SAMPLE_LONGEST_COMMAND: Gauge, Seconds, "redis_clients_sample_longest_command_seconds", ["redis"],
        "Main-thread time of the longest command of the last sample, by the server's command statistics.";
    SAMPLE_PAGES: Gauge, Count, "redis_clients_sample_pages", ["redis"],
        "Number of CLIENT LIST pages of the last sample; 0 for one full listing.";
    SAMPLE_WITHIN_BUDGET: Gauge, Boolean, "redis_clients_sample_within_budget", ["redis"],
        "1 if the clients can be listed within --sample.max-stall, --sample.max-load and --sample.max-age. 0: the \
         budget can't be kept; the plan with the least excess is used.";
    SAMPLE_DRIFT: Gauge, Connections, "redis_clients_sample_drift", ["redis"],
        "Connections counted by INFO minus connections listed. Connections that open or close during a sample cause a \
         short difference; if clients are missing, all are listed at once.";
    SAMPLE_COMPLETE: Gauge, Boolean, "redis_clients_sample_complete", ["redis"],
        "1 if every client of the server is in the current sample: CLIENT LIST is allowed, every line is readable, and \
         the number of clients agrees with INFO or differs only by clients that opened or closed meanwhile.";
    SAMPLE_CONDITION: Gauge, Boolean, "redis_clients_sample_condition", ["redis", "condition"],
        "1 while an assumption about the server does not hold, or clients are missing: ids_unordered, \
         full_listing_fails, pages_limited, scanning, clients_unreadable, counts_differ, counters_reset or \
         another_server. docs/sampling.md explains each.";
    SAMPLE_SOURCE: Gauge, Info, "redis_clients_sample_source_info", ["redis", "source"],
        "Always 1. Source of the current sample: sampled (by this exporter) or received (from another exporter's \
         status).";
    SAMPLE_SERVER_SECONDS: Counter, Seconds, "redis_clients_sample_server_seconds_total", ["redis"],
        "Main-thread time of the server spent on sampling, by the server's command statistics. Excludes AUTH, HELLO \
         and CLIENT SETNAME.";
    SAMPLES: Counter, Count, "redis_clients_samples_total", ["redis", "result"],
        "Attempts to sample the server by result: whole, partial (the server refused INFO or CLIENT LIST) or failed.";
    SAMPLE_ERRORS: Counter, Count, "redis_clients_sample_errors_total", ["redis", "reason"],
        "Errors while sampling the server, by reason.";
    UNREADABLE_LINES: Counter, Count, "redis_clients_unreadable_lines_total", ["redis", "reason"],
        "Lines of CLIENT LIST that are not counted as clients, by reason.";
    ANNOUNCEMENTS: Counter, Count, "redis_clients_announcements_total", ["redis"],
        "Messages published on the server's status channel: statuses, changes and heartbeats.";
    ANNOUNCEMENTS_RECEIVED: Counter, Count, "redis_clients_announcements_received_total", ["redis"],
        "Messages of other exporters about the node, received on its status channel or that of its cluster, and \
         verified. Only counted while the exporter subscribes.";
    ANNOUNCEMENTS_REFUSED: Counter, Count, "redis_clients_announcements_refused_total", ["redis", "reason"],
        "Messages received on the server's status channel and refused: oversize, malformed, schema, client (an \
         impossible client), incomplete, replay, signature, flood or not_followed (a status of \
         another node than the one that --sample never shows). In a cluster, counted for the node that is subscribed \
         to.";
    SNAPSHOTS_MISSED: Counter, Count, "redis_clients_snapshots_missed_total", ["redis", "subscriber"],
        "Snapshots that a part of this exporter missed because its queue was full. Subscriber is announcer.";
    SERVER_INFO: Gauge, Info, "redis_clients_server_info", ["redis", "product", "version", "mode"],
        "Always 1. Product and version of the server; mode (standalone, cluster or sentinel) as INFO reports it.";
    NODE_INFO: Gauge, Info, "redis_clients_node_info",
        ["redis", "target", "cluster", "shard", "node_id", "availability_zone"],
        "Always 1. The target that led to the node, and its place in the cluster; empty labels for a single server.";
    NODE_ROLE: Gauge, Boolean, "redis_clients_node_role", ["redis", "role"],
        "1 for the role of the node, primary or replica, and 0 for the other one. Absent if INFO is refused.";
    INFO_FIELDS_REFUSED: Gauge, Count, "redis_clients_info_fields_refused", ["redis"],
        "INFO fields whose values cannot be true (named in the log). Their metrics are left out.";
    MAXCLIENTS: Gauge, Connections, "redis_clients_maxclients", ["redis"],
        "The server's connection limit (maxclients). Replicas and cluster links count against it too.";
    REPORTED_CONNECTIONS: Gauge, Connections, "redis_clients_reported_connections", ["redis"],
        "Connections by INFO's connected_clients, which excludes replicas.";
    BLOCKED: Gauge, Connections, "redis_clients_blocked", ["redis"],
        "Clients that are blocked or paused, by INFO's blocked_clients.";
    TRACKING: Gauge, Connections, "redis_clients_tracking", ["redis"],
        "Clients that use client-side caching (tracking), by INFO's tracking_clients.";
    CONNECTIONS_RECEIVED: Counter, Count, "redis_clients_connections_received_total", ["redis"],
        "Connections accepted by the server. Monotonic across server restarts and CONFIG RESETSTAT.";
    CONNECTIONS_REJECTED: Counter, Count, "redis_clients_connections_rejected_total", ["redis"],
        "Connections rejected by the server because maxclients was reached. Monotonic across server restarts and \
         CONFIG RESETSTAT.";
    EVICTED: Counter, Count, "redis_clients_evicted_total", ["redis"],
        "Clients closed by the server to stay below maxmemory-clients. Monotonic across server restarts and CONFIG \
         RESETSTAT.";
    OUTPUT_BUFFER_DISCONNECTIONS: Counter, Count, "redis_clients_output_buffer_limit_disconnections_total", ["redis"],
        "Clients closed by the server because their output buffer exceeded its limit (Redis 7.4+, Valkey 8.0+). \
         Monotonic across server restarts and CONFIG RESETSTAT.";
    QUERY_BUFFER_DISCONNECTIONS: Counter, Count, "redis_clients_query_buffer_limit_disconnections_total", ["redis"],
        "Clients closed by the server because their query buffer exceeded its limit (Redis 7.4+, Valkey 8.0+). \
         Monotonic across server restarts and CONFIG RESETSTAT.";
    CONNECTIONS: Gauge, Connections, "redis_clients_connections", ["redis", "kind"],
        "Connections of the server by kind: application, replica, primary, monitor, sentinel, other (slot migration, \
         internal) or exporter. The sum is every line of CLIENT LIST.";
    ONLINE: Gauge, Connections, "redis_clients_online", ["redis"],
        "Application clients: all connections that are not internal.";
    SILENT: Gauge, Connections, "redis_clients_silent", ["redis"],
        "Application clients that have never sent a command that the server knows, and so have no last interaction.";
    OLDEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_oldest_interaction_age_seconds", ["redis"],
        "Largest idle time (seconds since the last byte in either direction) of an application client. Excludes \
         clients that are blocked, subscribed, or have never sent a command.";
    NEWEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_newest_interaction_age_seconds", ["redis"],
        "Smallest idle time (seconds since the last byte in either direction) of an application client. Excludes \
         clients that are blocked, subscribed, or have never sent a command.";
    OLDEST_WAITING_AGE: Gauge, Seconds, "redis_clients_oldest_waiting_age_seconds", ["redis"],
        "Largest idle time (seconds since the last byte in either direction) of an application client that waits \
         (blocked or subscribed).";
    STATE_CONNECTIONS: Gauge, Connections, "redis_clients_state_connections", ["redis", "state"],
        "Application clients by state: active, blocked, subscribed or idle (no byte in either direction for \
         --idle-after; blocked and subscribed clients are never idle).";
    LAST_INTERACTION_AGE: Histogram, Seconds, "redis_clients_last_interaction_age_seconds", ["redis"],
        "Distribution of idle times in the current sample, over the clients of \
         redis_clients_oldest_interaction_age_seconds. Buckets may fall: use histogram_quantile() without rate(), \
         and no native histogram.";
    CONNECTION_AGE: Histogram, Seconds, "redis_clients_connection_age_seconds", ["redis"],
        "Distribution of the times since application clients connected, in the current sample. Buckets may fall: \
         use histogram_quantile() without rate(), and no native histogram.";
    IDLE_CONNECTIONS: Gauge, Connections, "redis_clients_idle_connections", ["redis", "min_idle"],
        "Application clients that do not wait (blocked or subscribed) and had no byte in either direction for at least \
         min_idle seconds.";
    USER_CONNECTIONS: Gauge, Connections, "redis_clients_user_connections", ["redis", "user"],
        "Application clients by ACL user (6.0+). The largest groups; all others are (other).";
    LIBRARY_CONNECTIONS: Gauge, Connections, "redis_clients_library_connections", ["redis", "library"],
        "Application clients by client library, as set with CLIENT SETINFO (7.2+). The largest groups; all others are \
         (other).";
    DATABASE_CONNECTIONS: Gauge, Connections, "redis_clients_database_connections", ["redis", "database"],
        "Application clients by selected database. The largest groups; all others are (other).";
    COMMAND_CONNECTIONS: Gauge, Connections, "redis_clients_command_connections", ["redis", "command"],
        "Application clients by last command; (none) for clients that have never sent one. The largest groups; all \
         others are (other).";
    NETWORK_CONNECTIONS: Gauge, Connections, "redis_clients_network_connections", ["redis", "network"],
        "Application clients by source network (--group.network-prefix); (unix) for the server's unix socket. The \
         largest groups; all others are (other).";
    GROUPS_FOLDED: Gauge, Count, "redis_clients_groups_folded", ["redis", "dimension"],
        "Groups that are folded into (other) because there are more than redis_clients_group_limit.";
    GROUP_LIMIT: Gauge, Count, "redis_clients_group_limit", ["redis"],
        "Maximum number of groups of one dimension that are exported for the server: --group.limit, or less if there \
         are so many servers that their series would exceed --metrics.max-series.";
    FLEET_APP_CONNECTIONS: Gauge, Connections, "redis_clients_fleet_app_connections", ["target", "client_app"],
        "Application clients by application over all servers of a target that have a current sample. The largest \
         applications; all others are (other). Only exported for a target with several servers.";
    FLEET_APPS_FOLDED: Gauge, Count, "redis_clients_fleet_apps_folded", ["target"],
        "Applications that are folded into (other) in redis_clients_fleet_app_connections.";
    APP_CONNECTIONS: Gauge, Connections, "redis_clients_app_connections", ["redis", "client_app"],
        "Application clients by application: by --group.file, else the client name without its per-process parts, else \
         the user, else the library, else (unnamed). 0 for an application that is offline or expected. The sum is \
         redis_clients_online.";
    APP_IDLE_CONNECTIONS: Gauge, Connections, "redis_clients_app_idle_connections", ["redis", "client_app", "min_idle"],
        "Clients of an application that do not wait (blocked or subscribed) and had no byte in either direction for at \
         least min_idle seconds.";
    APP_BLOCKED_CONNECTIONS: Gauge, Connections, "redis_clients_app_blocked_connections", ["redis", "client_app"],
        "Clients of an application that wait in a blocking command.";
    APP_NEWEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_app_newest_interaction_age_seconds",
        ["redis", "client_app"],
        "Smallest idle time (seconds since the last byte in either direction) of a client of an application. Excludes \
         clients that wait (blocked or subscribed) and clients that have never sent a command.";
    APP_OLDEST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_app_oldest_interaction_age_seconds",
        ["redis", "client_app"],
        "Largest idle time (seconds since the last byte in either direction) of a client of an application. Excludes \
         clients that wait (blocked or subscribed) and clients that have never sent a command.";
    APP_OLDEST_WAITING_AGE: Gauge, Seconds, "redis_clients_app_oldest_waiting_age_seconds", ["redis", "client_app"],
        "Largest idle time (seconds since the last byte in either direction) of a client of an application that waits \
         (blocked or subscribed).";
    APP_MEMORY: Gauge, Bytes, "redis_clients_app_memory_bytes", ["redis", "client_app"],
        "Memory that the server holds for the clients of an application (tot-mem, 6.0.9+).";
    APP_OUTPUT_BUFFER: Gauge, Bytes, "redis_clients_app_output_buffer_bytes", ["redis", "client_app"],
        "Bytes in the output buffers of the clients of an application (obl and omem).";
    APP_LARGEST_OUTPUT_BUFFER: Gauge, Bytes, "redis_clients_app_largest_output_buffer_bytes", ["redis", "client_app"],
        "Bytes in the largest output buffer of one client of an application.";
    APP_OPENED: Counter, Count, "redis_clients_app_opened_total", ["redis", "client_app"],
        "Connections of an application opened since exporter start, as observed. Counted for the application under \
         which it was first seen; some clients set their name later. Stays 0 for up to 15 s for a new application.";
    APP_CLOSED: Counter, Count, "redis_clients_app_closed_total", ["redis", "client_app"],
        "Connections of an application closed since exporter start, as observed. Counted for the application under \
         which it was last seen. The sum is that of redis_clients_closed_total.";
    APP_COMMANDS: Counter, Count, "redis_clients_app_commands_total", ["redis", "client_app"],
        "Commands run by the clients of an application since exporter start (Valkey 8.0+, Redis 8.2+). Excludes what a \
         client did after the last sample that lists it.";
    APP_NETWORK_RECEIVE: Counter, Bytes, "redis_clients_app_network_receive_bytes_total", ["redis", "client_app"],
        "Bytes read by the server from the clients of an application since exporter start (Valkey 8.0+, Redis 8.2+). \
         Excludes bytes after the last sample that lists a client.";
    APP_NETWORK_TRANSMIT: Counter, Bytes, "redis_clients_app_network_transmit_bytes_total", ["redis", "client_app"],
        "Bytes written by the server to the clients of an application since exporter start (Valkey 8.0+, Redis 8.2+). \
         Excludes bytes after the last sample that lists a client.";
    APP_ONLINE: Gauge, Boolean, "redis_clients_app_online", ["redis", "client_app"],
        "1 if an application has a connection, else 0. Stays 0 for --presence.forget-after, unless the application was \
         folded into (other) or too many others closed later, and always for --presence.expect. Absent instead of 0 \
         while another server of the same target has it, or may have it because it is down.";
    APP_LAST_SEEN: Gauge, Seconds, "redis_clients_app_last_seen_timestamp_seconds", ["redis", "client_app"],
        "Last time at which an application had a connection, by the exporter's clock.";
    APP_EXPECTED: Gauge, Connections, "redis_clients_app_expected", ["redis", "client_app"],
        "Minimum expected connections of an application to this server, by --presence.expect app@server.";
    FLEET_APP_EXPECTED: Gauge, Connections, "redis_clients_fleet_app_expected", ["client_app"],
        "Minimum expected connections of an application to all servers together, by --presence.expect.";
    FLEET_EXPECTED_APP_CONNECTIONS: Gauge, Connections, "redis_clients_fleet_expected_app_connections", ["client_app"],
        "Connections of an application of redis_clients_fleet_app_expected to all servers. Absent while a server has \
         no current sample and the others have fewer connections than expected, as it may have the missing ones.";
    CLOSED: Counter, Count, "redis_clients_closed_total", ["redis", "reason"],
        "Connections closed since exporter start, as observed, by reason: limit (closed by the server for a buffer \
         limit), evicted (for maxmemory-clients) or restart where the server's counters prove it, failover (another \
         server answers, without this client), else unknown. Excludes connections of this exporter.";
    OPENED: Counter, Count, "redis_clients_opened_total", ["redis"],
        "Connections opened since exporter start, as observed; of the same connections as redis_clients_closed_total.";
    UNSEEN: Counter, Count, "redis_clients_unseen_total", ["redis"],
        "Connections opened and closed between two polls, never observed.";
    OWN_CONNECTIONS: Counter, Count, "redis_clients_own_connections_total", ["redis"],
        "Connections that this exporter opened since its first sample.";
    CLIENT_INFO: Gauge, Info, "redis_clients_client_info",
        ["redis", "id", "client_app", "name", "user", "library", "address"],
        "Always 1. A client that is exported individually (--metrics.per-client): those with the largest idle times. \
         The address has no port.";
    CLIENT_LAST_INTERACTION_AGE: Gauge, Seconds, "redis_clients_client_last_interaction_age_seconds", ["redis", "id"],
        "Idle time of this client: seconds since the last byte in either direction. Absent if it has never sent a \
         command.";
    CLIENT_CONNECTION_AGE: Gauge, Seconds, "redis_clients_client_connection_age_seconds", ["redis", "id"],
        "Seconds since this client connected.";
    CLIENT_MEMORY: Gauge, Bytes, "redis_clients_client_memory_bytes", ["redis", "id"],
        "Memory that the server holds for this client (tot-mem, 6.0.9+).";
    CLIENT_OUTPUT_BUFFER: Gauge, Bytes, "redis_clients_client_output_buffer_bytes", ["redis", "id"],
        "Bytes in the output buffer of this client (obl and omem).";
    DISCOVERY_NODES: Gauge, Count, "redis_clients_discovery_nodes", ["target"],
        "Nodes of this target that are watched. Only targets whose nodes are discovered have this metric.";
    DISCOVERY_DROPPED_NODES: Gauge, Count, "redis_clients_discovery_dropped_nodes", ["target", "reason"],
        "Nodes of this target that are not watched: their cluster calls them failed, they have not joined it \
         (handshake), they announce no usable address (no_address) or one that is not dialed (refused_address), or \
         they are beyond --discovery.roles (role) or --discovery.max-nodes (max_nodes).";
    DISCOVERY_ERRORS: Counter, Count, "redis_clients_discovery_errors_total", ["target"],
        "Discoveries of the nodes of this target that failed. Nodes that were found before are still watched, until \
         --discovery.forget-after.";
    DISCOVERY_REMOVED_NODES: Counter, Count, "redis_clients_discovery_removed_nodes_total", ["target"],
        "Nodes of this target that were removed, for example since they left their cluster.";
    DISCOVERY_LAST_SUCCESS: Gauge, Seconds, "redis_clients_discovery_last_success_timestamp_seconds", ["target"],
        "Time of the last successful discovery of the nodes of this target. Absent before the first one.";
    BUILD_INFO: Gauge, Info, "redis_client_exporter_build_info", ["version", "revision", "rustc", "platform"],
        "Always 1. Version and Git revision of this exporter, version of its compiler, and the platform that it is \
         built for. The revision is unknown if it was built outside its repository.";
    WEB_INFO: Gauge, Info, "redis_client_exporter_web_info", ["external_url"],
        "Always 1. URL of the exporter's pages, for links: --web.external-url, else the host name and the port.";
    TLS_SKIP_VERIFY: Gauge, Boolean, "redis_client_exporter_tls_insecure_skip_verify", [],
        "1 if the certificates of servers are not verified (--redis.tls-insecure-skip-verify, or the same in a \
         module of --redis.auth-file), so that another host on the way can read passwords.";
    HTTP_REQUESTS: Counter, Count, "redis_client_exporter_http_requests_total", ["handler", "code"],
        "HTTP requests by handler and status code.";
    HTTP_ACCEPT_ERRORS: Counter, Count, "redis_client_exporter_http_accept_errors_total", [],
        "Connections to the web server that could not be accepted, for example because file descriptors ran out.";
    HTTP_DROPPED: Counter, Count, "redis_client_exporter_http_connections_dropped_total", ["stage"],
        "Connections to the web server that were closed to make room for others, by stage: silent (no complete \
         request), waiting (between two requests) or answering. A growing number is a sign of a peer that opens too \
         many connections.";
    GROUP_FILE_VALID: Gauge, Boolean, "redis_client_exporter_group_file_last_reload_successful", [],
        "1 if the last reload of --group.file succeeded. 0: the file is invalid and the previous rules are in use. \
         Only exported with --group.file.";
    KEY_FILE_VALID: Gauge, Boolean, "redis_client_exporter_announce_key_file_last_reload_successful", [],
        "1 if the last reload of --announce.key-file succeeded. 0: the file is invalid and the previous keys are in \
         use. Only exported with --announce.key-file.";
    TARGETS_FILE_VALID: Gauge, Boolean, "redis_client_exporter_targets_file_last_reload_successful", [],
        "1 if the last reload of --redis.targets-file and --redis.auth-file succeeded. 0: one of them is invalid and \
         the previous targets are in use. Only exported with --redis.targets-file.";
    WEB_CONFIG_VALID: Gauge, Boolean, "redis_client_exporter_web_config_last_reload_successful", [],
        "1 if the last reload of --web.config.file and the files it names succeeded. 0: they are invalid, or have no \
         TLS, users or check of client certificates any more, and the previous configuration is in use. Only exported \
         with --web.config.file.";
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
