//! The agents, each behind its own lock, and what changed of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use opamp_operator_api::{Identity, ProfileKey};
use opamp_operator_core::{
    Now,
    catalog::{Candidate, Choice, Explained},
    fleet::{Agent, AgentRecord, LinkId, Transition},
    identity::Verdict,
    status::{Overlap, Taken},
};
use opamp_wire::InstanceUid;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    account,
    facts::place,
    index::Index,
    offers::Offers,
    seats::{Seat, Seats, almost},
    trail::Trail,
    way::{self, Gone, Pods},
};

/// How long a full roster is not searched again for somebody to forget, when
/// there was nobody: the search looks at everyone, and everyone waits for it.
const SEARCH_AGAIN: Duration = Duration::from_secs(1);

/// An agent that others may hold.
pub type SharedAgent = Arc<Mutex<Agent>>;

/// Which profile applies and what each is to an agent; none while the profiles
/// are not known.
pub type Explanation = Option<(Choice, Vec<Explained>)>;

/// What changed since it was last asked.
#[derive(Debug, Default)]
pub struct Dirty {
    /// Profiles whose agents changed.
    pub profiles: BTreeSet<ProfileKey>,
    /// Agents that changed.
    pub agents: BTreeSet<(InstanceUid, String)>,
    /// Agents that were forgotten.
    pub forgotten: Vec<(String, InstanceUid)>,
    /// By profile and the one that gave way: agents that changed from the
    /// latter to the former by precedence.
    pub taken: BTreeMap<(ProfileKey, ProfileKey), Taken>,
}

/// See the module.
#[derive(Debug)]
pub struct Roster {
    agents: Mutex<HashMap<InstanceUid, Vec<SharedAgent>>>,
    index: Index,
    max_agents: usize,
    /// Uptime before which a search for room is known to be in vain.
    full_until: Mutex<Duration>,
    /// The same of identities that have as many as they may.
    taken_until: Mutex<HashMap<Identity, Duration>>,
    /// Pods that are gone, until the next tick.
    gone: Mutex<Gone>,
    seats: Arc<Seats>,
    pub(super) offers: Arc<Offers>,
    next_link: AtomicU64,
    /// This process ends.
    dirty: Mutex<Dirty>,
    notify: Notify,
    leaving: AtomicBool,
    pub(super) trail: Trail,
}

impl Roster {
    /// An empty roster that takes at most `max_agents`, and of one identity at
    /// most `max_of_identity`.
    #[must_use]
    pub fn new(max_agents: usize, max_of_identity: usize) -> Self {
        Self {
            agents: Mutex::default(),
            index: Index::default(),
            max_agents,
            full_until: Mutex::default(),
            taken_until: Mutex::default(),
            gone: Mutex::default(),
            seats: Arc::new(Seats::new(max_of_identity)),
            offers: Arc::default(),
            next_link: AtomicU64::new(1),
            dirty: Mutex::default(),
            notify: Notify::new(),
            leaving: AtomicBool::new(false),
            trail: Trail::default(),
        }
    }

