//! The container image, tested without Docker: the instructions of its Dockerfile, and the static program in a root
//! folder that contains only what the Dockerfile puts there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::deployment::{must_succeed, printed, read, tool};
use crate::security::tls_server;
use crate::support::certificates::Certificates;
use crate::support::exporter::{Exporter, run};
use crate::support::project;
use crate::support::server::{free_port, missing};

const DOCKERFILE: &str = "deploy/Dockerfile";

/// Returns the instructions of the Dockerfile, each in one line.
fn instructions() -> Vec<(String, String)> {
    let text = read(DOCKERFILE);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = joined.lines().filter_map(|line| line.split_once(' '));
    split.map(|(name, rest)| (name.to_owned(), rest.trim().to_owned())).collect()
}

/// The instructions of the image: the stage `binary`, and the last stage, which is built on it.
struct Image(Vec<(String, String)>);

impl Image {
    fn read() -> Self {
        let all = instructions();
        let binary = all.iter().position(|(name, rest)| name == "FROM" && rest == "scratch AS binary");
        let of_binary = binary.expect("a stage from scratch");
        assert_eq!(all.iter().rfind(|(name, _)| name == "FROM").map(|(_, rest)| &**rest), Some("binary"));
        Self(all[of_binary..].to_vec())
    }

    fn only(&self, instruction: &str) -> &str {
        let mut found = self.0.iter().filter(|(name, _)| name == instruction);
        let (_, rest) = found.next().unwrap_or_else(|| panic!("no {instruction}"));
        assert!(found.next().is_none(), "{instruction} twice");
        rest
    }

    /// Returns the files of the image, each with its path in the build stage.
    fn files(&self) -> BTreeMap<&str, &str> {
        let copies = self.0.iter().filter(|(name, _)| name == "COPY").map(|(_, rest)| {
            let rest = rest.strip_prefix("--from=build ").expect("it is copied from the build stage");
            let (from, to) = rest.split_once(' ').expect("a source and a destination");
            (to, from)
        });
        copies.collect()
    }

    /// Parses a command in exec form. An image without a shell needs this form.
    fn exec_form(text: &str) -> Vec<String> {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn entrypoint(&self) -> Vec<String> {
        Self::exec_form(self.only("ENTRYPOINT"))
    }

    fn health_check(&self) -> Vec<String> {
        Self::exec_form(self.only("HEALTHCHECK").split_once("CMD ").expect("a command").1)
    }
}

#[test]
fn the_dockerfile_passes_lint_and_the_image_runs_without_root() {
    if let Some(hadolint) = tool("venv/bin/hadolint") {
        must_succeed(Command::new(&hadolint).args(["--no-color", DOCKERFILE]), "");
    }
    let image = Image::read();
    let (user, group) = image.only("USER").split_once(':').expect("a user and a group");
    assert!([user, group].iter().all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}:{group}");
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    assert!(help.contains(&format!("[default: :{}]", image.only("EXPOSE"))));
    assert_eq!(image.entrypoint(), ["/redis-client-exporter"]);
    assert_eq!(image.health_check(), ["/redis-client-exporter", "healthy"]);
}

/// The toolchain is recent enough, and the build context has every file that cargo needs.
#[test]
fn the_build_context_is_complete() {
    let all = instructions();
    let toolchain = all[0].1.strip_prefix("rust:").and_then(|rest| rest.strip_suffix("-alpine AS build"));
    let version = |text: &str| text.split('.').map(|part| part.parse().expect("a number")).collect::<Vec<u32>>();
    let min = read("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ").map(str::to_owned));
    assert!(version(toolchain.expect("Alpine's")) >= version(min.expect("a version").trim_matches('"')));

    let ignored = read("deploy/Dockerfile.dockerignore");
    let sent: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copies = all.iter().filter(|(name, rest)| name == "COPY" && !rest.starts_with("--from"));
    let copied = copies.flat_map(|(_, rest)| rest.rsplit_once(' ').expect("a place").0.split(' ').collect::<Vec<_>>());
    assert_eq!(copied.collect::<BTreeSet<_>>(), sent);

