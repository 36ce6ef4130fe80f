//! The entries of `--redis.targets-file`, in the format of Prometheus's file_sd: lists of targets with their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::auth_modules::{AuthModule, AuthModules};
use super::format::{UniqueMap, parse};
use super::{DefaultAccess, TargetSources};
use crate::discovery::{Access, Target, TargetForm, check_name, parse_target};
use crate::link::Credentials;

/// Maximum number of labels of an entry, and maximum length of a label's name and value, in bytes.
const MAX_LABELS: usize = 32;
const MAX_LABEL_NAME: usize = 128;
const MAX_LABEL_VALUE: usize = 256;

/// An entry as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetGroup {
    targets: Vec<String>,
    labels: Option<UniqueMap<String>>,
}

/// The labels of an entry.
struct GroupLabels<'a> {
    /// The name of the server or the cluster.
    name: Option<String>,
    module: Option<&'a AuthModule>,
    /// Those that are shown.
    shown: BTreeMap<String, String>,
}

/// The targets of a file, and sentences on what was left out.
///
/// # Errors
/// All faults, without any part of the text that may be secret.
pub(super) fn targets(
    text: &str,
    sources: &TargetSources,
    modules: &AuthModules,
) -> Result<(Vec<Target>, Vec<String>), Vec<String>> {
    let form = "a list of entries ([] for none), each with targets (a list of addresses) and labels";
    let entries: Vec<TargetGroup> = parse(&sources.targets_file, text, form).map_err(|fault| vec![fault])?;
    let count: usize = entries.iter().map(|entry| entry.targets.len()).sum();
    if count > sources.max_targets {
        let max = sources.max_targets;
        return Err(vec![format!("there are {count} targets; raise --discovery.max-nodes, which is {max}")]);
    }
    let (mut list, mut faults) = (TargetList::new(&sources.given), Vec::new());
    for (number, entry) in (1..).zip(entries) {
        let labels = match GroupLabels::new(entry.labels.unwrap_or_default(), modules, sources) {
            Ok(labels) if labels.name.is_some() && entry.targets.len() > 1 => {
                faults.push(format!("entry {number}: __name names one target; write an entry for each target"));
                continue;
            }
            Ok(labels) => labels,
            Err(fault) => {
                faults.push(format!("entry {number}: {fault}"));
                continue;
            }
        };
        for (place, text) in (1..).zip(&entry.targets) {
            // The text may hold a password, so the fault names the target by its number.
            let place = format!("entry {number}, target {place}");
            let target = labels.target(text, sources);
            if let Err(fault) = target.and_then(|target| list.add(target, labels.name.is_some(), &place)) {
                faults.push(format!("{place}: {fault}"));
            }
        }
    }
    if faults.is_empty() { Ok((list.targets, list.notes)) } else { Err(faults) }
}

impl<'a> GroupLabels<'a> {
    fn new(
        UniqueMap(labels): UniqueMap<String>,
        modules: &'a AuthModules,
        sources: &TargetSources,
    ) -> Result<Self, String> {
        if labels.len() > MAX_LABELS {
            return Err(format!("there are {} labels; at most {MAX_LABELS} are read", labels.len()));
        }
        let (mut name, mut module, mut shown) = (None, None, BTreeMap::new());
        for (number, (label, value)) in (1..).zip(labels) {
            // A name or value may be a secret in the wrong place, so it is not quoted.
            let place = format!("label {number}, in the order of the names");
            if !is_label_name(&label) {
                return Err(format!("{place}: a name has letters, digits and _, and does not begin with a digit"));
            }
            if holds_secret(&label, &value) {
                return Err(format!(
                    "{place}: labels are shown, so a password or token cannot be in one; write it to a file, name \
                    that in a module of --redis.auth-file, and the module as the label __auth"
                ));
            }
            if value.len() > MAX_LABEL_VALUE || value.chars().any(char::is_control) {
                return Err(format!(
                    "{place}: a value has at most {MAX_LABEL_VALUE} bytes, without control characters"
                ));
            }
            match &*label {
                // To Prometheus, an empty label is none.
                _ if value.is_empty() => {}
                "__name" => {
                    name = Some(check_name(&value).map(|()| value).map_err(|fault| format!("__name: {fault}"))?)
                }
                "__auth" => module = Some(find_module(&value, modules, sources)?),
                // Prometheus's own: of its other discoveries, and for scraping.
                own if own.starts_with("__meta_") || own.starts_with("__param_") => {}
                own if own.starts_with("__") && own.ends_with("__") => {}
                own if own.starts_with("__") => {
                    return Err(format!("{place}: __name and __auth are the only labels of this exporter with __"));
                }
                _ => {
                    shown.insert(label, value);
                }
            }
        }
        Ok(Self { name, module, shown })
    }

