//! The newest status of each profile, for whoever asks.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfileStatus};
use opamp_operator_core::catalog::Stored;
use parking_lot::Mutex;

use super::offers::Offers;

/// A status, and the generation that it belongs to.
#[derive(Debug)]
pub struct Known {
    /// `metadata.generation`.
    pub generation: i64,
    /// The newest, perhaps not written yet.
    pub status: OpAMPConnectionProfileStatus,
}

/// See the module.
#[derive(Debug)]
pub struct Statuses {
    known: Mutex<BTreeMap<ProfileKey, Arc<Known>>>,
    offers: Arc<Offers>,
}

impl Statuses {
    /// None yet. Offers are counted of those that are known here.
    pub(super) fn new(offers: Arc<Offers>) -> Self {
        Self {
            known: Mutex::default(),
            offers,
        }
    }

    /// A profile has a new status.
    pub fn set(&self, key: &ProfileKey, known: Known) {
        self.offers.follow(key);
        self.known.lock().insert(key.clone(), Arc::new(known));
    }

    /// A profile was read, and may not be judged yet: what is stored of it is
    /// the newest, unless there is newer.
    pub fn read(&self, key: &ProfileKey, stored: &Stored) {
        self.offers.follow(key);
        let mut known = self.known.lock();
        // One that was made anew under its name begins anew.
        let older = known.get(key);
        let older = older.filter(|older| older.generation <= stored.generation);
        let status = older.map_or(&stored.status, |older| &older.status).clone();
        let generation = stored.generation;
        known.insert(key.clone(), Arc::new(Known { generation, status }));
    }

    /// A profile is gone.
    pub fn remove(&self, key: &ProfileKey) {
        self.known.lock().remove(key);
        self.offers.forget(key);
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, key: &ProfileKey) -> Option<Arc<Known>> {
        self.known.lock().get(key).cloned()
    }

    /// The first `limit` after a profile, in order.
    #[must_use]
    pub fn page(&self, after: Option<&ProfileKey>, limit: usize) -> Vec<(ProfileKey, Arc<Known>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.known.lock();
        let page = known.range((from, Bound::Unbounded)).take(limit);
        page.map(|(key, known)| (key.clone(), Arc::clone(known)))
            .collect()
    }
}
