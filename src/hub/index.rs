//! Which agents each profile counts, so that a change of one profile costs what
//! its own agents cost. An agent that is counted no more is left out when it is
//! met: whoever changes it holds its lock, and needs no other.

use std::collections::{HashMap, HashSet};

use opamp_operator_api::ProfileKey;
use opamp_operator_core::fleet::Agent;
use opamp_wire::InstanceUid;
use parking_lot::Mutex;

/// Instance UID and home namespace.
pub(super) type Who = (InstanceUid, String);

/// See the module. Its lock is the last that anybody takes.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<HashMap<ProfileKey, HashSet<Who>>>);

impl Index {
    pub(super) fn add(&self, agent: &Agent) {
        let who = (agent.uid(), agent.namespace().to_owned());
        let mut index = self.0.lock();
        for profile in agent.counted_by() {
            index.entry(profile).or_default().insert(who.clone());
        }
    }

    pub(super) fn of(&self, profile: &ProfileKey) -> Vec<Who> {
        let index = self.0.lock();
        index.get(profile).into_iter().flatten().cloned().collect()
    }

    pub(super) fn remove(&self, profile: &ProfileKey, who: &Who) {
        let mut index = self.0.lock();
        if let Some(agents) = index.get_mut(profile) {
            agents.remove(who);
            if agents.is_empty() {
                index.remove(profile);
            }
        }
    }
}
