//! The state of a node, and of the discovery of a target.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::latest::{NodeState, Phase, TargetState};
use crate::sample::SampleCondition;
use crate::server_info::ServerInfo;
use crate::snapshot::{ClientKind, CloseReason, Snapshot, State};

/// The state of a node at this time.
pub(super) fn node(node: &NodeState, now: Instant) -> Value {
    let snapshot = node.last_snapshot();
    let client_counts = snapshot.and_then(|snapshot| snapshot.client_counts.as_ref());
    let info = snapshot.and_then(|snapshot| snapshot.info());
    let kinds = client_counts
        .map(|client_counts| counts(ClientKind::ALL.map(|kind| (kind.label(), client_counts.of_kind(kind)))));
    let states = client_counts
        .map(|client_counts| counts(State::ALL.map(|state| (state.label(), client_counts.in_state(state)))));
    json!({
        "redis": &*node.node,
        "address": node.address.as_ref().map(ToString::to_string),
        "target": node.target(),
        "cluster": known(&node.origin.cluster),
        "shard": known(&node.origin.shard),
        "node_id": known(&node.origin.node_id),
        "availability_zone": known(&node.origin.availability_zone),
        "fresh": node.fresh_snapshot(now).is_some(),
        "sampled_at": snapshot.map(|snapshot| format!("{:.0}", snapshot.sample.at)),
        "clock_difference_seconds": clock_difference(snapshot),
        "failure": failure(node),
        "version": info.and_then(|info| info.version.clone()),
        "role": info.and_then(ServerInfo::shown_role),
        "maxclients": info.and_then(|info| info.maxclients),
        "connections": client_counts.map(|counts| counts.connections()),
        "online": client_counts.map(|counts| counts.online()),
        "silent": client_counts.map(|counts| counts.silent()),
        "kinds": kinds,
        "states": states,
        "closed": snapshot.map(|snapshot| closed(snapshot)),
        "unseen": snapshot.map(|snapshot| snapshot.churn.unseen()),
        "complete": snapshot.map(|snapshot| snapshot.is_complete()),
        "conditions": snapshot.map(|snapshot| conditions(snapshot)),
        "within_budget": snapshot.and_then(|snapshot| snapshot.sample.cost.within_budget),
    })
}

/// The state of the discovery of a target.
pub(super) fn target(target: &TargetState) -> Value {
    let failure =
        target.failure.as_ref().map(|failure| json!({ "reason": failure.reason.label(), "message": failure.message }));
    json!({
        "target": &*target.name,
        "nodes": target.nodes,
        "dropped": target.dropped.iter().copied().collect::<BTreeMap<_, _>>(),
        "removed_total": target.removed,
        "errors_total": target.errors,
        "last_success_at": target.last_success.map(|at| format!("{at:.0}")),
        "failure": failure,
    })
}

/// A text of the origin of a node; `None` if it is unknown.
fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn clock_difference(snapshot: Option<&Arc<Snapshot>>) -> Option<f64> {
    snapshot?.sample.clock_difference.map(|difference| difference.as_secs_f64())
}

fn closed(snapshot: &Snapshot) -> BTreeMap<&'static str, u64> {
    counts(CloseReason::ALL.map(|reason| (reason.label(), snapshot.churn.closed(reason))))
}

fn conditions(snapshot: &Snapshot) -> Vec<&'static str> {
    snapshot.conditions().iter().map(SampleCondition::label).collect()
}

fn counts<const N: usize>(counts: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    counts.into_iter().collect()
}

fn failure(node: &NodeState) -> Value {
    match &node.phase {
        Phase::Failing { failure, since, .. } => json!({
            "reason": failure.reason.label(), "message": failure.message, "since": format!("{since:.0}")
        }),
        Phase::Starting | Phase::Fresh { .. } => Value::Null,
    }
}
