//! The laws, derived a second time from what was shown, said and sent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use opamp_operator_api::values::ProfileKey;
use opamp_operator_core::{
    Now,
    catalog::{Bound, Target},
    fleet::{LinkId, Proved, Transport},
    identity::{Fingerprint, Marker, Presented, Recognition, Verdict},
    offer::Revision,
};
use opamp_wire::{AgentCapabilities, InstanceUid, OfferBytes, proto::ConnectionSettingsStatuses};

use crate::{
    common::decode,
    revisions::{content, owner},
    steps::CONTENTS,
};

pub(crate) type Report = (ConnectionSettingsStatuses, Vec<u8>);
pub(crate) type Law = Result<(), String>;

macro_rules! law {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

pub(crate) use law;

/// A link as both its ends saw it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and none excludes another"
)]
pub(crate) struct Seen {
    pub(crate) id: LinkId,
    pub(crate) transport: Transport,
    pub(crate) presented: Presented,
    pub(crate) verdict: Verdict,
    pub(crate) shared: bool,
    /// Of the next message.
    pub(crate) sequence: u64,
    pub(crate) greeted: bool,
    pub(crate) described: bool,
    /// It began with its full state and a new sequence.
    pub(crate) fresh: bool,
    pub(crate) capable: Option<bool>,
    /// The most recent capabilities that are not 0.
    pub(crate) said: u64,
    pub(crate) reported: Option<Report>,
    /// Its last word is of what was sent beside the settings for OpAMP, and
    /// nothing was said of those.
    pub(crate) of_beside: bool,
    pub(crate) polled: Duration,
    /// Polls since the last offer; a long absence counts as many.
    pub(crate) polls: u32,
}

/// An offer that left in this life of the process.
pub(crate) struct Offer {
    pub(crate) at: Duration,
    pub(crate) link: LinkId,
    pub(crate) revision: Arc<Revision>,
    pub(crate) hash: Vec<u8>,
    pub(crate) leaf: Option<Fingerprint>,
    pub(crate) authorization: Option<Fingerprint>,
    /// It came back on a newer link, or said that it failed.
    pub(crate) landed: bool,
    pub(crate) failed: bool,
}

/// Attempts with one marker since the last evidence of it.
#[derive(Default)]
struct Attempts {
    made: usize,
    failed: u32,
    not_before: Duration,
}

/// What was seen of one agent since the process began.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) offers: Vec<Offer>,
    /// When something left beside the settings for OpAMP.
    told: Vec<Duration>,
    attempts: HashMap<Marker, Attempts>,
    /// The most recent that are not 0.
    pub(crate) capabilities: u64,
}

pub(crate) fn wanted(target: &Target, uid: InstanceUid) -> Option<&Arc<Revision>> {
    match target.bound {
        Bound::Nobody => target.previous.as_ref(),
        Bound::One(first) if first != uid => target.previous.as_ref(),
        Bound::One(_) | Bound::Everyone => Some(&target.current),
    }
}

pub(crate) fn is(proved: &Proved, revision: &Revision) -> bool {
    proved.number == revision.number() && proved.profile == *revision.profile()
}

impl Watch {
    /// The hash of the last offer, or of the one before.
    pub(crate) fn hash(&self, back: usize) -> Option<Vec<u8>> {
        self.offers.iter().rev().nth(back).map(|o| o.hash.clone())
    }

    /// The newest link is judged; it speaks for the agent.
    pub(crate) fn came(&mut self, link: &Seen) {
        for offer in &mut self.offers {
            offer.landed |= offer.link < link.id;
        }
    }

    /// A message came.
    pub(crate) fn heard(&mut self, link: &Seen, report: Option<&Report>, now: Now) {
        let Some((ConnectionSettingsStatuses::Failed, hash)) = report else {
            return;
        };
        let new = |o: &&mut Offer| {
            o.hash == *hash && !o.failed && link.presented.marker != Some(o.revision.marker())
        };
        if let Some(offer) = self.offers.last_mut().filter(new) {
            offer.landed = true;
            offer.failed = true;
            let attempts = self.attempts.entry(offer.revision.marker()).or_default();
            let wait = Duration::from_secs(600) * (1 << attempts.failed.min(6));
            let left = link.presented.not_after().map(|end| now.until(end) / 2);
            let latest = left.map_or(Duration::MAX, |left| left.max(Duration::from_secs(60)));
            let wait = wait.min(Duration::from_secs(6 * 3600)).min(latest);
            attempts.not_before = now.uptime + wait;
            attempts.failed += 1;
        }
    }

    /// Is an offer on its way?
    pub(crate) fn in_flight(&self, links: &[Seen], now: Now) -> bool {
        self.offers.last().is_some_and(|o| {
            !o.landed
                && links.iter().any(|link| link.id == o.link)
                && now.uptime < o.at + Duration::from_secs(120)
        })
    }

    pub(crate) fn unlanded(&self) -> bool {
        self.offers.last().is_some_and(|o| !o.landed)
    }

