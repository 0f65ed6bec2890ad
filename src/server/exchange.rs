//! One message in, one answer out: the same for every transport.

use std::{sync::Arc, time::Duration};

use opamp_operator_core::{
    Now,
    catalog::{Choice, Target},
    fleet::{Agent, Link, LinkId, Step, Transport, Wish},
    identity::{Presented, Revoked, Verdict},
    offer::Revision,
};
use opamp_wire::{
    ErrorKind, InstanceUid, Reply, ReplyError, ServerCapabilities, proto::AgentToServer,
};
use parking_lot::Mutex;

use super::{shared::Shared, standing::revoked, subscriptions::Subscriptions};
use crate::hub::{Hub, SharedAgent};

/// `AgentToServerFlags_RequestInstanceUid`.
const REQUEST_INSTANCE_UID: u64 = 1;

/// Why a link may not speak for an instance UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is bound to another identity.
    Foreign,
    /// What it shows left its object: it brings back who came by it before.
    Retired,
    /// The identity may speak for other instance UIDs only.
    NotAllowed,
    /// The identity has as many instance UIDs as it may.
    Quota,
    /// What it shows, or whom it speaks for, is revoked.
    Revoked(Revoked),
    /// It claims an attribute other than its credentials say.
    Contradicts(String),
    /// The roster is full.
    Full,
    /// Somebody who could judge has not been heard.
    NotYet,
    /// Its identity brought in too many new agents.
    Newcomer,
}

/// A link of an agent; ends when dropped.
pub(super) struct Attached {
    hub: Arc<Hub>,
    pub(super) agent: SharedAgent,
    pub(super) id: LinkId,
}

impl Denied {
    /// For the peer, whatever carries it. Why something is revoked is not for
    /// whoever shows it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Foreign => "this instance UID belongs to another identity".into(),
            Self::Retired => "these credentials admit no new agent any more".into(),
            Self::NotAllowed => "this identity may not use this instance UID".into(),
            Self::Quota => "this identity has as many agents as it may".into(),
            Self::Revoked(_) => "these credentials are revoked".into(),
            Self::Contradicts(key) => {
                format!("attribute `{key}` contradicts what the credentials say")
            }
            Self::Full => "the server takes no more agents".into(),
            Self::NotYet => "not ready to judge credentials yet".into(),
            Self::Newcomer => "the server takes no more new agents of this identity for now".into(),
        }
    }

    /// It may be otherwise later.
    pub(super) const fn is_for_now(&self) -> bool {
        matches!(
            self,
            Self::Full | Self::NotYet | Self::Quota | Self::Newcomer
        )
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Revoked(why) => write!(f, "{why}"),
            other => f.write_str(&other.text()),
        }
    }
}

