//! A crowd of clients such as a shop has: for `make demo`, for `make bench`, and for whoever wants to see the metrics move.
//!
//! `crowd redis://127.0.0.1:6379 [40]` connects so many, says `ready` once they are, and keeps them until it is ended. A
//! larger crowd asks no more of the server as a whole than the smallest one does, but comes and goes more. With the word
//! `troubled` behind the number, one more application leaks connections, and another never reads what it subscribed to.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, IntoConnectionInfo, RedisResult, cmd};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The most clients that come, and go, in a second.
const MOST_COMING: f64 = 50.0;

/// Connections that are made at once.
const AT_ONCE: usize = 100;

/// What a client does. Times are those of the smallest crowd.
#[derive(Clone, Copy)]
enum Habit {
    /// Asks something every so many milliseconds.
    Busy(u64),
    /// Waits for work in a list.
    Works,
    /// Listens to a channel.
    Listens,
    /// Asked once and then forgot the connection.
    Forgot,
    /// Connects, stays for so many milliseconds, goes, and so on.
    Comes(u64),
    /// Opens a further connection every so many milliseconds, and keeps them all.
    Leaks(u64),
    /// Publishes a page every so many milliseconds.
    Publishes(u64),
    /// Listens to those pages, and never reads one.
    NeverReads,
}

/// An application: its client name, library, how many clients it has, and what they do.
const APPLICATIONS: [(&str, &str, usize, Habit); 8] = [
    ("web-6d4cf56db6", "redis-py", 8, Habit::Busy(700)),
    ("checkout", "jedis", 5, Habit::Busy(1900)),
    ("session-cache", "go-redis", 6, Habit::Busy(250)),
    ("celery-worker", "redis-py", 4, Habit::Works),
    ("price-feed", "lettuce", 3, Habit::Listens),
    ("billing", "StackExchange.Redis", 12, Habit::Forgot),
    ("report-cron", "predis", 1, Habit::Forgot),
    ("health-probe", "ioredis", 1, Habit::Comes(3000)),
];

/// What else there is in a troubled crowd.
const TROUBLE: [(&str, &str, Habit); 3] = [
    ("image-resizer", "hiredis", Habit::Leaks(2000)),
    ("ticker", "redis-py", Habit::Publishes(500)),
    ("slow-feed", "node-redis", Habit::NeverReads),
];

/// The most connections that one client leaks, so that a crowd that was forgotten does no harm.
const MOST_LEAKED: usize = 1000;

/// How large a published page is, in bytes.
const PAGE: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> RedisResult<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let smallest: usize = APPLICATIONS.iter().map(|(_, _, count, _)| count).sum();
    let wanted = args.next().and_then(|text| text.parse().ok()).unwrap_or(smallest);
    let scale = wanted as f64 / smallest as f64;
    let (mut clients, doors) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut remaining = wanted;
    for (name, library, count, habit) in APPLICATIONS {
        let count = ((count as f64 * scale).round().max(1.0) as usize).min(remaining);
        remaining -= count;
        let habit = habit.in_a_crowd(count, scale);
        for number in 0..count {
            let name = format!("{name}-{number}");
            clients.spawn(live(address.clone(), name, library, habit, Arc::clone(&doors)));
        }
    }
    let troubles = if args.next().is_some_and(|word| word == "troubled") { &TROUBLE[..] } else { &[] };
    for &(name, library, habit) in troubles {
        clients.spawn(live(address.clone(), format!("{name}-0"), library, habit, Arc::clone(&doors)));
    }
    // Those who come later are let in one by one; when all doors are free, all are in.
    tokio::task::yield_now().await;
    drop(doors.acquire_many(AT_ONCE as u32).await);
    println!("ready");
    // A client lives for ever; the first that fails tells why, and ends the others.
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or(Ok(()))?;
    }
    Ok(())
}

impl Habit {
    /// The same habit among so many, in a crowd so many times the smallest.
    fn in_a_crowd(self, count: usize, scale: f64) -> Self {
        match self {
            Self::Busy(pause) => Self::Busy((pause as f64 * scale.max(1.0)) as u64),
            Self::Comes(stay) => Self::Comes(stay.max((count as f64 * 1e3 / MOST_COMING) as u64)),
            same => same,
        }
    }
}

async fn live(
    address: String,
    name: String,
    library: &'static str,
    habit: Habit,
    doors: Arc<Semaphore>,
) -> RedisResult<()> {
    let info = address.as_str().into_connection_info()?;
    let settings = info.redis_settings().clone().set_lib_name(library, "1.0.0");
    let client = Client::open(info.set_redis_settings(settings))?;
    loop {
        let door = doors.acquire().await;
        if matches!(habit, Habit::Listens) {
            let mut listener = client.get_async_pubsub().await?;
            listener.subscribe("prices").await?;
            drop(door);
            return std::future::pending().await;
        }
        if matches!(habit, Habit::NeverReads) {
            drop(door);
            never_read(&address, &name).await?;
            continue;
        }
        let mut connection = named(&client, &name).await?;
        drop(door);
        match habit {
            Habit::Busy(pause) => ask(&mut connection, pause).await?,
            Habit::Works => cmd("BLPOP").arg("jobs").arg(0).query_async::<()>(&mut connection).await?,
            Habit::Leaks(pause) => leak(&client, &name, pause).await?,
            Habit::Publishes(pause) => publish(&mut connection, pause).await?,
            Habit::Forgot | Habit::Listens | Habit::NeverReads => std::future::pending().await,
            Habit::Comes(stay) => sleep(Duration::from_millis(stay)).await,
        }
    }
}

async fn named(client: &Client, name: &str) -> RedisResult<MultiplexedConnection> {
    // Nothing here waits in vain but the workers, and those wait for ever.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    cmd("CLIENT").arg("SETNAME").arg(name).query_async::<()>(&mut connection).await?;
    Ok(connection)
}

async fn ask(connection: &mut MultiplexedConnection, pause: u64) -> RedisResult<()> {
    loop {
        cmd("INCR").arg("visits").query_async::<i64>(connection).await?;
        sleep(Duration::from_millis(pause)).await;
    }
}

async fn leak(client: &Client, name: &str, pause: u64) -> RedisResult<()> {
    let mut kept = Vec::new();
    while kept.len() < MOST_LEAKED {
        kept.push(named(client, name).await?);
        sleep(Duration::from_millis(pause)).await;
    }
    std::future::pending().await
}

async fn publish(connection: &mut MultiplexedConnection, pause: u64) -> RedisResult<()> {
    let page = "x".repeat(PAGE);
    loop {
        cmd("PUBLISH").arg("pages").arg(&page).query_async::<i64>(connection).await?;
        sleep(Duration::from_millis(pause)).await;
    }
}

/// No library is so careless, so this one writes to the socket itself. Returns when the server has closed the connection.
async fn never_read(address: &str, name: &str) -> RedisResult<()> {
    let host = address.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(format!("CLIENT SETNAME {name}\r\nSUBSCRIBE pages\r\n").as_bytes()).await?;
    while stream.write_all(b"PING\r\n").await.is_ok() {
        sleep(Duration::from_secs(5)).await;
    }
    Ok(())
}
