//! The order, the sizes and the members of the messages of made-up snapshots.

use std::fmt::Write;
use std::sync::Arc;

use super::*;
use crate::client_list::Listing;
use crate::sample::Sample;
use crate::server_info::ServerInfo;
use crate::snapshot::{Limits, derive};
use crate::status::{Key, Received, SIGNATURE_OVERHEAD, StatusReceiver};

mod properties;

const ANNOUNCEMENT: Announcement<'_> =
    Announcement { announcer: "a", node: "n:1", seq: 7, frequency: 10.0, max_bytes: 1 << 20, reserve: 0 };

fn at() -> Timestamp {
    "2026-01-01T00:00:00.123456Z".parse().expect("a time")
}

/// The snapshot of a reply, after another.
fn snapshot_after(previous: Option<&Snapshot>, reply: impl Into<Vec<u8>>) -> Snapshot {
    let info = ServerInfo {
        run_id: Some("run".into()),
        role: Some("master".into()),
        maxclients: Some(10_000),
        ..ServerInfo::default()
    };
    let sample = Sample { info: Ok(info), own_ids: vec![90_000], ..Sample::of(at(), Listing::new(reply.into())) };
    derive(previous, Arc::new(sample), &Limits::default())
}

fn snapshot(reply: impl Into<Vec<u8>>) -> Snapshot {
    snapshot_after(None, reply)
}

/// Application clients with these ids, all alike.
fn clients(ids: std::ops::Range<u64>) -> String {
    ids.fold(String::new(), |mut reply, id| {
        writeln!(reply, "id={id} addr=10.0.0.1:{id} name=web user=app age=9 idle=3 flags=N db=0 cmd=get")
            .expect("writing to a string cannot fail");
        reply
    })
}

/// A status of a new announcer.
fn status(announcement: &Announcement<'_>, snapshot: &Snapshot) -> Vec<String> {
    announcement.status(snapshot, &mut Rotation::default())
}

/// The message of the changes of these snapshots together.
fn changes(snapshots: &[&Snapshot]) -> Option<String> {
    let mut batch = ChangeBatch::default();
    snapshots.iter().for_each(|snapshot| batch.add(snapshot));
    ANNOUNCEMENT.changes(&batch, snapshots.last()?, MAX_MESSAGE)
}

fn parsed(message: &str) -> Value {
    serde_json::from_str(message).unwrap_or_else(|error| panic!("{error}: {message}"))
}

/// The ids of a list in a message.
fn ids(message: &str, list: &str) -> Vec<u64> {
    let message = parsed(message);
    let list = message[list].as_array().unwrap_or_else(|| panic!("no {list}: {message}"));
    list.iter().map(|client| client["id"].as_u64().expect("an id")).collect()
}

/// Passes the parts of one status to a receiver. Returns the ids of its clients, and the number of omitted ones.
fn received(parts: &[String]) -> (Vec<u64>, u64) {
    let mut receiver = StatusReceiver::default();
    let mut last = None;
    for part in parts {
        let verified = receiver.verify(part.as_bytes()).expect("there are no keys");
        last = receiver.receive(verified, at()).unwrap_or_else(|refusal| panic!("{refusal:?}: {part}"));
    }
    let Some(Received::Status { sample, .. }) = last else { panic!("an incomplete status of {} parts", parts.len()) };
    let crate::sample::Source::Received(totals) = sample.source else { panic!("{:?}", sample.source) };
    let pages = sample.clients.as_ref().expect("clients");
    (pages.clients().filter_map(|(_, client)| client.id()).collect(), totals.truncated)
}

