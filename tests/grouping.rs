//! Names of real clients, and the applications they are grouped into.

use std::collections::HashMap;
use std::fs;

use proptest::prelude::*;
use redis_client_exporter::client_list::parse;
use redis_client_exporter::server_info::Product;
use redis_client_exporter::snapshot::{ClientKind, Grouping, RULES};

use crate::support::project;

/// The application of a client that says nothing but its name.
fn app(grouping: &Grouping, name: &str) -> String {
    grouping.app(&parse(format!("id=1 addr=10.0.0.1:5 name={name} user=default").as_bytes()).clients[0]).to_string()
}

#[test]
fn names_of_real_clients_are_grouped_as_an_operator_would() {
    let table = fs::read_to_string(project("tests/corpus/client_names.tsv")).expect("the table");
    let grouping = Grouping::default();
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in table.lines().skip(1) {
        let [name, expected, source] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("no row: {line}") };
        assert!(!source.is_empty(), "{name} has no source");
        rows += 1;
        let row = format!("id=1 addr=10.0.0.1:5 name={name}");
        let reply = parse(row.as_bytes());
        let is_sentinel = ClientKind::of(&reply.clients[0], Product::Redis, &[]) == ClientKind::Sentinel;
        assert_eq!(is_sentinel, expected == "(sentinel)", "{name}");
        if is_sentinel {
            continue;
        }
        let found = app(&grouping, name);
        let expected = match expected {
            "-" => "(unnamed)".to_owned(),
            expected if expected.starts_with('(') => format!("\\{expected}"),
            expected => expected.to_owned(),
        };
        if found != expected {
            wrong.push(format!("{name}: {found} and not {expected}"));
        }
    }
    assert!(rows >= 200, "{rows} rows");
    assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_must_stay_apart_stays_apart() {
    let grouping = Grouping::default();
    for (one, other) in [
        ("api-v1", "api-v2"),
        ("s3-sync", "ec2-sync"),
        ("orders-read", "orders-write"),
        ("eu-west-1-cache", "us-west-1-cache"),
        ("cache-eu-west-1", "cache-eu-west-2"),
        ("rss-feed", "rss-face"),
        ("bull:ZW1haWw=", "bull:am9icw=="),
        ("resque:scheduler", "resque:worker"),
        ("web", "worker"),
        ("sentinel-proxy", "sentinel-dashboard"),
    ] {
        assert_ne!(app(&grouping, one), app(&grouping, other));
    }
}

/// The table of docs/grouping.md, made anew with UPDATE_GOLDEN.
#[test]
fn the_table_in_the_documents_is_the_one_in_use() {
    const HEAD: &str = "| taken off | a name | its application |\n|---|---|---|\n";
    let mut table = String::from(HEAD);
    for rule in RULES {
        table += &format!("| {} | `{}` | `{}` |\n", rule.what, rule.example, rule.app);
    }
    let path = project("docs/grouping.md");
    let text = fs::read_to_string(&path).expect("the document");
    let (before, rest) = text.split_once(HEAD).expect("the table");
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{before}{table}\n{after}")).expect("the document can be written");
    } else {
        assert!(text.contains(&table), "write it anew with UPDATE_GOLDEN:\n{table}");
    }
}

/// A name that lasts: words without a digit, as applications are called.
fn lasting() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "web",
        "billing",
        "orders-read",
        "api-v2",
        "s3-sync",
        "rss-feed",
        "price.feed",
        "team/mailer",
        "queue:high",
        "Sidekiq-server",
        "cache-eu-west-1",
        "a=b",
        "svc_auth",
        "log4j2",
        "payments@prod",
        "face-detect",
    ])
    .prop_map(str::to_owned)
}

/// Something that changes per process, as schedulers, operating systems and libraries make it.
fn changing() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-_.:#/][0-9]{1,10}",
        "[-_.:]pid[-:]?[0-9]{2,7}",
        "-[0-9]{1,3}-[0-9]{2,6}",
        "-[bcdfghjklmnpqrstvwxz2456789]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}",
        "-[0-9]{8}-[bcdfghjklmnpqrstvwxz2456789]{5}",
        "[-_.:][0-9a-f]{3}[0-9][0-9a-f]{8}",
        "-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "-ip-10-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}",
        "-[0-9]{8}T[0-9]{6}Z",
        r"\[[0-9]{1,4}\]",
    ]
}

proptest! {
    #[test]
    fn names_that_differ_only_in_what_changes_are_one_application(
        name in lasting(),
        (one, other) in changing().prop_flat_map(|one| (Just(one), changing())),
    ) {
        let grouping = Grouping::default();
        prop_assert_eq!(app(&grouping, &format!("{name}{one}")), name.as_str());
        prop_assert_eq!(app(&grouping, &format!("{name}{other}")), name.as_str());
    }

    #[test]
    fn grouping_an_application_changes_nothing_more(name in r"[!#-\[\]-~]{1,60}") {
        let grouping = Grouping::default();
        let once = app(&grouping, &name);
        prop_assume!(once != "(unnamed)");
        // A name that begins with our sign is escaped, which happens to a client's name and not to an application's.
        let again = app(&grouping, once.strip_prefix('\\').filter(|rest| rest.starts_with('(')).unwrap_or(&once));
        prop_assert_eq!(again, once);
    }

    #[test]
    fn no_client_can_pass_for_a_group_of_ours(tail in "[!-~]{0,20}") {
        let grouping = Grouping::default();
        for name in ["(other)", "(unnamed)", "(none)", "(unix)"] {
            let found = app(&grouping, &format!("{name}{tail}"));
            prop_assert!(!found.starts_with('('), "{}", found);
        }
    }

    #[test]
    fn any_bytes_have_an_application_of_bounded_length(name in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut row = b"id=1 addr=10.0.0.1:5 name=".to_vec();
        row.extend(name.iter().map(|byte| if byte.is_ascii_whitespace() { b'_' } else { *byte }));
        let reply = parse(&row);
        for client in &reply.clients {
            let found = Grouping::default().app(client);
            prop_assert!(!found.is_empty() && found.len() <= 129, "{}", found);
        }
    }
}

#[test]
fn a_crowd_of_names_is_looked_at_once() {
    let grouping = Grouping::default();
    let counted = (0..1000).fold(HashMap::new(), |mut counts: HashMap<String, u32>, number| {
        *counts.entry(app(&grouping, &format!("app{}-{number}", (b'a' + (number % 7) as u8) as char))).or_default() +=
            1;
        counts
    });
    assert_eq!(counted.len(), 7, "{counted:?}");
}
