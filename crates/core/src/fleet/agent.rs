//! The state machine of one instance UID in one home namespace.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use opamp_operator_api::values::{Attributes, Identity, ProfileKey};
use opamp_wire::{
    AgentCapabilities, InstanceUid, OfferBytes, Reply, ServerCapabilities,
    proto::{AgentToServer, AnyValue, ConnectionSettingsStatuses, KeyValue, any_value::Value},
};

use super::{
    AgentRecord, Evidence, Link, LinkId, Proved, SettingsState, Silence, Transition, Transport,
    decide::Decision,
    latch::{self, Attempts, Bucket},
    link::FullState,
    polls::Polls,
    words::clean,
};
use crate::{
    Now,
    catalog::{Candidates, Choice, Chooser, Target, choose},
    earliest,
    identity::{Admission, Fingerprint, Marker, Recognition, Rights, Trust, admit},
    offer::{Revision, WireHash},
};

/// Revisions that are remembered as offered under one UID.
const OFFERED_KEPT: usize = 32;
/// Attributes kept of a description, and their longest key and value: more is
/// nothing a selector could ask for.
const MAX_ATTRIBUTES: usize = 64;
const MAX_ATTRIBUTE_BYTES: usize = 1024;
/// `ServerToAgentFlags_ReportFullState`.
const REPORT_FULL_STATE: u64 = 1;

/// While an agent has several links, each looks this often whether it is alone.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What the agent should have, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Of the agent's chosen profile; none if there is none or it is unknown.
    pub target: Option<&'a Target>,
    /// To look up markers.
    pub trust: Option<&'a Trust>,
    /// How long a process without memory of an agent waits.
    pub hold: Duration,
}

/// What to do after an event.
#[derive(Debug, Default)]
pub struct Step {
    /// To be pushed on the link.
    pub push: Option<OfferBytes>,
    /// Changes, in order.
    pub transitions: Vec<Transition>,
    /// When to call `refresh` again.
    pub until: Option<Duration>,
}

/// What to do after a message.
#[derive(Debug)]
pub struct Received {
    /// The answer; every message gets one (M01).
    pub reply: Reply,
    /// Changes and timer; an offer is in the reply.
    pub step: Step,
    /// The agent said good-bye.
    pub disconnected: bool,
}

/// The last offer.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) revision: Recognition,
    pub(super) marker: Marker,
    pub(super) hash: WireHash,
    pub(super) at: Duration,
    pub(super) link: LinkId,
    pub(super) shown_leaf: Option<Fingerprint>,
    pub(super) shown_authorization: Option<Fingerprint>,
    /// Evidence or a reported failure ended it.
    pub(super) landed: bool,
    /// It was reported as failed: said again it is no second failure.
    failed: bool,
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    pub(super) uid: InstanceUid,
    namespace: String,
    binding: Option<Identity>,
    pub(super) capabilities: AgentCapabilities,
    pub(super) attributes: Option<Attributes>,
    pub(super) links: Vec<Link>,
    pub(super) polls: Polls,
    profile: Option<ProfileKey>,
    offered: Vec<Recognition>,
    pub(super) flight: Option<Flight>,
    /// The revision of the last offer, also of an earlier process, and when.
    last_offer: Option<(Recognition, Timestamp)>,
    pub(super) attempts: Attempts,
    pub(super) bucket: Bucket,
    pub(super) proved: Option<Proved>,
    pub(super) remembered: bool,
    /// If it is from a record: the newest revision of each profile that this
    /// names. It is written behind the push and may lack the last offers.
    restored: Option<Vec<Recognition>>,
    state: SettingsState,
    since: Timestamp,
    last_contact: Timestamp,
    deadline: Option<Duration>,
    held_back: Option<Silence>,
}

