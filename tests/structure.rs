//! The structure of the source: modules depend only on modules nearer to the source of the flow, and each of the large
//! libraries is used in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::project;

/// The libraries that are used in some modules only.
const CONFINED: [(&str, &[&str]); 4] =
    [("redis", &["link"]), ("prometheus", &["exposition"]), ("hyper", &["web"]), ("clap", &["cli", "command", "main"])];

/// The Rust files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match entry.extension() {
            _ if entry.is_dir() => files(&entry, found),
            Some(extension) if extension == "rs" => found.push(entry),
            _ => {}
        }
    }
}

/// The code of each module at the top level, by its name, without tests and comments.
fn modules() -> BTreeMap<String, String> {
    let (top, mut found, mut modules) = (project("src"), Vec::new(), BTreeMap::<String, String>::new());
    files(&top, &mut found);
    for path in found {
        let inside = path.strip_prefix(&top).expect("it is below src");
        let name = inside.components().next().expect("a name").as_os_str().to_string_lossy().replace(".rs", "");
        let text = fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_below_tests = inside.components().any(|part| part.as_os_str() == "tests");
        let is_test = is_below_tests || inside.ends_with("tests.rs") || inside.ends_with("openapi.rs");
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//") && !is_test);
        modules.entry(name).or_default().extend(lines.flat_map(|line| [line, "\n"]));
    }
    modules
}

/// The names after `crate::` or another path prefix.
fn names_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let begins = code.match_indices(prefix).filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
    });
    begins
        .map(|(at, _)| {
            let rest = &code[at + prefix.len()..];
            &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
        })
        .collect()
}

/// The modules of `src/lib.rs` with the number of their block: a block is a list without an empty line.
fn blocks() -> BTreeMap<String, usize> {
    let lib = fs::read_to_string(project("src/lib.rs")).expect("src/lib.rs");
    let blocks = lib.split("\n\n").enumerate();
    let names = |block: &str| -> Vec<String> {
        let name = |line: &str| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned);
        block.lines().filter_map(name).collect()
    };
    blocks.flat_map(|(number, block)| names(block).into_iter().map(move |name| (name, number))).collect()
}

