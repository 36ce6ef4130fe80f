//! Passes the revision, the compiler and the platform to `src/build_info.rs`.
//!
//! `BUILD_REVISION` sets the revision of a build without a Git repository, such as the one of the image. Otherwise it
//! is the commit that is checked out, and without a repository `unknown`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_REVISION");
    let given = env::var("BUILD_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = given.or_else(checked_out).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_REVISION={revision}");
    let rustc = env::var_os("RUSTC").and_then(|rustc| answer(Command::new(rustc).arg("--version")));
    // rustc 1.95.0 (f2d3ce0bd 2026-03-21)
    let version = rustc.as_deref().and_then(|rustc| rustc.split(' ').nth(1)).unwrap_or("unknown");
    println!("cargo::rustc-env=BUILD_RUSTC={version}");
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_PLATFORM={target}");
}

/// Returns the commit that is checked out. A repository that contains this folder without being its own, such as that
/// of a vendored copy, has another history.
fn checked_out() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let git_dir = PathBuf::from(git(&["rev-parse", "--absolute-git-dir"])?);
    // The reflog grows with each commit and each checkout, in a linked worktree too. Without it, HEAD and the branches
    // change.
    let reflog = git_dir.join("logs/HEAD");
    let watched = if reflog.exists() {
        vec![reflog]
    } else {
        vec![git_dir.join("HEAD"), git_dir.join("packed-refs"), git_dir.join("refs/heads")]
    };
    // Cargo runs this script again for each build if a watched file is missing.
    for path in watched.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    git(&["rev-parse", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    answer(Command::new("git").args(args))
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
