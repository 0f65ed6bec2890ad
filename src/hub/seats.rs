//! How many instance UIDs each identity has, and may have: who can prove one
//! identity could mint as many as it likes.

use std::{collections::HashMap, sync::Arc};

use opamp_operator_api::Identity;
use opamp_operator_core::{fleet::Agent, identity::Verdict};
use parking_lot::Mutex;

/// See the module.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<HashMap<Identity, usize>>,
    /// For identities whose credentials say nothing of it.
    most: usize,
}

/// A seat that is free again when dropped, unless an agent took it.
#[derive(Debug)]
pub struct Seat(Option<(Arc<Seats>, Identity, usize)>);

/// Where it is said that a limit comes near.
pub(super) const fn almost(limit: usize) -> usize {
    limit - limit / 5
}

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Self {
            taken: Mutex::default(),
            most,
        }
    }

    pub(super) fn add(&self, identity: Option<&Identity>) {
        if let Some(identity) = identity {
            *self.taken.lock().entry(identity.clone()).or_default() += 1;
        }
    }

    pub(super) fn remove(&self, identity: Option<&Identity>) {
        let Some(identity) = identity else { return };
        let mut taken = self.taken.lock();
        if let Some(count) = taken.get_mut(identity) {
            *count -= 1;
            if *count == 0 {
                taken.remove(identity);
            }
        }
    }

    /// A seat for whoever this verdict would bind `agent` to.
    pub(super) fn seat(self: &Arc<Self>, agent: &Agent, verdict: &Verdict) -> Option<Seat> {
        let binds = agent.binding().is_none() && !verdict.primary_was_offered;
        let Some(identity) = verdict.primary.as_ref().filter(|_| binds) else {
            return Some(Seat(None));
        };
        let most = verdict.terms.max_agents.unwrap_or(self.most);
        let mut taken = self.taken.lock();
        let count = taken.get(identity).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(identity.clone(), count + 1);
        Some(Seat(Some((Arc::clone(self), identity.clone(), most))))
    }
}

impl Seat {
    /// The agent has it, if it was bound.
    pub fn take(mut self, agent: &Agent) {
        let bound = |(_, identity, _): &mut (_, Identity, _)| agent.binding() == Some(identity);
        let Some((seats, identity, most)) = self.0.take_if(bound) else {
            return;
        };
        if seats.taken.lock().get(&identity) == Some(&almost(most)) {
            tracing::warn!(
                %identity,
                limit = most,
                "four fifths of limits.agentsPerIdentity, or of `maxAgents` of the token Secret, are taken"
            );
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((seats, identity, _)) = self.0.take() {
            seats.remove(Some(&identity));
        }
    }
}
