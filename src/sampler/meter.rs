//! The cost of our own commands to the server, from its command statistics before and after them.

use std::time::Duration;

use crate::server_info::CommandTime;

/// Follows the server's command statistics from one reading to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    last: Option<Statistics>,
    /// Main-thread time of our commands; `None` until it was measured.
    total: Option<Duration>,
    /// The longest of our commands.
    longest: Option<Duration>,
}

/// One reading: all listings, and all `INFO`. Before 7.0 all subcommands of `CLIENT` share one line, which is used
/// then.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    list: CommandTime,
    info: CommandTime,
}

/// The cost of our commands between two readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Microseconds of one listing; `None` if there was none, or it cannot be separated from listings by others.
    pub(super) list_micros: Option<f64>,
    /// Microseconds of one `INFO`; `None` if it cannot be separated from calls by others.
    pub(super) info_micros: Option<f64>,
}

impl Meter {
    /// Takes a reading after `lists` listings and `infos` calls of `INFO` by us. Returns `None` if the server does not
    /// report command statistics, or at the first reading. A field of the result is `None` if the statistics were reset
    /// in between, or if other clients called the same command.
    ///
    /// The server runs a batch without commands of other clients in between. But commands of others may run between two
    /// batches, and before 7.0 all subcommands of `CLIENT` share one line.
    pub(super) fn read(&mut self, text: &[u8], lists: u32, infos: u32) -> Option<Spent> {
        let now = Statistics {
            list: CommandTime::parse(text, &["client|list", "client"]).unwrap_or_default(),
            info: CommandTime::parse(text, &["info"])?,
        };
        let before = self.last.replace(now)?;
        let ours = |now: CommandTime, before: CommandTime, calls: u32| {
            let increase = now.since(before).filter(|increase| calls > 0 && increase.calls == u64::from(calls))?;
            Some(increase.micros as f64 / f64::from(calls))
        };
        let spent =
            Spent { list_micros: ours(now.list, before.list, lists), info_micros: ours(now.info, before.info, infos) };
        self.add(spent.list_micros, lists);
        Some(spent)
    }

    /// Starts again with the next reading: after a reconnect, or a restart of the server.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// Adds commands whose cost was not measured, with an estimate.
    pub(super) fn estimate(&mut self, micros: f64, calls: u32) {
        self.add(Some(micros), calls);
    }

    /// Adds main-thread time of other parts of this program.
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

    /// Takes the longest command since the last call.
    pub(super) fn take_longest(&mut self) -> Option<Duration> {
        self.longest.take()
    }

    /// Takes the main-thread time since the last call.
    pub(super) fn take_total(&mut self) -> Option<Duration> {
        self.total.take()
    }
}
