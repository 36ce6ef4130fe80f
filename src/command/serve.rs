//! `serve`: the watched nodes, the web server, and an orderly shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Exit, log};
use crate::build_info::{REVISION, VERSION};
use crate::cli::ServeArgs;
use crate::config::ServeConfig;
use crate::discovery::{Discovery, Target};
use crate::exposition::Validity;
use crate::fleet::{Fleet, NodeTasks, WatchNode, warn_of_same_servers};
use crate::group_file::GroupFile;
use crate::key_file::KeyFile;
use crate::latest::Latest;
use crate::link::Node;
use crate::machine::Machine;
use crate::memory::MemoryLimit;
use crate::targets_file::{INSECURE, TargetsFile};
use crate::web::{self, Served};

pub(super) fn run(args: &ServeArgs) -> Result<Exit> {
    let config = ServeConfig::new(args)?;
    let _log = log::start(&args.log);
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
    // From now on, a hangup no longer ends the process.
    let hangups = signal(SignalKind::hangup())?;
    let bound = web::Bound::bind(&config.listen).await.map_err(anyhow::Error::msg)?;
    for address in bound.addresses() {
        info!(%address, metrics = config.telemetry_path, version = VERSION, revision = REVISION, "listening");
    }
    let is_insecure = config.targets.iter().any(|target| target.access.tls.insecure_skip_verify);
    if is_insecure {
        warn!("{INSECURE}");
    }
    config.targets_file.iter().flat_map(TargetsFile::notes).for_each(|note| warn!("{note}"));
    MemoryLimit::of_process().set(config.max_memory);
    for warning in config.targets.iter().filter_map(Target::node).filter_map(Node::name_warning) {
        warn!("{warning}");
    }
    let machine = Machine::read();
    let latest = Arc::new(Latest::default());
    let (limits, limits_now) = watch::channel(Arc::new(config.limits));
    let mut tasks = JoinSet::new();
    let groups_valid = config.group_file.as_ref().map(GroupFile::validity);
    let (reload, reload_requests) = watch::channel(());
    if let Some(file) = config.group_file {
        tasks.spawn(file.follow(limits, reload_requests.clone()));
    }
    let keys_valid = config.key_file.as_ref().map(KeyFile::validity);
    if let Some(file) = config.key_file {
        tasks.spawn(file.follow(reload_requests.clone()));
    }
    let (web_config_valid, settings) = match &config.web_config {
        Some(file) => (Some(file.validity()), file.settings()),
        None => (None, watch::channel(Arc::default()).1),
    };
    if let Some(file) = config.web_config {
        tasks.spawn(file.follow(reload_requests.clone()));
    }
    let of_node = NodeTasks {
        budget: config.budget,
        limits: limits_now,
        announce: config.announce,
        remote: config.remote,
        channels: Arc::default(),
        host: machine.shown().to_owned(),
    };
    let watch_node: WatchNode = Box::new(move |node, publisher| of_node.clone().run(node, publisher).boxed());
    let (targets, targets_now) = watch::channel(config.targets);
    let (discovery, nodes) = Discovery::new(targets_now, config.discovery, machine.clone(), Arc::clone(&latest));
    tasks.spawn(discovery.run());
    tasks.spawn(Fleet::start(Arc::clone(&latest), sampling.clone(), watch_node, nodes).run());
    tasks.spawn(warn_of_same_servers(Arc::clone(&latest)));
    let encrypted = settings.borrow().summary().0;
    let scrape_url = config.external_url.clone();
    let external_url = config.external_url.unwrap_or_else(|| own_url(&machine, &bound.addresses(), encrypted));
    let targets_valid = config.targets_file.as_ref().map(TargetsFile::validity);
    let insecure_skip_verify = match &config.targets_file {
        Some(file) => file.insecure(),
        None => Arc::new(AtomicBool::new(is_insecure)),
    };
    if let Some(file) = config.targets_file {
        tasks.spawn(file.follow(targets, reload_requests));
    }
    let validity =
        Validity { groups: groups_valid, keys: keys_valid, targets: targets_valid, web_config: web_config_valid };
    let stop = CancellationToken::new();
    let served = Served {
        latest,
        telemetry_path: config.telemetry_path,
        external_url,
        scrape_url,
        pages: config.pages,
        insecure_skip_verify,
        settings,
        validity,
    };
    tasks.spawn(reload_on_hangup(hangups, reload));
    let mut server = tokio::spawn(bound.serve(served, stop.clone()));
    tokio::select! {
        name = signals.next() => {
            info!(signal = name, "stopping after the current requests; a second signal stops immediately");
        }
        ended = tasks.join_next() => {
            let why = ended.context("there are no tasks")?;
            bail!("a task ended unexpectedly: {why:?}; please report this as a bug");
        }
        ended = &mut server => bail!("the web server ended unexpectedly: {ended:?}; please report this as a bug"),
    }
    stop.cancel();
    tasks.abort_all();
    tokio::select! {
        ended = &mut server => ended.context("the web server failed while stopping")?,
        name = signals.next() => info!(signal = name, "stopping immediately"),
    }
    Ok(Exit::Success)
}

/// The URL of the pages for browsers, if none is configured: the host name and the port.
fn own_url(machine: &Machine, addresses: &[SocketAddr], encrypted: bool) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    let is_reachable = addresses.iter().any(|address| !address.ip().is_loopback());
    let port = addresses.first().map_or(0, SocketAddr::port);
    format!("{scheme}://{}:{port}", if is_reachable { machine.shown() } else { "localhost" })
}

/// Requests a reload of the followed files at each SIGHUP. Password files need none: they are read at each connect.
async fn reload_on_hangup(mut hangups: Signal, reload: watch::Sender<()>) {
    while hangups.recv().await.is_some() {
        info!(
            signal = "SIGHUP",
            "reloading the files of --web.config.file, --group.file, --announce.key-file and --redis.targets-file"
        );
        reload.send_replace(());
    }
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