    fn target(&self, text: &str, sources: &TargetSources) -> Result<Target, String> {
        let parsed = parse_target(text)?;
        if parsed.password.is_some() {
            return Err("a password cannot be in this file; write it to a file, name that in a module of \
                --redis.auth-file, and the module as the label __auth"
                .to_owned());
        }
        let access = match self.module {
            Some(_) if parsed.user.is_some() => {
                return Err("a user beside __auth; the user is in the module of --redis.auth-file".to_owned());
            }
            Some(module) => of_module(module, &parsed.form, &sources.defaults)?,
            None => of_defaults(parsed.user, &sources.defaults)?,
        };
        let mut labels = self.shown.clone();
        if let Some(name) = &self.name
            && !matches!(parsed.form, TargetForm::Server(_))
        {
            match labels.insert("cluster".to_owned(), name.clone()) {
                Some(other) if other != *name => {
                    return Err("the name of a cluster is its label cluster; remove __name or cluster".to_owned());
                }
                _ => {}
            }
        }
        let target = Target::new(parsed.form, access, self.name.as_deref(), &sources.machine);
        Ok(target.with_labels(labels))
    }
}

fn of_module(module: &AuthModule, form: &TargetForm, defaults: &DefaultAccess) -> Result<Access, String> {
    if module.tls.is_some() && form.is_plain_tcp() {
        return Err("its module has tls_… options, and the address does not use TLS; write rediss://".to_owned());
    }
    let tls = module.tls.clone().unwrap_or_else(|| defaults.tls.clone());
    let sentinel_credentials = defaults.sentinel_credentials.clone();
    Ok(Access { credentials: module.credentials.clone(), sentinel_credentials, tls, timeout: defaults.timeout })
}

fn of_defaults(user: Option<String>, defaults: &DefaultAccess) -> Result<Access, String> {
    let user = user.or_else(|| defaults.user.clone());
    if user.is_some() && defaults.password.is_none() {
        return Err("a user without a password; add --redis.password-file, or a module of --redis.auth-file with the \
            label __auth"
            .to_owned());
    }
    let credentials = defaults.password.clone().map(|password| Credentials { user, password });
    let sentinel_credentials = defaults.sentinel_credentials.clone();
    Ok(Access { credentials, sentinel_credentials, tls: defaults.tls.clone(), timeout: defaults.timeout })
}

fn find_module<'a>(name: &str, modules: &'a AuthModules, sources: &TargetSources) -> Result<&'a AuthModule, String> {
    let Some(file) = &sources.auth_file else {
        return Err("__auth is the name of a module, and there is no --redis.auth-file; add it".to_owned());
    };
    modules.get(name).ok_or_else(|| {
        let known: Vec<_> = modules.names().take(10).collect();
        format!("__auth is not the name of a module in {}, which has {}", file.display(), known.join(", "))
    })
}

/// Returns true if a name is valid in every version of Prometheus.
fn is_label_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    begins && name.len() <= MAX_LABEL_NAME && name.bytes().all(is_part)
}

/// Returns true if a label seems to hold a secret: by its name, or since its value is a URL with a password.
fn holds_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_secret = ["password", "passwd", "secret", "credential"].iter().any(|word| name.contains(word))
        || name.split('_').any(|part| ["token", "pass", "pwd", "apikey"].contains(&part));
    let has_password = |(_, rest): (&str, &str)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(login, _)| login.contains(':'))
    };
    is_secret || value.split_once("://").is_some_and(has_password)
}

/// Targets of which each is there once.
struct TargetList {
    targets: Vec<Target>,
    notes: Vec<String>,
    /// True for a cluster, by the addresses of the target.
    known: BTreeMap<Arc<str>, bool>,
    /// The key of the address, by the name of the server.
    names: BTreeMap<Arc<str>, String>,
    /// The keys of the addresses of all servers.
    keys: BTreeSet<String>,
}

impl TargetList {
    fn new(given: &[Target]) -> Self {
        let known = given.iter().map(|target| (Arc::clone(&target.name), target.node().is_none())).collect();
        let nodes = given.iter().filter_map(Target::node);
        let names: BTreeMap<_, _> = nodes.map(|node| (Arc::clone(&node.name), node.address.endpoint.key())).collect();
        let keys = names.values().cloned().collect();
        Self { targets: Vec::new(), notes: Vec::new(), known, names, keys }
    }

    /// Adds a target, unless it is there. One that is not named may also be there under another name of its host.
    fn add(&mut self, target: Target, is_named: bool, place: &str) -> Result<(), String> {
        let is_cluster = target.node().is_none();
        let twice = format!("{place}: {target} is there already; the first one is used");
        match self.known.get(&target.name) {
            Some(known) if *known == is_cluster => {
                self.notes.push(twice);
                return Ok(());
            }
            Some(_) => return Err(format!("{target} is both a server and a cluster; remove one")),
            None => {}
        }
        if let Some(node) = target.node() {
            let key = node.address.endpoint.key();
            if !is_named && self.keys.contains(&key) {
                self.notes.push(twice);
                return Ok(());
            }
            match self.names.get(&node.name) {
                Some(known) if *known == key => {
                    self.notes.push(twice);
                    return Ok(());
                }
                Some(known) => return Err(format!("{} is the name of {known}, too; give each its own", node.name)),
                None => {}
            }
            self.keys.insert(key.clone());
            self.names.insert(Arc::clone(&node.name), key);
        }
        self.known.insert(Arc::clone(&target.name), is_cluster);
        self.targets.push(target);
        Ok(())
    }
}
