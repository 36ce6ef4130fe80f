//! What our own commands cost the server, read from its command statistics around them.

use std::time::Duration;

use crate::server_info::CommandTime;

/// Follows the server's command statistics from one reading to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    last: Option<Statistics>,
    /// Main-thread time of our commands so far; `None` until a difference was read.
    total: Option<Duration>,
    /// Our longest command.
    longest: Option<Duration>,
}

/// One reading: all listings, and all `INFO`. Before 7.0 all of `CLIENT` is one line, which is the same to us.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    list: CommandTime,
    info: CommandTime,
}

/// What was read between two readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Microseconds of one listing; `None` if there was none.
    pub(super) list_micros: Option<f64>,
    /// Microseconds of one `INFO`.
    pub(super) info_micros: Option<f64>,
}

impl Meter {
    /// Takes a reading that follows `lists` listings and `infos` calls of `INFO` of ours. `None` where the server does not
    /// tell, or was told to count anew in between. Where others called the same commands meanwhile, what ours took is not
    /// known, and neither is told.
    ///
    /// A batch is run without another client's commands between; but others may come between batches, and before 7.0 all
    /// of `CLIENT` is one line.
    pub(super) fn read(&mut self, text: &[u8], lists: u32, infos: u32) -> Option<Spent> {
        let now = Statistics {
            list: CommandTime::parse(text, &["client|list", "client"]).unwrap_or_default(),
            info: CommandTime::parse(text, &["info"])?,
        };
        let before = self.last.replace(now)?;
        let ours = |now: CommandTime, before: CommandTime, calls: u32| {
            let grown = now.since(before).filter(|grown| calls > 0 && grown.calls == u64::from(calls))?;
            Some(grown.micros as f64 / f64::from(calls))
        };
        let spent =
            Spent { list_micros: ours(now.list, before.list, lists), info_micros: ours(now.info, before.info, infos) };
        self.add(spent.list_micros, lists);
        Some(spent)
    }

    /// Begins anew with the next reading: another link, or another run of the server.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// Adds commands of which only the usual cost is known.
    pub(super) fn estimate(&mut self, micros: f64, calls: u32) {
        self.add(Some(micros), calls);
    }

    /// Adds what others of us have cost the server.
    pub(super) fn charge(&mut self, time: Duration) {
        if !time.is_zero() {
            self.total = Some(self.total.unwrap_or_default() + time);
        }
    }

    fn add(&mut self, micros: Option<f64>, calls: u32) {
        let (Some(micros), 1..) = (micros, calls) else { return };
        let each = Duration::from_secs_f64(micros / 1e6);
        self.total = Some(self.total.unwrap_or_default() + each * calls);
        self.longest = self.longest.max(Some(each));
    }

    /// The longest command since this was last asked.
    pub(super) fn take_longest(&mut self) -> Option<Duration> {
        self.longest.take()
    }

    /// All main-thread time since this was last asked.
    pub(super) fn take_total(&mut self) -> Option<Duration> {
        self.total.take()
    }
}
