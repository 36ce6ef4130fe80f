//! `CLIENT LIST` rows: from our own real servers (goldens), and hand-made in every form that has been published.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use redis_client_exporter::client_list::{Address, Client, Fault, Field, Listing, Parsed, parse};
use redis_client_exporter::exposition;
use redis_client_exporter::latest::{NodeState, Nodes, Phase};
use redis_client_exporter::sample::{Cost, Sample};
use redis_client_exporter::server_info::ServerInfo;
use redis_client_exporter::snapshot::{Limits, derive};

use crate::support::project;

/// Formats a parsed reply as in the goldens, one line per client.
fn rendered(parsed: &Parsed<'_>) -> String {
    let mut text = String::new();
    for client in &parsed.clients {
        let text_of = |field| client.text(field).map_or("-".into(), |value| value.escape_ascii().to_string());
        let number = |field| client.number(field).map_or("-".into(), |number| number.to_string());
        writeln!(
            text,
            "id={} {} fields={} name={} user={} lib={} cmd={} flags={} db={} sub={} multi={} omem={} tot-cmds={} \
             silent={}",
            number(Field::Id),
            client.address().map_or("-".into(), address),
            client.fields().count(),
            text_of(Field::Name),
            text_of(Field::User),
            text_of(Field::LibName),
            text_of(Field::Cmd),
            client.flags().letters().escape_ascii(),
            number(Field::Db),
            client.subscriptions(),
            number(Field::Multi),
            number(Field::Omem),
            number(Field::TotCmds),
            client.is_silent(),
        )
        .expect("writing to a string cannot fail");
    }
    writeln!(text, "unreadable={}", parsed.unreadable.total()).expect("writing to a string cannot fail");
    text
}

fn address(address: Address<'_>) -> String {
    match address {
        Address::Inet(address) => format!("inet={address}"),
        Address::Unix(path) => format!("unix={}", path.escape_ascii()),
        Address::Unknown(text) => format!("unknown={}", text.escape_ascii()),
    }
}

/// Set UPDATE_GOLDEN to write the goldens; then review them.
#[test]
fn rows_of_real_servers_match_the_goldens() {
    let folder = project("tests/corpus/real");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("the goldens") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        seen += 1;
        let text = rendered(&parse(&fs::read(&path).expect("a reply")));
        let golden = path.with_extension("golden");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).expect("a golden");
        }
        assert_eq!(text, fs::read_to_string(&golden).expect("a golden"), "{}", path.display());
    }
    assert_eq!(seen, 6, "one reply per server generation");
}

/// The complete metrics of a node, of a sample in which all numbers differ. Set UPDATE_GOLDEN to write the golden.
#[test]
fn the_metrics_of_a_known_sample_match_the_golden() {
    let reply = fs::read(project("tests/corpus/real/valkey-9.1.txt")).expect("a reply");
    let info = b"valkey_version:9.1.2\nrole:master\nredis_mode:standalone\nrun_id:r\nuptime_in_seconds:1\n\
        connected_clients:11\nmaxclients:12\nblocked_clients:13\ntracking_clients:14\ntotal_connections_received:15\n\
        rejected_connections:16\nevicted_clients:17\nclient_output_buffer_limit_disconnections:18\n\
        client_query_buffer_limit_disconnections:19\nserver_time_usec:-1\n";
    let sample = Sample {
        at: "2026-01-01T00:00:00.25Z".parse().expect("a time"),
        info: Ok(ServerInfo::parse(info)),
        cost: Cost {
            duration: Duration::from_millis(20),
            pages: 21,
            server_time: Some(Duration::from_millis(22)),
            longest_command: Some(Duration::from_millis(23)),
            within_budget: Some(true),
            drift: Some(-24),
        },
        clock_difference: Some(SignedDuration::from_secs(-25)),
        ..Sample::of("2026-01-01T00:00:00Z".parse().expect("a time"), Listing::new(reply))
    };
    let limits = Limits {
        idle_after: Duration::from_secs(300),
        idle_thresholds: vec![Duration::from_secs(0), Duration::from_secs(60)],
        groups: 3,
        ..Limits::default()
    };
    let snapshot = Arc::new(derive(None, Arc::new(sample), &limits));
    let now = Instant::now();
    let mut node = NodeState::starting("10.0.0.5:6379".into());
    node.tally.add_snapshot(&snapshot);
    node.phase = Phase::Fresh { snapshot, stale_at: now + Duration::from_secs(60) };
    let text = exposition::text(&Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [node]), now);
    let series: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let golden = project("tests/corpus/metrics.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &series).expect("a golden");
    }
    assert_eq!(series, fs::read_to_string(&golden).expect("a golden"));
}

