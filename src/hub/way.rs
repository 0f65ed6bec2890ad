//! Who gives way where there is no more room: a limit must not lock out a fleet
//! that draws an instance UID at every start and never comes back under it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use opamp_operator_core::fleet::Agent;
use opamp_wire::InstanceUid;

use super::SharedAgent;

/// One in so many of those who may go goes at once, so that the search is not
/// made for every newcomer.
const AT_ONCE: usize = 64;

/// Those whose Pod is gone go first, then whoever was away longest.
type Turn = (bool, Timestamp);

/// Pods of agents, as the newest of each name: that of an older one is gone,
/// also where nobody may watch Pods. All that were heard at the same time are
/// the newest: after a restart those who were connected have one time.
#[derive(Default)]
pub(super) struct Pods(HashMap<(String, String), (Timestamp, HashSet<String>)>);

impl Pods {
    pub(super) fn of<'a>(agents: impl Iterator<Item = &'a SharedAgent>) -> Self {
        let mut all = HashMap::new();
        for agent in agents {
            let agent = agent.lock();
            let Some(pod) = agent.pod() else { continue };
            let name = (agent.namespace().to_owned(), pod.name.clone());
            let heard = agent.last_contact();
            let (newest, uids) = all.entry(name).or_insert((heard, HashSet::new()));
            if *newest < heard {
                *newest = heard;
                uids.clear();
            }
            if *newest == heard {
                uids.insert(pod.uid.clone());
            }
        }
        Self(all)
    }

    fn is_gone(&self, agent: &Agent) -> bool {
        let replaced = agent.pod().is_some_and(|pod| {
            let name = (agent.namespace().to_owned(), pod.name.clone());
            let newest = self.0.get(&name);
            newest.is_some_and(|(_, uids)| !uids.contains(&pod.uid))
        });
        replaced || agent.pod_is_gone()
    }
}

/// When it is an agent's turn to go; none if it has to stay. Whoever is here
/// stays, and whoever may hold what it was offered: but nothing that a Pod held
/// outlives it. Nor does anybody go who is expected back, as a whole fleet is
/// after a restart, unless its Pod was seen to be deleted.
pub(super) fn turn(agent: &SharedAgent, pods: &Pods) -> Option<Turn> {
    // Whoever holds it is about to attach a link.
    let held = Arc::strong_count(agent) > 1;
    let agent = agent.lock();
    let gone = pods.is_gone(&agent);
    let here = held || !agent.links().is_empty();
    let expected = agent.is_expected() && !agent.pod_is_gone();
    let may = !here && !expected && (gone || agent.was_never_offered());
    may.then(|| (!gone, agent.last_contact()))
}

/// Of all who may go, those who do.
pub(super) fn first<K: Ord>(mut turns: Vec<(Turn, K)>) -> impl Iterator<Item = K> {
    turns.sort_unstable();
    let most = (turns.len() / AT_ONCE).max(1);
    turns.into_iter().take(most).map(|(_, who)| who)
}

/// Pods that were seen to be gone, until their agents are told.
#[derive(Debug, Default)]
pub(super) struct Gone {
    deleted: HashSet<String>,
    /// All that there are, by namespace.
    existing: HashMap<String, HashSet<String>>,
}

impl Gone {
    pub(super) fn deleted(&mut self, uid: &str) {
        self.deleted.insert(uid.to_owned());
    }

    pub(super) fn existing(&mut self, namespace: &str, uids: HashSet<String>) {
        self.existing.insert(namespace.to_owned(), uids);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.existing.is_empty()
    }

    /// Tells an agent, if it is one of them.
    pub(super) fn tell(&self, agent: &mut Agent) {
        let Some(pod) = agent.pod() else { return };
        let mut gone = self.deleted.contains(&pod.uid);
        // Who is here now came after the Pods were listed, or is cut off by others.
        if agent.links().is_empty() {
            let existing = self.existing.get(agent.namespace());
            gone |= existing.is_some_and(|uids| !uids.contains(&pod.uid));
        }
        if gone {
            agent.note_pod_gone();
        }
    }
}

/// For the log: who gave way to whom.
pub(super) fn log(forgotten: &[(String, InstanceUid)], limit: &str) {
    tracing::info!(
        agents = forgotten.len(),
        limit,
        "agents that are away give way to a new one"
    );
}

#[cfg(test)]
mod tests {
    use opamp_operator_api::{Identity, IdentityMethod, ProfileKey};
    use opamp_operator_core::{
        Now,
        fleet::{AgentRecord, Transport},
        identity::{Bound, Recognition},
    };

    use super::*;
    use crate::hub::{Clock, Roster};

