//! Logs about one node: only changes of its state, once each.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use crate::failure::Failure;
use crate::latest::Phase;
use crate::sample::{SampleCondition, SampleConditions};
use crate::sampler::Plan;
use crate::snapshot::Snapshot;

/// The state of a node as it was logged last.
#[derive(Debug)]
pub(super) struct Notices {
    node: Arc<str>,
    /// The commands that the node refused.
    refused: Vec<Failure>,
    unreadable: bool,
    conditions: SampleConditions,
    /// The fields of `INFO` that were logged for a value that cannot be true.
    impossible: BTreeSet<&'static str>,
    no_pages: bool,
    within_budget: bool,
}

impl Notices {
    pub(super) fn new(node: Arc<str>) -> Self {
        let (refused, conditions, impossible) = (Vec::new(), SampleConditions::default(), BTreeSet::new());
        Self { node, refused, unreadable: false, conditions, impossible, no_pages: false, within_budget: true }
    }

    /// Logs what a new snapshot changes, after the phase before it.
    pub(super) fn succeeded(&mut self, before: &Phase, snapshot: &Snapshot) {
        let node = &*self.node;
        match before {
            Phase::Starting => info!(node, version = version(snapshot), "watching"),
            Phase::Failing { .. } => info!(node, version = version(snapshot), "watching again"),
            Phase::Fresh { .. } => {}
        }
        if snapshot.is_another_server {
            let run_id = snapshot.info().and_then(|info| info.run_id.as_deref()).unwrap_or("unknown");
            warn!(node, "another server answers here now (run_id {run_id}): a failover, or a balancer");
        }
        let refused: Vec<_> = snapshot.refused().cloned().collect();
        if refused != self.refused {
            for failure in &refused {
                warn!(node, reason = failure.reason.label(), "some metrics are missing: {failure}");
            }
            if refused.is_empty() {
                info!(node, "the node no longer refuses any command");
            }
            self.refused = refused;
        }
        let conditions = snapshot.conditions();
        // Another server has its own line.
        for condition in SampleCondition::ALL.into_iter().filter(|it| *it != SampleCondition::AnotherServer) {
            match (conditions.has(condition), self.conditions.has(condition)) {
                (true, false) => warn!(node, condition = condition.label(), "{}", condition.sentence()),
                (false, true) => info!(node, condition = condition.label(), "the condition no longer holds"),
                _ => {}
            }
        }
        self.conditions = conditions;
        let unreadable = snapshot.sample.unreadable.total();
        if unreadable > 0 && !std::mem::replace(&mut self.unreadable, true) {
            warn!(
                node,
                lines = unreadable,
                "CLIENT LIST has lines that cannot be parsed or are no clients; further ones are only counted in \
                redis_clients_unreadable_lines_total"
            );
        }
        for field in snapshot.info().into_iter().flat_map(|info| &info.refused) {
            if self.impossible.insert(field) {
                warn!(node, field, "INFO has a value that cannot be true; the metrics made of it are left out");
            }
        }
    }

    /// Logs a failure, unless the attempt before failed for the same reason.
    pub(super) fn failed(&self, before: &Phase, failure: &Failure) {
        if !matches!(before, Phase::Failing { failure: known, .. } if known.reason == failure.reason) {
            warn!(node = &*self.node, reason = failure.reason.label(), "cannot sample: {failure}");
        }
    }

    /// Logs when the plan enters or leaves the budget, and when the clients cannot be listed in pages.
    pub(super) fn planned(&mut self, plan: &Plan, no_pages: Option<&Failure>) {
        let node = &*self.node;
        if let Some(failure) = no_pages
            && !std::mem::replace(&mut self.no_pages, true)
        {
            warn!(node, "clients cannot be listed in pages, so each sample is one full listing: {failure}");
        }
        if plan.within_budget == self.within_budget {
            return;
        }
        self.within_budget = plan.within_budget;
        let (longest_command_us, interval_s) = (plan.longest_command.as_micros() as u64, plan.interval.as_secs());
        let load = format!("{:.2}%", plan.load * 100.0);
        match plan.within_budget {
            true => info!(node, longest_command_us, load, interval_s, "sampling is within budget again"),
            false => warn!(
                node,
                longest_command_us,
                load,
                interval_s,
                "sampling exceeds its budget: --sample.max-stall and --sample.max-load cannot both be kept within \
                --sample.max-age; the plan with the least excess is used; to change that, raise one of the three"
            ),
        }
    }
}

fn version(snapshot: &Snapshot) -> String {
    let info = snapshot.info();
    let version = info.and_then(|info| info.version.as_deref()).unwrap_or("of unknown version");
    format!("{} {version}", info.map_or("a server", |info| info.product.name()))
}
