//! Names of real clients, and the applications they are grouped into.

use std::collections::HashMap;
use std::fs;

use proptest::prelude::*;
use redis_client_exporter::client_list::parse;
use redis_client_exporter::server_info::Product;
use redis_client_exporter::snapshot::{ClientKind, Fallback, Grouping, GroupingOptions, RULES};

use crate::support::project;

/// The application of a client that has a name and nothing else.
fn app(grouping: &Grouping, name: &str) -> String {
    app_of_row(grouping, &format!("id=1 addr=10.0.0.1:5 name={name} user=default"))
}

fn app_of_row(grouping: &Grouping, row: &str) -> String {
    grouping.app(&parse(row.as_bytes()).clients[0]).to_string()
}

/// A grouping that takes versions off names.
fn without_versions() -> Grouping {
    let options = GroupingOptions { strip_version: true, ..GroupingOptions::default() };
    Grouping::new(&options, None).expect("valid options")
}

/// The rows of a table of names, applications and sources.
fn corpus(file: &str) -> Vec<[String; 3]> {
    let table = fs::read_to_string(project(file)).expect("the table");
    let row = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into();
    table.lines().skip(1).map(|line| row(line).unwrap_or_else(|_| panic!("no row: {line}"))).collect()
}

#[test]
fn names_of_real_clients_are_grouped_as_an_operator_would() {
    let grouping = Grouping::default();
    let (rows, mut wrong) = (corpus("tests/corpus/client_names.tsv"), Vec::new());
    for [name, expected, source] in &rows {
        assert!(!source.is_empty(), "{name} has no source");
        let row = format!("id=1 addr=10.0.0.1:5 name={name}");
        let reply = parse(row.as_bytes());
        let is_sentinel = ClientKind::of(&reply.clients[0], Product::Redis, &[]) == ClientKind::Sentinel;
        assert_eq!(is_sentinel, expected == "(sentinel)", "{name}");
        if is_sentinel {
            continue;
        }
        let found = app(&grouping, name);
        let expected = match expected.as_str() {
            "-" => "(unnamed)".to_owned(),
            expected if expected.starts_with('(') => format!("\\{expected}"),
            expected => expected.to_owned(),
        };
        if found != expected {
            wrong.push(format!("{name}: {found} and not {expected}"));
        }
    }
    assert!(rows.len() >= 380, "{} rows", rows.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn libraries_of_real_clients_are_grouped_by_their_driver_and_without_versions() {
    let grouping = Grouping::default();
    for [library, expected, source] in corpus("tests/corpus/library_names.tsv") {
        assert!(!source.is_empty(), "{library} has no source");
        let found = app_of_row(&grouping, &format!("id=1 addr=10.0.0.1:5 name= user=default lib-name={library}"));
        assert_eq!(found, expected, "{library}");
    }
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
        ("bull:ZW1haWw=", "bull:ZW1haWw=:qe"),
        ("bull:ZW1haWw=", "{bull}:ZW1haWw="),
        ("shop:ZW1haWw=", "bull:ZW1haWw="),
        ("bull:file", "bull:fish"),
        ("orders.dev", "orders.prod"),
        ("feed1.prices.us", "feed1.prices.eu"),
        ("billing.prod.example.com", "billing.staging.example.com"),
        ("celery@kpi.hostname", "celery@main.hostname"),
        ("com.acme.billing", "com.acme.orders"),
        ("orders.v2", "orders.v3"),
        ("app@eu.prod", "app@eu.staging"),
    ] {
        assert_ne!(app(&grouping, one), app(&grouping, other));
    }
    // A version between the words of a name, and a deployment's color, may name an application.
    for (one, other) in [("api-blue", "api-green"), ("orders-read-v1", "orders-write-v1"), ("gpt-4-gw", "gpt-5-gw")] {
        assert_ne!(app(&without_versions(), one), app(&without_versions(), other));
    }
}

#[test]
fn what_belongs_together_goes_together() {
    let grouping = Grouping::default();
    for (one, other) in [
        ("bull:ZW1haWw=:w:host-1", "bull:ZW1haWw=:w:host-2"),
        ("bull:ZW1haWw=:w:host-1", "bull:ZW1haWw="),
        // The same queue of a worker in Python and of one in Node.
        ("bull:email:w:host-1", "bull:ZW1haWw="),
        // A queue for each process: mail-17 and mail-18.
        ("bull:bWFpbC0xNw==", "bull:bWFpbC0xOA=="),
        ("node-3.example.com", "node-4.example.com"),
        ("web01.fra.example.com:6379", "web02.ams.example.com:6380"),
        ("celery@worker1.host", "celery@worker2.host"),
        ("celery@high-1.fra.acme.de", "celery@high-2.ams.acme.de"),
        ("lambda-2026-11-25T10:00:00", "lambda-2026-11-26T09:30:15.250Z"),
        ("job_2026-11-25T", "job_2026-11-26T10"),
        ("x-2026-11-25T10:00:00+01:00", "x-2026/11/25_1030"),
        ("report-2026-11-25", "report-2026-W48"),
        ("scan-1764065400", "scan-1764065400123"),
    ] {
        assert_eq!(app(&grouping, one), app(&grouping, other));
    }
    for (one, other) in [
        ("api-v41", "api-v42"),
        ("api_v1.2.3", "api_v1.3.0-rc.1"),
        ("api-1.4.2", "api-1.5.0-SNAPSHOT"),
        ("api@1.2.3", "api@2.0.0-beta"),
        ("api-v41-worker", "api-v42-worker"),
        ("api-v41-6d4cf56db6-xk2lp", "api-v42-6d4cf56db6-xk2lp"),
        ("acme/api:sha-860c190", "acme/api:sha-0a1b2c3"),
        ("api-v1.2.3-14-g860c190", "api-v1.2.3"),
    ] {
        assert_eq!(app(&without_versions(), one), app(&without_versions(), other));
    }
}

#[test]
fn a_decoded_queue_name_is_as_hostile_as_any_name() {
    let grouping = Grouping::default();
    let named = |prefix: &str, queue: &str| {
        use base64::Engine;
        app(&grouping, &format!("{prefix}:{}", base64::engine::general_purpose::STANDARD.encode(queue)))
    };
    // Signs that no queue's name needs are not decoded.
    for queue in ["(other)", "(unnamed)", "a\x1b[31m", "a\nid=2", "\u{202e}moc", "<script>", "a\"b"] {
        let found = named("bull", queue);
        assert!(found.starts_with("bull:") && !found.contains(queue), "{queue:?}: {found}");
    }
    // The prefix may be taken off as a counter; what stays is escaped like any other name.
    assert_eq!(named("17", "mail"), "mail");
    assert_eq!(app(&grouping, "17:(other)"), r"\(other)");
    let long = named("bull", &"q".repeat(150));
    assert!(long.len() == 64 && long.starts_with("bull:qqq") && long.contains('~'), "{long}");
}

/// The table of docs/grouping.md. UPDATE_GOLDEN writes it again.
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
        assert!(text.contains(&table), "write it again with UPDATE_GOLDEN:\n{table}");
    }
}

