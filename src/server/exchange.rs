//! One message in, one answer out: the same for every transport.

use std::{sync::Arc, time::Duration};

use opamp_operator_core::{
    catalog::{Choice, Target},
    fleet::{Agent, Link, LinkId, Step, Transport, Wish},
    identity::{Presented, Verdict},
};
use opamp_wire::{ErrorKind, InstanceUid, Reply, ReplyError, proto::AgentToServer};
use parking_lot::Mutex;

use super::subscriptions::Subscriptions;
use crate::hub::Hub;

/// Why a link may not speak for an instance UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is bound to another identity.
    Foreign,
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
    /// For people, whatever carries it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Foreign => "this instance UID belongs to another identity",
            Self::Full => "the server takes no more agents",
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

/// Adds a link to the agent it speaks for.
pub(super) fn attach(
    hub: &Hub,
    uid: InstanceUid,
    transport: Transport,
    presented: &Presented,
    verdict: &Verdict,
) -> Result<(Arc<Mutex<Agent>>, LinkId), Denied> {
    let now = hub.clock.now();
    let shared = hub.roster.find(uid, verdict, now).ok_or(Denied::Full)?;
    let id = hub.roster.link_id();
    let mut agent = shared.lock();
    let link = Link::new(
        id,
        transport,
        presented.clone(),
        verdict.clone(),
        now.uptime,
    );
    let step = agent.attach(link, now).ok_or(Denied::Foreign)?;
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
) -> (Reply, Step) {
    let now = hub.clock.now();
    let mut agent = agent.lock();
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
    (reply, step)
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