#[test]
fn the_longest_idle_clients_come_first_then_waiting_ones_then_internal_ones() {
    let reply = "\
id=90000 addr=e:1 name= idle=9999 flags=N cmd=info
id=1 addr=a:1 name=web idle=5 flags=N cmd=get
id=2 addr=a:2 name=web idle=700 flags=b cmd=blpop
id=3 addr=a:3 name=web idle=60 flags=N cmd=get
id=4 addr=a:4 name= idle=8000 flags=S cmd=psync
id=5 addr=a:5 name=web idle=60 flags=N cmd=get
id=6 addr=a:6 name=web idle=900 flags=P sub=1 cmd=subscribe
";
    let parts = status(&ANNOUNCEMENT, &snapshot(reply));
    assert_eq!(ids(&parts[0], "clients"), [3, 5, 1, 6, 2, 90_000, 4]);
    let message = parsed(&parts[0]);
    let of = |id: u64| {
        let clients = message["clients"].as_array().expect("clients");
        clients.iter().find(|client| client["id"] == id).expect("the client is listed").clone()
    };
    // An internal connection has a kind, and no application and no interaction.
    assert_eq!((of(4)["kind"].as_str(), of(90_000)["kind"].as_str()), (Some("replica"), Some("exporter")));
    assert!([4, 90_000].iter().all(|id| of(*id).get("app").is_none() && of(*id).get("last_interaction").is_none()));
    assert_eq!(of(3)["last_interaction"], "2025-12-31T23:59:00Z");
    assert!(of(3).get("kind").is_none() && of(3)["app"] == "web");
    assert_eq!((message["connections"].as_u64(), message["online"].as_u64()), (Some(7), Some(5)));
    assert_eq!(message["sampled_at"], "2026-01-01T00:00:00.123Z", "to the millisecond");
}

#[test]
fn a_status_of_several_parts_is_numbered_and_each_part_is_complete_in_itself() {
    let parts = status(&ANNOUNCEMENT, &snapshot(clients(1..2000)));
    assert!(parts.len() > 2, "{}", parts.len());
    for (part, number) in parts.iter().zip(1_u64..) {
        let message = parsed(part);
        assert_eq!((&message["part"], &message["parts"]), (&number.into(), &parts.len().into()));
        assert_eq!(
            (&message["truncated"], &message["seq"], &message["schema"]),
            (&0.into(), &7.into(), &SCHEMA.into())
        );
        assert_eq!(message["run_id"], "run");
        assert!(message["fields"].as_array().is_some_and(|fields| fields.iter().any(|field| field == "idle_seconds")));
    }
    // All parts but the last are full.
    let room = |part: &String| MAX_MESSAGE - part.len();
    assert!(parts[..parts.len() - 1].iter().all(|part| room(part) < 400), "{:?}", parts.iter().map(room));
    let (mut ids, truncated) = received(&parts);
    ids.sort_unstable();
    assert_eq!((ids, truncated), ((1..2000).collect(), 0));
}

#[test]
fn a_status_omits_clients_beyond_its_size_and_counts_them() {
    let snapshot = snapshot(clients(1..2000));
    for max_bytes in [10_000, MAX_MESSAGE, MAX_MESSAGE + 200, 100_000, 3 * MAX_MESSAGE] {
        let parts = status(&Announcement { max_bytes, ..ANNOUNCEMENT }, &snapshot);
        let total: usize = parts.iter().map(String::len).sum();
        assert!(total <= max_bytes, "{total} of {max_bytes} in {} parts", parts.len());
        assert!(total + 1200 > max_bytes, "{total} of {max_bytes}: the room is used");
        let (mut ids, truncated) = received(&parts);
        ids.sort_unstable();
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "equally idle ones by id");
        assert_eq!(ids.len() as u64 + truncated, 1999);
    }
}

#[test]
fn a_status_without_room_for_a_client_still_has_the_totals() {
    let parts = status(&Announcement { max_bytes: 1, ..ANNOUNCEMENT }, &snapshot(clients(1..4)));
    assert_eq!(parts.len(), 1);
    let message = parsed(&parts[0]);
    assert_eq!((&message["truncated"], &message["connections"], &message["parts"]), (&3.into(), &3.into(), &1.into()));
    assert_eq!(received(&parts), (Vec::new(), 3));
}

