//! The metrics on `/metrics`. `nodes` and `process` make metric families, and the encoder writes them: a further format
//! is a further encoder. The only module that uses the crate `prometheus`.

mod nodes;
mod process;

use std::time::Instant;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::latest::Nodes;

pub use nodes::node_families;
pub use process::{ProcessMetrics, Validity};

/// The content type of [`encode`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Encodes families in the text format, version 0.0.4.
pub fn encode(families: &[MetricFamily]) -> String {
    TextEncoder::new().encode_to_string(families).expect("writing to a string cannot fail, and no family is empty")
}

/// The metrics of all nodes in the text format.
pub fn text(nodes: &Nodes, now: Instant) -> String {
    encode(&node_families(nodes, None, now))
}

#[cfg(test)]
mod tests;
