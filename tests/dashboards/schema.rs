//! The dashboards match Grafana's own types: `tests/dashboards/install` makes a JSON schema from npm's
//! `@grafana/schema`, and every dashboard is validated with it.

use std::fs;

use serde_json::Value;

use super::boards;
use crate::support::project;
use crate::support::server::missing;

const ANNOTATION: &str = "an annotation of the Prometheus data source: grafana-prometheus/src/annotations.ts";

/// The members that Grafana reads although its types lack them: the list, the member, the source.
const UNDECLARED: &[(&str, &str, &str)] = &[
    ("/annotations/list", "target", "the query of the data source; every annotation that Grafana saves has it"),
    ("/annotations/list", "tagKeys", ANNOTATION),
    ("/annotations/list", "textFormat", ANNOTATION),
    ("/annotations/list", "titleFormat", ANNOTATION),
    ("/annotations/list", "useValueForTime", ANNOTATION),
    (
        "/templating/list",
        "definition",
        "the text in the list of variables; every query variable that Grafana saves has it",
    ),
];

#[test]
fn dashboards_match_the_types_of_grafana() {
    let Some(schema) = schema() else { return };
    let mut undeclared = vec![0; UNDECLARED.len()];
    for mut board in boards() {
        for (place, (list, key, _)) in UNDECLARED.iter().enumerate() {
            let items = board.json.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
            undeclared[place] += items.iter_mut().filter_map(|item| item.as_object_mut()?.remove(*key)).count();
        }
        let faults: Vec<String> =
            schema.iter_errors(&board.json).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", board.name());
    }
    assert!(!undeclared.contains(&0), "an undeclared member is not used: {undeclared:?}");
}

#[test]
fn mistakes_are_found_by_the_schema() {
    let Some(schema) = schema() else { return };
    for (pointer, wrong) in [
        ("/panels/1/fieldConfig/defaults/thresholds/steps/0/value", Value::from("none")),
        ("/panels/1/gridPos/w", Value::from("wide")),
        ("/graphTooltip", Value::from(7)),
        ("/templating/list/1/refresh", Value::from("always")),
        ("/time", Value::from("now-1h")),
    ] {
        let mut board = boards().remove(0).json;
        *board.pointer_mut(pointer).expect("the dashboard has this member") = wrong;
        for (list, key, _) in UNDECLARED {
            let items = board.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| drop(item.remove(*key)));
        }
        assert!(!schema.is_valid(&board), "{pointer}");
    }
}

/// Returns the schema; `None` if it is not installed.
fn schema() -> Option<jsonschema::Validator> {
    let path = project(".cache/dashboards/dashboard.schema.json");
    let Ok(text) = fs::read_to_string(&path) else {
        missing(&format!("the schema of dashboards ({})", path.display()));
        return None;
    };
    let schema = serde_json::from_str(&text).expect("the schema is JSON");
    Some(jsonschema::validator_for(&schema).expect("a schema"))
}