#[test]
fn each_part_leaves_room_for_its_signature() {
    let announcement = Announcement { reserve: SIGNATURE_OVERHEAD, ..ANNOUNCEMENT };
    let (key, snapshot) = (Key::new(b"secret"), snapshot(clients(1..2000)));
    for mut part in status(&announcement, &snapshot) {
        key.sign(&mut part);
        assert!(part.len() <= MAX_MESSAGE, "{}", part.len());
        assert!(key.verifies(part.as_bytes()));
    }
}

#[test]
fn changes_are_limited_in_number_and_in_size() {
    let before = snapshot(clients(1..300));
    let message = changes(&[&snapshot_after(Some(&before), clients(250..600))]).expect("changes");
    assert_eq!(ids(&message, "opened"), (300..400).collect::<Vec<_>>());
    assert_eq!(ids(&message, "closed"), (1..101).collect::<Vec<_>>());
    assert_eq!((parsed(&message)["kind"].as_str(), parsed(&message)["seq"].as_u64()), (Some("changes"), Some(7)));
    // Names whose bytes are written as five characters each.
    let long: String =
        (1000..1200).map(|id| format!("id={id} addr=a:1 name={} idle=1\n", "\u{7f}".repeat(512))).collect();
    let message = changes(&[&snapshot_after(Some(&before), long)]).expect("changes");
    let opened = ids(&message, "opened");
    assert!((10..100).contains(&opened.len()), "{}", opened.len());
    assert!(message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 4000, "{}", message.len());
}

#[test]
fn changes_are_those_of_applications_and_without_any_there_is_no_message() {
    let before = snapshot(clients(1..4));
    assert_eq!(changes(&[&before]), None, "the first snapshot");
    let internal = "id=50 addr=r:1 name= idle=1 flags=S cmd=psync\nid=90000 addr=e:1 name= idle=0 flags=N cmd=info\n";
    let with_internal = snapshot_after(Some(&before), clients(1..4) + internal);
    assert_eq!(changes(&[&with_internal]), None);
    assert_eq!(changes(&[&snapshot_after(Some(&with_internal), clients(1..4))]), None);
    let after = snapshot_after(Some(&before), clients(2..5));
    let message = parsed(&changes(&[&after]).expect("changes"));
    let closed = &message["closed"][0];
    assert_eq!((closed["id"].as_u64(), closed["closed_reason"].as_str()), (Some(1), Some("unknown")));
    assert_eq!(
        (closed["app"].as_str(), closed["closed_at"].as_str(), closed["last_interaction"].as_str()),
        (Some("web"), Some("2026-01-01T00:00:00Z"), Some("2025-12-31T23:59:57Z"))
    );
    assert_eq!((closed["state"].as_str(), closed.get("output_buffer_bytes")), (Some("active"), None));
    assert_eq!(message["opened"][0]["id"], 4);
}

#[test]
fn a_heartbeat_has_the_totals_and_nothing_else() {
    let message = parsed(&ANNOUNCEMENT.heartbeat(&snapshot(clients(1..4))).expect("a heartbeat"));
    let members: Vec<&str> = message.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "announcer",
        "closed_total",
        "connections",
        "frequency",
        "kind",
        "maxclients",
        "online",
        "opened_total",
        "redis",
        "role",
        "run_id",
        "sampled_at",
        "schema",
        "seq",
        "silent",
    ];
    let mut sorted = members;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!((&message["kind"], &message["connections"]), (&"heartbeat".into(), &3.into()));
}

#[test]
fn without_a_run_id_or_without_clients_nothing_is_announced() {
    let whole = snapshot(clients(1..4)).sample.as_ref().clone();
    let refusal = || crate::failure::Failure { reason: crate::failure::Reason::NoPermission, message: "no".into() };
    let without_run_id = Sample { info: Ok(ServerInfo::default()), ..whole.clone() };
    let without_info = Sample { info: Err(refusal()), ..whole.clone() };
    let without_clients = Sample { clients: Err(refusal()), ..whole };
    for sample in [without_run_id, without_info, without_clients] {
        let snapshot = derive(Some(&snapshot("")), Arc::new(sample), &Limits::default());
        assert!(status(&ANNOUNCEMENT, &snapshot).is_empty());
        assert_eq!((changes(&[&snapshot]), ANNOUNCEMENT.heartbeat(&snapshot)), (None, None));
    }
}

