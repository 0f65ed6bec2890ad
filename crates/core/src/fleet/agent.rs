//! The state machine of one instance UID in one home namespace.

use std::time::Duration;

use jiff::Timestamp;
use opamp_operator_api::values::{Attributes, Identity, ProfileKey};
use opamp_wire::{AgentCapabilities, InstanceUid};

use super::{
    About, AgentRecord, Link, LinkId, Proved, SettingsState, Silence, Step, Transition, Transport,
    beside::Told,
    latch::{self, Attempts, Bucket},
    polls::Polls,
};
use crate::{
    Now,
    catalog::{Candidate, Candidates, Choice, Chooser, Explained, choose, explain},
    earliest,
    identity::{
        Admission, Bound, Digest, Fingerprint, Marker, Past, Recognition, Rights, Verdict, admit,
    },
    offer::{Change, WireHash},
};

/// Revisions that are remembered as offered under one UID.
const OFFERED_KEPT: usize = 32;

/// The last offer.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) revision: Recognition,
    pub(super) marker: Marker,
    /// What the revision was made for.
    pub(super) change: Option<Change>,
    /// It sends the agent to the server of another.
    pub(super) external: bool,
    pub(super) hash: WireHash,
    pub(super) at: Duration,
    pub(super) link: LinkId,
    pub(super) shown_leaf: Option<Fingerprint>,
    pub(super) shown_authorization: Option<Fingerprint>,
    /// Evidence or a reported failure ended it.
    pub(super) landed: bool,
    /// It was reported as failed: said again it is no second failure.
    pub(super) failed: bool,
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    pub(super) uid: InstanceUid,
    namespace: String,
    binding: Option<Identity>,
    bound_at: Option<Timestamp>,
    /// The Pod that it was proved to run in last, and whether that is gone.
    pod: Option<Bound>,
    pod_gone: bool,
    pub(super) capabilities: AgentCapabilities,
    pub(super) attributes: Option<Attributes>,
    pub(super) links: Vec<Link>,
    pub(super) polls: Polls,
    pub(super) profile: Option<ProfileKey>,
    /// The profiles that select it too and give way to that.
    pub(super) overridden: Vec<ProfileKey>,
    offered: Vec<Recognition>,
    pub(super) flight: Option<Flight>,
    /// The revision of the last offer, also of an earlier process, and when.
    pub(super) last_offer: Option<(Recognition, Timestamp)>,
    pub(super) attempts: Attempts,
    pub(super) bucket: Bucket,
    pub(super) proved: Option<Proved>,
    /// The settings beside `opamp` that it was sent last, also by an earlier
    /// process; none while it is not known whether they arrived.
    pub(super) told: Option<Digest>,
    pub(super) last_told: Option<Told>,
    pub(super) remembered: bool,
    /// If it is from a record: the newest revision of each profile that this
    /// names. It is written behind the push and may lack the last offers.
    restored: Option<Vec<Recognition>>,
    pub(super) state: SettingsState,
    since: Timestamp,
    pub(super) last_contact: Timestamp,
    deadline: Option<Duration>,
    /// It was connected when the process before ended: until when it may take
    /// to come back and count as connected all the time.
    expected: Option<(Duration, Transport)>,
    pub(super) held_back: Option<Silence>,
    pub(super) about: About,
}

impl Agent {
    /// An agent nobody knows yet.
    #[must_use]
    pub fn new(uid: InstanceUid, namespace: &str, now: Now) -> Self {
        Self {
            uid,
            namespace: namespace.to_owned(),
            binding: None,
            bound_at: None,
            pod: None,
            pod_gone: false,
            capabilities: AgentCapabilities::default(),
            attributes: None,
            links: Vec::new(),
            polls: Polls::default(),
            profile: None,
            overridden: Vec::new(),
            offered: Vec::new(),
            flight: None,
            last_offer: None,
            attempts: Attempts::default(),
            bucket: Bucket::new(now.uptime),
            proved: None,
            told: None,
            last_told: None,
            remembered: false,
            restored: None,
            state: SettingsState::Pending,
            since: now.wall,
            last_contact: now.wall,
            deadline: None,
            expected: None,
            held_back: None,
            about: About::default(),
        }
    }

