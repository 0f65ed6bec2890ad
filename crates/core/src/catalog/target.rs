//! What the agents of a profile should have.

use std::sync::Arc;

use opamp_wire::InstanceUid;

use crate::offer::Revision;

/// How far a revision has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nobody: it waits for a first agent, or was halted.
    Nobody,
    /// One agent, whose evidence opens it to the rest.
    One(InstanceUid),
    /// Everyone.
    Everyone,
}

/// The revision in force, the one before, and who may have which.
#[derive(Clone, Debug)]
pub struct Target {
    /// The newest.
    pub current: Arc<Revision>,
    /// For agents above the bound that lost their settings.
    pub previous: Option<Arc<Revision>>,
    /// How far `current` has been opened.
    pub bound: Bound,
    /// The profile stops new offers.
    pub paused: bool,
}

impl Target {
    /// What `uid` should have; none if it should be left alone.
    #[must_use]
    pub fn revision_for(&self, uid: InstanceUid) -> Option<&Arc<Revision>> {
        match self.bound {
            Bound::Everyone => Some(&self.current),
            Bound::One(first) if first == uid => Some(&self.current),
            _ => self.previous.as_ref(),
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |t: &Self| (t.current.number(), t.previous.as_ref().map(|p| p.number()));
        numbers(self) == numbers(other)
            && self.current.marker() == other.current.marker()
            && self.bound == other.bound
            && self.paused == other.paused
    }
}