    /// From now on connections end because we leave, and not the agents: they
    /// are as they were until the next process hears of them. And nobody is
    /// offered anything, since it would come back with it to another process.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether we do.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// A number for a new link.
    #[must_use]
    pub fn link_id(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes over what an earlier process knew.
    pub fn restore(&self, record: AgentRecord, now: Now) {
        self.seats.add(record.binding.as_ref());
        let agent = Agent::restore(record, now);
        let uid = agent.uid();
        let mut agents = self.agents.lock();
        self.index.add(&agent);
        let of_uid = agents.entry(uid).or_default();
        of_uid.push(Arc::new(Mutex::new(agent)));
    }

    /// Takes over what another process knew last, unless the agent is here or
    /// was here since.
    pub fn renew(&self, record: AgentRecord, now: Now) {
        let agents = self.agents.lock();
        let known = agents.get(&record.uid).map(Vec::as_slice);
        let known = known.unwrap_or_default().iter();
        let mut known = known.filter(|agent| agent.lock().namespace() == record.namespace);
        let Some(known) = known.next() else {
            drop(agents);
            return self.restore(record, now);
        };
        // Whoever holds it is about to attach a link.
        let held = Arc::strong_count(known) > 1;
        let mut agent = known.lock();
        if held || !agent.links().is_empty() || agent.last_contact() > record.last_contact {
            return;
        }
        self.seats.remove(agent.binding());
        self.seats.add(record.binding.as_ref());
        *agent = Agent::restore(record, now);
        self.index.add(&agent);
    }

    /// The agent that is there already, for which a link with this verdict
    /// speaks.
    #[must_use]
    pub fn known(&self, uid: InstanceUid, verdict: &Verdict) -> Option<SharedAgent> {
        let agents = self.agents.lock();
        let known = agents.get(&uid).map(Vec::as_slice).unwrap_or_default();
        speaks_for(known, verdict).map(Arc::clone)
    }

    /// The agent for which a link with this verdict speaks under `uid`: in the
    /// home namespace of its primary identity, or the one that was offered
    /// what it shows, or the one where that was offered to others, or else a
    /// new one. None when the roster is full.
    #[must_use]
    pub fn find(&self, uid: InstanceUid, verdict: &Verdict, now: Now) -> Option<SharedAgent> {
        let mut agents = self.agents.lock();
        let total = agents.len();
        let known = agents.get(&uid).map(Vec::as_slice).unwrap_or_default();
        if let Some(agent) = speaks_for(known, verdict) {
            return Some(Arc::clone(agent));
        }
        let (_, namespace) = homes(verdict);
        let namespace = namespace?;
        if total >= self.max_agents {
            let mut full_until = self.full_until.lock();
            if now.uptime < *full_until {
                return None;
            }
            let going = who_goes(&agents);
            if going.is_empty() {
                *full_until = now.uptime + SEARCH_AGAIN;
                return None;
            }
            drop(full_until);
            let mut forgotten = Vec::new();
            for uid in going {
                for agent in agents.remove(&uid).unwrap_or_default() {
                    forgotten.push(self.forgotten(uid, &agent.lock()));
                }
            }
            way::log(&forgotten, "agents");
            self.dirty.lock().forgotten.extend(forgotten);
            self.notify.notify_one();
        } else if total + 1 == almost(self.max_agents) {
            tracing::warn!(
                limit = self.max_agents,
                "four fifths of limits.agents are taken"
            );
        }
        let agent = Arc::new(Mutex::new(Agent::new(uid, namespace, now)));
        agents.entry(uid).or_default().push(Arc::clone(&agent));
        Some(agent)
    }

    /// A seat among the agents of the identity that this verdict would bind an
    /// agent to; none if all are taken.
    #[must_use]
    pub fn seat(&self, agent: &Agent, verdict: &Verdict) -> Option<Seat> {
        self.seats.seat(agent, verdict)
    }

    /// Makes room among the agents of an identity that has as many as it may;
    /// false if all of them have to stay. The caller holds no agent.
    #[must_use]
    pub fn make_seat(&self, identity: &Identity, now: Now) -> bool {
        let mut taken_until = self.taken_until.lock();
        taken_until.retain(|_, until| now.uptime < *until);
        if taken_until.contains_key(identity) {
            return false;
        }
        let mut agents = self.agents.lock();
        let own = |agent: &&SharedAgent| agent.lock().binding() == Some(identity);
        let pods = Pods::of(agents.values().flatten().filter(own));
        let turns = agents.iter().flat_map(|(uid, agents)| {
            let of_uid = agents.iter().filter(own);
            of_uid.filter_map(|agent| Some((way::turn(agent, &pods)?, *uid)))
        });
        let turns: Vec<_> = turns.collect();
        if turns.is_empty() {
            taken_until.insert(identity.clone(), now.uptime + SEARCH_AGAIN);
            return false;
        }
        let mut forgotten = Vec::new();
        for uid in way::first(turns) {
            let Some(of_uid) = agents.get_mut(&uid) else {
                continue;
            };
            of_uid.retain(|agent| {
                let agent = agent.lock();
                let goes = agent.binding() == Some(identity);
                if goes {
                    forgotten.push(self.forgotten(uid, &agent));
                }
                !goes
            });
            if of_uid.is_empty() {
                agents.remove(&uid);
            }
        }
        way::log(&forgotten, "agentsPerIdentity");
        self.dirty.lock().forgotten.extend(forgotten);
        self.notify.notify_one();
        true
    }

    /// Accounts for an agent that is not kept any longer; who it was.
    fn forgotten(&self, uid: InstanceUid, agent: &Agent) -> (String, InstanceUid) {
        self.seats.remove(agent.binding());
        self.dirty.lock().profiles.extend(agent.counted_by());
        (agent.namespace().to_owned(), uid)
    }

    /// A Pod was deleted; its `metadata.uid`. Its agents are told by the next
    /// tick, which looks at all agents anyway.
    pub fn pod_gone(&self, uid: &str) {
        self.gone.lock().deleted(uid);
    }

    /// There are no other Pods in a namespace than these.
    pub fn pods(&self, namespace: &str, uids: HashSet<String>) {
        self.gone.lock().existing(namespace, uids);
    }

    /// The agents of a profile, as values.
    #[must_use]
    pub fn records(&self, profile: &ProfileKey) -> Vec<AgentRecord> {
        let mut records = Vec::new();
        self.counted(profile, |agent| {
            if agent.profile() == Some(profile) {
                records.push(agent.record());
            }
        });
        records
    }

    /// Where a profile and others select the same agents.
    #[must_use]
    pub fn overlap(&self, profile: &ProfileKey) -> Overlap {
        let mut overlap = Overlap::default();
        self.counted(profile, |agent| {
            if let Some(winner) = agent.profile() {
                overlap.add(profile, winner, agent.overridden());
            }
        });
        overlap
    }

    /// Looks at all agents that a profile counts.
    fn counted(&self, profile: &ProfileKey, mut look: impl FnMut(&Agent)) {
        let mut found = Vec::new();
        let agents = self.agents.lock();
        for who in self.index.of(profile) {
            let of_uid = agents.get(&who.0).into_iter().flatten();
            let mut there = of_uid.filter(|agent| *agent.lock().namespace() == *who.1);
            match there.next() {
                Some(agent) => found.push((Arc::clone(agent), who)),
                None => self.index.remove(profile, &who),
            }
        }
        drop(agents);
        for (agent, who) in found {
            let agent = agent.lock();
            let counted = agent.profile().into_iter().chain(agent.overridden());
            if counted.into_iter().any(|counted| counted == profile) {
                look(&agent);
            } else {
                self.index.remove(profile, &who);
            }
        }
    }

    /// One agent, as a value.
    #[must_use]
    pub fn record(&self, uid: InstanceUid, namespace: &str) -> Option<AgentRecord> {
        let agents = self.agents.lock();
        let found = agents
            .get(&uid)?
            .iter()
            .find(|agent| agent.lock().namespace() == namespace)?;
        let record = found.lock().record();
        Some(record)
    }

    /// The agents of one instance UID, as values: one for each home namespace.
    #[must_use]
    pub fn records_of(&self, uid: InstanceUid) -> Vec<AgentRecord> {
        let agents = self.agents.lock();
        let found = agents.get(&uid).into_iter().flatten();
        found.map(|agent| agent.lock().record()).collect()
    }

    /// The first `limit` instance UIDs after one, in order, as values; and
    /// whether there are more.
    #[must_use]
    pub fn page(&self, after: Option<InstanceUid>, limit: usize) -> (Vec<AgentRecord>, bool) {
        let known = self.agents.lock();
        let later = |uid: &&InstanceUid| after.is_none_or(|after| after < **uid);
        let mut uids: Vec<_> = known.keys().filter(later).copied().collect();
        uids.sort_unstable();
        let more = uids.len() > limit;
        uids.truncate(limit);
        let agents = uids.iter().filter_map(|uid| known.get(uid));
        let agents: Vec<_> = agents.flatten().cloned().collect();
        drop(known);
        let records = agents.iter().map(|agent| agent.lock().record());
        (records.collect(), more)
    }

    /// The same of those that `fit`.
    #[must_use]
    pub fn page_of(
        &self,
        after: Option<InstanceUid>,
        limit: usize,
        fit: impl Fn(&Agent) -> bool,
    ) -> (Vec<AgentRecord>, bool) {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut more = false;
        self.each(|agent| {
            let uid = agent.uid();
            if after.is_some_and(|after| uid <= after) || !fit(agent) {
                return;
            }
            let last = found.last_key_value().map(|(last, _)| *last);
            if found.len() == limit && last.is_some_and(|last| last < uid) {
                more = true;
                return;
            }
            found.entry(uid).or_default().push(agent.record());
            if found.len() > limit {
                found.pop_last();
                more = true;
            }
        });
        (found.into_values().flatten().collect(), more)
    }

    /// How many agents are known, and how many of them are connected to this
    /// process.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let (mut known, mut here) = (0, 0);
        self.each(|agent| {
            known += 1;
            here += usize::from(!agent.links().is_empty());
        });
        (known, here)
    }

