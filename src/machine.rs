//! The machine on which this program runs: its name, and whether it is a container.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Maximum length of a host name, in bytes. The kernel of Linux allows no more.
const MAX_NAME: usize = 64;

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The host name: letters, digits, `.`, `-` and `_`; empty if it is unknown or names no machine, like `localhost`.
    pub name: String,
    /// True in an application container, whose host name is another one in each new container. System containers
    /// (LXC, systemd-nspawn) keep their names, so they count as machines.
    pub is_container: bool,
}

impl Machine {
    /// Asks the kernel for the name, and looks for the marks of a container.
    pub fn read() -> Self {
        let name = rustix::system::uname();
        Self::new(name.nodename().to_bytes(), Path::new("/"), |name| env::var_os(name))
    }

    /// The name to show for this machine: `localhost` if it has none.
    pub fn shown(&self) -> &str {
        if self.name.is_empty() { "localhost" } else { &self.name }
    }

    /// A machine with a name as the kernel reports it, the files below `root`, and environment variables.
    fn new(name: &[u8], root: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_container = VARIABLES.iter().any(|name| variable(name).is_some_and(|value| !value.is_empty()))
            || variable("container").is_some_and(|kind| kind == "podman" || kind == "oci" || kind == "docker")
            || FILES.iter().any(|file| root.join(file).exists())
            || fs::read_to_string(root.join("proc/self/cgroup")).is_ok_and(|text| is_container_cgroup(&text));
        Self { name: usable(name), is_container }
    }
}

/// Variables that orchestrators set in every container.
const VARIABLES: [&str; 3] = ["KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4", "NOMAD_ALLOC_ID"];

/// Files that Docker and Podman create in every container.
const FILES: [&str; 2] = [".dockerenv", "run/.containerenv"];

/// True if a control group is one that a container engine creates: `/docker/<id>`, `/kubepods.slice/…`,
/// `/machine.slice/libpod-<id>.scope`. In a container with a namespace of its own it is `/`, which tells nothing.
fn is_container_cgroup(text: &str) -> bool {
    let path = |line: &str| line.splitn(3, ':').nth(2).unwrap_or_default().to_owned();
    text.lines().map(path).any(|path| {
        path.split('/').any(|part| {
            let is_scope = part.ends_with(".scope") && SCOPES.iter().any(|begin| part.starts_with(begin));
            is_scope || matches!(part, "docker" | "kubepods" | "ecs" | "libpod_parent") || part.starts_with("kubepods.")
        })
    })
}

/// The beginnings of the names of scopes that container engines create.
const SCOPES: [&str; 4] = ["docker-", "libpod-", "cri-containerd-", "crio-"];

/// A host name with nothing in it that a label, a log or a terminal would have to escape. Other bytes become `_`.
fn usable(name: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    let plain = |byte: &u8| if is_plain(byte) { char::from(*byte) } else { '_' };
    let name: String = name.iter().take(MAX_NAME).map(plain).collect();
    let first = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    // The name of a machine without one is "localhost", and "(none)" before one is set.
    if first == "localhost" || name.bytes().all(|byte| !byte.is_ascii_alphanumeric()) || name == "_none_" {
        return String::new();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Machine {
        let root = tempfile::tempdir().expect("a folder");
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let variable = |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| value.into());
        Machine::new(b"db-1", root.path(), variable)
    }

    #[test]
    fn containers_are_told_from_machines() {
        let cgroup = |text| machine(&[("proc/self/cgroup", text)], &[]).is_container;
        for (what, found) in [
            ("docker", machine(&[(".dockerenv", "")], &[]).is_container),
            ("podman", machine(&[("run/.containerenv", "engine=\"podman\"")], &[]).is_container),
            ("kubernetes", machine(&[], &[("KUBERNETES_SERVICE_HOST", "10.96.0.1")]).is_container),
            ("podman's variable", machine(&[], &[("container", "podman")]).is_container),
            ("ecs", machine(&[], &[("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x")]).is_container),
            ("docker, v1", cgroup("12:pids:/docker/0123\n0::/")),
            ("docker, v2", cgroup("0::/system.slice/docker-0123.scope\n")),
            ("kubernetes, v1", cgroup("4:memory:/kubepods/burstable/pod12/0123\n")),
            ("containerd", cgroup("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-01.scope\n")),
            ("podman's group", cgroup("0::/machine.slice/libpod-0123.scope/container\n")),
        ] {
            assert!(found, "{what}");
        }
        for (what, found) in [
            ("nothing", machine(&[], &[]).is_container),
            ("an empty variable", machine(&[], &[("KUBERNETES_SERVICE_HOST", "")]).is_container),
            ("a system container", machine(&[], &[("container", "lxc")]).is_container),
            ("a service", cgroup("0::/system.slice/redis-client-exporter.service\n")),
            ("a service of that name", cgroup("0::/system.slice/docker-metrics.service\n")),
            ("a session", cgroup("1:name=systemd:/user.slice/user-0.slice/session-1.scope\n")),
        ] {
            assert!(!found, "{what}");
        }
    }

    #[test]
    fn a_host_name_is_plain_text_and_names_a_machine() {
        for (name, expected) in [
            (&b"db-1"[..], "db-1"),
            (b"db_1.example.org", "db_1.example.org"),
            (b"a\"b\\c\n{x=\"y\"} d\x1b[31m\xff", "a_b_c__x__y___d__31m_"),
            (b"u:p@h/../x?y#z", "u_p_h_.._x_y_z"),
            (&[b'x'; 300], &"x".repeat(64)),
            (b"localhost", ""),
            (b"LOCALHOST.localdomain", ""),
            (b"(none)", ""),
            (b"", ""),
            (b"...", ""),
        ] {
            assert_eq!(usable(name), expected);
        }
        assert_eq!(Machine::read(), Machine::read());
    }
}
