//! The page at `/`: which nodes are watched, how they are, and where to go from here.

use std::fmt::Write;
use std::time::Instant;

use hyper::{Response, StatusCode};

use super::App;
use super::response::{self, Body};
use crate::latest::{NodeState, Phase};

/// The page. It shows counts only: no client, no user, no address but the nodes' own.
pub(super) fn page(app: &App) -> Response<Body> {
    let view = app.latest.read();
    let now = Instant::now();
    let rows: String = view.nodes.iter().map(|node| row(node, now)).collect();
    let telemetry = escaped(&app.telemetry_path);
    let version = env!("CARGO_PKG_VERSION");
    let body = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>redis-client-exporter</title>
<link rel="stylesheet" href="/assets/app.css">
</head>
<body>
<main>
<h1>redis-client-exporter</h1>
<p>Who is connected to Redis or Valkey, since when, and when each client last spoke.</p>
<table>
<thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col" class="number">Connections</th><th scope="col" class="number">Online</th><th scope="col" class="number">Idle</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
<ul>
<li><a href="{telemetry}">Metrics</a> for Prometheus</li>
<li><a href="/-/healthy">Healthy</a>: whether this process is alive</li>
<li><a href="/-/ready">Ready</a>: whether every node has been tried</li>
</ul>
</main>
<footer>version {version}</footer>
</body>
</html>
"#
    );
    response::answer(StatusCode::OK, "text/html; charset=utf-8", body)
}

fn row(node: &NodeState, now: Instant) -> String {
    let counts = match node.fresh_snapshot(now).and_then(|snapshot| snapshot.crowd.as_ref()) {
        Some(crowd) => {
            [crowd.connections(), crowd.online(), crowd.in_state(crate::snapshot::State::Idle)].map(|n| n.to_string())
        }
        None => ["–"; 3].map(str::to_owned),
    };
    let mut row = format!("<tr><td>{}</td>{}", escaped(&node.node), state(node, now));
    for count in counts {
        write!(row, "<td class=\"number\">{count}</td>").expect("writing to a string cannot fail");
    }
    row + "</tr>\n"
}

fn state(node: &NodeState, now: Instant) -> String {
    match &node.phase {
        Phase::Starting => "<td>not tried yet</td>".into(),
        Phase::Failing { failure, since, .. } => {
            format!("<td class=\"failing\">since {since:.0}: {}</td>", escaped(&failure.message))
        }
        Phase::Fresh { snapshot, .. } if node.fresh_snapshot(now).is_none() => {
            format!("<td class=\"failing\">no news since {:.0}</td>", snapshot.sample.at)
        }
        Phase::Fresh { snapshot, .. } => {
            let refused: Vec<_> = snapshot.refused().map(|failure| escaped(&failure.message)).collect();
            match refused.is_empty() {
                true => format!("<td>sampled at {:.0}</td>", snapshot.sample.at),
                false => format!("<td class=\"failing\">{}</td>", refused.join("<br>")),
            }
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sample::{Failure, Reason};

    #[test]
    fn markup_from_outside_stays_text() {
        let mut node = NodeState::starting("<node>".into());
        let failure = Failure { reason: Reason::Other, message: "<script>".into() };
        node.phase = Phase::Failing { failure, since: Timestamp::UNIX_EPOCH, last_good: None };
        let row = row(&node, Instant::now());
        assert!(row.contains("&lt;node&gt;") && row.contains("&lt;script&gt;"), "{row}");
        assert!(!row.contains("<script>") && !row.contains("<node>"), "{row}");
        assert_eq!(
            escaped(r#"<img src='x' onerror="a&b">"#),
            "&lt;img src=&#39;x&#39; onerror=&quot;a&amp;b&quot;&gt;"
        );
    }
}
