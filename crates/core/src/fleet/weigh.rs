//! From what the newest link shows to the agent's state (law 6).

use std::sync::Arc;

use super::{Agent, Evidence, LinkId, Proved, SettingsState, Step, Transition, latch};
use crate::{Now, catalog::Target, identity::Recognition, offer::Revision};

impl Agent {
    /// Weighs what the newest link shows against what the agent should have
    /// (law 6). Older links are ghosts: two that take turns would prove and take
    /// back the same settings for ever.
    pub(super) fn weigh(&mut self, id: LinkId, target: Option<&Target>, now: Now, step: &mut Step) {
        let Some(target) = target else { return };
        let Some(link) = self.newest_link().filter(|link| link.id == id) else {
            return;
        };
        let link_marker = link.presented.marker;
        let open = target.revision_for(self.uid, self.identity(link), self.attributes.as_ref());
        let revisions = [Some(&target.current), target.previous.as_ref()];
        let shown = revisions.into_iter().flatten().find_map(|revision| {
            self.evidence(link, revision)
                .map(|evidence| (revision, evidence))
        });
        let came_back = self.flight.as_ref().is_some_and(|f| {
            !f.landed && f.link < id && shown.is_none_or(|(revision, _)| !is(revision, &f.revision))
        });
        if came_back {
            // Back, but without what it was offered.
            self.land(SettingsState::Pending, now);
            step.transitions.push(Transition::CameWithout);
        }
        let Some((revision, evidence)) = shown else {
            // A new link without the settings outranks what was known, unless
            // they are older than what we still hold to compare it with.
            let judged = |p: &Proved| {
                let marked = p.evidence == Evidence::SettingsHeader;
                let named = |r: &Arc<Revision>| r.is_named(&p.profile, p.number);
                (marked && link_marker.is_none()) || revisions.into_iter().flatten().any(named)
            };
            if self.proved.as_ref().is_some_and(judged) {
                self.proved = None;
                step.transitions.push(Transition::LostSettings);
            }
            // An offer without an answer stays Offered, also past its time.
            let open = self.flight.as_ref().is_some_and(|f| !f.landed);
            let open = open && self.state == SettingsState::Offered;
            if !open && self.state != SettingsState::Failed {
                self.enter(SettingsState::Pending, now);
            }
            return;
        };
        let this = Recognition {
            profile: revision.profile().clone(),
            number: revision.number(),
        };
        // With settings for the server of another it should not be here.
        let runs = if revision.is_external() {
            SettingsState::Pending
        } else {
            SettingsState::Applied
        };
        let before = self.proved.as_ref();
        let ran = before.is_some_and(|p| is_proved(p, &this));
        if self
            .flight
            .as_ref()
            .is_some_and(|f| is(revision, &f.revision))
        {
            if !ran && !revision.is_external() {
                let rotated = before.filter(|p| p.profile == this.profile);
                let changed = rotated.and_then(|_| revision.changed());
                let after = changed.map(|at| now.uptime.saturating_sub(at));
                step.transitions.push(Transition::Taken { after });
            }
            self.land(runs, now);
            // Whatever it said of them before, it runs them (law 6).
            self.enter(runs, now);
        }
        let known = |p: &Proved| is_proved(p, &this);
        if !self
            .proved
            .as_ref()
            .is_some_and(|p| known(p) && p.evidence == evidence)
        {
            let proved = Proved {
                profile: this.profile.clone(),
                number: this.number,
                evidence,
                at: now.wall,
            };
            self.proved = Some(proved.clone());
            step.transitions
                .push(Transition::Proved(proved, revision.change()));
            self.attempts.proved(revision.marker());
        }
        let wanted = [Some(&target.current), open];
        let wanted = wanted.into_iter().flatten().any(|r| is(r, &this));
        // What it runs, it was given; a record may have been lost.
        self.note_offered(this);
        if self.expects_evidence(now) {
            return;
        }
        if wanted {
            self.enter(runs, now);
        } else if self.state != SettingsState::Failed {
            self.enter(SettingsState::Pending, now);
        }
    }

    /// May the link that was offered still act on it?
    fn expects_evidence(&self, now: Now) -> bool {
        self.flight.as_ref().is_some_and(|f| {
            !f.landed && now.uptime < f.at + latch::SWITCH_DEADLINE && self.link(f.link).is_some()
        })
    }

    /// The last offer is no longer on its way.
    fn land(&mut self, state: SettingsState, now: Now) {
        if let Some(flight) = &mut self.flight
            && !flight.landed
        {
            flight.landed = true;
            self.enter(state, now);
        }
    }
}

fn is(revision: &Revision, named: &Recognition) -> bool {
    revision.is_named(&named.profile, named.number)
}

/// Is it this revision, by the number that it has now?
fn is_proved(proved: &Proved, this: &Recognition) -> bool {
    proved.number == this.number && proved.profile == this.profile
}
