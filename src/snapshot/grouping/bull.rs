//! Queue names in the client names of Bull and BullMQ. Pure.
//!
//! Bull, and BullMQ for Node and Rust, name a worker's connection `<prefix>:<base64 of the queue's name>`; BullMQ
//! appends `:w:<worker>` for a named worker and `:qe` for a listener of the queue's events (BullMQ:
//! `queue-getters.ts`, `redis-queue-backend.ts`, `utils/index.ts`; Bull: `lib/worker.js`). BullMQ for Python and .NET
//! write the queue's name as it is. The prefix is `bull` unless the application sets another; `{bull}` on clusters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The shortest encoding that counts under a foreign prefix without padding, and for names that are not ASCII.
/// Shorter text is too often a word that happens to be valid base64.
const MIN_UNPADDED: usize = 8;

/// Signs that a queue's name may have beside letters and digits.
const NAME_SIGNS: &str = " -_.:/@{}";

/// Returns the queue's name if `encoded` is base64 of one. `before` is the client's name up to it, with the colon.
pub(super) fn queue_name(before: &[u8], encoded: &[u8]) -> Option<String> {
    looks_encoded(before, encoded).then_some(())?;
    let name = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let is_name = |sign: char| {
        if sign.is_ascii() {
            sign.is_ascii_alphanumeric() || NAME_SIGNS.contains(sign)
        } else {
            sign.is_alphanumeric() && encoded.len() >= MIN_UNPADDED
        }
    };
    (name.chars().all(is_name) && name.contains(char::is_alphanumeric) && name.trim() == name).then_some(name)
}

/// True if the text is more likely base64 than a word or an id. Words have only lower-case letters, ids often
/// only hexadecimal digits; base64 of an ASCII name is almost never one of these.
fn looks_encoded(before: &[u8], encoded: &[u8]) -> bool {
    let prefix = before.strip_suffix(b":").unwrap_or(before);
    let is_padded = encoded.ends_with(b"=");
    if prefix.is_empty() {
        return false;
    }
    if is_default_prefix(prefix) {
        let is_word = encoded.iter().all(u8::is_ascii_lowercase);
        let is_hexadecimal = encoded.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        return !is_word && !is_hexadecimal;
    }
    is_padded || encoded.len() >= MIN_UNPADDED && encoded.iter().any(u8::is_ascii_uppercase)
}

fn is_default_prefix(prefix: &[u8]) -> bool {
    let last = prefix.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    last == b"bull" || last == b"{bull}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str) -> String {
        STANDARD.encode(name)
    }

    #[test]
    fn every_likely_queue_name_is_decoded() {
        for name in [
            "email",
            "jobs",
            "pdf",
            "sms",
            "image-resize",
            "didacta.outbox",
            "My Queue",
            "a",
            "tenant:42",
            "été",
            "メール",
        ] {
            for prefix in ["bull:", "{bull}:", "app:bull:"] {
                let found = queue_name(prefix.as_bytes(), encoded(name).as_bytes());
                assert_eq!(found.as_deref(), Some(name), "{prefix}{}", encoded(name));
            }
        }
        assert_eq!(queue_name(b"tasks:", b"Zm9vYmFy").as_deref(), Some("foobar"));
        assert_eq!(queue_name(b"tasks:", b"Zm9v"), None, "too short to be sure under this prefix");
    }

    #[test]
    fn what_is_no_encoded_name_is_left_alone() {
        for text in [
            "email", "jobs", "file", "fish", "flow", "ends", "worker", "queue", "Worker01", "deadbeef", "a1c3b0d2",
            "1234", "12345678", "ZW1haWw", "ZW1haWx=", "ZW1ha===", "am9icx==", "=", "====", "SMS1",
        ] {
            assert_eq!(queue_name(b"bull:", text.as_bytes()), None, "{text}");
        }
        for name in ["", "a\nb", "a\0", "\u{202e}evil", "(other)", "a\"b", " padded ", "---"] {
            assert_eq!(queue_name(b"bull:", encoded(name).as_bytes()), None, "{name:?}");
        }
        assert_eq!(queue_name(b":", b"ZW1haWw="), None, "there is no prefix");
    }
}
