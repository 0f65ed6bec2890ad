//! What agents should have: one watch per namespace for the candidates, one
//! per profile for its target, since the two change at different rates. An
//! agent waits for its own only.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use opamp_operator_api::ProfileKey;
use opamp_operator_core::catalog::{Candidate, Candidates, Target, candidates};
use parking_lot::Mutex;
use tokio::sync::watch;

type Watched<T> = watch::Sender<Option<Arc<T>>>;

/// See the module.
#[derive(Debug, Default)]
pub struct OfferBook(Mutex<Pages>);

/// Where the profiles are not known: an agent that could have one of these is
/// given none to choose from.
#[derive(Debug, Default)]
pub struct Unknown {
    /// Their namespaces.
    pub namespaces: BTreeSet<String>,
    /// An admin namespace is among them, whose profiles may select any agent.
    pub admin: bool,
}

impl Unknown {
    fn knows(&self, namespace: &str) -> bool {
        !self.admin && !self.namespaces.contains(namespace)
    }
}

#[derive(Debug, Default)]
struct Pages {
    /// None before the first sync.
    all: Option<Vec<Candidate>>,
    unknown: Unknown,
    candidates: HashMap<String, Watched<Candidates>>,
    targets: HashMap<ProfileKey, Watched<Target>>,
}

impl OfferBook {
    /// The candidates of a namespace; none while they are not known yet.
    #[must_use]
    pub fn candidates(&self, namespace: &str) -> watch::Receiver<Option<Arc<Candidates>>> {
        let mut pages = self.0.lock();
        if let Some(known) = pages.candidates.get(namespace) {
            return known.subscribe();
        }
        let all = pages.all.as_ref();
        let now = all
            .filter(|_| pages.unknown.knows(namespace))
            .map(|all| Arc::new(candidates(namespace, all.iter())));
        let sender = watch::Sender::new(now);
        let receiver = sender.subscribe();
        pages.candidates.insert(namespace.to_owned(), sender);
        receiver
    }

    /// All profiles that may be chosen anywhere; none while those that an agent
    /// of this namespace may choose from are not known.
    #[must_use]
    pub fn all(&self, namespace: &str) -> Option<Vec<Candidate>> {
        let pages = self.0.lock();
        let all = pages.all.as_ref();
        all.filter(|_| pages.unknown.knows(namespace)).cloned()
    }

    /// The target of a profile; none while it has none.
    #[must_use]
    pub fn target(&self, profile: &ProfileKey) -> watch::Receiver<Option<Arc<Target>>> {
        let mut pages = self.0.lock();
        pages
            .targets
            .entry(profile.clone())
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }

    /// The target of a profile as it is now; none if it has none.
    #[must_use]
    pub fn in_force(&self, profile: &ProfileKey) -> Option<Arc<Target>> {
        let pages = self.0.lock();
        pages.targets.get(profile)?.borrow().clone()
    }

    /// Replaces all candidates; wakes only the namespaces for which they differ.
    pub fn publish_candidates(&self, all: Vec<Candidate>, unknown: Unknown) {
        let mut pages = self.0.lock();
        for (namespace, sender) in &pages.candidates {
            let knows = unknown.knows(namespace);
            let next = knows.then(|| candidates(namespace, all.iter()));
            sender.send_if_modified(|now| {
                let differs = now.as_deref() != next.as_ref();
                if differs {
                    *now = next.map(Arc::new);
                }
                differs
            });
        }
        pages.all = Some(all);
        pages.unknown = unknown;
        // Nobody listens and nothing is lost: it is computed anew when asked.
        pages
            .candidates
            .retain(|_, sender| sender.receiver_count() > 0);
    }

    /// Replaces a profile's target; wakes its agents only if it differs.
    pub fn publish_target(&self, profile: &ProfileKey, target: Option<Target>) {
        let mut pages = self.0.lock();
        let sender = pages
            .targets
            .entry(profile.clone())
            .or_insert_with(|| watch::Sender::new(None));
        sender.send_if_modified(|known| {
            let differs = known.as_deref() != target.as_ref();
            if differs {
                *known = target.map(Arc::new);
            }
            differs
        });
        pages
            .targets
            .retain(|_, sender| sender.borrow().is_some() || sender.receiver_count() > 0);
    }
}
