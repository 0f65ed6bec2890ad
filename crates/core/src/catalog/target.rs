//! What the agents of a profile should have.

use std::sync::Arc;

use opamp_operator_api::{v1alpha1::AgentSelector, values::Attributes};
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
    /// The profile stops new offers.
    pub paused: bool,
    /// Whom these settings are for. It travels with them, so that an edit of
    /// both can never bring the settings of one to the agents of the other.
    pub selector: Arc<AgentSelector>,
}

impl Target {
    /// Are these settings for this agent?
    #[must_use]
    pub fn selects(&self, uid: InstanceUid, attributes: Option<&Attributes>) -> bool {
        match attributes {
            None if self.selector.reads_attributes() => false,
            None => self
                .selector
                .matches(&uid.to_string(), &Attributes::default()),
            Some(attributes) => self.selector.matches(&uid.to_string(), attributes),
        }
    }

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
            && self.selector == other.selector
    }
}
