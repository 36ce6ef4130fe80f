//! The operator's files with targets and with the access to them: read at the start, and again when they change. If a
//! changed file is invalid, the previous targets stay in use, a warning is logged, and a metric shows it.

mod auth_modules;
mod entries;
mod format;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::discovery::Target;
use crate::followed_file::{self, FileState, FollowedFiles, ReloadRequests};
use crate::link::{Credentials, Node, Password, TlsOptions};
use crate::machine::Machine;
use auth_modules::AuthModules;

/// Maximum number of faults in a report; a file may have thousands.
const MAX_FAULTS: usize = 10;

/// The interval at which files with a fault are reloaded.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The files to read, and what holds for all targets in them.
#[derive(Clone, Debug)]
pub struct TargetSources {
    /// The file with the targets.
    pub targets_file: PathBuf,
    /// The file with the modules for access to them.
    pub auth_file: Option<PathBuf>,
    /// The targets of the command line, which come first.
    pub given: Vec<Target>,
    /// The access to targets without a module.
    pub defaults: DefaultAccess,
    /// The machine, whose name is in the names of servers on it.
    pub machine: Machine,
    /// Maximum number of targets in the file.
    pub max_targets: usize,
}

/// The access to a target without a module.
#[derive(Clone, Debug)]
pub struct DefaultAccess {
    /// The ACL user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Password>,
    /// The credentials for sentinels.
    pub sentinel_credentials: Option<Credentials>,
    /// The options for TLS.
    pub tls: TlsOptions,
    /// The time-out, also of targets with a module.
    pub timeout: Duration,
}

/// A file with targets that is polled for changes, with the file for access to them.
#[derive(Debug)]
pub struct TargetsFile {
    sources: TargetSources,
    /// The modules in use, whose commands keep their passwords.
    modules: AuthModules,
    notes: Vec<String>,
    files: FollowedFiles,
    valid: Arc<AtomicBool>,
    insecure: Arc<AtomicBool>,
}

/// The targets that were read.
#[derive(Debug)]
struct Loaded {
    /// All targets, also those of the command line.
    targets: Vec<Target>,
    modules: AuthModules,
    /// Sentences on what was left out.
    notes: Vec<String>,
}

impl TargetsFile {
    /// Reads the files. Returns all targets, also those of the command line.
    ///
    /// # Errors
    /// Sentences that begin with the flag. They hold nothing that may be secret.
    pub fn read(sources: TargetSources) -> Result<(Vec<Target>, Self), Vec<String>> {
        let states = sources.states();
        let Loaded { targets, modules, notes } = sources.load(&AuthModules::default())?;
        let insecure = Arc::new(AtomicBool::new(is_insecure(&targets)));
        let (files, valid) = (FollowedFiles::new(states), Arc::new(AtomicBool::new(true)));
        Ok((targets, Self { sources, modules, notes, files, valid, insecure }))
    }

    /// A flag that is true while the last read of the files succeeded. [`TargetsFile::follow`] updates it.
    pub fn validity(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.valid)
    }

    /// A flag that is true while the certificate of a target is not verified. [`TargetsFile::follow`] updates it.
    pub fn insecure(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.insecure)
    }

    /// Sentences on what was left out in the first read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Polls the files forever, and sends the targets at each valid change, once the files have settled, and when a
    /// reload is requested.
    pub async fn follow(mut self, targets: watch::Sender<Vec<Target>>, mut requests: ReloadRequests) {
        let mut logged = Vec::new();
        loop {
            tokio::select! {
                () = self.files.must_be_read(&mut requests) => {}
                // The fault may be in a file that they name.
                () = tokio::time::sleep(RETRY_INTERVAL), if !self.valid.load(Ordering::Relaxed) => {}
            }
            let (sources, modules) = (self.sources.clone(), self.modules.clone());
            let states = sources.states();
            // Certificates and keys are read, too.
            let Ok(read) = tokio::task::spawn_blocking(move || sources.load(&modules)).await else { continue };
            if !self.files.reloaded(states) {
                continue;
            }
            self.valid.store(read.is_ok(), Ordering::Relaxed);
            match read {
                Ok(loaded) => {
                    logged.clear();
                    self.apply(loaded, &targets);
                }
                Err(faults) if faults == logged => {}
                Err(faults) => {
                    warn!("reload failed, the previous targets stay in use: {}", faults.join("; "));
                    logged = faults;
                }
            }
        }
    }

    fn apply(&mut self, loaded: Loaded, targets: &watch::Sender<Vec<Target>>) {
        let Loaded { targets: all, modules, notes } = loaded;
        self.modules = modules;
        let was_insecure = self.insecure.swap(is_insecure(&all), Ordering::Relaxed);
        if !was_insecure && is_insecure(&all) {
            warn!("{INSECURE}");
        }
        notes.iter().for_each(|note| warn!("{note}"));
        let nodes = |targets: &[Target]| -> Vec<Node> { targets.iter().filter_map(Target::node).cloned().collect() };
        let known: BTreeSet<_> = nodes(&targets.borrow()).into_iter().map(|node| node.name).collect();
        let new = nodes(&all).into_iter().filter(|node| !known.contains(&node.name));
        new.filter_map(|node| node.name_warning()).for_each(|warning| warn!("{warning}"));
        let count = all.len() - self.sources.given.len();
        info!(
            file = %self.sources.targets_file.display(),
            targets = count,
            "reload of --redis.targets-file succeeded"
        );
        targets.send_replace(all);
    }
}

/// The warning about targets whose certificates are not verified.
pub const INSECURE: &str = "tls-insecure-skip-verify: the certificates of servers are not verified; another host on \
     the way to a server can read the password";

fn is_insecure(targets: &[Target]) -> bool {
    targets.iter().any(|target| target.access.tls.insecure_skip_verify)
}

impl TargetSources {
    /// The current states of the files.
    fn states(&self) -> Vec<FileState> {
        [Some(&self.targets_file), self.auth_file.as_ref()]
            .into_iter()
            .flatten()
            .map(|file| FileState::at(file))
            .collect()
    }

    fn load(&self, known: &AuthModules) -> Result<Loaded, Vec<String>> {
        let modules = match &self.auth_file {
            Some(file) => {
                let named = |faults: Vec<String>| within("--redis.auth-file", file, faults);
                let text = followed_file::read(file).map_err(|fault| named(vec![fault]))?;
                AuthModules::parse(file, &text, known).map_err(named)?
            }
            None => AuthModules::default(),
        };
        let named = |faults: Vec<String>| within("--redis.targets-file", &self.targets_file, faults);
        let text = followed_file::read(&self.targets_file).map_err(|fault| named(vec![fault]))?;
        let (targets, mut notes) = entries::targets(&text, self, &modules).map_err(named)?;
        if targets.is_empty() {
            notes.push("there are no targets, so no server in it is watched".to_owned());
        }
        let notes = within("--redis.targets-file", &self.targets_file, notes);
        let targets = self.given.iter().cloned().chain(targets).collect();
        Ok(Loaded { targets, modules, notes })
    }
}

/// Sentences about a file, of which only some are kept.
fn within(flag: &str, file: &Path, mut sentences: Vec<String>) -> Vec<String> {
    let more = sentences.len().saturating_sub(MAX_FAULTS);
    sentences.truncate(MAX_FAULTS);
    let shown = sentences.into_iter().map(|sentence| format!("{flag}: {}: {sentence}", file.display()));
    shown.chain((more > 0).then(|| format!("{flag}: {}: and {more} more of the kind", file.display()))).collect()
}

#[cfg(test)]
mod tests;
