//! Tests of the files: what is accepted, what is refused, and what follows from a change.

use std::fs;

use super::*;
use crate::discovery::TargetKind;
use crate::followed_file::POLL_INTERVAL;
use crate::link::Endpoint;

/// A folder with the files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(targets: &str, modules: Option<&str>) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.write("targets.yml", targets);
        files.write("password", "hush-1");
        if let Some(modules) = modules {
            files.write("auth.yml", modules);
        }
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file");
    }

    fn sources(&self, name: &str) -> TargetSources {
        let path = |name: &str| self.0.path().join(name);
        TargetSources {
            targets_file: path(name),
            auth_file: Some(path("auth.yml")).filter(|file| file.exists()),
            given: Vec::new(),
            defaults: DefaultAccess {
                user: None,
                password: None,
                sentinel_credentials: None,
                tls: TlsOptions::default(),
                timeout: Duration::from_secs(1),
            },
            machine: Machine { name: "db-1".to_owned(), is_container: false },
            max_targets: 100,
        }
    }
}

/// Reads a file with targets.
fn read(targets: &str, modules: Option<&str>) -> Result<Vec<Target>, String> {
    let files = Files::new(targets, modules);
    TargetsFile::read(files.sources("targets.yml")).map(|(targets, _)| targets).map_err(|faults| faults.join("\n"))
}

fn node(target: &Target) -> &Node {
    target.node().expect("one server")
}