    fn account() -> Identity {
        Identity {
            namespace: "a".into(),
            method: IdentityMethod::ServiceAccount,
            authenticator: "cluster".into(),
            subject: "edge".into(),
        }
    }

    fn uid(last: u8) -> InstanceUid {
        InstanceUid::from_bytes([last; 16])
    }

    /// Away for so many minutes; in a Pod whose `metadata.uid` is its instance
    /// UID.
    fn away(last: u8, minutes: i64, pod: Option<&str>, offered: bool, now: Now) -> AgentRecord {
        let mut record = Agent::new(uid(last), "a", now).record();
        record.binding = Some(account());
        record.last_contact -= jiff::SignedDuration::from_mins(minutes);
        record.pod = pod.map(|name| Bound {
            name: name.into(),
            uid: last.to_string(),
        });
        let profile = ProfileKey::new("a", "p");
        record
            .offered
            .extend(offered.then_some(Recognition { profile, number: 1 }));
        record
    }

    /// Who goes first, second and so on, until nobody does any more.
    fn order(roster: &Roster, mut now: Now) -> Vec<u8> {
        let mut gone = Vec::new();
        while roster.make_seat(&account(), now) {
            let forgotten = roster.take_dirty().forgotten;
            gone.extend(forgotten.iter().map(|(_, uid)| uid.as_bytes()[0]));
            now.uptime += std::time::Duration::from_secs(60);
        }
        gone
    }

    #[test]
    fn law10_who_never_comes_back_gives_way_and_who_may_does_not() {
        let (roster, now) = (Roster::new(99, 9), Clock::start().now());
        for (last, minutes, pod, offered) in [
            (1, 10, None, false),
            (2, 20, None, false),
            (3, 90, None, true),
            (4, 5, Some("node-1"), true),
            (5, 90, Some("node-2"), true),
            // The same name, later: that of the one before is gone.
            (6, 8, Some("node-3"), true),
            (7, 2, Some("node-3"), true),
        ] {
            roster.restore(away(last, minutes, pod, offered, now), now);
        }
        roster.pod_gone("4");
        roster.pod_gone("no agent");
        roster.tick(now);
        assert_eq!(order(&roster, now), [6, 4, 2, 1]);
        for stays in [3, 5, 7] {
            assert!(roster.record(uid(stays), "a").is_some(), "{stays}");
        }
        // Nobody was forgotten of another identity.
        let other = Identity {
            subject: "other".into(),
            ..account()
        };
        assert!(!roster.make_seat(&other, now));
    }

    #[test]
    fn law10_pods_that_went_while_nobody_looked_are_gone() {
        let (roster, now) = (Roster::new(99, 9), Clock::start().now());
        for last in 1..=3 {
            let name = format!("node-{last}");
            roster.restore(away(last, 9, Some(&name), true, now), now);
        }
        roster.pods("b", HashSet::new());
        roster.pods("a", ["2", "9"].map(str::to_owned).into());
        roster.tick(now);
        assert_eq!(order(&roster, now), [1, 3]);
    }

    /// A restart of the operator makes nobody give way, nor a Pod one that is
    /// gone because another of its name was connected as well.
    #[test]
    fn law8_who_was_connected_before_a_restart_is_waited_for() {
        let (roster, mut now) = (Roster::new(99, 9), Clock::start().now());
        for (last, pod, offered) in [
            (1, None, false),
            (2, Some("node-1"), true),
            (3, Some("node-2"), true),
            (4, Some("node-2"), true),
        ] {
            let mut record = away(last, 9, pod, offered, now);
            record.connected = Some(Transport::WebSocket);
            roster.restore(record, now);
        }
        roster.pod_gone("2");
        roster.tick(now);
        assert_eq!(order(&roster, now), [2]);
        now.uptime += std::time::Duration::from_secs(600);
        roster.tick(now);
        assert_eq!(order(&roster, now), [1]);
        assert!(roster.record(uid(3), "a").is_some());
        assert!(roster.record(uid(4), "a").is_some());
    }

    /// One that cannot be freed is not looked for again and again.
    #[test]
    fn law10_an_identity_without_a_free_seat_is_not_searched_for_everybody() {
        let (roster, now) = (Roster::new(99, 1), Clock::start().now());
        roster.restore(away(1, 9, Some("node-1"), true, now), now);
        assert!(!roster.make_seat(&account(), now));
        roster.pod_gone("1");
        roster.tick(now);
        assert!(!roster.make_seat(&account(), now));
        let later = Now {
            uptime: now.uptime + std::time::Duration::from_secs(1),
            ..now
        };
        assert!(roster.make_seat(&account(), later));
    }
}
