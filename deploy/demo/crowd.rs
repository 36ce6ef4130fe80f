//! Simulates the Redis clients of a web shop, for `make demo`, `make bench`, and for trying out the metrics.
//!
//! `crowd redis://127.0.0.1:6379 [40]` opens the given number of connections, prints `ready` when all of them are open,
//! and keeps them until the process is stopped. More clients do not increase the total load on the server, but they
//! connect and disconnect more often. With a third argument `troubled`, one more application leaks connections, and
//! another one never reads the messages of its subscription. In a cluster, the clients use keys of the server that they
//! are connected to.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, IntoConnectionInfo, RedisResult, cmd};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The maximum number of clients that reconnect per second.
const MAX_RECONNECTS_PER_SECOND: f64 = 50.0;

/// The maximum number of connections that are being opened at once.
const MAX_CONNECTING: usize = 100;

/// The behavior of a client. Times are those of the smallest number of clients.
#[derive(Clone, Copy)]
enum Behavior {
    /// Sends a command at this interval, in milliseconds.
    Busy(u64),
    /// Waits for jobs with BLPOP.
    Blocks,
    /// Subscribes to a channel.
    Subscribes,
    /// Connects and then stays idle.
    Idles,
    /// Disconnects after this time, in milliseconds, and connects again.
    Reconnects(u64),
    /// Opens a further connection at this interval, in milliseconds, and never closes one.
    Leaks(u64),
    /// Publishes a message at this interval, in milliseconds.
    Publishes(u64),
    /// Subscribes to those messages and never reads one.
    NeverReads,
}

/// The applications: client name, library, number of clients, behavior.
const APPLICATIONS: [(&str, &str, usize, Behavior); 8] = [
    ("web-6d4cf56db6", "redis-py", 8, Behavior::Busy(700)),
    ("checkout", "jedis", 5, Behavior::Busy(1900)),
    ("session-cache", "go-redis", 6, Behavior::Busy(250)),
    ("celery-worker", "redis-py", 4, Behavior::Blocks),
    ("price-feed", "lettuce", 3, Behavior::Subscribes),
    ("billing", "StackExchange.Redis", 12, Behavior::Idles),
    ("report-cron", "predis", 1, Behavior::Idles),
    ("health-probe", "ioredis", 1, Behavior::Reconnects(3000)),
];

/// The additional applications with `troubled`.
const TROUBLED: [(&str, &str, Behavior); 3] = [
    ("image-resizer", "hiredis", Behavior::Leaks(2000)),
    ("ticker", "redis-py", Behavior::Publishes(500)),
    ("slow-feed", "node-redis", Behavior::NeverReads),
];

/// The maximum number of leaked connections, so that a forgotten process does not fill up the server.
const MAX_LEAKED: usize = 1000;

/// The size of a published message.
const MESSAGE_BYTES: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> RedisResult<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let smallest: usize = APPLICATIONS.iter().map(|(_, _, count, _)| count).sum();
    let wanted = args.next().and_then(|text| text.parse().ok()).unwrap_or(smallest);
    let scale = wanted as f64 / smallest as f64;
    let keys = Keys::of(&address).await?;
    let (mut clients, permits) = (JoinSet::new(), Arc::new(Semaphore::new(MAX_CONNECTING)));
    let mut remaining = wanted;
    for (name, library, count, behavior) in APPLICATIONS {
        let count = ((count as f64 * scale).round().max(1.0) as usize).min(remaining);
        remaining -= count;
        let behavior = behavior.scaled(count, scale);
        for number in 0..count {
            let name = format!("{name}-{number}");
            clients.spawn(run(address.clone(), name, library, behavior, keys.clone(), Arc::clone(&permits)));
        }
    }
    let troubled = if args.next().is_some_and(|arg| arg == "troubled") { &TROUBLED[..] } else { &[] };
    for &(name, library, behavior) in troubled {
        let name = format!("{name}-0");
        clients.spawn(run(address.clone(), name, library, behavior, keys.clone(), Arc::clone(&permits)));
    }
    // Permits are handed out in order: when all of them are free, every client has connected.
    tokio::task::yield_now().await;
    drop(permits.acquire_many(MAX_CONNECTING as u32).await);
    println!("ready");
    // A client runs forever. The first one that fails ends the program with its error.
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or(Ok(()))?;
    }
    Ok(())
}