    /// Looks at all agents, and holds one at a time: who is held counts as
    /// about to come.
    fn each(&self, mut look: impl FnMut(&Agent)) {
        let agents = self.agents.lock();
        let all: Vec<_> = agents.values().flatten().map(Arc::downgrade).collect();
        drop(agents);
        for agent in all.iter().filter_map(Weak::upgrade) {
            look(&agent.lock());
        }
    }

    /// Which profile applies to the agents of one instance UID and why not the
    /// others; `all` knows the profiles, as seen from a home namespace.
    #[must_use]
    pub fn explain(
        &self,
        uid: InstanceUid,
        all: impl Fn(&str) -> Option<Vec<Candidate>>,
    ) -> Vec<(AgentRecord, Explanation)> {
        let agents = self.agents.lock().get(&uid).cloned().unwrap_or_default();
        let explained = agents.iter().map(|agent| {
            let namespace = agent.lock().namespace().to_owned();
            let all = all(&namespace);
            let agent = agent.lock();
            (agent.record(), all.map(|all| agent.explain(&all)))
        });
        explained.collect()
    }

    /// How many agents there are, and how many links by each transport.
    pub(super) fn counts(&self) -> (u64, [u64; 2]) {
        let (mut known, mut links) = (0, [0; 2]);
        // Who is held counts as about to come: one at a time.
        self.each(|agent| {
            known += 1;
            agent
                .links()
                .iter()
                .for_each(|link| links[place(link.transport)] += 1);
        });
        (known, links)
    }

