//! The members of a message, and its parsing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client_list::Field;
use crate::failure::Refusal;

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
    /// When the clients were read, by the announcer's clock: RFC 3339 in UTC with milliseconds.
    pub sampled_at: Timestamp,
    /// Seconds between two statuses.
    pub frequency: f64,
    /// All connections.
    pub connections: u64,
    /// Connections of applications.
    pub online: u64,
    /// Connections of applications that have never sent a command.
    pub silent: u64,
    /// Connections that were opened since exporter start, as observed; without those of exporters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_total: Option<u64>,
    /// Connections that were closed since exporter start, as observed; without those of exporters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_total: Option<u64>,
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
    /// Connections by application, largest first; in the first part only.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCount {
    /// Its name.
    pub app: String,
    /// Its connections. 0 if it is expected or was online recently.
    pub connections: u64,
    /// Its blocked connections.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blocked: u64,
    /// Its subscribed connections.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub subscribed: u64,
    /// Its idle connections, by the announcer's `--idle-after`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle: u64,
}

impl AppCount {
    /// Adds the connections of another application.
    pub(super) fn add(&mut self, other: &AppCount) {
        self.connections += other.connections;
        self.blocked += other.blocked;
        self.subscribed += other.subscribed;
        self.idle += other.idle;
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn one() -> u32 {
    1
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

#[cfg(test)]
mod tests {
    use super::*;

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
