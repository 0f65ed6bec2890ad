//! Which of several processes writes what only one may: a claim on a Lease,
//! judged by local time alone.
//!
//! Clocks of machines differ, so a time that another machine wrote says nothing
//! here. What counts is how long the Lease was seen unchanged: whoever holds it
//! counts from before it asked to renew, everyone else from after they saw it
//! renewed, and the holder stops earlier than others begin.

use std::time::Duration;

/// How long things take. A holder that cannot renew stops at `deadline`; what it
/// sent before that has the rest of `lasts` to land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Others leave a Lease alone for so long after they saw it renewed.
    pub lasts: Duration,
    /// A holder writes nothing any more so long after it began to renew.
    pub deadline: Duration,
    /// Between two attempts.
    pub retry: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Changes with every write.
    pub version: String,
    /// None if it was released.
    pub holder: Option<String>,
    /// By the terms of whoever holds it.
    pub lasts: Duration,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease, then [`Claim::observe`].
    Read,
    /// Name ourselves as its holder if it still is this version, or (none) make
    /// it; then [`Claim::claimed`] or [`Claim::failed`].
    Claim(Option<String>),
    /// Ask again at this uptime.
    Wait(Duration),
}

/// One process that would hold the Lease. Times are its own uptime.
#[derive(Clone, Debug)]
pub struct Claim {
    me: String,
    terms: Terms,
    /// As it was last, and since when it is known to be so.
    seen: Option<(Seen, Duration)>,
    /// It was read since the last attempt.
    fresh: bool,
    /// It is known to be another version by now.
    outrun: bool,
    /// When the request was sent that made or kept us its holder.
    held: Option<Duration>,
    turn: Duration,
}

impl Claim {
    /// By a name that no other process has, also none before in the same Pod.
    #[must_use]
    pub fn new(me: String, terms: Terms) -> Self {
        Self {
            me,
            terms,
            seen: None,
            fresh: false,
            outrun: false,
            held: None,
            turn: Duration::ZERO,
        }
    }

    /// Until when we may write what only the holder may; none if we may not.
    #[must_use]
    pub fn leads_until(&self, now: Duration) -> Option<Duration> {
        let until = self.held? + self.terms.deadline;
        (now < until).then_some(until)
    }

    /// What to do.
    pub fn next(&mut self, now: Duration) -> Step {
        if now < self.turn {
            return Step::Wait(self.turn);
        }
        let version = self.seen.as_ref().map(|(seen, _)| seen.version.clone());
        let renews = self.leads_until(now).is_some() && !self.outrun;
        if renews || (self.fresh && self.is_free(now)) {
            return Step::Claim(version);
        }
        if !self.fresh {
            return Step::Read;
        }
        self.rest(now);
        Step::Wait(self.turn)
    }

    /// The Lease was read; none if there is none.
    pub fn observe(&mut self, seen: Option<Seen>, now: Duration) {
        (self.fresh, self.outrun) = (true, false);
        let Some(seen) = seen else {
            (self.seen, self.held) = (None, None);
            return;
        };
        if seen.holder.as_ref() != Some(&self.me) {
            self.held = None;
        }
        let known = self.seen.as_ref();
        if known.is_none_or(|(known, _)| known.version != seen.version) {
            self.seen = Some((seen, now));
        }
    }

    /// The Lease names us since a request that was sent at `sent`.
    pub fn claimed(&mut self, version: String, sent: Duration, now: Duration) {
        let seen = Seen {
            version,
            holder: Some(self.me.clone()),
            lasts: self.terms.lasts,
        };
        self.seen = Some((seen, now));
        (self.held, self.outrun) = (Some(sent), false);
        self.rest(now);
    }

    /// A request failed, or nobody knows what came of it.
    pub fn failed(&mut self, now: Duration) {
        self.rest(now);
    }

    /// The Lease is not the version that it was. Perhaps it was we who wrote it,
    /// and did not hear of it: a holder stays one until it reads of another.
    pub fn outrun(&mut self, now: Duration) {
        (self.fresh, self.outrun, self.turn) = (false, true, now);
    }

    /// We give it up: the version to write without a holder, if we hold it.
    /// From now on we do not.
    pub fn release(&mut self, now: Duration) -> Option<String> {
        let holds = self.leads_until(now).is_some();
        self.held = None;
        let seen = self.seen.as_ref().filter(|_| holds);
        seen.map(|(seen, _)| seen.version.clone())
    }

    /// Nobody holds it, or we do, or whoever does showed no sign for too long.
    fn is_free(&self, now: Duration) -> bool {
        self.seen.as_ref().is_none_or(|(seen, since)| {
            let ours = seen.holder.as_ref().is_none_or(|holder| *holder == self.me);
            ours || *since + seen.lasts <= now
        })
    }

    fn rest(&mut self, now: Duration) {
        (self.fresh, self.turn) = (false, now + self.terms.retry);
    }
}
