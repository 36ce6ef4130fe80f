//! The metrics over several nodes, which belong to no single one.

use std::time::Instant;

use prometheus::proto::MetricFamily;

use super::nodes::Families;
use crate::catalogue as c;
use crate::latest::{Nodes, TargetState};

/// The metric families over several nodes, sorted by name.
pub fn fleet_families(nodes: &Nodes, now: Instant) -> Vec<MetricFamily> {
    let mut families = Families::default();
    for (target, apps) in nodes.target_apps(now) {
        let (largest, folded) = apps.largest(|_| true);
        for (app, sum) in largest {
            families.add(c::FLEET_APP_CONNECTIONS, &[target, app], sum.connections as f64);
        }
        families.add(c::FLEET_APPS_FOLDED, &[target], folded as f64);
    }
    for expected in nodes.fleet_expectations(now) {
        families.add(c::FLEET_APP_EXPECTED, &[expected.app], expected.minimum as f64);
        if let Some(connections) = expected.connections {
            families.add(c::FLEET_EXPECTED_APP_CONNECTIONS, &[expected.app], connections as f64);
        }
    }
    nodes.targets().iter().for_each(|target| add_discovery(&mut families, target));
    families.sorted()
}

fn add_discovery(families: &mut Families, target: &TargetState) {
    let name = &*target.name;
    families.add(c::DISCOVERY_NODES, &[name], target.nodes as f64);
    for (reason, count) in &*target.dropped {
        families.add(c::DISCOVERY_DROPPED_NODES, &[name, reason], *count as f64);
    }
    families.add(c::DISCOVERY_ERRORS, &[name], target.errors as f64);
    families.add(c::DISCOVERY_REMOVED_NODES, &[name], target.removed as f64);
    if let Some(at) = target.last_success {
        families.add(c::DISCOVERY_LAST_SUCCESS, &[name], at.as_duration().as_secs_f64());
    }
}
