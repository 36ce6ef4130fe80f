//! The file over time: read at the start, and again when it or a file it names changes. One that makes no sense leaves the
//! settings as they were, is logged, and is told by a metric.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use super::WebSettings;
use super::file::Words;
use crate::followed_file::{self, FileState, POLL_INTERVAL};

/// `--web.config.file`, which is followed.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    looks: Vec<FileState>,
    settings: watch::Sender<Arc<WebSettings>>,
    valid: Arc<AtomicBool>,
}

impl ConfigFile {
    /// Reads a file and those it names.
    ///
    /// # Errors
    /// Sentences that begin with the flag.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let (looks, settings) = read(path);
        let (settings, _) = watch::channel(Arc::new(settings?));
        Ok(Self { path: path.to_owned(), looks, settings, valid: Arc::new(AtomicBool::new(true)) })
    }

    /// The settings now and from now on.
    pub fn settings(&self) -> watch::Receiver<Arc<WebSettings>> {
        self.settings.subscribe()
    }

    /// Whether the files made sense when they were read last; followed by what it is read from.
    pub fn validity(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.valid)
    }

    /// Follows the files until it is dropped, and replaces the settings at each change.
    ///
    /// A change is taken once it has stayed for a while. A file that is being written may make sense, and say that nobody
    /// is asked for a password.
    pub async fn follow(mut self) {
        self.tell("the web configuration was read");
        let mut seen = self.looks.clone();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now: Vec<_> = self.looks.iter().map(FileState::again).collect();
            let has_stayed = now == std::mem::replace(&mut seen, now.clone());
            if now == self.looks || !has_stayed {
                continue;
            }
            let path = self.path.clone();
            // The system's authorities may have to be read, which takes milliseconds.
            let Ok((looks, settings)) = tokio::task::spawn_blocking(move || read(&path)).await else { continue };
            // It may have been written to while it was read.
            if now.first().map(FileState::again) != now.first().cloned() {
                continue;
            }
            seen = looks.clone();
            self.looks = looks;
            self.valid.store(settings.is_ok(), Ordering::Relaxed);
            match settings {
                Ok(settings) => {
                    self.settings.send_replace(Arc::new(settings));
                    self.tell("the web configuration was read again");
                }
                Err(faults) => warn!("the web configuration stays as it was: {}", faults.join("; ")),
            }
        }
    }

    fn tell(&self, what: &str) {
        let settings = self.settings.borrow();
        let (tls, authentication) = settings.summary();
        info!(file = %self.path.display(), tls, authentication, "{what}");
        for note in &settings.notes {
            warn!(file = %self.path.display(), "{note}");
        }
    }
}

/// Looks at the files before they are read: one that changes meanwhile is read again.
fn read(path: &Path) -> (Vec<FileState>, Result<WebSettings, Vec<String>>) {
    let mut looks = vec![FileState::at(path)];
    let folder = path.parent().unwrap_or(Path::new(""));
    let words = followed_file::read(path).and_then(|text| Words::parse(&text)).map_err(|fault| vec![fault]);
    let settings = words.and_then(|words| {
        looks.extend(words.files(folder).iter().map(|file| FileState::at(file)));
        words.meaning(folder)
    });
    let flagged = |fault: &String| format!("--web.config.file: {}: {fault}", path.display());
    (looks, settings.map_err(|faults| faults.iter().map(flagged).collect()))
}
