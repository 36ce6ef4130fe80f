//! A model of what listing clients costs a server, fitted to measured costs. Pure.

use std::collections::VecDeque;

/// The cost of one command that lists clients by id: a fixed part, and a part for each id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageCost {
    /// Microseconds of a page, independent of its number of ids: on Valkey 8.1 and later a walk over all clients.
    pub fixed_micros: f64,
    /// Microseconds for each id: on Redis 8 with I/O threads this includes pausing a thread.
    pub id_micros: f64,
}

impl PageCost {
    /// Microseconds of a page with this number of ids.
    pub fn page_micros(self, ids: f64) -> f64 {
        self.fixed_micros + self.id_micros * ids
    }
}

/// The cost assumed before the first measurement: a client costs about 1 µs on every server tried.
const ASSUMED: PageCost = PageCost { fixed_micros: 10.0, id_micros: 1.0 };

/// The assumed cost of one `INFO` section before the first measurement, in microseconds.
const ASSUMED_INFO_MICROS: f64 = 30.0;

/// Number of pages from which the cost is learned: page costs vary by tens of microseconds without a visible cause, and
/// fewer pages would not show the cost of an id.
const WINDOW: usize = 512;

/// Number of pages that are kept when the earlier ones are known to be untypical.
const KEPT_OF_FIRST_SWEEP: usize = 16;

/// The line is fitted again after this many pages. A fit costs some 20 µs.
const PAGES_PER_FIT: usize = 8;

/// Number of measurements whose median is the cost of a full listing, and of an `INFO` section.
const RECENT: usize = 9;

/// The number of probe pages that are measured before their costs are used for planning.
const PROBE_COUNT: u32 = 8;

/// The sizes of the probes. On the slowest server tried they cost a few milliseconds in total, once.
const PROBE_SIZES: [usize; 2] = [16, 64];

/// The cost of pages, full listings and `INFO`, updated by each measurement.
///
/// The server measures by the wall clock, so a command during which the machine ran something else seems to cost
/// milliseconds. Such outliers are frequent on a loaded machine, and only ever add time. So every cost is learned from
/// medians: less than half of the measurements cannot change it, however large they are.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    pages: PageWindow,
    /// Pages observed so far.
    observed: u32,
    /// Microseconds per client in a full listing.
    full_client_micros: RunningMedian,
    /// Microseconds of one `INFO` section.
    info_micros: RunningMedian,
}

impl Costs {
    /// Adds the measured cost of a page. An id without a client counts as a fraction.
    pub fn observe_page(&mut self, ids: f64, micros: f64) {
        self.observed = self.observed.saturating_add(1);
        self.pages.add(ids, micros, self.is_probed());
    }

    /// Forgets most of what was learned so far. When the server lists a connection for the first time, it asks the
    /// system for its two addresses and caches them: an id costs three times as much in the first sweep as later.
    pub fn discount(&mut self) {
        self.pages.keep_newest(KEPT_OF_FIRST_SWEEP);
    }

    /// Returns the number of ids for the next page, given the planned number. The first pages are probes of two sizes,
    /// because pages of one size cannot separate the fixed part from the part for each id. Later every eighth page has
    /// another size for the same reason.
    pub fn vary_page_size(&self, planned: usize) -> usize {
        match self.observed {
            observed if observed < PROBE_COUNT => PROBE_SIZES[observed as usize % PROBE_SIZES.len()],
            observed if observed % 8 == 0 && planned >= 8 => planned / 2,
            observed if observed % 8 == 0 => planned * 2 + 2,
            _ => planned,
        }
    }

    /// Adds the measured cost of a full listing.
    pub fn observe_full(&mut self, clients: usize, micros: f64) {
        self.full_client_micros.add(micros / clients.max(1) as f64);
    }

    /// Adds the measured cost of an `INFO` section.
    pub fn observe_info(&mut self, micros: f64) {
        self.info_micros.add(micros);
    }

    /// Returns true if all probe pages were measured.
    pub fn is_probed(&self) -> bool {
        self.observed >= PROBE_COUNT
    }

    /// Returns true if any page or full listing was measured.
    pub fn is_measured(&self) -> bool {
        self.has_measured_pages() || self.full_client_micros.median().is_some()
    }

    /// Returns true if any page was measured.
    pub fn has_measured_pages(&self) -> bool {
        self.observed > 0
    }

    /// Returns true if [`Costs::page`] is fitted to pages of this server. Until enough pages were probed, as with few
    /// clients, it is an assumption.
    pub fn is_page_cost_measured(&self) -> bool {
        self.pages.line.is_some()
    }

