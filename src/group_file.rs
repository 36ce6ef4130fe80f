//! The operator's file with grouping rules: read at the start, and again when it changes. If the changed file is
//! invalid, the previous rules stay in use, a warning is logged, and a metric shows it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::followed_file::{self, FileState, FollowedFiles, ReloadRequests};
use crate::snapshot::{Grouping, GroupingOptions, Limits};

/// A file with grouping rules that is polled for changes.
#[derive(Debug)]
pub struct GroupFile {
    path: PathBuf,
    options: GroupingOptions,
    files: FollowedFiles,
    valid: Arc<AtomicBool>,
}

impl GroupFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence that begins with the flag.
    pub fn read(path: &Path, options: &GroupingOptions) -> Result<(Grouping, Self), String> {
        let state = FileState::at(path);
        let grouping = grouping(path, options)?;
        let valid = Arc::new(AtomicBool::new(true));
        let files = FollowedFiles::new(vec![state]);
        Ok((grouping, Self { path: path.to_owned(), options: options.clone(), files, valid }))
    }

    /// A flag that is true while the last read of the file succeeded. [`GroupFile::follow`] updates it.
    pub fn validity(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.valid)
    }

    /// Polls the file forever, and replaces the grouping in the limits at each valid change, once the file has settled,
    /// and when a reload is requested.
    pub async fn follow(mut self, limits: watch::Sender<Arc<Limits>>, mut requests: ReloadRequests) {
        loop {
            self.files.must_be_read(&mut requests).await;
            let states = vec![FileState::at(&self.path)];
            let (path, options) = (self.path.clone(), self.options.clone());
            // Compiling the patterns may take milliseconds.
            let Ok(read) = tokio::task::spawn_blocking(move || grouping(&path, &options)).await else { continue };
            if !self.files.reloaded(states) {
                continue;
            }
            self.valid.store(read.is_ok(), Ordering::Relaxed);
            match read {
                Ok(grouping) => {
                    let grouping = Arc::new(grouping);
                    limits.send_modify(|limits| *limits = Arc::new(Limits { grouping, ..Limits::clone(limits) }));
                    info!(file = %self.path.display(), "reload of --group.file succeeded");
                }
                Err(fault) => warn!("reload failed, the previous groups stay in use: {fault}"),
            }
        }
    }
}

fn grouping(path: &Path, options: &GroupingOptions) -> Result<Grouping, String> {
    let flag = "--group.file:";
    let text = followed_file::read(path).map_err(|fault| format!("{flag} {}: {fault}", path.display()))?;
    Grouping::new(options, Some(&text)).map_err(|fault| fault.replacen(flag, &format!("{flag} {}:", path.display()), 1))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::followed_file::POLL_INTERVAL;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_followed_and_an_invalid_file_is_not_and_the_options_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("groups.yml");
        fs::write(&path, "rules: [{app: one, name: web}]").expect("a file");
        let options = GroupingOptions { strip_version: true, ..GroupingOptions::default() };
        let (grouping, file) = GroupFile::read(&path, &options).expect("a valid file");
        let valid = file.validity();
        let (sender, receiver) = watch::channel(Arc::new(Limits { grouping: Arc::new(grouping), ..Limits::default() }));
        let following = tokio::spawn(file.follow(sender, watch::channel(()).1));
        let app_of = |row: &str| {
            let reply = crate::client_list::parse(row.as_bytes());
            receiver.borrow().grouping.app(&reply.clients[0]).to_string()
        };
        let app = || app_of("id=1 name=web");
        assert_eq!(app(), "one");
        for (text, app_then, valid_then) in [
            ("rules: [{app: two, name: web}]", "two", true),
            ("rules: [{app: three, name: 'web('}]", "two", false),
            ("rules: [{app: four, name: web}]", "four", true),
        ] {
            fs::write(&path, text).expect("a file");
            // Only a hang takes this long.
            for _ in 0..6000 {
                tokio::time::sleep(POLL_INTERVAL / 100).await;
                if app() == app_then && valid.load(Ordering::Relaxed) == valid_then {
                    break;
                }
            }
            assert_eq!((app().as_str(), valid.load(Ordering::Relaxed)), (app_then, valid_then), "{text}");
            assert_eq!(app_of("id=1 name=api-v41"), "api", "after {text}");
        }
        following.abort();
    }
}
