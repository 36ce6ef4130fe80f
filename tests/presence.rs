//! A model of a server: its applications open and close connections and send commands, it restarts and fails over, and
//! samples are taken at any time. The derived snapshots must match the model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use redis_client_exporter::client_list::Listing;
use redis_client_exporter::exposition;
use redis_client_exporter::latest::{NodeState, Nodes, Phase};
use redis_client_exporter::sample::{Pages, Sample};
use redis_client_exporter::server_info::ServerInfo;
use redis_client_exporter::snapshot::{CloseReason, Limits, MAX_CLOSED, Snapshot, Totals, derive};

use crate::support::scrape::Scrape;

const APPS: [&str; 6] = ["web", "billing", "cron", "mailer", "search", "feed"];

/// An event at the server, or a sample.
#[derive(Clone, Debug)]
enum Event {
    Open {
        app: usize,
        count: usize,
    },
    Close {
        app: usize,
        count: usize,
    },
    Work {
        app: usize,
        commands: u64,
    },
    /// Clients that connect and close between two samples.
    Flicker(usize),
    Restart,
    Failover,
    /// The server evicts the oldest clients of an application, and counts it.
    Evict {
        app: usize,
        count: usize,
    },
    Limit {
        app: usize,
        count: usize,
    },
    ResetStatistics,
    Sample,
}

fn event() -> impl Strategy<Value = Event> {
    let app = 0..APPS.len();
    prop_oneof![
        4 => (app.clone(), 1_usize..6).prop_map(|(app, count)| Event::Open { app, count }),
        3 => (app.clone(), 1_usize..6).prop_map(|(app, count)| Event::Close { app, count }),
        3 => (app.clone(), 1_u64..1000).prop_map(|(app, commands)| Event::Work { app, commands }),
        1 => (1_usize..4).prop_map(Event::Flicker),
        1 => Just(Event::Restart),
        1 => Just(Event::Failover),
        1 => (app.clone(), 1_usize..4).prop_map(|(app, count)| Event::Evict { app, count }),
        1 => (app, 1_usize..4).prop_map(|(app, count)| Event::Limit { app, count }),
        1 => Just(Event::ResetStatistics),
        6 => Just(Event::Sample),
    ]
}

#[derive(Clone, Debug)]
struct Client {
    app: usize,
    opened_at: i64,
    commands: u64,
}

/// The state of the server.
#[derive(Clone, Debug, Default)]
struct Server {
    run: u32,
    started_at: i64,
    next_id: u64,
    received: u64,
    evicted: u64,
    limited: u64,
    clients: BTreeMap<u64, Client>,
}

impl Server {
    fn open(&mut self, app: usize, now: i64) {
        self.next_id += 1;
        self.received += 1;
        self.clients.insert(self.next_id, Client { app, opened_at: now, commands: 1 });
    }

    fn close(&mut self, app: usize, count: usize) -> u64 {
        let ids: Vec<_> =
            self.clients.iter().filter(|(_, client)| client.app == app).map(|(id, _)| *id).take(count).collect();
        for id in &ids {
            self.clients.remove(id);
        }
        ids.len() as u64
    }

    fn sample(&self, now: i64) -> Arc<Sample> {
        let mut reply = String::new();
        for (id, client) in &self.clients {
            writeln!(
                reply,
                "id={id} addr=10.0.0.{}:{id} name={}-{id} age={} idle=0 flags=N db=0 cmd=get user=default \
                 tot-net-in={} tot-net-out={} tot-cmds={}",
                client.app,
                APPS[client.app],
                now - client.opened_at,
                client.commands * 10,
                client.commands * 100,
                client.commands,
            )
            .expect("writing to a string cannot fail");
        }
        Arc::new(Sample {
            info: Ok(ServerInfo {
                run_id: Some(format!("run{}", self.run)),
                uptime_seconds: Some((now - self.started_at).unsigned_abs()),
                connections_received: Some(self.received),
                evicted_clients: Some(self.evicted),
                output_buffer_disconnections: Some(self.limited),
                ..ServerInfo::default()
            }),
            ..Sample::of(at(now), Listing::new(reply.into_bytes()))
        })
    }
}

fn at(now: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + now).expect("a time")
}

/// The conclusions that an observer can draw from the samples.
#[derive(Debug, Default)]
struct Known {
    seen: Option<(Server, i64)>,
    totals: [Totals; APPS.len()],
    last_seen: [Option<i64>; APPS.len()],
    closed: BTreeSet<(u32, u64)>,
    restart_closed: u64,
}