    /// The cost of a page: fitted, or assumed before the first measurement.
    pub fn page(&self) -> PageCost {
        self.pages.line.unwrap_or(ASSUMED)
    }

    /// Microseconds of a full listing of this number of clients.
    pub fn full_listing_micros(&self, clients: f64) -> f64 {
        clients * self.full_client_micros.median().unwrap_or(ASSUMED.id_micros)
    }

    /// Microseconds of one `INFO` section.
    pub fn info_micros(&self) -> f64 {
        self.info_micros.median().unwrap_or(ASSUMED_INFO_MICROS)
    }
}

/// The last measurements of one kind.
#[derive(Clone, Debug, Default)]
struct RunningMedian(VecDeque<f64>);

impl RunningMedian {
    fn add(&mut self, micros: f64) {
        self.0.truncate(RECENT - 1);
        self.0.push_front(micros);
    }

    /// The median, the lower one of two; `None` before the first measurement.
    fn median(&self) -> Option<f64> {
        median(&mut self.0.iter().copied().collect::<Vec<_>>())
    }
}

/// The lower median.
fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// The last pages, each with its ids and microseconds, and the line through them.
#[derive(Clone, Debug, Default)]
struct PageWindow {
    pages: VecDeque<(f64, f64)>,
    /// Pages since the last fit.
    unfitted: usize,
    /// The fitted cost; `None` until all probes are measured.
    line: Option<PageCost>,
}

impl PageWindow {
    fn add(&mut self, ids: f64, micros: f64, can_fit: bool) {
        self.pages.truncate(WINDOW - 1);
        self.pages.push_front((ids, micros));
        self.unfitted += 1;
        // While there are few pages, each of them matters.
        if can_fit && (self.unfitted >= PAGES_PER_FIT || self.pages.len() < 8 * PAGES_PER_FIT) {
            self.line = fit(&mut self.pages.iter().copied().collect::<Vec<_>>());
            self.unfitted = 0;
        }
    }

    /// Keeps the newest pages. The line stays until there are others.
    fn keep_newest(&mut self, pages: usize) {
        self.pages.truncate(pages);
    }
}

/// The medians of pages of about the same size.
struct Center {
    ids: f64,
    micros: f64,
    weight: f64,
}

