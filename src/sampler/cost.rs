//! What listing clients costs a server, learned from what it cost. Pure.

/// What one command that lists clients by id costs: a part that is always there, and a part for each id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageCost {
    /// Microseconds of a page however few ids it asks for: on Valkey 8.1 and later a walk over all clients.
    pub fixed_micros: f64,
    /// Microseconds for each id: on Redis 8 with I/O threads a pause of a thread.
    pub id_micros: f64,
}

impl PageCost {
    /// Microseconds of a page of so many ids.
    pub fn page_micros(self, ids: f64) -> f64 {
        self.fixed_micros + self.id_micros * ids
    }
}

/// What is believed before anything was measured: a client costs about 1 µs on every server seen.
const BELIEVED: PageCost = PageCost { fixed_micros: 10.0, id_micros: 1.0 };

/// What an `INFO` of one section is believed to take before one was measured, in microseconds.
const BELIEVED_INFO_MICROS: f64 = 30.0;

/// How much of what was learned is kept at each further observation. Some five hundred pages are remembered: pages differ
/// by tens of microseconds for no reason, and fewer of them would not tell what an id costs.
const KEPT: f64 = 0.998;

/// How many pages are probes, before what they told is planned by.
const PROBES: u32 = 8;

/// The sizes of the probes: what they cost on the slowest server seen is some milliseconds, once.
const PROBE_SIZES: [usize; 2] = [16, 64];

/// By how much a page may exceed what was expected and still be believed.
const OUTLIER: f64 = 3.0;

/// How many outliers in a row are none.
const IN_A_ROW: u32 = 3;

/// The cost of pages and of full listings, learned from each one that was measured.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    pages: LinearFit,
    /// Pages observed so far.
    observed: u32,
    /// The first of them, until there are enough to begin with.
    probes: Vec<(f64, f64)>,
    /// Outliers in a row.
    outliers: u32,
    /// Microseconds a client of a full listing.
    full_client_micros: Option<f64>,
    /// Microseconds of one `INFO` of ours.
    info_micros: Option<f64>,
}

impl Costs {
    /// Learns from a page of so many ids; a missing one counts for a part.
    pub fn observe_page(&mut self, ids: f64, micros: f64) {
        self.observed = self.observed.saturating_add(1);
        if self.observed <= PROBES {
            self.probes.push((ids, micros));
            if self.observed == PROBES {
                self.begin();
            }
            return;
        }
        // A page during which the machine did something else tells nothing of the server; several in a row do.
        let most = self.page().page_micros(ids) * OUTLIER + 100.0;
        self.outliers = if micros > most { self.outliers + 1 } else { 0 };
        self.pages.observe(ids, if self.outliers < IN_A_ROW { micros.min(most) } else { micros });
    }

    /// Begins the line with the usual probe of each size: noise only ever adds, and one bad probe must not turn it over.
    fn begin(&mut self) {
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

    /// Keeps little of what was learned. The first listing of a connection asks the system for its two addresses, which the
    /// server remembers: the first sweep costs three times as much an id as any later one.
    pub fn forget_most(&mut self) {
        self.pages.fade(0.02);
    }

    /// How many ids a page should have where the plan says so many. The first pages are probes of two sizes, since one size
    /// cannot tell what is for the page and what for its ids; later every eighth page differs for the same reason.
    pub fn varied(&self, planned: usize) -> usize {
        match self.observed {
            observed if observed < PROBES => PROBE_SIZES[observed as usize % PROBE_SIZES.len()],
            observed if observed % 8 == 0 && planned >= 8 => planned / 2,
            observed if observed % 8 == 0 => planned * 2 + 2,
            _ => planned,
        }
    }

    /// Learns from a full listing of so many clients.
    pub fn observe_full(&mut self, clients: usize, micros: f64) {
        let each = micros / clients.max(1) as f64;
        self.full_client_micros = Some(smoothed(self.full_client_micros, each));
    }

    /// Learns from an `INFO`.
    pub fn observe_info(&mut self, micros: f64) {
        self.info_micros = Some(smoothed(self.info_micros, micros));
    }

    /// Whether pages of both probing sizes were measured.
    pub fn is_probed(&self) -> bool {
        self.observed >= PROBES
    }

    /// Whether anything was ever measured.
    pub fn is_measured(&self) -> bool {
        self.knows_pages() || self.full_client_micros.is_some()
    }

    /// Whether a page was ever measured.
    pub fn knows_pages(&self) -> bool {
        self.observed > 0
    }

    /// What a page costs, as far as is known.
    pub fn page(&self) -> PageCost {
        self.pages.fit().unwrap_or(BELIEVED)
    }

    /// Microseconds of a full listing of so many clients.
    pub fn full_micros(&self, clients: f64) -> f64 {
        clients * self.full_client_micros.unwrap_or(BELIEVED.id_micros)
    }

    /// Microseconds of one `INFO` of ours.
    pub fn info_micros(&self) -> f64 {
        self.info_micros.unwrap_or(BELIEVED_INFO_MICROS)
    }
}

/// A fifth of the news at each observation; the first is taken whole.
fn smoothed(before: Option<f64>, now: f64) -> f64 {
    before.map_or(now, |before| before + (now - before) * 0.2)
}

/// A straight line through points that fade: weighted least squares.
#[derive(Clone, Copy, Debug, Default)]
struct LinearFit {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl LinearFit {
    fn fade(&mut self, kept: f64) {
        for sum in [&mut self.weight, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy] {
            *sum *= kept;
        }
    }