impl Known {
    fn observe(&mut self, server: &Server, now: i64) {
        for client in server.clients.values() {
            self.last_seen[client.app] = Some(now);
        }
        let Some((before, then)) = self.seen.replace((server.clone(), now)) else { return };
        let same = before.run == server.run;
        let restarted = !same && now - server.started_at <= now - then + 2;
        for (id, client) in &before.clients {
            if !same || !server.clients.contains_key(id) {
                self.totals[client.app].closed += 1;
                self.closed.insert((before.run, *id));
                self.restart_closed += u64::from(restarted);
            }
        }
        for (id, client) in &server.clients {
            let earlier = before.clients.get(id).filter(|_| same);
            let is_new = if same || restarted { earlier.is_none() } else { now - client.opened_at < now - then };
            let totals = &mut self.totals[client.app];
            totals.opened += u64::from(is_new);
            let more = match earlier {
                Some(earlier) => client.commands - earlier.commands,
                None if is_new => client.commands,
                None => 0,
            };
            totals.commands += more;
            totals.received_bytes += more * 10;
            totals.sent_bytes += more * 100;
        }
    }
}

/// Runs the events, and checks each snapshot.
fn play(
    events: &[Event],
    limits: &Limits,
    mut check: impl FnMut(&Snapshot, Option<&Snapshot>, &Server, &Known, i64) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (mut server, mut known, mut now, mut runs) = (Server::default(), Known::default(), 1000_i64, 0);
    let mut previous: Option<Snapshot> = None;
    for event in events {
        match *event {
            Event::Open { app, count } => (0..count).for_each(|_| server.open(app, now)),
            Event::Close { app, count } => drop(server.close(app, count)),
            Event::Work { app, commands } => {
                server.clients.values_mut().filter(|client| client.app == app).for_each(|c| c.commands += commands);
            }
            Event::Flicker(count) => {
                server.next_id += count as u64;
                server.received += count as u64;
            }
            Event::Restart => {
                runs += 1;
                server = Server { run: runs, started_at: now, ..Server::default() };
            }
            Event::Failover => {
                runs += 1;
                let mut other = Server { run: runs, started_at: now - 900, received: 77, ..Server::default() };
                other.next_id = 500;
                for app in [0, 3] {
                    other.open(app, now - 500);
                    other.clients.values_mut().for_each(|client| client.commands = 5000);
                }
                other.open(1, now);
                server = other;
            }
            Event::Evict { app, count } => server.evicted += server.close(app, count),
            Event::Limit { app, count } => server.limited += server.close(app, count),
            Event::ResetStatistics => (server.received, server.evicted, server.limited) = (0, 0, 0),
            Event::Sample => {
                known.observe(&server, now);
                let snapshot = derive(previous.as_ref(), server.sample(now), limits);
                check(&snapshot, previous.as_ref(), &server, &known, now)?;
                previous = Some(snapshot);
            }
        }
        now += 5;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn applications_match_the_model(events in vec(event(), 1..80)) {
        let limits = Limits { forget_after: Duration::from_secs(100_000), groups: 20, ..Limits::default() };
        play(&events, &limits, |snapshot, _, server, known, now| {
            let presence = &snapshot.presence;
            prop_assert!(presence.other.is_none() && presence.folded == 0);
            for (place, app) in APPS.into_iter().enumerate() {
                let seen = presence.shown.iter().find(|seen| &*seen.app == app);
                let connections = server.clients.values().filter(|client| client.app == place).count() as u64;
                let last_seen = known.last_seen[place].map(at);
                prop_assert_eq!(seen.map_or(0, |seen| seen.now.connections), connections, "{} at {}", app, now);
                prop_assert_eq!(seen.and_then(|seen| seen.last_seen), last_seen, "{} at {}", app, now);
                let totals = seen.map(|seen| seen.totals).unwrap_or_default();
                prop_assert_eq!(totals, known.totals[place], "{} at {}", app, now);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_closed_connection_is_kept_once_and_counted_once(events in vec(event(), 1..80)) {
        play(&events, &Limits::default(), |snapshot, _, _, known, _| {
            let churn = &snapshot.churn;
            let all: u64 = CloseReason::ALL.into_iter().map(|reason| churn.closed(reason)).sum();
            prop_assert_eq!(all, known.closed.len() as u64);
            prop_assert_eq!(churn.closed(CloseReason::Restart), known.restart_closed);
            prop_assert_eq!(churn.ring.iter().len(), known.closed.len().min(MAX_CLOSED));
            let restarts = churn.ring.iter().filter(|closed| closed.reason == CloseReason::Restart).count();
            prop_assert_eq!(restarts as u64, known.restart_closed);
            Ok(())
        })?;
    }

    /// No counter of an exported series ever decreases, and sums match the number of clients.
    #[test]
    fn counters_never_decrease_and_sums_match(events in vec(event(), 1..80), groups in 1_usize..4) {
        let limits = Limits {
            groups,
            expected: vec![("cron".into(), 1)].into_iter().take(groups - 1).collect(),
            forget_after: Duration::from_secs(100_000),
            ..Limits::default()
        };
        let mut counters: HashMap<String, f64> = HashMap::new();
        let mut opened_in_all = 0.0;
        play(&events, &limits, |snapshot, _, server, known, _| {
            let scrape = Scrape::parse(&exposition::text(&view(snapshot), Instant::now()));
            let online = scrape.value("redis_clients_online", &[]);
            prop_assert_eq!(online, Some(server.clients.len() as f64));
            prop_assert_eq!(Some(scrape.sum("redis_clients_app_connections")), online);
            let networks = scrape.sum("redis_clients_network_connections");
            prop_assert_eq!(Some(networks), online.filter(|_| !server.clients.is_empty()).or(Some(0.0)));
            for series in scrape.series.iter().filter(|series| series.name.ends_with("_total")) {
                let before = counters.insert(format!("{} {:?}", series.name, series.labels), series.value);
                prop_assert!(before.is_none_or(|before| before <= series.value), "{series:?} was {before:?}");
            }
            // The counts of an application are in its own series, or in `(other)` after it was folded.
            let is_opened = |name: &str| name.starts_with("redis_clients_app_opened_total");
            let opened: f64 = counters.iter().filter(|(name, _)| is_opened(name)).map(|(_, value)| value).sum();
            let truth: u64 = known.totals.iter().map(|totals| totals.opened).sum();
            prop_assert!(opened >= opened_in_all && opened <= truth as f64, "{opened} of {truth}");
            opened_in_all = opened;
            let shown = snapshot.presence.shown.len();
            prop_assert!(shown <= groups + groups.div_ceil(2), "{shown} of {groups}");
            Ok(())
        })?;
    }

    #[test]
    fn unseen_connections_are_counted(events in vec(event(), 1..80)) {
        // Without resets and other servers, unseen connections are those that were accepted but never in a sample.
        let is_simple = |event: &Event| !matches!(event, Event::ResetStatistics | Event::Failover | Event::Restart);
        let events: Vec<_> = events.into_iter().filter(is_simple).collect();
        let (mut ever_seen, mut first) = (BTreeSet::new(), None);
        play(&events, &Limits::default(), |snapshot, _, server, _, _| {
            ever_seen.extend(server.clients.keys().copied());
            let first = *first.get_or_insert(server.next_id);
            let seen_since = ever_seen.iter().filter(|id| **id > first).count() as u64;
            prop_assert_eq!(snapshot.churn.unseen(), server.next_id - first - seen_since);
            Ok(())
        })?;
    }
}

/// 19,000 clients with 6,000 names and applications. One name in ten is 500 bytes long, and the other dimensions have
/// hundreds or thousands of values.
#[test]
fn thousands_of_names_make_a_bounded_scrape_that_adds_up() {
    let rows = (0..19_000_u32).map(|number| {
        let app = number % 6000;
        let letters: String = (0..4).map(|place| char::from(b'a' + (app / 26_u32.pow(place) % 26) as u8)).collect();
        let long = if app % 10 == 0 { "y".repeat(480) } else { String::new() };
        let (one, two) = (number / 250 % 250, number % 250);
        format!(
            "id={number} addr=10.0.{one}.{two}:5 name={letters}{long}-{number} age=9 idle={two} flags=N db={} \
             cmd=c{app} user=u{letters}{long} lib-name=l{letters} tot-mem=9 tot-net-in=1 tot-net-out=1 tot-cmds=1\n",
            number % 300
        )
    });
    let reply: String = rows.collect();
    let sample = |now| {
        let mut sample = Arc::into_inner(Server::default().sample(now)).expect("the only one");
        sample.clients = Ok(Pages::one(at(now), Listing::new(reply.clone().into_bytes())));
        Arc::new(sample)
    };
    let limits = Limits::default();
    let first = derive(None, sample(1000), &limits);
    let snapshot = derive(Some(&first), sample(1010), &limits);
    let scrape = Scrape::parse(&exposition::text(&view(&snapshot), Instant::now()));
    for family in ["app", "user", "library", "database", "command", "network"] {
        let name = format!("redis_clients_{family}_connections");
        assert_eq!(scrape.sum(&name), 19_000.0, "{name}");
        assert_eq!(scrape.all(&name, &[]).count(), 51, "{name}");
    }
    println!("{} series, {} bytes", scrape.series.len(), scrape.bytes);
    assert!(scrape.series.len() <= 2000 && scrape.bytes <= 200_000, "{} {}", scrape.series.len(), scrape.bytes);
    let shown =
        |snapshot: &Snapshot| snapshot.presence.shown.iter().map(|seen| Arc::clone(&seen.app)).collect::<Vec<_>>();
    assert_eq!(shown(&first), shown(&snapshot), "series do not flap");
}

fn view(snapshot: &Snapshot) -> Nodes {
    let phase =
        Phase::Fresh { snapshot: Arc::new(snapshot.clone()), stale_at: Instant::now() + Duration::from_secs(60) };
    let state = NodeState { phase, ..NodeState::starting("node:1".into()) };
    Nodes::new(1, jiff::Timestamp::UNIX_EPOCH, [state])
}