    /// As a record of an earlier process tells.
    #[must_use]
    pub fn restore(record: AgentRecord, now: Now) -> Self {
        // Numbers begin with 1: of its own profile all are newer than none.
        let own = record.profile.clone();
        let own = own.map(|profile| Recognition { profile, number: 0 });
        let mut restored: Vec<Recognition> = own.into_iter().collect();
        for offered in &record.offered {
            let known = restored.iter_mut().find(|r| r.profile == offered.profile);
            match known {
                Some(known) => known.number = known.number.max(offered.number),
                None => restored.push(offered.clone()),
            }
        }
        // Its connections ended with that process: it is expected back.
        let left = matches!(
            record.state,
            SettingsState::Offered | SettingsState::Switching
        );
        let (was_here, until) = (
            record.connected.is_some(),
            now.uptime + latch::SWITCH_DEADLINE,
        );
        Self {
            deadline: left.then_some(until),
            expected: record.connected.filter(|_| !left).map(|by| (until, by)),
            binding: record.binding,
            bound_at: record.bound_at,
            pod: record.pod,
            attributes: record.attributes,
            profile: record.profile,
            overridden: record.overridden,
            offered: record.offered,
            last_offer: record.last_offer,
            proved: record.proved,
            told: record.told,
            state: if left {
                SettingsState::Switching
            } else {
                record.state
            },
            since: record.since,
            // Nobody writes down when an agent was last heard while it is here.
            last_contact: if was_here {
                now.wall
            } else {
                record.last_contact
            },
            about: record.about,
            restored: Some(restored),
            ..Self::new(record.uid, &record.namespace, now)
        }
    }

    /// Who it is.
    #[must_use]
    pub fn uid(&self) -> InstanceUid {
        self.uid
    }

    /// Its home.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The profile that applies, once chosen.
    #[must_use]
    pub fn profile(&self) -> Option<&ProfileKey> {
        self.profile.as_ref()
    }

    /// The revision that it was offered last.
    #[must_use]
    pub fn offered_last(&self) -> Option<&Recognition> {
        self.last_offer.as_ref().map(|(revision, _)| revision)
    }

    /// Nothing was ever offered under this UID.
    #[must_use]
    pub fn was_never_offered(&self) -> bool {
        self.offered.is_empty()
    }

