//! What stands beside the settings for OpAMP: to whom it goes, and when.

use opamp_operator_api::values::ProfileKey;
use opamp_operator_core::{
    Now,
    catalog::Target,
    fleet::{Evidence, LinkId, Proved},
};
use opamp_wire::{AgentCapabilities, proto::ConnectionSettingsOffers};

use crate::{
    agents::{SentBeside, Sim},
    revisions::owner,
    watch::{Law, is, law, wanted},
};

impl Sim {
    /// Laws 1, 2, 5 and 8, of what leaves beside the settings for OpAMP.
    pub(crate) fn told(
        &mut self,
        sent: ConnectionSettingsOffers,
        id: LinkId,
        target: Option<&Target>,
        admin: impl Fn(&ProfileKey) -> bool,
        now: Now,
    ) -> Law {
        let speaker = self.speaker()?;
        let link = self.links.iter().find(|link| link.id == id).unwrap();
        law!(speaker == id, "law 2: told on a link that does not speak");
        law!(
            link.capable.is_some() && !link.shared,
            "law 1: told blindly"
        );
        for said in [link.said, self.watch.capabilities] {
            let can = AgentCapabilities::from(said);
            let metrics = sent.own_metrics.is_none() || can.reports_own_metrics();
            let traces = sent.own_traces.is_none() || can.reports_own_traces();
            law!(metrics && traces, "law 1: told what it cannot use");
        }
        let target = target.ok_or("law 2: told, and no profile applies")?;
        law!(!target.paused, "law 4: told while paused or withdrawn");
        let profile = target.current.profile();
        let shown = link.verdict.recognised.iter().any(|r| {
            let tenants = !admin(profile) && r.profile.namespace == profile.namespace;
            r.profile == *profile || tenants
        });
        let proof = link.verdict.primary == Some(owner()) || shown;
        law!(proof, "law 2: told who does not prove that it may have it");
        let flies = self.watch.in_flight(&self.links, now);
        law!(!flies, "law 5: told while an offer is in flight");
        self.watch.told(now)?;
        let hash = sent.hash.to_vec();
        let what = ConnectionSettingsOffers {
            hash: Vec::new().into(),
            ..sent
        };
        let last = self.sent_beside.iter().rfind(|sent| sent.link == id);
        let twice = last.is_some_and(|last| last.what == what);
        law!(!twice, "law 5: told the same on one link");
        let known = !link.fresh && self.has.as_ref() == Some(&what);
        law!(!known, "law 8: told what it is known to have");
        self.has = self.has.take().filter(|has| *has == what);
        self.sent_beside.push(SentBeside {
            link: id,
            hash,
            what,
        });
        Ok(())
    }

    /// Law 8: what a report proved stays so while all that is said is of what
    /// stands beside it.
    pub(crate) fn left_alone(
        &self,
        id: LinkId,
        before: Option<&Proved>,
        target: Option<&Target>,
    ) -> Law {
        let link = self.links.iter().find(|link| link.id == id).unwrap();
        let runs = target.and_then(|target| {
            let wanted = wanted(target, self.agent.uid())?;
            before.filter(|p| is(p, wanted) || is(p, &target.current))
        });
        let reported = runs.is_some_and(|p| p.evidence == Evidence::Report);
        let silent = link.of_beside && link.presented.marker.is_none() && !link.shared;
        law!(
            !(reported && silent),
            "law 8: it says nothing of its settings"
        );
        Ok(())
    }
}