/// Names of applications, from which no rule takes anything off.
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
        "bull:email",
        "com.acme.billing",
        "celery@high",
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
        "[-_.:/]20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])",
        "-20[0-9]{2}-1[0-2]-2[0-8]T([01][0-9](:[0-5][0-9](:[0-5][0-9](\\.[0-9]{3})?)?)?Z?)?",
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
    fn grouping_an_application_changes_nothing_more(
        name in prop_oneof![
            r"[!#-\[\]-~]{1,60}",
            r"(bull|\{bull\}|shop):[A-Za-z0-9+/]{2,12}={0,2}(:w:[a-z0-9-]{1,9}|:qe)?",
            r"[a-z]{1,4}[0-9]?@?([a-z0-9-]{1,6}\.){0,3}(com|local|host|io|v2|cluster\.local)",
            r"[a-z]{1,4}[-_.:@]v?[0-9]{1,3}(\.[0-9]{1,3}){0,3}(-(rc|beta|b)\.?[0-9]{0,2})?([-.][a-z]{1,4})?",
        ],
    ) {
        for grouping in [Grouping::default(), without_versions()] {
            let once = app(&grouping, &name);
            prop_assume!(once != "(unnamed)");
            // A leading parenthesis is escaped in a client's name, and not again in an application's.
            let again = app(&grouping, once.strip_prefix('\\').filter(|rest| rest.starts_with('(')).unwrap_or(&once));
            prop_assert_eq!(again, once);
        }
    }

    #[test]
    fn a_decoded_queue_name_is_idempotent_too(
        queue in "[A-Za-z0-9_.:/@{}é-]{1,40}",
        prefix in "(bull|shop|[0-9]{1,3})",
    ) {
        use base64::Engine;
        let grouping = Grouping::default();
        let encoded = base64::engine::general_purpose::STANDARD.encode(queue);
        let once = app(&grouping, &format!("{prefix}:{encoded}"));
        prop_assume!(once != "(unnamed)" && !once.contains([' ', '~', '\\']));
        prop_assert_eq!(app(&grouping, &once), once);
    }

    #[test]
    fn any_library_and_any_address_have_an_application_of_bounded_length(
        library in "[!-~é]{0,90}|[a-z]{1,9}\\([!-~]{0,40}\\)",
        address in "[!-~]{0,50}|10\\.0\\.0\\.[0-9]:[0-9]{1,5}|/[a-z.]{1,20}:0",
    ) {
        for fallback in [Fallback::Library, Fallback::LibraryHost, Fallback::Host] {
            let grouping = Grouping::new(&GroupingOptions { fallback, ..GroupingOptions::default() }, None);
            let row = format!("id=1 addr={address} name= user=default lib-name={library}");
            let found = app_of_row(&grouping.expect("valid options"), &row);
            prop_assert!(!found.is_empty() && found.len() <= 65, "{}", found);
            let is_ours = ["(unnamed)", "(unix)"].contains(&found.as_str());
            prop_assert!(is_ours || !found.starts_with('('), "{}", found);
        }
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
fn many_clients_of_few_applications_are_grouped() {
    let grouping = Grouping::default();
    let counted = (0..1000).fold(HashMap::new(), |mut counts: HashMap<String, u32>, number| {
        *counts.entry(app(&grouping, &format!("app{}-{number}", (b'a' + (number % 7) as u8) as char))).or_default() +=
            1;
        counts
    });
    assert_eq!(counted.len(), 7, "{counted:?}");
}
