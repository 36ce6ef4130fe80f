//! The number of series: `--metrics.max-series` bounds the sum over all nodes. The share of a node is the same for each
//! of them. It depends only on the settings and the number of nodes, not on what clients do, so that groups do not come
//! and go. A smaller share is a smaller group limit. Pure.

use crate::catalogue::{self as c, ALL, Metric, MetricKind, Unit};
use crate::client_list::Fault;
use crate::failure::{Reason, Refusal};
use crate::sample::SampleCondition;
use crate::snapshot::{Ages, ClientKind, CloseReason, Limits, State};

/// The limits of each of this many nodes, so that their series fit. Series of a node that are not about groups or
/// single clients are never left out: if these alone do not fit, no group has a series of its own.
pub fn shared_limits(limits: &Limits, nodes: usize) -> Limits {
    let share = limits.max_series / rounded_up(nodes).max(1);
    let with = |groups: usize| Limits {
        groups,
        per_client: (limits.per_client * groups).checked_div(limits.groups).unwrap_or(0),
        ..limits.clone()
    };
    let fits = |groups: &usize| max_series_of_node(&with(*groups)) <= share;
    let groups = (1..=limits.groups).rev().find(fits).unwrap_or(0);
    with(groups)
}

/// The number of nodes, rounded up by at most an eighth: one more node does not change the limits of all others each
/// time, and there is room for it until they are sampled again.
fn rounded_up(nodes: usize) -> usize {
    let step = (nodes.max(1).ilog2()).saturating_sub(3);
    nodes.next_multiple_of(1 << step)
}

/// Maximum number of series of one node with these limits, and of its part of those over several nodes.
fn max_series_of_node(limits: &Limits) -> usize {
    let of_nodes = ALL.iter().filter(|metric| metric.labels.first() == Some(&"redis"));
    // A target with such series has at least two nodes. It has up to the limit of groups, `(other)`, and the number of
    // folded ones.
    let of_target = (limits.groups + 2).div_ceil(2);
    of_nodes.map(|metric| max_series(metric, limits)).sum::<usize>() + of_target
}

/// Maximum number of series of a metric for one node.
fn max_series(metric: &Metric, limits: &Limits) -> usize {
    let labels = &metric.labels[1..];
    if metric.unit == Unit::Info && !labels.contains(&"id") {
        return 1;
    }
    let of_value = match metric.kind {
        // The bucket without a bound, the sum and the count.
        MetricKind::Histogram => Ages::BOUNDS + 3,
        MetricKind::Gauge | MetricKind::Counter => 1,
    };
    let values = labels.iter().map(|label| match *label {
        "client_app" => max_apps(metric, limits),
        "id" => limits.per_client,
        _ => max_values(metric, label, limits),
    });
    // Of a client, the other labels follow from its id.
    let values = if labels.first() == Some(&"id") { values.take(1).product() } else { values.product::<usize>() };
    of_value * values
}

/// Maximum number of applications with a series of a metric: the expected and the largest ones and `(other)`; for
/// metrics that offline applications have, also those (half the limit).
fn max_apps(metric: &Metric, limits: &Limits) -> usize {
    const ONLINE_ONLY: [Metric; 8] = [
        c::APP_IDLE_CONNECTIONS,
        c::APP_BLOCKED_CONNECTIONS,
        c::APP_NEWEST_INTERACTION_AGE,
        c::APP_OLDEST_INTERACTION_AGE,
        c::APP_OLDEST_WAITING_AGE,
        c::APP_MEMORY,
        c::APP_OUTPUT_BUFFER,
        c::APP_LARGEST_OUTPUT_BUFFER,
    ];
    let expected = limits.expected_apps().len();
    if *metric == c::APP_EXPECTED {
        return expected;
    }
    let online = limits.groups.max(expected) + 1;
    if ONLINE_ONLY.contains(metric) { online } else { online + limits.groups.div_ceil(2) }
}

/// Maximum number of values of a label that is not chosen by single clients.
fn max_values(metric: &Metric, label: &str, limits: &Limits) -> usize {
    match label {
        "user" | "library" | "database" | "command" | "network" => limits.groups + 1,
        "min_idle" => limits.idle_thresholds.len(),
        "dimension" => 6,
        "kind" => ClientKind::ALL.len(),
        "state" => State::ALL.len(),
        "condition" => SampleCondition::ALL.len(),
        "result" => 3,
        "role" => 2,
        "reason" if *metric == c::SAMPLE_ERRORS => Reason::ALL.len(),
        "reason" if *metric == c::ANNOUNCEMENTS_REFUSED => Refusal::ALL.len(),
        "reason" if *metric == c::UNREADABLE_LINES => Fault::ALL.len(),
        "reason" if *metric == c::CLOSED => CloseReason::ALL.len(),
        // One output subscribes to the snapshots.
        "subscriber" => 1,
        // `every_label_has_a_number_of_values` asserts that there is no other one.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Expectation;

    #[test]
    fn every_label_has_a_number_of_values() {
        let limits =
            Limits { per_client: 3, expected: vec![Expectation::on_all_nodes("cron", 1)], ..Limits::default() };
        for metric in ALL.iter().filter(|metric| metric.labels.first() == Some(&"redis")) {
            assert!(max_series(metric, &limits) > 0, "{}: add the values of its labels to max_values", metric.name);
        }
    }

    #[test]
    fn the_shares_of_all_nodes_fit_and_few_nodes_have_the_whole_limit() {
        let limits = |max_series| Limits { max_series, per_client: 20, ..Limits::default() };
        let groups = |nodes, max_series| shared_limits(&limits(max_series), nodes).groups;
        assert_eq!([1, 10, 25].map(|nodes| groups(nodes, 50_000)), [50; 3]);
        assert_eq!(groups(100, 200_000), 50);
        let few = [50, 100, 256].map(|nodes| groups(nodes, 50_000));
        assert!(few[0] > few[1] && few[1] > few[2] && few[1] > 8, "{few:?}");
        for nodes in 1..=256 {
            let shared = shared_limits(&limits(50_000), nodes);
            assert!(shared.groups == 0 || nodes * max_series_of_node(&shared) <= 50_000, "{nodes}");
            assert_eq!(shared.per_client, 20 * shared.groups / 50, "single clients shrink alike");
            assert!(
                shared.groups <= shared_limits(&limits(50_000), nodes - 1).groups,
                "{nodes}: more nodes, less each"
            );
        }
        assert_eq!(shared_limits(&Limits { groups: 0, ..limits(1) }, 0).groups, 0);
    }

    #[test]
    fn one_more_node_rarely_changes_the_limits_of_all() {
        let limits: Vec<_> = (100..=200).map(|nodes| shared_limits(&Limits::default(), nodes).groups).collect();
        let changes = limits.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 10, "{changes}: {limits:?}");
        assert!((1..2000).all(|nodes| (nodes..=nodes + nodes / 8).contains(&rounded_up(nodes))));
    }
}
