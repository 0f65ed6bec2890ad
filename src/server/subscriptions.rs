//! What a link listens to. Everything is subscribed to first and read through
//! the subscription, so what is published in between is a change that wakes;
//! there is no other way to read it.

use std::sync::Arc;

use opamp_operator_api::ProfileKey;
use opamp_operator_core::catalog::{Candidates, Target};
use tokio::sync::watch;

use crate::hub::OfferBook;

type Watched<T> = watch::Receiver<Option<Arc<T>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Subscriptions {
    candidates: Watched<Candidates>,
    target: Option<(ProfileKey, Watched<Target>)>,
}

impl Subscriptions {
    /// Listens to the candidates of a namespace, and to no target yet.
    pub(super) fn new(book: &OfferBook, namespace: &str) -> Self {
        Self {
            candidates: book.candidates(namespace),
            target: None,
        }
    }

    /// The candidates as of now; later ones wake.
    pub(super) fn candidates(&mut self) -> Option<Arc<Candidates>> {
        self.candidates.borrow_and_update().clone()
    }

    /// The target of the profile that applies, as of now; later ones wake, and
    /// those of other profiles no more.
    pub(super) fn target(
        &mut self,
        book: &OfferBook,
        profile: Option<&ProfileKey>,
    ) -> Option<Arc<Target>> {
        let Some(profile) = profile else {
            self.target = None;
            return None;
        };
        let kept = self.target.take().filter(|(of, _)| of == profile);
        let (_, target) = self
            .target
            .insert(kept.unwrap_or_else(|| (profile.clone(), book.target(profile))));
        target.borrow_and_update().clone()
    }

    /// Waits until one of them changed after it was read. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let target = self.target.as_mut().map(|(_, target)| target);
        tokio::select! {
            () = change(Some(&mut self.candidates)) => {}
            () = change(target) => {}
        }
    }
}

/// Waits for a change; for ever if there is nothing to wait for.
async fn change<T>(receiver: Option<&mut watch::Receiver<T>>) {
    let alive = match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !alive {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use opamp_operator_api::v1alpha1::AgentSelector;
    use opamp_operator_core::catalog::Candidate;

    use super::*;
    use crate::hub::Unknown;

    fn candidate(priority: i32) -> Vec<Candidate> {
        vec![Candidate {
            profile: ProfileKey::new("a", "p"),
            priority,
            admin: false,
            selector: Arc::new(AgentSelector::default()),
        }]
    }

    /// Wherever a publication falls between subscribing and waiting, it is
    /// either read or it wakes.
    #[tokio::test]
    async fn nothing_published_is_ever_missed() {
        for after in 0..3 {
            let book = OfferBook::default();
            book.publish_candidates(candidate(0), Unknown::default());
            let publish = |step: i32| {
                if step == after {
                    book.publish_candidates(candidate(1), Unknown::default());
                }
            };
            publish(0);
            let mut subscriptions = Subscriptions::new(&book, "a");
            publish(1);
            let read = subscriptions.candidates().unwrap();
            publish(2);
            let woken = subscriptions.changed().now_or_never().is_some();
            assert_eq!(woken, read.as_slice()[0].priority == 0, "{after}");
        }
    }

    #[tokio::test]
    async fn another_profile_wakes_no_more() {
        let book = OfferBook::default();
        let (old, new) = (ProfileKey::new("a", "old"), ProfileKey::new("a", "new"));
        let mut subscriptions = Subscriptions::new(&book, "a");
        assert!(subscriptions.target(&book, Some(&old)).is_none());
        assert!(subscriptions.target(&book, Some(&new)).is_none());
        assert_eq!(subscriptions.target.as_ref().map(|(of, _)| of), Some(&new));
        subscriptions.target(&book, None);
        assert!(subscriptions.target.is_none());
    }
}