impl Attached {
    /// Makes a WebSocket link under `uid`.
    pub(super) fn websocket(
        hub: &Arc<Hub>,
        uid: InstanceUid,
        presented: &Presented,
        verdict: &Verdict,
    ) -> Result<Self, Denied> {
        let (agent, id) = attach(hub, uid, Transport::WebSocket, presented, verdict)?;
        Ok(Self {
            hub: Arc::clone(hub),
            agent,
            id,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut agent = self.agent.lock();
        let step = agent.detach(self.id, self.hub.clock.now());
        self.hub.roster.note(&agent, &step.transitions);
    }
}

/// What a connection proves for one instance UID.
pub(super) fn verdict_for(all: &Verdict, uid: InstanceUid) -> Result<Verdict, Denied> {
    let verdict = all.for_uid(uid);
    if verdict.proves_nothing() && !all.proves_nothing() {
        return Err(Denied::NotAllowed);
    }
    Ok(verdict)
}

/// The agent that a connection means. For one that would not be admitted as a
/// new one nobody is forgotten, and nothing of it is kept.
pub(super) fn find(
    hub: &Hub,
    uid: InstanceUid,
    verdict: &Verdict,
    now: Now,
) -> Result<SharedAgent, Denied> {
    if let Some(known) = hub.roster.known(uid, verdict) {
        return Ok(known);
    }
    let newcomer = Agent::new(uid, "", now);
    if !newcomer.admits(verdict) {
        return Err(Denied::Retired);
    }
    // It is free again at once: this only asks for one.
    hub.roster.seat(&newcomer, verdict).ok_or(Denied::Quota)?;
    hub.roster.find(uid, verdict, now).ok_or(Denied::Full)
}

/// Adds a link to the agent it speaks for.
fn attach(
    hub: &Hub,
    uid: InstanceUid,
    transport: Transport,
    presented: &Presented,
    verdict: &Verdict,
) -> Result<(SharedAgent, LinkId), Denied> {
    let verdict = verdict_for(verdict, uid)?;
    let shared = find(hub, uid, &verdict, hub.clock.now())?;
    let id = join(hub, &mut shared.lock(), transport, presented, verdict)?;
    Ok((shared, id))
}

/// Adds a link to an agent that the caller holds.
pub(super) fn join(
    hub: &Hub,
    agent: &mut Agent,
    transport: Transport,
    presented: &Presented,
    verdict: Verdict,
) -> Result<LinkId, Denied> {
    let now = hub.clock.now();
    let id = hub.roster.link_id();
    if let Some(why) = revoked(hub, agent, presented, &verdict) {
        return Err(Denied::Revoked(why));
    }
    let seat = hub.roster.seat(agent, &verdict).ok_or(Denied::Quota)?;
    let refused = match verdict.retired {
        Some(_) => Denied::Retired,
        None => Denied::Foreign,
    };
    let link = Link::new(id, transport, presented.clone(), verdict, now.uptime);
    let step = agent.attach(link, now).ok_or(refused)?;
    seat.take(agent);
    hub.roster.note(agent, &step.transitions);
    Ok(id)
}

/// Takes in a message and answers it. Whatever a message asks for is answered
/// here, or by the agent's state machine, for both transports: a certificate
/// request (R01 to R06) is not, which is what [`ServerCapabilities::OURS`] says.
pub(super) fn exchange(
    shared: &Shared,
    agent: &Mutex<Agent>,
    id: LinkId,
    subscriptions: &mut Subscriptions,
    message: &AgentToServer,
) -> Result<(Reply, Step), Denied> {
    let hub = &shared.hub;
    let now = hub.clock.now();
    let mut agent = agent.lock();
    if let Some(key) = agent.contradiction(id, message) {
        return Err(Denied::Contradicts(key));
    }
    let (reply, transitions) = agent.hear(id, message, now);
    hub.roster.note(&agent, &transitions);
    let target = settle(hub, &mut agent, id, subscriptions);
    let target = target.map(|target| sendable(shared, target));
    let trust = hub.trust.borrow().clone();
    let wish = Wish {
        target: target.as_deref(),
        trust: trust.as_deref(),
        hold: hub.hold,
    };
    let (reply, step) = agent.answer(id, reply, &wish, now);
    hub.roster.note(&agent, &step.transitions);
    Ok((reply, step))
}

/// Something changed, or time passed: perhaps there is something to push.
pub(super) fn refresh(
    shared: &Shared,
    agent: &Mutex<Agent>,
    id: LinkId,
    subscriptions: &mut Subscriptions,
) -> Step {
    let hub = &shared.hub;
    let now = hub.clock.now();
    let mut agent = agent.lock();
    let target = settle(hub, &mut agent, id, subscriptions);
    let target = target.map(|target| sendable(shared, target));
    let trust = hub.trust.borrow().clone();
    let wish = Wish {
        target: target.as_deref(),
        trust: trust.as_deref(),
        hold: hub.hold,
    };
    let step = agent.refresh(id, &wish, now);
    hub.roster.note(&agent, &step.transitions);
    step
}

/// Settles which profile applies, and reads its target.
fn settle(
    hub: &Hub,
    agent: &mut Agent,
    id: LinkId,
    subscriptions: &mut Subscriptions,
) -> Option<Arc<Target>> {
    let candidates = subscriptions.candidates()?;
    let before = agent.profile().cloned();
    let (choice, transitions) = agent.settle(id, &candidates, hub.clock.now());
    if let Some(before) = before.filter(|before| agent.profile() != Some(before)) {
        hub.roster.mark(&before);
    }
    hub.roster.note(agent, &transitions);
    let applies = match &choice {
        Choice::Profile(profile) => Some(profile),
        _ => None,
    };
    subscriptions.target(&hub.book, applies)
}

/// A target with settings larger than may be sent (T06, T09) stands still: it
/// is offered to nobody, and whoever runs them is still seen to.
fn sendable(shared: &Shared, target: Arc<Target>) -> Arc<Target> {
    let most = shared.limits.settings_bytes();
    let large = |revision: &&Arc<Revision>| revision.largest() > most;
    let mut revisions = std::iter::once(&target.current).chain(&target.previous);
    let Some(revision) = revisions.find(large) else {
        return target;
    };
    shared.note_unsent(revision);
    Arc::new(Target {
        paused: true,
        ..Target::clone(&target)
    })
}

/// As the specification asks for: UUID version 7.
pub(super) fn new_uid() -> InstanceUid {
    InstanceUid::from(*uuid::Uuid::now_v7().as_bytes())
}

/// The answer to an agent that asks for another instance UID, if it does (M16).
/// What it calls itself until then is temporary, and many may use the same: so
/// nothing is kept under it, and nobody is refused for whose it is. The new one
/// belongs to the identity that first speaks under it, and nobody else knows it.
/// Full state is not asked for: opamp-go would answer with the same request.
pub(super) fn rename(uid: InstanceUid, message: &AgentToServer) -> Option<Reply> {
    // Whoever leaves needs none.
    let asks = message.flags & REQUEST_INSTANCE_UID != 0 && message.agent_disconnect.is_none();
    asks.then(|| {
        let mut reply = Reply::new(uid);
        reply.capabilities = Some(ServerCapabilities::OURS);
        reply.new_instance_uid = Some(new_uid());
        reply
    })
}

/// An answer that says what is wrong with a message (M06, M10).
pub(super) fn bad_request(
    uid: impl Into<Option<InstanceUid>>,
    message: impl Into<String>,
) -> Reply {
    let mut reply = Reply::new(uid);
    reply.error = Some(ReplyError {
        kind: ErrorKind::BadRequest,
        message: message.into(),
        retry_after: None,
    });
    reply
}

/// An answer that asks to come back later (M12).
pub(super) fn unavailable(
    uid: impl Into<Option<InstanceUid>>,
    message: &str,
    wait: Duration,
) -> Reply {
    let mut reply = Reply::new(uid);
    reply.error = Some(ReplyError {
        kind: ErrorKind::Unavailable,
        message: message.into(),
        retry_after: Some(wait),
    });
    reply
}

#[cfg(test)]
mod tests {
    use opamp_wire::{OfferBytes, proto::ConnectionSettingsOffers};

    use super::*;
    use crate::server::limits::AROUND_SETTINGS;

    #[test]
    fn t06_t09_little_surrounds_the_settings() {
        let uid = InstanceUid::from_bytes([0xff; 16]);
        let offer = OfferBytes::encode(&ConnectionSettingsOffers::default());
        let all = Reply {
            flags: u64::MAX,
            capabilities: Some(u64::MAX),
            new_instance_uid: Some(uid),
            offer: Some(offer.clone()),
            ..Reply::new(uid)
        };
        assert!(all.to_frame().len() - offer.len() <= AROUND_SETTINGS);
    }
}
