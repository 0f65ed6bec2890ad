//! The one procedure that decides whether an offer leaves. Pure; every reason
//! to be silent has a name.

use std::{sync::Arc, time::Duration};

use opamp_wire::AgentCapabilities;

use super::{Agent, Evidence, Link, Transport, latch, link::FullState};
use crate::{
    Now,
    catalog::Target,
    identity::{Recognition, Rights, Trust},
    offer::Revision,
};

/// Why nothing is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No profile applies, or it is not known yet which.
    NoTarget,
    /// The agent does not take `opamp` settings.
    Incapable,
    /// Several instances share the link.
    Shared,
    /// The profile is paused, or an object of its settings was taken away.
    Paused,
    /// The revision is not open to this agent yet, and there is none before it.
    NotOpen,
    /// It runs what it should.
    UpToDate,
    /// It shows a newer revision than we know of.
    Newer,
    /// Another, newer link of this agent gets the offers.
    Ghost,
    /// The revision's certificate has ended: it must not leave any more.
    Expired,
    /// Another instance uses the same instance UID: one of them gets another.
    Disputed,
    /// An offer is on its way.
    InFlight,
    /// This very offer was made on this link.
    OfferedHere,
    /// The last attempts brought no evidence.
    Backoff,
    /// Too many offers whatever their hash.
    BucketEmpty,
    /// Nothing is remembered of this agent: it may still show what it runs.
    Holding,
}

/// What `decide` says.
pub(super) enum Decision {
    Offer(Arc<Revision>, u32),
    /// And when to ask again, if time alone can change it.
    Silent(Silence, Option<Duration>),
}

impl Agent {
    /// What, if anything, should be offered on `link` now?
    pub(super) fn decide(
        &self,
        link: &Link,
        target: Option<&Target>,
        trust: Option<&Trust>,
        hold: Duration,
        now: Now,
    ) -> Decision {
        let silent = |why| Decision::Silent(why, None);
        let later = |why, at| Decision::Silent(why, Some(at));
        let Some(target) = target else {
            return silent(Silence::NoTarget);
        };
        let takes = |said: AgentCapabilities| said.accepts_opamp_connection_settings();
        // What was said on a link that others outranked counts for that link.
        if !link.capabilities.is_some_and(takes) || !takes(self.capabilities) {
            return silent(Silence::Incapable);
        }
        if link.shared {
            return silent(Silence::Shared);
        }
        let open = target.revision_for(self.uid, self.identity(link), self.attributes.as_ref());
        let current = |r: &&Arc<Revision>| r.number() == target.current.number();
        // With a certificate that ended an agent comes for the newest, or waits.
        let lenient = !matches!(link.rights, Rights::Expired(_));
        let Some(revision) = open.filter(|r| lenient || current(r)) else {
            return silent(Silence::NotOpen);
        };
        // Above the bound an agent that lost its settings gets those before;
        // one that has the newest keeps them.
        let good = [revision, &target.current];
        if good.iter().any(|r| self.evidence(link, r).is_some()) {
            return silent(Silence::UpToDate);
        }
        if newer_than(link, revision, trust) {
            return silent(Silence::Newer);
        }
        if target.paused {
            return silent(Silence::Paused);
        }
        if revision
            .credential()
            .not_after
            .is_some_and(|end| end <= now.wall)
        {
            return silent(Silence::Expired);
        }
        let others = || self.links.iter().filter(|other| other.id != link.id);
        let runs = |other: &Link| {
            good.iter()
                .any(|r| other.presented.marker == Some(r.marker()))
        };
        let speaks = self
            .newest_link()
            .is_some_and(|newest| newest.id == link.id);
        let proved = |other: &Link| other.rights.strength() > 0;
        if !speaks || others().any(|other| proved(other) && runs(other)) {
            return silent(Silence::Ghost);
        }
        if self.is_disputed(link) {
            return silent(Silence::Disputed);
        }
        let busy = self.in_flight_until(now).max(self.told_until(now));
        if let Some(until) = busy {
            return later(Silence::InFlight, until);
        }
        let marker = revision.marker();
        let retry = self.attempts.retry(marker);
        // Whatever stood beside them then: that is in the hash too.
        let here = link.offered.contains(&(marker, retry));
        if here && link.transport == Transport::WebSocket {
            return silent(Silence::OfferedHere);
        }
        // Over HTTP the answer that held it may have been lost; whether it was
        // shows after two polls.
        let polled = self.flight.as_ref().filter(|_| here);
        let polled = polled.map_or(Duration::ZERO, |f| {
            f.at + self.polls.interval().saturating_mul(2)
        });
        let not_before = self.attempts.not_before(marker).max(polled);
        if now.uptime < not_before {
            return later(Silence::Backoff, not_before);
        }
        let available = self.bucket.available_at(now.uptime);
        if now.uptime < available {
            return later(Silence::BucketEmpty, available);
        }
        let held_until = link.attached + hold;
        if !self.remembered && link.full_state != FullState::Fresh && now.uptime < held_until {
            return later(Silence::Holding, held_until);
        }
        Decision::Offer(Arc::clone(revision), retry)
    }

