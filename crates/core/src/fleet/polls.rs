//! How often an agent polls over HTTP. The agent remembers it and not the link:
//! one that polls slower than its links last could never be learnt otherwise.

use std::time::Duration;

/// How often an agent is heard, until its own interval is seen (the
/// specification's default, section "OpAMPConnectionSettings").
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// An HTTP link ends after this many missed polls.
const MISSED: u32 = 3;
/// Longer silence is an absence and no interval: a profile may ask for a
/// heartbeat of a day, and clients add some jitter.
const MAX_INTERVAL: Duration = Duration::from_secs(26 * 3600);
/// A longer interval than the last is forgotten by this part of the time that
/// passes: agents also speak between two polls, which says nothing of those.
const FORGOTTEN: u32 = 4;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polls {
    interval: Duration,
    last: Option<Duration>,
}

impl Default for Polls {
    fn default() -> Self {
        Self {
            interval: DEFAULT_INTERVAL,
            last: None,
        }
    }
}

impl Polls {
    /// The agent was heard over HTTP, on whichever link.
    pub(super) fn heard(&mut self, now: Duration) {
        let gap = self.last.map(|last| now.saturating_sub(last));
        if let Some(gap) = gap.filter(|gap| *gap <= MAX_INTERVAL) {
            let remembered = self.interval.saturating_sub(gap / FORGOTTEN);
            self.interval = gap.max(remembered).max(DEFAULT_INTERVAL);
        }
        self.last = Some(now);
    }

    /// The time between two polls.
    pub(super) fn interval(self) -> Duration {
        self.interval
    }

    /// When a link on which the agent was last heard at `heard` counts as ended.
    pub(super) fn silent_at(self, heard: Duration) -> Duration {
        heard + self.interval.saturating_mul(MISSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law10_the_interval_is_learnt_also_from_agents_that_speak_in_between() {
        let mut polls = Polls::default();
        let mut now = Duration::ZERO;
        for gap in [3_600, 0, 1, 3_599, 0, 0] {
            polls.heard(now);
            now += Duration::from_secs(gap);
        }
        assert_eq!(polls.interval(), Duration::from_secs(3_599));
        // An absence of days is none, and a long one is forgotten in time.
        polls.heard(now);
        polls.heard(now + Duration::from_secs(27 * 3600));
        assert!(polls.interval() <= Duration::from_secs(3_600));
        now += Duration::from_secs(27 * 3600);
        for _ in 0..(4 * 3_600 / 60) {
            now += Duration::from_secs(60);
            polls.heard(now);
        }
        assert_eq!(polls.interval(), Duration::from_secs(60));
        assert_eq!(polls.silent_at(now), now + Duration::from_secs(180));
    }
}
