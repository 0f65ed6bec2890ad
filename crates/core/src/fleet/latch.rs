//! Law 5: what keeps one agent from being offered settings in a loop.

use std::time::Duration;

use crate::identity::Marker;

/// Shortest time between two offers to one agent, whatever they hold: less
/// makes a supervisor leak a connection (agents.md H12).
pub(super) const MIN_BETWEEN_OFFERS: Duration = Duration::from_secs(15);
/// How long an agent may take to come back after an offer: opamp-go's back-off
/// reaches 60 s, and the supervisor's verification another 60 s.
pub(super) const SWITCH_DEADLINE: Duration = Duration::from_secs(120);
/// After attempt n without evidence the next waits this long.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
];
/// After the n-th reported failure the next attempt waits 10 min · 2ⁿ, up to 6 h.
const FAILED_FIRST: Duration = Duration::from_secs(10 * 60);
const FAILED_LAST: Duration = Duration::from_secs(6 * 3600);
/// What is left of the old credential never makes the wait shorter than this.
const FAILED_SHORTEST: Duration = Duration::from_secs(60);
/// The retry counter of a hash stops here: with 6 h between them, after 16 days.
pub(super) const MAX_RETRY: u32 = 64;
/// Offers an agent may get whatever their hash: 10 at once, 6 an hour.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(600);

/// Revisions whose attempts are remembered, the last offered ones.
const REVISIONS_KEPT: usize = 8;

/// How long after attempt `made` the next waits.
pub(super) fn backoff(made: usize) -> Duration {
    BACKOFF[made.saturating_sub(1).min(BACKOFF.len() - 1)]
}

/// Attempts to bring one revision to an agent.
#[derive(Clone, Debug)]
struct Attempt {
    marker: Marker,
    /// Attempts and reported failures since the last evidence.
    made: u32,
    failed: u32,
    /// Reported failures ever: a hash that failed is not used again.
    retry: u32,
    not_before: Duration,
}

/// Attempts per revision, for a target may go back and forth between two.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Vec<Attempt>);

impl Attempts {
    fn of(&self, marker: Marker) -> Option<&Attempt> {
        self.0.iter().find(|attempt| attempt.marker == marker)
    }

    fn of_mut(&mut self, marker: Marker) -> Option<&mut Attempt> {
        self.0.iter_mut().find(|attempt| attempt.marker == marker)
    }

    /// When the next attempt with `marker` may be made.
    pub(super) fn not_before(&self, marker: Marker) -> Duration {
        self.of(marker).map_or(Duration::ZERO, |a| a.not_before)
    }

    /// How often the agent said that this revision failed: the retry counter
    /// of the next offer's hash.
    pub(super) fn retry(&self, marker: Marker) -> u32 {
        self.of(marker).map_or(0, |attempt| attempt.retry)
    }

    pub(super) fn made(&mut self, marker: Marker, now: Duration) {
        let known = self.0.iter().position(|a| a.marker == marker);
        let mut attempt = known.map_or(
            Attempt {
                marker,
                made: 0,
                failed: 0,
                retry: 0,
                not_before: Duration::ZERO,
            },
            |at| self.0.remove(at),
        );
        attempt.made = attempt.made.saturating_add(1);
        attempt.not_before = now + backoff(attempt.made as usize);
        if self.0.len() == REVISIONS_KEPT {
            self.0.remove(0);
        }
        self.0.push(attempt);
    }

    /// The agent said that the last attempt failed. `remaining` is what is left
    /// of the credential it has: half of that is the latest moment to try again.
    pub(super) fn failed(&mut self, marker: Marker, now: Duration, remaining: Option<Duration>) {
        let Some(attempt) = self.of_mut(marker) else {
            return;
        };
        let wait = FAILED_FIRST
            .saturating_mul(1 << attempt.failed.min(6))
            .min(FAILED_LAST);
        let latest = remaining.map(|remaining| (remaining / 2).max(FAILED_SHORTEST));
        let wait = latest.map_or(wait, |latest| wait.min(latest));
        attempt.failed = attempt.failed.saturating_add(1);
        attempt.retry = (attempt.retry + 1).min(MAX_RETRY);
        attempt.not_before = now + wait;
    }

    /// The agent was seen to run this revision.
    pub(super) fn proved(&mut self, marker: Marker) {
        if let Some(attempt) = self.of_mut(marker) {
            attempt.made = 0;
            attempt.failed = 0;
            attempt.not_before = Duration::ZERO;
        }
    }
}

/// A bucket of offers.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    left: u32,
    refilled: Duration,
}

impl Bucket {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            left: BURST,
            refilled: now,
        }
    }

    /// When the next offer may leave; now, if one is left.
    pub(super) fn available_at(&self, now: Duration) -> Duration {
        if self.left > 0 || self.earned(now) > 0 {
            now
        } else {
            self.refilled + REFILL
        }
    }

    pub(super) fn take(&mut self, now: Duration) {
        let earned = self.earned(now);
        self.left = (self.left + earned).min(BURST);
        self.refilled = if self.left == BURST {
            now
        } else {
            self.refilled + REFILL.saturating_mul(earned)
        };
        self.left = self.left.saturating_sub(1);
    }

    fn earned(&self, now: Duration) -> u32 {
        let whole = now.saturating_sub(self.refilled).as_secs() / REFILL.as_secs();
        u32::try_from(whole).unwrap_or(BURST).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law5_a_bucket_gives_ten_at_once_and_six_an_hour() {
        let mut bucket = Bucket::new(Duration::ZERO);
        let mut given = 0;
        let day = Duration::from_secs(24 * 3600);
        let mut now = Duration::ZERO;
        while now < day {
            if bucket.available_at(now) <= now {
                bucket.take(now);
                given += 1;
            }
            now += Duration::from_secs(1);
        }
        assert!((10 + 6 * 24 - 1..=10 + 6 * 24).contains(&given), "{given}");
    }
}
