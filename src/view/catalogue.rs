//! The catalogue of metrics as a document.

use std::fmt::Write;

use crate::catalogue::ALL;

/// The table as Markdown: the whole of METRICS.md.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for metric in ALL {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let help = metric.help.replace('|', "\\|");
        let (kind, unit, labels) = (metric.kind.label(), metric.unit.label(), labels.join(", "));
        writeln!(text, "| `{}` | {kind} | {unit} | {labels} | {help} |", metric.name)
            .expect("writing to a string cannot fail");
    }
    text
}

/// The table as JSON.
pub fn json() -> serde_json::Value {
    serde_json::json!(ALL)
}

const INTRODUCTION: &str = "\
# Metrics

Made by `redis-client-exporter catalogue`; a test holds it to the program.

Every metric of a node has the label `redis`: the node's address as it was named, without user and password. A metric
that the server cannot fill is left out rather than 0: see its help. Gauges that tell of clients are those of the last
sample, with the newcomers since. When the last attempt failed, they are left out, while counters stay; so they are when
the sample is older than all of `--sample.max-age`, three sampling intervals, and twice the planned time between samples.
Label values that clients choose are at most 128 bytes long, cut ones end in `~` and a hash, and a client's own value that
begins with `(` is escaped with a backslash.

| name | type | unit | labels | help |
|---|---|---|---|---|
";
