//! The flags for the status channel: when to announce, keys, and sizes.

use std::path::Path;
use std::sync::Arc;

use super::Faults;
use super::values::frequency;
use crate::announce;
use crate::cli::{AnnounceArgs, AnnounceMode, ChannelArgs, SampleMode, ServeArgs};
use crate::key_file::{self, KeyFile};
use crate::status::{CHANNEL, Key, KeyRing};
use crate::watcher::RemoteUse;

/// Maximum size of a status, in bytes.
const MAX_STATUS_BYTES: usize = 16 << 20;

pub(super) fn announcing(args: &ServeArgs, keys: KeyRing, faults: &mut Faults) -> announce::AnnounceSettings {
    let announce = &args.announce;
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
        keys,
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

/// The keys of a file, and the file if there is one.
pub(super) fn key_file(args: &AnnounceArgs, faults: &mut Faults) -> (KeyRing, Option<KeyFile>) {
    let Some(path) = &args.key_file else { return Default::default() };
    match KeyFile::read(path) {
        Ok((keys, file)) => (keys, Some(file)),
        Err(fault) => {
            faults.add(fault);
            Default::default()
        }
    }
}

/// The keys of a file that is read once.
pub(super) fn keys(file: Option<&Path>, faults: &mut Faults) -> Vec<Key> {
    let Some(path) = file else { return Vec::new() };
    key_file::keys(path).unwrap_or_else(|fault| {
        faults.add(fault);
        Vec::new()
    })
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
