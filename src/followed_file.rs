//! The operator's small files that are polled for changes: detection of a settled change, and bounded reading.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

/// The interval of checks for a change.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Requests to reload the files at once. Each is a change of the value.
pub type ReloadRequests = watch::Receiver<()>;

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

/// Files that are polled for changes, as they were when they were read.
#[derive(Debug)]
pub struct FollowedFiles {
    read: Vec<FileState>,
    /// The files at the last check.
    previous: Vec<FileState>,
}

impl FollowedFiles {
    /// Files in the states in which they were read, polled at [`POLL_INTERVAL`].
    pub fn new(read: Vec<FileState>) -> Self {
        Self { previous: read.clone(), read }
    }

    /// Waits until the files have changed and settled, or a reload is requested.
    pub async fn must_be_read(&mut self, requests: &mut ReloadRequests) {
        tokio::select! {
            Ok(()) = requests.changed() => {}
            () = self.settled_change() => {}
        }
    }

    /// Waits until the files have changed, and have then been the same for one interval: a file that is half written
    /// may be valid and mean something else.
    async fn settled_change(&mut self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now: Vec<_> = self.read.iter().map(FileState::again).collect();
            let is_stable = now == std::mem::replace(&mut self.previous, now.clone());
            if is_stable && now != self.read {
                return;
            }
        }
    }

    /// Notes a reload; `read` has the states of the files before it, and may name other files. Returns false if one of
    /// them changed during the reload, so that the content must not be used: they are reloaded later.
    #[must_use]
    pub fn reloaded(&mut self, read: Vec<FileState>) -> bool {
        if read.iter().any(|file| file.again() != *file) {
            return false;
        }
        self.previous.clone_from(&read);
        self.read = read;
        true
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_still_written_has_not_changed_yet() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "0").expect("a file");
        let mut files = FollowedFiles::new(vec![FileState::at(&path)]);
        let writer = tokio::spawn({
            let path = path.clone();
            async move {
                // Longer at each step, so that each check finds another file.
                for length in 2..20 {
                    fs::write(&path, "x".repeat(length)).expect("a file");
                    tokio::time::sleep(POLL_INTERVAL / 5).await;
                }
                Instant::now()
            }
        });
        files.settled_change().await;
        let noticed = Instant::now();
        let written = writer.await.expect("the writer ends");
        assert!(noticed >= written, "noticed while it was written");
        assert!(files.reloaded(vec![FileState::at(&path)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_reloads_at_once_what_has_not_changed_and_polling_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut files = FollowedFiles::new(vec![FileState::at(&path)]);
        let (sender, mut requests) = watch::channel(());
        let began = Instant::now();
        sender.send_replace(());
        files.must_be_read(&mut requests).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        // Requests have ended.
        drop(sender);
        fs::write(&path, "0").expect("a file");
        files.must_be_read(&mut requests).await;
        assert!(began.elapsed() >= POLL_INTERVAL);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_must_be_reloaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let missing = FileState::at(&path);
        let mut files = FollowedFiles::new(vec![missing.clone()]);
        fs::write(&path, "0").expect("a file");
        assert!(!files.reloaded(vec![missing]));
        assert!(files.reloaded(vec![FileState::at(&path)]));
    }
}
