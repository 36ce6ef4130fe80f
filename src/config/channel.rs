//! What is announced on the status channel, and what is believed of it.

use std::path::Path;
use std::sync::Arc;

use super::Faults;
use super::values::frequency;
use crate::announce;
use crate::cli::{AnnounceMode, ChannelArgs, SampleMode, ServeArgs};
use crate::status::{CHANNEL, Key};

/// The shortest key, in bytes, and the most of them.
const SHORTEST_KEY: usize = 16;
const MAX_KEYS: usize = 16;

/// The least and the most that a status may take, in bytes.
const LEAST_STATUS: usize = 4 << 10;
const MAX_STATUS_BYTES: usize = 16 << 20;

pub(super) fn announcing(words: &ServeArgs, faults: &mut Faults) -> announce::AnnounceSettings {
    let announce = &words.announce;
    let keys = keys(announce.key_file.as_deref(), faults);
    if announce.sample == SampleMode::Auto && announce.key_file.is_none() {
        faults.add("--sample auto: it believes only signed statuses; give --announce.key-file");
    }
    announce::AnnounceSettings {
        mode: match announce.announce {
            AnnounceMode::Auto => announce::Mode::Auto,
            AnnounceMode::Always => announce::Mode::Always,
            AnnounceMode::Never => announce::Mode::Never,
        },
        channel: channel(&announce.channel, faults),
        max_bytes: faults.take("--announce.max-bytes", bytes(&announce.max_bytes), 0),
        keys: keys.into(),
        // Told once, by the budget.
        frequency: frequency(&words.sample.frequency).unwrap_or_default(),
    }
}

pub(super) fn channel(words: &ChannelArgs, faults: &mut Faults) -> Arc<str> {
    let channel = match words.channel.as_str() {
        "" => Err(format!("it is empty; write {CHANNEL}")),
        long if long.len() > 512 => Err("it is longer than 512 bytes".into()),
        text => Ok(text.into()),
    };
    faults.take("--announce.channel", channel, "".into())
}

/// The keys of a file, one a line, the first to sign with.
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
        None => "it holds no key; make one with openssl rand -hex 32",
        Some(length) if length < SHORTEST_KEY => {
            "a key in it is shorter than 16 characters; make one with openssl rand -hex 32"
        }
        _ if lines.len() > MAX_KEYS => "it holds more than 16 keys; leave out the oldest",
        _ => return lines.into_iter().map(|line| Key::new(line.as_bytes())).collect(),
    };
    faults.add(format!("--announce.key-file: {}: {fault}", path.display()));
    Vec::new()
}

/// A number of bytes: plain, or with KiB or MiB.
fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.trim() {
        text if text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        text if text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        text => (text, 1),
    };
    let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if (LEAST_STATUS..=MAX_STATUS_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{text} is not a size from 4KiB to 16MiB; write 64KiB")),
    }
}