    /// Lets time pass for agents whose links have no task of their own.
    pub fn tick(&self, now: Now) {
        let gone = std::mem::take(&mut *self.gone.lock());
        for agent in self.all() {
            let mut agent = agent.lock();
            if !gone.is_empty() {
                gone.tell(&mut agent);
            }
            let step = agent.tick(now);
            self.note(&agent, &step.transitions);
        }
    }

    /// Forgets agents without a link of which `over` says so; who they were.
    #[must_use]
    pub fn forget(&self, over: impl Fn(&AgentRecord) -> bool) -> Vec<(String, InstanceUid)> {
        let mut forgotten = Vec::new();
        self.agents.lock().retain(|uid, agents| {
            agents.retain(|agent| {
                // Whoever holds it is about to attach a link.
                let held = Arc::strong_count(agent) > 1;
                let agent = agent.lock();
                let keep = held || !agent.links().is_empty() || !over(&agent.record());
                if !keep {
                    forgotten.push(self.forgotten(*uid, &agent));
                }
                keep
            });
            !agents.is_empty()
        });
        forgotten
    }

    /// Accounts for changes of an agent: log, metrics, dirty marks. Nothing else does.
    pub fn note(&self, agent: &Agent, transitions: &[Transition]) {
        if transitions.is_empty() {
            return;
        }
        for transition in transitions {
            account::log(agent, transition);
            self.trail.tell_transition(agent, transition);
            self.offers.note(agent, transition);
        }
        let counts = |transition: &Transition| {
            matches!(
                transition,
                Transition::Profile(_) | Transition::Overridden(_)
            )
        };
        if transitions.iter().any(counts) {
            self.index.add(agent);
        }
        let mut dirty = self.dirty.lock();
        dirty.profiles.extend(agent.profile().cloned());
        for transition in transitions {
            match transition {
                Transition::Offered { profile, .. } => {
                    dirty.profiles.insert(profile.clone());
                }
                Transition::Overridden(profiles) => dirty.profiles.extend(profiles.iter().cloned()),
                Transition::TakenFrom(before) => {
                    let Some(profile) = agent.profile() else {
                        continue;
                    };
                    let pair = (profile.clone(), before.clone());
                    dirty.taken.entry(pair).or_default().add(agent.uid());
                }
                _ => {}
            }
        }
        dirty
            .agents
            .insert((agent.uid(), agent.namespace().to_owned()));
        drop(dirty);
        self.notify.notify_one();
    }

    /// A profile lost an agent to another one.
    pub fn mark(&self, profile: &ProfileKey) {
        self.dirty.lock().profiles.insert(profile.clone());
        self.notify.notify_one();
    }

    /// Waits until something changed. Cancel safe.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// What changed since the last call.
    #[must_use]
    pub fn take_dirty(&self) -> Dirty {
        std::mem::take(&mut self.dirty.lock())
    }

