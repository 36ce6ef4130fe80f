//! The one walk over the nodes that makes their metric families.

use std::collections::BTreeSet;
use std::time::Instant;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Series, MetricFamily, MetricType};

use crate::catalogue::{self as c, Metric, MetricKind};
use crate::client_list::{Address, Fault, Field};
use crate::failure::{Reason, Refusal};
use crate::latest::{ChannelTally, FleetApps, NodeState, Nodes, Phase};
use crate::sample::{SampleCondition, Source};
use crate::snapshot::{
    Ages, Churn, ClientCounts, ClientKind, CloseReason, Counters, Groups, Presence, Seen, Snapshot, State, Tally,
    output_buffer_bytes,
};
use crate::text::label_value;
use crate::view::row::Row;

/// The metric families of the nodes, sorted by name: of all nodes, or only of one. They are built from scratch for each
/// state, so series of removed clients and nodes disappear. Gauges of samples that are too old at `now` are left out.
pub fn node_families(nodes: &Nodes, only: Option<&NodeState>, now: Instant) -> Vec<MetricFamily> {
    let mut families = Families::default();
    let same_servers: BTreeSet<&str> = nodes.same_servers(now).into_iter().flatten().collect();
    let targets = match only {
        Some(node) => nodes.apps_of_target(node.target(), now),
        None => nodes.target_apps(now),
    };
    for node in nodes.iter().filter(|node| only.is_none_or(|only| only.node == node.node)) {
        let is_same_server = (nodes.count() > 1).then(|| same_servers.contains(&*node.node));
        families.add_node(node, is_same_server, targets.get(node.target()), now);
    }
    families.sorted()
}

/// Families in progress, in the order of their first series.
#[derive(Default)]
pub(super) struct Families(Vec<(&'static str, MetricFamily)>);

/// The series of one node.
struct NodeSeries<'a> {
    families: &'a mut Families,
    node: &'a str,
}

impl Families {
    /// `target` has the applications of the node's target, if that has several nodes.
    fn add_node(
        &mut self,
        node: &NodeState,
        is_same_server: Option<bool>,
        target: Option<&FleetApps<'_>>,
        now: Instant,
    ) {
        let mut series = NodeSeries { families: self, node: &node.node };
        let place = &*node.origin;
        series.add(
            c::NODE_INFO,
            &[node.target(), &place.cluster, &place.shard, &place.node_id, &place.availability_zone],
            1.0,
        );
        series.add_tally(node);
        series.add_channel(&node.channel);
        for subscriber in &node.subscribers {
            series.add(c::SNAPSHOTS_MISSED, &[subscriber.name], subscriber.missed() as f64);
        }
        let fresh = node.fresh_snapshot(now);
        if !matches!(node.phase, Phase::Starting) {
            series.add(c::UP, &[], flag(fresh.is_some()));
        }
        if let Some(snapshot) = node.last_snapshot() {
            series.add_counters(&snapshot.counters);
            let received = snapshot.connections_received();
            series.add_known(c::CONNECTIONS_RECEIVED, &[], received.map(|received| received as f64));
            series.add_churn(&snapshot.churn);
            series.add_totals(&snapshot.presence);
        }
        if let Some(snapshot) = fresh {
            series.add_known(c::SAME_SERVER, &[], is_same_server.map(flag));
            series.add_sample(snapshot);
            series.add_server(snapshot);
            if let Some(counts) = &snapshot.client_counts {
                series.add_client_counts(counts);
                series.add_groups(counts, &snapshot.presence);
                series.add_presence(counts, &snapshot.presence, target);
                series.add_per_client(snapshot);
            }
        }
    }

    /// Adds a series with the values of all labels of the catalogue.
    pub(super) fn add(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let mut series = labeled(metric, labels.iter().copied());
        match metric.kind {
            MetricKind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                series.set_gauge(gauge);
            }
            MetricKind::Counter | MetricKind::Histogram => {
                let mut counter = Counter::default();
                counter.set_value(value);
                series.set_counter(counter);
            }
        }
        self.family(metric).mut_metric().push(series);
    }

    /// The families, sorted by name.
    pub(super) fn sorted(self) -> Vec<MetricFamily> {
        let mut families: Vec<_> = self.0.into_iter().map(|(_, family)| family).collect();
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }

    fn family(&mut self, metric: Metric) -> &mut MetricFamily {
        let index = match self.0.iter().position(|(name, _)| *name == metric.name) {
            Some(index) => index,
            None => {
                self.0.push((metric.name, new_family(metric)));
                self.0.len() - 1
            }
        };
        &mut self.0[index].1
    }
}

