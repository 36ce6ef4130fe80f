//! How to list the clients so that it harms least: in pages of which size, or at once, and how often. Pure.

use std::time::Duration;

use super::budget::Budget;
use super::cost::Costs;
use crate::link::Command;

/// The most ids of one page: what it asks for has to be read by the server too.
const MAX_PAGE: usize = 4096;

/// The share of the longest stall that a page is planned for. What a page takes varies, and the promise is about all.
const AIM: f64 = 0.75;

/// What is asked before the first page: one section a call, since 6.2 refuses several.
pub(super) const OPENING: [Command; 5] = [
    Command::InfoServer,
    Command::InfoClients,
    Command::InfoStats,
    Command::InfoReplication,
    Command::InfoCommandStats,
];

/// What is asked after the last page, and at a quick look: whether anybody came or went.
pub(super) const CHANGES: [Command; 2] = [Command::InfoClients, Command::InfoStats];

/// The rest after a page, in multiples of the time it took: the server's other clients get three quarters of its time.
pub(super) const REST: u32 = 3;

/// `INFO` of one section that a sweep sends beside those that measure each page.
const INFO_OF_A_SWEEP: f64 = (OPENING.len() + CHANGES.len()) as f64;

/// `INFO` of one section that a quick look sends.
const INFO_OF_A_LOOK: f64 = CHANGES.len() as f64;

/// A way to list the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In pages of so many ids.
    Pages(usize),
    /// All at once.
    Full,
}

/// How to list the clients, and what is expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The way.
    pub way: Way,
    /// How long the longest command will hold the server.
    pub stall: Duration,
    /// Main-thread time of one whole sample.
    pub total: Duration,
    /// Time from one sample to the next: longer than asked for where the load would be exceeded.
    pub every: Duration,
    /// The shortest time between two samples that keeps the load.
    pub least: Duration,
    /// The share of main-thread time that all our commands will use, looks included.
    pub load: f64,
    /// Whether both promises are kept by it, with an answer no older than accepted.
    pub within: bool,
    /// By how much the promises are exceeded, multiplied: 1 when both are kept.
    pub harm: f64,
    /// What decides between plans that harm alike: the server time in seconds, up to twice of it for a command that takes
    /// all of the longest stall. Where a page costs its ids alone, smaller ones hardly cost more and hold up nobody.
    pub burden: f64,
}

/// What there is to plan for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Clients to list.
    pub(super) clients: usize,
    /// What may be spent.
    pub(super) budget: Budget,
    /// Whether the server lists by id at all.
    pub(super) has_pages: bool,
    /// The share of main-thread time that quick looks were seen to use.
    pub(super) looks: f64,
    /// The share that everything else of ours uses: announcing.
    pub(super) others: f64,
}

/// The plan that harms least. Of plans that harm alike, the one that burdens the server least.
pub(super) fn plan(task: Task, cost: &Costs) -> Plan {
    let full = weigh(Way::Full, task, cost);
    if !task.has_pages {
        return full;
    }
    sizes(task.clients).map(|ids| weigh(Way::Pages(ids), task, cost)).fold(full, better)
}

/// Page sizes to choose from, each an eighth larger than the one before.
fn sizes(clients: usize) -> impl Iterator<Item = usize> {
    let largest = clients.clamp(1, MAX_PAGE);
    let next = move |&ids: &usize| (ids < largest).then(|| (ids + ids / 8 + 1).min(largest));
    std::iter::successors(Some(1), next)
}

fn better(one: Plan, other: Plan) -> Plan {
    let gentler = other.burden < one.burden;
    if other.harm < one.harm * 0.999 || (other.harm <= one.harm * 1.001 && gentler) { other } else { one }
}

