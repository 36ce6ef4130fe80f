//! Chooses how to list the clients within the budget: in pages of which size or in one full listing, and how often.
//! Pure.

use std::time::Duration;

use super::budget::Budget;
use super::cost::Costs;
use crate::link::Command;

/// Maximum number of ids in one page: the server must also parse the request.
pub(super) const MAX_PAGE: usize = 4096;

/// Pages may cost the server at most this many times as much as one full listing. Beyond that they take more of the
/// server's time than they spare. Only where pages of every size cost more, those that keep the budget are used.
const MAX_COST_RATIO: u32 = 3;

/// The share of the maximum blocking time that a page is planned for. Page times vary, and the limit is for every page.
const PAGE_TARGET: f64 = 0.75;

/// The commands before the first page: one section per call, because 6.2 refuses several.
pub(super) const OPENING_COMMANDS: [Command; 5] = [
    Command::InfoServer,
    Command::InfoClients,
    Command::InfoStats,
    Command::InfoReplication,
    Command::InfoCommandStats,
];

/// The commands after the last page and of a quick poll: they show whether connections were opened or closed.
pub(super) const QUICK_POLL_COMMANDS: [Command; 2] = [Command::InfoClients, Command::InfoStats];

/// The pause after a page, in multiples of the time the page took: the server's other clients get three quarters of its
/// time.
pub(super) const REST_FACTOR: u32 = 3;

/// The number of `INFO` sections that a sweep requests, without the one that measures each page.
const INFO_PER_SWEEP: f64 = (OPENING_COMMANDS.len() + QUICK_POLL_COMMANDS.len()) as f64;

/// The number of `INFO` sections that a quick poll requests.
const INFO_PER_QUICK_POLL: f64 = QUICK_POLL_COMMANDS.len() as f64;

/// A method to list the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListMethod {
    /// In pages with this number of ids.
    Pages(usize),
    /// All clients with one command.
    Full,
}

/// A way of listing the clients, with its expected cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The method.
    pub method: ListMethod,
    /// Expected time that the longest command blocks the server's main thread.
    pub longest_command: Duration,
    /// Expected main-thread time of one sample.
    pub server_time: Duration,
    /// Time from one sample to the next. It is longer than requested if the load would exceed the budget otherwise.
    pub interval: Duration,
    /// The shortest time between two samples that keeps the load within the budget.
    pub min_interval: Duration,
    /// Expected share of main-thread time of all our commands, quick polls included.
    pub load: f64,
    /// True if the longest command, the load and the age of a sample are all within the budget.
    pub within_budget: bool,
    /// The product of the factors by which the limits are exceeded: 1 if all limits are kept.
    pub excess: f64,
    /// Decides between plans with the same excess: the server time in seconds, weighted by 1 to 2 in proportion to the
    /// longest command's share of the maximum blocking time. Where the cost of a page depends on its ids alone, small
    /// pages cost hardly more than large ones, and block the main thread for a shorter time.
    pub burden: f64,
}

/// The input of the planning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Number of clients to list.
    pub(super) clients: usize,
    /// The limits.
    pub(super) budget: Budget,
    /// True if the server can list clients by id.
    pub(super) has_pages: bool,
    /// True if one command can list all clients. If it can list neither, a full listing is planned.
    pub(super) has_full: bool,
    /// Maximum number of ids in a page that the server and the network can answer.
    pub(super) max_page: usize,
    /// The measured share of main-thread time of quick polls.
    pub(super) quick_poll_load: f64,
    /// The share of main-thread time of our other commands: announcing.
    pub(super) other_load: f64,
}