fn new_family(metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        MetricKind::Gauge => MetricType::GAUGE,
        MetricKind::Counter => MetricType::COUNTER,
        MetricKind::Histogram => MetricType::HISTOGRAM,
    });
    family
}

/// A series without a value.
fn labeled<'a>(metric: Metric, values: impl ExactSizeIterator<Item = &'a str>) -> Series {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Series::from_label(pairs.collect())
}

impl NodeSeries<'_> {
    /// Adds a series. `labels` are the values of the catalogue's labels after `redis`.
    fn add(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let labels: Vec<&str> = std::iter::once(self.node).chain(labels.iter().copied()).collect();
        self.families.add(metric, &labels, value);
    }

    /// Adds a series unless its value is unknown.
    fn add_known(&mut self, metric: Metric, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.add(metric, labels, value);
        }
    }

    fn add_ages(&mut self, metric: Metric, ages: &Ages) {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(ages.count());
        histogram.set_sample_sum(ages.sum_seconds() as f64);
        let buckets = ages.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound as f64);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        let mut series = labeled(metric, std::iter::once(self.node));
        series.set_histogram(histogram);
        self.families.family(metric).mut_metric().push(series);
    }

    fn add_tally(&mut self, node: &NodeState) {
        let tally = &node.tally;
        for (result, count) in [("whole", tally.whole), ("partial", tally.partial), ("failed", tally.failed)] {
            self.add(c::SAMPLES, &[result], count as f64);
        }
        for reason in Reason::ALL {
            self.add(c::SAMPLE_ERRORS, &[reason.label()], tally.errors(reason) as f64);
        }
    }

    fn add_channel(&mut self, channel: &ChannelTally) {
        self.add(c::ANNOUNCEMENTS, &[], channel.announced() as f64);
        self.add(c::ANNOUNCEMENTS_RECEIVED, &[], channel.received() as f64);
        for refusal in Refusal::ALL {
            self.add(c::ANNOUNCEMENTS_REFUSED, &[refusal.label()], channel.refused(refusal) as f64);
        }
    }

    fn add_counters(&mut self, counters: &Counters) {
        let of_server = [
            (c::CONNECTIONS_REJECTED, counters.connections_rejected),
            (c::EVICTED, counters.evicted),
            (c::OUTPUT_BUFFER_DISCONNECTIONS, counters.output_buffer_disconnections),
            (c::QUERY_BUFFER_DISCONNECTIONS, counters.query_buffer_disconnections),
        ];
        for (metric, counter) in of_server {
            self.add_known(metric, &[], counter.map(|counter| counter.total() as f64));
        }
        self.add_known(c::SAMPLE_SERVER_SECONDS, &[], counters.server_time.map(|time| time.as_secs_f64()));
        for fault in Fault::ALL {
            self.add(c::UNREADABLE_LINES, &[fault.label()], counters.unreadable.count(fault) as f64);
        }
    }

    fn add_sample(&mut self, snapshot: &Snapshot) {
        let sample = &snapshot.sample;
        self.add(c::SAMPLE_TIMESTAMP, &[], sample.at.as_duration().as_secs_f64());
        self.add_known(c::CLOCK_DIFFERENCE, &[], sample.clock_difference.map(|difference| difference.as_secs_f64()));
        if sample.source == Source::Sampled {
            self.add(c::SAMPLE_DURATION, &[], sample.cost.duration.as_secs_f64());
            self.add(c::SAMPLE_PAGES, &[], f64::from(sample.cost.pages));
        }
        self.add_known(c::SAMPLE_LONGEST_COMMAND, &[], sample.cost.longest_command.map(|time| time.as_secs_f64()));
        self.add_known(c::SAMPLE_WITHIN_BUDGET, &[], sample.cost.within_budget.map(flag));
        self.add_known(c::SAMPLE_DRIFT, &[], sample.cost.drift.map(|drift| drift as f64));
        self.add(c::SAMPLE_COMPLETE, &[], flag(snapshot.is_complete()));
        let conditions = snapshot.conditions();
        for condition in SampleCondition::ALL {
            self.add(c::SAMPLE_CONDITION, &[condition.label()], flag(conditions.has(condition)));
        }
        match sample.source {
            Source::Sampled => self.add(c::SAMPLE_SOURCE, &["sampled"], 1.0),
            Source::Received(totals) => {
                self.add(c::SAMPLE_SOURCE, &["received"], 1.0);
                // A status that leaves clients out still has these counts over all of them.
                if snapshot.client_counts.is_none() {
                    self.add(c::ONLINE, &[], totals.online as f64);
                    self.add(c::SILENT, &[], totals.silent as f64);
                }
            }
        }
    }

    fn add_server(&mut self, snapshot: &Snapshot) {
        let Some(info) = snapshot.info() else { return };
        let word = |word: &Option<String>| label_value(word.as_deref().unwrap_or_default().as_bytes());
        self.add(c::SERVER_INFO, &[info.product.name(), &word(&info.version), &word(&info.mode)], 1.0);
        if let Some(is_primary) = info.is_primary() {
            self.add(c::NODE_ROLE, &["primary"], flag(is_primary));
            self.add(c::NODE_ROLE, &["replica"], flag(!is_primary));
        }
        self.add(c::INFO_FIELDS_REFUSED, &[], info.refused.len() as f64);
        let numbers = [
            (c::MAXCLIENTS, info.maxclients),
            (c::REPORTED_CONNECTIONS, info.connected_clients),
            (c::BLOCKED, info.blocked_clients),
            (c::TRACKING, info.tracking_clients),
        ];
        for (metric, number) in numbers {
            self.add_known(metric, &[], number.map(|number| number as f64));
        }
    }

    fn add_client_counts(&mut self, counts: &ClientCounts) {
        for kind in ClientKind::ALL {
            self.add(c::CONNECTIONS, &[kind.label()], counts.of_kind(kind) as f64);
        }
        let all = &counts.applications;
        self.add(c::ONLINE, &[], counts.online() as f64);
        self.add(c::SILENT, &[], all.silent as f64);
        self.add_known(c::OLDEST_INTERACTION_AGE, &[], all.oldest_interaction_seconds.map(|age| age as f64));
        self.add_known(c::NEWEST_INTERACTION_AGE, &[], all.newest_interaction_seconds.map(|age| age as f64));
        self.add_known(c::OLDEST_WAITING_AGE, &[], all.oldest_waiting_seconds.map(|age| age as f64));
        for state in State::ALL {
            self.add(c::STATE_CONNECTIONS, &[state.label()], all.in_state(state) as f64);
        }
        self.add_ages(c::LAST_INTERACTION_AGE, &counts.last_interaction);
        self.add_ages(c::CONNECTION_AGE, &counts.connection_age);
        for (threshold, count) in counts.idle() {
            self.add(c::IDLE_CONNECTIONS, &[&threshold.as_secs().to_string()], count as f64);
        }
    }

    fn add_groups(&mut self, counts: &ClientCounts, presence: &Presence) {
        let dimensions: [(&str, Metric, &Option<Groups>); 5] = [
            ("user", c::USER_CONNECTIONS, &counts.users),
            ("library", c::LIBRARY_CONNECTIONS, &counts.libraries),
            ("database", c::DATABASE_CONNECTIONS, &counts.databases),
            ("command", c::COMMAND_CONNECTIONS, &counts.commands),
            ("network", c::NETWORK_CONNECTIONS, &counts.networks),
        ];
        for (dimension, metric, groups) in dimensions {
            let Some(groups) = groups else { continue };
            for (group, count) in groups.iter() {
                self.add(metric, &[group], count as f64);
            }
            self.add(c::GROUPS_FOLDED, &[dimension], groups.folded() as f64);
        }
        self.add(c::GROUPS_FOLDED, &["app"], presence.folded as f64);
        self.add(c::GROUP_LIMIT, &[], presence.limit as f64);
    }

    fn add_churn(&mut self, churn: &Churn) {
        for reason in CloseReason::ALL {
            self.add(c::CLOSED, &[reason.label()], churn.closed(reason) as f64);
        }
        self.add(c::OPENED, &[], churn.opened() as f64);
        self.add(c::UNSEEN, &[], churn.unseen() as f64);
        self.add(c::OWN_CONNECTIONS, &[], churn.own() as f64);
    }

    /// Adds what applications did: counters, which stay when the sample is too old.
    fn add_totals(&mut self, presence: &Presence) {
        for Seen { app, totals, .. } in presence.all() {
            self.add(c::APP_OPENED, &[app], totals.opened as f64);
            self.add(c::APP_CLOSED, &[app], totals.closed as f64);
            if presence.has_work {
                self.add(c::APP_COMMANDS, &[app], totals.commands as f64);
                self.add(c::APP_NETWORK_RECEIVE, &[app], totals.received_bytes as f64);
                self.add(c::APP_NETWORK_TRANSMIT, &[app], totals.sent_bytes as f64);
            }
        }
    }

    fn add_presence(&mut self, counts: &ClientCounts, presence: &Presence, target: Option<&FleetApps<'_>>) {
        for seen in presence.all() {
            let app = &*seen.app;
            self.add(c::APP_CONNECTIONS, &[app], seen.now.connections as f64);
            if seen.is_online() {
                self.add_app(app, &seen.now, counts);
            }
        }
        // `(other)` is not one application that could be online or offline.
        for seen in &presence.shown {
            let app = &*seen.app;
            // An application that moved to another node of the target is not offline.
            if seen.is_online() || target.is_none_or(|target| target.is_offline(app)) {
                self.add(c::APP_ONLINE, &[app], flag(seen.is_online()));
            }
            self.add_known(c::APP_LAST_SEEN, &[app], seen.last_seen.map(|last| last.as_duration().as_secs_f64()));
            self.add_known(c::APP_EXPECTED, &[app], seen.expected.on_node.map(|minimum| minimum as f64));
        }
    }

    fn add_app(&mut self, app: &str, now: &Tally, counts: &ClientCounts) {
        for (threshold, count) in counts.idle_thresholds.iter().zip(&now.idle) {
            self.add(c::APP_IDLE_CONNECTIONS, &[app, &threshold.as_secs().to_string()], *count as f64);
        }
        let numbers = [
            (c::APP_BLOCKED_CONNECTIONS, Some(now.in_state(State::Blocked))),
            (c::APP_NEWEST_INTERACTION_AGE, now.newest_interaction_seconds),
            (c::APP_OLDEST_INTERACTION_AGE, now.oldest_interaction_seconds),
            (c::APP_OLDEST_WAITING_AGE, now.oldest_waiting_seconds),
            (c::APP_MEMORY, now.memory_bytes),
            (c::APP_OUTPUT_BUFFER, Some(now.output_buffer_bytes)),
            (c::APP_LARGEST_OUTPUT_BUFFER, Some(now.largest_output_buffer_bytes)),
        ];
        for (metric, number) in numbers {
            self.add_known(metric, &[app], number.map(|number| number as f64));
        }
    }

    /// Adds the clients that are exported individually.
    fn add_per_client(&mut self, snapshot: &Snapshot) {
        for row in snapshot.per_client.iter().filter_map(|&index| Row::new(self.node, snapshot, index)) {
            let (client, Some(id)) = (row.client, row.entry.id) else { continue };
            let id = id.to_string();
            let label = |field| client.text(field).map(label_value).unwrap_or_default();
            let (name, user, library) = (label(Field::Name), label(Field::User), label(Field::LibName));
            let address = match client.address() {
                Some(Address::Inet(address)) => address.ip().to_canonical().to_string(),
                Some(Address::Unix(_) | Address::Unknown(_)) | None => String::new(),
            };
            let app = row.app.unwrap_or_default();
            self.add(c::CLIENT_INFO, &[&id, app, &name, &user, &library, &address], 1.0);
            let numbers = [
                (c::CLIENT_LAST_INTERACTION_AGE, row.entry.idle_seconds().filter(|_| !row.entry.is_silent)),
                (c::CLIENT_CONNECTION_AGE, client.age_seconds()),
                (c::CLIENT_MEMORY, client.unsigned(Field::TotMem)),
                (c::CLIENT_OUTPUT_BUFFER, Some(output_buffer_bytes(client))),
            ];
            for (metric, number) in numbers {
                self.add_known(metric, &[&id], number.map(|number| number as f64));
            }
        }
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::sync::Arc;

    use super::*;
    use crate::client_list::Listing;
    use crate::exposition::text;
    use crate::latest::{Phase, by_target};
    use crate::sample::{Page, Sample};
    use crate::snapshot::{Limits, derive};
    use crate::view::fixture::view as view_for_tests;

    #[test]
    fn an_id_that_two_pages_list_has_one_series_of_each_metric() {
        let at = "2026-01-01T00:00:00Z".parse().expect("a time");
        let page = |idle: u64| {
            let row = |id: u64| {
                format!("id={id} addr=10.0.0.1:{id} name=n{idle} age=9 idle={} cmd=get tot-mem=1\n", idle + id)
            };
            Listing::new((row(1) + &row(2) + &row(3)).into())
        };
        let mut sample = Sample::of(at, page(10));
        sample.clients.as_mut().expect("it has clients").push(Page { at, listing: page(20) });
        let limits = Limits { per_client: 4, ..Limits::default() };
        let now = Instant::now();
        let mut node = NodeState::starting("node:1".into());
        let snapshot = Arc::new(derive(None, Arc::new(sample), &limits));
        node.phase = Phase::Fresh { snapshot, stale_at: now + Duration::from_secs(60) };
        let text = text(&Nodes::new(1, at, [node]), now);
        let mut series: Vec<_> = text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all, "each series is there once: {text}");
        let ages: Vec<_> = text.lines().filter(|line| line.starts_with("redis_clients_client_last_inter")).collect();
        let age = |id, age| {
            format!("redis_clients_client_last_interaction_age_seconds{{redis=\"node:1\",id=\"{id}\"}} {age}")
        };
        assert_eq!(ages, [age(3, 23), age(2, 22), age(1, 21)], "each with its largest idle time");
    }

    #[test]
    fn an_application_that_moved_to_another_node_of_the_target_is_not_offline() {
        let now = Instant::now();
        let at = |second| jiff::Timestamp::from_second(second).expect("a time");
        let node = |name: &str, before: &str, after: &str| {
            let listed = |second, rows: &str| Arc::new(Sample::of(at(second), Listing::new(rows.to_owned().into())));
            let first = derive(None, listed(1, before), &Limits::default());
            let second = derive(Some(&first), listed(2, after), &Limits::default());
            let mut state = NodeState::starting(name.into());
            state.succeed(Arc::new(second), now + Duration::from_secs(60));
            state
        };
        let row = "id=1 addr=10.0.0.1:1 name=web\n";
        let (old, new, empty) = (node("old", row, ""), node("new", "", row), node("empty", "", ""));
        let online = |nodes: [&NodeState; 2]| {
            let targets = by_target(nodes.iter().map(|node| ("shop", *node)), now);
            let mut families = Families::default();
            families.add_node(&old, None, targets.get("shop"), now);
            let families = families.sorted();
            let found = families.iter().find(|family| family.name() == c::APP_ONLINE.name);
            found.map(|family| family.get_metric()[0].get_gauge().get_value())
        };
        assert_eq!(online([&old, &new]), None, "it is at the other node");
        assert_eq!(online([&old, &empty]), Some(0.0), "it is nowhere");
    }

    #[test]
    fn a_sample_that_is_too_old_is_not_exported() {
        let now = Instant::now();
        let stale_at = now + Duration::from_secs(60);
        let view = view_for_tests(1, stale_at);
        let fresh = text(&view, now);
        assert!(fresh.contains("redis_clients_up{redis=\"node:1\"} 1\n") && fresh.contains("redis_clients_online{"));
        let stale = text(&view, stale_at);
        assert!(stale.contains("redis_clients_up{redis=\"node:1\"} 0\n"), "{stale}");
        for absent in ["redis_clients_online", "redis_clients_sample_timestamp", "redis_clients_last_interaction"] {
            assert!(!stale.contains(absent), "{absent}");
        }
        assert!(stale.contains("redis_clients_unreadable_lines_total{"), "counters stay");
    }

    #[test]
    fn a_node_that_was_never_sampled_has_no_up() {
        let view = Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [NodeState::starting("node:1".into())]);
        assert!(!text(&view, Instant::now()).contains("redis_clients_up"));
    }
}
