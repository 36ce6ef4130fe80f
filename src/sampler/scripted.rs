//! A server in memory for the tests of sampling. It answers our commands from its clients, and a test changes it
//! between two commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines};

use super::{Budget, Sampler};
use crate::clock;
use crate::link::{Endpoint, Link, NodeAddress, TlsOptions};

/// A command that the server received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `CLIENT LIST`.
    Full,
    /// `CLIENT LIST ID`.
    Ids(Vec<u64>),
    /// A section of `INFO`.
    Info(String),
}

/// A change of the server before it runs a command.
type BeforeCommand = Box<dyn FnMut(&mut ScriptedServer, &Asked) + Send>;

/// The server.
pub(super) struct ScriptedServer {
    /// The connected clients, by id, each with its flag.
    pub(super) clients: BTreeMap<u64, char>,
    /// The last id that was assigned.
    pub(super) last_id: u64,
    /// `total_connections_received`.
    pub(super) received: u64,
    /// Every command, in order.
    pub(super) log: Vec<Asked>,
    /// Runs before each command.
    pub(super) change: BeforeCommand,
    /// The error with which a command is refused.
    pub(super) refuses: fn(&Asked) -> Option<&'static str>,
    /// The answer to a page has all clients, as on a server that does not know `ID`.
    pub(super) ignores_ids: bool,
    /// Connections that `INFO` counts and no listing has.
    pub(super) hidden: u64,
    /// The server's clock minus ours.
    pub(super) clock_difference: SignedDuration,
    /// Microseconds of a page beside its ids; an id takes one more.
    pub(super) page_micros: u64,
    /// The number of calls and the microseconds of all listings, and of all `INFO`.
    listings: (u64, u64),
    infos: (u64, u64),
}

/// A server that a test and the task that answers share.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<ScriptedServer>>);

impl ScriptedServer {
    /// A client connects. Returns its id.
    pub(super) fn open(&mut self) -> u64 {
        self.last_id += 1;
        self.received += 1;
        self.clients.insert(self.last_id, 'N');
        self.last_id
    }

    /// A client connects and gets an id that is not the next one.
    pub(super) fn open_as(&mut self, id: u64) {
        self.received += 1;
        self.clients.insert(id, 'N');
    }

    fn answer(&mut self, asked: Asked) -> String {
        let mut change = std::mem::replace(&mut self.change, Box::new(|_, _| {}));
        change(self, &asked);
        self.change = change;
        let reply = match (self.refuses)(&asked) {
            Some(error) => format!("-{error}\r\n"),
            None => {
                let text = self.text(&asked);
                format!("${}\r\n{text}\r\n", text.len())
            }
        };
        let calls = if matches!(asked, Asked::Info(_)) { &mut self.infos } else { &mut self.listings };
        calls.0 += 1;
        calls.1 += match &asked {
            Asked::Info(_) => 30,
            Asked::Full => self.clients.len() as u64,
            Asked::Ids(ids) => self.page_micros + ids.len() as u64,
        };
        self.log.push(asked);
        reply
    }

    fn text(&self, asked: &Asked) -> String {
        let rows = |ids: &mut dyn Iterator<Item = u64>| {
            ids.filter_map(|id| Some((id, self.clients.get(&id)?))).fold(String::new(), |mut rows, (id, flag)| {
                writeln!(rows, "id={id} addr=10.0.0.1:{id} name=web age=9 idle=1 flags={flag} cmd=get")
                    .expect("writing to a string cannot fail");
                rows
            })
        };
        match asked {
            Asked::Full => rows(&mut self.clients.keys().copied()),
            Asked::Ids(_) if self.ignores_ids => rows(&mut self.clients.keys().copied()),
            Asked::Ids(ids) => rows(&mut ids.iter().copied()),
            Asked::Info(section) => match section.as_str() {
                "server" => {
                    let micros = (clock::now() + self.clock_difference).as_microsecond();
                    format!("run_id:run\r\nredis_version:7.2.0\r\nserver_time_usec:{micros}\r\n")
                }
                "clients" => {
                    let counted = self.clients.values().filter(|flag| **flag != 'S').count() as u64;
                    format!("connected_clients:{}\r\n", counted + self.hidden)
                }
                "stats" => format!("total_connections_received:{}\r\n", self.received),
                "replication" => "role:master\r\n".into(),
                "commandstats" => format!(
                    "cmdstat_client|list:calls={},usec={}\r\ncmdstat_info:calls={},usec={}\r\n",
                    self.listings.0, self.listings.1, self.infos.0, self.infos.1
                ),
                other => panic!("INFO {other}"),
            },
        }
    }
}

impl Shared {
    /// A server with this number of clients, all of which connected long ago.
    pub(super) fn with_clients(count: u64) -> Self {
        let mut server = ScriptedServer {
            clients: BTreeMap::new(),
            last_id: 2,
            received: 1,
            log: Vec::new(),
            change: Box::new(|_, _| {}),
            refuses: |_| None,
            ignores_ids: false,
            hidden: 0,
            clock_difference: SignedDuration::ZERO,
            page_micros: 10,
            listings: (0, 0),
            infos: (0, 0),
        };
        for _ in 0..count {
            server.open();
        }
        Self(Arc::new(Mutex::new(server)))
    }

    /// The ids of each page that was listed.
    pub(super) fn pages(&self) -> Vec<Vec<u64>> {
        let ids = |asked: &Asked| if let Asked::Ids(ids) = asked { Some(ids.clone()) } else { None };
        self.lock().log.iter().filter_map(ids).collect()
    }

    /// The number of full listings.
    pub(super) fn full_listings(&self) -> usize {
        self.lock().log.iter().filter(|asked| **asked == Asked::Full).count()
    }

    /// The ids of the connected clients.
    pub(super) fn connected(&self) -> BTreeSet<u64> {
        self.lock().clients.keys().copied().collect()
    }

    /// Some clients connect.
    pub(super) fn open(&self, count: u64) {
        for _ in 0..count {
            self.lock().open();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ScriptedServer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sampler that is connected to the server. It cannot open another connection.
    pub(super) async fn sampler(&self, budget: Budget) -> Sampler {
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(serve(far, self.clone()));
        let address = NodeAddress {
            endpoint: Endpoint::Unix("/nowhere".into()),
            credentials: None,
            tls: TlsOptions::default(),
            timeout: Duration::from_secs(600),
        };
        let mut link = Link::over(near, "node".into(), address.timeout);
        link.id = Some(self.lock().open());
        Sampler { link: Some(link), ..Sampler::new(address.into(), budget) }
    }
}

async fn serve(stream: DuplexStream, server: Shared) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    while let Some(args) = read_args(&mut lines).await {
        let asked = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["INFO", section] => Asked::Info(section.into()),
            ["CLIENT", "LIST"] => Asked::Full,
            ["CLIENT", "LIST", "ID", ref ids @ ..] => {
                Asked::Ids(ids.iter().map(|id| id.parse().expect("an id")).collect())
            }
            _ => panic!("an unexpected command: {args:?}"),
        };
        let reply = server.lock().answer(asked);
        if writer.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The args of the next command; `None` at the end.
async fn read_args(lines: &mut Lines<impl AsyncBufRead + Unpin>) -> Option<Vec<String>> {
    let head = lines.next_line().await.ok()??;
    let count: usize = head.strip_prefix('*')?.parse().ok()?;
    let mut args = Vec::new();
    for _ in 0..count {
        lines.next_line().await.ok()??;
        args.push(lines.next_line().await.ok()??);
    }
    Some(args)
}
