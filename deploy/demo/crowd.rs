//! A small crowd of clients such as a shop has: for `make demo`, and for whoever wants to see the metrics move.
//!
//! `crowd redis://127.0.0.1:6379` connects them and keeps them until it is ended.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, IntoConnectionInfo, RedisResult, cmd};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What a client does.
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
    /// Connects, asks, goes, and so on.
    Comes,
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
    ("health-probe", "ioredis", 1, Habit::Comes),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> RedisResult<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let mut clients = JoinSet::new();
    for (name, library, count, habit) in APPLICATIONS {
        for number in 0..count {
            clients.spawn(live(address.clone(), format!("{name}-{number}"), library, habit));
        }
    }
    // A client lives for ever; the first that fails tells why, and ends the others.
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or(Ok(()))?;
    }
    Ok(())
}

async fn live(address: String, name: String, library: &'static str, habit: Habit) -> RedisResult<()> {
    let info = address.into_connection_info()?;
    let settings = info.redis_settings().clone().set_lib_name(library, "1.0.0");
    let client = Client::open(info.set_redis_settings(settings))?;
    if matches!(habit, Habit::Listens) {
        let mut listener = client.get_async_pubsub().await?;
        listener.subscribe("prices").await?;
        std::future::pending::<()>().await;
    }
    loop {
        let mut connection = named(&client, &name).await?;
        match habit {
            Habit::Busy(pause) => ask(&mut connection, pause).await?,
            Habit::Works => cmd("BLPOP").arg("jobs").arg(0).query_async::<()>(&mut connection).await?,
            Habit::Forgot | Habit::Listens => std::future::pending().await,
            Habit::Comes => sleep(Duration::from_secs(3)).await,
        }
    }
}

async fn named(client: &Client, name: &str) -> RedisResult<MultiplexedConnection> {
    // Nothing here waits in vain but the workers, and those wait for ever.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
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
