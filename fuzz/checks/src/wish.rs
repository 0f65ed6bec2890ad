//! What the agents of a story should have.

use std::sync::{Arc, LazyLock};

use opamp_operator_api::{ProfileKey, v1alpha1::AgentSelector};
use opamp_operator_core::{
    catalog::{Bound, Candidate, Candidates, Target, candidates},
    identity::Trust,
    offer::Revision,
};

use crate::{body::UIDS, world::WORLD};

/// What was published, and who is recognised by it.
pub(crate) struct Published {
    pub(crate) profile: ProfileKey,
    pub(crate) revisions: [Arc<Revision>; 2],
    pub(crate) trust: Trust,
}

pub(crate) static PUBLISHED: LazyLock<Published> = LazyLock::new(|| {
    let profile = ProfileKey::new("a", "p");
    let (revisions, ledger) = WORLD.revisions(&profile);
    Published {
        trust: WORLD.trust(&ledger),
        profile,
        revisions,
    }
});

/// What the agents should have.
#[derive(Clone, Copy)]
pub(crate) struct Wished(u8);

impl From<u8> for Wished {
    fn from(bits: u8) -> Self {
        Self(bits)
    }
}

impl Wished {
    /// Nothing is published yet.
    pub(crate) const NOTHING: u8 = 0b0000_0001;
    /// Revision 2, with revision 1 before it.
    pub(crate) const SECOND: u8 = 0b0000_0010;
    pub(crate) const PAUSED: u8 = 0b0000_0100;
    /// Only agents whose `service.name` is `otelcol`.
    pub(crate) const SELECTS: u8 = 0b0000_1000;
    pub(crate) const HOLDS: u8 = 0b0001_0000;
    /// Open to nobody, or to the first agent alone.
    pub(crate) const CLOSED: u8 = 0b0010_0000;
    pub(crate) const ONE: u8 = 0b0100_0000;

    pub(crate) fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    pub(crate) fn target(self) -> Option<Target> {
        if self.has(Self::NOTHING) {
            return None;
        }
        let [first, second] = PUBLISHED.revisions.clone();
        let (current, previous) = if self.has(Self::SECOND) {
            (second, Some(first))
        } else {
            (first, None)
        };
        let bound = if self.has(Self::CLOSED) {
            Bound::Nobody
        } else if self.has(Self::ONE) {
            Bound::One(UIDS[0].into())
        } else {
            Bound::Everyone
        };
        Some(Target {
            current,
            previous,
            bound,
            paused: self.has(Self::PAUSED),
        })
    }

    pub(crate) fn candidates(self, namespace: &str) -> Candidates {
        let mut selector = AgentSelector::default();
        if self.has(Self::SELECTS) {
            let name = ("service.name".to_owned(), "otelcol".to_owned());
            selector.match_attributes.extend([name]);
        }
        let candidate = Candidate {
            profile: PUBLISHED.profile.clone(),
            priority: 0,
            admin: false,
            selector: Arc::new(selector),
        };
        candidates(namespace, [&candidate].into_iter())
    }
}
