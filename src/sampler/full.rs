//! A sample by one full listing: which commands, in which order, and what they cost the server.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::client_list::Listing;
use crate::clock;
use crate::link::{Command, Link, Reply};
use crate::sample::{Cost, Failure, Sample};
use crate::server_info::{CommandTime, ServerInfo};

/// One sample's commands, sent as one batch: the server runs them without another client's between, so what the command
/// statistics grow by from the first reading to the last is our own cost.
const BATCH: [Command; 7] = [
    Command::InfoServer,
    Command::InfoClients,
    Command::InfoStats,
    Command::InfoReplication,
    Command::InfoCommandStats,
    Command::ClientList,
    Command::InfoCommandStats,
];

/// How many commands of the batch are `INFO`.
const INFO_COMMANDS: u32 = 6;

/// Reads the node once.
///
/// # Errors
/// The link broke, or the node refused everything.
pub(super) async fn take(link: &mut Link) -> Result<Sample, Failure> {
    let started = Instant::now();
    let replies = link.send(&BATCH).await?;
    let duration = started.elapsed();
    let (mut infos, mut statistics, mut listing) = (Vec::new(), Vec::new(), None);
    for (command, reply) in BATCH.into_iter().zip(replies) {
        let text = reply.map(Reply::into_text);
        match command {
            Command::ClientList => listing = Some(text),
            // What commands cost is good to know; everything else can be told without it.
            Command::InfoCommandStats => statistics.extend(text.ok()),
            _ => infos.push(text),
        }
    }
    let listing = listing.expect("the batch lists clients");
    let info = infos.into_iter().collect::<Result<Vec<_>, _>>().map(|texts| ServerInfo::parse(&texts.join(&b'\n')));
    let spent = spent(&statistics);
    // A node that refuses everything gives no sample; the list is what we came for, so its refusal is the one told.
    if let (Err(_), Err(failure)) = (&info, &listing) {
        return Err(failure.clone());
    }
    Ok(Sample {
        at: info.as_ref().ok().and_then(server_clock).unwrap_or_else(clock::now),
        cost: Cost {
            duration,
            pages: u32::from(listing.is_ok()),
            server_time: spent.map(|spent| spent.list + INFO_COMMANDS * spent.info),
            longest_command: spent.map(|spent| spent.list.max(spent.info)),
        },
        info,
        listing: listing.map(Listing::new),
        own_ids: link.id.into_iter().collect(),
    })
}

fn server_clock(info: &ServerInfo) -> Option<Timestamp> {
    Timestamp::from_microsecond(info.clock_micros?).ok()
}

/// Main-thread time of one command of each sort.
#[derive(Clone, Copy)]
struct Spent {
    list: Duration,
    info: Duration,
}

/// What the command statistics grew by between the batch's two readings: one listing, and one `INFO`, for the statistics
/// count a command when it has ended. Before 7.0 all of `CLIENT` is one line, which is the same to us.
fn spent(statistics: &[Vec<u8>]) -> Option<Spent> {
    let [before, after] = statistics else { return None };
    let per_call = |commands: &[&str]| {
        let before = CommandTime::parse(before, commands).unwrap_or_default();
        let grown = CommandTime::parse(after, commands)?.since(before)?;
        // More than one call only if another thread of the server let somebody in between: then the mean is the best guess.
        Some(Duration::from_micros(grown.micros.checked_div(grown.calls)?))
    };
    Some(Spent { list: per_call(&["client|list", "client"])?, info: per_call(&["info"])? })
}