impl Agent {
    /// An agent nobody knows yet.
    #[must_use]
    pub fn new(uid: InstanceUid, namespace: &str, now: Now) -> Self {
        Self {
            uid,
            namespace: namespace.to_owned(),
            binding: None,
            capabilities: AgentCapabilities::default(),
            attributes: None,
            links: Vec::new(),
            polls: Polls::default(),
            profile: None,
            offered: Vec::new(),
            flight: None,
            last_offer: None,
            attempts: Attempts::default(),
            bucket: Bucket::new(now.uptime),
            proved: None,
            remembered: false,
            restored: None,
            state: SettingsState::Pending,
            since: now.wall,
            last_contact: now.wall,
            deadline: None,
            held_back: None,
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
        Self {
            deadline: left.then(|| now.uptime + latch::SWITCH_DEADLINE),
            binding: record.binding,
            attributes: record.attributes,
            profile: record.profile,
            offered: record.offered,
            last_offer: record.last_offer,
            proved: record.proved,
            state: if left {
                SettingsState::Switching
            } else {
                record.state
            },
            since: record.since,
            last_contact: record.last_contact,
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

    /// Nothing was ever offered under this UID.
    #[must_use]
    pub fn was_never_offered(&self) -> bool {
        self.offered.is_empty()
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

    /// A connection wants to speak for this agent. Refused if the UID is
    /// somebody else's.
    pub fn attach(&mut self, mut link: Link, now: Now) -> Option<Step> {
        let held = |revision: &Recognition| self.may_hold(revision);
        let offered = |revision: &Recognition| self.offered.contains(revision);
        let verdict = &link.verdict;
        link.rights = match admit(self.binding.as_ref(), held, offered, verdict) {
            Admission::Refused => return None,
            Admission::Bind(identity) => {
                self.binding = Some(identity);
                Rights::Everything
            }
            Admission::Owner | Admission::Ownerless => Rights::Everything,
            Admission::Recognised => Rights::Recognised(profiles(verdict.recognised.iter())),
            Admission::Expired => {
                let its_own = verdict.expired.iter().filter(|r| offered(r));
                Rights::Expired(profiles(its_own))
            }
        };
        let transport = link.transport;
        self.last_contact = now.wall;
        self.deadline = None;
        self.links.push(link);
        self.links.sort_by_key(|link| link.id);
        let mut step = Step::default();
        step.transitions.push(Transition::Connected(transport));
        Some(step)
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
        let uid = self.uid.to_string();
        let chooser = Chooser {
            uid: &uid,
            attributes: self.attributes.as_ref(),
            rights: &link.rights,
        };
        choose(candidates, &chooser)
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

    /// Takes in a message, before a profile is chosen: what it says of the
    /// agent. Answered by [`Self::answer`].
    pub fn hear(
        &mut self,
        id: LinkId,
        message: &AgentToServer,
        now: Now,
    ) -> (Reply, Vec<Transition>) {
        let mut transitions = Vec::new();
        let mut reply = Reply::new(self.uid);
        self.last_contact = now.wall;
        let attributes_known = self.attributes.is_some();
        let was_capable = self.capable();
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return (reply, transitions);
        };
        let first = !link.greeted();
        let described = message.agent_description.is_some();
        link.heard(message.sequence_num, described, now.uptime);
        if first {
            reply.capabilities = Some(ServerCapabilities::OURS);
        }
        if described && link.full_state == FullState::NotYet {
            let fresh = first && message.sequence_num <= 1;
            link.full_state = if fresh {
                FullState::Fresh
            } else {
                FullState::Heard
            };
        }
        if link.transport == Transport::Http {
            self.polls.heard(now.uptime);
            reply.capabilities = Some(ServerCapabilities::OURS);
        }
        // 0 is 'not repeated' on a connection and 'unknown' on a new one (H15).
        if message.capabilities != 0 {
            link.capabilities_known = true;
            self.capabilities = AgentCapabilities::from(message.capabilities);
        }
        let unknown =
            !link.capabilities_known || (first && !described) || !(attributes_known || described);
        if link.asks(unknown, now.uptime) {
            reply.flags |= REPORT_FULL_STATE;
        }
        if let Some(status) = &message.connection_settings_status
            && !status.last_connection_settings_hash.is_empty()
        {
            let hash = status.last_connection_settings_hash.to_vec();
            link.reported = Some((status.status(), hash));
        }
        if let Some(description) = &message.agent_description {
            self.attributes = Some(Attributes {
                identifying: attributes(&description.identifying_attributes),
                non_identifying: attributes(&description.non_identifying_attributes),
            });
        }
        if was_capable != self.capable() {
            transitions.push(Transition::Capable(self.capable()));
        }
        transitions.extend(self.hear_failure(id, message, now));
        (reply, transitions)
    }

    /// Completes the answer to a message: evidence, and perhaps an offer.
    pub fn answer(
        &mut self,
        id: LinkId,
        mut reply: Reply,
        wish: &Wish<'_>,
        now: Now,
    ) -> (Reply, Step) {
        let mut step = self.refresh(id, wish, now);
        reply.offer = step.push.take();
        (reply, step)
    }

    /// Something changed: target, trust, or time.
    pub fn refresh(&mut self, id: LinkId, wish: &Wish<'_>, now: Now) -> Step {
        let mut step = Step::default();
        let Some(link) = self.links.iter().find(|link| link.id == id) else {
            return step;
        };
        // What the others keep back or speak for ends with them, and a link
        // ends without a word to this one.
        step.until = (self.links.len() > 1).then(|| now.uptime + LOOK_AGAIN);
        if !link.greeted() || self.state == SettingsState::AwaitingProof {
            return step;
        }
        self.weigh(id, wish.target, now, &mut step);
        let Some(link) = self.links.iter().find(|link| link.id == id) else {
            return step;
        };
        match self.decide(link, wish.target, wish.trust, wish.hold, now) {
            Decision::Offer(revision, retry) => {
                let (hash, offer) = (revision.hash(retry), revision.offer(retry));
                let this = Recognition {
                    profile: revision.profile().clone(),
                    number: revision.number(),
                };
                let (shown_leaf, shown_authorization) =
                    (link.presented.leaf, link.presented.authorization);
                self.note_offered(this.clone());
                self.last_offer = Some((this.clone(), now.wall));
                self.flight = Some(Flight {
                    revision: this.clone(),
                    marker: revision.marker(),
                    hash,
                    at: now.uptime,
                    link: id,
                    shown_leaf,
                    shown_authorization,
                    landed: false,
                    failed: false,
                });
                self.attempts.made(revision.marker(), now.uptime);
                self.bucket.take(now.uptime);
                self.remembered = true;
                self.held_back = None;
                if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
                    link.offered.push(hash);
                }
                self.enter(SettingsState::Offered, now);
                step.push = Some(offer);
                step.transitions.push(Transition::Offered {
                    profile: this.profile,
                    number: this.number,
                    marker: revision.marker(),
                    retry,
                });
            }
            Decision::Silent(why, until) => {
                step.until = earliest(step.until, until);
                let held = matches!(why, Silence::Backoff | Silence::BucketEmpty).then_some(why);
                if held.is_some() && self.held_back != held {
                    step.transitions.extend(held.map(Transition::HeldBack));
                }
                self.held_back = held;
            }
        }
        step
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
        if switching {
            self.enter(SettingsState::Switching, now);
            self.deadline = Some(now.uptime + latch::SWITCH_DEADLINE);
            step.transitions.push(Transition::Switching);
        }
        step
    }

    /// Time passed: ends HTTP links that went silent, and the wait for an
    /// agent that switches. `until` is when to call it again.
    pub fn tick(&mut self, now: Now) -> Step {
        let mut step = Step::default();
        let polled = self.links.iter().filter(|l| l.transport == Transport::Http);
        let ends = polled.map(|link| (link.id, self.polls.silent_at(link.last_message)));
        let (silent, alive): (Vec<_>, Vec<_>) = ends.partition(|(_, end)| *end <= now.uptime);
        step.until = alive.into_iter().map(|(_, end)| end).min();
        for (id, _) in silent {
            step.transitions.extend(self.detach(id, now).transitions);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now.uptime) {
            self.deadline = None;
            self.enter(SettingsState::Lost, now);
            step.transitions.push(Transition::Lost);
        }
        step.until = earliest(step.until, self.deadline);
        step
    }

    /// The link that gets the offers: the newest.
    #[must_use]
    pub fn newest_link(&self) -> Option<&Link> {
        self.links.last()
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
        AgentRecord {
            uid: self.uid,
            namespace: self.namespace.clone(),
            binding: self.binding.clone(),
            attributes: self.attributes.clone(),
            profile: self.profile.clone(),
            connected: newest.map(|link| link.transport),
            interval: self.polls.interval(),
            capable: self.capable(),
            receives: newest.is_some_and(|link| !link.shared && link.greeted())
                && self.state != SettingsState::AwaitingProof,
            state: self.state,
            proved: self.proved.clone(),
            last_offer: self.last_offer.clone(),
            offered: self.offered.clone(),
            since: self.since,
            last_contact: self.last_contact,
        }
    }

    fn capable(&self) -> bool {
        self.capabilities.accepts_opamp_connection_settings()
    }

    fn enter(&mut self, state: SettingsState, now: Now) {
        if self.state != state {
            self.state = state;
            self.since = now.wall;
        }
    }

    fn note_offered(&mut self, revision: Recognition) {
        self.offered.retain(|known| *known != revision);
        self.offered.push(revision);
        if self.offered.len() > OFFERED_KEPT {
            self.offered.remove(0);
        }
    }

    /// Weighs what the newest link shows against what the agent should have
    /// (law 6). Older links are ghosts: two that take turns would prove and take
    /// back the same settings for ever.
    fn weigh(&mut self, id: LinkId, target: Option<&Target>, now: Now, step: &mut Step) {
        let Some(target) = target else { return };
        let Some(link) = self.links.last().filter(|link| link.id == id) else {
            return;
        };
        let link_marker = link.presented.marker;
        let revisions = [Some(&target.current), target.previous.as_ref()];
        let shown = revisions.into_iter().flatten().find_map(|revision| {
            self.evidence(link, revision)
                .map(|evidence| (revision, evidence))
        });
        let came_back = self.flight.as_ref().is_some_and(|f| {
            !f.landed && f.link < id && shown.is_none_or(|(revision, _)| !is(revision, &f.revision))
        });
        if came_back {
            // Back, but without what it was offered.
            self.land(SettingsState::Pending, now);
        }
        let Some((revision, evidence)) = shown else {
            // A new link without the settings outranks what was known, unless
            // they are older than what we still hold to compare it with.
            let judged = |p: &Proved| {
                let marked = p.evidence == Evidence::SettingsHeader;
                let named = |r: &Arc<Revision>| r.number() == p.number && *r.profile() == p.profile;
                (marked && link_marker.is_none()) || revisions.into_iter().flatten().any(named)
            };
            if self.proved.as_ref().is_some_and(judged) {
                self.proved = None;
                step.transitions.push(Transition::LostSettings);
            }
            // An offer without an answer stays Offered, also past its time.
            let open = self.flight.as_ref().is_some_and(|f| !f.landed);
            let open = open && self.state == SettingsState::Offered;
            if !open && self.state != SettingsState::Failed {
                self.enter(SettingsState::Pending, now);
            }
            return;
        };
        let this = Recognition {
            profile: revision.profile().clone(),
            number: revision.number(),
        };
        if self.flight.as_ref().is_some_and(|f| f.revision == this) {
            self.land(SettingsState::Applied, now);
            // Whatever it said of them before, it runs them (law 6).
            self.enter(SettingsState::Applied, now);
        }
        let known = |p: &Proved| {
            is(
                revision,
                &Recognition {
                    profile: p.profile.clone(),
                    number: p.number,
                },
            )
        };
        if !self
            .proved
            .as_ref()
            .is_some_and(|p| known(p) && p.evidence == evidence)
        {
            let proved = Proved {
                profile: this.profile.clone(),
                number: this.number,
                evidence,
                at: now.wall,
            };
            self.proved = Some(proved.clone());
            step.transitions.push(Transition::Proved(proved));
            self.attempts.proved(revision.marker());
        }
        let wanted = [
            Some(&target.current),
            target.revision_for(self.uid, self.attributes.as_ref()),
        ];
        let wanted = wanted.into_iter().flatten().any(|r| is(r, &this));
        // What it runs, it was given; a record may have been lost.
        self.note_offered(this);
        if self.expects_evidence(now) {
            return;
        }
        if wanted {
            self.enter(SettingsState::Applied, now);
        } else if self.state != SettingsState::Failed {
            self.enter(SettingsState::Pending, now);
        }
    }

    /// May the link that was offered still act on it?
    fn expects_evidence(&self, now: Now) -> bool {
        self.flight.as_ref().is_some_and(|f| {
            !f.landed && now.uptime < f.at + latch::SWITCH_DEADLINE && self.link(f.link).is_some()
        })
    }

    /// The last offer is no longer on its way.
    fn land(&mut self, state: SettingsState, now: Now) {
        if let Some(flight) = &mut self.flight
            && !flight.landed
        {
            flight.landed = true;
            self.enter(state, now);
        }
    }

    fn hear_failure(
        &mut self,
        id: LinkId,
        message: &AgentToServer,
        now: Now,
    ) -> Option<Transition> {
        let status = message.connection_settings_status.as_ref()?;
        let link = self.links.iter().find(|link| link.id == id)?;
        let flight = self.flight.as_mut()?;
        let about_it = status.last_connection_settings_hash[..] == flight.hash.as_bytes()[..];
        let runs_it = link.presented.marker == Some(flight.marker);
        if status.status() != ConnectionSettingsStatuses::Failed
            || !about_it
            || runs_it
            || flight.failed
        {
            return None;
        }
        // Also if it landed: an agent that came back and is asked for its full
        // state says only then what became of the offer.
        flight.landed = true;
        flight.failed = true;
        let end = link.presented.not_after();
        let remaining = end.map(|end| now.until(end));
        self.attempts.failed(flight.marker, now.uptime, remaining);
        self.enter(SettingsState::Failed, now);
        Some(Transition::Failed(clean(&status.error_message)))
    }
}

fn profiles<'a>(revisions: impl Iterator<Item = &'a Recognition>) -> Vec<ProfileKey> {
    let mut profiles: Vec<_> = revisions.map(|r| r.profile.clone()).collect();
    profiles.dedup();
    profiles
}

fn is(revision: &Revision, named: &Recognition) -> bool {
    revision.number() == named.number && *revision.profile() == named.profile
}

/// Attributes as text, bounded; values that are not scalars are left out, since
/// a selector cannot name them.
fn attributes(list: &[KeyValue]) -> std::collections::BTreeMap<String, String> {
    let text = |value: &AnyValue| match value.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        _ => None,
    };
    let entry = |pair: &KeyValue| {
        let value = text(pair.value.as_ref()?)?;
        let fits = pair.key.len() <= MAX_ATTRIBUTE_BYTES && value.len() <= MAX_ATTRIBUTE_BYTES;
        fits.then(|| (pair.key.clone(), value))
    };
    list.iter().filter_map(entry).take(MAX_ATTRIBUTES).collect()
}
