//! Signatures of messages: HMAC-SHA256 as the last member of the object.

use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::failure::Refusal;

/// An HMAC key that signs and verifies messages.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The keys of a channel, shared by all that sign and verify, so that they can be rotated: the first one signs, any
/// verifies.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Arc<RwLock<Arc<[Key]>>>);

impl KeyRing {
    /// The current keys.
    pub fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the keys.
    pub fn replace(&self, keys: Vec<Key>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }
}

impl From<Vec<Key>> for KeyRing {
    fn from(keys: Vec<Key>) -> Self {
        Self(Arc::new(RwLock::new(keys.into())))
    }
}

/// The text before a signature. The signature is the last member of a message's object, and covers all bytes before it.
const SIGNATURE: &str = ",\"signature\":\"";

/// The length of a signature with its member name and the end of the object, in bytes.
pub const SIGNATURE_OVERHEAD: usize = SIGNATURE.len() + 64 + 2;

impl Key {
    /// A key from a secret of any length.
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// Signs a message, a JSON object, by adding the signature as its last member.
    pub fn sign(&self, message: &mut String) {
        let closing = message.pop();
        debug_assert_eq!(closing, Some('}'));
        let mut mac = self.0.clone();
        mac.update(message.as_bytes());
        message.push_str(SIGNATURE);
        for byte in mac.finalize().into_bytes() {
            message.push_str(&format!("{byte:02x}"));
        }
        message.push_str("\"}");
    }

    /// Returns true if a message was signed with this key.
    pub fn verifies(&self, message: &[u8]) -> bool {
        let Some(split) = message.len().checked_sub(SIGNATURE_OVERHEAD) else { return false };
        let (signed, signature) = message.split_at(split);
        let hex = signature.strip_prefix(SIGNATURE.as_bytes()).and_then(|rest| rest.strip_suffix(b"\"}"));
        let Some(bytes) = hex.and_then(bytes_of_hex) else { return false };
        let mut mac = self.0.clone();
        mac.update(signed);
        mac.verify_slice(&bytes).is_ok()
    }
}

/// Returns true if a message was signed with one of these keys, and false if there are no keys.
///
/// # Errors
/// There are keys, and none of them signed the message.
pub fn verify(message: &[u8], keys: &[Key]) -> Result<bool, Refusal> {
    match keys.iter().any(|key| key.verifies(message)) {
        false if !keys.is_empty() => Err(Refusal::Signature),
        signed => Ok(signed),
    }
}

fn bytes_of_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    hex.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_signature_covers_every_byte_and_fits_one_key() {
        let (key, other) = (Key::new(b"secret"), Key::new(b"Secret"));
        let mut message = r#"{"schema":"redis-client-status/2","connections":3}"#.to_owned();
        assert!(!key.verifies(message.as_bytes()));
        key.sign(&mut message);
        assert!(serde_json::from_str::<Value>(&message).is_ok_and(|json| json["connections"] == 3));
        assert!(key.verifies(message.as_bytes()) && !other.verifies(message.as_bytes()));
        for place in 0..message.len() {
            let mut forged = message.clone().into_bytes();
            forged[place] ^= 1;
            // The signature's hexadecimal digits may be upper or lower case.
            if !forged.eq_ignore_ascii_case(message.as_bytes()) {
                assert!(!key.verifies(&forged), "{place}");
            }
        }
        assert!(!key.verifies(b"") && !key.verifies(b"}"));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_standard_hmac_sha256() {
        let mut message = "what do ya want for nothing?}".to_owned();
        Key::new(b"Jefe").sign(&mut message);
        assert!(message.contains("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"), "{message}");
    }
}
