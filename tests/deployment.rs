//! The files in deploy/, checked with the tools that will read them: the schemas of Kubernetes and the
//! prometheus-operator, Helm, systemd, promtool. The Dockerfile and its image are tested in `image`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::exporter::{program, run};
use crate::support::project;
use crate::support::prometheus::promtool;
use crate::support::server::{Server, binaries, missing};

const CHART: &str = "deploy/helm/redis-client-exporter";

/// Returns a tool that `tests/deploy/install` installs. If it is missing, the test is skipped with a message, and fails
/// in CI.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    needed(&format!(".cache/deploy/{name}"))
}

fn needed(path: &str) -> Option<PathBuf> {
    let found = project(path);
    if !found.exists() {
        missing(&found.display().to_string());
    }
    found.exists().then_some(found)
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns what a command printed, standard output first.
pub(crate) fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Runs a command in the project's folder with this input, asserts that it succeeds, and returns its standard output.
pub(crate) fn must_succeed(command: &mut Command, input: &str) -> String {
    let output = run_with_input(command, input);
    assert!(output.status.success(), "{command:?}: {}", printed(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a command with this input, by default in the project's folder.
fn run_with_input(command: &mut Command, input: &str) -> Output {
    if command.get_current_dir().is_none() {
        command.current_dir(project(""));
    }
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    // A tool may end without reading its input.
    let _ = writing.join().expect("writing does not panic");
    output
}

pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// Returns the YAML documents of a text.
fn documents(text: &str) -> Vec<Value> {
    let texts = text.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    texts.map(yaml).filter(|document| !document.is_null()).collect()
}

/// Returns all manifests of deploy/kubernetes.
fn manifests() -> Vec<Value> {
    let mut paths: Vec<_> = fs::read_dir(project("deploy/kubernetes"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 5, "{paths:?}");
    paths.iter().flat_map(|path| documents(&fs::read_to_string(path).expect("a manifest"))).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// The resource kinds of the prometheus-operator.
const OPERATOR_KINDS: [&str; 2] = ["PrometheusRule", "ServiceMonitor"];

/// Validates documents with the schemas of Kubernetes and the operator; `None` if these are not installed.
fn valid(documents: &[Value]) -> Option<Result<(), String>> {
    let (validate, folder) = (tool("venv/bin/kubernetes-validate")?, tool("node")?);
    let (operator, own): (Vec<_>, Vec<_>) =
        documents.iter().partition(|document| OPERATOR_KINDS.iter().any(|kind| document["kind"] == *kind));
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    let text: String = own.iter().map(|document| format!("---\n{document}\n")).collect();
    fs::write(file.path(), text).expect("it can be written");
    let kubernetes = run_with_input(Command::new(validate).arg("--strict").arg(file.path()), "");
    let lines: String = operator.iter().map(|document| format!("{document}\n")).collect();
    let script = read("tests/deploy/operator.mjs");
    let operator = run_with_input(
        Command::new("node").args(["--input-type=module", "--eval", &script]).current_dir(folder),
        &lines,
    );
    let passed = printed(&kubernetes).matches(" passed for ").count() + printed(&operator).matches(" ok\n").count();
    let faults = format!("{}{}", printed(&kubernetes), printed(&operator));
    let all_passed = kubernetes.status.success() && operator.status.success() && passed == documents.len();
    Some(if all_passed { Ok(()) } else { Err(faults) })
}

#[test]
fn manifests_are_valid_and_a_mistake_would_be_found() {
    let documents = manifests();
    let Some(result) = valid(&documents) else { return };
    result.unwrap_or_else(|faults| panic!("{faults}"));
    for (kind, place, mistake) in [
        ("Deployment", "/spec/template/spec/containers/0", json!({ "livenesProbe": {} })),
        ("NetworkPolicy", "/spec", json!({ "ingres": [] })),
        ("ServiceMonitor", "/spec/endpoints/0", json!({ "interval": "15" })),
        ("PrometheusRule", "/spec/groups/0", json!({ "rules": [{ "alert": "NoExpression" }] })),
    ] {
        let mut document = of_kind(&documents, kind)[0].clone();
        let object = document.pointer_mut(place).and_then(Value::as_object_mut).expect("an object");
        object.extend(mistake.as_object().expect("an object").clone());
        assert!(valid(&[document]).is_some_and(|result| result.is_err()), "{kind}: {mistake}");
    }
}

/// Asserts the restricted Pod Security Standard, and the settings that our image needs.
fn assert_restricted(pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false, "{pod}");
    let (all, containers) = (&pod["securityContext"], pod["containers"].as_array().expect("containers"));
    assert_eq!((&all["runAsNonRoot"], &all["seccompProfile"]["type"]), (&json!(true), &json!("RuntimeDefault")));
    for container in containers {
        let own = &container["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{container}");
        assert_eq!(own["capabilities"], json!({ "drop": ["ALL"] }), "{container}");
        assert!(own.get("runAsUser").or(all.get("runAsUser")).is_some_and(|user| *user != 0), "{container}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{container}");
        assert!(container["resources"]["requests"]["cpu"].is_string(), "{container}");
    }
    let exporter = containers.iter().find(|container| container["name"] == "exporter").expect("an exporter");
    let image = format!("redis-client-exporter:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!((&exporter["image"], &exporter["ports"][0]["containerPort"]), (&json!(image), &json!(19121)));
    assert!(exporter["livenessProbe"].is_object(), "{exporter}");
}

#[test]
fn pods_are_restricted_and_have_the_current_version() {
    let documents = manifests();
    let pods: Vec<_> = ["Deployment", "StatefulSet"].iter().flat_map(|kind| of_kind(&documents, kind)).collect();
    assert_eq!(pods.len(), 2);
    pods.iter().for_each(|pod| assert_restricted(&pod["spec"]["template"]["spec"]));
}

/// The manifest is generated from rules.yml. To update it: `UPDATE_GOLDEN=1 cargo test --test integration deployment`.
#[test]
fn the_prometheusrule_contains_the_rules() {
    let path = "deploy/kubernetes/prometheusrule.yaml";
    let rules = read("deploy/prometheus/rules.yml");
    let indented: String = rules.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect();
    let made = format!(
        "# The rules of deploy/prometheus/rules.yml for the prometheus-operator. Change them there. Add the labels by \
         which your\n# Prometheus selects rules (ruleSelector; kube-prometheus-stack: `release`).\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: redis-client-exporter\n  \
         labels:\n    app.kubernetes.io/name: redis-client-exporter\nspec:\n{indented}"
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(project(path), &made).expect("a file");
    }
    assert_eq!(read(path), made, "update it: UPDATE_GOLDEN=1 cargo test --test integration deployment");
    assert_eq!(yaml(&made)["spec"], yaml(&rules));
}

/// The rules select this job, so every scrape configuration must use its name.
#[test]
fn scrape_configurations_use_the_job_of_the_rules() {
    assert!(read("deploy/prometheus/rules.yml").contains(r#"job="redis-clients""#));
    let documents = manifests();
    let monitor = of_kind(&documents, "ServiceMonitor")[0];
    assert_eq!(
        monitor["spec"]["endpoints"][0]["relabelings"],
        json!([{ "targetLabel": "job", "replacement": "redis-clients" }])
    );
    let services = of_kind(&documents, "Service");
    let scraped = |service: &&&Value| {
        service["metadata"]["labels"] == monitor["spec"]["selector"]["matchLabels"]
            && service["spec"]["ports"][0]["name"] == monitor["spec"]["endpoints"][0]["port"]
    };
    assert_eq!(services.iter().filter(scraped).count(), 2, "the Services of the Deployment and of the sidecars");
    for path in ["deploy/compose/prometheus.yml", "deploy/prometheus/scrape.yml", "deploy/prometheus/scrape-nodes.yml"]
    {
        assert_eq!(yaml(&read(path))["scrape_configs"][0]["job_name"], "redis-clients", "{path}");
    }
}

/// Runs Helm; `None` if it is not installed.
fn helm(args: &[&str]) -> Option<Output> {
    let python = tool("venv/bin/python")?;
    Some(run_with_input(Command::new(python).arg("tests/deploy/helm.py").args(args), ""))
}

/// Returns chart values with every feature enabled.
fn everything() -> Value {
    json!({
        "redis": {
            "addresses": ["redis://a:6379", "rediss://b:6380"],
            "names": ["shop/a", "shop/b"],
            "user": "redis-client-exporter",
            "passwordSecret": { "name": "password" },
            "tlsSecret": { "name": "tls", "certificate": "tls.crt", "key": "tls.key" },
        },
        "settings": {
            "CLIENT_ANNOUNCE_FREQUENCY": "5s",
            "GROUP_LIMIT": 20,
            "ANNOUNCE_MAX_BYTES": 1_048_576,
            "PRESENCE_EXPECT": "billing=2",
        },
        "web": { "configSecret": "web", "externalUrl": "https://clients.example.org" },
        "serviceMonitor": {
            "enabled": true,
            "labels": { "release": "stack" },
            "endpoint": { "scheme": "https" },
            "relabelings": [{ "action": "labeldrop", "regex": "service" }],
        },
        "prometheusRule": { "enabled": true },
        "dashboards": { "enabled": true, "annotations": { "grafana_folder": "Redis clients" } },
        "networkPolicy": { "enabled": true },
        "podLabels": { "team": "data" },
        "podAnnotations": { "note": "1" },
        "tolerations": [{ "operator": "Exists" }],
        "extraVolumes": [{ "name": "groups", "configMap": { "name": "groups" } }],
        "extraVolumeMounts": [{ "name": "groups", "mountPath": "/groups" }],
    })
}

fn release(values: &Value) -> Option<Vec<Value>> {
    let values = values.to_string();
    for act in ["lint", "template"] {
        let output = helm(&[act, CHART, &values])?;
        assert!(output.status.success(), "{act}: {}", printed(&output));
        if act == "template" {
            return Some(documents(&String::from_utf8(output.stdout).expect("UTF-8")));
        }
    }
    None
}

#[test]
fn the_chart_passes_lint_and_renders_valid_manifests() {
    let Some(minimal) = release(&json!({})) else { return };
    assert_eq!(of_kind(&minimal, "Deployment").len() + of_kind(&minimal, "Service").len(), minimal.len());
    let Some(full) = release(&everything()) else { return };
    for documents in [&minimal, &full] {
        if let Some(Err(faults)) = valid(documents) {
            panic!("{faults}");
        }
        assert_restricted(&of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]);
    }
    let rules = of_kind(&full, "PrometheusRule")[0];
    assert_eq!(rules["spec"], yaml(&read("deploy/prometheus/rules.yml")));
    let boards = of_kind(&full, "ConfigMap");
    assert_eq!(boards.len(), 2);
    for board in boards {
        assert_eq!(board["metadata"]["labels"]["grafana_dashboard"], "1");
        for (file, text) in board["data"].as_object().expect("files") {
            assert_eq!(
                text.as_str().map(str::trim_end),
                Some(read(&format!("dashboards/{file}")).trim_end()),
                "{file}"
            );
        }
    }
    let monitor = of_kind(&full, "ServiceMonitor")[0];
    assert_eq!(monitor["spec"]["endpoints"][0]["relabelings"][0]["replacement"], "redis-clients");
    assert_eq!(monitor["spec"]["endpoints"][0]["relabelings"][1]["regex"], "service");
    assert_eq!(monitor["spec"]["endpoints"][0]["scheme"], "https");
    let container = &of_kind(&full, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let variable = |name: &str| container["env"].as_array()?.iter().find(|variable| variable["name"] == name).cloned();
    assert_eq!(variable("ANNOUNCE_MAX_BYTES").map(|it| it["value"].clone()), Some(json!("1048576")));
    assert_eq!(variable("WEB_EXTERNAL_URL").map(|it| it["value"].clone()), Some(json!("https://clients.example.org")));
    assert_eq!(container["livenessProbe"]["exec"]["command"], json!(["/redis-client-exporter", "healthy"]));
}

#[test]
fn the_chart_refuses_unknown_values_and_passwords() {
    for values in [
        json!({ "replica": 2 }),
        json!({ "redis": { "addresses": ["redis://ann:hush@redis:6379"] } }),
        json!({ "redis": { "addresses": [] } }),
        json!({ "settings": { "REDIS_PASSWORD": "hush" } }),
        json!({ "serviceMonitor": { "interval": "soon" } }),
        json!({ "serviceMonitor": { "enabled": true, "endpoint": { "relabelings": [] } } }),
        json!({ "networkPolicy": { "enabled": true, "ingressFrom": [] } }),
        json!({ "web": { "externalUrl": "clients.example.org" } }),
    ] {
        let Some(output) = helm(&["template", CHART, &values.to_string()]) else { return };
        let refused = !output.status.success() && printed(&output).contains("helm: redis-client-exporter:");
        assert!(refused, "{values}: {}", printed(&output));
    }
}

/// The chart has links to files outside it. Its archive must contain their content.
#[test]
fn an_archive_of_the_chart_is_complete() {
    let folder = TempDir::new().expect("a folder");
    let Some(output) = helm(&["package", CHART, &folder.path().display().to_string()]) else { return };
    assert!(output.status.success(), "{}", printed(&output));
    let archive = String::from_utf8(output.stdout).expect("a path");
    must_succeed(Command::new("tar").args(["xzf", archive.trim(), "-C"]).arg(folder.path()), "");
    let inside = folder.path().join("redis-client-exporter/files");
    for (copy, original) in [
        ("rules.yml", "deploy/prometheus/rules.yml"),
        ("dashboards/redis-clients-app.json", "dashboards/redis-clients-app.json"),
        ("dashboards/redis-clients-overview.json", "dashboards/redis-clients-overview.json"),
    ] {
        assert_eq!(fs::read_to_string(inside.join(copy)).expect("a file"), read(original), "{copy}");
    }
    let chart = yaml(&read(&format!("{CHART}/Chart.yaml")));
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION")))
    );
}

/// Every environment variable in a manifest is one that the exporter reads.
#[test]
fn variables_of_manifests_exist() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    let known: BTreeSet<&str> = help.split("[env: ").skip(1).filter_map(|rest| rest.split([']', '=']).next()).collect();
    let mut named = BTreeSet::new();
    let releases = [json!({}), everything()].iter().filter_map(release).flatten().collect::<Vec<_>>();
    for document in manifests().iter().chain(&releases) {
        let containers = document["spec"]["template"]["spec"]["containers"].as_array();
        let variables = containers.into_iter().flatten().filter_map(|container| container["env"].as_array()).flatten();
        named.extend(variables.filter_map(|variable| variable["name"].as_str()).map(str::to_owned));
    }
    let compose = yaml(&read("deploy/compose/compose.yaml"));
    named.extend(compose["services"]["exporter"]["environment"].as_object().expect("variables").keys().cloned());
    let settings = read("deploy/systemd/redis-client-exporter.env");
    named.extend(settings.lines().filter_map(|line| Some(line.trim_start_matches('#').split_once('=')?.0.to_owned())));
    assert!(named.remove("POD_NAME") && named.remove("POD_NAMESPACE") && named.len() >= 8, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Returns the mounts of a compose service that are relative to compose.yaml, as `(path here, path in the container)`.
/// `redis:6379` is another server in each namespace and in each compose project, and 127.0.0.1 in each pod.
#[test]
fn manifests_name_their_servers() {
    let count = |text: &str| text.split(',').count();
    let releases = release(&everything()).unwrap_or_default();
    let mut checked = 0;
    for document in manifests().iter().chain(&releases) {
        let containers = document["spec"]["template"]["spec"]["containers"].as_array();
        for container in containers.into_iter().flatten() {
            let value = |name: &str| {
                let mut variables = container["env"].as_array().into_iter().flatten();
                variables.find(|variable| variable["name"] == name)?["value"].as_str()
            };
            let Some(address) = value("REDIS_ADDR") else { continue };
            let name = value("REDIS_NAME").unwrap_or_else(|| panic!("{address} has no name"));
            assert_eq!(count(name), count(address), "{name} {address}");
            let is_of_namespace = name.starts_with("$(POD_NAMESPACE)/") || name.starts_with("shop/");
            assert!(is_of_namespace, "{name}");
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked}");
    let compose = yaml(&read("deploy/compose/compose.yaml"));
    assert!(compose["services"]["exporter"]["environment"]["REDIS_NAME"].is_string());
    assert!(read("deploy/systemd/redis-client-exporter.env").contains("#REDIS_NAME="), "the host name is enough");
}

fn mounts(service: &Value) -> Vec<(PathBuf, String)> {
    let volumes = service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let here = project("deploy/compose");
    volumes
        .filter(|volume| volume.starts_with('.'))
        .filter_map(|volume| volume.split_once(':'))
        .map(|(from, to)| (here.join(from), to.trim_end_matches(":ro").to_owned()))
        .collect()
}

#[test]
fn compose_is_valid_and_the_files_that_it_mounts_exist() {
    let Some(check) = tool("venv/bin/check-jsonschema") else { return };
    let file = "deploy/compose/compose.yaml";
    let cluster = "deploy/compose/cluster.yaml";
    must_succeed(Command::new(check).args(["--builtin-schema", "vendor.compose-spec", file, cluster]), "");
    let nodes = yaml(&read(cluster));
    let nodes: BTreeSet<&String> = nodes["services"].as_object().expect("services").keys().collect();
    assert_eq!(nodes.len(), 8, "six nodes, one that joins them, and the exporter: {nodes:?}");
    let compose = yaml(&read(file));
    let services = compose["services"].as_object().expect("services");
    for (name, service) in services {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(
                port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{name}: {port} is published on all addresses"
            );
        }
        for (from, _) in mounts(service) {
            assert!(from.exists(), "{name}: {}", from.display());
        }
    }
    let build = &services["exporter"]["build"];
    let context = project("deploy/compose").join(build["context"].as_str().expect("a folder"));
    assert!(context.join(build["dockerfile"].as_str().expect("a file")).exists(), "{build}");

    // The configurations of Prometheus and Grafana, at their paths in the containers.
    let folder = TempDir::new().expect("a folder");
    for (from, to) in mounts(&services["prometheus"]) {
        fs::copy(from, folder.path().join(Path::new(&to).file_name().expect("a name"))).expect("a copy");
    }
    let config = folder.path().join("prometheus.yml").display().to_string();
    if let Some(output) = promtool(&["check", "config", &config], "") {
        assert!(output.status.success() && printed(&output).contains("1 rule files found"), "{}", printed(&output));
    }
    let grafana = &services["grafana"];
    let boards = yaml(&read("deploy/compose/grafana/boards.yml"))["providers"][0]["options"]["path"].clone();
    let (from, to) = mounts(grafana).into_iter().find(|(_, to)| boards == *to).expect("boards are mounted");
    let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str().expect("a board");
    assert!(from.join(home.strip_prefix(&format!("{to}/")).expect("one of them")).exists(), "{home}");
    let datasource = yaml(&read("deploy/compose/grafana/datasource.yml"))["datasources"][0].clone();
    assert_eq!((&datasource["isDefault"], &datasource["url"]), (&json!(true), &json!("http://prometheus:9090")));
}

/// Runs `systemd-analyze` with these arguments on the unit. Returns what it prints, and true if it succeeds.
fn systemd(args: &[&str], unit: &str) -> Option<(String, bool)> {
    let analyze = needed(".cache/servers/systemd-analyze/systemd-analyze")?;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("redis-client-exporter.service");
    // systemd checks that the program exists.
    let unit = unit.replace("/usr/local/bin/redis-client-exporter", &program().get_program().to_string_lossy());
    fs::write(&path, unit).expect("a file");
    let units = analyze.with_file_name("root").join("lib/systemd/system");
    let output = run_with_input(Command::new(analyze).args(args).arg(&path).env("SYSTEMD_UNIT_PATH", units), "");
    Some((printed(&output), output.status.success()))
}

#[test]
fn systemd_accepts_the_unit_and_rates_it_safe() {
    let unit = read("deploy/systemd/redis-client-exporter.service");
    let verify = ["verify", "--man=no"];
    let Some(verdict) = systemd(&verify, &unit) else { return };
    assert_eq!(verdict, (String::new(), true));
    let (text, _) = systemd(&verify, &unit.replace("ProtectHome=", "ProtectHoem=")).expect("systemd-analyze");
    assert!(text.contains("Unknown key"), "{text}");
    // In tenths: 100 is a service without restrictions. One that needs the network and unix sockets has at minimal 11.
    let security = ["security", "--offline=true", "--no-pager", "--threshold=12"];
    let (text, safe) = systemd(&security, &unit).expect("systemd-analyze");
    assert!(safe, "{text}");
    let (text, safe) = systemd(&security, &unit.replace("PrivateDevices=yes\n", "")).expect("systemd-analyze");
    assert!(!safe, "{text}");
}

/// The ACL files contain what `check` prints for the server, and the exporter has every permission on a server started
/// with them.
#[test]
fn the_acl_files_grant_everything_that_is_needed() {
    let folder = TempDir::new().expect("a folder");
    for binary in binaries() {
        let file = if matches!(binary.name.as_str(), "redis-6.2" | "redis-7.0") {
            "users-before-7.2.acl"
        } else {
            "users.acl"
        };
        let users = read(&format!("deploy/redis/{file}"));
        let path = folder.path().join(&binary.name).display().to_string();
        fs::write(&path, users.replace(">PASSWORD", ">a-good-one")).expect("a file");
        let server = Server::start_with(&binary, &["--aclfile", &path]);
        let args = ["check", "--redis.addr", &server.address(), "--redis.user=redis-client-exporter"];
        let output = run(&[&args[..], &["--redis.password=a-good-one"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}: {}", binary.name, printed(&output));
        let line = users.trim_end().replacen("user ", "ACL SETUSER ", 1);
        assert!(
            printed(&output).lines().any(|printed| printed.trim() == line),
            "{}: {}",
            binary.name,
            printed(&output)
        );
        let refused = run(&[&args[..], &["--redis.password=PASSWORD"]].concat());
        assert_eq!(refused.status.code(), Some(4), "{}: {}", binary.name, printed(&refused));
        // All other commands are refused, except those that the server allows to every user.
        let mut peer = server.peer();
        assert_eq!(peer.ask(&["AUTH", "redis-client-exporter", "a-good-one"]), "+OK");
        for command in [&["GET", "key"][..], &["SET", "key", "1"], &["CONFIG", "GET", "*"], &["PUBLISH", "other", "1"]]
        {
            assert!(peer.ask(command).starts_with("-NOPERM"), "{}: {command:?}", binary.name);
        }
    }
}

/// Returns the workflows by name, with their texts.
fn workflows() -> Vec<(String, String)> {
    let files = fs::read_dir(project(".github/workflows")).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
    names.map(|name| (name.clone(), read(&format!(".github/workflows/{name}")))).collect()
}

#[test]
fn files_of_github_are_valid() {
    let Some(check) = tool("venv/bin/check-jsonschema") else { return };
    let workflows = workflows().into_iter().map(|(name, _)| ("github-workflows", format!("workflows/{name}")));
    let others = [
        ("dependabot", "dependabot.yml"),
        ("github-issue-config", "ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", "ISSUE_TEMPLATE/bug_report.yml"),
        ("github-issue-forms", "ISSUE_TEMPLATE/feature_request.yml"),
    ];
    for (schema, file) in workflows.chain(others.map(|(schema, file)| (schema, file.to_owned()))) {
        let schema = format!("vendor.{schema}");
        must_succeed(Command::new(&check).args(["--builtin-schema", &schema, &format!(".github/{file}")]), "");
    }
}

#[test]
fn workflows_pin_actions_by_commit_and_have_no_write_permission_by_default() {
    let is_commit = |text: &str| text.len() == 40 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    for (name, text) in workflows() {
        let workflow = yaml(&text);
        assert_eq!(workflow["permissions"], json!({ "contents": "read" }), "{name}");
        for (job, content) in workflow["jobs"].as_object().expect("jobs") {
            assert!(content["uses"].is_string() || content["timeout-minutes"].is_u64(), "{name}: {job}: a time limit");
            for step in content["steps"].as_array().into_iter().flatten() {
                let checks_out = step["uses"].as_str().is_some_and(|action| action.starts_with("actions/checkout@"));
                assert!(!checks_out || step["with"]["persist-credentials"] == false, "{name}: {job}: {step}");
            }
        }
        let uses = text.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "));
        for action in uses.filter(|action| !action.starts_with("./")) {
            let pinned = action.split_once('@').and_then(|(_, commit)| commit.split_once(" # v"));
            let pinned = pinned.is_some_and(|(commit, version)| is_commit(commit) && version.split('.').count() == 3);
            assert!(pinned, "{name}: {action}: write a commit and its version: owner/name@… # v1.2.3");
        }
    }
}

/// The jobs of ci.yml run what .ci/run runs, and the build with the oldest compiler that Cargo.toml names.
#[test]
fn ci_runs_the_same_targets_on_github_and_elsewhere() {
    let ci = read(".github/workflows/ci.yml");
    let makefile = read("Makefile");
    for target in ["lint", "unit", "static", "test", "demo"] {
        assert!(ci.contains(&format!("- run: make {target}\n")), "{target}");
        assert!(makefile.lines().any(|line| line.starts_with(&format!("{target}:"))), "{target}");
    }
    let script = read(".ci/run");
    for target in ["check", "static", "demo"] {
        assert!(script.contains(&format!("make {target}\n")), "{target}");
    }
    assert!(makefile.contains("\ncheck: lint test "));
    let oldest = read("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ").map(str::to_owned));
    let oldest = oldest.expect("a version");
    assert!(ci.contains(&format!("container: rust:{}-bookworm\n", oldest.trim_matches('"'))));
}

/// The files and the targets of the Makefile that documents for contributors name.
#[test]
fn documents_for_contributors_name_files_and_targets_that_exist() {
    let makefile = read("Makefile");
    let path = Regex::new(r"`((?:src|tests|docs|deploy|bench|dashboards)/[A-Za-z0-9_./-]+)`").expect("a pattern");
    let link = Regex::new(r"\]\(([^):#]+)\)").expect("a pattern");
    let target = Regex::new(r"`make ([a-z-]+)").expect("a pattern");
    for (document, least) in [(".github/CONTRIBUTING.md", 40), (".github/SECURITY.md", 3), ("docs/releasing.md", 5)] {
        let text = read(document);
        let all = |pattern: &Regex| pattern.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>();
        let (paths, links, targets) = (all(&path), all(&link), all(&target));
        assert!(paths.len() + links.len() + targets.len() >= least, "{document}: {paths:?} {links:?} {targets:?}");
        // Fuzzing makes this one.
        for file in paths.iter().filter(|file| *file != "tests/fuzz/artifacts") {
            assert!(project(file).exists(), "{document}: {file}");
        }
        let folder = project(document).parent().expect("a folder").to_owned();
        for file in links {
            assert!(folder.join(&file).exists(), "{document}: {file}");
        }
        for target in targets {
            assert!(makefile.lines().any(|line| line.starts_with(&format!("{target}:"))), "{document}: {target}");
        }
    }
}

/// `make help` lists every target.
#[test]
fn every_target_of_the_makefile_is_documented() {
    let makefile = read("Makefile").replace("\\\n", " ");
    let phony = makefile.lines().find_map(|line| line.strip_prefix(".PHONY: ")).expect("targets");
    for target in phony.split_whitespace() {
        let documented = |line: &str| line.starts_with(&format!("{target}:")) && line.contains(" ## ");
        assert!(makefile.lines().any(documented), "{target}: write what it does behind ##");
    }
}
