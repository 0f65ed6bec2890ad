//! What follows from a message, a change or a timer: evidence, then perhaps an
//! offer.

use std::time::Duration;

use opamp_wire::{OfferBytes, Reply};

use super::{Agent, LinkId, SettingsState, Silence, Transition, agent::Flight, decide::Decision};
use crate::{
    Now,
    catalog::Target,
    earliest,
    identity::{Recognition, Trust},
};

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
    /// Whoever is on the link is to take another instance UID.
    pub rename: bool,
    /// Changes, in order.
    pub transitions: Vec<Transition>,
    /// When to call `refresh` again.
    pub until: Option<Duration>,
}

impl Agent {
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
        if !link.greeted() {
            return step;
        }
        if self.rename(id, now, &mut step.until) {
            step.rename = true;
            step.transitions.push(Transition::Cloned);
        }
        if self.state == SettingsState::AwaitingProof {
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
                    change: revision.change(),
                    external: revision.is_external(),
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
                    link.offered.push((revision.marker(), retry));
                }
                self.enter(SettingsState::Offered, now);
                step.push = Some(offer);
                step.transitions.push(Transition::Offered {
                    profile: this.profile,
                    number: this.number,
                    marker: revision.marker(),
                    retry,
                    change: revision.change(),
                });
            }
            Decision::Silent(why, until) => {
                step.until = earliest(step.until, until);
                let held = matches!(why, Silence::Backoff | Silence::BucketEmpty).then_some(why);
                if held.is_some() && self.held_back != held {
                    let change = wish.target.and_then(|target| target.current.change());
                    let told = held.map(|why| Transition::HeldBack(why, change));
                    step.transitions.extend(told);
                }
                self.held_back = held;
                self.tell(id, wish.target, why, wish.hold, now, &mut step);
            }
        }
        step
    }
}
