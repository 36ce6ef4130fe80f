//! Clients as rows: one client of one node, each of its values by name.

use jiff::Timestamp;

use crate::client_list::{Client, Field};
use crate::sample::Place;
use crate::snapshot::{Kind, Limits, Snapshot, State, network_label, spelled_out};

/// One client of one node.
#[derive(Clone)]
pub struct Row<'a> {
    /// The node it is connected to.
    pub node: &'a str,
    /// When it was read.
    pub at: Timestamp,
    /// The client.
    pub client: &'a Client<'a>,
    /// What it is.
    pub kind: Kind,
    /// What it does; internal connections have no state.
    pub state: Option<State>,
    /// The application it belongs to; internal connections have none.
    pub app: Option<String>,
    /// The network it comes from, where its address is known.
    pub network: Option<String>,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    Kind,
    /// What it does.
    State,
    /// The application it belongs to.
    App,
    /// The network it comes from.
    Network,
}

impl Column {
    /// The column of that name: a field with `-` or `_`, `redis`, `kind`, `state`, `app`, `network`, and a few names that people expect.
    pub fn from_name(name: &str) -> Option<Self> {
        let field = match name {
            "redis" => return Some(Column::Redis),
            "kind" => return Some(Column::Kind),
            "state" => return Some(Column::State),
            "app" | "client_app" => return Some(Column::App),
            "network" => return Some(Column::Network),
            "address" => Field::Addr,
            "library" | "lib" => Field::LibName,
            "database" => Field::Db,
            "command" => Field::Cmd,
            name => Field::from_key(name.replace('_', "-").as_bytes())?,
        };
        Some(Column::Field(field))
    }
}

/// The clients of a node's snapshot as rows, in the server's order.
pub fn rows<'a>(node: &'a str, snapshot: &'a Snapshot, limits: &Limits) -> Vec<Row<'a>> {
    let Some(pages) = snapshot.pages() else { return Vec::new() };
    let row = |(place, client): (Place, &'a Client<'a>)| {
        let at = pages.read_at(place).unwrap_or(snapshot.sample.at);
        let kind = snapshot.kind(client);
        let is_application = kind == Kind::Application;
        let state = is_application.then(|| State::of(client, limits.idle_after));
        // Without an id it is not in the snapshot's roster.
        let app = || snapshot.app(place).map_or_else(|| limits.grouping.app(client).to_string(), str::to_owned);
        let app = is_application.then(app);
        Row { node, at, client, kind, state, app, network: network_label(client, limits.network_prefix) }
    };
    pages.places().map(row).collect()
}

impl Row<'_> {
    /// A value by its column.
    pub fn value(&self, column: Column) -> Value {
        match column {
            Column::Redis => Value::Text(self.node.to_owned()),
            Column::Kind => Value::Text(self.kind.label().to_owned()),
            Column::State => self.state.map_or(Value::None, |state| Value::Text(state.label().to_owned())),
            Column::App => self.app.as_ref().map_or(Value::None, |app| Value::Text(app.clone())),
            Column::Network => self.network.clone().map_or(Value::None, Value::Text),
            Column::Field(field) if field.is_text() => self.text(field).map_or(Value::None, Value::Text),
            Column::Field(field) => self.client.number(field).map_or(Value::None, Value::Number),
        }
    }

    /// A field's text, harmless wherever it is shown.
    pub fn text(&self, field: Field) -> Option<String> {
        self.client.text(field).map(spelled_out)
    }
}
