//! One of several processes writes for all of them. The others serve their
//! agents by what that one published, and write only of agents that are with
//! them.

use std::{sync::atomic::Ordering, time::Duration};

use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfileStatus};
use opamp_operator_core::{identity::LedgerEntry, offer::Revision, rollout::Rollout};

use super::Controller;

impl Controller {
    /// This process is from now on the one that writes, or is not any more.
    pub(super) fn lead(&mut self, leads: bool) {
        self.hub.leads.store(leads, Ordering::Relaxed);
        if std::mem::replace(&mut self.leads, leads) == leads || !leads {
            return;
        }
        let now = self.hub.clock.now();
        for key in std::mem::take(&mut self.awaiting) {
            self.catalog.retry(&key, now.uptime);
        }
        let all = self.catalog.profiles();
        self.dirty.extend(all.map(|(key, _)| key.clone()));
        self.agents.append(&mut self.untold);
        self.held_changed = true;
    }

    /// Somebody published a revision, perhaps we ourselves: nobody is offered
    /// an older one from now on.
    pub(super) fn published(&mut self, entry: &LedgerEntry) {
        if self.ledger.entries().contains(entry) {
            return;
        }
        let (key, number) = (entry.profile.clone(), entry.number);
        self.ledger.put(entry.clone());
        self.publish_trust();
        if self.storing.contains_key(&key) {
            // What became of that is about to be told.
            return;
        }
        if self.renumber(entry) {
            self.publish_candidates();
            return;
        }
        let now = self.hub.clock.now();
        if self.catalog.supersede(&key, number, now) {
            self.publish_target(&key);
        } else if self.awaiting.contains(&key) {
            self.catalog.retry(&key, now.uptime);
        }
        self.publish_candidates();
    }

    /// A status was written. Whoever leads knows better.
    pub(super) fn hear_status(&mut self, key: &ProfileKey, status: OpAMPConnectionProfileStatus) {
        if !self.leads && self.catalog.set_status(key, status) {
            self.publish_target(key);
        }
    }

    /// How far a revision may go that another process publishes: to everyone
    /// once it was seen to do no harm. That one chooses who is first, unless
    /// nobody is with it.
    pub(super) fn follow(
        &self,
        key: &ProfileKey,
        current: &Revision,
        own: (Rollout, Option<Duration>),
    ) -> (Rollout, Option<Duration>) {
        let status = self.catalog.get(key).map(|state| &state.stored.status);
        let status = status.filter(|status| {
            let number = status.revision.as_ref().map(|revision| revision.number);
            number.and_then(|number| u64::try_from(number).ok()) == Some(current.number())
        });
        let counts = status.and_then(|status| status.agents);
        let told = counts.is_some_and(|counts| counts.up_to_date + counts.departed > 0);
        if counts.is_some_and(|counts| counts.connected == 0) && !told {
            return own;
        }
        let rollout = Rollout {
            number: current.number(),
            opened: own.0.opened || told,
            ..Rollout::default()
        };
        (rollout, None)
    }
}
