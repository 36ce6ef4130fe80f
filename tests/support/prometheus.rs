//! A real Prometheus, and a real Alertmanager.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::request;
use super::server::{missing, on_free_port};
use super::{eventually, project};

/// A Prometheus that scrapes once a second.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    _folder: TempDir,
}

fn binary(name: &str) -> Option<PathBuf> {
    installed("prometheus", name)
}

fn installed(package: &str, name: &str) -> Option<PathBuf> {
    let path = project(&format!(".cache/servers/{package}/{name}"));
    if !path.exists() {
        missing(&format!("{name} ({})", path.display()));
    }
    path.exists().then_some(path)
}

/// Returns the path of the program; `None` if it is not installed.
pub(crate) fn prometheus() -> Option<PathBuf> {
    binary("prometheus")
}

/// Runs promtool with this input; `None` if it is not installed.
pub(crate) fn promtool(args: &[&str], input: &str) -> Option<Output> {
    let mut child = Command::new(binary("promtool")?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("standard input is piped").write_all(input.as_bytes()).expect("promtool reads");
    Some(child.wait_with_output().expect("promtool ends"))
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the targets as job `redis-clients`; `None` if it is not installed.
    pub(crate) fn scraping(targets: &[&str]) -> Option<Self> {
        Self::scraping_with(targets, &json!({}))
    }

    /// Starts a Prometheus as [`Self::scraping`] does, with further settings of the scrape configuration.
    pub(crate) fn scraping_with(targets: &[&str], more: &Value) -> Option<Self> {
        Self::start(targets, more, &json!({ "global": { "scrape_interval": "1s", "evaluation_interval": "1s" } }), "")
    }

    /// Starts a Prometheus with this job alone, with the intervals of the job; `None` if it is not installed.
    pub(crate) fn running(job: &Value) -> Option<Self> {
        Self::start_with(job, &json!({}), "")
    }

    /// Starts a Prometheus that scrapes four times a second, evaluates these rules, and sends alerts to this
    /// Alertmanager.
    pub(crate) fn alerting(targets: &[&str], rules: &str, alertmanager: &str) -> Option<Self> {
        let more = json!({
            "global": { "scrape_interval": "250ms", "evaluation_interval": "250ms" },
            "rule_files": ["rules.yml"],
            "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": [alertmanager] }] }] },
        });
        Self::start(targets, &json!({}), &more, rules)
    }

    fn start(targets: &[&str], job_more: &Value, more: &Value, rules: &str) -> Option<Self> {
        let mut job = json!({ "job_name": "redis-clients", "static_configs": [{ "targets": targets }] });
        job.as_object_mut().expect("an object").extend(job_more.as_object().expect("an object").clone());
        Self::start_with(&job, more, rules)
    }

    fn start_with(job: &Value, more: &Value, rules: &str) -> Option<Self> {
        let binary = binary("prometheus")?;
        let folder = TempDir::new().expect("a temporary folder");
        let mut config = json!({ "scrape_configs": [job] });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).expect("a file");
        fs::write(folder.path().join("rules.yml"), rules).expect("a file");
        let start = |port| {
            Command::new(&binary)
                .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("Prometheus starts")
        };
        let (port, child) = on_free_port("Prometheus", start, ready);
        Some(Self { child, address: format!("127.0.0.1:{port}"), _folder: folder })
    }

    /// Returns every rule, as Prometheus reports it.
    pub(crate) fn rules(&self) -> Vec<Value> {
        let answer = ask(&self.address, "/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().expect("groups").iter();
        groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    /// Returns the result of an instant query.
    ///
    /// # Panics
    /// If Prometheus refuses the expression.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let answer = ask(&self.address, &path);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("an instant query gives a list").clone()
    }

    /// Returns the value of a query that has at most one series; `None` while it has none.
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

/// An Alertmanager that sends no notifications.
pub(crate) struct Alertmanager {
    child: Child,
    pub(crate) address: String,
    _folder: TempDir,
}

impl Alertmanager {
    /// Starts it; `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = installed("alertmanager", "alertmanager")?;
        let folder = TempDir::new().expect("a temporary folder");
        let config = json!({ "route": { "receiver": "none" }, "receivers": [{ "name": "none" }] });
        fs::write(folder.path().join("alertmanager.yml"), config.to_string()).expect("a file");
        let start = |port| {
            Command::new(&program)
                .arg(format!("--config.file={}", folder.path().join("alertmanager.yml").display()))
                .arg(format!("--storage.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                // Without a cluster.
                .arg("--cluster.listen-address=")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("Alertmanager starts")
        };
        let (port, child) = on_free_port("Alertmanager", start, ready);
        Some(Self { child, address: format!("127.0.0.1:{port}"), _folder: folder })
    }

    /// Returns the alerts with this name.
    pub(crate) fn alerts(&self, name: &str) -> Vec<Value> {
        let alerts = ask(&self.address, "/api/v2/alerts");
        let alerts = alerts.as_array().expect("a list").iter();
        alerts.filter(|alert| alert["labels"]["alertname"] == name).cloned().collect()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the program is ready. Returns false if it ended instead.
fn ready(child: &mut Child, port: u16) -> bool {
    eventually("it is ready", || {
        let answer = request(&format!("127.0.0.1:{port}"), "GET", "/-/ready", &[]).ok();
        match answer {
            Some(answer) if answer.status == 200 => Some(true),
            _ => child.try_wait().expect("a child can be waited for").map(|_| false),
        }
    })
}

/// Returns the JSON response of an API path.
fn ask(address: &str, path: &str) -> Value {
    let answer = request(address, "GET", path, &["accept-encoding: identity"]).expect("it answers");
    serde_json::from_str(answer.text()).expect("the answer is JSON")
}
