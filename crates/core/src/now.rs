//! The moment a decision is made in: a value, never a clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Wall time (certificates, records) and monotonic time (waits, back-off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For what the world agrees on: validity of certificates, statuses.
    pub wall: Timestamp,
    /// Since the start of this process; never goes back.
    pub uptime: Duration,
}

impl Now {
    /// The uptime at which the wall clock will show `wall`; now, if it has passed.
    #[must_use]
    pub fn uptime_at(&self, wall: Timestamp) -> Duration {
        self.uptime + self.until(wall)
    }

    /// How long it is until `wall`; zero, if it has passed.
    #[must_use]
    pub fn until(&self, wall: Timestamp) -> Duration {
        Duration::try_from(wall.duration_since(self.wall)).unwrap_or_default()
    }

    /// The wall time that corresponds to an uptime, for showing it to people.
    #[must_use]
    pub fn wall_at(&self, uptime: Duration) -> Timestamp {
        self.wall + uptime.saturating_sub(self.uptime) - self.uptime.saturating_sub(uptime)
    }
}

/// So long after a moment, or when time ends: what is added may be configured,
/// and the moment may be what a stranger wrote into a certificate.
#[must_use]
pub(crate) fn after(moment: Timestamp, time: SignedDuration) -> Timestamp {
    moment.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// The earlier of two deadlines, where none means never.
#[must_use]
pub fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
