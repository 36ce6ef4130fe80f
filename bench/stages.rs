//! Measures each stage from a reply to a scrape: parse, derive, encode, at 1,000, 10,000 and 100,000 clients.
//!
//! Run `make bench`. Parsing is measured in bytes, the other stages in clients. The rows are those of Redis 8.2, which
//! are the longest of all servers, with a mix of names, users and libraries.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use redis_client_exporter::client_list::{Listing, parse};
use redis_client_exporter::exposition;
use redis_client_exporter::latest::{NodeState, Nodes, Phase};
use redis_client_exporter::sample::Sample;
use redis_client_exporter::snapshot::{Limits, Snapshot, derive};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

/// A reply with this number of clients.
fn reply(clients: usize) -> Vec<u8> {
    let commands = ["get", "set", "hgetall", "client|setinfo", "blpop", "NULL"];
    let libraries = ["redis-py", "jedis", "go-redis(,go1.24.4)", "StackExchange.Redis", ""];
    let rows = (0..clients).map(|n| {
        format!(
            "id={} addr=10.{}.{}.{}:{} laddr=10.0.0.1:6379 fd={} name=worker-{}-{:05x} age={} idle={} flags={} db={} \
             sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=20474 argv-mem=0 multi-mem=0 rbs=1024 rbp=0 obl=0 \
             oll=0 omem=0 tot-mem=22426 events=r cmd={} user=app-{} redir=-1 resp=2 lib-name={} lib-ver=5.0.{} \
             io-thread=0 tot-net-in={} tot-net-out={} tot-cmds={}\n",
            n + 1000,
            n % 7,
            n / 250 % 250,
            n % 250,
            30_000 + n % 30_000,
            n % 20_000 + 8,
            n % 100,
            n,
            n * 3 % 900_000,
            n * 7 % 4000,
            if n % 9 == 0 { "b" } else { "N" },
            n % 3,
            commands[n % commands.len()],
            n % 120,
            libraries[n % libraries.len()],
            n % 4,
            n * 140,
            n * 2650,
            n % 90_000,
        )
    });
    rows.collect::<String>().into_bytes()
}

fn limits() -> Limits {
    Limits {
        idle_after: Duration::from_secs(300),
        idle_thresholds: [60, 300, 3600, 86_400].map(Duration::from_secs).into(),
        groups: 50,
        ..Limits::default()
    }
}

fn sample(clients: usize) -> Arc<Sample> {
    sample_of(reply(clients))
}

fn sample_of(reply: Vec<u8>) -> Arc<Sample> {
    Arc::new(Sample {
        own_ids: vec![1000],
        ..Sample::of("2026-01-01T00:00:00Z".parse().expect("a time"), Listing::new(reply))
    })
}

fn view(snapshot: Snapshot) -> Nodes {
    let phase = Phase::Fresh { snapshot: Arc::new(snapshot), stale_at: Instant::now() + Duration::from_secs(3600) };
    let mut state = NodeState::starting("10.0.0.1:6379".into());
    state.phase = phase;
    Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [state])
}

#[divan::bench(args = SIZES)]
fn parse_reply(bencher: Bencher<'_, '_>, clients: usize) {
    let reply = reply(clients);
    bencher.counter(BytesCount::of_slice(&reply)).bench(|| parse(black_box(&reply)).clients.len());
}

/// The densest rows: 6.2 has fewer bytes per field than any later server.
#[divan::bench(args = SIZES)]
fn parse_reply_of_6_2(bencher: Bencher<'_, '_>, clients: usize) {
    let later: [&[u8]; 10] =
        [b"ssub", b"watch", b"multi-mem", b"rbs", b"rbp", b"resp", b"lib-name", b"lib-ver", b"io-thread", b"tot-"];
    let reply: Vec<u8> = reply(clients)
        .split(|&byte| byte == b'\n')
        .flat_map(|row| {
            let tokens =
                row.split(|&byte| byte == b' ').filter(|token| !later.iter().any(|key| token.starts_with(key)));
            [tokens.collect::<Vec<_>>().join(&b' '), b"\n".to_vec()].concat()
        })
        .collect();
    bencher.counter(BytesCount::of_slice(&reply)).bench(|| parse(black_box(&reply)).clients.len());
}

#[divan::bench(args = SIZES)]
fn derive_snapshot(bencher: Bencher<'_, '_>, clients: usize) {
    let (sample, limits) = (sample(clients), limits());
    bencher.counter(ItemsCount::new(clients)).bench(|| derive(None, Arc::clone(black_box(&sample)), &limits));
}

/// A further sample without opened or closed connections, like most samples: names are known, and counters are
/// compared.
#[divan::bench(args = SIZES)]
fn derive_next_snapshot(bencher: Bencher<'_, '_>, clients: usize) {
    let (limits, first) = (limits(), derive(None, sample(clients), &limits()));
    let next = sample(clients);
    bencher.counter(ItemsCount::new(clients)).bench(|| derive(Some(&first), Arc::clone(black_box(&next)), &limits));
}

/// 19,000 clients with 6,000 names and applications, some names 500 bytes long: first with new names, then with known
/// ones.
#[divan::bench(args = [false, true])]
fn derive_of_6000_applications(bencher: Bencher<'_, '_>, names_known: bool) {
    let reply = (0..19_000_usize).map(|n| {
        let app = n % 6000;
        let long = if app % 100 == 0 { "x".repeat(480) } else { String::new() };
        format!(
            "id={} addr=10.{}.{}.{}:{} name=app-{}{long}-{:05x} age=60 idle={} flags=N db=0 sub=0 obl=0 omem=0 \
             tot-mem=22426 cmd=get user=default lib-name=redis-py tot-net-in=1 tot-net-out=1 tot-cmds=1\n",
            n + 1,
            n % 7,
            n / 250 % 250,
            n % 250,
            30_000 + n % 30_000,
            letters(app),
            n * 2654435761 % 0xfffff,
            n % 4000
        )
    });
    let sample = sample_of(reply.collect::<String>().into_bytes());
    let known = limits();
    let first = derive(None, Arc::clone(&sample), &known);
    bencher.counter(ItemsCount::new(19_000_usize)).with_inputs(limits).bench_values(|fresh| {
        derive(Some(&first), Arc::clone(black_box(&sample)), if names_known { &known } else { &fresh })
    });
}

/// A number written in letters, so that grouping keeps it as a part of the name.
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    for _ in 0..4 {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    text
}

#[divan::bench(args = SIZES)]
fn encode_metrics(bencher: Bencher<'_, '_>, clients: usize) {
    let view = view(derive(None, sample(clients), &limits()));
    bencher.counter(ItemsCount::new(clients)).bench(|| exposition::text(black_box(&view), Instant::now()).len());
}
