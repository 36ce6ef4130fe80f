//! The args of `clients`.

use clap::{Args, ValueEnum};

use super::{GroupArgs, RedisArgs};
use crate::view::column::Column;

/// The heading of the args that select clients.
const LIST: &str = "List";

/// Explains every column, from the table of columns.
fn columns_help() -> String {
    let line = |column: &Column| {
        let mark = if column.groupable { "*" } else { "" };
        format!("  - {}{mark}: {}\n", column.name, column.help)
    };
    let lines: String = Column::of_clients().map(line).collect();
    format!("Columns (* also for --by). The keys of CLIENT LIST are accepted as well: omem, tot-mem.\n{lines}")
}

/// The args of `clients`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = columns_help())]
pub struct ClientsArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub redis: RedisArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the type says it")]
    pub group: GroupArgs,
    /// Idle time after which a client counts as idle
    #[arg(help_heading = LIST, long = "idle-after", env = "IDLE_AFTER", value_name = "DURATION", default_value = "5m")]
    pub idle_after: String,
    /// Format of the list
    #[arg(help_heading = LIST, long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Columns of the list, in order: --columns id,address,memory. Repeatable
    ///
    /// Without it, a table has the most important columns, and JSON and CSV have all.
    #[arg(help_heading = LIST, long, value_name = "COLUMN", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Column to sort by, with - in front for the largest first: --sort=-memory
    #[arg(
        help_heading = LIST,
        long,
        value_name = "COLUMN",
        default_value = "-idle_seconds",
        allow_hyphen_values = true
    )]
    pub sort: String,
    /// List only matching clients: 'idle>10m', 'memory>1MB', 'address=10.0.0.0/8', 'state=blocked'. Repeatable
    ///
    /// Operators are = and != for all columns, ~ (contains) and ^= (starts with) for text, and < > <= >= for numbers,
    /// durations (10m), sizes (64KiB), times (2026-01-31T12:00:00Z, or 5m for five minutes ago) and versions. Addresses
    /// can be an address with or without a port, a network (10.0.0.0/8) or a prefix (10.0.*). Several filters must all
    /// match.
    #[arg(help_heading = LIST, long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Maximum number of clients, or of groups with --by
    #[arg(help_heading = LIST, long, value_name = "N")]
    pub limit: Option<usize>,
    /// Group application clients by a column instead of listing clients: --by app, --by host
    ///
    /// Internal connections are counted with --by kind, or with a filter on the kind.
    #[arg(help_heading = LIST, long, value_name = "COLUMN", conflicts_with = "columns")]
    pub by: Option<String>,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ListFormat {
    Table,
    Json,
    Csv,
}
