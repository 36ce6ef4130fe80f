//! The properties of all input from servers, clients and peers: one function per fuzz target of `tests/fuzz`.
//! Only in fuzz builds and unit tests; the unit test replays the kept inputs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::io::AsyncWriteExt;

use crate::client_list::{Field, Listing, parse};
use crate::failure::Refusal;
use crate::link::{Delivery, Subscription};
use crate::sample::{Pages, Sample};
use crate::server_info::{CommandTime, ServerInfo};
use crate::snapshot::{ClientKind, Grouping, GroupingOptions, Limits, Snapshot, State, derive};
use crate::status::{Announcement, Key, MAX_MESSAGE, Received, Rotation, Screen, StatusReceiver, read};

/// A function that asserts the properties of an input.
pub type Property = fn(&[u8]);

/// Every target, by the name of its file in `tests/fuzz/targets` and of its folder in `tests/fuzz/corpus`.
pub const TARGETS: [(&str, Property); 7] = [
    ("client_list", client_list),
    ("group_file", group_file),
    ("info", info),
    ("query", query),
    ("reply", reply),
    ("resp", resp),
    ("status_message", status_message),
];

/// The time of all samples.
fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("a time in range")
}

fn snapshot(reply: Vec<u8>, info: ServerInfo) -> Snapshot {
    let sample = Sample { info: Ok(info), own_ids: vec![1], ..Sample::of(now(), Listing::new(reply)) };
    derive(None, Arc::new(sample), &Limits::default())
}

/// A reply to `CLIENT LIST`: every line becomes a client or is counted, and every client is counted once.
pub fn client_list(reply: &[u8]) {
    let parsed = parse(reply);
    let lines = reply.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    assert_eq!(parsed.clients.len() + parsed.unreadable.total() as usize, lines);
    for client in &parsed.clients {
        assert!(client.text(Field::Id).or(client.text(Field::Addr)).is_some());
    }
    let clients = parsed.clients.len() as u64;
    let counts = snapshot(reply.to_vec(), ServerInfo::default()).client_counts.expect("the clients were listed");
    assert_eq!(counts.connections(), clients);
    assert_eq!(ClientKind::ALL.map(|kind| counts.of_kind(kind)).iter().sum::<u64>(), clients);
    assert_eq!(State::ALL.map(|state| counts.in_state(state)).iter().sum::<u64>(), counts.online());
}

/// A reply to `INFO`: the fields that are kept give the same value when they are parsed again.
pub fn info(text: &[u8]) {
    let info = ServerInfo::parse(text);
    let fields: String = info
        .fields()
        .map(|(name, value)| format!("{name}:{}\n", value.as_str().map_or(value.to_string(), str::to_owned)))
        .collect();
    let kept = ServerInfo { refused: BTreeSet::new(), ..info };
    assert_eq!(ServerInfo::parse(fields.as_bytes()), kept);
    let time = CommandTime::parse(text, &["client|list", "client"]);
    assert!(time.is_none_or(|time| time.since(time) == Some(CommandTime::default())));
}

/// A reply to a command: it is bounded, and read as another parser reads it.
pub fn reply(bytes: &[u8]) {
    crate::link::check_reply(bytes);
}

/// The replies on a subscription: no message is larger than allowed, and the sizes of reads change nothing.
pub fn resp(replies: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let read = |chunk| {
        let (near, mut far) = tokio::io::duplex(chunk);
        let write = async move {
            // The reader closes the stream at the first fault.
            let _ = far.write_all(replies).await;
        };
        let read = async {
            let mut subscription = Subscription::over(near, MAX_MESSAGE);
            let mut deliveries = Vec::new();
            loop {
                match subscription.next().await {
                    Ok(delivery) => deliveries.push(delivery),
                    Err(failure) => return (deliveries, failure),
                }
            }
        };
        runtime.block_on(async { tokio::join!(read, write) }).0
    };
    let whole = read(1 << 20);
    for delivery in &whole.0 {
        assert!(match delivery {
            Delivery::Message(message) => message.len() <= MAX_MESSAGE,
            Delivery::Oversize(bytes) => *bytes > MAX_MESSAGE as u64,
        });
    }
    assert_eq!(read(3), whole);
}

