//! Reloading: the file is read at the start, when it or a file that it names changes, and when it is requested. If the
//! new content is invalid or protects less than the settings in use, these are kept, the fault is logged, and a
//! metric reports it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use super::WebSettings;
use super::file::Sections;
use crate::followed_file::{self, FileState, FollowedFiles, ReloadRequests};

/// The file of `--web.config.file`, which is reloaded when it changes.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// The file and those that it names, as they were when they were read.
    files: FollowedFiles,
    settings: watch::Sender<Arc<WebSettings>>,
    valid: Arc<AtomicBool>,
}

impl ConfigFile {
    /// Reads a file and the files that it names.
    ///
    /// # Errors
    /// All faults, each a sentence that starts with the flag.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let (files, settings) = read(path);
        let (settings, _) = watch::channel(Arc::new(settings?));
        let files = FollowedFiles::new(files);
        Ok(Self { path: path.to_owned(), files, settings, valid: Arc::new(AtomicBool::new(true)) })
    }

    /// Returns the current settings and their changes.
    pub fn settings(&self) -> watch::Receiver<Arc<WebSettings>> {
        self.settings.subscribe()
    }

    /// Returns a flag that is true while the last read of the files was valid. [`Self::follow`] updates it.
    pub fn validity(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.valid)
    }

    /// Watches the files until the future is dropped, and replaces the settings at each change, once the files have
    /// settled, and when a reload is requested.
    pub async fn follow(mut self, mut requests: ReloadRequests) {
        self.log("web configuration loaded");
        loop {
            self.files.must_be_read(&mut requests).await;
            let path = self.path.clone();
            // This may read the system's certificate authorities, which takes milliseconds.
            let Ok((files, settings)) = tokio::task::spawn_blocking(move || read(&path)).await else { continue };
            if !self.files.reloaded(files) {
                continue;
            }
            // An empty file is more often an accident (a full disk, a failed template, a wrong mount) than a wish.
            let settings = settings.and_then(|settings| match settings.protects_less(&self.settings.borrow()) {
                None => Ok(settings),
                Some(what) => Err(vec![format!(
                    "--web.config.file: {}: it no longer has {what}; to run without, restart the exporter",
                    self.path.display()
                )]),
            });
            self.valid.store(settings.is_ok(), Ordering::Relaxed);
            match settings {
                Ok(settings) => {
                    self.settings.send_replace(Arc::new(settings));
                    self.log("web configuration reloaded");
                }
                Err(faults) => warn!("web configuration is refused; keeping the previous one: {}", faults.join("; ")),
            }
        }
    }

    fn log(&self, message: &str) {
        let settings = self.settings.borrow();
        let (tls, authentication) = settings.summary();
        info!(file = %self.path.display(), tls, authentication, "{message}");
        for note in &settings.notes {
            warn!(file = %self.path.display(), "{note}");
        }
    }
}

/// Reads the files. Their states are taken before the content, so that a later change is detected.
fn read(path: &Path) -> (Vec<FileState>, Result<WebSettings, Vec<String>>) {
    let mut files = vec![FileState::at(path)];
    let folder = path.parent().unwrap_or(Path::new(""));
    let sections = followed_file::read(path).and_then(|text| Sections::parse(&text)).map_err(|fault| vec![fault]);
    let settings = sections.and_then(|sections| {
        files.extend(sections.files(folder).iter().map(|file| FileState::at(file)));
        sections.settings(folder)
    });
    let with_flag = |fault: &String| format!("--web.config.file: {}: {fault}", path.display());
    (files, settings.map_err(|faults| faults.iter().map(with_flag).collect()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::followed_file::POLL_INTERVAL;

    /// A half written file may be valid, such as an empty one, which requires no password. The clock is the runtime's.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_does_not_disable_authentication() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let users = |name: &str| {
            format!("basic_auth_users: {{{name}: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}}")
        };
        fs::write(&path, users("ann")).expect("a file");
        let file = ConfigFile::read(&path).expect("it is valid");
        let mut settings = file.settings();
        let following = tokio::spawn(file.follow(watch::channel(()).1));
        for size in 0..20 {
            // Each check finds another state.
            fs::write(&path, "#".repeat(size)).expect("a file");
            tokio::time::sleep(POLL_INTERVAL).await;
            assert!(settings.borrow().summary().1 && !settings.has_changed().expect("it is followed"), "{size}");
        }
        fs::write(&path, users("bob")).expect("a file");
        tokio::time::timeout(10 * POLL_INTERVAL, settings.changed()).await.expect("soon").expect("it is followed");
        assert!(settings.borrow().summary().1);
        following.abort();
    }

    /// The clock is the runtime's. Each step is the content of the file, and the expected result: whether it is
    /// valid, TLS and authentication.
    #[tokio::test(start_paused = true)]
    async fn a_reload_that_protects_less_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        fs::write(folder.path().join("crt"), cert.pem()).expect("a file");
        fs::write(folder.path().join("key"), signing_key.serialize_pem()).expect("a file");
        let users = |name: &str| {
            format!("basic_auth_users: {{{name}: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}}\n")
        };
        let tls = |more: &str| format!("tls_server_config: {{cert_file: crt, key_file: key{more}}}\n");
        let (any, verified, named) = (
            ", client_auth_type: RequireAnyClientCert",
            ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: crt",
            ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: crt, client_allowed_sans: [a]",
        );
        fs::write(&path, "").expect("a file");
        let file = ConfigFile::read(&path).expect("it is valid");
        let (settings, valid) = (file.settings(), file.validity());
        let (request, requests) = watch::channel(());
        let following = tokio::spawn(file.follow(requests));
        for (text, accepted, summary) in [
            ("rate_limit: {interval: 1s, burst: 9}".to_owned(), true, (false, false)),
            (users("ann"), true, (false, true)),
            (String::new(), false, (false, true)),
            (users("bob"), true, (false, true)),
            ("# nothing".to_owned(), false, (false, true)),
            (tls(""), false, (false, true)),
            (tls("") + &users("ann"), true, (true, true)),
            (users("ann"), false, (true, true)),
            (tls(verified) + &users("ann"), true, (true, true)),
            (tls("") + &users("ann"), false, (true, true)),
            (tls(any) + &users("ann"), false, (true, true)),
            (tls(named) + &users("ann"), true, (true, true)),
            (tls(verified) + &users("ann"), false, (true, true)),
            (tls(named), false, (true, true)),
            (tls(named) + &users("cem"), true, (true, true)),
        ] {
            let before = Arc::clone(&settings.borrow());
            fs::write(&path, &text).expect("a file");
            request.send_replace(());
            // Enough for a second reading, if the file changes while it is read.
            tokio::time::sleep(5 * POLL_INTERVAL).await;
            let is_replaced = !Arc::ptr_eq(&before, &settings.borrow());
            assert_eq!((valid.load(Ordering::Relaxed), is_replaced), (accepted, accepted), "{text}");
            assert_eq!(settings.borrow().summary(), summary, "{text}");
        }
        following.abort();
    }
}