#[test]
fn a_module_depends_only_on_modules_nearer_to_the_source_of_the_flow() {
    let (blocks, modules) = (blocks(), modules());
    assert!(blocks.len() > 20 && modules.len() > blocks.len(), "{blocks:?}");
    let mut faults = Vec::new();
    assert!(modules.values().all(|code| !code.contains("crate::{")), "write one `use` for each module");
    for (module, code) in modules.iter().filter(|(module, _)| !["lib", "main"].contains(&module.as_str())) {
        for used in names_after(code, "crate::") {
            let Some(of_used) = blocks.get(used) else { continue };
            if of_used > &blocks[module] {
                faults.push(format!("{module} uses {used}, which is further down in src/lib.rs"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_library_of_one_task_is_used_in_one_place() {
    let modules = modules();
    for (library, allowed) in CONFINED {
        let prefix = format!("{library}::");
        let users = modules.iter().filter(|(_, code)| !names_after(code, &prefix).is_empty());
        let users: BTreeSet<&str> = users.map(|(module, _)| module.as_str()).collect();
        assert!(users.is_subset(&allowed.iter().copied().collect()), "{library} is used in {users:?}");
        assert!(users.contains(allowed[0]), "{library} is used in {users:?}");
    }
}

#[test]
fn the_walks_of_the_architecture_name_functions_that_exist() {
    let text = fs::read_to_string(project("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let steps = text.split('`').filter_map(|code| code.split_once(".rs: "));
    let mut count = 0;
    for (file, function) in steps {
        let path = project("src").join(format!("{file}.rs"));
        let code = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = function.rsplit("::").next().unwrap_or(function);
        let is_defined = code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"));
        assert!(is_defined, "{file}.rs has no function {name}");
        count += 1;
    }
    assert!(count > 30, "{count} steps");
}

#[test]
fn the_architecture_names_every_module() {
    let text = fs::read_to_string(project("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let named: BTreeSet<&str> =
        text.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('`')).collect();
    let is_named = |module: &String| named.iter().any(|name| name.split("::").next() == Some(module));
    // Only in tests, where the section about them names it.
    let missing: Vec<String> = blocks().into_keys().filter(|module| !is_named(module)).collect();
    assert_eq!(missing, ["fuzzing"], "without a row in its table");
}

/// The numbers of SECURITY.md, each with the code that it is from.
const BOUNDS: [(&str, &str, &str); 36] = [
    (
        "src/link/mod.rs",
        "MAX_CONFIRMATION: u64 = 4096;",
        "that only confirms; a line of the protocol, such as an error | 4 KiB",
    ),
    ("src/link/reply_reader.rs", "MAX_LINE: u64 = 4096;", "a line of the protocol, such as an error | 4 KiB"),
    ("src/link/command.rs", "Command::InfoCommandStats => 1024 * 1024,", "`INFO`, `CLUSTER INFO` | 1 MiB,"),
    ("src/link/command.rs", "Command::ClusterInfo => 64 * 1024,", "`CLUSTER INFO` | 1 MiB, 64 KiB"),
    ("src/link/mod.rs", "MAX_REPLY: u64 = 128 * 1024 * 1024;", "a listing | 128 MiB"),
    ("src/link/subscription.rs", "MAX_ELEMENTS: u64 = 8;", "at most 8 elements"),
    ("src/link/subscription.rs", "MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);", "after its first byte | 30 s"),
    ("src/link/subscription.rs", "MAX_OTHERS: u32 = 100;", "100 replies in a row"),
    ("src/memory.rs", "DEFAULT_LIMIT: u64 = 256 * 1024 * 1024;", "`--sample.max-memory` (256 MiB)"),
    ("src/memory.rs", "LINE_BYTES: u64 = 256;", "its text and 256 bytes"),
    ("src/memory.rs", "FREE_PER_NODE: u64 = 2 * 1024 * 1024;", "2 MiB more for each server"),
    ("src/client_list/line.rs", "MAX_ROW: usize = u16::MAX as usize;", "a row, a value shown as a label | 64 KiB"),
    ("src/text.rs", "MAX_LABEL: usize = 128;", "64 KiB, 128 bytes"),
    ("src/snapshot/closed.rs", "MAX_CLOSED: usize = 10_000;", "closed clients that are remembered | 10,000"),
    ("src/status/message.rs", "MAX_MESSAGE: usize = 64 * 1024;", "a message | 64 KiB"),
    ("src/announce/channel_group.rs", "MAX_PER_SECOND: u32 = 300;", "300 a second"),
    ("src/status/receiver.rs", "MAX_PARTS: u32 = 256;", "256 parts"),
    ("src/status/assembly.rs", "MAX_ROW_BYTES: usize = 64 << 20;", "64 MiB of rows"),
    ("src/status/receiver.rs", "MAX_PARTIALS: usize = 4;", "4 incomplete ones"),
    ("src/status/receiver.rs", "MAX_ANNOUNCERS: usize = 64;", "remembered | 64, 256"),
    ("src/status/receiver.rs", "MAX_RECENT: usize = 256;", "remembered | 64, 256"),
    ("src/web/accept.rs", "slots: 256,", "connections | 256,"),
    ("src/web/accept.rs", "slots_per_source: 128,", "128 of them for one peer"),
    ("src/web/accept.rs", "grace: Duration::from_millis(500),", "New ones have 0.5 s"),
    ("src/web/accept.rs", "SOCKETS_PER_SLOT: usize = 2;", "2 for each connection"),
    ("src/web/accept.rs", "MAX_HEAD: usize = 16 * 1024;", "a TLS handshake | 16 KiB"),
    ("src/web/accept.rs", "head: Duration::from_secs(20),", "16 KiB; 20 s"),
    ("src/web/accept.rs", "handshake: Duration::from_secs(10),", "20 s and 10 s."),
    ("src/web/accept.rs", "silent: Duration::from_secs(2),", "2 s while more than half"),
    ("src/web/accept.rs", "write: Duration::from_secs(30),", "an answer that is not read | 30 s"),
    ("src/web/events.rs", "MAX_STREAMS: usize = 200;", "event streams, exports | 200"),
    ("src/web/export.rs", "MAX_EXPORTS: usize = 4;", "200 and 4, half"),
    ("src/web/query.rs", "MAX_WINDOW: usize = 1000;", "1,000 rows"),
    ("src/web/query.rs", "MAX_QUERY_BYTES: usize = 4096;", "1,000 rows, 4 KiB"),
    ("src/web/auth.rs", "MAX_COMPARISONS: usize = 1;", "1 is compared at once"),
    ("src/web/auth.rs", "MAX_VERIFIED: usize = 128;", "128 verified ones"),
];

#[test]
fn the_bounds_in_the_security_policy_are_those_of_the_code() {
    let policy = fs::read_to_string(project(".github/SECURITY.md")).expect("the policy");
    for (file, code, promise) in BOUNDS {
        assert!(fs::read_to_string(project(file)).expect("a source file").contains(code), "{file}: {code}");
        assert!(policy.contains(promise), "SECURITY.md does not promise: {promise}");
    }
}

#[test]
fn every_fault_of_the_reliability_page_has_a_test_that_exists() {
    let page = fs::read_to_string(project("docs/reliability.md")).expect("the page");
    let mut checked = 0;
    let faults = page.split("\n## Figures").next().unwrap_or_default();
    for row in faults.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault")) {
        let tests: Vec<_> = row.split('`').filter_map(|code| code.split_once("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for (module, name) in tests {
            let code = fs::read_to_string(project(&format!("tests/{module}.rs"))).unwrap_or_default();
            assert!(code.contains(&format!("fn {name}(")), "{module}::{name} does not exist");
            checked += 1;
        }
    }
    assert!(checked > 35, "{checked}");
}
