//! Law 6 and the states, derived a second time.

use std::time::Duration;

use opamp_operator_core::{
    Now,
    catalog::Target,
    fleet::{AgentRecord, Evidence, Proved, SettingsState},
    offer::Revision,
};
use opamp_wire::{AgentCapabilities, proto::ConnectionSettingsStatuses::Applied};

use crate::{
    revisions::credentials,
    watch::{Law, Offer, Seen, Watch, is, law, wanted},
};

impl Watch {
    /// Law 6: does `link` give this kind of evidence of `revision`?
    fn evidence(
        &self,
        kind: Evidence,
        link: &Seen,
        revision: &Revision,
        before: Option<&Proved>,
    ) -> bool {
        let (leaf, authorization) = credentials(revision);
        // The marker outranks everything, also that of other settings.
        if kind != Evidence::SettingsHeader && link.presented.marker.is_some() {
            return false;
        }
        let stays = before.is_some_and(|p| is(p, revision) && p.evidence == kind);
        let earlier = |changed: &dyn Fn(&Offer) -> bool| {
            let same = |o: &Offer| {
                o.revision.number() == revision.number()
                    && o.revision.profile() == revision.profile()
            };
            stays
                || self
                    .offers
                    .iter()
                    .any(|o| same(o) && o.link < link.id && changed(o))
        };
        match kind {
            Evidence::SettingsHeader => link.presented.marker == Some(revision.marker()),
            Evidence::ClientCertificate => {
                link.presented.leaf == leaf && earlier(&|o| o.leaf != leaf)
            }
            Evidence::Token => {
                link.presented.authorization == authorization
                    && earlier(&|o| o.authorization != authorization)
            }
            Evidence::None => false,
            Evidence::Report if stays && (!link.described || link.of_beside) => true,
            Evidence::Report => {
                let Some((Applied, hash)) = &link.reported else {
                    return false;
                };
                // Whatever stood beside it then.
                let named = |o: &Offer| o.revision.marker() == revision.marker();
                let ours = |hash: &Vec<u8>| {
                    let offered = self.offers.iter().find(|o| o.hash == *hash);
                    offered.map_or_else(
                        || (0..64).any(|retry| revision.hash(retry).as_bytes()[..] == hash[..]),
                        named,
                    )
                };
                let reports =
                    AgentCapabilities::from(self.capabilities).reports_connection_settings_status();
                let late = self
                    .offers
                    .iter()
                    .any(|o| o.hash == *hash && o.link >= link.id);
                reports && !late && ours(hash)
            }
        }
    }

    /// What the record says after the newest link was weighed.
    pub(crate) fn settled(
        &self,
        before: Option<&Proved>,
        record: &AgentRecord,
        link: &Seen,
        links: &[Seen],
        target: &Target,
        now: Now,
    ) -> Law {
        let state = record.state;
        let revisions = || {
            [Some(&target.current), target.previous.as_ref()]
                .into_iter()
                .flatten()
        };
        let runs = record.proved.as_ref();
        for revision in revisions() {
            if let Some(proved) = runs.filter(|p| is(p, revision)) {
                let justified =
                    !link.shared && self.evidence(proved.evidence, link, revision, before);
                law!(
                    justified,
                    "law 6: counts as updated without evidence: {proved:?}"
                );
            }
        }
        law!(
            runs == before || runs.is_none_or(|p| revisions().any(|r| is(p, r))),
            "law 6: proves what was not weighed"
        );
        let wanted = wanted(target, record.uid);
        let good = [Some(&target.current), wanted].into_iter().flatten();
        let mut good = good.filter(|_| !link.shared);
        let shows = good.find(|r| link.presented.marker == Some(r.marker()));
        if let Some(shown) = shows {
            law!(
                runs.is_some_and(|p| is(p, shown)),
                "law 6: the marker proves nothing"
            );
            // With settings for the server of another it should not be here.
            let due = if shown.is_external() {
                SettingsState::Pending
            } else {
                SettingsState::Applied
            };
            let right = state == due || self.in_flight(links, now);
            law!(right, "law 6: shows the marker, and is {state:?}");
        }
        match state {
            SettingsState::Applied => {
                let good = |p: &Proved| is(p, &target.current) || wanted.is_some_and(|w| is(p, w));
                law!(
                    runs.is_some_and(good),
                    "law 6: Applied without what it should have"
                );
            }
            SettingsState::Offered => {
                law!(
                    self.unlanded(),
                    "state: Offered, and no offer is on its way"
                );
            }
            SettingsState::Switching
            | SettingsState::Lost
            | SettingsState::Departed
            | SettingsState::AwaitingProof => {
                return Err(format!("state: {state:?}, and it is here"));
            }
            SettingsState::Pending | SettingsState::Failed => {}
        }
        Ok(())
    }

    /// What the record says after an older link was heard: nothing new, but for
    /// a failure that it reported.
    pub(crate) fn ghost(before: &AgentRecord, after: &AgentRecord) -> Law {
        let state = after.state == before.state || after.state == SettingsState::Failed;
        let same = before.proved == after.proved && before.profile == after.profile;
        law!(state && same, "law 6: an older link speaks for the agent");
        Ok(())
    }

    /// What the record says of an agent without links.
    pub(crate) fn away(&self, record: &AgentRecord, until: Option<Duration>) -> Law {
        let expected = match record.state {
            SettingsState::Switching => until.is_some(),
            SettingsState::Lost => !(self.unlanded() && self.last_is_external()),
            SettingsState::Departed => until.is_none(),
            SettingsState::Offered => false,
            _ => !self.unlanded(),
        };
        law!(
            expected,
            "state: {:?}, and it is away; asks again {until:?}",
            record.state
        );
        Ok(())
    }
}
