//! The links of the dashboards: to each other, and to the pages of the exporter.

use serde_json::Value;

use super::{Board, boards, list, text, variable_names};
use crate::support::exporter::Exporter;
use crate::support::http::get;
use crate::support::server::{Server, any_binary};
use crate::support::test_clients::TestClients;

/// The prefix of links to the exporter's pages.
const PAGES: &str = "${external_url:raw}";

#[test]
fn links_open_a_dashboard_and_set_variables_that_it_has() {
    let boards = boards();
    let mut checked = 0;
    for url in links(&boards).into_iter().filter(|url| !url.starts_with(PAGES)) {
        let (path, given) = url.split_once('?').unwrap_or((url, ""));
        let target = boards.iter().find(|board| path == format!("/d/{}", text(&board.json, "/uid")));
        let target = target.unwrap_or_else(|| panic!("{url}: no such dashboard"));
        let variables = variable_names(&target.json);
        for part in given.split('&') {
            // The name of a client may contain any character that is special in a URL.
            let (name, is_safe) = match part.strip_prefix("var-").and_then(|part| part.split_once('=')) {
                Some((name, value)) => (name, value.ends_with(":percentencode}")),
                None if part == "${__url_time_range}" => continue,
                None => {
                    (part.trim_start_matches("${").trim_end_matches(":queryparam}"), part.ends_with(":queryparam}"))
                }
            };
            assert!(is_safe && variables.contains(name), "{url}: {part}");
        }
        checked += 1;
    }
    assert!(checked > 0, "no links");
}

/// With a value for each variable, each link opens a page of the exporter.
#[test]
fn links_to_the_exporters_pages_work() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let _clients = TestClients::join(&server);
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.fresh_scrape();
    let boards = boards();
    let mut checked = 0;
    for path in links(&boards).into_iter().filter_map(|url| url.strip_prefix(PAGES)) {
        let safe = path.matches("${").count() == path.matches(":percentencode}").count();
        assert!(safe, "{path}");
        let filled = path
            .replace("${__data.fields.Application:percentencode}", "web")
            .replace("${__data.fields.Node:percentencode}", &server.address().replace(':', "%3A"));
        assert!(!filled.contains('$'), "{filled}");
        let page = get(&exporter.address, &filled);
        assert_eq!(page.status, 200, "{filled}: {}", page.text());
        assert!(filled.contains("min_idle") || page.text().contains("web"), "{filled}: the application is missing");
        checked += 1;
    }
    assert!(checked > 3, "no links to pages");
}

#[test]
fn dashboards_link_to_each_other() {
    for board in boards() {
        let mut links = list(&board.json, "/links").iter();
        let to_all = links.any(|link| link["type"] == "dashboards" && link["tags"][0] == "redis-clients");
        assert!(to_all && list(&board.json, "/tags").contains(&"redis-clients".into()), "{}", board.name());
    }
}

/// Returns every URL that the dashboards link to.
fn links(boards: &[Board]) -> Vec<&str> {
    let urls = boards.iter().flat_map(|board| values_of(&board.json, "url"));
    urls.filter(|url| !url.is_empty()).collect()
}

/// Returns every string under this key, at any depth.
fn values_of<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let own = value.get(key).and_then(Value::as_str);
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    own.into_iter().chain(inner.into_iter().flat_map(|inner| values_of(inner, key))).collect()
}
