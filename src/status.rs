//! The wire form of what is announced and heard: one JSON object a message. Pure. docs/status-messages.md tells it to users.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::client_list::Field;

/// The name and version of the form. A reader refuses another major version; fields may be added to this one.
pub const SCHEMA: &str = "redis-client-status/1";

/// The channel that articles promise, and where statuses are announced if nothing else is said.
pub const CHANNEL: &str = "__redis__:cli";

/// The most bytes of one message: what is larger is told in parts, and not read.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The fields of `CLIENT LIST` that a status tells: those that say who a client is and what it does and holds. Told with `_` for
/// `-`; zero and empty ones are left out.
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

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// All clients, or as many as fit.
    Status,
    /// Who came and went.
    Changes,
    /// That the announcer is there, while a sample takes long.
    Heartbeat,
}

/// What every message begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// What the message is.
    pub kind: MessageKind,
    /// Who announces: host and a random part.
    pub announcer: String,
    /// The node's address as the announcer reaches it.
    pub node: String,
    /// The node's identity until it restarts.
    pub run_id: String,
    /// `master` or `slave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Grows with each message of the announcer; the parts of one status have one.
    pub seq: u64,
    /// When the clients were read, by the node's clock, in seconds since 1970.
    pub at: f64,
    /// Seconds from one status to the next.
    pub frequency: f64,
    /// All connections.
    pub connections: u64,
    /// Connections of applications.
    pub online: u64,
    /// Of these, those that have never sent a command.
    pub silent: u64,
    /// The node's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxclients: Option<u64>,
}

/// A message as it is heard.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// What it begins with.
    #[serde(flatten)]
    pub header: Header,
    /// What `INFO` told, by its own names.
    #[serde(default)]
    pub info: Map<String, Value>,
    /// The fields that the server reports, of those a status tells.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Clients left out.
    #[serde(default)]
    pub truncated: u64,
    /// Which part it is.
    #[serde(default = "one")]
    pub part: u32,
    /// Of how many.
    #[serde(default = "one")]
    pub parts: u32,
    /// Its clients.
    #[serde(default)]
    pub clients: Vec<Map<String, Value>>,
    /// Connections by application, the largest.
    #[serde(default)]
    pub apps: Vec<AppCount>,
    /// Who came, of `changes`.
    #[serde(default)]
    pub opened: Vec<Map<String, Value>>,
    /// Who went, of `changes`.
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

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is larger than a part may be.
    Oversize,
    /// It is no JSON object of our form.
    Malformed,
    /// It says another schema.
    Schema,
    /// A client in it cannot be one, as with a space in its name.
    Client,
    /// A part of a status is missing.
    Incomplete,
    /// It was heard before, or is too old.
    Replay,
    /// It is not signed, or not with a key of ours.
    Signature,
    /// More came than anybody would announce.
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

/// Reads a message. `None` for one of our form whose kind is not known here: a later version may have more of them.
///
/// # Errors
/// Why it cannot be taken.
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
    let sound = header.at.is_finite()
        && header.at > 0.0
        && (0.0..=86_400.0).contains(&header.frequency)
        && (1..=message.parts).contains(&message.part);
    if sound { Ok(Some(message)) } else { Err(Refusal::Malformed) }
}

/// A key that statuses are signed with.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

/// What stands before a signature. A signature is the last member of a message's object, and signs all bytes before it.
const SIGNATURE: &str = ",\"signature\":\"";

/// How long a signature is, with what stands around it.
pub const SIGNED_MORE: usize = SIGNATURE.len() + 64 + 2;

impl Key {
    /// A key of any bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// Signs a message: a JSON object, which gets one more member.
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

    /// Whether a message was signed with this key.
    pub fn has_signed(&self, message: &[u8]) -> bool {
        let Some(split) = message.len().checked_sub(SIGNED_MORE) else { return false };
        let (signed, signature) = message.split_at(split);
        let hex = signature.strip_prefix(SIGNATURE.as_bytes()).and_then(|rest| rest.strip_suffix(b"\"}"));
        let Some(bytes) = hex.and_then(bytes_of_hex) else { return false };
        let mut mac = self.0.clone();
        mac.update(signed);
        mac.verify_slice(&bytes).is_ok()
    }
}

/// Whether a message was signed with one of these keys; without any nobody can tell.
///
/// # Errors
/// If there are keys, and it was signed with none of them.
pub fn is_signed(message: &[u8], keys: &[Key]) -> Result<bool, Refusal> {
    match keys.iter().any(|key| key.has_signed(message)) {
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
    fn a_signature_is_of_every_byte_and_one_key() {
        let (key, other) = (Key::new(b"secret"), Key::new(b"Secret"));
        let mut message = r#"{"schema":"redis-client-status/1","connections":3}"#.to_owned();
        assert!(!key.has_signed(message.as_bytes()));
        key.sign(&mut message);
        assert!(serde_json::from_str::<Value>(&message).is_ok_and(|json| json["connections"] == 3));
        assert!(key.has_signed(message.as_bytes()) && !other.has_signed(message.as_bytes()));
        for place in 0..message.len() {
            let mut forged = message.clone().into_bytes();
            forged[place] ^= 1;
            // The case of a hexadecimal digit is no part of what is signed.
            if !forged.eq_ignore_ascii_case(message.as_bytes()) {
                assert!(!key.has_signed(&forged), "{place}");
            }
        }
        assert!(!key.has_signed(b"") && !key.has_signed(b"}"));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn it_is_the_hmac_that_everybody_computes() {
        let mut message = "what do ya want for nothing?}".to_owned();
        Key::new(b"Jefe").sign(&mut message);
        assert!(message.contains("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"), "{message}");
    }

    #[test]
    fn what_is_no_status_is_told_apart() {
        let header = r#""announcer":"a","node":"n","run_id":"r","seq":1,"at":1.5,"frequency":10,"connections":1,"online":1,"silent":0"#;
        let read = |text: &str| read(text.as_bytes()).map(|message| message.is_some());
        assert_eq!(read(&format!(r#"{{"schema":"{SCHEMA}","kind":"status",{header}}}"#)), Ok(true));
        assert_eq!(read(&format!(r#"{{"schema":"{SCHEMA}","kind":"weather"}}"#)), Ok(false));
        assert_eq!(read(r#"{"schema":"redis-client-status/2","kind":"status"}"#), Err(Refusal::Schema));
        for text in ["", "hello", "[]", "{}", "null", &format!(r#"{{"schema":"{SCHEMA}","kind":"status"}}"#)] {
            assert_eq!(read(text), Err(Refusal::Malformed), "{text}");
        }
        let far = header.replace("1.5", "1e999").replace("\"seq\":1", "\"seq\":-1");
        assert_eq!(read(&format!(r#"{{"schema":"{SCHEMA}","kind":"status",{far}}}"#)), Err(Refusal::Malformed));
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep), Err(Refusal::Malformed));
    }
}
