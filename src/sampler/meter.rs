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
    /// tell, or was told to count anew in between.
    ///
    /// A batch is run without another client's commands between, so the growth is ours; where another one's listing came in
    /// between batches or by another thread, the mean of all calls is taken for ours.
    pub(super) fn read(&mut self, text: &[u8], lists: u32, infos: u32) -> Option<Spent> {
        let now = Statistics {
            list: CommandTime::parse(text, &["client|list", "client"]).unwrap_or_default(),
            info: CommandTime::parse(text, &["info"])?,
        };
        let before = self.last.replace(now)?;
        let mean = |time: Option<CommandTime>| {
            let time = time?;
            (time.calls > 0).then(|| time.micros as f64 / time.calls as f64)
        };
        let spent = Spent {
            list_micros: if lists > 0 { mean(now.list.since(before.list)) } else { None },
            info_micros: mean(now.info.since(before.info)),
        };
        self.add(spent.list_micros, lists);
        self.add(spent.info_micros, infos);
        Some(spent)
    }

    /// Adds commands of which only the usual cost is known.
    pub(super) fn estimate(&mut self, micros: f64, calls: u32) {
        self.add(Some(micros), calls);
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