#[test]
fn an_address_with_a_space_that_is_no_path_does_not_spoil_the_status() {
    let reply = "id=1 addr=a host:1 name=web idle=3 cmd=get\nid=2 addr=/tmp/a b.sock:0 name=web idle=2 cmd=get\n";
    let parts = status(&ANNOUNCEMENT, &snapshot(reply));
    assert_eq!(received(&parts), (vec![1, 2], 0));
    let addresses =
        parsed(&parts[0])["clients"].as_array().map(|clients| clients.iter().map(|c| c["address"].clone()).collect());
    assert_eq!(addresses, Some(vec![Value::from("a\\x20host:1"), Value::from("/tmp/a b.sock:0")]));
}

/// The snapshot of several pages, each read this many milliseconds after the sample began.
fn paged(previous: Option<&Snapshot>, begin: Timestamp, pages: &[(i64, &str)]) -> Snapshot {
    let mut sample = snapshot("").sample.as_ref().clone();
    let mut all = Pages::default();
    for (after, reply) in pages {
        let at = begin + jiff::SignedDuration::from_millis(*after);
        all.push(crate::sample::Page { at, listing: Listing::new(reply.as_bytes().to_vec()) });
    }
    (sample.at, sample.clients) = (begin, Ok(all));
    derive(previous, Arc::new(sample), &Limits::default())
}

/// Asserts that no time in a message is later than the message, and that nothing happened after a client closed.
fn assert_no_time_is_later_than_its_message(message: &str) {
    let message = parsed(message);
    let time = |value: &Value| value.as_str().map(|text| text.parse::<Timestamp>().expect("RFC 3339"));
    let at = time(&message["sampled_at"]).expect("a time");
    for client in ["clients", "opened", "closed"].iter().flat_map(|list| message[list].as_array().into_iter().flatten())
    {
        let [last, closed] = ["last_interaction", "closed_at"].map(|member| time(&client[member]));
        assert!(last.is_none_or(|last| last <= at) && closed.is_none_or(|closed| closed <= at), "{client} at {at}");
        assert!(closed.is_none() || last <= closed, "{client}");
        assert!(["idle_seconds", "age_seconds"].iter().all(|it| client.get(it).is_none_or(Value::is_u64)), "{client}");
    }
}

/// Pages are read after the sample began, and new clients up to a sample interval later.
#[test]
fn changes_are_stamped_with_their_own_time() {
    let before = paged(None, at(), &[(0, &clients(1..3))]);
    let pages =
        [(0, &*clients(1..3)), (700, "id=3 addr=a:3 idle=0 cmd=get\n"), (2300, "id=4 addr=a:4 idle=0 cmd=get\n")];
    let after = paged(Some(&before), at(), &pages);
    let message = changes(&[&after]).expect("changes");
    assert_eq!(ids(&message, "opened"), [3, 4]);
    assert_eq!(parsed(&message)["sampled_at"], "2026-01-01T00:00:02.423Z");
    assert_eq!(parsed(&message)["opened"][1]["last_interaction"], "2026-01-01T00:00:02Z");
    let [status] = status(&ANNOUNCEMENT, &after).try_into().expect("one part");
    for message in [&message, &status, &ANNOUNCEMENT.heartbeat(&after).expect("a heartbeat")] {
        assert_no_time_is_later_than_its_message(message);
        assert_eq!(parsed(message)["sampled_at"], "2026-01-01T00:00:02.423Z");
    }
    // The last interaction is still the time of the message minus the idle time.
    let of = |id: usize| parsed(&status)["clients"][id].clone();
    assert_eq!((&of(0)["id"], &of(0)["idle_seconds"], &of(0)["age_seconds"]), (&1.into(), &5.into(), &11.into()));
    assert_eq!(of(0)["last_interaction"], "2025-12-31T23:59:57Z", "as it was read");
}

