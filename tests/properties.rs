//! Properties that hold for every reply and every sample.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use redis_client_exporter::client_list::{Field, Listing, parse};
use redis_client_exporter::exposition;
use redis_client_exporter::latest::{NodeState, Nodes, Phase};
use redis_client_exporter::sample::Sample;
use redis_client_exporter::server_info::ServerInfo;
use redis_client_exporter::snapshot::{
    ClientCounts, ClientKind, Counter, Counters, Groups, Limits, Snapshot, State, derive,
};

use crate::support::scrape::Scrape;

const GROUPS: usize = 5;

fn limits() -> Limits {
    Limits {
        idle_after: Duration::from_secs(300),
        idle_thresholds: [60, 300, 3600].map(Duration::from_secs).into(),
        groups: GROUPS,
        ..Limits::default()
    }
}

fn sample(reply: Vec<u8>, info: ServerInfo) -> Arc<Sample> {
    Arc::new(Sample {
        info: Ok(info),
        own_ids: vec![1],
        ..Sample::of("2026-01-01T00:00:00Z".parse().expect("a time"), Listing::new(reply))
    })
}

fn counts(rows: &[String]) -> ClientCounts {
    let reply = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    derive(None, sample(reply.into(), ServerInfo::default()), &limits()).client_counts.expect("the clients were listed")
}

/// A user name that ACLs accept: any bytes but NUL and white space.
fn user() -> impl Strategy<Value = Vec<u8>> {
    let is_allowed = |byte: &u8| !byte.is_ascii_whitespace() && *byte != 0 && *byte != 11;
    vec(any::<u8>().prop_filter("ACL users have no white space", is_allowed), 0..40)
}

/// A name that the server accepts: visible ASCII.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-c]{1,2}",
        "[!-~]{1,300}",
        Just("(other)".to_owned()),
        Just("(none)".to_owned())
    ]
}

/// Rows, each with its own id. The first one is that of our own connection.
fn rows(most: usize) -> impl Strategy<Value = Vec<String>> {
    vec(row(), 0..most).prop_map(|rows| (1..).zip(rows).map(|(id, row)| format!("id={id} {row}")).collect())
}

/// A row without its id.
fn row() -> impl Strategy<Value = String> {
    let identity = (name(), name(), name(), option::of(name()));
    let rest = ("[NOSMxbPtIgoiE]{0,3}", any::<i64>(), -5_i64..2_000_000, 0..20, 0..3);
    (identity, rest).prop_map(|((name, user, command, library), (flags, age, idle, db, sub))| {
        let library = library.map_or(String::new(), |library| format!(" lib-name={library}"));
        format!(
            "addr=10.0.0.1:5 name={name} age={age} idle={idle} flags={flags} db={db} sub={sub} cmd={command} \
             user={user}{library}"
        )
    })
}

