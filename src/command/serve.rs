//! `serve`: a watcher a node, the web server, and an orderly end.

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

pub(super) fn run(words: &ServeArgs) -> Result<Exit> {
    let config = ServeConfig::new(words)?;
    log::start(&words.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Sampling has a thread of its own: what it takes of memory is then taken from one heap and not from that of each thread in
    // turn, which doubled it, and no scrape waits for a large sample to be derived.
    let sampling =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("sampling").enable_all().build()?;
    let result = runtime.block_on(serve(config, sampling.handle()));
    // Connections that were cut off by the end of draining must not hold it up.
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

/// How many snapshots, or messages, may wait to be taken.
const QUEUE: usize = 64;

/// What every node's channel is used for.
struct Channel {
    settings: announce::AnnounceSettings,
    sample: SampleMode,
    node: Option<String>,
}

impl Channel {
    /// Starts a node's watcher, and what announces and listens for it, as far as that is wanted.
    fn spawn(&self, target: Target, mut watcher: Watcher, on: &Handle, tasks: &mut JoinSet<()>) {
        let (tally, mut takers, mut own) = (watcher.channel(), Vec::new(), None);
        if self.sample != SampleMode::Always {
            let (sender, heard) = mpsc::channel(QUEUE);
            takers.push(sender);
            watcher = watcher.remote_source(match self.sample {
                SampleMode::Never => RemoteSource::Only { heard, node: self.node.clone() },
                SampleMode::Auto | SampleMode::Always => RemoteSource::Preferred(heard),
            });
        }
        if self.settings.mode != Mode::Never && self.sample != SampleMode::Never {
            let (sender, heard) = mpsc::channel(QUEUE);
            // Who always talks need not hear others.
            if self.settings.mode == Mode::Auto {
                takers.push(sender);
            }
            let (announcements, snapshots) = mpsc::channel(QUEUE);
            let (mode, frequency) = (self.settings.mode, self.settings.frequency);
            let name = own.insert(name()).clone();
            let voice = Election::new(mode, name, frequency, rand::random(), Instant::now());
            let settings = self.settings.clone();
            let announcer = Announcer::new(target.clone(), settings, voice, Arc::clone(&tally), watcher.spent());
            tasks.spawn_on(announcer.run(snapshots, heard), on);
            watcher = watcher.announcing(announcements);
        }
        if !takers.is_empty() {
            let channel = Arc::clone(&self.settings.channel);
            let receiver = StatusReceiver::new(&self.settings.keys, own);
            // Where we always sample, only who else talks is of interest.
            let receiver = if self.sample == SampleMode::Always { receiver.presence_only() } else { receiver };
            tasks.spawn_on(Listener::new(target, channel, receiver, tally, takers).run(), on);
        }
        tasks.spawn_on(watcher.run(), on);
    }
}

/// A name that no other announcer has: the host's, and a random part.
fn name() -> String {
    format!("{}/{:08x}", host(), rand::random::<u32>())
}

fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().chars().filter(char::is_ascii_graphic).take(64).collect()
}

/// Where browsers most likely find the pages, when nobody says it.
fn own_url(addresses: &[SocketAddr], encrypted: bool) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    let host =
        Some(host()).filter(|host| !host.is_empty() && addresses.iter().any(|address| !address.ip().is_loopback()));
    let port = addresses.first().map_or(0, SocketAddr::port);
    format!("{scheme}://{}:{port}", host.as_deref().unwrap_or("localhost"))
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