    /// Until when the last offer keeps others back.
    pub(super) fn in_flight_until(&self, now: Now) -> Option<Duration> {
        let flight = self.flight.as_ref()?;
        let until = if self.has_landed() {
            flight.at + latch::MIN_BETWEEN_OFFERS
        } else {
            flight.at + latch::SWITCH_DEADLINE
        };
        (now.uptime < until).then_some(until)
    }

    /// What was proved or reported failed has landed, and what went to a link
    /// that ended.
    pub(super) fn has_landed(&self) -> bool {
        self.flight.as_ref().is_none_or(|flight| {
            flight.landed || !self.links.iter().any(|link| link.id == flight.link)
        })
    }

    /// How `link` proves that the agent runs `revision`.
    pub(super) fn evidence(&self, link: &Link, revision: &Revision) -> Option<Evidence> {
        if link.shared {
            return None;
        }
        if let Some(marker) = link.presented.marker {
            // One that runs other settings may share a credential with these,
            // or repeat an old report of them.
            return (marker == revision.marker()).then_some(Evidence::SettingsHeader);
        }
        let names = |r: &Recognition| revision.is_named(&r.profile, r.number);
        let flight = self
            .flight
            .as_ref()
            .filter(|f| names(&f.revision) && f.link < link.id);
        let before = self.proved.as_ref().filter(|p| {
            // By a number that it had before only while nothing was offered in
            // between: other settings may share a credential with these.
            let others = |r: &&Recognition| r.profile == p.profile && r.number > p.number;
            let mut since = self.offers_known().filter(others);
            revision.is_named(&p.profile, p.number)
                && (p.number == revision.number() || since.all(names))
        });
        let proved_by = |kind| before.is_some_and(|p| p.evidence == kind);
        let credential = revision.credential();
        let shows_leaf = credential.leaf.is_some() && link.presented.leaf == credential.leaf;
        if shows_leaf
            && (flight.is_some_and(|f| f.shown_leaf != credential.leaf)
                || proved_by(Evidence::ClientCertificate))
        {
            return Some(Evidence::ClientCertificate);
        }
        let shows_token = credential.authorization.is_some()
            && link.presented.authorization == credential.authorization;
        if shows_token
            && (flight.is_some_and(|f| f.shown_authorization != credential.authorization)
                || proved_by(Evidence::Token))
        {
            return Some(Evidence::Token);
        }
        // A client that reconnects is bare and says it again when it is asked;
        // or it says what became of settings beside those, and nothing of them.
        let of_others = |(_, hash): &(_, Vec<u8>)| revision.is_hash_beside(hash);
        let untold =
            link.full_state == FullState::NotYet || link.reported.as_ref().is_some_and(of_others);
        let untold = untold && proved_by(Evidence::Report);
        (untold || self.applied(link, revision)).then_some(Evidence::Report)
    }

    /// APPLIED, for this very offer, on a link made after it.
    fn applied(&self, link: &Link, revision: &Revision) -> bool {
        use opamp_wire::proto::ConnectionSettingsStatuses::Applied;
        let Some((Applied, hash)) = &link.reported else {
            return false;
        };
        if !self.capabilities.reports_connection_settings_status() {
            return false;
        }
        let on_the_old_link = self.flight.as_ref().is_some_and(|f| f.link >= link.id);
        // Any attempt: the counter may have been lost in a restart.
        !on_the_old_link && revision.is_hash(hash, latch::MAX_RETRY)
    }
}

/// Does the link show a revision of this profile that is newer than what we
/// would offer? Then another replica knows more, or ours went back.
fn newer_than(link: &Link, revision: &Revision, trust: Option<&Trust>) -> bool {
    let shown = link.presented.marker.zip(trust);
    let number = shown.and_then(|(marker, trust)| trust.revision_of(revision.profile(), &marker));
    number.is_some_and(|number| number > revision.number())
}
