//! What a session rests on, and what may end it.

use std::sync::Arc;

use opamp_operator_core::{
    fleet::{Agent, LinkId},
    identity::{Bearer, Presented, Proof, Revoked, Verdict},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::hub::{Gone, Hub};

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) presented: Presented,
    pub(super) verdict: Verdict,
    judgement: watch::Receiver<u64>,
    gone: Option<Gone>,
}

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
        }
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
        let trust = hub.trust.borrow().clone()?;
        let vouched = self.verdict.vouched.as_ref();
        let bearer = vouched.map_or(Bearer::Nobody, |it| Bearer::Vouched(Arc::clone(it)));
        match trust.verify(&self.presented, &bearer, hub.clock.now()) {
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