impl Behavior {
    /// Adapts the behavior to an application of `count` clients, with `scale` times the smallest number of clients in
    /// all.
    fn scaled(self, count: usize, scale: f64) -> Self {
        match self {
            Self::Busy(pause) => Self::Busy((pause as f64 * scale.max(1.0)) as u64),
            Self::Reconnects(stay) => {
                Self::Reconnects(stay.max((count as f64 * 1e3 / MAX_RECONNECTS_PER_SECOND) as u64))
            }
            same => same,
        }
    }
}

/// The keys that the clients use.
#[derive(Clone)]
struct Keys {
    counter: String,
    queue: String,
}

impl Keys {
    /// Keys that this server has. In a cluster, it refuses the keys of others.
    async fn of(address: &str) -> RedisResult<Self> {
        // By its name, it belongs to the first application.
        let mut connection = named(&Client::open(address)?, APPLICATIONS[0].0).await?;
        for tag in 0..1000 {
            let keys = Self { counter: format!("visits{{{tag}}}"), queue: format!("jobs{{{tag}}}") };
            if cmd("EXISTS").arg(&keys.queue).query_async::<i64>(&mut connection).await.is_ok() {
                return Ok(keys);
            }
        }
        Ok(Self { counter: "visits".to_owned(), queue: "jobs".to_owned() })
    }
}

async fn run(
    address: String,
    name: String,
    library: &'static str,
    behavior: Behavior,
    keys: Keys,
    permits: Arc<Semaphore>,
) -> RedisResult<()> {
    let info = address.as_str().into_connection_info()?;
    let settings = info.redis_settings().clone().set_lib_name(library, "1.0.0");
    let client = Client::open(info.set_redis_settings(settings))?;
    loop {
        let permit = permits.acquire().await;
        if matches!(behavior, Behavior::Subscribes) {
            let mut listener = client.get_async_pubsub().await?;
            listener.subscribe("prices").await?;
            drop(permit);
            return std::future::pending().await;
        }
        if matches!(behavior, Behavior::NeverReads) {
            drop(permit);
            never_read(&address, &name).await?;
            continue;
        }
        let mut connection = named(&client, &name).await?;
        drop(permit);
        match behavior {
            Behavior::Busy(pause) => send_commands(&mut connection, &keys.counter, pause).await?,
            Behavior::Blocks => cmd("BLPOP").arg(&keys.queue).arg(0).query_async::<()>(&mut connection).await?,
            Behavior::Leaks(pause) => leak(&client, &name, pause).await?,
            Behavior::Publishes(pause) => publish(&mut connection, pause).await?,
            Behavior::Idles | Behavior::Subscribes | Behavior::NeverReads => std::future::pending().await,
            Behavior::Reconnects(stay) => sleep(Duration::from_millis(stay)).await,
        }
    }
}

async fn named(client: &Client, name: &str) -> RedisResult<MultiplexedConnection> {
    // Only workers wait for a reply, and they wait forever: no timeouts.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    cmd("CLIENT").arg("SETNAME").arg(name).query_async::<()>(&mut connection).await?;
    Ok(connection)
}

async fn send_commands(connection: &mut MultiplexedConnection, key: &str, pause: u64) -> RedisResult<()> {
    loop {
        cmd("INCR").arg(key).query_async::<i64>(connection).await?;
        sleep(Duration::from_millis(pause)).await;
    }
}

async fn leak(client: &Client, name: &str, pause: u64) -> RedisResult<()> {
    let mut kept = Vec::new();
    while kept.len() < MAX_LEAKED {
        kept.push(named(client, name).await?);
        sleep(Duration::from_millis(pause)).await;
    }
    std::future::pending().await
}

async fn publish(connection: &mut MultiplexedConnection, pause: u64) -> RedisResult<()> {
    let message = "x".repeat(MESSAGE_BYTES);
    loop {
        cmd("PUBLISH").arg("pages").arg(&message).query_async::<i64>(connection).await?;
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Writes to the socket directly, since every client library reads. Returns when the server has closed the connection.
async fn never_read(address: &str, name: &str) -> RedisResult<()> {
    let host = address.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(format!("CLIENT SETNAME {name}\r\nSUBSCRIBE pages\r\n").as_bytes()).await?;
    while stream.write_all(b"PING\r\n").await.is_ok() {
        sleep(Duration::from_secs(5)).await;
    }
    Ok(())
}