/// Returns the plan with the least excess. Of plans with the same excess, returns the one with the smallest burden.
pub(super) fn plan(task: Task, cost: &Costs) -> Plan {
    let full = evaluate(ListMethod::Full, task, cost);
    if !task.has_pages {
        return full;
    }
    let pages = sizes(task.clients.min(task.max_page)).map(|ids| evaluate(ListMethod::Pages(ids), task, cost));
    match task.has_full {
        true => {
            let (max_cost, pages) = (full.server_time * MAX_COST_RATIO, pages.collect::<Vec<_>>());
            let is_cheap = |plan: &&Plan| plan.server_time <= max_cost;
            match pages.iter().any(|plan| is_cheap(&plan)) {
                true => pages.iter().filter(is_cheap).copied().fold(full, better),
                false => pages.into_iter().filter(|plan| plan.within_budget).fold(full, better),
            }
        }
        false => pages.reduce(better).unwrap_or(full),
    }
}

/// The page sizes to choose from, each an eighth larger than the one before.
fn sizes(largest: usize) -> impl Iterator<Item = usize> {
    let largest = largest.clamp(1, MAX_PAGE);
    let next = move |&ids: &usize| (ids < largest).then(|| (ids + ids / 8 + 1).min(largest));
    std::iter::successors(Some(1), next)
}

fn better(one: Plan, other: Plan) -> Plan {
    let is_cheaper = other.burden < one.burden;
    if other.excess < one.excess * 0.999 || (other.excess <= one.excess * 1.001 && is_cheaper) { other } else { one }
}

fn evaluate(method: ListMethod, task: Task, cost: &Costs) -> Plan {
    let Task { clients, budget, .. } = task;
    let clients = clients.max(1) as f64;
    let (longest_command, listing) = match method {
        ListMethod::Full => {
            let micros = cost.full_listing_micros(clients);
            (micros, micros)
        }
        ListMethod::Pages(ids) => {
            let page = cost.page().page_micros(ids as f64);
            let pages = (clients / ids as f64).ceil();
            (page, pages * (page + cost.info_micros()))
        }
    };
    let longest_command = longest_command.max(cost.info_micros());
    let server_time = listing + INFO_PER_SWEEP * cost.info_micros();
    let other_load = quick_poll_load(budget, cost).max(task.quick_poll_load) + task.other_load;
    let allowed_load = (budget.max_load - other_load).max(budget.max_load * 0.1);
    let max_age = budget.max_age.max(budget.interval).as_secs_f64();
    let interval = (server_time / 1e6 / allowed_load).clamp(budget.interval.as_secs_f64(), max_age);
    let load = server_time / 1e6 / interval + other_load;
    let target = match method {
        // Page times vary, so a page is planned with a margin. A full listing cannot be made smaller.
        ListMethod::Pages(_) => budget.max_stall.as_secs_f64() * PAGE_TARGET,
        ListMethod::Full => budget.max_stall.as_secs_f64(),
    };
    // A sweep pauses after each page, so it takes longer than its server time; the sample must not get too old.
    let duration = match method {
        ListMethod::Pages(_) => listing / 1e6 * f64::from(1 + REST_FACTOR),
        ListMethod::Full => listing / 1e6,
    };
    let age_excess = (duration / max_age).max(1.0);
    let excess = (longest_command / 1e6 / target).max(1.0) * (load / budget.max_load).max(1.0) * age_excess;
    Plan {
        method,
        longest_command: micros(longest_command),
        server_time: micros(server_time),
        interval: Duration::from_secs_f64(interval),
        min_interval: micros(server_time / allowed_load),
        load,
        within_budget: excess <= 1.000_001,
        excess,
        burden: server_time / 1e6 * (1.0 + longest_command / 1e6 / budget.max_stall.as_secs_f64()),
    }
}

/// The expected share of main-thread time of quick polls.
fn quick_poll_load(budget: Budget, cost: &Costs) -> f64 {
    match budget.quick_poll {
        Some(interval) => INFO_PER_QUICK_POLL * cost.info_micros() / 1e6 / interval.as_secs_f64(),
        None => 0.0,
    }
}

fn micros(micros: f64) -> Duration {
    Duration::from_secs_f64((micros / 1e6).min(MAX_SECONDS))
}