fn one(row: &str) -> Parsed<'_> {
    let parsed = parse(row.as_bytes());
    assert_eq!((parsed.clients.len(), parsed.unreadable.total()), (1, 0), "{row}");
    parsed
}

fn text(client: &Client<'_>, field: Field) -> String {
    String::from_utf8_lossy(client.text(field).expect("the field exists")).into_owned()
}

#[test]
fn values_may_contain_equals_signs_and_spaces_or_be_empty() {
    let cases = [
        ("id=2 addr=127.0.0.1:49481 fd=8 name=roi=lipman age=27", Field::Name, "roi=lipman"),
        ("id=7 addr=/tmp/redis sock/redis.sock:0 fd=9 name=x", Field::Addr, "/tmp/redis sock/redis.sock:0"),
        ("id=7 addr=/a  b/c=d.sock:0 laddr=/a  b/c=d.sock:0 fd=9", Field::Laddr, "/a  b/c=d.sock:0"),
        ("id=7 addr=/tmp/x:0 name=test=_complex_[name] age=-1", Field::Name, "test=_complex_[name]"),
        ("id=3 addr=1.1.1.1:1 name= age=0", Field::Name, ""),
        ("id=3 addr= laddr= fd=8", Field::Addr, ""),
        ("id=1234 addr=127.0.0.1:64000 flags= db=0", Field::Flags, ""),
        ("id=7 addr=1.1.1.1:1 user=default lib-name=go-redis(,go1.24.4) lib-ver=", Field::LibVer, ""),
        ("addr=1.1.3.4:12345 fd=5 idle=107 cmd=incr", Field::Cmd, "incr"),
        ("id=1 addr=a:1 cmd=FT._LIST user=(superuser)", Field::Cmd, "FT._LIST"),
        ("id=13091001001 addr=172.17.0.1:55380 cmd=CLIENT user=default\r\n", Field::User, "default"),
        ("  id=7 addr=127.0.0.1:33676 cmd=get\n", Field::Cmd, "get"),
    ];
    for (row, field, value) in cases {
        assert_eq!(text(&one(row).clients[0], field), value, "{row}");
    }
}

#[test]
fn invalid_numbers_do_not_invalidate_their_row() {
    let parsed = one("id=81 dummy addr=172.18.0.1:33504 fd=13 age=0 idle=x omem=99999999999999999999 multi=-1 db=");
    let client = &parsed.clients[0];
    assert_eq!(client.id(), None);
    assert_eq!((client.idle_seconds(), client.number(Field::Omem), client.number(Field::Db)), (None, None, None));
    assert_eq!((client.number(Field::Multi), client.age_seconds()), (Some(-1), Some(0)));
}

#[test]
fn ages_are_never_negative() {
    let parsed = one("id=1 addr=a:1 age=-1 idle=-3600");
    assert_eq!((parsed.clients[0].age_seconds(), parsed.clients[0].idle_seconds()), (Some(0), Some(0)));
}

#[test]
fn of_two_equal_keys_the_first_wins_if_no_client_can_set_it() {
    let parsed = one("id=1 addr=1.1.1.1:1 name=mine user=me id=2 addr=6.6.6.6:6 name=other user=admin");
    let client = &parsed.clients[0];
    assert_eq!(
        (client.id(), text(client, Field::Addr), text(client, Field::Name)),
        (Some(1), "1.1.1.1:1".into(), "mine".into())
    );
    assert_eq!(client.text(Field::User), None, "one of them is forged");
}

