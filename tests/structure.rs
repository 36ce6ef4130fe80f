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

#[test]
fn every_fault_of_the_reliability_page_has_a_test_that_exists() {
    let page = fs::read_to_string(project("docs/reliability.md")).expect("the page");
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault")) {
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
