//! The operator's file of groups: read at the start, and again when it changes. A file that makes no sense leaves the rules as
//! they were, is logged, and is told by a metric.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::snapshot::{Grouping, Limits};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// The largest file, in bytes.
const LARGEST: u64 = 1 << 20;

/// A file of groups that is followed.
#[derive(Debug)]
pub struct GroupFile {
    path: PathBuf,
    name_pattern: Option<String>,
    stamp: Option<Stamp>,
    valid: Arc<AtomicBool>,
}

/// What changes when a file does: also where a link is turned to another file, as Kubernetes does.
type Stamp = (u64, u64, i64, i64);

impl GroupFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence that begins with the flag.
    pub fn read(path: &Path, name_pattern: Option<&str>) -> Result<(Grouping, Self), String> {
        let stamp = stamp(path);
        let grouping = grouping(path, name_pattern)?;
        let valid = Arc::new(AtomicBool::new(true));
        let name_pattern = name_pattern.map(str::to_owned);
        Ok((grouping, Self { path: path.to_owned(), name_pattern, stamp, valid }))
    }

    /// Whether the file made sense when it was read last; followed by what it is read from.
    pub fn validity(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.valid)
    }

    /// Follows the file until it is dropped, and replaces the grouping in the limits at each change.
    pub async fn follow(mut self, limits: watch::Sender<Arc<Limits>>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let stamp = stamp(&self.path);
            if stamp == self.stamp {
                continue;
            }
            self.stamp = stamp;
            let read = grouping(&self.path, self.name_pattern.as_deref());
            self.valid.store(read.is_ok(), Ordering::Relaxed);
            match read {
                Ok(grouping) => {
                    let grouping = Arc::new(grouping);
                    limits.send_modify(|limits| *limits = Arc::new(Limits { grouping, ..Limits::clone(limits) }));
                    info!(file = %self.path.display(), "groups were read again");
                }
                Err(fault) => warn!("the groups stay as they were: {fault}"),
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

fn grouping(path: &Path, name_pattern: Option<&str>) -> Result<Grouping, String> {
    let fault = |fault: String| format!("--group.file: {}: {fault}", path.display());
    // A pipe would keep us waiting.
    if !fs::metadata(path).map_err(|error| fault(error.to_string()))?.is_file() {
        return Err(fault("it is no file".to_owned()));
    }
    let file = fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(fault(format!("it is larger than {LARGEST} bytes")));
    }
    let flag = "--group.file:";
    Grouping::new(name_pattern, Some(&text))
        .map_err(|told| told.replacen(flag, &format!("{flag} {}:", path.display()), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_followed_and_nonsense_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("groups.yml");
        fs::write(&path, "rules: [{app: one, name: web}]").expect("a file");
        let (grouping, file) = GroupFile::read(&path, None).expect("sense");
        let valid = file.validity();
        let (sender, receiver) = watch::channel(Arc::new(Limits { grouping: Arc::new(grouping), ..Limits::default() }));
        let following = tokio::spawn(file.follow(sender));
        let app = || {
            let reply = crate::client_list::parse(b"id=1 name=web");
            receiver.borrow().grouping.app(&reply.clients[0]).to_string()
        };
        assert_eq!(app(), "one");
        for (text, app_then, valid_then) in [
            ("rules: [{app: two, name: web}]", "two", true),
            ("rules: [{app: three, name: 'web('}]", "two", false),
            ("rules: [{app: four, name: web}]", "four", true),
        ] {
            fs::write(&path, text).expect("a file");
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if app() == app_then && valid.load(Ordering::Relaxed) == valid_then {
                    break;
                }
            }
            assert_eq!((app().as_str(), valid.load(Ordering::Relaxed)), (app_then, valid_then), "{text}");
        }
        following.abort();
    }
}
