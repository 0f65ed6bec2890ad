//! What the agents of a profile should have.

use std::sync::Arc;

use opamp_operator_api::values::{Attributes, Identity};
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
    /// The last that was open to everyone: for agents above the bound that
    /// lost their settings.
    pub previous: Option<Arc<Revision>>,
    /// How far `current` has been opened.
    pub bound: Bound,
    /// Nothing is offered: the profile says so, or what it would take was
    /// taken away.
    pub paused: bool,
}

impl Target {
    /// What this agent should have; none if it should be left alone.
    #[must_use]
    pub fn revision_for(
        &self,
        uid: InstanceUid,
        identity: Option<&Identity>,
        attributes: Option<&Attributes>,
    ) -> Option<&Arc<Revision>> {
        let open = match self.bound {
            Bound::Everyone => true,
            Bound::One(first) => first == uid,
            Bound::Nobody => false,
        };
        let revision = if open {
            Some(&self.current)
        } else {
            self.previous.as_ref().filter(|p| !p.is_withdrawn())
        };
        revision.filter(|revision| revision.selects(uid, identity, attributes))
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |t: &Self| (t.current.number(), t.previous.as_ref().map(|p| p.number()));
        let same_before = match (&self.previous, &other.previous) {
            (Some(a), Some(b)) => a.is_withdrawn() == b.is_withdrawn() && a.is_same_beside(b),
            _ => true,
        };
        numbers(self) == numbers(other)
            && same_before
            && self.current.is_external() == other.current.is_external()
            && self.current.marker() == other.current.marker()
            && self.bound == other.bound
            && self.paused == other.paused
            && self.current.selector() == other.current.selector()
            && self.current.is_same_beside(&other.current)
    }
}