#[test]
fn a_clock_that_steps_back_puts_no_time_after_its_message() {
    let before = paged(None, at(), &[(0, "id=1 addr=a:1 idle=0 cmd=get\nid=2 addr=a:2 idle=0 cmd=get\n")]);
    let earlier = at() - jiff::SignedDuration::from_secs(7200);
    let reply = "id=2 addr=a:2 idle=-7200 age=-7199 cmd=get\nid=3 addr=a:3 idle=0 cmd=get\n";
    let after = paged(Some(&before), earlier, &[(0, reply)]);
    let message = changes(&[&after]).expect("changes");
    assert_eq!((ids(&message, "opened"), ids(&message, "closed")), (vec![3], vec![1]));
    assert_no_time_is_later_than_its_message(&message);
    status(&ANNOUNCEMENT, &after).iter().for_each(|part| assert_no_time_is_later_than_its_message(part));
    // Changes of before, in a message of after.
    let opened = paged(Some(&paged(None, at(), &[(0, "")])), at(), &[(0, "id=9 addr=a:9 idle=0 cmd=get\n")]);
    assert_no_time_is_later_than_its_message(&changes(&[&opened, &after]).expect("changes"));
}

#[test]
fn changes_of_several_snapshots_are_one_message_and_its_totals_are_exact() {
    let snapshots = [clients(1..4), clients(2..6), clients(5..300), clients(200..301)];
    let mut all: Vec<Snapshot> = Vec::new();
    for reply in snapshots {
        all.push(snapshot_after(all.last(), reply));
    }
    let totals = |message: &str| ["opened_total", "closed_total"].map(|member| parsed(message)[member].as_u64());
    let first = changes(&[&all[1]]).expect("changes");
    assert_eq!((ids(&first, "opened"), ids(&first, "closed")), (vec![4, 5], vec![1]));
    assert_eq!(totals(&first), [Some(2), Some(1)]);
    let rest = changes(&[&all[2], &all[3]]).expect("changes");
    assert_eq!(ids(&rest, "opened"), (6..106).collect::<Vec<_>>(), "not more than the maximum");
    assert_eq!(ids(&rest, "closed"), (2..5).chain(5..102).collect::<Vec<_>>());
    // 300 has one more than 299.
    assert_eq!(totals(&rest), [Some(2 + 294 + 1), Some(1 + 3 + 195)]);
    assert_eq!(totals(&ANNOUNCEMENT.heartbeat(&all[3]).expect("a heartbeat")), totals(&rest));
    assert_eq!(totals(&status(&ANNOUNCEMENT, &all[3])[0]), totals(&rest));
}

#[test]
fn changes_without_room_list_some_of_each_kind() {
    let before = snapshot(clients(1..300));
    let after = snapshot_after(Some(&before), clients(250..600));
    let mut batch = ChangeBatch::default();
    batch.add(&after);
    let message = ANNOUNCEMENT.changes(&batch, &after, 4096).expect("changes");
    let counts = ["opened", "closed"].map(|list| ids(&message, list).len());
    assert!(message.len() <= 4096 && counts.iter().all(|count| (5..30).contains(count)), "{counts:?}");
    assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
    assert_eq!(ANNOUNCEMENT.changes(&batch, &after, 100), None, "no room");
    batch.clear();
    assert!(batch.is_empty() && ANNOUNCEMENT.changes(&batch, &after, 4096).is_none());
}

/// Application clients with these ids; the higher the id, the shorter the idle time.
fn staggered(ids: impl IntoIterator<Item = u64>) -> String {
    ids.into_iter().fold(String::new(), |mut reply, id| {
        writeln!(reply, "id={id} addr=10.0.0.1:{id} name=web user=app age=99999 idle={} cmd=get", 90_000 - id)
            .expect("writing to a string cannot fail");
        reply
    })
}