    fn all(&self) -> Vec<SharedAgent> {
        self.agents.lock().values().flatten().cloned().collect()
    }
}

/// Where whoever this verdict proves is at home, and where it would be if it
/// were new.
fn homes(verdict: &Verdict) -> (Option<&str>, Option<&str>) {
    let retired = verdict.retired.as_ref().map(|(identity, _)| identity);
    let primary = verdict.primary.as_ref().or(retired);
    let primary = primary.map(|identity| identity.namespace.as_str());
    let recognised = verdict.recognised.first();
    let recognised = recognised.map(|r| r.profile.namespace.as_str());
    let stranger = verdict.anonymous.as_deref();
    (primary, primary.or(recognised).or(stranger))
}

/// Of the agents under one UID, the one that a link with this verdict may mean.
/// The last that is tried: beside an agent that has an owner there must be no
/// second one of its name without.
fn speaks_for<'a>(known: &'a [SharedAgent], verdict: &Verdict) -> Option<&'a SharedAgent> {
    let (primary, home) = homes(verdict);
    let at = |namespace: Option<&str>| {
        known
            .iter()
            .find(|agent| Some(agent.lock().namespace()) == namespace)
    };
    let offered = || {
        known
            .iter()
            .find(|agent| agent.lock().was_offered(verdict.shown()))
    };
    at(primary).or_else(offered).or_else(|| at(home))
}

/// Some of those who may go: whoever can connect could fill the roster.
fn who_goes(agents: &HashMap<InstanceUid, Vec<SharedAgent>>) -> Vec<InstanceUid> {
    let pods = Pods::of(agents.values().flatten());
    let turns = agents.iter().filter_map(|(uid, agents)| {
        // Of several under one UID all must go.
        let turns: Option<Vec<_>> = agents.iter().map(|agent| way::turn(agent, &pods)).collect();
        Some((turns?.into_iter().max()?, *uid))
    });
    way::first(turns.collect()).collect()
}

#[cfg(test)]
mod tests {
    use opamp_operator_api::{Identity, IdentityMethod};
    use opamp_operator_core::{
        fleet::{Link, Transport},
        identity::{Presented, Recognition},
    };

    use super::*;
    use crate::hub::Clock;

    /// A credential that a profile offers to others proves nothing under the
    /// UID of an agent that was not offered it.
    #[test]
    fn law2_a_recognised_credential_opens_no_second_agent_under_a_bound_uid() {
        let (roster, now) = (Roster::new(9, 9), Clock::start().now());
        let uid = InstanceUid::from_bytes([1; 16]);
        let attach = |verdict: &Verdict| {
            let agent = roster.find(uid, verdict, now).unwrap();
            let (id, shown) = (roster.link_id(), Presented::default());
            let link = Link::new(id, Transport::Http, shown, verdict.clone(), now.uptime);
            let step = agent.lock().attach(link, now);
            step.is_some()
        };
        let owner = Verdict {
            primary: Some(Identity {
                namespace: "a".into(),
                method: IdentityMethod::AgentToken,
                authenticator: "bootstrap".into(),
                subject: "agents".into(),
            }),
            ..Verdict::default()
        };
        let another = Verdict {
            recognised: BTreeSet::from([Recognition {
                profile: ProfileKey::new("a", "p"),
                number: 1,
            }]),
            ..Verdict::default()
        };
        assert!(attach(&owner));
        assert!(!attach(&another), "it speaks for somebody else's UID");
        assert_eq!(roster.all().len(), 1);
        assert!(attach(&owner));
    }

