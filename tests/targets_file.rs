//! `--redis.targets-file` and `--redis.auth-file` with real servers: nodes that come and go with the file, and
//! passwords of files and commands.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use redis_client_exporter::discovery::Target;
use redis_client_exporter::link::TlsOptions;
use redis_client_exporter::machine::Machine;
use redis_client_exporter::sample::OUR_NAME;
use redis_client_exporter::targets_file::{DefaultAccess, TargetSources, TargetsFile};
use tempfile::TempDir;

use crate::support::certificates::Certificates;
use crate::support::cluster::Cluster;
use crate::support::exporter::{Exporter, run};
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, binary};
use crate::support::{eventually, project};

const VALID: &str = "redis_client_exporter_targets_file_last_reload_successful";

/// A folder with the files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // As tools do that write files for others to read.
        fs::write(self.path("new"), text).expect("a file");
        fs::rename(self.path("new"), self.path(name)).expect("a file");
    }

    fn args(&self) -> Vec<String> {
        let flag =
            |flag: &str, name: &str| self.path(name).exists().then(|| format!("{flag}={}", self.path(name).display()));
        [flag("--redis.targets-file", "targets.yml"), flag("--redis.auth-file", "auth.yml")]
            .into_iter()
            .flatten()
            .collect()
    }

    fn start(&self) -> Exporter {
        let args = self.args();
        Exporter::start(&[], &args.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    }

    fn run(&self, command: &str) -> std::process::Output {
        let args = self.args();
        run(&[&[command], &args.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
    }
}

/// An entry for a server.
fn entry(name: &str, server: &Server, more: &str) -> String {
    format!("- targets: ['{}']\n  labels: {{__name: {name}{more}}}\n", server.address())
}

fn up(scrape: &Scrape, name: &str) -> Option<f64> {
    scrape.value("redis_clients_up", &[("redis", name)])
}

/// The id of our connection to a server.
fn our_id(server: &Server) -> String {
    eventually("we are connected", || {
        let list = server.peer().ask(&["CLIENT", "LIST"]);
        let row = list.lines().find(|row| row.contains(&format!(" name={OUR_NAME} ")))?;
        Some(row.split(' ').next().unwrap_or_default().trim_start_matches("txt:").to_owned())
    })
}

#[test]
fn nodes_come_and_go_with_the_file_and_the_others_are_not_disturbed() {
    let Some(binary) = any_binary() else { return };
    let [one, two, three] = [(); 3].map(|()| Server::start(&binary));
    let files = Files::new();
    files.write("targets.yml", &entry("one", &one, ", cluster: shop"));
    let exporter = files.start();
    exporter.scrape_until("the first is up", |scrape| up(scrape, "one") == Some(1.0));
    let (id, connections) =
        (our_id(&one), |scrape: &Scrape| scrape.value("redis_clients_own_connections_total", &[("redis", "one")]));
    let before = connections(&exporter.scrape());

    files.write("targets.yml", &[entry("one", &one, ""), entry("two", &two, ""), entry("three", &three, "")].concat());
    exporter.scrape_until("two and three appear", |scrape| {
        up(scrape, "two") == Some(1.0) && up(scrape, "three") == Some(1.0)
    });
    files.write("targets.yml", &[entry("one", &one, ", cluster: shop"), entry("three", &three, "")].concat());
    let scrape = exporter.scrape_until("two disappears", |scrape| up(scrape, "two").is_none());
    assert!(scrape.series.iter().all(|series| series.labels.get("redis").is_none_or(|name| name != "two")));
    eventually("the link to it is closed", || (!two.peer().ask(&["CLIENT", "LIST"]).contains(OUR_NAME)).then_some(()));

    // A version with a fault: nothing changes.
    files.write("targets.yml", &format!("{}- targets: ['redis://:hush@{}']\n", entry("one", &one, ""), two.address()));
    exporter.scrape_until("the fault is reported", |scrape| scrape.value(VALID, &[]) == Some(0.0));
    let scrape = exporter.fresh_scrape();
    assert_eq!((up(&scrape, "one"), up(&scrape, "two"), up(&scrape, "three")), (Some(1.0), None, Some(1.0)));
    let log = exporter.log().join("\n");
    assert!(log.contains("a password cannot be in this file") && !log.contains("hush"), "{log}");

    // A request reloads what is fixed.
    files.write("targets.yml", &[entry("one", &one, ""), entry("two", &two, "")].concat());
    exporter.signal("HUP");
    let scrape = exporter.scrape_until("the file is used", |scrape| {
        scrape.value(VALID, &[]) == Some(1.0) && up(scrape, "two") == Some(1.0) && up(scrape, "three").is_none()
    });
    assert_eq!(connections(&scrape), before, "no new connection to the one that stayed");
    assert_eq!(our_id(&one), id);
    files.write("targets.yml", "[]");
    exporter.scrape_until("no node is left", |scrape| scrape.all("redis_clients_up", &[]).next().is_none());
    files.write("targets.yml", &entry("one", &one, ""));
    exporter.scrape_until("one returns", |scrape| up(scrape, "one") == Some(1.0));
}

#[test]
fn a_cluster_of_the_file_is_followed_and_takes_new_labels_without_new_connections() {
    let Some(binary) = binary("redis-7.0") else { return };
    let cluster = Cluster::start(&binary, 3, false, &[]);
    let files = Files::new();
    let text = |label: &str| {
        format!("- targets: ['redis+cluster://{}']\n  labels: {{cluster: {label}}}", cluster.servers[1].address())
    };
    files.write("targets.yml", &text("sessions"));
    let exporter = files.start();
    let named = |name: &'static str| {
        move |scrape: &Scrape| {
            scrape.all("redis_clients_node_info", &[("cluster", name)]).count() == 3
                && scrape.sum("redis_clients_up") == 3.0
        }
    };
    let before =
        exporter.scrape_until("all nodes are up", named("sessions")).sum("redis_clients_own_connections_total");
    files.write("targets.yml", &text("carts"));
    let scrape = exporter.scrape_until("the label changes", named("carts"));
    let discoveries = scrape.sum("redis_clients_own_connections_total") - before;
    let ids = cluster.servers.iter().map(our_id).collect::<Vec<_>>();
    assert!(discoveries < 3.0, "discovery connects; the nodes stay connected: {discoveries} {ids:?}");
    assert_eq!(scrape.value("redis_clients_discovery_removed_nodes_total", &[]), Some(0.0));
}

#[test]
fn each_server_gets_the_password_of_its_module_and_no_other() {
    let Some(binary) = any_binary() else { return };
    let with = |password: &str| Server::start_with(&binary, &["--requirepass", password]);
    let (of_file, of_command, of_none, of_flag) = (with("a-1"), with("b-2"), Server::start(&binary), with("d-4"));
    let files = Files::new();
    files.write("one.password", "a-1\n");
    files.write("flag.json", &format!("{{\"{}\": \"d-4\"}}", of_flag.address()));
    files.write("token", "#!/bin/sh\necho b-2\necho to-the-log >&2\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(files.path("token"), mode).expect("it can be run");
    files.write("auth.yml", "one: {password_file: one.password}\ntwo: {password_command: [./token]}\n");
    files.write(
        "targets.yml",
        &[
            entry("file", &of_file, ", __auth: one"),
            entry("command", &of_command, ", __auth: two"),
            entry("none", &of_none, ""),
            entry("flag", &of_flag, ""),
        ]
        .concat(),
    );
    let mut args = files.args();
    args.push(format!("--redis.password-file={}", files.path("flag.json").display()));
    let exporter = Exporter::start(&[], &args.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    exporter.scrape_until("all are up", |scrape| scrape.sum("redis_clients_up") == 4.0);
    // A server without a password refuses AUTH.
    let id = our_id(&of_none);

    // Another module for one of them.
    files.write("two.password", "wrong");
    files.write("auth.yml", "one: {password_file: two.password}\ntwo: {password_command: [./token]}\n");
    let scrape = exporter.scrape_until("the wrong password is used", |scrape| up(scrape, "file") == Some(0.0));
    assert_eq!(scrape.sum("redis_clients_up"), 3.0);
    files.write("auth.yml", "one: {password_file: one.password}\ntwo: {password_command: [./token]}\n");
    exporter.scrape_until("all are up again", |scrape| scrape.sum("redis_clients_up") == 4.0);
    assert_eq!(our_id(&of_none), id, "the others stay connected");
}

#[test]
fn a_token_that_expires_is_replaced_and_a_command_that_hangs_blocks_no_other() {
    let Some(binary) = any_binary() else { return };
    let (one, two) = (Server::start_with(&binary, &["--requirepass", "t-1"]), Server::start(&binary));
    let files = Files::new();
    files.write("token", "t-1");
    let path = files.path("token").display().to_string();
    files.write(
        "auth.yml",
        &format!("token: {{password_command: [cat, '{path}']}}\nhang: {{password_command: [sleep, '3600']}}\n"),
    );
    files
        .write("targets.yml", &[entry("hang", &two, ", __auth: hang"), entry("one", &one, ", __auth: token")].concat());
    let exporter = files.start();
    exporter.scrape_until("the other is up", |scrape| up(scrape, "one") == Some(1.0));
    let scrape = exporter.scrape_until("the command is killed", |scrape| {
        scrape.value("redis_clients_sample_errors_total", &[("redis", "hang"), ("reason", "auth")]) >= Some(1.0)
    });
    assert_eq!((up(&scrape, "hang"), up(&scrape, "one")), (Some(0.0), Some(1.0)));
    let log = exporter.log().join("\n");
    assert!(log.contains("sleep did not end within 10 s and was killed"), "{log}");

    files.write("token", "t-2");
    let mut peer = one.peer();
    assert_eq!(peer.ask(&["AUTH", "t-1"]), "+OK");
    assert_eq!(peer.ask(&["CONFIG", "SET", "requirepass", "t-2"]), "+OK");
    peer.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let connected = || peer.ask(&["CLIENT", "LIST"]).contains(OUR_NAME);
    let mut connected = connected;
    eventually("we are connected with the new token", || connected().then_some(()));
    exporter.scrape_until("it is up", |scrape| up(scrape, "one") == Some(1.0));
}

#[test]
fn other_commands_read_the_file_once_and_faults_are_of_the_command_line() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let files = Files::new();
    files.write("targets.yml", &[entry("one", &server, ""), entry("other", &server, "")].concat());
    let output = files.run("clients");
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && table.contains(OUR_NAME), "{table}{errors}");
    assert!(errors.contains("entry 2, target 1: ") && errors.contains("is there already"), "{errors}");
    let check = String::from_utf8_lossy(&files.run("check").stdout).into_owned();
    assert!(
        check.contains("\none (redis ") && check.contains("is there already") && !check.contains("other ("),
        "{check}"
    );
    files.write("targets.yml", "- targets: [h]\n  labels: {password: hush}");
    for command in ["serve", "clients", "check", "watch"] {
        let output = files.run(command);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {errors}");
        assert!(errors.contains("--redis.targets-file: ") && !errors.contains("hush"), "{errors}");
    }
    fs::remove_file(files.path("targets.yml")).expect("it is there");
    files.write("auth.yml", "m: {password_file: p}");
    let errors = String::from_utf8_lossy(&files.run("check").stderr).into_owned();
    assert!(errors.contains("--redis.auth-file is given without --redis.targets-file"), "{errors}");
}

#[test]
fn the_sample_files_are_valid() {
    let files = Files::new();
    let certificates = Certificates::new();
    for (name, text) in [
        ("targets.yml", fs::read_to_string(project("deploy/targets/targets.yml")).expect("a sample")),
        ("auth.yml", fs::read_to_string(project("deploy/targets/auth.yml")).expect("a sample")),
        ("prod.password", "hush".to_owned()),
        ("ca.pem", fs::read_to_string(certificates.path("ca.crt")).expect("a certificate")),
    ] {
        files.write(name, &text);
    }
    let sources = TargetSources {
        targets_file: files.path("targets.yml"),
        auth_file: Some(files.path("auth.yml")),
        given: Vec::new(),
        defaults: DefaultAccess {
            user: None,
            password: None,
            sentinel_credentials: None,
            tls: TlsOptions::default(),
            timeout: Duration::ZERO,
        },
        machine: Machine::default(),
        max_targets: 256,
    };
    let (targets, file) = TargetsFile::read(sources).expect("valid files");
    assert!(file.notes().is_empty(), "{:?}", file.notes());
    let names: Vec<_> = targets.iter().filter_map(Target::node).map(|node| node.name.to_string()).collect();
    assert_eq!(names, ["billing", "10.0.0.6:6379", "10.0.0.7:6379"]);
    let clusters: Vec<_> = targets[3..].iter().map(|target| target.cluster().to_string()).collect();
    assert_eq!(clusters, ["sessions", "carts"]);
}
