//! The wire format of the status channel: one JSON object per message. Pure. It is documented in
//! docs/status-messages.md.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::client_list::Field;

/// The name and version of the format. A reader refuses another version; members may be added to this one.
pub const SCHEMA: &str = "redis-client-status/2";

/// The default channel. It is the one that articles about `client-announce-frequency` name.
pub const CHANNEL: &str = "__redis__:cli";

/// Maximum size of one message in bytes. A larger status is sent in parts, and a larger message is skipped by a reader.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The fields of `CLIENT LIST` in a status: the identity of a client, its activity, and its resources. Member names
/// have `_` in place of `-`. Fields that are zero or empty are omitted.
pub const FIELDS: [Field; 19] = [
    Field::Id,
    Field::Addr,
    Field::Name,
    Field::User,
    Field::Age,
    Field::Idle,
    Field::Flags,
    Field::Db,
    Field::Sub,
    Field::Psub,
    Field::Ssub,
    Field::Cmd,
    Field::LibName,
    Field::Obl,
    Field::Omem,
    Field::TotMem,
    Field::TotCmds,
    Field::TotNetIn,
    Field::TotNetOut,
];

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// All clients, or as many as fit.
    Status,
    /// Connections opened and closed.
    Changes,
    /// A sign of life, while the next sample takes long.
    Heartbeat,
}

/// The members of every message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// The kind of the message.
    pub kind: MessageKind,
    /// The name of the announcer: host and a random part.
    pub announcer: String,
    /// The node's address, as used by the announcer: the column `redis`.
    #[serde(rename = "redis")]
    pub node: String,
    /// The node's `run_id`, which changes at each restart.
    pub run_id: String,
    /// `master` or `slave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Sequence number: grows with each message of the announcer; the parts of one status share it.
    pub seq: u64,
    /// When the clients were read, by the node's clock: RFC 3339 in UTC with milliseconds.
    pub sampled_at: Timestamp,
    /// Seconds between two statuses.
    pub frequency: f64,
    /// All connections.
    pub connections: u64,
    /// Connections of applications.
    pub online: u64,
    /// Connections of applications that have never sent a command.
    pub silent: u64,
    /// The node's limit on connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxclients: Option<u64>,
}

/// A received message.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// The members of every message.
    #[serde(flatten)]
    pub header: Header,
    /// Fields of `INFO`, by their names in `INFO`.
    #[serde(default)]
    pub info: Map<String, Value>,
    /// Those of [`FIELDS`] that the server reports.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Number of clients that are omitted.
    #[serde(default)]
    pub truncated: u64,
    /// The number of this part, from 1.
    #[serde(default = "one")]
    pub part: u32,
    /// The number of parts of this status.
    #[serde(default = "one")]
    pub parts: u32,
    /// The clients in this part.
    #[serde(default)]
    pub clients: Vec<Map<String, Value>>,
    /// Connections by application, largest first.
    #[serde(default)]
    pub apps: Vec<AppCount>,
    /// Connections opened; in `changes` only.
    #[serde(default)]
    pub opened: Vec<Map<String, Value>>,
    /// Connections closed; in `changes` only.
    #[serde(default)]
    pub closed: Vec<Map<String, Value>>,
}

/// An application with its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCount {
    /// Its name.
    pub app: String,
    /// Its connections.
    pub connections: u64,
}

fn one() -> u32 {
    1
}

/// The reason why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is larger than a message may be, or the status has too many parts or clients.
    Oversize,
    /// It is not a JSON object of this format.
    Malformed,
    /// It has another schema.
    Schema,
    /// A client in it is invalid, for example with a space in its name.
    Client,
    /// A part of a status, or some of its clients, are missing.
    Incomplete,
    /// It was received before, or is too old.
    Replay,
    /// It is not signed with one of our keys.
    Signature,
    /// It is above the maximum rate of messages.
    Flood,
}

impl Refusal {
    /// Every refusal, in the order in which they are counted.
    pub const ALL: [Refusal; 8] = [
        Refusal::Oversize,
        Refusal::Malformed,
        Refusal::Schema,
        Refusal::Client,
        Refusal::Incomplete,
        Refusal::Replay,
        Refusal::Signature,
        Refusal::Flood,
    ];

    /// The refusal as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Oversize => "oversize",
            Refusal::Malformed => "malformed",
            Refusal::Schema => "schema",
            Refusal::Client => "client",
            Refusal::Incomplete => "incomplete",
            Refusal::Replay => "replay",
            Refusal::Signature => "signature",
            Refusal::Flood => "flood",
        }
    }
}

/// Parses a message. Returns `None` if its kind is unknown: a later version may have more kinds.
///
/// # Errors
/// The reason why it is refused.
pub fn read(message: &[u8]) -> Result<Option<Message>, Refusal> {
    #[derive(Deserialize)]
    struct Outline {
        schema: String,
        kind: String,
    }
    let outline: Outline = serde_json::from_slice(message).map_err(|_| Refusal::Malformed)?;
    if outline.schema != SCHEMA {
        return Err(Refusal::Schema);
    }
    if !["status", "changes", "heartbeat"].contains(&outline.kind.as_str()) {
        return Ok(None);
    }
    let message: Message = serde_json::from_slice(message).map_err(|_| Refusal::Malformed)?;
    let header = &message.header;
    let is_valid = header.sampled_at > Timestamp::UNIX_EPOCH
        && (0.0..=86_400.0).contains(&header.frequency)
        && (1..=message.parts).contains(&message.part);
    if is_valid { Ok(Some(message)) } else { Err(Refusal::Malformed) }
}

/// An HMAC key that signs and verifies messages.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
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

    #[test]
    fn other_messages_are_distinguished_from_statuses() {
        let header = [
            r#""announcer":"a","redis":"n","run_id":"r","seq":1,"sampled_at":"2026-01-01T00:00:00.5Z","frequency":10"#,
            r#""connections":1,"online":1,"silent":0"#,
        ]
        .join(",");
        let read = |text: &str| read(text.as_bytes()).map(|message| message.is_some());
        assert_eq!(read(&format!(r#"{{"schema":"{SCHEMA}","kind":"status",{header}}}"#)), Ok(true));
        assert_eq!(read(&format!(r#"{{"schema":"{SCHEMA}","kind":"weather"}}"#)), Ok(false));
        assert_eq!(read(r#"{"schema":"redis-client-status/1","kind":"status"}"#), Err(Refusal::Schema));
        for text in ["", "hello", "[]", "{}", "null", &format!(r#"{{"schema":"{SCHEMA}","kind":"status"}}"#)] {
            assert_eq!(read(text), Err(Refusal::Malformed), "{text}");
        }
        let far = header.replace("2026-01-01T00", "tomorrow").replace("\"seq\":1", "\"seq\":-1");
        assert_eq!(read(&format!(r#"{{"schema":"{SCHEMA}","kind":"status",{far}}}"#)), Err(Refusal::Malformed));
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep), Err(Refusal::Malformed));
    }
}
