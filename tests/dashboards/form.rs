//! The form of the dashboards: they load into any Grafana, by import and by provisioning, and their panels are aligned.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{VARIABLES, boards, is_row, list, no_faulty_panel, panels, query_variables, text};

/// The panel types that every Grafana since version 10 has.
const PANEL_TYPES: &[&str] = &["bargauge", "gauge", "heatmap", "row", "stat", "table", "text", "timeseries"];

#[test]
fn no_dashboard_needs_inputs_that_provisioning_does_not_provide() {
    for board in boards() {
        assert!(!["__inputs", "DS_PROMETHEUS"].iter().any(|input| board.text.contains(input)), "{}", board.name());
    }
}

#[test]
fn everything_uses_the_selected_data_source() {
    for board in boards() {
        let mut asking: Vec<&Value> = panels(&board.json).into_iter().filter(|panel| !is_row(panel)).collect();
        let targets: Vec<&Value> = asking.iter().flat_map(|panel| list(panel, "/targets")).collect();
        asking.extend(targets);
        asking.extend(list(&board.json, "/annotations/list"));
        asking.extend(query_variables(&board.json));
        for item in asking {
            let chosen = (text(item, "/datasource/type"), text(item, "/datasource/uid"));
            assert_eq!(chosen, ("prometheus", "${datasource}"), "{}: {item}", board.name());
        }
    }
}

#[test]
fn a_dashboard_has_a_fixed_uid_and_no_state_of_the_grafana_it_was_made_in() {
    for board in boards() {
        let uid = text(&board.json, "/uid");
        assert_eq!(board.name(), format!("{uid}.json"));
        assert!(uid.len() <= 40, "{uid}");
        for noise in ["id", "iteration", "version"] {
            assert!(board.json[noise].is_null(), "{uid}: {noise}");
        }
        assert!(!board.text.contains("\"pluginVersion\""), "{uid}");
    }
}

#[test]
fn dashboards_share_schema_and_settings() {
    for board in boards() {
        assert_eq!(board.json["schemaVersion"], 41, "{}", board.name());
        assert_eq!(board.json["editable"], false, "{}", board.name());
        assert_eq!(board.json["graphTooltip"], 1, "{}", board.name());
        assert!(["30s", "1m"].contains(&text(&board.json, "/refresh")), "{}: refresh", board.name());
    }
}

#[test]
fn variables_allow_several_values_and_follow_the_time_range() {
    for board in boards() {
        for variable in shown_variables(&board.json) {
            let name = text(variable, "/name");
            assert_eq!(text(variable, "/label"), name);
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()), "{name}");
            let all = match name {
                // A single server has no cluster.
                "cluster" => ".*",
                // Those of the selected clusters.
                "redis" => "",
                _ => ".+",
            };
            assert_eq!((text(variable, "/allValue"), &variable["refresh"]), (all, &2.into()), "{name}");
            assert_ne!(variable["sort"], 0, "{name}: unsorted");
        }
    }
}

#[test]
fn each_variable_is_filtered_by_those_before_it() {
    for board in boards() {
        let variables: Vec<&Value> = shown_variables(&board.json).collect();
        assert!(variables.len() >= 3, "{}", board.name());
        for (place, variable) in variables.into_iter().enumerate() {
            let ((name, _), before) = (VARIABLES[place], &VARIABLES[..place]);
            let query = text(variable, "/query/query");
            assert_eq!((text(variable, "/name"), text(variable, "/definition")), (name, query), "{}", board.name());
            assert!(query.ends_with(&format!(", {name})")), "{}: {query}", board.name());
            // Applications are in no cluster but on nodes, which are those of the cluster.
            let mut needed = before.iter().filter(|(before, _)| *before != "cluster" || name == "redis");
            assert!(needed.all(|(_, selector)| query.contains(selector)), "{}: {query}", board.name());
        }
    }
}

#[test]
fn panels_are_of_types_that_every_grafana_has() {
    no_faulty_panel(|panel| !PANEL_TYPES.contains(&text(panel, "/type")));
}

#[test]
fn ids_are_unique() {
    for board in boards() {
        let panels = panels(&board.json);
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{}: panel ids", board.name());
        for panel in panels {
            let targets = list(panel, "/targets");
            let refs: BTreeSet<&str> = targets.iter().map(|target| text(target, "/refId")).collect();
            assert_eq!(refs.len(), targets.len(), "{}: refIds of {}", board.name(), panel["title"]);
        }
    }
}

#[test]
fn panels_are_within_the_grid_and_do_not_overlap() {
    for board in boards() {
        let mut taken = BTreeSet::new();
        for panel in panels(&board.json) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or_default());
            assert!(w > 0 && h > 0 && x + w <= 24, "{}: {}", board.name(), panel["title"]);
            let mut cells = (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line)));
            assert!(
                cells.all(|cell| taken.insert(cell)),
                "{}: {} overlaps another panel",
                board.name(),
                panel["title"]
            );
        }
    }
}

#[test]
fn heatmaps_use_the_buckets_of_prometheus() {
    no_faulty_panel(|panel| text(panel, "/type") == "heatmap" && panel["options"]["calculate"] != false);
    no_faulty_panel(|panel| {
        let targets = list(panel, "/targets");
        text(panel, "/type") == "heatmap"
            && !targets.iter().all(|t| text(t, "/format") == "heatmap" && text(t, "/legendFormat") == "{{le}}")
    });
}

#[test]
fn dashboards_are_in_normal_form() {
    for board in boards() {
        let normal = serde_json::to_string_pretty(&board.json).expect("parsed JSON can be serialized");
        assert!(board.text == normal + "\n", "{}: two spaces, sorted keys, a newline at the end", board.name());
    }
}

/// Links use the URL of the first exporter. It is a hidden variable, which users do not select.
#[test]
fn the_url_of_the_pages_is_a_hidden_variable() {
    for board in boards() {
        let hidden: Vec<&Value> = query_variables(&board.json).filter(|variable| variable["hide"] == 2).collect();
        let [variable] = hidden[..] else { panic!("{}: {hidden:?}", board.name()) };
        assert_eq!((text(variable, "/name"), &variable["multi"]), ("external_url", &false.into()), "{}", board.name());
        assert_eq!((&variable["includeAll"], &variable["refresh"]), (&false.into(), &2.into()), "{}", board.name());
    }
}

/// Returns the variables that are shown for selection.
fn shown_variables(board: &Value) -> impl Iterator<Item = &Value> {
    query_variables(board).filter(|variable| variable["hide"] == 0)
}
