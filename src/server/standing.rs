//! What a session rests on, and what may end it.

use std::sync::Arc;

use jiff::SignedDuration;
use opamp_operator_core::{
    Now,
    fleet::{Agent, LinkId},
    identity::{Bearer, Presented, Proof, Revoked, Verdict, Voucher},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::exchange::Denied;

use crate::hub::{Gone, Hub};

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) presented: Presented,
    pub(super) verdict: Verdict,
    judgement: watch::Receiver<u64>,
    gone: Option<Gone>,
    /// It was judged again since.
    again: bool,
}

/// A token may be shown when it has just ended, since clocks differ.
const JUST_ENDED: SignedDuration = SignedDuration::from_mins(2);

impl Standing {
    /// `judgement` must have been subscribed to before the verdict.
    pub(super) fn new(
        presented: Presented,
        verdict: Verdict,
        judgement: watch::Receiver<u64>,
        gone: Option<Gone>,
    ) -> Self {
        Self {
            presented,
            verdict,
            judgement,
            gone,
            again: false,
        }
    }

    /// What is proved for an instance UID that is new on the connection. What
    /// has left its object, or ended, keeps whoever it brought in and admits
    /// nobody else.
    pub(super) fn for_newcomer(&self, hub: &Hub) -> Result<Verdict, Denied> {
        let now = hub.clock.now();
        let over = self.verdict.until.is_some_and(|until| until <= now.wall);
        if !over && !self.again && !self.judgement.has_changed().unwrap_or_default() {
            return Ok(self.verdict.clone());
        }
        let Some(trust) = hub.trust.borrow().clone() else {
            return Err(Denied::NotYet);
        };
        match trust.verify(&self.presented, &self.bearer(), now) {
            Proof::Proved(verdict) if ended(&verdict, now) => Err(Denied::Retired),
            Proof::Proved(verdict) => Ok(verdict),
            Proof::Refused => Err(Denied::Retired),
            Proof::Revoked(why) => Err(Denied::Revoked(why)),
            Proof::NotYet => Err(Denied::NotYet),
        }
    }

    /// What was vouched for, not the token.
    fn bearer(&self) -> Bearer {
        let vouched = self.verdict.vouched.as_ref();
        vouched.map_or(Bearer::Nobody, |it| Bearer::Vouched(Arc::clone(it)))
    }

    /// Waits until it is to be judged again. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let gone = async {
            let told = match &mut self.gone {
                Some(gone) => gone.changed().await.is_ok(),
                None => false,
            };
            if !told {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            changed = self.judgement.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = gone => {}
        }
    }

    /// Judges again: why the session must end, or what it may be given from now
    /// on.
    pub(super) fn judge(
        &mut self,
        hub: &Hub,
        speaks_for: Option<(&Mutex<Agent>, LinkId)>,
    ) -> Option<Revoked> {
        if self.gone.as_ref().is_some_and(|gone| *gone.borrow()) {
            return Some(Revoked::Bearer);
        }
        self.again = true;
        let trust = hub.trust.borrow().clone()?;
        match trust.verify(&self.presented, &self.bearer(), hub.clock.now()) {
            Proof::Revoked(why) => return Some(why),
            Proof::Proved(verdict) => {
                if let Some((agent, id)) = speaks_for {
                    let mut agent = agent.lock();
                    let verdict = verdict.for_uid(agent.uid());
                    agent.judge_again(id, verdict);
                }
            }
            Proof::Refused => {
                if let Some((agent, id)) = speaks_for {
                    let mut agent = agent.lock();
                    let transition = agent.cannot_return(id);
                    hub.roster.note(&agent, transition.as_slice());
                }
            }
            Proof::NotYet => {}
        }
        let (agent, _) = speaks_for?;
        revoked(hub, &agent.lock(), &self.presented, &self.verdict)
    }
}

/// Whether it rests on a token that has ended and that nobody is asked about
/// again: those of the Kubernetes API are reviewed.
fn ended(verdict: &Verdict, now: Now) -> bool {
    verdict.vouched.as_ref().is_some_and(|vouched| {
        let end = vouched
            .expires
            .filter(|_| matches!(vouched.by, Voucher::Key(_)));
        end.is_some_and(|end| now.wall.duration_since(end) > JUST_ENDED)
    })
}

/// Why nobody may speak for this agent by what was shown.
pub(super) fn revoked(
    hub: &Hub,
    agent: &Agent,
    presented: &Presented,
    verdict: &Verdict,
) -> Option<Revoked> {
    let trust = hub.trust.borrow().clone()?;
    trust.revoked(Some(agent.uid()), agent.binding(), presented, verdict)
}
