//! A model of a server: its applications open and close connections and send commands, it restarts and fails over, and
//! samples are taken at any time. What an observer can conclude from the samples is counted beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use crate::client_list::Listing;
use crate::sample::{OwnConnections, Sample};
use crate::server_info::ServerInfo;
use crate::snapshot::{Limits, Snapshot, Totals, derive};

/// The applications.
pub(crate) const APPS: [&str; 6] = ["web", "billing", "cron", "mailer", "search", "feed"];

/// An event at the server, or a sample.
#[derive(Clone, Debug)]
pub(crate) enum ServerEvent {
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
    /// A connection of ours that fails, and is never listed.
    Dial,
    /// A client becomes a monitor, or connects as one.
    Monitor,
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

pub(crate) fn event() -> impl Strategy<Value = ServerEvent> {
    let app = 0..APPS.len();
    prop_oneof![
        4 => (app.clone(), 1_usize..6).prop_map(|(app, count)| ServerEvent::Open { app, count }),
        3 => (app.clone(), 1_usize..6).prop_map(|(app, count)| ServerEvent::Close { app, count }),
        3 => (app.clone(), 1_u64..1000).prop_map(|(app, commands)| ServerEvent::Work { app, commands }),
        1 => (1_usize..4).prop_map(ServerEvent::Flicker),
        1 => Just(ServerEvent::Dial),
        1 => Just(ServerEvent::Monitor),
        1 => Just(ServerEvent::Restart),
        1 => Just(ServerEvent::Failover),
        1 => (app.clone(), 1_usize..4).prop_map(|(app, count)| ServerEvent::Evict { app, count }),
        1 => (app, 1_usize..4).prop_map(|(app, count)| ServerEvent::Limit { app, count }),
        1 => Just(ServerEvent::ResetStatistics),
        6 => Just(ServerEvent::Sample),
    ]
}

#[derive(Clone, Debug)]
pub(crate) struct SimulatedClient {
    pub(crate) app: usize,
    opened_at: i64,
    commands: u64,
    pub(crate) is_monitor: bool,
}

/// The state of the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedServer {
    run: u32,
    started_at: i64,
    pub(crate) next_id: u64,
    received: u64,
    /// The connections that this process opened to any server.
    pub(crate) own: u64,
    evicted: u64,
    limited: u64,
    pub(crate) clients: BTreeMap<u64, SimulatedClient>,
}

impl SimulatedServer {
    fn open(&mut self, app: usize, now: i64) {
        self.next_id += 1;
        self.received += 1;
        self.clients.insert(self.next_id, SimulatedClient { app, opened_at: now, commands: 1, is_monitor: false });
    }

    fn close(&mut self, app: usize, count: usize) -> u64 {
        let ids: Vec<_> =
            self.clients.iter().filter(|(_, client)| client.app == app).map(|(id, _)| *id).take(count).collect();
        for id in &ids {
            self.clients.remove(id);
        }
        ids.len() as u64
    }

    pub(crate) fn sample(&self, now: i64) -> Arc<Sample> {
        let mut reply = String::new();
        for (id, client) in &self.clients {
            writeln!(
                reply,
                "id={id} addr=10.0.0.{}:{id} name={}-{id} age={} idle=0 flags={} db=0 cmd=get user=default \
                 tot-net-in={} tot-net-out={} tot-cmds={}",
                client.app,
                APPS[client.app],
                now - client.opened_at,
                if client.is_monitor { 'O' } else { 'N' },
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
            own: OwnConnections { opened: self.own, ids: vec![1_000_000], ..OwnConnections::default() },
            ..Sample::of(at(now), Listing::new(reply.into_bytes()))
        })
    }

    /// The application clients.
    pub(crate) fn applications(&self) -> impl Iterator<Item = &SimulatedClient> {
        self.clients.values().filter(|client| !client.is_monitor)
    }
}

pub(crate) fn at(now: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + now).expect("a time")
}

/// The conclusions that an observer can draw from the samples.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    seen: Option<(SimulatedServer, i64)>,
    pub(crate) totals: [Totals; APPS.len()],
    /// The totals of monitors.
    pub(crate) internal: Totals,
    pub(crate) last_seen: [Option<i64>; APPS.len()],
    pub(crate) closed: BTreeSet<(u32, u64)>,
    pub(crate) restart_closed: u64,
    pub(crate) failover_closed: u64,
}

impl Observed {
    fn observe(&mut self, server: &SimulatedServer, now: i64) {
        for client in server.applications() {
            self.last_seen[client.app] = Some(now);
        }
        let Some((before, then)) = self.seen.replace((server.clone(), now)) else { return };
        let same = before.run == server.run;
        let restarted = !same && now - server.started_at <= now - then + 2;
        let (gone, added) = match same || restarted {
            true => differing(&before, server, same),
            false => unmatched(&before, server),
        };
        for id in gone {
            let client = &before.clients[&id];
            self.totals(client).closed += 1;
            self.closed.insert((before.run, id));
            self.restart_closed += u64::from(restarted);
            self.failover_closed += u64::from(!same && !restarted);
        }
        for (id, client) in &server.clients {
            let earlier = before.clients.get(id).filter(|_| same);
            let is_young = same || restarted || now - client.opened_at < now - then;
            let is_new = added.contains(id) && is_young;
            let totals = self.totals(client);
            totals.opened += u64::from(is_new);
            let more = match earlier {
                Some(earlier) => client.commands - earlier.commands,
                None if is_new => client.commands,
                None => 0,
            };
            // Work is counted for applications only.
            if !client.is_monitor {
                totals.commands += more;
                totals.received_bytes += more * 10;
                totals.sent_bytes += more * 100;
            }
        }
    }

