//! The flags for the status channel: when to announce, keys, and sizes.

use std::path::Path;
use std::sync::Arc;

use super::Faults;
use super::values::frequency;
use crate::announce;
use crate::cli::{AnnounceArgs, AnnounceMode, ChannelArgs, SampleMode, ServeArgs};
use crate::status::{CHANNEL, Key};
use crate::watcher::RemoteUse;

/// Minimum length of a key in bytes, and maximum number of keys.
const MIN_KEY_LEN: usize = 16;
const MAX_KEYS: usize = 16;

/// Maximum size of a status, in bytes.
const MAX_STATUS_BYTES: usize = 16 << 20;

pub(super) fn announcing(args: &ServeArgs, faults: &mut Faults) -> announce::AnnounceSettings {
    let announce = &args.announce;
    let keys = keys(announce.key_file.as_deref(), faults);
    if announce.sample == SampleMode::Auto && announce.key_file.is_none() {
        faults.add("--sample auto: it uses only signed statuses of others, so it needs keys; add --announce.key-file");
    }
    announce::AnnounceSettings {
        mode: match announce.announce {
            AnnounceMode::Auto => announce::Mode::Auto,
            AnnounceMode::Always => announce::Mode::Always,
            AnnounceMode::Never => announce::Mode::Never,
        },
        channel: channel(&announce.channel, faults),
        max_bytes: faults.take("--announce.max-bytes", announce.max_bytes.as_deref().map(bytes).transpose(), None),
        keys: keys.into(),
        // A fault in it is reported by the budget, once.
        frequency: frequency(&args.sample.frequency).unwrap_or_default(),
    }
}

/// The use of other exporters' statuses: the counterpart of our own sampling.
pub(super) fn remote(args: &AnnounceArgs) -> RemoteUse {
    match args.sample {
        SampleMode::Always => RemoteUse::Off,
        SampleMode::Auto => RemoteUse::Preferred,
        SampleMode::Never => RemoteUse::Only { node: args.node.clone() },
    }
}

pub(super) fn channel(args: &ChannelArgs, faults: &mut Faults) -> Arc<str> {
    let channel = match args.channel.as_str() {
        "" => Err(format!("the name is empty; the default is {CHANNEL}")),
        long if long.len() > 512 => Err("the name is longer than 512 bytes; choose a shorter one".into()),
        text => Ok(text.into()),
    };
    faults.take("--announce.channel", channel, "".into())
}

/// The keys of a file, one per line; the first one signs.
pub(super) fn keys(file: Option<&Path>, faults: &mut Faults) -> Vec<Key> {
    let Some(path) = file else { return Vec::new() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.add(format!("--announce.key-file: {}: {error}", path.display()));
            return Vec::new();
        }
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fault = match lines.iter().map(|line| line.len()).min() {
        None => "the file has no key; create one with: openssl rand -hex 32",
        Some(length) if length < MIN_KEY_LEN => {
            "a key is shorter than 16 characters; create a longer one with: openssl rand -hex 32"
        }
        _ if lines.len() > MAX_KEYS => "the file has more than 16 keys; remove the oldest ones",
        _ => return lines.into_iter().map(|line| Key::new(line.as_bytes())).collect(),
    };
    faults.add(format!("--announce.key-file: {}: {fault}", path.display()));
    Vec::new()
}

/// Parses a number of bytes: plain, or with the unit KiB or MiB.
fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.trim() {
        text if text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        text if text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        text => (text, 1),
    };
    let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if (announce::MIN_STATUS_BYTES..=MAX_STATUS_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{text} is not a size from 4KiB to 16MiB; example: 64KiB")),
    }
}
