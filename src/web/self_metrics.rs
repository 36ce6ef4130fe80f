//! The exporter's metrics about itself, read at each scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Validity;
use crate::catalogue::{self as c, Metric};
use crate::view::metrics;

/// The counters of the web server, and the process metrics from the kernel.
#[derive(Debug)]
pub(super) struct SelfMetrics {
    registry: Registry,
    requests: IntCounterVec,
    /// The number of failed attempts to accept a connection.
    pub(super) accept_errors: IntCounter,
    validity: Vec<(Arc<AtomicBool>, IntGauge)>,
}

impl SelfMetrics {
    pub(super) fn new(external_url: &str, validity: Validity) -> Self {
        let unique = "the catalogue's names are valid and unique";
        let registry = Registry::new();
        let requests = IntCounterVec::new(options(c::HTTP_REQUESTS), c::HTTP_REQUESTS.labels).expect(unique);
        let accept_errors = IntCounter::with_opts(options(c::HTTP_ACCEPT_ERRORS)).expect(unique);
        let build = IntGaugeVec::new(options(c::BUILD_INFO), c::BUILD_INFO.labels).expect(unique);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let web = IntGaugeVec::new(options(c::WEB_INFO), c::WEB_INFO.labels).expect(unique);
        web.with_label_values(&[external_url]).set(1);
        registry.register(Box::new(requests.clone())).expect(unique);
        registry.register(Box::new(accept_errors.clone())).expect(unique);
        registry.register(Box::new(build)).expect(unique);
        registry.register(Box::new(web)).expect(unique);
        registry.register(Box::new(ProcessCollector::for_self())).expect(unique);
        let files = [(validity.groups, c::GROUP_FILE_VALID), (validity.web_config, c::WEB_CONFIG_VALID)];
        let files = files.into_iter().filter_map(|(valid, metric)| Some((valid?, metric)));
        let validity = files.map(|(valid, metric)| {
            let gauge = IntGauge::with_opts(options(metric)).expect(unique);
            registry.register(Box::new(gauge.clone())).expect(unique);
            (valid, gauge)
        });
        let validity = validity.collect();
        Self { registry, requests, accept_errors, validity }
    }

    /// Counts an answered request.
    pub(super) fn count_request(&self, handler: &str, status: StatusCode) {
        self.requests.with_label_values(&[handler, status.as_str()]).inc();
    }

    /// Returns the current metrics in the text format.
    pub(super) fn text(&self) -> String {
        for (valid, gauge) in &self.validity {
            gauge.set(valid.load(Ordering::Relaxed).into());
        }
        metrics::encode(&self.registry.gather())
    }
}

fn options(metric: Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}
