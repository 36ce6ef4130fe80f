//! `serve`: a watcher a node, the web server, and an orderly end.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Exit, log};
use crate::cli::ServeWords;
use crate::config::ServeConfig;
use crate::group_file::GroupFile;
use crate::latest::Latest;
use crate::watcher::Watcher;
use crate::web;

pub(super) fn run(words: &ServeWords) -> Result<Exit> {
    let config = ServeConfig::new(words)?;
    log::start(&words.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config));
    // Connections that were cut off by the end of draining must not hold it up.
    runtime.shutdown_background();
    result
}

async fn serve(config: ServeConfig) -> Result<Exit> {
    let mut signals = Signals::new()?;
    let bound = web::Bound::bind(&config.listen).await.map_err(anyhow::Error::msg)?;
    for address in bound.addresses() {
        info!(%address, metrics = config.telemetry_path, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let latest = Arc::new(Latest::new(config.targets.iter().map(|target| target.node())));
    let (limits, limits_now) = watch::channel(Arc::new(config.limits));
    let mut watchers = JoinSet::new();
    let groups_valid = config.group_file.as_ref().map(GroupFile::validity);
    if let Some(file) = config.group_file {
        watchers.spawn(file.follow(limits));
    }
    for (place, target) in config.targets.into_iter().enumerate() {
        let watcher = Watcher::new(target, config.budget, limits_now.clone(), Arc::clone(&latest), place);
        watchers.spawn(watcher.run());
    }
    let stop = CancellationToken::new();
    let mut server = tokio::spawn(bound.serve(latest, config.telemetry_path, groups_valid, stop.clone()));
    tokio::select! {
        name = signals.next() => info!(signal = name, "stopping once requests under way are answered; again to stop at once"),
        ended = watchers.join_next() => {
            let why = ended.context("there are no watchers")?;
            bail!("a watcher ended unasked: {why:?}");
        }
        ended = &mut server => bail!("the web server ended unasked: {ended:?}"),
    }
    stop.cancel();
    watchers.abort_all();
    tokio::select! {
        ended = &mut server => ended.context("the web server broke while stopping")?,
        name = signals.next() => info!(signal = name, "stopping at once"),
    }
    Ok(Exit::Success)
}

/// The signals that ask us to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
