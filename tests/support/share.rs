//! Shares of the machine. Tests that run servers, exporters or browsers take one, so that only a few of them run at the
//! same time, whatever `--test-threads` says, and a heavy test runs without others beside it.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// The share of one test. It is returned when its last holder is dropped: a server, an exporter, or the test itself.
pub(crate) struct Share {
    is_alone: bool,
}

/// The tests that have a share.
struct Machine {
    /// The number of ordinary tests.
    ordinary: usize,
    /// True if a heavy test runs.
    is_taken: bool,
    /// Heavy tests that wait. Ordinary ones that come later wait for them.
    waiting: usize,
}

static MACHINE: Mutex<Machine> = Mutex::new(Machine { ordinary: 0, is_taken: false, waiting: 0 });
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// The share of the test on this thread. What it starts belongs to it: if a test waited for a second share while it
    /// has one, two tests could wait for each other.
    static OWN: RefCell<Weak<Share>> = const { RefCell::new(Weak::new()) };
}

fn machine() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The maximum number of ordinary tests at the same time: most of them wait most of the time.
fn max_ordinary() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the share of this test. Waits for one if it has none.
pub(crate) fn ordinary() -> Arc<Share> {
    own(|| {
        let is_full =
            |machine: &mut Machine| machine.is_taken || machine.waiting > 0 || machine.ordinary >= max_ordinary();
        let mut machine = CHANGED.wait_while(machine(), is_full).unwrap_or_else(PoisonError::into_inner);
        machine.ordinary += 1;
        Share { is_alone: false }
    })
}

/// Waits until no other test has a share, and keeps it so. A heavy test begins with it: one with thousands of clients,
/// or that measures costs or memory.
///
/// # Panics
/// If this test already has an ordinary share.
pub(crate) fn alone() -> Arc<Share> {
    let share = own(|| {
        let mut machine = machine();
        machine.waiting += 1;
        let is_used = |machine: &mut Machine| machine.is_taken || machine.ordinary > 0;
        let mut machine = CHANGED.wait_while(machine, is_used).unwrap_or_else(PoisonError::into_inner);
        machine.waiting -= 1;
        machine.is_taken = true;
        Share { is_alone: true }
    });
    assert!(share.is_alone, "take the machine before anything is started");
    share
}

fn own(take: impl FnOnce() -> Share) -> Arc<Share> {
    OWN.with_borrow_mut(|own| {
        own.upgrade().unwrap_or_else(|| {
            let share = Arc::new(take());
            *own = Arc::downgrade(&share);
            share
        })
    })
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut machine = machine();
        match self.is_alone {
            true => machine.is_taken = false,
            false => machine.ordinary -= 1,
        }
        CHANGED.notify_all();
    }
}
