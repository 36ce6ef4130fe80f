//! A sample: one reading of a node's clients. Pure data: the sampler or the receiver creates it, and `snapshot` uses
//! it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::client_list::{Client, Listing, Unreadable};
use crate::failure::Failure;
use crate::server_info::ServerInfo;

/// The name that our links set with `CLIENT SETNAME`, and their library name. Exporters recognize each other's links by
/// it.
pub const OUR_NAME: &str = "redis-client-exporter";

/// One reading of a node's clients. Either `info` or `clients` may be a failure, if the server refuses that command.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The time at which the reading began, by our clock. The server's clock is used for no time.
    pub at: Timestamp,
    /// The result of `INFO`, or the refusal.
    pub info: Result<ServerInfo, Failure>,
    /// The result of `CLIENT LIST`, or the refusal.
    pub clients: Result<Pages, Failure>,
    /// Lines of the replies since the previous sample that could not be parsed.
    pub unreadable: Unreadable,
    /// The ids of our own links to the node.
    pub own_ids: Vec<u64>,
    /// The ids of clients that are connected, and whose rows could not be read since they connected.
    pub unreadable_ids: Vec<u64>,
    /// The connections that this process opened to the node.
    pub own: OwnConnections,
    /// The relation of this reading to the server's count of received connections.
    pub arrivals: Arrivals,
    /// The cost of the reading.
    pub cost: Cost,
    /// The source of the sample.
    pub source: Source,
    /// The server's clock minus ours, exact to half a round trip; `None` if `INFO` does not report its clock, and for a
    /// received sample.
    pub clock_difference: Option<SignedDuration>,
    /// The assumptions about the server that do not hold, and what is missing.
    pub conditions: SampleConditions,
}

/// An assumption about the server that does not hold, or the reason why clients are missing from a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleCondition {
    /// Ids are in no order, or listing by id returns other clients. Every sample is a full listing.
    IdsUnordered,
    /// A full listing failed, so clients are listed in pages.
    FullListingFails,
    /// Large pages failed, so smaller ones are used.
    PagesLimited,
    /// Clients that connected before the exporter are still being searched for.
    Scanning,
    /// The rows of some clients cannot be read. Those that were read before are kept.
    ClientsUnreadable,
    /// `INFO` and `CLIENT LIST` differ in the number of connections by more than opened and closed in between.
    CountsDiffer,
    /// The server's counter of connections fell, for example by `CONFIG RESETSTAT`.
    CountersReset,
    /// Another server answers at the address since this sample. Found by comparing snapshots.
    AnotherServer,
}

impl SampleCondition {
    /// Every condition.
    pub const ALL: [SampleCondition; 8] = [
        SampleCondition::IdsUnordered,
        SampleCondition::FullListingFails,
        SampleCondition::PagesLimited,
        SampleCondition::Scanning,
        SampleCondition::ClientsUnreadable,
        SampleCondition::CountsDiffer,
        SampleCondition::CountersReset,
        SampleCondition::AnotherServer,
    ];

    /// The condition as a metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            SampleCondition::IdsUnordered => "ids_unordered",
            SampleCondition::FullListingFails => "full_listing_fails",
            SampleCondition::PagesLimited => "pages_limited",
            SampleCondition::Scanning => "scanning",
            SampleCondition::ClientsUnreadable => "clients_unreadable",
            SampleCondition::CountsDiffer => "counts_differ",
            SampleCondition::CountersReset => "counters_reset",
            SampleCondition::AnotherServer => "another_server",
        }
    }

    /// The condition as a sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            SampleCondition::IdsUnordered => {
                "Client ids are in no order, as behind a proxy, so all clients are listed with one command."
            }
            SampleCondition::FullListingFails => {
                "The server or the network failed while all clients were listed, so they are listed in pages; check \
                 client-output-buffer-limit normal and --redis.timeout."
            }
            SampleCondition::PagesLimited => {
                "The server or the network failed at larger pages, so smaller ones are used; check \
                 client-output-buffer-limit normal and --redis.timeout."
            }
            SampleCondition::Scanning => {
                "Clients that connected before the exporter started are still being searched for; the counts are too \
                 low until all are found."
            }
            SampleCondition::ClientsUnreadable => {
                "The server or the network failed at the rows of some clients, so they are left out, or shown as they \
                 were last read; the log has their ids, check their names."
            }
            SampleCondition::CountsDiffer => {
                "INFO and CLIENT LIST report different numbers of connections, so clients may be missing."
            }
            SampleCondition::CountersReset => {
                "The server's counters were reset in the last 5 minutes, for example by CONFIG RESETSTAT."
            }
            SampleCondition::AnotherServer => {
                "Another server began to answer at this address in the last 5 minutes: a failover, or a balancer."
            }
        }
    }

    /// True if clients may be missing from the sample.
    pub fn is_incomplete(self) -> bool {
        matches!(self, SampleCondition::Scanning | SampleCondition::ClientsUnreadable | SampleCondition::CountsDiffer)
    }
}