    /// What the settings of its last offer were made for.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        self.flight.as_ref().and_then(|flight| flight.change)
    }

    /// The Pod that it was proved to run in last.
    #[must_use]
    pub fn pod(&self) -> Option<&Bound> {
        self.pod.as_ref()
    }

    /// Its Pod is gone: it will not come back, or as somebody who is admitted
    /// anew.
    pub fn note_pod_gone(&mut self) {
        self.pod_gone = self.pod.is_some();
    }

    /// Its Pod is gone, and it was not seen since.
    #[must_use]
    pub fn pod_is_gone(&self) -> bool {
        self.pod_gone
    }

    /// It was connected when the process before ended, or left after an offer,
    /// and may still come back in time.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.expected.is_some() || self.deadline.is_some()
    }

    /// What it says of itself that people look for.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// When it was last heard.
    #[must_use]
    pub fn last_contact(&self) -> Timestamp {
        self.last_contact
    }

    /// Was any of these offered under this UID?
    pub fn was_offered<'a>(&self, mut revisions: impl Iterator<Item = &'a Recognition>) -> bool {
        revisions.any(|revision| self.may_hold(revision))
    }

    /// What was offered under this UID, as far as it is remembered.
    pub(super) fn offers_known(&self) -> impl Iterator<Item = &Recognition> {
        self.offered.iter()
    }

    /// A record that ends before its agent's last offers must not lock the
    /// agent out (law 8): so where one was loaded, a revision newer than all it
    /// names counts as well, if the profile is at home with the agent or is the
    /// one (of an admin namespace, then) that the record names.
    fn may_hold(&self, revision: &Recognition) -> bool {
        let lacks = |newest: &Vec<Recognition>| {
            let named = newest.iter().find(|r| r.profile == revision.profile);
            let ours = named.is_some() || revision.profile.namespace == self.namespace;
            ours && named.map(|r| r.number) < Some(revision.number)
        };
        self.offered.contains(revision) || self.restored.as_ref().is_some_and(lacks)
    }

    /// The identity that owns the instance UID.
    #[must_use]
    pub fn binding(&self) -> Option<&Identity> {
        self.binding.as_ref()
    }

    /// Whom a selector may ask for: what the link proves, or, if it proves only
    /// what it was offered, whom the instance UID belongs to. The latter never
    /// gives a right (see [`Rights`]).
    pub(super) fn identity<'a>(&'a self, link: &'a Link) -> Option<&'a Identity> {
        link.verdict.primary.as_ref().or(self.binding.as_ref())
    }

    /// A connection wants to speak for this agent. Refused if the UID is
    /// somebody else's.
    pub fn attach(&mut self, mut link: Link, now: Now) -> Option<Step> {
        let (rights, binds) = self.admit(&link.verdict)?;
        if let Some(identity) = binds {
            self.binding = Some(identity);
            self.bound_at = Some(now.wall);
        }
        self.vouch(&link.verdict);
        if let Some(pod) = link.verdict.pod() {
            self.pod = Some(pod.clone());
        }
        self.pod_gone = false;
        link.rights = rights;
        if self
            .newest_link()
            .is_some_and(|older| self.follows(&link, older))
        {
            for older in &mut self.links {
                older.followed = true;
            }
        }
        let transport = link.transport;
        self.last_contact = now.wall;
        self.about.linked = Some(now.wall);
        self.deadline = None;
        self.expected = None;
        self.links.push(link);
        self.links.sort_by_key(|link| link.id);
        let mut step = Step::default();
        step.transitions.push(Transition::Connected(transport));
        Some(step)
    }

    /// Trust changed, and nothing that the link shows is revoked: what it may be
    /// given from now on. What it proved before it keeps where it would prove
    /// nothing anew: retiring is not revoking, and nobody is cut off because a
    /// credential ended while it was in use.
    pub fn judge_again(&mut self, id: LinkId, verdict: Verdict) {
        // Who would own the UID from now on is a newcomer, and comes anew.
        let Some((rights, None)) = self.admit(&verdict) else {
            return;
        };
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id)
            && rights.strength() >= link.rights.strength()
        {
            link.rights = rights;
            link.verdict = verdict;
            link.returns = true;
        }
    }

    /// What is vouched for on a link beats what was claimed on those before it,
    /// of which nobody could tell whether it was true.
    fn vouch(&mut self, verdict: &Verdict) {
        if let (Some(known), Some(vouched)) = (&mut self.attributes, &verdict.vouched) {
            for (key, value) in &vouched.attributes {
                known.vouch(key, value);
            }
        }
    }

    /// What a link shows would not be admitted again. It stays: whoever is cut
    /// off then is lost (law 8).
    pub fn cannot_return(&mut self, id: LinkId) -> Option<Transition> {
        let link = self.links.iter_mut().find(|link| link.id == id)?;
        std::mem::replace(&mut link.returns, false).then_some(Transition::CannotReturn)
    }

    /// May a link with this verdict speak for this agent?
    #[must_use]
    pub fn admits(&self, verdict: &Verdict) -> bool {
        self.admit(verdict).is_some()
    }

    /// What a link with this verdict may be given, and whom it binds the UID to.
    fn admit(&self, verdict: &Verdict) -> Option<(Rights, Option<Identity>)> {
        let held = |revision: &Recognition| self.may_hold(revision);
        let offered = |revision: &Recognition| self.offered.contains(revision);
        let past = Past {
            binding: self.binding.as_ref(),
            bound_at: self.bound_at,
            proved_at: self.proved.as_ref().map(|proved| proved.at),
        };
        let rights = match admit(past, held, offered, verdict) {
            Admission::Refused => return None,
            Admission::Bind(identity) => return Some((Rights::Everything, Some(identity))),
            Admission::Owner | Admission::Ownerless | Admission::Retired => Rights::Everything,
            Admission::Recognised => Rights::Recognised(profiles(verdict.recognised.iter())),
            Admission::Unbound => Rights::Own(profiles(verdict.recognised.iter())),
            Admission::Expired => {
                let its_own = verdict.expired.iter().filter(|r| offered(r));
                Rights::Expired(profiles(its_own))
            }
            Admission::Anonymous => Rights::Nothing,
        };
        Some((rights, None))
    }

    /// The profile that applies, as seen from a link.
    #[must_use]
    pub fn choose(&self, id: LinkId, candidates: &Candidates) -> Choice {
        // An older link does not speak for the agent: what it proves of an
        // identity may be less, or more, than what the agent has now.
        let Some(link) = self.newest_link().filter(|link| link.id == id) else {
            return Choice::NotYet;
        };
        if link.shared {
            return Choice::Nobody;
        }
        choose(candidates, &self.chooser(link, &self.uid.to_string()))
    }

    /// What is known of it, as seen from a link.
    pub(super) fn chooser<'a>(&'a self, link: &'a Link, uid: &'a str) -> Chooser<'a> {
        Chooser {
            uid,
            identity: self.identity(link),
            attributes: self.attributes.as_ref(),
            rights: &link.rights,
        }
    }

    /// Which profile applies and why not the others; of an agent that is away
    /// as if it came back as whom its instance UID belongs to.
    #[must_use]
    pub fn explain(&self, all: &[Candidate]) -> (Choice, Vec<Explained>) {
        let uid = self.uid.to_string();
        let newest = self.newest_link();
        if newest.is_some_and(|link| link.shared) {
            return (Choice::Nobody, Vec::new());
        }
        let away = if self.binding.is_some() {
            Rights::Everything
        } else {
            Rights::Nothing
        };
        let chooser = Chooser {
            uid: &uid,
            identity: newest.map_or(self.binding.as_ref(), |link| self.identity(link)),
            attributes: self.attributes.as_ref(),
            rights: newest.map_or(&away, |link| &link.rights),
        };
        explain(&self.namespace, all, &chooser)
    }

    /// Records the choice; its transitions.
    pub fn chosen(&mut self, choice: &Choice, now: Now) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let profile = match choice {
            Choice::NotYet => return transitions,
            Choice::Nobody => None,
            Choice::Profile(profile) | Choice::AwaitingProof(profile) => Some(profile.clone()),
        };
        if self.profile != profile {
            self.profile.clone_from(&profile);
            transitions.push(Transition::Profile(profile));
        }
        let awaiting = matches!(choice, Choice::AwaitingProof(_));
        if awaiting && self.state != SettingsState::AwaitingProof {
            self.enter(SettingsState::AwaitingProof, now);
            transitions.push(Transition::AwaitingProof);
        } else if !awaiting && self.state == SettingsState::AwaitingProof {
            self.enter(SettingsState::Pending, now);
        }
        transitions
    }

    /// A link ended. `until` is set if the newest of those that remain is to
    /// be refreshed.
    pub fn detach(&mut self, id: LinkId, now: Now) -> Step {
        let mut step = Step::default();
        let before = self.links.len();
        self.links.retain(|link| link.id != id);
        if self.links.len() == before {
            return step;
        }
        if !self.links.is_empty() {
            // Closing an old link never marks the agent gone.
            step.until = Some(now.uptime);
            return step;
        }
        step.transitions.push(Transition::Disconnected);
        // Whichever link was the last: the one that was offered may have ended
        // before it, or another begun and ended without a word.
        let switching = self.state == SettingsState::Switching
            || self.flight.as_ref().is_some_and(|f| !f.landed);
        // One that went for good, and came and left without a word, still is.
        if switching && self.state != SettingsState::Departed {
            self.enter(SettingsState::Switching, now);
            self.deadline = Some(now.uptime + latch::SWITCH_DEADLINE);
            step.transitions.push(Transition::Switching);
        }
        step
    }

    /// It speaks: it was away for good, and is no agent that ignores its
    /// settings. A connection alone says nothing of that.
    pub(super) fn returns(&mut self, now: Now) {
        if self.state != SettingsState::Departed {
            return;
        }
        if let Some(flight) = &mut self.flight {
            flight.landed = true;
            self.attempts.proved(flight.marker);
        }
        self.enter(SettingsState::Pending, now);
    }

    /// Time passed: ends HTTP links that went silent, and the wait for an
    /// agent that switches, or that was here before a restart. `until` is when to call it again.
    pub fn tick(&mut self, now: Now) -> Step {
        let mut step = Step::default();
        let speaker = self.newest_link();
        let ended = speaker.and_then(|link| Some((link.id, link.verdict.lasts?)));
        if let Some((id, _)) = ended.filter(|(_, end)| *end <= now.wall) {
            step.transitions.extend(self.cannot_return(id));
        }
        let polled = self.links.iter().filter(|l| l.transport == Transport::Http);
        let ends = polled.map(|link| (link.id, self.polls.silent_at(link.last_message)));
        let (silent, alive): (Vec<_>, Vec<_>) = ends.partition(|(_, end)| *end <= now.uptime);
        step.until = alive.into_iter().map(|(_, end)| end).min();
        for (id, _) in silent {
            step.transitions.extend(self.detach(id, now).transitions);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now.uptime) {
            self.deadline = None;
            let departed = self.flight.as_ref().is_some_and(|flight| flight.external);
            let (state, transition) = if departed {
                (SettingsState::Departed, Transition::Departed)
            } else {
                (SettingsState::Lost, Transition::Lost)
            };
            self.enter(state, now);
            step.transitions.push(transition);
        }
        if self.expected.is_some_and(|(until, _)| until <= now.uptime) {
            self.expected = None;
            step.transitions.push(Transition::Disconnected);
        }
        step.until = earliest(
            earliest(step.until, self.deadline),
            self.expected.map(|(until, _)| until),
        );
        step
    }

    /// The link that speaks for the agent and gets the offers: the newest, but
    /// weaker proof never displaces stronger, unless it follows from it.
    #[must_use]
    pub fn newest_link(&self) -> Option<&Link> {
        let strength = |link: &&Link| (!link.followed, link.rights.strength(), link.id);
        self.links.iter().max_by_key(strength)
    }

    /// Over HTTP an agent has one link: does an older one end because of the
    /// newer? Not if it proves more: weaker proof displaces nothing, and what
    /// it belongs to may be somebody else's, who only knows the instance UID.
    #[must_use]
    pub fn gives_way(&self, older: LinkId, newer: LinkId) -> bool {
        let links = self.link(older).zip(self.link(newer));
        links.is_some_and(|(older, newer)| {
            older.followed || older.rights.strength() <= newer.rights.strength()
        })
    }

    /// Does another link speak for the agent that proves more than this one?
    pub(super) fn is_outranked(&self, id: LinkId) -> bool {
        let links = self.link(id).zip(self.newest_link());
        links.is_some_and(|(link, speaks)| speaks.rights.strength() > link.rights.strength())
    }

    /// Does the newer link show what was offered on the older one? Then it is
    /// that agent, come back with what it was given.
    fn follows(&self, newer: &Link, older: &Link) -> bool {
        self.flight.as_ref().is_some_and(|flight| {
            let shows = newer.presented.marker == Some(flight.marker)
                || newer.verdict.recognised.contains(&flight.revision);
            flight.link == older.id && shows
        })
    }

    /// A link by its number.
    #[must_use]
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.iter().find(|link| link.id == id)
    }

    /// Links, oldest first.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// A second instance spoke on this link.
    pub fn mark_shared(&mut self, id: LinkId) {
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            link.shared = true;
        }
    }

    /// What others may know.
    #[must_use]
    pub fn record(&self) -> AgentRecord {
        let newest = self.newest_link();
        // A restart of ours makes no status say otherwise while it may come back.
        let expected = self.expected.map(|(_, transport)| transport);
        AgentRecord {
            uid: self.uid,
            namespace: self.namespace.clone(),
            binding: self.binding.clone(),
            bound_at: self.bound_at,
            pod: self.pod.clone(),
            attributes: self.attributes.clone(),
            profile: self.profile.clone(),
            overridden: self.overridden.clone(),
            connected: newest.map(|link| link.transport).or(expected),
            interval: self.polls.interval(),
            capable: match expected {
                Some(_) => self.about.capabilities.accepts_opamp_connection_settings(),
                None => self.capable(),
            },
            cannot_return: newest.is_some_and(|link| !link.returns),
            exhausted: self.held_back == Some(Silence::BucketEmpty),
            receives: newest.is_some_and(|link| !link.shared && link.greeted())
                && self.state != SettingsState::AwaitingProof,
            state: self.state,
            proved: self.proved.clone(),
            last_offer: self.last_offer.clone(),
            offered: self.offered.clone(),
            told: self.told,
            since: self.since,
            last_contact: self.last_contact,
            about: self.about.clone(),
        }
    }

    pub(super) fn capable(&self) -> bool {
        self.capabilities.accepts_opamp_connection_settings()
    }

    pub(super) fn enter(&mut self, state: SettingsState, now: Now) {
        if self.state != state {
            self.state = state;
            self.since = now.wall;
        }
        if state == SettingsState::Applied {
            self.about.failure = None;
        }
    }

    pub(super) fn note_offered(&mut self, revision: Recognition) {
        self.offered.retain(|known| *known != revision);
        self.offered.push(revision);
        if self.offered.len() > OFFERED_KEPT {
            self.offered.remove(0);
        }
    }
}

fn profiles<'a>(revisions: impl Iterator<Item = &'a Recognition>) -> Vec<ProfileKey> {
    let mut profiles: Vec<_> = revisions.map(|r| r.profile.clone()).collect();
    profiles.dedup();
    profiles
}
