//! A real Prometheus.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::http::request;
use super::server::{free_port, missing};
use super::{PATIENCE, eventually, project};

/// A Prometheus that scrapes once a second.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    _folder: TempDir,
}

fn binary(name: &str) -> Option<PathBuf> {
    let path = project(&format!(".cache/servers/prometheus/{name}"));
    if !path.exists() {
        missing(&format!("{name} ({})", path.display()));
    }
    path.exists().then_some(path)
}

/// Runs promtool with some input; `None` where it is missing.
pub(crate) fn promtool(words: &[&str], input: &str) -> Option<Output> {
    let mut child = Command::new(binary("promtool")?)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("standard input is piped").write_all(input.as_bytes()).expect("promtool reads");
    Some(child.wait_with_output().expect("promtool ends"))
}

impl Prometheus {
    /// Scrapes the targets as job `redis-clients`. `None` where there is no Prometheus.
    pub(crate) fn scraping(targets: &[&str]) -> Option<Self> {
        Self::scraping_with(targets, &serde_json::json!({}))
    }

    /// As above, with more of what a scrape configuration may have.
    pub(crate) fn scraping_with(targets: &[&str], more: &Value) -> Option<Self> {
        let binary = binary("prometheus")?;
        let folder = TempDir::new().expect("a temporary folder");
        let mut job = serde_json::json!({ "job_name": "redis-clients", "static_configs": [{ "targets": targets }] });
        job.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "scrape_configs": [job],
        });
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).expect("a file");
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new(binary)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        let prometheus = Self { child, address, _folder: folder };
        eventually("Prometheus is ready", PATIENCE, || {
            request(&prometheus.address, "GET", "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
        });
        Some(prometheus)
    }

    /// The result of an instant query.
    ///
    /// # Panics
    /// If Prometheus does not take the expression.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let answer = request(&self.address, "GET", &path, &["accept-encoding: identity"]).expect("Prometheus answers");
        let answer: Value = serde_json::from_str(answer.text()).expect("the answer is JSON");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("an instant query gives a list").clone()
    }

    /// The value of a query that gives one series; `None` while it gives none.
    pub(crate) fn value(&self, expression: &str) -> Option<f64> {
        let result = self.query(expression);
        result.first()?["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
