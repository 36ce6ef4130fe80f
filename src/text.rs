//! Text that clients choose, made safe for labels, pages and logs.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Maximum length of a label value, in bytes.
const MAX_LABEL: usize = 128;

/// Maximum length of an application name, in bytes: about twenty series have it as a label. Kubernetes names have at
/// most 63.
const MAX_APP: usize = 64;

/// The group of all groups beyond the limit.
pub const OTHER: &str = "(other)";

/// The group of clients without a value.
pub const NONE: &str = "(none)";

/// The application of clients for which no rule, name, user or library gives one.
pub(crate) const UNNAMED: &str = "(unnamed)";

/// The network of clients of the server's unix socket.
pub(crate) const UNIX: &str = "(unix)";

/// Makes a label value from bytes that a client chose.
///
/// Bytes that are not UTF-8 and control characters become `\xHH`. A value that begins with `(` gets a backslash in
/// front, so that no client can take the name of one of our groups, such as `(other)`. Values of more than 128 bytes in
/// the text format are cut and end in `~` and 8 hex digits of the whole value's SHA-256, so that different long values
/// have different labels, the same ones in every exporter.
pub fn label_value(bytes: &[u8]) -> String {
    label_within(bytes, MAX_LABEL)
}

/// True if a label may have been cut, so that no client has it as its value.
pub fn is_cut(label: &str) -> bool {
    let mark = label.len().checked_sub(9).and_then(|at| label.get(at..));
    written_len(label) + 12 > MAX_LABEL && mark.is_some_and(|mark| mark.starts_with('~'))
}

/// Makes the name of an application like [`label_value`], at most 64 bytes long.
pub(crate) fn app_label(bytes: &[u8]) -> String {
    label_within(bytes, MAX_APP)
}

fn label_within(bytes: &[u8], max: usize) -> String {
    let mut label = if bytes.starts_with(b"(") { "\\".to_owned() } else { String::new() };
    // A name may be megabytes long, and all beyond the limit is cut anyway.
    let begin = &bytes[..bytes.len().min(2 * max)];
    label.push_str(&escaped(begin));
    if written_len(&label) > max { cut(&label, bytes, max) } else { label }
}

/// The length of a label in the text format, which escapes some characters with a backslash.
fn written_len(label: &str) -> usize {
    label.len() + label.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

/// Bytes as text that is safe to show in a terminal, a page or a log: bytes that are not UTF-8, control characters, and
/// characters that change the text direction become `\xHH`.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || changes_direction(character) {
                push_bytes(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(character);
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

/// True for marks, embeddings, overrides and isolates of the bidirectional algorithm (Unicode Standard Annex 9).
fn changes_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_bytes(label: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(label, "\\x{byte:02x}").expect("writing to a string cannot fail");
    }
}

/// Cuts a label to `max` bytes in the text format, ending in a hash of the whole value.
fn cut(label: &str, whole: &[u8], max: usize) -> String {
    let hash = Sha256::digest(whole);
    let mark = format!("~{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]);
    let mut keep = label.floor_char_boundary(max - mark.len());
    while written_len(&label[..keep]) > max - mark.len() {
        keep = label.floor_char_boundary(keep - 1);
    }
    format!("{}{mark}", &label[..keep])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_values_do_not_change() {
        for value in ["redis-py", "go-redis(,go1.24.4)", "a=b", r#"a"b\c=<script>"#, "日本語", ""] {
            assert_eq!(label_value(value.as_bytes()), value);
        }
    }

    #[test]
    fn no_client_can_take_the_name_of_one_of_our_groups() {
        assert_eq!(label_value(OTHER.as_bytes()), r"\(other)");
    }

    #[test]
    fn unsafe_bytes_are_escaped() {
        assert_eq!(label_value(b"a\xffb\x07c\n"), r"a\xffb\x07c\x0a");
        assert_eq!(label_value("a\u{202e}b".as_bytes()), r"a\xe2\x80\xaeb");
    }

    #[test]
    fn long_values_are_cut_and_differ() {
        let long = |tail: &str| label_value(format!("{}{tail}", "é".repeat(200)).as_bytes());
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
        for label in [long("a"), label_value(&[0xff; 500]), label_value(&[b'"'; 500])] {
            let written = written_len(&label);
            assert!(written <= MAX_LABEL && written > MAX_LABEL - 8, "{written}");
        }
        let app = app_label(&[b'x'; 65]);
        assert!(app.len() == MAX_APP && app_label(&[b'x'; 64]).len() == MAX_APP, "{app}");
        let just = "x".repeat(MAX_LABEL);
        assert_eq!(label_value(just.as_bytes()), just);
    }
}
