//! The operator's small files that are polled for changes: detection of a change, and bounded reading.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The interval of checks for a change.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The state of a file at one check: inode, size and modification time. It also changes when a symbolic link is
/// replaced, as Kubernetes does for mounted volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    path: PathBuf,
    stamp: Option<(u64, u64, i64, i64)>,
}

impl FileState {
    /// The current state of a file, which need not exist.
    pub fn at(path: &Path) -> Self {
        let stamp = fs::metadata(path).ok().map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec()));
        Self { path: path.to_owned(), stamp }
    }

    /// The current state of the same file.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::at(&self.path)
    }
}

/// Reads a file.
///
/// # Errors
/// The reason why it cannot be read, without its name.
pub fn read(path: &Path) -> Result<String, String> {
    // Reading a pipe could block forever.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    Ok(text)
}