/// A set of conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleConditions(u16);

impl SampleConditions {
    /// Adds a condition if it holds.
    pub fn set(&mut self, condition: SampleCondition, holds: bool) {
        self.0 |= u16::from(holds) << condition as u16;
    }

    /// Returns true if a condition holds.
    pub fn has(self, condition: SampleCondition) -> bool {
        self.0 & 1 << condition as u16 != 0
    }

    /// The conditions that hold.
    pub fn iter(self) -> impl Iterator<Item = SampleCondition> {
        SampleCondition::ALL.into_iter().filter(move |condition| self.has(*condition))
    }
}

/// The source of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Sampled by this exporter.
    #[default]
    Sampled,
    /// Received from another exporter's status.
    Received(ReceivedTotals),
}

/// The totals of a received status, which may omit clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedTotals {
    /// All connections.
    pub connections: u64,
    /// Connections of applications.
    pub online: u64,
    /// Connections of applications that have never sent a command.
    pub silent: u64,
    /// Clients that did not fit into the status.
    pub truncated: u64,
}

impl Sample {
    /// A complete sample of one listing, taken by this exporter, without anything else. Others are made from it:
    /// `Sample { own_ids, ..Sample::of(at, listing) }`.
    pub fn of(at: Timestamp, listing: Listing) -> Self {
        let pages = Pages::one(at, listing);
        Self {
            at,
            info: Ok(ServerInfo::default()),
            unreadable: pages.unreadable(),
            clients: Ok(pages),
            own_ids: Vec::new(),
            unreadable_ids: Vec::new(),
            own: OwnConnections::default(),
            arrivals: Arrivals::default(),
            cost: Cost::default(),
            source: Source::Sampled,
            conditions: SampleConditions::default(),
            clock_difference: None,
        }
    }

    /// The server's count of received connections up to which all that are still open are listed; `None` if it is
    /// unknown.
    pub fn covered_connections(&self) -> Option<u64> {
        let is_covered = self.clients.is_ok() && !self.arrivals.is_incomplete && !self.is_truncated();
        self.info.as_ref().ok()?.connections_received.filter(|_| is_covered)
    }

    /// Returns true if a received status omitted clients.
    pub fn is_truncated(&self) -> bool {
        matches!(self.source, Source::Received(ReceivedTotals { truncated: 1.., .. }))
    }
}

/// The connections that this process opened to a node, for whatever purpose and with whatever result. They are in the
/// server's counters, and perhaps in its lists, but are not clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnConnections {
    /// The number since this process started, read after the server's counters.
    pub opened: u64,
    /// The number of those that the server closed.
    pub cut: u64,
    /// The ids of the newest ones, also of closed ones; empty where the server does not report them (before 5.0).
    pub ids: Vec<u64>,
    /// The ids of those of them that we closed, and not the server.
    pub left: Vec<u64>,
    /// The addresses, on our side, of those that the server may list without their name.
    pub addresses: Vec<SocketAddr>,
}