proptest! {
    #[test]
    fn no_line_is_lost_whatever_the_bytes(reply in vec(any::<u8>(), 0..2000)) {
        check_lines(&reply)?;
    }

    #[test]
    fn no_line_is_lost_of_row_like_text(reply in "((id|addr|name|x-1)?=?[a-z0-9 :=\\n]{0,12}[ \\n]){0,60}") {
        check_lines(reply.as_bytes())?;
    }

    #[test]
    fn a_row_is_parsed_to_the_values_it_was_made_of(
        id in any::<u32>(),
        path in "/[ -~]{0,60}",
        name in "[!-~]{0,200}",
        user in user(),
        idle in any::<i64>(),
    ) {
        // If the path itself contains `key=`, its end is ambiguous.
        prop_assume!(!path.split(' ').skip(1).any(|part| part.contains('=')));
        let mut row = format!("id={id} addr={path}:0 name={name} idle={idle} flags=N user=").into_bytes();
        row.extend_from_slice(&user);
        row.extend_from_slice(b" cmd=get\n");
        let parsed = parse(&row);
        prop_assert_eq!(parsed.clients.len(), 1);
        let client = &parsed.clients[0];
        prop_assert_eq!(client.id(), Some(u64::from(id)));
        let address = format!("{path}:0");
        prop_assert_eq!(client.text(Field::Addr), Some(address.as_bytes()));
        prop_assert_eq!(client.text(Field::Name), Some(name.as_bytes()));
        prop_assert_eq!(client.text(Field::User), Some(&*user));
        prop_assert_eq!(client.number(Field::Idle), Some(idle).filter(|&idle| idle != i64::MIN));
        prop_assert_eq!(client.text(Field::Cmd), Some(b"get".as_slice()));
    }

    #[test]
    fn groups_and_kinds_and_states_sum_to_the_totals(rows in rows(60)) {
        let counts = counts(&rows);
        let online = counts.online();
        prop_assert_eq!(counts.connections(), rows.len() as u64);
        prop_assert_eq!(ClientKind::ALL.map(|kind| counts.of_kind(kind)).iter().sum::<u64>(), rows.len() as u64);
        prop_assert_eq!(State::ALL.map(|state| counts.in_state(state)).iter().sum::<u64>(), online);
        prop_assert!(counts.silent() <= online);
        prop_assert!(counts.last_interaction.count() + counts.silent() <= online);
        let dimensions = [&counts.users, &counts.libraries, &counts.databases, &counts.commands, &counts.networks];
        for groups in dimensions.into_iter().flatten() {
            check_groups(groups, online)?;
        }
        prop_assert!(counts.applications.idle.is_sorted_by(|more, fewer| more >= fewer));
    }

    #[test]
    fn the_order_of_lines_is_irrelevant(
        (rows, shuffled) in rows(40).prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        prop_assert_eq!(counts(&rows), counts(&shuffled));
    }

    #[test]
    fn a_scrape_is_valid_and_bounded(rows in rows(60)) {
        let reply = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        let snapshot = derive(None, sample(reply.into(), ServerInfo::default()), &limits());
        let text = exposition::text(&view(snapshot), Instant::now());
        let scrape = Scrape::parse(&text);
        // The series that do not depend on clients, and per dimension up to GROUPS groups and `(other)`. An application
        // has 18 series.
        let max = 110 + 5 * (GROUPS + 1) + 18 * (GROUPS + 1);
        prop_assert!(scrape.series.len() <= max, "{} series", scrape.series.len());
        for label in scrape.series.iter().flat_map(|series| series.labels.values()) {
            prop_assert!(label.len() <= 129, "{label}");
        }
    }

    #[test]
    fn counters_never_fall_and_count_everything(
        steps in vec(
            (0_u64..1000, prop_oneof![8 => Just(false), 1 => Just(true)], option::weighted(0.9, Just(()))),
            1..40,
        ),
    ) {
        let (mut raw, mut run, mut previous): (u64, u32, Option<Snapshot>) = (0, 0, None);
        let (mut expected, mut last_reported) = (0, 0);
        for (more, restart, reported) in steps {
            if restart {
                (raw, run, last_reported) = (0, run + 1, 0);
            }
            raw += more;
            if reported.is_some() {
                expected += raw - last_reported;
                last_reported = raw;
            }
            let info = ServerInfo {
                connections_received: reported.map(|()| raw),
                run_id: Some(run.to_string()),
                uptime_seconds: Some(0),
                ..ServerInfo::default()
            };
            let snapshot = derive(previous.as_ref(), sample(Vec::new(), info), &limits());
            prop_assert_eq!(total(Some(&snapshot)), expected);
            previous = Some(snapshot);
        }
    }
}

fn total(snapshot: Option<&Snapshot>) -> u64 {
    let counters: Option<&Counters> = snapshot.map(|snapshot| &snapshot.counters);
    counters.and_then(|counters| counters.connections_received).map_or(0, Counter::total)
}

fn check_lines(reply: &[u8]) -> Result<(), TestCaseError> {
    let parsed = parse(reply);
    let lines = reply.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    prop_assert_eq!(parsed.clients.len() + parsed.unreadable.total() as usize, lines);
    for client in &parsed.clients {
        // The accessors of a client must not panic either.
        let _ = (client.address(), client.subscriptions(), client.idle_seconds(), client.fields().count());
        prop_assert!(client.text(Field::Id).or(client.text(Field::Addr)).is_some());
    }
    Ok(())
}

fn check_groups(groups: &Groups, online: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(groups.total(), online);
    let counts: Vec<_> = groups.iter().collect();
    prop_assert!(counts.len() <= GROUPS + 1);
    prop_assert_eq!(counts.iter().any(|(group, _)| *group == "(other)"), groups.folded() > 0);
    Ok(())
}

fn view(snapshot: Snapshot) -> Nodes {
    let phase = Phase::Fresh { snapshot: Arc::new(snapshot), stale_at: Instant::now() + Duration::from_secs(60) };
    let state = NodeState { phase, ..NodeState::starting("node:1".into()) };
    Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [state])
}