    /// Laws 1, 2, 3, 5 and 8, of an offer that leaves; says which content.
    pub(crate) fn offered(
        &mut self,
        offer: &OfferBytes,
        link: &Seen,
        links: &[Seen],
        target: Option<&Target>,
        (uid, admin): (InstanceUid, &dyn Fn(&ProfileKey) -> bool),
        now: Now,
    ) -> Result<usize, String> {
        let capable = AgentCapabilities::from(self.capabilities);
        law!(
            link.capable.is_some(),
            "law 1: capabilities are unknown on this link"
        );
        law!(
            capable.accepts_opamp_connection_settings(),
            "law 1: incapable"
        );
        law!(!link.shared, "law 2: on a shared link");
        let target = target.ok_or("law 2: no profile applies")?;
        law!(!target.paused, "paused");
        let revision = wanted(target, uid).ok_or("bound: nothing is open to this agent")?;
        let profile = revision.profile();
        let shows = |r: &Recognition| {
            let tenants = !admin(profile) && r.profile.namespace == profile.namespace;
            r.profile == *profile || tenants
        };
        let newest = revision.number() == target.current.number();
        let ended = || newest && link.verdict.expired.iter().any(|r| r.profile == *profile);
        let proof = link.verdict.primary == Some(owner())
            || link.verdict.recognised.iter().any(shows)
            || ended();
        law!(
            proof,
            "law 2: the link does not prove that it may have this"
        );
        let end = revision.credential().not_after;
        law!(end.is_none_or(|end| now.wall < end), "law 4: it has ended");
        let which = (0..CONTENTS).find(|i| content(*i).draft.marker == revision.marker());
        let which = which.ok_or("law 3: unknown content")?;
        law!(
            content(which).complete(offer),
            "law 3: incomplete, or another revision"
        );
        for other in links {
            let shows = other.presented.marker;
            let has = shows == Some(revision.marker()) || shows == Some(target.current.marker());
            law!(!has || other.shared, "law 8: it shows what it should have");
        }
        self.calm(revision, offer, link, links, now)?;
        Ok(which)
    }

    /// Law 5.
    fn calm(
        &mut self,
        revision: &Arc<Revision>,
        offer: &OfferBytes,
        link: &Seen,
        links: &[Seen],
        now: Now,
    ) -> Law {
        let hash = decode(offer.clone()).hash.to_vec();
        let at = now.uptime;
        let here = |o: &&Offer| o.link == link.id && o.hash == hash;
        if let Some(before) = self.offers.iter().rev().find(here) {
            let polls = link.transport == Transport::Http;
            law!(polls, "law 5: this hash was offered on this link before");
            let waited = at >= before.at + Duration::from_secs(60) && link.polls >= 2;
            law!(
                waited,
                "law 5: repeated over HTTP before 60 s and two polls"
            );
        }
        let failed = self.offers.iter().any(|o| o.failed && o.hash == hash);
        law!(!failed, "law 5: this hash failed before");
        self.apart(now)?;
        law!(
            !self.in_flight(links, now),
            "law 5: another offer is in flight"
        );
        const BACKOFF: [u64; 5] = [60, 300, 1_800, 7_200, 21_600];
        let attempts = self.attempts.entry(revision.marker()).or_default();
        law!(at >= attempts.not_before, "law 5: no backoff");
        attempts.not_before = at + Duration::from_secs(BACKOFF[attempts.made.min(4)]);
        attempts.made += 1;
        self.offers.push(Offer {
            at,
            link: link.id,
            revision: Arc::clone(revision),
            hash,
            leaf: link.presented.leaf,
            authorization: link.presented.authorization,
            landed: false,
            failed: false,
        });
        self.bucket(now)
    }

    /// Law 5, of settings for OpAMP.
    fn apart(&self, now: Now) -> Law {
        let offered = self.offers.last().map(|offer| offer.at);
        for last in offered.iter().chain(self.told.last()) {
            let apart = now.uptime >= *last + Duration::from_secs(15);
            law!(apart, "law 5: less than 15 s after the last offer");
        }
        Ok(())
    }

    fn bucket(&self, now: Now) -> Law {
        let offers = self.offers.iter().map(|offer| offer.at);
        let mut all: Vec<_> = offers.chain(self.told.iter().copied()).collect();
        all.sort_unstable();
        for (i, first) in all.iter().enumerate() {
            let earned = now.uptime.saturating_sub(*first).as_secs() / 600;
            let count = (all.len() - i) as u64;
            law!(count <= 10 + earned, "law 5: the bucket is empty");
        }
        Ok(())
    }

    /// Something left beside the settings for OpAMP: at once after those, if
    /// the agent came back with them.
    pub(crate) fn told(&mut self, now: Now) -> Law {
        let last = self.told.last();
        let apart = last.is_none_or(|last| now.uptime >= *last + Duration::from_secs(15));
        law!(apart, "law 5: told twice in 15 s");
        self.told.push(now.uptime);
        self.bucket(now)
    }

    pub(crate) fn last_is_external(&self) -> bool {
        let last = self.offers.last();
        last.is_some_and(|offer| offer.revision.is_external())
    }

    /// It had departed: what it was offered then did its work.
    pub(crate) fn returned(&mut self) {
        if let Some(offer) = self.offers.last_mut() {
            offer.landed = true;
            self.attempts.remove(&offer.revision.marker());
        }
    }

    /// Evidence was announced: attempts begin anew.
    pub(crate) fn proved(&mut self, marker: Marker) {
        self.attempts.remove(&marker);
    }
}