/// The relation of the listed clients to the server's count of received connections, which is read before the newest
/// clients are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The number of listed clients that connected after the count was read, as far as their ids show it. Needed for
    /// the first sample only: later ones are compared with it.
    pub uncounted_clients: u64,
    /// The number of own connections that were opened while the sample was taken, which the count may not contain.
    pub uncounted_own: u64,
    /// True if clients that connected before the count was read may be missing from the list, although they are still
    /// connected. The next sample has them.
    pub is_incomplete: bool,
    /// Clients up to this id connected before the first sample, even if they are listed for the first time; 0 if all of
    /// those were listed before.
    pub baseline: u64,
}

/// Clients that were listed by one command.
#[derive(Debug)]
pub struct Page {
    /// The time of the reply, by the same clock as the sample's.
    pub at: Timestamp,
    /// The parsed reply.
    pub listing: Listing,
}

/// The position of a client in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    page: u32,
    row: u32,
}

/// The clients of a sample: one or several pages, each with its own time. No client is in two pages.
#[derive(Clone, Debug, Default)]
pub struct Pages(Vec<Arc<Page>>);

impl Pages {
    /// A single page.
    pub fn one(at: Timestamp, listing: Listing) -> Self {
        Self(vec![Arc::new(Page { at, listing })])
    }

    /// Adds a page.
    pub fn push(&mut self, page: Page) {
        self.0.push(Arc::new(page));
    }

    /// The pages.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        self.0.iter().map(|page| &**page)
    }

    /// The number of pages.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Removes all pages after the first `pages`.
    pub fn truncate(&mut self, pages: usize) {
        self.0.truncate(pages);
    }

    /// Adds the pages of another reading, which must have other clients.
    pub fn extend(&mut self, more: Pages) {
        self.0.extend(more.0);
    }

    /// All clients, each with the time at which it was listed.
    pub fn clients(&self) -> impl Iterator<Item = (Timestamp, &Client<'_>)> {
        self.0.iter().flat_map(|page| page.listing.clients().iter().map(|client| (page.at, client)))
    }

    /// All clients, each with its position.
    pub fn places(&self) -> impl Iterator<Item = (Place, &Client<'_>)> {
        self.0.iter().zip(0..).flat_map(|(page, number)| {
            let rows = page.listing.clients().iter().zip(0..);
            rows.map(move |(client, row)| (Place { page: number, row }, client))
        })
    }

    /// The client at a position.
    pub fn client(&self, place: Place) -> Option<&Client<'_>> {
        self.0.get(place.page as usize)?.listing.clients().get(place.row as usize)
    }

    /// The time at which the client at a position was listed.
    pub fn read_at(&self, place: Place) -> Option<Timestamp> {
        self.0.get(place.page as usize).map(|page| page.at)
    }

    /// The time of the newest page.
    pub fn newest(&self) -> Option<Timestamp> {
        self.0.iter().map(|page| page.at).max()
    }

    /// The number of clients.
    pub fn len(&self) -> usize {
        self.0.iter().map(|page| page.listing.clients().len()).sum()
    }

    /// Returns true if there are no clients.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines of these pages that could not be parsed.
    pub fn unreadable(&self) -> Unreadable {
        self.0.iter().fold(Unreadable::default(), |sum, page| sum.plus(page.listing.unreadable()))
    }
}

/// The cost of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Time from the first command to the last reply.
    pub duration: Duration,
    /// Number of pages in which the clients were listed; 0 for one full listing.
    pub pages: u32,
    /// Main-thread time of all our commands since the previous sample, from the server's command statistics; `None` if
    /// the server does not report them.
    pub server_time: Option<Duration>,
    /// Main-thread time of our longest command; `None` if the server does not report command statistics.
    pub longest_command: Option<Duration>,
    /// True if the plan for listing the clients is within the budget; `None` if no cost was measured, for example
    /// because the server does not report command statistics.
    pub within_budget: Option<bool>,
    /// Number of connections in `INFO` minus the number of listed ones. `None` without `INFO`.
    pub drift: Option<i64>,
}