fn weigh(way: Way, task: Task, cost: &Costs) -> Plan {
    let Task { clients, budget, .. } = task;
    let clients = clients.max(1) as f64;
    let (stall, listing) = match way {
        Way::Full => {
            let micros = cost.full_micros(clients);
            (micros, micros)
        }
        Way::Pages(ids) => {
            let page = cost.page().page_micros(ids as f64);
            let pages = (clients / ids as f64).ceil();
            (page, pages * (page + cost.info_micros()))
        }
    };
    let stall = stall.max(cost.info_micros());
    let total = listing + INFO_OF_A_SWEEP * cost.info_micros();
    let looks = look_load(budget, cost).max(task.looks) + task.others;
    let allowed = (budget.max_load - looks).max(budget.max_load * 0.1);
    let oldest = budget.max_age.max(budget.every).as_secs_f64();
    let every = (total / 1e6 / allowed).clamp(budget.every.as_secs_f64(), oldest);
    let load = total / 1e6 / every + looks;
    let aim = match way {
        // A page is planned with room to vary; one listing at once is what it is.
        Way::Pages(_) => budget.max_stall.as_secs_f64() * AIM,
        Way::Full => budget.max_stall.as_secs_f64(),
    };
    // Pages take longer than they hold the server, for it rests between them; the picture must not get too old by that.
    let lasts = match way {
        Way::Pages(_) => listing / 1e6 * f64::from(1 + REST),
        Way::Full => listing / 1e6,
    };
    let age = (lasts / oldest).max(1.0);
    let harm = (stall / 1e6 / aim).max(1.0) * (load / budget.max_load).max(1.0) * age;
    Plan {
        way,
        stall: micros(stall),
        total: micros(total),
        every: Duration::from_secs_f64(every),
        least: micros(total / allowed),
        load,
        within: harm <= 1.000_001,
        harm,
        burden: total / 1e6 * (1.0 + stall / 1e6 / budget.max_stall.as_secs_f64()),
    }
}

/// The share of main-thread time that quick looks use.
fn look_load(budget: Budget, cost: &Costs) -> f64 {
    match budget.look {
        Some(look) => INFO_OF_A_LOOK * cost.info_micros() / 1e6 / look.as_secs_f64(),
        None => 0.0,
    }
}

fn micros(micros: f64) -> Duration {
    Duration::from_secs_f64((micros / 1e6).min(MAX_SECONDS))
}

