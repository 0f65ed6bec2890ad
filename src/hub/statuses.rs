//! The newest status of each profile, for whoever asks.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfileStatus};
use parking_lot::Mutex;

/// A status, and the generation that it belongs to.
#[derive(Debug)]
pub struct Known {
    /// `metadata.generation`.
    pub generation: i64,
    /// The newest, perhaps not written yet.
    pub status: OpAMPConnectionProfileStatus,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Statuses(Mutex<BTreeMap<ProfileKey, Arc<Known>>>);

impl Statuses {
    /// A profile has a new status.
    pub fn set(&self, key: &ProfileKey, known: Known) {
        self.0.lock().insert(key.clone(), Arc::new(known));
    }

    /// A profile is gone.
    pub fn remove(&self, key: &ProfileKey) {
        self.0.lock().remove(key);
    }

    /// The first `limit` after a profile, in order.
    #[must_use]
    pub fn page(&self, after: Option<&ProfileKey>, limit: usize) -> Vec<(ProfileKey, Arc<Known>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.0.lock();
        let page = known.range((from, Bound::Unbounded)).take(limit);
        page.map(|(key, known)| (key.clone(), Arc::clone(known)))
            .collect()
    }
}