/// The line through the medians of pages of about the same size, with both parts at least zero. `None` without a page.
fn fit(pages: &mut [(f64, f64)]) -> Option<PageCost> {
    // Within a factor of two in ids: half a page and a whole one, the usual sizes, are never together.
    let size_class = |ids: f64| ids.max(1.0).log2() as u32;
    pages.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let centers: Vec<Center> = pages
        .chunk_by(|one, other| size_class(one.0) == size_class(other.0))
        .filter_map(|class| {
            let ids = median(&mut class.iter().map(|page| page.0).collect::<Vec<_>>())?;
            let micros = median(&mut class.iter().map(|page| page.1).collect::<Vec<_>>())?;
            // The cost of a page varies in proportion to its size, so larger pages get a smaller weight.
            Some(Center { ids, micros, weight: class.len() as f64 / (1.0 + ids / 64.0) })
        })
        .collect();
    let total: f64 = centers.iter().map(|center| center.weight).sum();
    let mean = |of: fn(&Center) -> f64| centers.iter().map(|center| center.weight * of(center)).sum::<f64>() / total;
    let (ids, micros) = (mean(|center| center.ids), mean(|center| center.micros));
    let spread = mean(|center| center.ids * center.ids) - ids * ids;
    let most = micros / ids.max(1.0);
    // Pages of one size do not separate the two parts. Attributing everything to the ids is then the cautious choice:
    // it predicts the higher cost for larger pages.
    let slope = if spread > ids * ids * 1e-2 {
        (mean(|center| center.ids * center.micros) - ids * micros) / spread
    } else {
        most
    };
    let slope = slope.clamp(0.0, most);
    (total > 0.0).then(|| PageCost { fixed_micros: (micros - slope * ids).max(0.0), id_micros: slope.max(0.05) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(fixed: f64, each: f64, sizes: &[usize]) -> PageCost {
        let mut cost = Costs::default();
        for (place, &ids) in sizes.iter().cycle().take(200).enumerate() {
            // Up to 10 % of noise, the same in each run.
            let noise = 1.0 + ((place * 7919) % 21) as f64 / 100.0 - 0.1;
            cost.observe_page(ids as f64, (fixed + each * ids as f64) * noise);
        }
        cost.page()
    }

    #[test]
    fn both_parts_of_the_cost_are_found_on_every_kind_of_server() {
        for (fixed, each) in [(0.0, 1.0), (124.0, 1.0), (650.0, 1.2), (0.0, 15.0)] {
            let cost = learned(fixed, each, &[16, 64, 200, 200, 200, 400]);
            for ids in [16.0, 200.0, 400.0] {
                let (fitted, truth) = (cost.page_micros(ids), fixed + each * ids);
                assert!((fitted / truth - 1.0).abs() < 0.15, "{fitted} for {truth}: {cost:?}");
            }
        }
    }

    #[test]
    fn the_cost_of_pages_of_one_size_is_right_at_that_size() {
        let cost = learned(124.0, 1.0, &[256]);
        assert!((cost.page_micros(256.0) / 380.0 - 1.0).abs() < 0.1, "{cost:?}");
    }

    #[test]
    fn the_fit_follows_a_changed_cost() {
        let mut cost = Costs::default();
        for ids in [16, 64, 256].into_iter().cycle().take(300) {
            cost.observe_page(ids as f64, ids as f64);
        }
        for ids in [16, 64, 256].into_iter().cycle().take(1500) {
            cost.observe_page(ids as f64, 500.0 + 2.0 * ids as f64);
        }
        assert!((cost.page().page_micros(256.0) / 1012.0 - 1.0).abs() < 0.15, "{:?}", cost.page());
    }

    /// Alternates planning with learned costs and learning from planned pages: the page size must converge.
    fn converged_size(fixed: f64, each: f64) -> usize {
        let mut cost = Costs::default();
        let mut planned = 16;
        for place in 0..400_usize {
            let size = cost.vary_page_size(planned);
            let noise = 1.0 + ((place * 7919) % 41) as f64 / 100.0 - 0.2;
            cost.observe_page(size as f64, (fixed + each * size as f64) * noise);
            let page = cost.page();
            planned = (((375.0 - page.fixed_micros) / page.id_micros) as usize).clamp(1, 2000);
        }
        planned
    }

    #[test]
    fn planning_and_learning_converge() {
        for (fixed, each, right) in [(0.0, 1.0, 375.0), (124.0, 1.0, 251.0), (250.0, 1.2, 104.0), (0.0, 37.0, 10.0)] {
            let ids = converged_size(fixed, each) as f64;
            assert!((0.7..1.4).contains(&(ids / right)), "{ids} instead of {right} for {fixed} + {each}");
        }
    }

    #[test]
    fn bad_probes_and_wrong_assumptions_are_corrected() {
        for bad in 0..8 {
            let mut cost = Costs::default();
            let mut planned = 16;
            let mut worst: f64 = 0.0;
            for place in 0..300_u32 {
                let size = cost.vary_page_size(planned.min(256));
                // Each id pauses a thread. One probe, and one page in forty, is also slowed by something else.
                let noise = if place == bad || place % 40 == 13 { 27_000.0 } else { 0.0 };
                worst = worst.max(23.0 * size as f64);
                cost.observe_page(size as f64, 23.0 * size as f64 + noise);
                let page = cost.page();
                planned = (((375.0 - page.fixed_micros) / page.id_micros) as usize).clamp(1, 2000);
            }
            assert!((8..=24).contains(&planned), "{planned} with a bad probe {bad}: {:?}", cost.page());
            assert!(worst < 3000.0, "{worst}");
        }
    }

    /// Commands that the machine interrupts seem to cost milliseconds; on a loaded machine that is a third of them.
    #[test]
    fn interrupted_commands_do_not_change_the_costs() {
        let interrupted = |place: usize, micros: f64| if place % 3 == 1 { micros + 4_000.0 } else { micros };
        let mut cost = Costs::default();
        for place in 0..600_usize {
            let ids = cost.vary_page_size(128);
            cost.observe_page(ids as f64, interrupted(place, 124.0 + ids as f64));
            cost.observe_info(interrupted(place, 30.0));
            cost.observe_full(19_000, interrupted(place, 19_000.0) + if place % 3 == 1 { 1e6 } else { 0.0 });
        }
        assert!((cost.page().page_micros(128.0) / 252.0 - 1.0).abs() < 0.1, "{:?}", cost.page());
        assert_eq!((cost.info_micros(), cost.full_listing_micros(19_000.0)), (30.0, 19_000.0));
    }

    #[test]
    fn one_slow_page_does_not_invert_the_slope() {
        let mut cost = Costs::default();
        for ids in [16, 64, 256].into_iter().cycle().take(60) {
            cost.observe_page(ids as f64, ids as f64);
        }
        cost.observe_page(16.0, 5000.0);
        let page = cost.page();
        assert!(page.fixed_micros >= 0.0 && page.id_micros > 0.0, "{page:?}");
    }
}
