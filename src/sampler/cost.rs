//! A model of what listing clients costs a server, fitted to measured costs. Pure.

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

/// The factor by which the weight of older observations shrinks at each new one. It keeps about five hundred pages:
/// page costs vary by tens of microseconds without a visible cause, and fewer pages would not show the cost of an id.
const DECAY: f64 = 0.998;

/// The number of probe pages that are measured before their costs are used for planning.
const PROBE_COUNT: u32 = 8;

/// The sizes of the probes. On the slowest server tried they cost a few milliseconds in total, once.
const PROBE_SIZES: [usize; 2] = [16, 64];

/// A page that costs more than this many times the expected cost is an outlier.
const OUTLIER_FACTOR: f64 = 3.0;

/// After this many outliers in a row the new costs are accepted.
const MAX_OUTLIERS_IN_A_ROW: u32 = 3;

/// The cost of pages, full listings and `INFO`, updated by each measurement.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    pages: LinearFit,
    /// Pages observed so far.
    observed: u32,
    /// The probe pages (ids, microseconds), until all of them are measured.
    probes: Vec<(f64, f64)>,
    /// Outliers in a row.
    outliers: u32,
    /// Microseconds per client in a full listing.
    full_client_micros: Option<f64>,
    /// Microseconds of one `INFO` section.
    info_micros: Option<f64>,
}

impl Costs {
    /// Adds the measured cost of a page. An id without a client counts as a fraction.
    pub fn observe_page(&mut self, ids: f64, micros: f64) {
        self.observed = self.observed.saturating_add(1);
        if self.observed <= PROBE_COUNT {
            self.probes.push((ids, micros));
            if self.observed == PROBE_COUNT {
                self.fit_probes();
            }
            return;
        }
        // One slow page may be caused by other work on the machine; several in a row are the server's new cost.
        let max = self.page().page_micros(ids) * OUTLIER_FACTOR + 100.0;
        self.outliers = if micros > max { self.outliers + 1 } else { 0 };
        self.pages.observe(ids, if self.outliers < MAX_OUTLIERS_IN_A_ROW { micros.min(max) } else { micros });
    }

    /// Starts the fit with the lower median of the probes of each size. Noise only ever adds time, and one bad probe
    /// must not invert the slope.
    fn fit_probes(&mut self) {
        for size in 0..PROBE_SIZES.len() {
            let mut probes: Vec<_> = self.probes.iter().skip(size).step_by(PROBE_SIZES.len()).copied().collect();
            probes.sort_by(|one, other| one.1.total_cmp(&other.1));
            let (ids, micros) = probes[(probes.len() - 1) / 2];
            for _ in 0..probes.len() {
                self.pages.observe(ids, micros);
            }
        }
        self.probes.clear();
    }

    /// Reduces the weight of everything learned so far. When the server lists a connection for the first time, it asks
    /// the system for its two addresses and caches them: an id costs three times as much in the first sweep as later.
    pub fn discount(&mut self) {
        self.pages.decay(0.02);
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
        let each = micros / clients.max(1) as f64;
        self.full_client_micros = Some(smoothed(self.full_client_micros, each));
    }

    /// Adds the measured cost of an `INFO` section.
    pub fn observe_info(&mut self, micros: f64) {
        self.info_micros = Some(smoothed(self.info_micros, micros));
    }

    /// Returns true if all probe pages were measured.
    pub fn is_probed(&self) -> bool {
        self.observed >= PROBE_COUNT
    }

    /// Returns true if any page or full listing was measured.
    pub fn is_measured(&self) -> bool {
        self.has_measured_pages() || self.full_client_micros.is_some()
    }

    /// Returns true if any page was measured.
    pub fn has_measured_pages(&self) -> bool {
        self.observed > 0
    }

    /// Returns true if [`Costs::page`] is fitted to pages of this server. Until enough pages were probed, as with few
    /// clients, it is an assumption.
    pub fn is_page_cost_measured(&self) -> bool {
        self.pages.fit().is_some()
    }

    /// The cost of a page: fitted, or assumed before the first measurement.
    pub fn page(&self) -> PageCost {
        self.pages.fit().unwrap_or(ASSUMED)
    }

    /// Microseconds of a full listing of this number of clients.
    pub fn full_listing_micros(&self, clients: f64) -> f64 {
        clients * self.full_client_micros.unwrap_or(ASSUMED.id_micros)
    }

    /// Microseconds of one `INFO` section.
    pub fn info_micros(&self) -> f64 {
        self.info_micros.unwrap_or(ASSUMED_INFO_MICROS)
    }
}

/// An exponential moving average in which the newest value has a weight of one fifth.
fn smoothed(before: Option<f64>, now: f64) -> f64 {
    before.map_or(now, |before| before + (now - before) * 0.2)
}

/// A straight line through points whose weight decays: weighted least squares.
#[derive(Clone, Copy, Debug, Default)]
struct LinearFit {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl LinearFit {
    fn decay(&mut self, factor: f64) {
        for sum in [&mut self.weight, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy] {
            *sum *= factor;
        }
    }

    fn observe(&mut self, x: f64, y: f64) {
        // The cost of a page varies in proportion to its size, so larger pages get a smaller weight.
        let weight = 1.0 / (1.0 + x / 64.0);
        self.decay(DECAY);
        for (sum, more) in
            [(&mut self.weight, 1.0), (&mut self.x, x), (&mut self.y, y), (&mut self.xx, x * x), (&mut self.xy, x * y)]
        {
            *sum += more * weight;
        }
    }

    /// The line, with both parts at least zero. `None` before the first point.
    fn fit(&self) -> Option<PageCost> {
        if self.weight <= 0.0 {
            return None;
        }
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - mean_x * mean_x;
        // Pages of one size do not separate the two parts. Attributing everything to the ids is then the cautious
        // choice: it predicts the higher cost for larger pages.
        let slope = if spread > mean_x * mean_x * 1e-2 {
            (self.xy / self.weight - mean_x * mean_y) / spread
        } else {
            mean_y / mean_x.max(1.0)
        };
        let slope = slope.clamp(0.0, mean_y / mean_x.max(1.0));
        Some(PageCost { fixed_micros: (mean_y - slope * mean_x).max(0.0), id_micros: slope.max(0.05) })
    }
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
