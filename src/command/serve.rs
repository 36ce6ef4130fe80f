//! `serve`: one watcher per node, the web server, and an orderly shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Exit, log};
use crate::announce::{self, Announcer, Election, Listener, Mode, StatusReceiver};
use crate::cli::{SampleMode, ServeArgs};
use crate::config::ServeConfig;
use crate::group_file::GroupFile;
use crate::latest::Latest;
use crate::link::Target;
use crate::watcher::{RemoteSource, Watcher};
use crate::web::{self, Served};

pub(super) fn run(args: &ServeArgs) -> Result<Exit> {
    let config = ServeConfig::new(args)?;
    log::start(&args.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Sampling has its own thread: its memory then comes from one heap. Spread over the heaps of several threads, it
    // was twice as much. Also no scrape waits for the processing of a large sample.
    let sampling =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("sampling").enable_all().build()?;
    let result = runtime.block_on(serve(config, sampling.handle()));
    // Connections that are still open after draining must not delay the exit.
    runtime.shutdown_background();
    sampling.shutdown_background();
    result
}

async fn serve(config: ServeConfig, sampling: &Handle) -> Result<Exit> {
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
    let (web_config_valid, settings) = match &config.web_config {
        Some(file) => (Some(file.validity()), file.settings()),
        None => (None, watch::channel(Arc::default()).1),
    };
    if let Some(file) = config.web_config {
        watchers.spawn(file.follow());
    }
    let channel = Channel { settings: config.announce, sample: config.sample, node: config.announced_node };
    for (place, target) in config.targets.into_iter().enumerate() {
        let watcher = Watcher::new(target.clone(), config.budget, limits_now.clone(), Arc::clone(&latest), place);
        channel.spawn(target, watcher, sampling, &mut watchers);
    }
    let encrypted = settings.borrow().summary().0;
    let external_url = config.external_url.unwrap_or_else(|| own_url(&bound.addresses(), encrypted));
    let validity = web::Validity { groups: groups_valid, web_config: web_config_valid };
    let stop = CancellationToken::new();
    let served =
        Served { latest, telemetry_path: config.telemetry_path, external_url, pages: config.pages, settings, validity };
    let mut server = tokio::spawn(bound.serve(served, stop.clone()));
    tokio::select! {
        name = signals.next() => {
            info!(signal = name, "stopping after the current requests; a second signal stops immediately");
        }
        ended = watchers.join_next() => {
            let why = ended.context("there are no watchers")?;
            bail!("a watcher ended unexpectedly: {why:?}; please report this as a bug");
        }
        ended = &mut server => bail!("the web server ended unexpectedly: {ended:?}; please report this as a bug"),
    }
    stop.cancel();
    watchers.abort_all();
    tokio::select! {
        ended = &mut server => ended.context("the web server failed while stopping")?,
        name = signals.next() => info!(signal = name, "stopping immediately"),
    }
    Ok(Exit::Success)
}

/// Maximum number of snapshots, or messages, in a queue.
const QUEUE: usize = 64;

/// The use of the status channel, the same for every node.
struct Channel {
    settings: announce::AnnounceSettings,
    sample: SampleMode,
    node: Option<String>,
}

impl Channel {
    /// Starts a node's watcher, and its announcer and listener where they are needed.
    fn spawn(&self, target: Target, mut watcher: Watcher, on: &Handle, tasks: &mut JoinSet<()>) {
        let (tally, mut receivers, mut own) = (watcher.channel(), Vec::new(), None);
        if self.sample != SampleMode::Always {
            let (sender, received) = mpsc::channel(QUEUE);
            receivers.push(sender);
            watcher = watcher.remote_source(match self.sample {
                SampleMode::Never => RemoteSource::Only { received, node: self.node.clone() },
                SampleMode::Auto | SampleMode::Always => RemoteSource::Preferred(received),
            });
        }
        if self.settings.mode != Mode::Never && self.sample != SampleMode::Never {
            let (sender, received) = mpsc::channel(QUEUE);
            // An exporter that always announces does not need the messages of others.
            if self.settings.mode == Mode::Auto {
                receivers.push(sender);
            }
            let (announcements, snapshots) = mpsc::channel(QUEUE);
            let (mode, frequency) = (self.settings.mode, self.settings.frequency);
            let name = own.insert(name()).clone();
            let election = Election::new(mode, name, frequency, rand::random(), Instant::now());
            let settings = self.settings.clone();
            let announcer = Announcer::new(target.clone(), settings, election, Arc::clone(&tally), watcher.spent());
            tasks.spawn_on(announcer.run(snapshots, received), on);
            watcher = watcher.announcing(announcements);
        }
        if !receivers.is_empty() {
            let channel = Arc::clone(&self.settings.channel);
            let receiver = StatusReceiver::new(&self.settings.keys, own);
            // If we always sample, only the presence of another announcer matters.
            let receiver = if self.sample == SampleMode::Always { receiver.presence_only() } else { receiver };
            tasks.spawn_on(Listener::new(target, channel, receiver, tally, receivers).run(), on);
        }
        tasks.spawn_on(watcher.run(), on);
    }
}

/// A unique name of an announcer: the host name and a random part.
fn name() -> String {
    format!("{}/{:08x}", host(), rand::random::<u32>())
}

fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().chars().filter(char::is_ascii_graphic).take(64).collect()
}

/// The URL of the pages for browsers, if none is configured: the host name and the port.
fn own_url(addresses: &[SocketAddr], encrypted: bool) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    let host =
        Some(host()).filter(|host| !host.is_empty() && addresses.iter().any(|address| !address.ip().is_loopback()));
    let port = addresses.first().map_or(0, SocketAddr::port);
    format!("{scheme}://{}:{port}", host.as_deref().unwrap_or("localhost"))
}

/// The signals that request a stop.
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
