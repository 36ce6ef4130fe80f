//! The metrics on `/metrics`. `nodes`, `fleet` and `process` make metric families, and the encoder writes them: a
//! further format is a further encoder. `series` bounds their number. The only module that uses the crate `prometheus`.

mod fleet;
mod nodes;
mod process;
mod series;

use std::time::Instant;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::latest::Nodes;

pub use fleet::fleet_families;
pub use nodes::node_families;
pub use process::{ProcessMetrics, Validity};
pub use series::shared_limits;

/// The content type of [`encode`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Encodes families in the text format, version 0.0.4.
pub fn encode(families: &[MetricFamily]) -> String {
    TextEncoder::new().encode_to_string(families).expect("writing to a string cannot fail, and no family is empty")
}

/// The metrics of all nodes in the text format, and those over several nodes.
pub fn text(nodes: &Nodes, now: Instant) -> String {
    encode(&node_families(nodes, None, now)) + &encode(&fleet_families(nodes, now))
}

#[cfg(test)]
mod tests;