    fn totals(&mut self, client: &SimulatedClient) -> &mut Totals {
        if client.is_monitor { &mut self.internal } else { &mut self.totals[client.app] }
    }

    /// The connections opened and closed by applications and monitors.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let all = || self.totals.iter().chain([&self.internal]);
        (all().map(|totals| totals.opened).sum(), all().map(|totals| totals.closed).sum())
    }
}

/// The ids that are only at one of two runs of a server.
fn differing(before: &SimulatedServer, now: &SimulatedServer, same: bool) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let only = |one: &SimulatedServer, other: &SimulatedServer| {
        one.clients.keys().copied().filter(|id| !same || !other.clients.contains_key(id)).collect()
    };
    (only(before, now), only(now, before))
}

/// The ids that are only at one of two servers: of the same name first, then as many as both have, the youngest first.
fn unmatched(before: &SimulatedServer, now: &SimulatedServer) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut gone, mut added) = (BTreeSet::new(), BTreeSet::new());
    for group in (0..APPS.len()).map(|app| (app, false)).chain([(usize::MAX, true)]) {
        let of = |server: &SimulatedServer| {
            let group_of =
                |client: &SimulatedClient| (if client.is_monitor { usize::MAX } else { client.app }, client.is_monitor);
            let mine = server.clients.iter().filter(|(_, client)| group_of(client) == group);
            mine.map(|(id, client)| (*id, client.clone())).collect::<Vec<_>>()
        };
        let (old, new) = (of(before), of(now));
        let is_again = |(id, client): &(u64, SimulatedClient), others: &[(u64, SimulatedClient)]| {
            others.iter().any(|(other, same)| other == id && same.app == client.app)
        };
        let missing: Vec<_> = old.iter().filter(|client| !is_again(client, &new)).collect();
        let mut others: Vec<_> = new.iter().filter(|client| !is_again(client, &old)).collect();
        others.sort_by_key(|(id, client)| std::cmp::Reverse((client.opened_at, *id)));
        let matched = missing.len().min(others.len());
        gone.extend(missing.iter().skip(matched).map(|(id, _)| *id));
        added.extend(others.iter().skip(matched).map(|(id, _)| *id));
    }
    (gone, added)
}

/// Runs the events, and checks each snapshot.
pub(crate) fn play(
    events: &[ServerEvent],
    limits: &Limits,
    mut check: impl FnMut(&Snapshot, Option<&Snapshot>, &SimulatedServer, &Observed, i64) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (mut server, mut known, mut now, mut runs) = (SimulatedServer::default(), Observed::default(), 1000_i64, 0);
    let mut previous: Option<Snapshot> = None;
    for event in events {
        match *event {
            ServerEvent::Open { app, count } => (0..count).for_each(|_| server.open(app, now)),
            ServerEvent::Close { app, count } => drop(server.close(app, count)),
            ServerEvent::Work { app, commands } => {
                server.clients.values_mut().filter(|client| client.app == app).for_each(|c| c.commands += commands);
            }
            ServerEvent::Flicker(count) => {
                server.next_id += count as u64;
                server.received += count as u64;
            }
            ServerEvent::Dial => {
                server.next_id += 1;
                server.received += 1;
                server.own += 1;
            }
            ServerEvent::Monitor => match server.clients.values_mut().next() {
                Some(client) => client.is_monitor = true,
                None => {
                    server.open(0, now);
                    server.clients.values_mut().for_each(|client| client.is_monitor = true);
                }
            },
            ServerEvent::Restart => {
                runs += 1;
                let own = server.own;
                server = SimulatedServer { run: runs, started_at: now, own, ..SimulatedServer::default() };
            }
            ServerEvent::Failover => {
                runs += 1;
                let (own, started_at) = (server.own, now - 900);
                let mut other =
                    SimulatedServer { run: runs, started_at, received: 77, own, ..SimulatedServer::default() };
                other.next_id = 500;
                for app in [0, 3] {
                    other.open(app, now - 500);
                    other.clients.values_mut().for_each(|client| client.commands = 5000);
                }
                other.open(1, now);
                server = other;
            }
            ServerEvent::Evict { app, count } => server.evicted += server.close(app, count),
            ServerEvent::Limit { app, count } => server.limited += server.close(app, count),
            ServerEvent::ResetStatistics => (server.received, server.evicted, server.limited) = (0, 0, 0),
            ServerEvent::Sample => {
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