/// A year: longer than anything that is planned, and short enough to be added to a time.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers as they were measured; fixed costs of a page grow with the client_counts where a page walks all clients.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum PageBehavior {
        /// Redis without I/O threads: a page costs its ids.
        Plain,
        /// Valkey 8.1 and later: a page walks all clients, 6.5 ns each.
        Walks,
        /// Redis 8 with I/O threads: an id pauses a thread.
        Pauses,
    }

    fn cost(kind: PageBehavior, clients: usize) -> Costs {
        let (fixed, each, full) = match kind {
            PageBehavior::Plain => (2.0, 0.9, 0.9),
            PageBehavior::Walks => (2.0 + 0.0065 * clients as f64, 1.0, 1.0),
            PageBehavior::Pauses => (10.0, 15.0, 1.8),
        };
        let mut cost = Costs::default();
        for ids in [16, 64, 256].into_iter().cycle().take(60) {
            cost.observe_page(ids as f64, fixed + each * ids as f64);
        }
        cost.observe_full(clients, full * clients as f64);
        cost.observe_info(20.0);
        cost
    }

    fn budget() -> Budget {
        Budget {
            max_stall: Duration::from_micros(500),
            max_load: 0.01,
            every: Duration::from_secs(10),
            max_age: Duration::from_secs(60),
            look: Some(Duration::from_secs(1)),
        }
    }

    fn planned(kind: PageBehavior, clients: usize, budget: Budget) -> Plan {
        plan(Task { clients, budget, has_pages: true, looks: 0.0, others: 0.0 }, &cost(kind, clients))
    }

    #[test]
    fn small_crowds_are_listed_at_once() {
        for kind in [PageBehavior::Plain, PageBehavior::Walks, PageBehavior::Pauses] {
            for clients in [0, 1, 10, 100] {
                let plan = planned(kind, clients, budget());
                assert!(plan.within && plan.every == Duration::from_secs(10), "{kind:?} {clients} {plan:?}");
                assert!(plan.way == Way::Full || plan.way == Way::Pages(clients.max(1)), "{kind:?} {clients} {plan:?}");
            }
        }
    }

    #[test]
    fn large_crowds_are_listed_in_pages_that_keep_both_promises() {
        for (kind, clients) in [
            (PageBehavior::Plain, 19_000),
            (PageBehavior::Plain, 100_000),
            (PageBehavior::Walks, 19_000),
            (PageBehavior::Pauses, 19_000),
        ] {
            let plan = planned(kind, clients, budget());
            assert!(plan.within && matches!(plan.way, Way::Pages(_)), "{kind:?} {clients} {plan:?}");
            assert!(plan.stall <= Duration::from_micros(500) && plan.load <= 0.0101, "{plan:?}");
            assert!(plan.every <= Duration::from_secs(60), "{plan:?}");
        }
    }

    #[test]
    fn a_smaller_load_makes_samples_rarer_before_it_breaks_a_promise() {
        let tight = Budget { max_load: 0.001, look: None, ..budget() };
        let plan = planned(PageBehavior::Plain, 19_000, tight);
        assert!(plan.within && plan.every > Duration::from_secs(15) && plan.load <= 0.0011, "{plan:?}");
    }

    #[test]
    fn where_no_plan_keeps_both_the_least_harmful_is_taken_and_told() {
        let million = planned(PageBehavior::Plain, 1_000_000, budget());
        assert!(!million.within && matches!(million.way, Way::Pages(_)), "a second at once is worse: {million:?}");
        assert_eq!(million.every, Duration::from_secs(60));
        let walks = planned(PageBehavior::Walks, 1_000_000, budget());
        assert!(!walks.within && walks.harm > million.harm, "{walks:?}");
        let hurried = Budget { max_age: Duration::from_secs(10), max_load: 0.005, ..budget() };
        let pauses = planned(PageBehavior::Pauses, 19_000, hurried);
        assert!(!pauses.within, "{pauses:?}");
    }

    #[test]
    fn without_pages_there_is_one_way() {
        let task = Task { clients: 19_000, budget: budget(), has_pages: false, looks: 0.0, others: 0.0 };
        let plan = plan(task, &cost(PageBehavior::Plain, 19_000));
        assert!(plan.way == Way::Full && !plan.within, "{plan:?}");
    }

    #[test]
    fn no_plan_is_better_than_the_one_taken() {
        for kind in [PageBehavior::Plain, PageBehavior::Walks, PageBehavior::Pauses] {
            for clients in [10, 300, 2_000, 19_000, 100_000, 1_000_000] {
                let (cost, task) =
                    (cost(kind, clients), Task { clients, budget: budget(), has_pages: true, looks: 0.0, others: 0.0 });
                let taken = plan(task, &cost);
                for ids in [1, 7, 30, 100, 333, 1000, 4000] {
                    let other = weigh(Way::Pages(ids.min(clients)), task, &cost);
                    assert!(other.harm >= taken.harm * 0.9, "{kind:?} {clients}: {taken:?} against {other:?}");
                }
                assert!(taken.load.is_finite() && taken.every >= task.budget.every, "{taken:?}");
            }
        }
    }

    /// The table of docs/sampling.md, made anew with UPDATE_GOLDEN.
    #[test]
    fn the_table_in_the_documents_is_what_is_planned() {
        let mut table = String::from(HEAD);
        for (kind, name) in [
            (PageBehavior::Plain, "a page costs its ids (Redis without I/O threads)"),
            (PageBehavior::Walks, "a page walks all clients (Valkey 8.1 and later)"),
            (PageBehavior::Pauses, "an id pauses a thread (Redis 8 with I/O threads)"),
        ] {
            for clients in [100, 1_000, 19_000, 100_000, 1_000_000] {
                let plan = planned(kind, clients, budget());
                let way = match plan.way {
                    Way::Full => "at once".to_owned(),
                    Way::Pages(ids) => format!("pages of {ids}"),
                };
                let kept = if plan.within { "yes" } else { "no" };
                let (stall, total) = (plan.stall.as_secs_f64() * 1e3, plan.total.as_secs_f64() * 1e3);
                let (load, every) = (plan.load * 100.0, plan.every.as_secs_f64());
                table += &format!(
                    "| {name} | {clients} | {way} | {stall:.2} ms | {total:.1} ms | {every:.0} s | {load:.2} % | {kept} |\n"
                );
            }
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sampling.md");
        let text = std::fs::read_to_string(&path).expect("the document");
        let (before, rest) = text.split_once(HEAD).expect("the table");
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{before}{table}\n{after}")).expect("the document can be written");
        } else {
            assert!(text.contains(&table), "write it anew with UPDATE_GOLDEN:\n{table}");
        }
    }

    const HEAD: &str = "| server | clients | way | longest command | server time a sample | every | load | both kept |\n\
                        |---|---|---|---|---|---|---|---|\n";
}