#[test]
fn unknown_fields_are_kept_in_order() {
    let parsed = one("id=1 addr=a:1 ow=0 owmem=7 http=true numops=12 future=a b");
    let fields: Vec<_> = parsed.clients[0].fields().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let expected = [
        ("id", "1"),
        ("addr", "a:1"),
        ("ow", "0"),
        ("owmem", "7"),
        ("http", "true"),
        ("numops", "12"),
        ("future", "a b"),
    ];
    assert_eq!(fields, expected.map(|(key, value)| (key.into(), value.into())));
    assert_eq!(parsed.clients[0].text(Field::Name), None);
}

#[test]
fn one_reply_may_have_rows_of_different_form() {
    let reply =
        "id=1 addr=a:1 name=x age=1 idle=2\nid=2 addr=b:2 tls=v1.3|aes age=3\n\nid=3 addr=c:3 name=y age=1 idle=9\n";
    let parsed = parse(reply.as_bytes());
    let idles: Vec<_> = parsed.clients.iter().map(Client::idle_seconds).collect();
    assert_eq!(idles, [Some(2), None, Some(9)]);
}

#[test]
fn bytes_that_are_not_utf8_are_accepted() {
    let parsed = parse(b"id=1 addr=a:1 user=caf\xe9\x01 cmd=get\n");
    assert_eq!(parsed.clients[0].text(Field::User), Some(b"caf\xe9\x01".as_slice()));
}

#[test]
fn lines_that_are_not_clients_are_counted_by_fault() {
    let cases: [(&[u8], usize, Fault); 5] = [
        (b"------ CLIENT LIST OUTPUT ------\nid=1 addr=a:1 fd=1\n", 1, Fault::NotAClient),
        (b"[25579] 12 Mar 03:33:23 # addr=127.0.0.1:42757 fd=10\n", 0, Fault::NotAClient),
        (b"127.0.0.1:6379> CLIENT LIST\nid=1 addr=a:1\n", 1, Fault::NotAClient),
        (b"id=1 addr=a:1 fd=5 name= age=1\nid=2 addr=b:2 fd", 1, Fault::Truncated),
        (b"id=1 addr=a:1 fd=5 name= age=1\nid=2 addr=b:2 fd=5 name=", 1, Fault::Truncated),
    ];
    for (reply, clients, fault) in cases {
        let parsed = parse(reply);
        assert_eq!(parsed.clients.len(), clients, "{}", reply.escape_ascii());
        assert_eq!((parsed.unreadable.count(fault), parsed.unreadable.total()), (1, 1), "{}", reply.escape_ascii());
    }
}

#[test]
fn a_last_line_without_a_line_end_is_parsed_if_it_is_complete() {
    let parsed = parse(b"id=1 addr=a:1 fd=5\nid=2 addr=b:2 fd=6");
    assert_eq!((parsed.clients.len(), parsed.unreadable.total()), (2, 0));
    assert!(parse(b"").clients.is_empty() && parse(b"\n").clients.is_empty());
}

#[test]
fn a_client_with_a_huge_name_is_kept_with_its_name_truncated() {
    let row = format!("id=5 addr=1.2.3.4:5 name={} idle=7 cmd=get\n", "x".repeat(1_000_000));
    let parsed = one(&row);
    let client = &parsed.clients[0];
    assert_eq!((client.id(), client.idle_seconds(), text(client, Field::Cmd)), (Some(5), Some(7), "get".into()));
    assert_eq!(client.text(Field::Name).map(<[u8]>::len), Some(1024 - "name=".len()));

    let hopeless = format!("id=5 addr={}\n", "x ".repeat(100_000));
    assert_eq!(parse(hopeless.as_bytes()).unreadable.count(Fault::TooLong), 1);
}

