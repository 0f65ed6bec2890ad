//! Settings beside `opamp`: own telemetry and other connections.
//!
//! They do not move an agent, so nothing proves that it has them. It is sent
//! them when nothing of `opamp` is due: in the first answer to a client that
//! began anew, since that may have forgotten them, and when they change (rows
//! S02, S03 and S07). A client that starts itself anew for them would be sent
//! them for ever (H1), so the same ones are sent less and less often.
//!
//! What is sent may be lost, on a connection that is dead already or in an
//! answer over HTTP. So it counts once its link was alive afterwards.

use std::{sync::Arc, time::Duration};

use opamp_wire::AgentCapabilities;

use super::{Agent, Link, LinkId, Silence, Step, Transition, latch, link::FullState};
use crate::{
    Now,
    catalog::Target,
    earliest,
    identity::{Digest, Rights},
    offer::{Beside, Revision},
};

/// What an agent was sent last, by this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    digest: Digest,
    at: Duration,
    times: usize,
    link: LinkId,
    /// Its link was alive after that.
    arrived: bool,
}

enum Due {
    Now(Arc<Revision>, Arc<Beside>),
    At(Duration),
    /// It has them.
    Known(Digest),
    Never,
}

impl Agent {
    /// Sends what is beside `opamp`, given why nothing of `opamp` is sent.
    pub(super) fn tell(
        &mut self,
        id: LinkId,
        target: Option<&Target>,
        why: Silence,
        hold: Duration,
        now: Now,
        step: &mut Step,
    ) {
        let Some(link) = self.links.iter().find(|link| link.id == id) else {
            return;
        };
        let (revision, beside) = match self.due(link, target, why, hold, now) {
            Due::Now(revision, beside) => (revision, beside),
            Due::At(at) => {
                step.until = earliest(step.until, Some(at));
                return;
            }
            Due::Known(digest) => {
                // By the newest key, for the older ones are given up.
                let before = self.told.replace(digest);
                let renewed = before != self.told;
                step.transitions
                    .extend(renewed.then_some(Transition::Arrived));
                return;
            }
            Due::Never => return,
        };
        let before = self.last_told.filter(|told| beside.is(told.digest));
        let times = before.map_or(0, |told| told.times);
        self.last_told = Some(Told {
            digest: beside.digest,
            at: now.uptime,
            times: times + 1,
            link: id,
            arrived: false,
        });
        if before.is_none() {
            self.about.cannot_use = None;
        }
        // Until it arrived, either may be what the agent has.
        self.told = self.told.filter(|told| beside.is(*told));
        self.bucket.take(now.uptime);
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            link.told = Some(beside.digest);
            link.told_hash = Some(beside.hash);
            link.told_failed = false;
        }
        step.push = Some(beside.bytes.clone());
        step.transitions.push(Transition::Told {
            profile: revision.profile().clone(),
            number: revision.number(),
            change: revision.change_beside(),
        });
    }

    /// A message came on the link. Over HTTP one that is `repeated` says that
    /// the answer to it was lost.
    pub(super) fn told_arrived(&mut self, id: LinkId, repeated: bool) -> Option<Transition> {
        let told = self.last_told.as_mut();
        let told = told.filter(|told| told.link == id && !told.arrived)?;
        if repeated {
            let link = self.links.iter_mut().find(|link| link.id == id)?;
            link.told = None;
            return None;
        }
        told.arrived = true;
        let before = self.told.replace(told.digest);
        (before != self.told).then_some(Transition::Arrived)
    }

    fn due(
        &self,
        link: &Link,
        target: Option<&Target>,
        why: Silence,
        hold: Duration,
        now: Now,
    ) -> Due {
        use Silence::{Backoff, Incapable, OfferedHere, UpToDate};
        let Some(target) = target.filter(|target| !target.paused) else {
            return Due::Never;
        };
        let newest = self
            .newest_link()
            .is_some_and(|speaks| speaks.id == link.id);
        let limited = matches!(link.rights, Rights::Expired(_));
        if !matches!(why, UpToDate | Incapable | OfferedHere | Backoff)
            || link.capabilities.is_none()
            || link.shared
            || !newest
            || limited
            || self.is_disputed(link)
        {
            return Due::Never;
        }
        // It keeps what it has of the newest, also if that is not open to it;
        // and no first agent tries it for those that take nothing for OpAMP.
        let open = target.revision_for(self.uid, self.identity(link), self.attributes.as_ref());
        let runs = why == Incapable || self.evidence(link, &target.current).is_some();
        let current = Some(&target.current).filter(|current| {
            let attributes = self.attributes.as_ref();
            runs && current.selects(self.uid, self.identity(link), attributes)
        });
        let Some(revision) = current.or(open) else {
            return Due::Never;
        };
        // What the agent can do, and what was said on this link (law 1).
        let said = link.capabilities.unwrap_or_default().0;
        let can = AgentCapabilities::from(self.capabilities.0 & said);
        let Some(beside) = revision.beside(can) else {
            return Due::Never;
        };
        let these = |told: Digest| beside.is(told);
        let changed = beside.is_news_to(self.told);
        let forgot = link.full_state == FullState::Fresh;
        let ended = beside.not_after.is_some_and(|end| end <= now.wall);
        if ended || link.told.is_some_and(these) || !(changed || forgot) {
            return match self.told.filter(|_| !changed) {
                Some(told) => Due::Known(beside.renewed(told)),
                None => Due::Never,
            };
        }
        let last = self.last_told;
        let apart = last.map_or(Duration::ZERO, |told| told.at + latch::MIN_BETWEEN_OFFERS);
        let same = last.filter(|told| these(told.digest));
        let again = same.map_or(Duration::ZERO, |told| told.at + latch::backoff(told.times));
        // Nothing is remembered: it may have been told by another process.
        let unknown = !self.remembered && changed && self.told.is_none() && !forgot;
        let remembered = if unknown {
            link.attached + hold
        } else {
            Duration::ZERO
        };
        let landed = self.in_flight_until(now).filter(|_| !self.has_landed());
        let at = [
            apart,
            again,
            remembered,
            landed.unwrap_or_default(),
            self.bucket.available_at(now.uptime),
        ];
        let at = at.into_iter().max().unwrap_or_default();
        if now.uptime < at {
            return Due::At(at);
        }
        Due::Now(Arc::clone(revision), beside)
    }

    /// No offer of `opamp` may follow at once.
    pub(super) fn told_until(&self, now: Now) -> Option<Duration> {
        let until = self.last_told?.at + latch::MIN_BETWEEN_OFFERS;
        (now.uptime < until).then_some(until)
    }
}
