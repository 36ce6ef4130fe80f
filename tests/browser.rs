//! The pages in a real Chromium. Each script of `tests/browser` runs with a real server that has many clients, and a
//! real exporter.

use crate::support::browser::browse;
use crate::support::server::{any_binary, binary};

#[test]
fn pages_match_client_list() {
    browse("truth", any_binary(), &[]);
}

#[test]
fn opened_and_closed_connections_appear_without_a_reload() {
    browse("live", any_binary(), &["--client-announce-frequency=1h"]);
}

#[test]
fn the_table_sorts_filters_pages_and_stays_stable() {
    browse("table", any_binary(), &[]);
}

#[test]
fn pages_work_without_a_script() {
    browse("plain", any_binary(), &[]);
}

#[test]
fn text_from_clients_and_links_is_never_executed() {
    // A server that supports library names, which are hostile too.
    browse("hostile", binary("redis-8.2").or_else(any_binary), &[]);
}

#[test]
fn pages_are_accessible() {
    browse("accessible", any_binary(), &["--presence.expect=ghost=2"]);
}

#[test]
fn a_page_without_its_stream_shows_it_and_recovers() {
    browse("stream", any_binary(), &[]);
}

#[test]
fn updates_do_not_disturb_the_reader() {
    browse("reading", any_binary(), &[]);
}

#[test]
fn charts_stay_stable_and_show_the_last_hour() {
    browse("charts", any_binary(), &[]);
}
