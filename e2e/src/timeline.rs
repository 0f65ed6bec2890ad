//! What happened when: one list for a whole world, printed when a test fails
//! and while the demo runs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A shared, growing list of moments.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Instant,
    echo: bool,
    entries: Arc<Mutex<Vec<Entry>>>,
}

/// One moment.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Time since the start of the timeline.
    pub at: Duration,
    /// Who did it: `operator`, `tap`, a supervisor's name, `test`.
    pub who: String,
    /// What happened.
    pub what: String,
}

impl Timeline {
    /// An empty timeline that starts now; with `echo` every entry is printed as it happens.
    #[must_use]
    pub fn start(echo: bool) -> Self {
        Self {
            start: Instant::now(),
            echo,
            entries: Arc::default(),
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds an entry and, where the timeline echoes, prints it.
    pub fn add(&self, who: &str, what: impl Into<String>) {
        let entry = self.push(who, what.into());
        if self.echo {
            say(&entry.line());
        }
    }

    /// Adds an entry that is printed only after a failure.
    pub fn note(&self, who: &str, what: impl Into<String>) {
        self.push(who, what.into());
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// All entries as lines.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for entry in self.lock().iter() {
            let _ = writeln!(text, "{}", entry.line());
        }
        text
    }

    fn push(&self, who: &str, what: String) -> Entry {
        let mut entries = self.lock();
        let entry = Entry {
            at: self.now(),
            who: who.to_owned(),
            what,
        };
        entries.push(entry.clone());
        entry
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn line(&self) -> String {
        format!(
            "{:>8.3} s  {:<10}  {}",
            self.at.as_secs_f64(),
            self.who,
            self.what
        )
    }
}

/// Prints a line for the person who runs the harness; a closed pipe is no error.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_order_and_say_who() {
        let timeline = Timeline::start(false);
        timeline.add("tap", "one");
        timeline.clone().note("operator", "two");
        let text = timeline.render();
        assert!(text.find("one") < text.find("two"), "{text}");
        assert!(text.contains("operator"), "{text}");
    }
}