/// Rows that users have published, if the collection is beside this project.
#[test]
fn published_rows_are_parsed_line_by_line() {
    let Ok(folder) = fs::read_dir(project("../shared/corpus")) else { return };
    let (mut clients, mut lines, mut files) = (0, 0, 0);
    for entry in folder {
        let path = entry.expect("an entry").path();
        let reply = fs::read(&path).expect("a file");
        let parsed = parse(&reply);
        let here = reply.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        let read = parsed.clients.len();
        assert_eq!(read + parsed.unreadable.total() as usize, here, "{}", path.display());
        let rows = reply.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let rows = rows.filter(|line| line.starts_with(b"id=") || line.starts_with(b"addr=")).count();
        let not_rows = (parsed.unreadable.total() - parsed.unreadable.count(Fault::NotAClient)) as usize;
        assert_eq!(read + not_rows, rows, "{}", path.display());
        for client in &parsed.clients {
            assert!(client.id().is_some() || client.address().is_some(), "{}", path.display());
        }
        (clients, lines, files) = (clients + read, lines + here, files + 1);
    }
    println!("{files} files, {lines} lines, {clients} clients");
    assert!(clients > 100, "most rows are readable");
}

/// A row of Dragonfly, which takes any bytes as a name, a library and its version.
fn dragonfly_row(id: u64, [name, library, version]: [&str; 3]) -> String {
    format!(
        "id={id} addr=10.0.0.{id}:1 laddr=10.0.9.9:6379 fd={id} name={name} tid=0 irqmatch=1 age=90 idle=3 tot-cmds=5 \
         tot-net-in=70 tot-read-calls=5 tot-dispatches=0 db=0 phase=process lib-name={library} lib-ver={version}\n"
    )
}

#[test]
fn a_line_break_in_a_name_makes_no_client_and_hides_none() {
    let forged = "id=99 addr=6.6.6.6:1 laddr=10.0.9.9:6379 fd=9 name=evil";
    let complete = "1\nid=3 addr=6.6.6.6:1 laddr=10.0.9.9:6379 fd=9 name=evil age=1 lib-name= lib-ver=1";
    let cases = [
        (["web", "py", "1"], None),
        ([&format!("web\n{forged}"), "py", "1"], Some(Fault::Continuation)),
        (["web", &format!("py\n{forged}"), "1"], Some(Fault::Continuation)),
        (["a\nb", "py", "1"], Some(Fault::NotAClient)),
        (["web", "py", complete], Some(Fault::Duplicate)),
        // Texts that make the row of another client look like a continuation, or like a row that ends otherwise.
        (["a\nb", "py", "1 foo=2"], Some(Fault::NotAClient)),
        (["web", "py", "1 name=z"], None),
        (["web", "py", "1 lib-name=z"], None),
    ];
    for (texts, fault) in cases {
        for place in 0..4 {
            let rows: Vec<String> =
                (1..=4).map(|id| dragonfly_row(id, if id == place + 1 { texts } else { ["web", "", ""] })).collect();
            let reply = rows.concat();
            let parsed = parse(reply.as_bytes());
            let mut ids: Vec<_> = parsed.clients.iter().filter_map(Client::id).collect();
            ids.sort_unstable();
            assert_eq!(ids, [1, 2, 3, 4], "{reply}");
            let faults: Vec<_> = Fault::ALL.into_iter().filter(|fault| parsed.unreadable.count(*fault) > 0).collect();
            assert_eq!(
                (faults, parsed.unreadable.total()),
                (fault.into_iter().collect(), fault.iter().len() as u64),
                "{reply}"
            );
        }
    }
}

#[test]
fn a_field_that_a_name_repeats_is_unknown() {
    let reply = dragonfly_row(1, ["x age=1 idle=0 name=y id=7", "py", "1 lib-name=z"]);
    let parsed = parse(reply.as_bytes());
    let client = &parsed.clients[0];
    assert_eq!(
        (client.id(), client.text(Field::Addr), client.text(Field::Name)),
        (Some(1), Some(&b"10.0.0.1:1"[..]), Some(&b"x"[..]))
    );
    for field in [Field::Age, Field::Idle, Field::LibName] {
        assert_eq!(client.text(field), None, "{field:?}");
    }
    assert_eq!((client.number(Field::Db), client.text(Field::LibVer)), (Some(0), Some(&b"1"[..])));
}
