//! The operator's file with the keys of the status channel: read at the start, and again when it changes. If the
//! changed file is invalid, the previous keys stay in use, a warning is logged, and a metric shows it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

use crate::followed_file::{self, FileState, FollowedFiles, ReloadRequests};
use crate::status::{Key, KeyRing};

/// Minimum length of a key in bytes, and maximum number of keys.
const MIN_KEY_LEN: usize = 16;
const MAX_KEYS: usize = 16;

/// A file with keys that is polled for changes.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    files: FollowedFiles,
    keys: KeyRing,
    valid: Arc<AtomicBool>,
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence that begins with the flag.
    pub fn read(path: &Path) -> Result<(KeyRing, Self), String> {
        let state = FileState::at(path);
        let keys = KeyRing::from(keys(path)?);
        let (files, valid) = (FollowedFiles::new(vec![state]), Arc::new(AtomicBool::new(true)));
        Ok((keys.clone(), Self { path: path.to_owned(), files, keys, valid }))
    }

    /// A flag that is true while the last read of the file succeeded. [`KeyFile::follow`] updates it.
    pub fn validity(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.valid)
    }

    /// Polls the file forever, and replaces the keys at each valid change, once the file has settled, or at a request.
    pub async fn follow(mut self, mut requests: ReloadRequests) {
        loop {
            self.files.must_be_read(&mut requests).await;
            let states = vec![FileState::at(&self.path)];
            let read = keys(&self.path);
            if !self.files.reloaded(states) {
                continue;
            }
            self.valid.store(read.is_ok(), Ordering::Relaxed);
            match read {
                Ok(keys) => {
                    self.keys.replace(keys);
                    info!(file = %self.path.display(), "reload of --announce.key-file succeeded");
                }
                Err(fault) => warn!("reload failed, the previous keys stay in use: {fault}"),
            }
        }
    }
}

/// The keys of a file, one per line; the first one signs.
///
/// # Errors
/// A sentence that begins with the flag, without any part of a key.
pub fn keys(path: &Path) -> Result<Vec<Key>, String> {
    let fault = |fault: &str| format!("--announce.key-file: {}: {fault}", path.display());
    let text = followed_file::read(path).map_err(|error| fault(&error))?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.iter().map(|line| line.len()).min() {
        None => Err(fault("the file has no key; create one with: openssl rand -hex 32")),
        Some(length) if length < MIN_KEY_LEN => {
            Err(fault("a key is shorter than 16 characters; create a longer one with: openssl rand -hex 32"))
        }
        _ if lines.len() > MAX_KEYS => Err(fault("the file has more than 16 keys; remove the oldest ones")),
        _ => Ok(lines.into_iter().map(|line| Key::new(line.as_bytes())).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::followed_file::POLL_INTERVAL;
    use crate::status::{OwnNames, StatusReceiver};

    #[tokio::test(start_paused = true)]
    async fn keys_are_rotated_and_an_invalid_file_keeps_the_previous_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let (old, new) = ("0123456789abcdef-old", "0123456789abcdef-new");
        fs::write(&path, old).expect("a file");
        let (keys, file) = KeyFile::read(&path).expect("a valid file");
        let valid = file.validity();
        let receiver = StatusReceiver::of_ring(keys.clone(), OwnNames::default());
        let following = tokio::spawn(file.follow(tokio::sync::watch::channel(()).1));
        let accepts = |key: &str| {
            let mut message = "{}".to_owned();
            Key::new(key.as_bytes()).sign(&mut message);
            receiver.verify(message.as_bytes()).is_ok()
        };
        assert_eq!((accepts(old), accepts(new)), (true, false));
        for (text, old_then, new_then, valid_then) in [
            (format!("{new}\n{old}\n"), true, true, true),
            ("short".to_owned(), true, true, false),
            (String::new(), true, true, false),
            (format!("{new}\n"), false, true, true),
        ] {
            fs::write(&path, &text).expect("a file");
            let state = || (accepts(old), accepts(new), valid.load(Ordering::Relaxed));
            // Only a hang takes this long.
            for _ in 0..6000 {
                tokio::time::sleep(POLL_INTERVAL / 100).await;
                if state() == (old_then, new_then, valid_then) {
                    break;
                }
            }
            assert_eq!(state(), (old_then, new_then, valid_then), "{text}");
            assert!(
                keys.keys()[0].verifies(
                    {
                        let mut message = "{}".to_owned();
                        Key::new(if new_then { new } else { old }.as_bytes()).sign(&mut message);
                        message
                    }
                    .as_bytes()
                ),
                "the first one signs"
            );
        }
        following.abort();
    }
}
