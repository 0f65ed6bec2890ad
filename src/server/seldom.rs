//! Reaching a limit is visible (law 10), and seeing it must not become a
//! flood of its own: whoever drives us into a limit could write our log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The least time between two lines about one thing.
const BETWEEN: Duration = Duration::from_secs(30);

/// When a line was last written, and how many were left out since.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Calls `line` with the number of times it was not called since the last
    /// one, unless that was less than half a minute ago.
    pub(super) fn note(&self, line: impl FnOnce(u64)) {
        let mut state = self.0.lock();
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < BETWEEN) {
            *left_out += 1;
            return;
        }
        *last = Some(Instant::now());
        let left_out = std::mem::take(left_out);
        drop(state);
        line(left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_in_half_a_minute_tells_how_many_it_stands_for() {
        let seldom = Seldom::default();
        let mut lines = Vec::new();
        for _ in 0..3 {
            seldom.note(|left_out| lines.push(left_out));
        }
        tokio::time::advance(BETWEEN).await;
        seldom.note(|left_out| lines.push(left_out));
        assert_eq!(lines, [0, 2]);
    }
}
