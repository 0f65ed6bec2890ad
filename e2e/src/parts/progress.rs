//! What a person sees while a part is built.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A line that counts seconds: in place on a terminal, now and then elsewhere.
pub(super) struct Progress {
    what: &'static str,
    start: Instant,
    said: Instant,
}

impl Progress {
    pub(super) fn start(what: &'static str) -> Self {
        let now = Instant::now();
        let progress = Self {
            what,
            start: now,
            said: now,
        };
        progress.print("\n");
        progress
    }

    pub(super) fn tick(&mut self) {
        if std::io::stderr().is_terminal() {
            self.print("");
        } else if self.said.elapsed() >= Duration::from_secs(15) {
            self.said = Instant::now();
            self.print("\n");
        }
    }

    pub(super) fn end(&self) {
        self.print(" done\n");
    }

    fn print(&self, end: &str) {
        let seconds = self.start.elapsed().as_secs();
        let mut err = std::io::stderr().lock();
        let (before, end) = match (err.is_terminal(), end) {
            (true, "\n") => ("", ""),
            (true, end) => ("\r", end),
            (false, end) => ("", end),
        };
        let _ = write!(err, "{before}building {} … {seconds} s{end}", self.what);
        let _ = err.flush();
    }
}