    let folder = TempDir::new().expect("a folder");
    for name in sent {
        must_succeed(Command::new("cp").arg("-r").arg(project(name)).arg(folder.path()), "");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = ["metadata", "--offline", "--locked", "--format-version=1", "--no-deps"];
    let metadata = must_succeed(Command::new(cargo).args(metadata).current_dir(folder.path()), "");
    assert!(metadata.contains(r#""name":"redis-client-exporter""#));
    assert!(folder.path().join("src/main.rs").exists() && folder.path().join("Cargo.lock").exists());
}

/// Returns the static program that `make static` builds.
fn static_program() -> Option<PathBuf> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let path = project(&format!("target/static/{target}/release/redis-client-exporter"));
    let found = path.exists();
    if !found {
        missing(&format!("{} (make static)", path.display()));
    }
    found.then_some(path)
}

/// A root folder like that of a container: the files of the image, and /etc/hosts, which container runtimes add.
struct Root {
    folder: TempDir,
    user: String,
}

impl Root {
    fn of(image: &Image, program: &Path, authorities: &Path) -> Self {
        let folder = TempDir::new().expect("a folder");
        let root = Self { folder, user: image.only("USER").to_owned() };
        // Every user may enter a container's root folder.
        fs::set_permissions(root.folder.path(), fs::Permissions::from_mode(0o755)).expect("we own it");
        for (to, from) in image.files() {
            let built = match from {
                "/redis-client-exporter" => program,
                "/etc/ssl/certs/ca-certificates.crt" => authorities,
                other => panic!("{other} is in the image, but this test does not know it"),
            };
            root.add(to, &fs::read(built).expect("a file"));
        }
        root
    }

    fn add(&self, name: &str, content: &[u8]) {
        let path = self.folder.path().join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("we own it");
    }

    /// Lists every file in it.
    fn listing(&self) -> String {
        must_succeed(Command::new("find").args([".", "!", "-type", "d"]).current_dir(self.folder.path()), "")
    }

    /// Returns a command that runs in it as the user of the image. Without root, it runs as the only user of a new
    /// namespace.
    fn command(&self, args: &[String], environment: &[(&str, &str)]) -> Command {
        let is_root = fs::metadata("/proc/self").expect("a process").uid() == 0;
        let mut command = if is_root {
            let mut command = Command::new("chroot");
            command.arg(format!("--userspec={}", self.user));
            command
        } else {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "chroot"]);
            command
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.arg(self.folder.path()).args(args).env_clear().env("PATH", path).envs(environment.iter().copied());
        command
    }
}

/// The static program resolves names, finds the system's certificate authorities and binds its address without other
/// files.
#[test]
fn the_static_program_needs_no_other_files() {
    let Some(program) = static_program() else { return };
    let certificates = Certificates::new();
    let Some(server) = tls_server(&certificates, "no") else { return };
    let image = Image::read();
    let root = Root::of(&image, &program, &certificates.path("ca.crt"));
    let mut files: Vec<_> = root.listing().lines().map(str::to_owned).collect();
    files.sort();
    assert_eq!(files, ["./etc/ssl/certs/ca-certificates.crt", "./redis-client-exporter"]);
    root.add("/etc/hosts", b"127.0.0.1 localhost\n");

    let redis = format!("rediss://localhost:{}", server.port);
    let address = format!("127.0.0.1:{}", free_port());
    let environment = [("REDIS_ADDR", redis.as_str()), ("WEB_LISTEN_ADDRESS", &address)];
    let healthy = || root.command(&image.health_check(), &environment).output().expect("it starts");
    let before = healthy();
    assert_eq!(before.status.code(), Some(1), "{}", printed(&before));
    assert!(printed(&before).contains("nothing listens"), "{}", printed(&before));

    let mut exporter = Exporter::spawn(&mut root.command(&image.entrypoint(), &environment));
    exporter.scrape_until("up", |scrape| scrape.value("redis_clients_up", &[]) == Some(1.0));
    let owner = fs::metadata(format!("/proc/{}", exporter.pid())).expect("it runs").uid();
    assert_ne!(owner, 0, "it does not run as root");
    let after = healthy();
    assert_eq!(after.status.code(), Some(0), "{}", printed(&after));
    let check = [image.entrypoint(), vec!["check".to_owned()]].concat();
    let checked = root.command(&check, &environment).output().expect("it starts");
    assert_eq!(checked.status.code(), Some(0), "{}", printed(&checked));
    exporter.signal("TERM");
    assert_eq!(exporter.wait().code(), Some(0));
}
