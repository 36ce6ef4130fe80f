//! Clients as rows: one client of one node, each of its values by name.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::client_list::{Address, Client, Field};
use crate::sample::Place;
use crate::snapshot::{
    ClientKind, Closed, Limits, NetworkPrefix, Snapshot, State, network_label, output_buffer_bytes, spelled_out,
};

/// One client of one node.
#[derive(Clone)]
pub struct Row<'a> {
    /// The node it is connected to.
    pub node: &'a str,
    /// Where in the node's snapshot it is.
    pub place: Place,
    /// When it was read.
    pub at: Timestamp,
    /// The client.
    pub client: &'a Client<'a>,
    /// What it is.
    pub kind: ClientKind,
    /// What it does; internal connections have no state.
    pub state: Option<State>,
    /// The application it belongs to; internal connections have none.
    pub app: Option<Cow<'a, str>>,
    /// How networks are told apart.
    network_prefix: NetworkPrefix,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// The row does not have it.
    None,
    /// A number.
    Number(i64),
    /// Text, harmless wherever it is shown.
    Text(String),
}

/// What can be asked of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// A field of `CLIENT LIST`.
    Field(Field),
    /// The node.
    Redis,
    /// What the connection is.
    ClientKind,
    /// What it does.
    State,
    /// The application it belongs to.
    App,
    /// The network it comes from.
    Network,
    /// The address it comes from, without the port.
    Host,
    /// Bytes that wait to be sent to it.
    Buffers,
}

impl Column {
    /// The column of that name: a field with `-` or `_`, `redis`, `kind`, `state`, `app`, `network`, `host`, `buffers`, and a few
    /// names that people expect.
    pub fn from_name(name: &str) -> Option<Self> {
        let field = match name {
            "redis" => return Some(Column::Redis),
            "kind" => return Some(Column::ClientKind),
            "state" => return Some(Column::State),
            "app" | "client_app" => return Some(Column::App),
            "network" => return Some(Column::Network),
            "host" => return Some(Column::Host),
            "buffers" => return Some(Column::Buffers),
            "address" => Field::Addr,
            "library" | "lib" => Field::LibName,
            "database" => Field::Db,
            "command" => Field::Cmd,
            name => Field::from_key(name.replace('_', "-").as_bytes())?,
        };
        Some(Column::Field(field))
    }

    /// Its name, as the API writes it.
    pub fn name(self) -> String {
        match self {
            Column::Redis => "redis".to_owned(),
            Column::ClientKind => "kind".to_owned(),
            Column::State => "state".to_owned(),
            Column::App => "app".to_owned(),
            Column::Network => "network".to_owned(),
            Column::Host => "host".to_owned(),
            Column::Buffers => "buffers".to_owned(),
            Column::Field(field) => field.key().replace('-', "_"),
        }
    }

    /// What it tells, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Column::Redis => "The server it is connected to.",
            Column::ClientKind => {
                "What the connection is: application, replica, primary, monitor, sentinel, other, exporter."
            }
            Column::State => "What it does: active, waiting (blocked or subscribed) or idle.",
            Column::App => "The application it belongs to.",
            Column::Network => "The network it comes from.",
            Column::Host => "The address it comes from, without the port.",
            Column::Buffers => "Bytes that wait to be sent to it (obl and omem).",
            Column::Field(field) => field.meaning(),
        }
    }
}

/// What has values by column: conditions are put to it.
pub trait Record {
    /// A value by its column.
    fn value(&self, column: Column) -> Value;
}

impl Record for Row<'_> {
    fn value(&self, column: Column) -> Value {
        match column {
            Column::Redis => Value::Text(self.node.to_owned()),
            Column::ClientKind => Value::Text(self.kind.label().to_owned()),
            Column::State => self.state.map_or(Value::None, |state| Value::Text(state.label().to_owned())),
            Column::App => self.app.as_deref().map_or(Value::None, |app| Value::Text(app.to_owned())),
            Column::Network => network_label(self.client, self.network_prefix).map_or(Value::None, Value::Text),
            Column::Host => self.host().map_or(Value::None, Value::Text),
            Column::Buffers => i64::try_from(output_buffer_bytes(self.client)).map_or(Value::None, Value::Number),
            Column::Field(field) if field.is_text() => self.text(field).map_or(Value::None, Value::Text),
            Column::Field(field) => self.client.number(field).map_or(Value::None, Value::Number),
        }
    }
}

/// A client that went, of this node.
impl Record for (&str, &Closed) {
    fn value(&self, column: Column) -> Value {
        let (node, closed) = *self;
        let text = |text: &str| Value::Text(text.to_owned());
        let number =
            |number: Option<u64>| number.and_then(|number| number.try_into().ok()).map_or(Value::None, Value::Number);
        match column {
            Column::Redis => text(node),
            Column::ClientKind => text(closed.kind.label()),
            Column::App => closed.app.as_deref().map_or(Value::None, text),
            Column::Host => Value::Text(host(Address::parse(closed.address.as_bytes()))),
            Column::Field(Field::Id) => number(Some(closed.id)),
            Column::Field(Field::Addr) => text(&closed.address),
            Column::Field(Field::Name) => text(&closed.name),
            Column::Field(Field::User) => text(&closed.user),
            Column::Field(Field::LibName) => text(&closed.library),
            Column::Field(Field::Cmd) => text(&closed.command),
            Column::Field(Field::Age) => number(closed.lifetime_seconds()),
            Column::Field(Field::TotCmds) => number(closed.commands),
            Column::Field(Field::TotNetIn) => number(closed.received_bytes),
            Column::Field(Field::TotNetOut) => number(closed.sent_bytes),
            // What it did at the end is not remembered.
            Column::State | Column::Network | Column::Buffers | Column::Field(_) => Value::None,
        }
    }
}

fn host(address: Address<'_>) -> String {
    match address {
        Address::Inet(address) => address.ip().to_canonical().to_string(),
        Address::Unix(path) => spelled_out(path),
        Address::Unknown(text) => spelled_out(text),
    }
}

/// The clients of a node's snapshot as rows, in the server's order.
pub fn rows<'a>(node: &'a str, snapshot: &'a Snapshot, limits: &Limits) -> Vec<Row<'a>> {
    let Some(pages) = snapshot.pages() else { return Vec::new() };
    pages.places().filter_map(|(place, _)| row(node, snapshot, place, limits)).collect()
}

/// The client at a place of a node's snapshot as a row.
pub fn row<'a>(node: &'a str, snapshot: &'a Snapshot, place: Place, limits: &Limits) -> Option<Row<'a>> {
    let pages = snapshot.pages()?;
    let client = pages.client(place)?;
    let at = pages.read_at(place).unwrap_or(snapshot.sample.at);
    let kind = snapshot.kind(client);
    let is_application = kind == ClientKind::Application;
    let state = is_application.then(|| State::of(client, limits.idle_after));
    // Without an id it is not in the snapshot's roster.
    let by_rules = || Cow::Owned(limits.grouping.app(client).to_string());
    let app = is_application.then(|| snapshot.app(place).map_or_else(by_rules, Cow::Borrowed));
    Some(Row { node, place, at, client, kind, state, app, network_prefix: limits.network_prefix })
}

impl Row<'_> {
    fn host(&self) -> Option<String> {
        self.client.address().map(host)
    }

    /// A field's text, harmless wherever it is shown.
    pub fn text(&self, field: Field) -> Option<String> {
        self.client.text(field).map(spelled_out)
    }
}