    fn observe(&mut self, x: f64, y: f64) {
        // Large pages vary more than small ones, in proportion; each point counts by how well it is known.
        let weight = 1.0 / (1.0 + x / 64.0);
        self.fade(KEPT);
        for (sum, more) in
            [(&mut self.weight, 1.0), (&mut self.x, x), (&mut self.y, y), (&mut self.xx, x * x), (&mut self.xy, x * y)]
        {
            *sum += more * weight;
        }
    }

    /// The line, with neither part below zero. `None` before the first point.
    fn fit(&self) -> Option<PageCost> {
        if self.weight <= 0.0 {
            return None;
        }
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - mean_x * mean_x;
        // Pages of one size tell only their sum; then all of it is laid on the ids, which is the dearer guess for more.
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
            // Up to a tenth of noise, the same at each run.
            let noise = 1.0 + ((place * 7919) % 21) as f64 / 100.0 - 0.1;
            cost.observe_page(ids as f64, (fixed + each * ids as f64) * noise);
        }
        cost.page()
    }

    #[test]
    fn both_parts_are_found_on_every_kind_of_server() {
        for (fixed, each) in [(0.0, 1.0), (124.0, 1.0), (650.0, 1.2), (0.0, 15.0)] {
            let cost = learned(fixed, each, &[16, 64, 200, 200, 200, 400]);
            for ids in [16.0, 200.0, 400.0] {
                let (told, truth) = (cost.page_micros(ids), fixed + each * ids);
                assert!((told / truth - 1.0).abs() < 0.15, "{told} for {truth}: {cost:?}");
            }
        }
    }

    #[test]
    fn pages_of_one_size_are_told_right_at_that_size() {
        let cost = learned(124.0, 1.0, &[256]);
        assert!((cost.page_micros(256.0) / 380.0 - 1.0).abs() < 0.1, "{cost:?}");
    }

    #[test]
    fn a_crowd_that_changes_is_followed() {
        let mut cost = Costs::default();
        for ids in [16, 64, 256].into_iter().cycle().take(300) {
            cost.observe_page(ids as f64, ids as f64);
        }
        for ids in [16, 64, 256].into_iter().cycle().take(1500) {
            cost.observe_page(ids as f64, 500.0 + 2.0 * ids as f64);
        }
        assert!((cost.page().page_micros(256.0) / 1012.0 - 1.0).abs() < 0.15, "{:?}", cost.page());
    }

    /// Plans by what was learned, learns by what was planned: this must come to rest at the right size.
    fn settled(fixed: f64, each: f64) -> usize {
        let mut cost = Costs::default();
        let mut planned = 16;
        for place in 0..400_usize {
            let size = cost.varied(planned);
            let noise = 1.0 + ((place * 7919) % 41) as f64 / 100.0 - 0.2;
            cost.observe_page(size as f64, (fixed + each * size as f64) * noise);
            let page = cost.page();
            planned = (((375.0 - page.fixed_micros) / page.id_micros) as usize).clamp(1, 2000);
        }
        planned
    }

    #[test]
    fn planning_and_learning_come_to_rest() {
        for (fixed, each, right) in [(0.0, 1.0, 375.0), (124.0, 1.0, 251.0), (250.0, 1.2, 104.0), (0.0, 37.0, 10.0)] {
            let ids = settled(fixed, each) as f64;
            assert!((0.7..1.4).contains(&(ids / right)), "{ids} and not {right} for {fixed} + {each}");
        }
    }

    #[test]
    fn bad_probes_and_wrong_beliefs_are_got_over() {
        for bad in 0..8 {
            let mut cost = Costs::default();
            let mut planned = 16;
            let mut worst: f64 = 0.0;
            for place in 0..300_u32 {
                let size = cost.varied(planned.min(256));
                // An id pauses a thread; one probe, and now and then a page, is hit by something else.
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
    fn one_stall_of_the_machine_does_not_turn_the_line_over() {
        let mut cost = Costs::default();
        for ids in [16, 64, 256].into_iter().cycle().take(60) {
            cost.observe_page(ids as f64, ids as f64);
        }
        cost.observe_page(16.0, 5000.0);
        let page = cost.page();
        assert!(page.fixed_micros >= 0.0 && page.id_micros > 0.0, "{page:?}");
    }
}
