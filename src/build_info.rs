//! The revision, the compiler and the platform of this build, for `--version` and a metric. `build.rs` sets them.

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Git commit of the sources, or `unknown`. Changes that are not committed are not visible in it.
pub const REVISION: &str = env!("BUILD_REVISION");

/// Version of the compiler.
pub const RUSTC: &str = env!("BUILD_RUSTC");

/// The platform that the program is built for, as a target triple.
pub const PLATFORM: &str = env!("BUILD_PLATFORM");

/// All of it, for `--version`.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\n  revision: ",
    env!("BUILD_REVISION"),
    "\n  rustc:    ",
    env!("BUILD_RUSTC"),
    "\n  platform: ",
    env!("BUILD_PLATFORM"),
);