#[test]
fn half_of_a_status_without_room_for_all_are_the_longest_silent_ones_and_the_others_take_turns() {
    let (snapshot, mut rotation) = (snapshot(staggered(1..1000)), Rotation::default());
    let mut listed = || {
        let [part] = ANNOUNCEMENT_64K.status(&snapshot, &mut rotation).try_into().expect("one part");
        ids(&part, "clients")
    };
    let statuses: Vec<Vec<u64>> = (0..12).map(|_| listed()).collect();
    let same = statuses[0].iter().zip(&statuses[1]).take_while(|(one, other)| one == other).count();
    assert!((statuses[0].len() * 9 / 20..=statuses[0].len() * 11 / 20).contains(&same), "{same} of {statuses:?}");
    // The longest silent ones have the lowest ids.
    assert!(statuses.iter().all(|ids| ids[..same] == (1..=same as u64).collect::<Vec<_>>()), "{statuses:?}");
    let seen: BTreeSet<u64> = statuses.into_iter().flatten().collect();
    assert_eq!(seen, (1..1000).collect(), "the busiest ones too");
}

const ANNOUNCEMENT_64K: Announcement<'_> = Announcement { max_bytes: MAX_MESSAGE, ..ANNOUNCEMENT };

#[test]
fn a_client_with_long_texts_takes_the_place_of_no_other() {
    // Each byte is written as five characters.
    let long = "\u{7f}".repeat(512);
    let texts = format!("name={long} user={long} lib-name={long} cmd={long}");
    let reply: String = (1..9).map(|id| format!("id={id} addr=a:1 {texts} age=9 idle=9\n")).collect();
    let (snapshot, mut rotation) = (snapshot(reply + &clients(100..140)), Rotation::default());
    let small = Announcement { max_bytes: 4096, ..ANNOUNCEMENT };
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let part = &small.status(&snapshot, &mut rotation)[0];
        assert!(part.len() <= 4096 && ids(part, "clients").len() >= 8, "{}: {part}", part.len());
        seen.extend(ids(part, "clients"));
    }
    assert!((100..140).all(|id| seen.contains(&id)), "{seen:?}");
}

#[test]
fn a_status_has_all_applications_up_to_the_group_limit_and_the_sum_is_exact() {
    let app = |number: u64| if number < 3 { "big" } else { ["a", "b", "c", "d", "e", "f"][number as usize % 6] };
    let reply = (1..=120).fold(String::new(), |mut reply, id| {
        let name = format!("{}{}", app(id), "xyz".repeat((id / 6) as usize));
        writeln!(reply, "id={id} addr=a:{id} name={name} idle=3 flags={} cmd=get", if id % 7 == 0 { "b" } else { "N" })
            .expect("writing to a string cannot fail");
        reply
    });
    let snapshot = snapshot(reply);
    let shown = snapshot.presence.shown.len();
    assert!(shown >= 50 && snapshot.presence.folded > 0, "{shown} and {}", snapshot.presence.folded);
    let apps = |max_bytes| {
        let part = status(&Announcement { max_bytes, ..ANNOUNCEMENT }, &snapshot).remove(0);
        parsed(&part)["apps"].as_array().expect("apps").clone()
    };
    let sum = |apps: &[Value], member: &str| apps.iter().filter_map(|app| app[member].as_u64()).sum::<u64>();
    let all = apps(MAX_MESSAGE);
    assert_eq!(all.len(), shown + 1, "and the others");
    assert_eq!(all.last().map(|app| app["app"].clone()), Some("(other)".into()));
    // With little room some of them are in (other), and half of the room remains for clients.
    let few = apps(4096);
    assert!((5..shown).contains(&few.len()), "{}", few.len());
    for apps in [all, few, apps(1)] {
        assert_eq!((sum(&apps, "connections"), sum(&apps, "blocked")), (120, 17));
    }
}

#[test]
fn only_the_first_part_has_the_applications() {
    let parts = status(&ANNOUNCEMENT, &snapshot(clients(1..2000)));
    let has_apps: Vec<bool> = parts.iter().map(|part| parsed(part).get("apps").is_some()).collect();
    assert!(has_apps.len() > 2 && has_apps[0] && !has_apps[1..].contains(&true), "{has_apps:?}");
}
