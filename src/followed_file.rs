//! Small files of the operator's that are looked at again and again: whether one changed, and what is in it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a file is looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// The largest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A file as it was when it was looked at: what changes when a file does, also where a link is turned to another file,
/// as Kubernetes does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    path: PathBuf,
    stamp: Option<(u64, u64, i64, i64)>,
}

impl FileState {
    /// Looks at a file, which need not be there.
    pub fn at(path: &Path) -> Self {
        let stamp = fs::metadata(path).ok().map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec()));
        Self { path: path.to_owned(), stamp }
    }

    /// Looks at the same file again.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::at(&self.path)
    }
}

/// Reads a file.
///
/// # Errors
/// Why it cannot be read, without its name.
pub fn read(path: &Path) -> Result<String, String> {
    // A pipe would keep us waiting.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    Ok(text)
}