/// A year: longer than any plan, and short enough to be added to a time without overflow.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers as they were measured. Where a page walks all clients, its fixed cost grows with their number.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum PageBehavior {
        /// Redis without I/O threads: the cost of a page depends on its ids alone.
        Plain,
        /// Valkey 8.1 and later: a page walks all clients, 6.5 ns each.
        Walks,
        /// Redis 8 with I/O threads: each id pauses a thread.
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
            interval: Duration::from_secs(10),
            max_age: Duration::from_secs(60),
            quick_poll: Some(Duration::from_secs(1)),
        }
    }

    fn task(clients: usize, budget: Budget) -> Task {
        Task {
            clients,
            budget,
            has_pages: true,
            has_full: true,
            max_page: MAX_PAGE,
            quick_poll_load: 0.0,
            other_load: 0.0,
        }
    }

    fn planned(kind: PageBehavior, clients: usize, budget: Budget) -> Plan {
        plan(task(clients, budget), &cost(kind, clients))
    }

    #[test]
    fn few_clients_are_listed_with_one_command() {
        for kind in [PageBehavior::Plain, PageBehavior::Walks, PageBehavior::Pauses] {
            for clients in [0, 1, 10, 100] {
                let plan = planned(kind, clients, budget());
                assert!(plan.within_budget && plan.interval == Duration::from_secs(10), "{kind:?} {clients} {plan:?}");
                assert!(
                    plan.method == ListMethod::Full || plan.method == ListMethod::Pages(clients.max(1)),
                    "{kind:?} {clients} {plan:?}"
                );
            }
        }
    }

    #[test]
    fn many_clients_are_listed_in_pages_within_the_budget() {
        for (kind, clients) in [
            (PageBehavior::Plain, 19_000),
            (PageBehavior::Plain, 100_000),
            (PageBehavior::Walks, 19_000),
            (PageBehavior::Pauses, 19_000),
        ] {
            let plan = planned(kind, clients, budget());
            assert!(plan.within_budget && matches!(plan.method, ListMethod::Pages(_)), "{kind:?} {clients} {plan:?}");
            assert!(plan.longest_command <= Duration::from_micros(500) && plan.load <= 0.0101, "{plan:?}");
            assert!(plan.interval <= Duration::from_secs(60), "{plan:?}");
        }
    }

    #[test]
    fn a_smaller_load_makes_samples_less_frequent_before_it_exceeds_the_budget() {
        let tight = Budget { max_load: 0.001, quick_poll: None, ..budget() };
        let plan = planned(PageBehavior::Plain, 19_000, tight);
        assert!(plan.within_budget && plan.interval > Duration::from_secs(15) && plan.load <= 0.0011, "{plan:?}");
    }

    #[test]
    fn without_a_plan_within_the_budget_the_least_excess_is_used_and_reported() {
        let million = planned(PageBehavior::Plain, 1_000_000, budget());
        assert!(
            !million.within_budget && matches!(million.method, ListMethod::Pages(_)),
            "a full listing blocks for a second, and pages cost no more in total: {million:?}"
        );
        assert_eq!(million.interval, Duration::from_secs(60));
        let walks = planned(PageBehavior::Walks, 1_000_000, budget());
        assert!(!walks.within_budget && walks.excess > million.excess, "{walks:?}");
        let strict = Budget { max_age: Duration::from_secs(10), max_load: 0.005, ..budget() };
        let pauses = planned(PageBehavior::Pauses, 19_000, strict);
        assert!(!pauses.within_budget, "{pauses:?}");
    }

    #[test]
    fn without_pages_a_full_listing_is_the_only_method() {
        let task = Task { has_pages: false, ..task(19_000, budget()) };
        let plan = plan(task, &cost(PageBehavior::Plain, 19_000));
        assert!(plan.method == ListMethod::Full && !plan.within_budget, "{plan:?}");
    }

    #[test]
    fn no_plan_is_better_than_the_one_chosen() {
        for kind in [PageBehavior::Plain, PageBehavior::Walks, PageBehavior::Pauses] {
            for clients in [10, 300, 2_000, 19_000, 100_000, 1_000_000] {
                let (cost, task) = (cost(kind, clients), task(clients, budget()));
                let taken = plan(task, &cost);
                let max_cost = evaluate(ListMethod::Full, task, &cost).server_time * MAX_COST_RATIO;
                for ids in [1, 7, 30, 100, 333, 1000, 4000] {
                    let other = evaluate(ListMethod::Pages(ids.min(clients)), task, &cost);
                    let is_allowed = other.server_time <= max_cost;
                    assert!(
                        !is_allowed || other.excess >= taken.excess * 0.9,
                        "{kind:?} {clients}: {taken:?} against {other:?}"
                    );
                }
                assert!(taken.load.is_finite() && taken.interval >= task.budget.interval, "{taken:?}");
            }
        }
    }

    /// Valkey 9.1 with 19,000 clients on a loaded machine: a page of any size took 1.5 ms, as the walk over all clients
    /// found cold caches. 372 pages cost 0.56 s, a full listing 36 to 96 ms.
    #[test]
    fn pages_beyond_the_budget_never_cost_more_than_three_times_a_full_listing() {
        for (fixed, each, full, clients) in [(1500.0, 1.0, 3.0, 19_000), (10.0, 15.0, 1.8, 1_000_000)] {
            let mut cost = Costs::default();
            for ids in [16, 64, 256].into_iter().cycle().take(60) {
                cost.observe_page(ids as f64, fixed + each * ids as f64);
            }
            cost.observe_full(clients, full * clients as f64);
            let (task, listing) = (task(clients, budget()), Duration::from_secs_f64(full * clients as f64 / 1e6));
            let plan = plan(task, &cost);
            assert!(!plan.within_budget && plan.server_time <= listing * 31 / 10, "{plan:?}");
            // Where no full listing succeeds, pages are the only method, at any cost.
            let only_pages = super::plan(Task { has_full: false, ..task }, &cost);
            assert!(matches!(only_pages.method, ListMethod::Pages(_)), "{only_pages:?}");
        }
    }

    #[test]
    fn a_page_is_no_larger_than_what_can_be_answered() {
        for has_full in [true, false] {
            let plan =
                plan(Task { max_page: 40, has_full, ..task(19_000, budget()) }, &cost(PageBehavior::Plain, 19_000));
            assert!(matches!(plan.method, ListMethod::Pages(..=40)), "{plan:?}");
        }
    }

    /// The table of docs/sampling.md; UPDATE_GOLDEN writes it again.
    #[test]
    fn the_table_in_the_docs_is_what_is_planned() {
        let mut table = String::from(HEAD);
        for (kind, name) in [
            (PageBehavior::Plain, "cost of a page depends on its ids only (Redis without I/O threads)"),
            (PageBehavior::Walks, "a page walks all clients (Valkey 8.1 and later)"),
            (PageBehavior::Pauses, "each id pauses a thread (Redis 8 with I/O threads)"),
        ] {
            for clients in [100, 1_000, 19_000, 100_000, 1_000_000] {
                let plan = planned(kind, clients, budget());
                let method = match plan.method {
                    ListMethod::Full => "full listing".to_owned(),
                    ListMethod::Pages(ids) => format!("pages of {ids}"),
                };
                let within_budget = if plan.within_budget { "yes" } else { "no" };
                let (longest, total) = (plan.longest_command.as_secs_f64() * 1e3, plan.server_time.as_secs_f64() * 1e3);
                let (load, interval) = (plan.load * 100.0, plan.interval.as_secs_f64());
                table += &format!(
                    "| {name} | {clients} | {method} | {longest:.2} ms | {total:.1} ms | {interval:.0} s | {load:.2} % \
                    | {within_budget} |\n"
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
            assert!(text.contains(&table), "write it again with UPDATE_GOLDEN:\n{table}");
        }
    }

    const HEAD: &str = "| server | clients | method | longest command | server time per sample | interval | load \
                        | within budget |\n\
                        |---|---|---|---|---|---|---|---|\n";
}
