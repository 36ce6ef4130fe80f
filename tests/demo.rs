//! `make demo`: its steps, the fix that it names when one fails, and that nothing is left when it is stopped. A script
//! replaces cargo, since the programs are built already.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::prometheus::prometheus;
use crate::support::server::any_binary;
use crate::support::{eventually, project};

/// The demo's environment: a folder of programs that comes first on PATH, a folder for temporary files, and one for the
/// programs that the demo builds.
struct Demo {
    programs: TempDir,
    temporary: TempDir,
    built: Built,
}

/// A folder below `target`, removed on drop.
struct Built(PathBuf);

impl Drop for Built {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Demo {
    /// The demo with this shell script in place of cargo, and a server and a Prometheus that never listen.
    fn building(name: &str, cargo: &str) -> Self {
        let [programs, temporary] = [(); 2].map(|()| TempDir::new().expect("a folder"));
        let built = Built(project(&format!("target/demo-{name}-{}", std::process::id())));
        let demo = Self { programs, temporary, built };
        demo.install("cargo", cargo);
        for program in ["redis-server", "prometheus"] {
            demo.install(program, "exec sleep 600");
        }
        demo
    }

    fn install(&self, name: &str, script: &str) {
        let path = self.programs.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("we own it");
    }

    fn command(&self) -> Command {
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").expect("PATH is set"));
        // A shell cannot trap a signal that was ignored when it started, as it is for a program in the background.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,TERM", "bash"])
            .arg(project("deploy/demo/run"))
            .env("PATH", path)
            .env("TMPDIR", self.temporary.path())
            .env("DEMO_PROFILE", self.built.0.file_name().expect("a name"))
            .env_remove("DEMO_SECONDS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self) -> (Output, [String; 2]) {
        let output = self.command().output().expect("bash runs");
        let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        self.leaves_no_files();
        (output, texts)
    }

    fn leaves_no_files(&self) {
        let left: Vec<_> = fs::read_dir(self.temporary.path()).expect("a folder").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn is_running(pid: &str) -> bool {
    // A process that has ended is listed as a zombie until its parent waits for it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Returns the processes that wrote their pid into this file, one a line, once there are this many.
fn pids(path: &Path, count: usize) -> Vec<String> {
    eventually("the processes have started", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        (text.lines().count() == count && text.ends_with('\n')).then(|| text.lines().map(str::to_owned).collect())
    })
}

/// Waits for its end. Returns true if it succeeded.
fn succeeds(demo: &mut Child) -> bool {
    let ended = eventually("the demo ends", || demo.try_wait().expect("it can be waited for"));
    ended.success()
}

fn send(signal: &str, demo: &Child) {
    let status = Command::new("kill").args(["-s", signal, &demo.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn the_demo_shows_its_steps_and_commands_that_can_be_run() {
    let (Some(binary), Some(prometheus)) = (any_binary(), prometheus()) else { return };
    let demo = Demo::building("steps", "");
    fs::create_dir(&demo.built.0).expect("a folder");
    let exporter = env!("CARGO_BIN_EXE_redis-client-exporter");
    for (name, program) in [("redis-client-exporter", exporter), ("crowd", env!("CARGO_BIN_EXE_crowd"))] {
        symlink(program, demo.built.0.join(name)).expect("a link");
    }
    demo.install("redis-server", &format!("exec {} \"$@\"", binary.path.display()));
    demo.install("prometheus", &format!("exec {} \"$@\"", prometheus.display()));
    let output = demo.command().env("DEMO_SECONDS", "0").output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let steps: Vec<_> = text.lines().filter_map(|line| line.split_once("/4  ")).map(|(number, _)| number).collect();
    assert_eq!(steps, ["1", "2", "3", "4"], "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with(" s)")).count(), 4, "{text}");
    assert!(text.contains("redis_clients_app_connections{"), "{text}");
    let commands: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let commands: Vec<_> = commands.into_iter().filter(|word| word.starts_with("target/")).collect();
    assert_eq!(commands.len(), 3, "{text}");
    assert!(commands.iter().all(|path| project(path).exists()), "{commands:?}");
    demo.leaves_no_files();
}

#[test]
fn the_demo_names_the_fix_of_a_failed_build() {
    for (error, fix) in [
        ("error: rustc 1.80.0 is not supported by the following package:", "rustup update stable"),
        ("error: linker `cc` not found", "apt-get install gcc"),
        ("error: failed to download from `https://example.org`", "check the network"),
        ("error[E0308]: mismatched types", "fix the error above"),
    ] {
        let demo =
            Demo::building("failed", &format!("echo '   Compiling libc v0.2' >&2; echo '{error}' >&2; exit 101"));
        let (output, [_, printed]) = demo.run();
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains(error) && printed.contains(fix) && !printed.contains("Compiling"), "{printed}");
    }
}

/// Meanwhile another process listens on its port, as when two demos start at once.
#[test]
fn the_demo_names_the_fix_of_a_server_that_does_not_start() {
    let demo = Demo::building("server", "");
    let another = "python3 -m http.server --bind 127.0.0.1 \"$2\" > /dev/null 2>&1 &";
    demo.install("redis-server", &format!("{another} sleep 1; echo no memory >&2; exit 1"));
    let (output, [_, printed]) = demo.run();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("no memory\ndemo: Redis did not start"), "{printed}");
    assert!(printed.contains("put another redis-server on PATH"), "{printed}");
}

#[test]
fn a_demo_that_is_stopped_during_a_step_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let demo = Demo::building("stopped", "");
        let list = demo.programs.path().join("pids");
        // A compiler that cargo has started, and cargo.
        let cargo = format!("sleep 600 & printf '%s\\n' $! $$ > '{}'; wait", list.display());
        demo.install("cargo", &cargo);
        let mut child = demo.command().spawn().expect("bash runs");
        let building = pids(&list, 2);
        send(signal, &child);
        assert!(succeeds(&mut child));
        assert!(building.iter().all(|pid| !is_running(pid)), "after {signal}");
        demo.leaves_no_files();

        // The server, which never listens.
        demo.install("cargo", "");
        demo.install("redis-server", &format!("echo $$ > '{}'; exec sleep 600", list.display()));
        fs::remove_file(&list).expect("it exists");
        let mut child = demo.command().spawn().expect("bash runs");
        let server = pids(&list, 1);
        send(signal, &child);
        assert!(succeeds(&mut child));
        assert!(!is_running(&server[0]), "after {signal}");
        demo.leaves_no_files();
    }
}
