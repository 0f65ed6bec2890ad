//! What is known of the ServiceAccounts and Pods of one namespace.

use std::collections::{BTreeMap, HashSet};

use kube::runtime::watcher::Event;
use tokio_util::sync::CancellationToken;

use super::{Kind, Named};
use crate::backend::{Observation, cluster::fault::WatchFault};

/// The ServiceAccounts themselves are kept where all can look.
#[derive(Default)]
pub(super) struct Place {
    /// Ends the watches.
    pub(super) ending: CancellationToken,
    /// UIDs of its Pods.
    pods: HashSet<String>,
    /// Seen since a listing began.
    listed_accounts: BTreeMap<String, String>,
    listed_pods: HashSet<String>,
    faults: BTreeMap<Kind, String>,
}

impl Place {
    /// The ServiceAccounts after an event, if it changes them.
    pub(super) fn account(
        &mut self,
        event: Event<Named>,
        before: Option<&BTreeMap<String, String>>,
    ) -> Option<BTreeMap<String, String>> {
        self.mended(Kind::Account, &event);
        let known = || before.cloned().unwrap_or_default();
        let now = match event {
            // Of the others nothing is known, and they are not gone.
            Event::Apply(_) | Event::Delete(_) if before.is_none() => return None,
            Event::Init => {
                self.listed_accounts.clear();
                return None;
            }
            Event::InitApply((name, uid)) => {
                self.listed_accounts.insert(name, uid);
                return None;
            }
            Event::InitDone => std::mem::take(&mut self.listed_accounts),
            Event::Apply((name, uid)) => {
                let mut now = known();
                now.insert(name, uid);
                now
            }
            Event::Delete((name, uid)) => {
                let mut now = known();
                // Its successor of the same name is somebody else.
                if now.get(&name) == Some(&uid) {
                    now.remove(&name);
                }
                now
            }
        };
        (before != Some(&now)).then_some(now)
    }

    /// The Pods that an event shows to be gone, and all once they are listed.
    /// One that is being deleted is still there.
    pub(super) fn pod(&mut self, namespace: &str, event: Event<Named>) -> Vec<Observation> {
        self.mended(Kind::Pod, &event);
        let mut gone = Vec::new();
        let mut all = None;
        match event {
            Event::Init => self.listed_pods.clear(),
            Event::InitApply((_, uid)) => drop(self.listed_pods.insert(uid)),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed_pods);
                let before = std::mem::replace(&mut self.pods, listed);
                gone.extend(before.into_iter().filter(|uid| !self.pods.contains(uid)));
                all = Some(Observation::Pods(namespace.to_owned(), self.pods.clone()));
            }
            Event::Apply((_, uid)) => drop(self.pods.insert(uid)),
            Event::Delete((_, uid)) => {
                self.pods.remove(&uid);
                gone.push(uid);
            }
        }
        let gone = gone.into_iter().map(Observation::PodGone);
        gone.chain(all).collect()
    }

    /// A listing that begins has not succeeded.
    fn mended(&mut self, kind: Kind, event: &Event<Named>) {
        if !matches!(event, Event::Init) {
            self.faults.remove(&kind);
        }
    }

    /// Whether this fault is another one than the watch had just before.
    pub(super) fn is_news(&mut self, kind: Kind, fault: &WatchFault) -> bool {
        let before = self.faults.insert(kind, fault.words.clone());
        before.as_ref() != Some(&fault.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, uid: &str) -> Named {
        (name.to_owned(), uid.to_owned())
    }

    /// Takes events as the watch would, and returns what is told of each:
    /// `name=uid` for every ServiceAccount.
    fn accounts(events: impl IntoIterator<Item = Event<Named>>) -> Vec<Option<String>> {
        let (mut place, mut known) = (Place::default(), None);
        let mut take = |event| {
            let news = place.account(event, known.as_ref())?;
            let words = news.iter().map(|(name, uid)| format!("{name}={uid}"));
            let words = words.collect::<Vec<_>>().join(" ");
            known = Some(news);
            Some(words)
        };
        events.into_iter().map(&mut take).collect()
    }

    #[test]
    fn accounts_are_told_when_all_are_listed_and_whenever_they_change() {
        let said = accounts([
            Event::Init,
            Event::InitApply(named("a", "1")),
            Event::InitApply(named("b", "2")),
            Event::InitDone,
            // Labels or secrets of it changed.
            Event::Apply(named("a", "1")),
            Event::Apply(named("c", "3")),
            Event::Delete(named("c", "3")),
            // Made anew under its name; then the end of the old one comes late.
            Event::Apply(named("a", "4")),
            Event::Delete(named("a", "1")),
            // Listed again after an interruption in which one went.
            Event::Init,
            Event::InitApply(named("a", "4")),
            Event::InitDone,
        ]);
        let told = |text: &str| Some(text.to_owned());
        let expected = [
            None,
            None,
            None,
            told("a=1 b=2"),
            None,
            told("a=1 b=2 c=3"),
            told("a=1 b=2"),
            told("a=4 b=2"),
            None,
            None,
            None,
            told("a=4"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn that_there_are_none_is_told_as_well() {
        assert_eq!(
            accounts([Event::Init, Event::InitDone]),
            [None, Some(String::new())]
        );
    }

    #[test]
    fn pods_are_gone_when_they_are_deleted_or_listed_no_more() {
        let mut place = Place::default();
        let mut gone = |event| {
            let gone = place.pod("a", event).into_iter().map(|told| match told {
                Observation::PodGone(uid) => uid,
                Observation::Pods(namespace, uids) => {
                    let mut uids: Vec<_> = uids.into_iter().collect();
                    uids.sort_unstable();
                    format!("{namespace}: {}", uids.join(" "))
                }
                other => format!("{other:?}"),
            });
            gone.collect::<Vec<_>>()
        };
        let nothing: [&str; 0] = [];
        for event in [
            Event::Init,
            Event::InitApply(named("a", "1")),
            Event::InitApply(named("b", "2")),
        ] {
            assert_eq!(gone(event), nothing);
        }
        assert_eq!(gone(Event::InitDone), ["a: 1 2"]);
        for event in [
            Event::Apply(named("c", "3")),
            // It is being deleted: changed, and still there.
            Event::Apply(named("c", "3")),
        ] {
            assert_eq!(gone(event), nothing);
        }
        assert_eq!(gone(Event::Delete(named("c", "3"))), ["3"]);
        assert_eq!(gone(Event::Init), nothing);
        assert_eq!(gone(Event::InitApply(named("b", "2"))), nothing);
        assert_eq!(gone(Event::InitDone), ["1", "a: 2"]);
    }

    #[test]
    fn a_fault_is_news_once_and_again_after_it_was_mended() {
        let mut place = Place::default();
        let fault = |words: &str| WatchFault {
            code: Some(403),
            words: words.to_owned(),
        };
        assert!(place.is_news(Kind::Account, &fault("no")));
        assert!(!place.is_news(Kind::Account, &fault("no")));
        assert!(place.is_news(Kind::Pod, &fault("no")));
        assert!(place.is_news(Kind::Account, &fault("not at all")));
        // It is tried again.
        place.account(Event::Init, None);
        assert!(!place.is_news(Kind::Account, &fault("not at all")));
        place.account(Event::InitDone, None);
        assert!(place.is_news(Kind::Account, &fault("not at all")));
    }
}
