//! The last hour of a node as columns with one value per point, for charts.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::history::{History, Point, PointValues, Rates};
use crate::latest::NodeState;
use crate::snapshot::{Ages, State};
use crate::text::OTHER;

/// Maximum number of applications with their own column: those with the largest peak of connections. The others are
/// summed.
pub(super) const MAX_APPS: usize = 8;

/// The hour of a node before `now`, and the distribution of its clients' idle times in the last sample.
pub(super) fn history(node: &NodeState, now: Timestamp) -> Value {
    let counts = node.last_snapshot().and_then(|snapshot| snapshot.client_counts.as_ref());
    columns(&node.node, &node.history, counts.map(|counts| &counts.last_interaction), now)
}

fn columns(node: &str, history: &History, ages: Option<&Ages>, now: Timestamp) -> Value {
    let points: Vec<&Point> = history.hour(now).collect();
    let of = |value: fn(&PointValues) -> Option<u64>| column(&points, |point| value(point.values.as_ref()?));
    let state = |state: State| column(&points, |point| Some(point.values.as_ref()?.states?[state as usize]));
    let rates: Vec<Option<Rates>> =
        (0..points.len()).map(|at| Rates::between(points[at.checked_sub(1)?], points[at])).collect();
    let rate = |of: fn(Rates) -> f64| rates.iter().map(|rate| rate.map(of).map(rounded)).collect::<Vec<_>>();
    json!({
        "redis": node,
        "at": points.iter().map(|point| point.at.as_second()).collect::<Vec<_>>(),
        "connections": of(|values| values.connections),
        "online": of(|values| values.online),
        "active": state(State::Active),
        "blocked": state(State::Blocked),
        "subscribed": state(State::Subscribed),
        "idle": state(State::Idle),
        "opened_per_second": rate(|rates| rates.opened),
        "closed_per_second": rate(|rates| rates.closed),
        "apps": apps(&points),
        "last_interaction": ages.map(distribution),
    })
}

fn column(points: &[&Point], value: impl Fn(&Point) -> Option<u64>) -> Vec<Option<u64>> {
    points.iter().map(|point| value(point)).collect()
}

/// The columns of the applications with the largest peaks, the largest first, then one of all others together.
fn apps(points: &[&Point]) -> Value {
    let mut peaks: HashMap<&Arc<str>, u64> = HashMap::new();
    for (app, connections) in points.iter().filter_map(|point| point.values.as_ref()).flat_map(|values| &*values.apps) {
        let peak = peaks.entry(app).or_default();
        *peak = (*peak).max(*connections);
    }
    let mut largest: Vec<(&Arc<str>, u64)> = peaks.into_iter().filter(|(app, _)| &***app != OTHER).collect();
    largest.sort_unstable_by(|(app, peak), (other, other_peak)| other_peak.cmp(peak).then_with(|| app.cmp(other)));
    largest.truncate(MAX_APPS);
    let shown: HashMap<&Arc<str>, usize> = largest.iter().enumerate().map(|(place, (app, _))| (*app, place)).collect();
    let mut columns = vec![vec![Value::Null; points.len()]; largest.len() + 1];
    for (at, values) in points.iter().enumerate().filter_map(|(at, point)| Some((at, point.values.as_ref()?))) {
        columns.iter_mut().for_each(|column| column[at] = 0.into());
        let mut others = 0;
        for (app, connections) in &*values.apps {
            match shown.get(app) {
                Some(&place) => columns[place][at] = (*connections).into(),
                None => others += connections,
            }
        }
        columns[largest.len()][at] = others.into();
    }
    let others =
        columns.pop().filter(|column| column.iter().any(|count| count.as_u64().is_some_and(|count| count > 0)));
    let named = largest.iter().map(|(app, _)| app.to_string()).zip(columns);
    let all = named.chain(others.map(|column| (OTHER.to_owned(), column)));
    all.map(|(app, connections)| json!({ "app": app, "connections": connections })).collect()
}

/// The number of idle times in each bucket, with the bucket's upper bound in seconds; the last bucket has no bound.
fn distribution(ages: &Ages) -> Value {
    let (mut bounds, mut counts, mut before) = (Vec::new(), Vec::new(), 0);
    for (bound, up_to) in ages.cumulative() {
        bounds.push(bound);
        counts.push(up_to - before);
        before = up_to;
    }
    counts.push(ages.count() - before);
    Map::from_iter([("bounds_seconds".to_owned(), bounds.into()), ("counts".to_owned(), counts.into())]).into()
}

/// Rounds to thousandths; further digits are noise.
fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::snapshot;

    #[test]
    fn columns_have_the_same_length_and_add_up() {
        let names: String =
            (0..12).map(|n| format!("id={n} addr=10.0.0.1:{n} name=app{n}x idle=5 cmd=get flags=N\n")).collect();
        let snapshot = snapshot(&names);
        let history = History::default().with(&snapshot);
        let gap = snapshot.sample.at.checked_add(jiff::SignedDuration::from_secs(60)).expect("a time");
        let history = history.with_gap(gap);
        let ages = snapshot.client_counts.as_ref().map(|client_counts| &client_counts.last_interaction);
        let columns = columns("node:1", &history, ages, gap);
        for name in [
            "at",
            "connections",
            "online",
            "active",
            "blocked",
            "subscribed",
            "idle",
            "opened_per_second",
            "closed_per_second",
        ] {
            assert_eq!(columns[name].as_array().map(Vec::len), Some(2), "{name}");
        }
        assert_eq!((&columns["online"][0], &columns["online"][1]), (&json!(12), &Value::Null));
        let apps = columns["apps"].as_array().expect("a list");
        assert_eq!(apps.len(), MAX_APPS + 1);
        let sum: u64 = apps.iter().filter_map(|app| app["connections"][0].as_u64()).sum();
        assert_eq!((sum, &apps[MAX_APPS]["app"]), (12, &json!("(other)")));
        assert!(apps.iter().all(|app| app["connections"][1].is_null()), "a gap is null, not 0");
        assert_eq!(columns["last_interaction"]["counts"][2], json!(12), "from two to five seconds");
    }
}
