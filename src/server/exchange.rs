//! One message in, one answer out: the same for every transport.

use std::{sync::Arc, time::Duration};

use opamp_operator_core::{
    catalog::{Choice, Target},
    fleet::{Agent, Link, LinkId, Step, Transport, Wish},
    identity::{Revoked, Verdict},
};
use opamp_wire::{ErrorKind, InstanceUid, Reply, ReplyError, proto::AgentToServer};
use parking_lot::Mutex;

use super::{
    standing::{Standing, revoked},
    subscriptions::Subscriptions,
};
use crate::hub::Hub;

/// Why a link may not speak for an instance UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is bound to another identity.
    Foreign,
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
}

/// A link of an agent; ends when dropped.
pub(super) struct Attached {
    hub: Arc<Hub>,
    pub(super) agent: Arc<Mutex<Agent>>,
    pub(super) id: LinkId,
}

impl Denied {
    /// For the peer, whatever carries it. Why something is revoked is not for
    /// whoever shows it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Foreign => "this instance UID belongs to another identity".into(),
            Self::NotAllowed => "this identity may not use this instance UID".into(),
            Self::Quota => "this identity has as many agents as it may".into(),
            Self::Revoked(_) => "these credentials are revoked".into(),
            Self::Contradicts(key) => {
                format!("attribute `{key}` contradicts what the credentials say")
            }
            Self::Full => "the server takes no more agents".into(),
        }
    }

    /// It may be otherwise later.
    pub(super) const fn is_for_now(&self) -> bool {
        matches!(self, Self::Full | Self::Quota)
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
        standing: &Standing,
    ) -> Result<Self, Denied> {
        let (agent, id) = attach(hub, uid, Transport::WebSocket, standing)?;
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
pub(super) fn verdict_for(standing: &Standing, uid: InstanceUid) -> Result<Verdict, Denied> {
    let verdict = standing.verdict.for_uid(uid);
    if verdict.proves_nothing() && !standing.verdict.proves_nothing() {
        return Err(Denied::NotAllowed);
    }
    Ok(verdict)
}

/// Adds a link to the agent it speaks for.
pub(super) fn attach(
    hub: &Hub,
    uid: InstanceUid,
    transport: Transport,
    standing: &Standing,
) -> Result<(Arc<Mutex<Agent>>, LinkId), Denied> {
    let now = hub.clock.now();
    let (presented, verdict) = (&standing.presented, verdict_for(standing, uid)?);
    let shared = hub.roster.find(uid, &verdict, now).ok_or(Denied::Full)?;
    let id = hub.roster.link_id();
    let mut agent = shared.lock();
    if let Some(why) = revoked(hub, &agent, presented, &verdict) {
        return Err(Denied::Revoked(why));
    }
    let seat = hub.roster.seat(&agent, &verdict).ok_or(Denied::Quota)?;
    let link = Link::new(id, transport, presented.clone(), verdict, now.uptime);
    let step = agent.attach(link, now).ok_or(Denied::Foreign)?;
    seat.take(&agent);
    hub.roster.note(&agent, &step.transitions);
    drop(agent);
    Ok((shared, id))
}

/// Takes in a message and answers it.
pub(super) fn exchange(
    hub: &Hub,
    agent: &Mutex<Agent>,
    id: LinkId,
    subscriptions: &mut Subscriptions,
    message: &AgentToServer,
) -> Result<(Reply, Step), Denied> {
    let now = hub.clock.now();
    let mut agent = agent.lock();
    if let Some(key) = agent.contradiction(id, message) {
        return Err(Denied::Contradicts(key));
    }
    let (reply, transitions) = agent.hear(id, message, now);
    hub.roster.note(&agent, &transitions);
    let target = settle(hub, &mut agent, id, subscriptions);
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
    hub: &Hub,
    agent: &Mutex<Agent>,
    id: LinkId,
    subscriptions: &mut Subscriptions,
) -> Step {
    let now = hub.clock.now();
    let mut agent = agent.lock();
    let target = settle(hub, &mut agent, id, subscriptions);
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
    let choice = agent.choose(id, &candidates);
    let before = agent.profile().cloned();
    let transitions = agent.chosen(&choice, hub.clock.now());
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

/// An answer that says what is wrong with a message (M06, M10).
pub(super) fn bad_request(uid: InstanceUid, message: impl Into<String>) -> Reply {
    let mut reply = Reply::new(uid);
    reply.error = Some(ReplyError {
        kind: ErrorKind::BadRequest,
        message: message.into(),
        retry_after: None,
    });
    reply
}

/// An answer that asks to come back later (M12).
pub(super) fn unavailable(uid: InstanceUid, message: &str, wait: Duration) -> Reply {
    let mut reply = Reply::new(uid);
    reply.error = Some(ReplyError {
        kind: ErrorKind::Unavailable,
        message: message.into(),
        retry_after: Some(wait),
    });
    reply
}
