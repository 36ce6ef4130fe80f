//! The exporter's metrics about itself, read at each scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::build_info::{PLATFORM, REVISION, RUSTC, VERSION};
use crate::catalogue::{self as c, Metric};

/// The result of the last read of each of the operator's files: true if it was valid. `None` where no such file is set.
#[derive(Debug, Default)]
pub struct Validity {
    /// `--group.file`.
    pub groups: Option<Arc<AtomicBool>>,
    /// `--announce.key-file`.
    pub keys: Option<Arc<AtomicBool>>,
    /// `--redis.targets-file` and `--redis.auth-file`.
    pub targets: Option<Arc<AtomicBool>>,
    /// `--web.config.file`.
    pub web_config: Option<Arc<AtomicBool>>,
}

/// The counters of the web server, and the process metrics from the kernel.
#[derive(Debug)]
pub struct ProcessMetrics {
    registry: Registry,
    requests: IntCounterVec,
    accept_errors: IntCounter,
    dropped: IntCounterVec,
    /// Gauges that show flags.
    flags: Vec<(Arc<AtomicBool>, IntGauge)>,
}

impl ProcessMetrics {
    /// The metrics at the start: the URL of the pages, and the operator's files.
    pub fn new(external_url: &str, insecure_skip_verify: Arc<AtomicBool>, validity: Validity) -> Self {
        let unique = "the catalogue's names are valid and unique";
        let registry = Registry::new();
        let requests = IntCounterVec::new(options(c::HTTP_REQUESTS), c::HTTP_REQUESTS.labels).expect(unique);
        let accept_errors = IntCounter::with_opts(options(c::HTTP_ACCEPT_ERRORS)).expect(unique);
        let dropped = IntCounterVec::new(options(c::HTTP_DROPPED), c::HTTP_DROPPED.labels).expect(unique);
        let info = IntGaugeVec::new(options(c::BUILD_INFO), c::BUILD_INFO.labels).expect(unique);
        info.with_label_values(&[VERSION, REVISION, RUSTC, PLATFORM]).set(1);
        let web = IntGaugeVec::new(options(c::WEB_INFO), c::WEB_INFO.labels).expect(unique);
        web.with_label_values(&[external_url]).set(1);
        registry.register(Box::new(requests.clone())).expect(unique);
        registry.register(Box::new(accept_errors.clone())).expect(unique);
        registry.register(Box::new(dropped.clone())).expect(unique);
        registry.register(Box::new(info)).expect(unique);
        registry.register(Box::new(web)).expect(unique);
        registry.register(Box::new(ProcessCollector::for_self())).expect(unique);
        let flags = [
            (Some(insecure_skip_verify), c::TLS_SKIP_VERIFY),
            (validity.groups, c::GROUP_FILE_VALID),
            (validity.keys, c::KEY_FILE_VALID),
            (validity.targets, c::TARGETS_FILE_VALID),
            (validity.web_config, c::WEB_CONFIG_VALID),
        ];
        let flags = flags.into_iter().filter_map(|(flag, metric)| Some((flag?, metric)));
        let flags = flags.map(|(flag, metric)| {
            let gauge = IntGauge::with_opts(options(metric)).expect(unique);
            registry.register(Box::new(gauge.clone())).expect(unique);
            (flag, gauge)
        });
        let flags = flags.collect();
        Self { registry, requests, accept_errors, dropped, flags }
    }

    /// Counts an answered request.
    pub fn count_request(&self, handler: &str, status: &str) {
        self.requests.with_label_values(&[handler, status]).inc();
    }

    /// Counts a failed attempt to accept a connection.
    pub fn count_accept_error(&self) {
        self.accept_errors.inc();
    }

    /// Counts connections that were closed to make room for others.
    pub fn count_dropped(&self, stage: &str, number: usize) {
        self.dropped.with_label_values(&[stage]).inc_by(number as u64);
    }

    /// The current families.
    pub fn families(&self) -> Vec<MetricFamily> {
        for (flag, gauge) in &self.flags {
            gauge.set(flag.load(Ordering::Relaxed).into());
        }
        self.registry.gather()
    }
}

fn options(metric: Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}
