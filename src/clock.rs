//! The one place where the wall clock is read. Everything pure is given the time.

use jiff::Timestamp;

/// The time now, by this machine's clock.
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    Timestamp::now()
}
