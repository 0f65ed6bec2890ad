//! How much is too much: buckets of tokens, as values. What time it is, the
//! caller says, counted from any beginning.

use std::time::Duration;

/// So many at once, and as many again over a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    tokens: u32,
    over: Duration,
}

impl Rate {
    pub(super) const fn new(tokens: u32, over: Duration) -> Self {
        let tokens = if tokens == 0 { 1 } else { tokens };
        Self { tokens, over }
    }

    /// A part of it: fewer tokens over the same time.
    pub(super) const fn share(self, of: u32) -> Self {
        Self::new(self.tokens / of, self.over)
    }
}

/// Full when made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it will be full again: the one number that a bucket needs.
    full: Duration,
    /// How many were refused since it was last full.
    refused: u32,
}

/// Why there was no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// It may have been a burst.
    Just,
    /// As many were refused as the bucket holds, and it was never full since:
    /// whoever it is does not stop.
    Still,
}

impl Bucket {
    pub(super) fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Empty> {
        self.take_above(Duration::ZERO, rate, now)
    }

    /// As [`Self::take`], for those who must leave half of it to others.
    pub(super) fn take_above_half(&mut self, rate: Rate, now: Duration) -> Result<(), Empty> {
        self.take_above(rate.over / 2, rate, now)
    }

    fn take_above(&mut self, kept: Duration, rate: Rate, now: Duration) -> Result<(), Empty> {
        if self.full <= now {
            self.refused = 0;
        }
        let full = self.full.max(now) + rate.over / rate.tokens;
        if full.saturating_sub(now) <= rate.over.saturating_sub(kept) {
            self.full = full;
            return Ok(());
        }
        self.refused = self.refused.saturating_add(1);
        Err(if self.refused < rate.tokens {
            Empty::Just
        } else {
            Empty::Still
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Rate = Rate::new(10, Duration::from_secs(10));

    fn taken(bucket: &mut Bucket, tries: u32, now: Duration) -> u32 {
        let take = |_: &u32| bucket.take(TEN, now).is_ok();
        u32::try_from((0..tries).filter(take).count()).unwrap()
    }

    #[test]
    fn law10_a_bucket_gives_what_it_holds_and_then_what_comes_in() {
        let mut bucket = Bucket::default();
        let start = Duration::from_secs(1000);
        assert_eq!(taken(&mut bucket, 15, start), 10);
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            taken(&mut bucket, 15, start + Duration::from_millis(999)),
            0
        );
        assert_eq!(taken(&mut bucket, 15, later(3)), 3);
        // However long it was left alone, it holds no more.
        assert_eq!(taken(&mut bucket, 99, later(3600)), 10);
        // A clock that stands still, or goes back, gives nothing.
        assert_eq!(taken(&mut bucket, 15, start), 0);
    }

    #[test]
    fn law10_one_heartbeat_a_second_is_never_refused() {
        let mut bucket = Bucket::default();
        let burst = taken(&mut bucket, 9, Duration::ZERO);
        assert_eq!(burst, 9);
        for second in 1..10_000 {
            assert_eq!(bucket.take(TEN, Duration::from_secs(second)), Ok(()));
        }
    }

    #[test]
    fn law10_whoever_does_not_stop_is_told_apart_from_a_burst() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 10, Duration::ZERO), 10);
        let mut take = |now| bucket.take(TEN, now).unwrap_err();
        for _ in 0..9 {
            assert_eq!(take(Duration::ZERO), Empty::Just);
        }
        assert_eq!(take(Duration::from_millis(1)), Empty::Still);
        // A bucket that was full in between has forgotten.
        let later = Duration::from_secs(11);
        assert_eq!(taken(&mut bucket, 10, later), 10);
        assert_eq!(bucket.take(TEN, later), Err(Empty::Just));
    }

    #[test]
    fn law9_some_leave_half_to_others() {
        let mut bucket = Bucket::default();
        let now = Duration::ZERO;
        let greedy = (0..20).filter(|_| bucket.take_above_half(TEN, now).is_ok());
        assert_eq!(greedy.count(), 5);
        assert_eq!(taken(&mut bucket, 20, now), 5);
        assert_eq!(TEN.share(4), Rate::new(2, Duration::from_secs(10)));
    }

    #[test]
    fn law10_no_configured_number_breaks_it() {
        for tokens in [0, 1, u32::MAX] {
            let rate = Rate::new(tokens, Duration::from_secs(10));
            let mut bucket = Bucket::default();
            assert_eq!(bucket.take(rate, Duration::ZERO), Ok(()));
            assert_eq!(rate.share(4).take_one(), Ok(()));
        }
    }

    impl Rate {
        fn take_one(self) -> Result<(), Empty> {
            Bucket::default().take(self, Duration::ZERO)
        }
    }
}
