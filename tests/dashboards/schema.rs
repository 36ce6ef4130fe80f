//! The boards are as Grafana's own types say: `tests/dashboards/install` makes a JSON schema of npm's `@grafana/schema`, and every
//! board is held to it.

use std::fs;

use serde_json::Value;

use super::boards;
use crate::support::project;
use crate::support::server::missing;

/// What Grafana takes and its types do not know: where, what, why.
const UNTOLD: &[(&str, &str, &str)] = &[
    ("/annotations/list", "target", "the data source's own query; every annotation that Grafana saves has it"),
    ("/annotations/list", "tagKeys", "of the Prometheus data source: grafana-prometheus/src/annotations.ts"),
    ("/annotations/list", "textFormat", "as above"),
    ("/annotations/list", "titleFormat", "as above"),
    ("/annotations/list", "useValueForTime", "as above"),
    (
        "/templating/list",
        "definition",
        "what the list of variables shows; every query variable that Grafana saves has it",
    ),
];

#[test]
fn boards_are_as_the_types_of_grafana_say() {
    let Some(schema) = schema() else { return };
    let mut untold = vec![0; UNTOLD.len()];
    for mut board in boards() {
        for (place, (list, key, _)) in UNTOLD.iter().enumerate() {
            let items = board.json.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
            untold[place] += items.iter_mut().filter_map(|item| item.as_object_mut()?.remove(*key)).count();
        }
        let faults: Vec<String> =
            schema.iter_errors(&board.json).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", board.name());
    }
    assert!(!untold.contains(&0), "nothing to leave out: {untold:?}");
}

#[test]
fn what_grafana_does_not_know_is_found() {
    let Some(schema) = schema() else { return };
    for (pointer, wrong) in [
        ("/panels/1/fieldConfig/defaults/thresholds/steps/0/value", Value::from("none")),
        ("/panels/1/gridPos/w", Value::from("wide")),
        ("/graphTooltip", Value::from(7)),
        ("/templating/list/1/refresh", Value::from("always")),
        ("/time", Value::from("now-1h")),
    ] {
        let mut board = boards().remove(0).json;
        *board.pointer_mut(pointer).expect("it is there") = wrong;
        for (list, key, _) in UNTOLD {
            let items = board.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| drop(item.remove(*key)));
        }
        assert!(!schema.is_valid(&board), "{pointer}");
    }
}

/// `None` where it was not made.
fn schema() -> Option<jsonschema::Validator> {
    let path = project(".cache/dashboards/dashboard.schema.json");
    let Ok(text) = fs::read_to_string(&path) else {
        missing(&format!("the schema of dashboards ({})", path.display()));
        return None;
    };
    let schema = serde_json::from_str(&text).expect("the schema is JSON");
    Some(jsonschema::validator_for(&schema).expect("a schema"))
}