const YAML: &str = "
- targets: [redis://10.0.0.5:6379]
  labels: {__name: billing, cluster: shop, team: payments, __meta_ec2: x, __scheme__: http, empty: ''}
- targets: ['10.0.0.6', 'unix:///run/redis.sock', rediss://10.0.0.7:6380]
- targets: ['redis+cluster://10.0.1.1,10.0.1.2']
  labels: {cluster: sessions}
- targets: ['rediss+cluster://10.0.2.1']
  labels: {__name: carts}
";

#[test]
fn both_formats_have_the_targets_with_names_and_labels() {
    let json: serde_json::Value = serde_saphyr::from_str(YAML).expect("YAML");
    let files = Files::new(YAML, None);
    files.write("targets.json", &format!("\u{feff}{json:#}").replace("  ", "\t"));
    for name in ["targets.yml", "targets.json"] {
        let (targets, file) = TargetsFile::read(files.sources(name)).expect(name);
        assert!(file.notes().is_empty(), "{:?}", file.notes());
        let names: Vec<_> = targets.iter().filter_map(Target::node).map(|node| node.name.to_string()).collect();
        assert_eq!(names, ["billing", "10.0.0.6:6379", "db-1:/run/redis.sock", "10.0.0.7:6380"], "{name}");
        let origin = &node(&targets[0]).origin;
        assert_eq!((&*origin.target, &*origin.cluster), ("10.0.0.5:6379", "shop"));
        let labels: Vec<_> = origin.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["cluster=shop", "team=payments"], "neither ours, nor those of Prometheus, nor empty ones");
        assert!(node(&targets[3]).address.endpoint.is_tls());
        let clusters: Vec<_> = targets[4..].iter().map(|target| target.cluster().to_string()).collect();
        assert_eq!(clusters, ["sessions", "carts"]);
        assert!(matches!(&targets[5].kind, TargetKind::Cluster { seeds } if seeds.iter().all(Endpoint::is_tls)));
    }
    assert!(read("[]", None).is_ok_and(|targets| targets.is_empty()), "an empty list is valid");
}

#[test]
fn a_file_with_a_fault_is_refused_as_a_whole_without_quoting_secrets() {
    let many =
        format!("- targets: [{}]", (0..101).map(|port| format!("'h:{}'", port + 1)).collect::<Vec<_>>().join(","));
    let labels = |labels: &str| format!("- targets: [ok]\n- targets: [h]\n  labels: {labels}");
    let long = labels(&format!("{{team: {}}}", "x".repeat(257)));
    let much = labels(&format!("{{{}}}", (0..33).map(|label| format!("l{label}: x")).collect::<Vec<_>>().join(", ")));
    for (text, fault) in [
        ("", "the file is empty"),
        ("# none\n", "the file is empty"),
        ("targets: [hush]", "a list of entries"),
        ("- [hush]", "a list of entries"),
        ("- targets: hush", "a list of entries"),
        ("- targets: [[hush]]", "a list of entries"),
        ("- labels: {a: hush}", "a list of entries"),
        ("- targets: [h]\n  hosts: hush", "line 2, column 3: unknown field hosts, expected targets, labels"),
        ("- targets: [h]\n  labels: [hush]", "line 2"),
        ("- targets: [h]\n  labels: {a: 1, a: hush}", "a name is set twice"),
        ("- targets: ['hush", "not valid YAML"),
        ("- targets: [a, 'redis://:hush@b']", "entry 1, target 2: a password cannot be in this file"),
        ("- targets: ['redis://me@b']", "a user without a password"),
        ("- targets: ['redis://:hu/sh@b']", "%2F"),
        ("- targets: ['']", "entry 1, target 1: the host is missing"),
        ("- targets: [a, b]\n  labels: {__name: c}", "entry 1: __name names one target; write an entry for each"),
        (
            "- targets: [a]\n  labels: {__name: c}\n- targets: [b]\n  labels: {__name: c}",
            "c is the name of a:6379, too",
        ),
        ("- targets: [a, redis+cluster://a]", "both a server and a cluster"),
        ("- targets: [redis+cluster://a]\n  labels: {__name: b, cluster: c}", "remove __name or cluster"),
        (&many, "there are 101 targets; raise --discovery.max-nodes, which is 100"),
        (&long, "at most 256 bytes"),
        (&much, "at most 32 are read"),
        (&labels("{__name: 'redis://:hush@h'}"), "entry 2: label 1, in the order of the names: labels are shown"),
        (&labels("{__name: 'hush@h'}"), "__name: an address is no name"),
        (&labels("{redis_password: hush}"), "a module of --redis.auth-file"),
        (&labels("{Token: hush}"), "cannot be in one"),
        (&labels("{api_token: hush}"), "cannot be in one"),
        (&labels("{secretName: hush}"), "cannot be in one"),
        (&labels("{docs: 'https://u:hush@h/x'}"), "cannot be in one"),
        (&labels("{hu-sh: x}"), "letters, digits and _"),
        (&labels("{0hush: x}"), "does not begin with a digit"),
        (&labels("{team: \"hush\\n\"}"), "without control characters"),
        (&labels("{__nam: hush}"), "__name and __auth are the only labels"),
        (&labels("{__auth: hush}"), "there is no --redis.auth-file"),
    ] {
        let faults = read(text, None).expect_err(text);
        assert!(
            faults.contains(fault) && faults.contains("--redis.targets-file: ") && !faults.contains("hush"),
            "{faults}"
        );
    }
    let files = Files::new("[]", None);
    for (text, fault) in [
        ("[{\"targets\": [\"hush\",]}]", "not valid JSON"),
        ("[{\"targets\": \"hush\"}]", "expected is a list of entries"),
        ("[{\"targets\": [], \"labels\": {\"a\": \"b\", \"a\": \"hush\"}}]", "a name is set twice"),
        ("[{\"targets\": [], \"target\": \"hush\"}]", "unknown field `target`"),
        (" ", "the file is empty"),
    ] {
        files.write("targets.json", text);
        let faults = TargetsFile::read(files.sources("targets.json")).expect_err(text).join("\n");
        assert!(faults.contains(fault) && !faults.contains("hush"), "{faults}");
    }
    for label in ["tokens_total: x", "passenger: x", "docs: 'https://h:1/a@b'", "mail: 'a:b@c'"] {
        assert!(read(&labels(&format!("{{{label}}}")), None).is_ok(), "{label} is no secret");
    }
}

/// Each would take much memory or time, if it were read.
#[test]
fn files_that_grow_while_they_are_read_are_refused() {
    let aliases = |depth: usize| {
        let begin = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        let level = |level: usize| {
            let before = format!("*a{}", level - 1);
            format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "))
        };
        (1..depth).fold(begin, |text, next| text + &level(next))
    };
    let entries = format!("- &e {{targets: [h], labels: &l {{a: b}}}}\n{}", "- *e\n".repeat(200_000));
    for text in [
        format!("[{}\"x\"]", "\"x\",".repeat(10_000_000 / 4)),
        aliases(12),
        format!("- targets: {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("- targets: {}", "- ".repeat(100_000)),
        "- targets: &a [*a]".to_owned(),
        entries,
    ] {
        for name in ["targets.yml", "targets.json"] {
            let files = Files::new("[]", None);
            files.write(name, &text);
            let faults = TargetsFile::read(files.sources(name)).expect_err("it is refused").join("\n");
            assert!(faults.len() < 1000, "{faults}");
        }
    }
    let many = "- targets: [h]\n  labels: {__oops: x}\n".repeat(90);
    let faults = read(&many, None).expect_err("each entry has a fault");
    assert!(faults.lines().count() == MAX_FAULTS + 1 && faults.contains("and 80 more"), "{faults}");
}

#[test]
fn a_server_that_is_there_twice_is_one_node_and_those_of_the_command_line_come_first() {
    let text = "- targets: [a, 'redis://A:6379/1', localhost, 127.0.0.1, c, redis+cluster://s]
- targets: [a, redis+cluster://s]
  labels: {team: x}";
    let files = Files::new(text, None);
    let mut sources = files.sources("targets.yml");
    let access = crate::discovery::Access {
        credentials: None,
        sentinel_credentials: None,
        tls: TlsOptions::default(),
        timeout: Duration::ZERO,
    };
    let form = crate::discovery::parse_target("c").expect("a target").form;
    sources.given.push(Target::new(form, access, Some("given"), &sources.machine));
    let (targets, file) = TargetsFile::read(sources.clone()).expect("valid");
    let names: Vec<_> = targets.iter().map(|target| target.name.to_string()).collect();
    assert_eq!(names, ["c:6379", "a:6379", "localhost:6379", "s:6379"]);
    let places =
        ["entry 1, target 2", "entry 1, target 4", "entry 1, target 5", "entry 2, target 1", "entry 2, target 2"];
    assert_eq!(file.notes().len(), places.len());
    for (note, place) in file.notes().iter().zip(places) {
        assert!(note.contains(place) && note.contains("is there already"), "{note}");
    }
    files.write("targets.yml", "- targets: [d]\n  labels: {__name: given}");
    let faults = TargetsFile::read(sources).expect_err("the name is in use").join("\n");
    assert!(faults.contains("given is the name of c:6379, too"), "{faults}");
}

#[test]
fn modules_give_their_targets_credentials_and_tls_and_have_no_passwords() {
    let modules = "
file: {user: me, password_file: password}
command: {password_command: [./token, --name, x], password_command_ttl: 1m}
tls: {tls_insecure_skip_verify: true}
";
    let targets = "
- {targets: [a], labels: {__auth: file}}
- {targets: [b], labels: {__auth: command}}
- {targets: ['rediss://c'], labels: {__auth: tls}}
- {targets: [d]}
";
    let targets = read(targets, Some(modules)).expect("valid");
    let credentials = |place: usize| targets[place].access.credentials.as_ref();
    let file = credentials(0).expect("a module");
    assert_eq!(file.user.as_deref(), Some("me"));
    assert!(matches!(&file.password, Password::File(file) if file.ends_with("password") && file.is_absolute()));
    assert!(credentials(1).is_some_and(|it| matches!(&it.password, Password::Command(_))));
    assert!(targets[2].access.tls.insecure_skip_verify && credentials(2).is_none() && credentials(3).is_none());
    for (targets, modules, fault) in [
        ("[]", "", "--redis.auth-file: "),
        ("[]", "- a", "names of modules"),
        ("[]", "m: hush", "names of modules"),
        ("[]", "m: {}", "module m: it is empty"),
        ("[]", "m: {password_file: password}\nm: {password_file: password}", "a name is set twice"),
        ("[]", "m: {password: hush}", "module m: a password cannot be in this file"),
        ("[]", "m: {user: me}", "a user without a password"),
        ("[]", "m: {password_file: missing}", "No such file"),
        ("[]", "m: {password_file: password, password_command: [a]}", "are both given"),
        ("[]", "m: {password_file: password, password_command_ttl: 1m}", "without password_command"),
        ("[]", "m: {password_command: aws hush}", "is a list of args, without a shell"),
        ("[]", "m: {password_command: []}", "password_command is empty"),
        ("[]", "m: {password_command: [a], password_command_ttl: soon}", "password_command_ttl: "),
        ("[]", "m: {tls_cert_file: a}", "tls_cert_file is given without tls_key_file"),
        ("[]", "m: {tls_ca_file: missing}", "module m: tls_…: "),
        ("[]", "m: {tls_server_name: a b}", "not a host name"),
        ("[]", "m: {usr: hush}", "unknown field usr"),
        ("- {targets: [a], labels: {__auth: hush}}", "m: {password_file: password}", "which has m"),
        ("- {targets: [me@a], labels: {__auth: m}}", "m: {password_file: password}", "a user beside __auth"),
        ("- {targets: [a], labels: {__auth: m}}", "m: {tls_insecure_skip_verify: true}", "write rediss://"),
    ] {
        let faults = read(targets, Some(modules)).expect_err(modules);
        assert!(faults.contains(fault) && !faults.contains("hush"), "{modules}: {faults}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_followed_and_a_file_with_a_fault_is_not_until_it_is_fixed() {
    let files = Files::new("- targets: [a]", Some("m: {password_command: [token]}"));
    let (targets, file) = TargetsFile::read(files.sources("targets.yml")).expect("valid");
    let (valid, insecure) = (file.validity(), file.insecure());
    let (sender, receiver) = watch::channel(targets);
    let following = tokio::spawn(file.follow(sender, watch::channel(()).1));
    let names = || receiver.borrow().iter().map(|target| target.name.to_string()).collect::<Vec<_>>().join(" ");
    let until = async |what: &str, names_then: &str, valid_then: bool| {
        // Only a hang takes this long.
        for _ in 0..6000 {
            tokio::time::sleep(POLL_INTERVAL / 100).await;
            if names() == names_then && valid.load(Ordering::Relaxed) == valid_then {
                return;
            }
        }
        panic!("{what}: {} {}", names(), valid.load(Ordering::Relaxed));
    };
    files.write("targets.yml", "- {targets: ['b', 'rediss://c'], labels: {__auth: m}}");
    until("a change", "b:6379 c:6379", true).await;
    let command = |place: usize| match &receiver.borrow()[place].access.credentials.as_ref().expect("a module").password
    {
        Password::Command(command) => Arc::clone(command),
        other => panic!("{other:?}"),
    };
    let before = command(0);
    files.write("targets.yml", "- targets: [b, redis://:hush@c]");
    until("a fault", "b:6379 c:6379", false).await;
    // The file is the same; the one that it needs appears.
    files.write("auth.yml", "m: {password_command: [token]}\nn: {password_file: later}");
    files.write("targets.yml", "- {targets: [b], labels: {__auth: m}}\n- {targets: [d], labels: {__auth: n}}");
    until("a missing file", "b:6379 c:6379", false).await;
    assert!(Arc::ptr_eq(&before, &command(0)));
    tokio::time::sleep(3 * POLL_INTERVAL).await;
    files.write("later", "hush");
    until("the file", "b:6379 d:6379", true).await;
    assert!(Arc::ptr_eq(&before, &command(0)), "the command keeps its password");
    assert!(!insecure.load(Ordering::Relaxed));
    files.write("auth.yml", "m: {tls_insecure_skip_verify: true}");
    files.write("targets.yml", "- {targets: [rediss://b], labels: {__auth: m}}");
    until("an insecure module", "b:6379", true).await;
    assert!(insecure.load(Ordering::Relaxed));
    files.write("targets.yml", "[]");
    until("an empty list", "", true).await;
    following.abort();
}
