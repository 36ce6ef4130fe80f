//! The only module that reads the wall clock. Pure code gets the time as an argument.

use jiff::Timestamp;

/// The current time, by this machine's clock.
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the only module that reads the wall clock")]
    Timestamp::now()
}