    /// An agent is found under every profile that counts it, and under no other.
    #[test]
    fn law9_a_profile_looks_at_its_own_agents_only() {
        let (roster, now) = (Roster::new(99, 99), Clock::start().now());
        let key = |name: &str| ProfileKey::new("a", name);
        for (last, namespace) in [(1, "a"), (2, "a"), (2, "b")] {
            let uid = InstanceUid::from_bytes([last; 16]);
            let mut record = Agent::new(uid, namespace, now).record();
            record.profile = Some(key("p"));
            record.overridden = vec![key("q")];
            roster.restore(record, now);
        }
        let count = |name: &str| {
            let known = roster.index.of(&key(name)).len();
            let lost = roster.overlap(&key(name)).lost.values().sum::<usize>();
            (roster.records(&key(name)).len(), lost, known)
        };
        assert_eq!((count("p"), count("q")), ((3, 0, 3), (0, 3, 3)));
        let agents = roster.agents.lock();
        let agent = Arc::clone(&agents[&InstanceUid::from_bytes([1; 16])][0]);
        drop(agents);
        let chosen = |choice| {
            let mut agent = agent.lock();
            let transitions = agent.chosen(&choice, now);
            roster.note(&agent, &transitions);
        };
        chosen(Choice::Profile(key("r")));
        assert_eq!((count("p").0, count("r").0), (2, 1));
        chosen(Choice::Nobody);
        assert_eq!(count("r").0, 0);
        chosen(Choice::Profile(key("p")));
        assert_eq!(count("p").0, 3);
        drop(agent);
        // Another process had it last, and chose for it.
        let mut record = roster
            .record(InstanceUid::from_bytes([2; 16]), "b")
            .unwrap();
        record.profile = Some(key("s"));
        roster.renew(record.clone(), now);
        assert_eq!((count("p").0, count("s").0), (2, 1));
        record.profile = Some(key("p"));
        roster.renew(record, now);
        let forgotten = roster.forget(|record| record.namespace == "a");
        assert_eq!(forgotten.len(), 2);
        assert_eq!((count("p").0, count("q").1), (1, 1));
        // What is met no more is not kept.
        assert_eq!((count("p").2, count("q").2, count("r").2), (1, 1, 0));
    }

    /// Two agents under one instance UID are on one page, whatever the order.
    #[test]
    fn law10_a_page_of_some_agents_has_no_more_than_it_may() {
        let (roster, now) = (Roster::new(99, 99), Clock::start().now());
        for (last, namespace) in [(3, "a"), (1, "a"), (5, "a"), (1, "b"), (4, "a"), (3, "b")] {
            let uid = InstanceUid::from_bytes([last; 16]);
            roster.restore(Agent::new(uid, namespace, now).record(), now);
        }
        let uid = |last| InstanceUid::from_bytes([last; 16]);
        let page = |after: Option<u8>, limit| {
            let (records, more) =
                roster.page_of(after.map(uid), limit, |agent| agent.uid() != uid(4));
            let found = records.iter().map(|record| record.uid.as_bytes()[0]);
            (found.collect::<Vec<_>>(), more)
        };
        assert_eq!(page(None, 2), (vec![1, 1, 3, 3], true));
        assert_eq!(page(Some(1), 1), (vec![3, 3], true));
        assert_eq!(page(Some(3), 1), (vec![5], false));
        assert_eq!(roster.count(), (6, 0));
    }

    /// A search looks at all agents, and all wait for it: newcomers, however
    /// many, have a full roster searched now and then only.
    #[test]
    fn law10_a_full_roster_is_not_searched_for_everybody() {
        let (roster, now) = (Roster::new(1, 9), Clock::start().now());
        let uid = |last| InstanceUid::from_bytes([last; 16]);
        let known = Verdict {
            anonymous: Some("a".into()),
            ..Verdict::default()
        };
        let agent = roster.find(uid(1), &known, now).unwrap();
        assert!(roster.find(uid(2), &known, now).is_none());
        // Now there would be room.
        drop(agent);
        assert!(roster.find(uid(2), &known, now).is_none());
        let later = Now {
            uptime: now.uptime + SEARCH_AGAIN,
            ..now
        };
        assert!(roster.find(uid(2), &known, later).is_some());
    }

    /// Whoever is about to be attached is nobody who gives way.
    #[test]
    fn law8_an_agent_that_comes_back_is_not_forgotten_meanwhile() {
        let (roster, now) = (Roster::new(1, 9), Clock::start().now());
        let uid = |last| InstanceUid::from_bytes([last; 16]);
        let owner = Verdict {
            primary: Some(Identity {
                namespace: "a".into(),
                method: IdentityMethod::AgentToken,
                authenticator: "bootstrap".into(),
                subject: "agents".into(),
            }),
            ..Verdict::default()
        };
        let agent = roster.find(uid(1), &owner, now).unwrap();
        // Before it has a link somebody else comes.
        let newcomer = roster.find(uid(2), &owner, now);
        let link = Link::new(
            roster.link_id(),
            Transport::Http,
            Presented::default(),
            owner.clone(),
            now.uptime,
        );
        agent.lock().attach(link, now).unwrap();
        assert!(roster.record(uid(1), "a").is_some());
        assert!(newcomer.is_none());
    }
}