/// A message on the status channel: with a key it is refused until it is signed. The status of a received sample is
/// accepted, with the same clients.
pub fn status_message(message: &[u8]) {
    let key = Key::new(b"secret");
    let keyed = StatusReceiver::new(std::slice::from_ref(&key), None);
    if let Ok(mut text) = String::from_utf8(message.to_vec())
        && text.ends_with('}')
    {
        key.sign(&mut text);
        assert!(keyed.verify(text.as_bytes()).is_ok());
        text.insert(0, ' ');
        assert_eq!(keyed.verify(text.as_bytes()).err(), Some(Refusal::Signature));
    }
    assert_eq!(keyed.verify(message).err(), Some(Refusal::Signature));
    shown_on_a_screen(message);
    let Some((sample, seq)) = received(message) else { return };
    let listed = sample.clients.as_ref().map_or(0, Pages::len);
    let truncated = sample.is_truncated();
    let snapshot = derive(None, sample, &Limits::default());
    let announcement =
        Announcement { announcer: "a", node: "n:1", seq, frequency: 10.0, max_bytes: MAX_MESSAGE, reserve: 0 };
    let parts = announcement.status(&snapshot, &mut Rotation::default());
    // A status that omits clients, or that gets several parts, is another one.
    if let ([part], false) = (parts.as_slice(), truncated) {
        let again = received(part.as_bytes()).map(|(sample, _)| sample.clients.as_ref().map_or(0, Pages::len));
        assert!(again.is_some_and(|clients| clients == listed), "{listed} clients: {part}");
    }
}

/// A person sees no control characters of a message, and not more than the screen has room for.
fn shown_on_a_screen(message: &[u8]) {
    let Ok(Some(message)) = read(message) else { return };
    let (mut screen, now) = (Screen::new("channel", 20), Instant::now());
    screen.subscribed("server", now);
    let text = screen.add("server", message.clone(), now).unwrap_or_default() + &screen.text(now);
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    assert_eq!(screen.add("server", message, now), None, "it was received before");
    assert!(screen.text(now).lines().count() <= 50);
    assert!(screen.notices(now + Duration::from_secs(1_000_000)).len() <= 2);
}

fn received(message: &[u8]) -> Option<(Arc<Sample>, u64)> {
    let mut receiver = StatusReceiver::default();
    let message = receiver.verify(message).expect("without a key, every message is verified");
    match receiver.receive(message, now()) {
        Ok(Some(Received::Status { header, sample, .. })) => Some((sample, header.seq)),
        _ => None,
    }
}

/// The query string of a page or an API call: what is accepted is the same after it was written into a link.
pub fn query(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text) {
        crate::web::check_query(text);
    }
}

/// The operator's file with rules: what is accepted gives each client one application.
pub fn group_file(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Grouping::new(&GroupingOptions::default(), Some(text)) {
        Ok(grouping) => {
            for row in ["id=1 addr=10.0.0.1:1 name=web-17 user=app", "id=2 name= user=default lib-name=jedis", "id=3"] {
                let reply = parse(row.as_bytes());
                let app = grouping.app(&reply.clients[0]);
                assert!(!app.is_empty() && app.len() <= 130, "{app}");
                assert_eq!(grouping.app(&reply.clients[0]), app);
            }
        }
        Err(fault) => assert!(fault.starts_with("--group.file: "), "{fault}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.map(|file| file.expect("a file").path()).collect()
    }

    #[test]
    fn every_kept_input_of_the_fuzz_targets_has_the_asserted_properties() {
        for (name, property) in TARGETS {
            let inputs = files(&format!("corpus/{name}"));
            assert!(inputs.len() >= 3, "{name} has {} inputs", inputs.len());
            for input in inputs {
                eprintln!("{}", input.display());
                property(&fs::read(&input).expect("a file"));
            }
        }
    }

    #[test]
    fn every_fuzz_target_is_replayed() {
        let stems = files("targets").into_iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()));
        assert_eq!(stems.collect::<BTreeSet<_>>(), TARGETS.map(|(name, _)| name.to_owned()).into());
    }
}
