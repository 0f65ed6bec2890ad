//! Observation → draft → ledger → hub. Nothing is published before its ledger
//! entry is stored; nobody waits for the entry of another profile.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use opamp_operator_api::{
    ConditionType, ProfileKey, Reason,
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    Now,
    catalog::{ProfileState, Settled, Target},
    identity::LedgerEntry,
    offer::{Change, Context, Draft, Refusal, Revision},
    rollout::{Rollout, plan},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::field::display;

use super::Controller;
use crate::{
    backend::{Report, StoreError, Ticket},
    hub::{Unknown, What},
};

/// How long storing a ledger entry may take before it is tried again: longer
/// than a backend takes to give up.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(60);
/// When it is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(5);

/// Settings whose ledger entry is on its way.
pub(super) struct Storing {
    settings: Settings,
    since: Timestamp,
    ticket: Ticket,
}

enum Settings {
    /// They come into force with it, and were made for this.
    New(Box<Draft>, Arc<OpAMPConnectionProfileSpec>, Option<Change>),
    /// They are in force, under a number that is not the newest.
    InForce,
}

/// What became of a ledger entry. The ticket says of which: a profile may be
/// deleted and made anew before the answer comes.
pub(super) type Stored = (ProfileKey, Ticket, Result<LedgerEntry, StoreError>);

impl Controller {
    pub(super) async fn publish(&mut self) {
        let now = self.hub.clock.now();
        let due = self.catalog.due(now);
        for key in &due {
            let context = Context {
                advertised_url: &self.setup.advertised_url,
                path: &self.setup.path,
                serving: self.serving.as_ref(),
                trust: &self.trust,
                keys: &self.keys,
            };
            let began = self.hub.clock.now().wall;
            let before = self.catalog.get(key).map(|state| state.refusal.clone());
            match self.catalog.settle(key, &context, now) {
                Settled::Gone => self.forget_profile(key),
                Settled::Unchanged => self.log_refusal(key, before.flatten().as_ref()),
                Settled::Retargeted => self.publish_target(key),
                Settled::Draft(draft, spec) => self.record(key, *draft, spec, began).await,
            }
            if self.catalog.withdraw(key) {
                self.publish_target(key);
            }
            if !self.catalog.get(key).is_some_and(ProfileState::awaits) {
                // Nothing waits for the ledger any more.
                self.unstored.remove(key);
                self.number_anew(key).await;
            }
            self.dirty.insert(key.clone());
        }
        if !due.is_empty() {
            self.publish_candidates();
            // Of settings that were in force before, nothing needs to be known.
            self.want();
        }
        let planned = self.replan.iter().filter(|(_, at)| **at <= now.uptime);
        let planned: Vec<_> = planned.map(|(key, _)| key.clone()).collect();
        self.dirty.extend(planned);
    }

    fn forget_profile(&mut self, key: &ProfileKey) {
        self.hub.book.publish_target(key, None);
        self.hub.statuses.remove(key);
        self.rollouts.remove(key);
        self.replan.remove(key);
        self.failing.retain(|(of, _), _| of != key);
        self.taken.retain(|(of, _), _| of != key);
        self.storing.remove(key);
        self.unstored.remove(key);
        self.awaiting.remove(key);
        self.want();
    }

    /// Numbers a draft and has its ledger entry stored, unless the ledger knows
    /// these settings as the newest.
    async fn record(
        &mut self,
        key: &ProfileKey,
        draft: Draft,
        spec: Arc<OpAMPConnectionProfileSpec>,
        began: Timestamp,
    ) {
        let now = self.hub.clock.now();
        if let Some(remedy) = self.key_lost.clone() {
            self.refuse(key, Reason::HashKeyLost, remedy);
            return;
        }
        let newest = self.ledger.newest(key);
        let known = newest
            .filter(|entry| entry.marker == draft.marker && entry.served_by == draft.served_by);
        let state = self.catalog.get(key);
        let change = state.and_then(ProfileState::awaited_change);
        if let Some((number, published)) = known.map(|entry| (entry.number, entry.published)) {
            // What an earlier process published, it saw the change of.
            let ours = state.is_some_and(|state| state.current.is_some());
            let ours = self.awaiting.remove(key) || ours;
            let change = change.filter(|_| ours);
            self.hub.trail.tell(change, key, || What::Resolved(began));
            self.adopt(key, draft, spec, (number, published), change);
            return;
        }
        if self.storing.contains_key(key) {
            self.catalog.retry(key, now.uptime + LEDGER_RETRY);
            return;
        }
        if !self.leads {
            // They come into force here once they are published.
            self.awaiting.insert(key.clone());
            return;
        }
        let number = newest.map_or(1, |entry| entry.number + 1);
        if let Some(message) = self.unstored.get(key).cloned() {
            // It stays said until it is mended.
            self.refuse(key, Reason::LedgerUnavailable, message);
        }
        tracing::info!(change = change.map(|change| display(change.id)), profile = %key, revision = number, marker = draft.marker.short(), "revision drafted");
        self.hub.trail.tell(change, key, || What::Resolved(began));
        let entry = draft.ledger_entry(number, now.wall);
        self.store(entry, Settings::New(Box::new(draft), spec, change))
            .await;
    }

    /// What is in force has the newest number: an edit may have been taken back,
    /// or refused, while its entry was being stored. Else the next process would
    /// number these settings anew, and nobody knew why.
    async fn number_anew(&mut self, key: &ProfileKey) {
        if !self.leads || self.key_lost.is_some() || self.storing.contains_key(key) {
            return;
        }
        let Some(state) = self.catalog.get(key).filter(|state| !state.superseded) else {
            return;
        };
        let judged = state.resolved_generation == Some(state.stored.generation);
        let newest = self.ledger.newest(key);
        let Some((current, newest)) = state.current.as_ref().filter(|_| judged).zip(newest) else {
            return;
        };
        let wall = self.hub.clock.now().wall;
        let entry = current.ledger_entry(newest.number + 1, wall);
        if newest.number > current.number() && !entry.is_of_same(newest) {
            self.store(entry, Settings::InForce).await;
        }
    }

    async fn store(&mut self, entry: LedgerEntry, settings: Settings) {
        self.next_ticket += 1;
        let (key, ticket) = (entry.profile.clone(), self.next_ticket);
        let storing = Storing {
            settings,
            since: self.hub.clock.now().wall,
            ticket,
        };
        self.storing.insert(key.clone(), storing);
        let (done, stored) = oneshot::channel();
        self.send(Report::Ledger(Box::new(entry), done)).await;
        let results = self.stored.0.clone();
        tokio::spawn(async move {
            let stored = match timeout(LEDGER_TIMEOUT, stored).await {
                Ok(Ok(stored)) => stored,
                _ => Err(StoreError::Failed("no answer in time".into())),
            };
            // Fails only when the controller is gone.
            let _ = results.send((key, ticket, stored)).await;
        });
    }

    /// Goes on with a draft whose entry is stored. If it is not, the last
    /// revision stays, a condition says why, and all is tried again.
    pub(super) fn stored(&mut self, (key, ticket, stored): Stored) {
        let now = self.hub.clock.now();
        if self.storing.get(&key).is_some_and(|s| s.ticket != ticket) {
            // Of a profile that was deleted since, and made anew: the answer for
            // that one is yet to come.
            let known = match stored {
                Ok(entry) => Some(entry),
                Err(StoreError::Taken(entry)) => Some(*entry),
                Err(StoreError::Failed(_)) => None,
            };
            if let Some(entry) = known {
                self.ledger.put(entry);
                self.publish_trust();
            }
            return;
        }
        let storing = self.storing.remove(&key);
        let since = storing.as_ref().map(|storing| storing.since);
        let storing = storing.map(|storing| storing.settings);
        self.unstored.remove(&key);
        // The edit may have been taken back, or refused since.
        let state = self.catalog.get(&key);
        let is_meant = matches!(&storing, Some(Settings::New(draft, spec, _))
            if state.is_some_and(|state| state.awaits_this(draft, spec)));
        match stored {
            Ok(entry) => {
                let (number, published) = (entry.number, entry.published);
                self.ledger.put(entry.clone());
                match storing {
                    Some(Settings::New(draft, spec, change)) if is_meant => {
                        let since = since.unwrap_or(published);
                        self.hub.trail.tell(change, &key, || What::Stored(since));
                        self.adopt(&key, *draft, spec, (number, published), change);
                    }
                    Some(Settings::InForce) => {
                        self.renumber(&entry);
                        self.judge_awaited(&key);
                    }
                    _ => self.judge_awaited(&key),
                }
            }
            Err(StoreError::Taken(entry)) => {
                tracing::warn!(profile = %key, revision = entry.number, "this revision was numbered by somebody else: is there a second operator?");
                self.ledger.put(*entry);
                self.publish_trust();
                self.catalog.retry(&key, now.uptime);
            }
            Err(StoreError::Failed(_)) if !self.leads => {
                self.awaiting.insert(key.clone());
                self.catalog.retry(&key, now.uptime);
            }
            Err(StoreError::Failed(error)) if matches!(storing, Some(Settings::InForce)) => {
                tracing::warn!(profile = %key, error, "the settings in force have no newest number yet");
                self.catalog.retry(&key, now.uptime + LEDGER_RETRY);
            }
            // Whatever it was is not asked for any more.
            Err(StoreError::Failed(error)) if !is_meant => {
                tracing::warn!(profile = %key, error, "a ledger entry that nobody waits for cannot be written");
                self.judge_awaited(&key);
            }
            Err(StoreError::Failed(error)) => {
                let message = format!(
                    "the ledger cannot be written ({error}): new settings wait until it can"
                );
                self.unstored.insert(key.clone(), message.clone());
                self.refuse(&key, Reason::LedgerUnavailable, message);
                self.catalog.retry(&key, now.uptime + LEDGER_RETRY);
            }
        }
        self.dirty.insert(key);
    }

    /// Settings that were judged while others were being stored have their turn;
    /// or those in force have, if an edit was taken back. One that is not judged
    /// yet is about to be.
    fn judge_awaited(&mut self, key: &ProfileKey) {
        let judged = |state: &ProfileState| {
            state.awaits() || state.resolved_generation == Some(state.stored.generation)
        };
        if self.catalog.get(key).is_some_and(judged) {
            self.catalog.retry(key, self.hub.clock.now().uptime);
        }
    }

    /// Gives what is in force the number of this entry, if it is of the same
    /// settings: whether it is. What was seen of them counts on.
    pub(super) fn renumber(&mut self, entry: &LedgerEntry) -> bool {
        let key = &entry.profile;
        let current = self
            .catalog
            .get(key)
            .and_then(|state| state.current.clone());
        let same = |current: &Arc<Revision>| {
            let known = current.ledger_entry(entry.number, entry.published);
            current.number() < entry.number && known.is_of_same(entry)
        };
        if !current.as_ref().is_some_and(same) {
            return false;
        }
        tracing::info!(profile = %key, revision = entry.number, "the settings in force have a new number");
        let also = self.ledger.numbers_of(entry);
        let catalog = &mut self.catalog;
        catalog.renumber(key, entry.number, also, entry.published);
        catalog.retry(key, self.hub.clock.now().uptime);
        if let Some(rollout) = self.rollouts.get_mut(key) {
            rollout.number = entry.number;
        }
        self.publish_trust();
        self.publish_target(key);
        self.dirty.insert(key.clone());
        true
    }

    fn refuse(&mut self, key: &ProfileKey, reason: Reason, message: String) {
        let refusal = Refusal {
            condition: ConditionType::Accepted,
            reason,
            message,
        };
        let before = self.catalog.get(key).and_then(|s| s.refusal.clone());
        self.catalog.refuse(key, refusal);
        self.log_refusal(key, before.as_ref());
    }

    /// Says why what a change would make does not come into force.
    fn log_refusal(&self, key: &ProfileKey, before: Option<&Refusal>) {
        let state = self.catalog.get(key);
        let Some((state, refusal)) = state.and_then(|s| Some((s, s.refusal.as_ref()?))) else {
            return;
        };
        if before != Some(refusal) {
            let change = state.change().map(|change| display(change.id));
            let (reason, message) = (refusal.reason.as_str(), &refusal.message);
            tracing::warn!(change, profile = %key, reason, message, "new settings held back");
            let trail = &self.hub.trail;
            trail.tell(state.change(), key, || What::Refused(refusal.reason));
        }
    }

    /// Puts a revision in force.
    fn adopt(
        &mut self,
        key: &ProfileKey,
        draft: Draft,
        spec: Arc<OpAMPConnectionProfileSpec>,
        (number, published): (u64, Timestamp),
        change: Option<Change>,
    ) {
        tracing::info!(change = change.map(|change| display(change.id)), profile = %key, revision = number, marker = draft.marker.short(), endpoint = %draft.trust.endpoint, "revision in force");
        let entry = draft.ledger_entry(number, published);
        let before = self.catalog.get(key).and_then(|s| s.current.as_ref());
        let same = before.is_some_and(|b| b.ledger_entry(number, published).is_of_same(&entry));
        let mut opened = false;
        if let Some(rollout) = self.rollouts.get_mut(key) {
            if same {
                // What was seen of these settings counts on.
                rollout.number = number;
            } else {
                opened = rollout.opened;
            }
        }
        let also = self.ledger.numbers_of(&entry);
        let revision = Arc::new(
            Revision::new(draft, number)
                .known_as(also)
                .caused_by(change),
        );
        let marker = revision.marker();
        self.catalog.adopt(revision, spec, published, opened);
        if let Some(cause) = self.catalog.get(key).map(|state| state.cause) {
            let trail = &self.hub.trail;
            trail.tell(change, key, || What::InForce {
                number,
                marker: marker.short(),
                cause,
            });
        }
        let over = self.prune();
        // Its credentials are recognised before anybody can hold them.
        self.publish_trust();
        self.publish_target(key);
        self.publish_candidates();
        self.want();
        if self.leads
            && !over.is_empty()
            && let Err(error) = self.port.reports.try_send(Report::Forget(over))
        {
            // They are found again after the next start.
            tracing::debug!(%error, "old ledger entries stay for now");
        }
    }

    /// What is in force stays, and what may be: nobody knows it before a profile
    /// is judged.
    fn prune(&mut self) -> Vec<LedgerEntry> {
        let catalog = &self.catalog;
        let in_force = |entry: &LedgerEntry| {
            catalog.get(&entry.profile).is_some_and(|state| {
                let mut offered = state.current.iter().chain(&state.previous);
                state.current.is_none() || offered.any(|r| r.number() == entry.number)
            })
        };
        self.ledger.prune(self.hub.clock.now().wall, in_force)
    }

    /// Tells agents which profiles they may choose from.
    pub(super) fn publish_candidates(&self) {
        if !self.synced() {
            return;
        }
        let published = |key: &ProfileKey| self.ledger.newest(key).is_some();
        let admin = &self.setup.settings.admin_namespaces;
        let unknown = Unknown {
            namespaces: self.unlisted.clone(),
            admin: !self.unlisted.is_disjoint(admin),
        };
        let all = self.catalog.candidates(published);
        self.hub.book.publish_candidates(all, unknown);
    }

    /// Plans how far the revision may go, and tells the agents.
    pub(super) fn publish_target(&mut self, key: &ProfileKey) {
        let now = self.hub.clock.now();
        let Some(state) = self.catalog.get(key) else {
            return;
        };
        let Some((current, spec)) = state.current.clone().zip(state.in_force.clone()) else {
            return;
        };
        let agents = self.hub.roster.records(key);
        let before = self.rollouts.get(key).cloned();
        let before = before.unwrap_or_else(|| left_off(&state.stored.status, &current, now));
        let (rollout, again) = plan(
            &before,
            &current,
            &agents,
            self.setup.first_agent_timeout,
            now,
        );
        let (rollout, again) = if self.leads {
            (rollout, again)
        } else {
            self.follow(key, &current, (rollout, again))
        };
        match again {
            Some(at) => self.replan.insert(key.clone(), at),
            None => self.replan.remove(key),
        };
        if rollout.halted && !before.halted {
            let change = current.change().map(|change| display(change.id));
            tracing::warn!(change, profile = %key, revision = current.number(), "halted: the first agent brought no evidence in time");
        }
        let newest = state.spec().unwrap_or(&spec);
        let target = Target {
            current,
            previous: state.previous.clone(),
            bound: rollout.bound(),
            paused: newest.paused || state.withdrawn.is_some() || state.superseded,
        };
        self.rollouts.insert(key.clone(), rollout);
        self.hub.book.publish_target(key, Some(target));
    }

    pub(super) async fn send(&self, report: Report) {
        // Fails only when the backend is gone, which ends the process.
        let _ = self.port.reports.send(report).await;
    }
}

/// Where an earlier process left the rollout of a revision, as its status says.
fn left_off(status: &OpAMPConnectionProfileStatus, current: &Revision, now: Now) -> Rollout {
    let number = status.revision.as_ref().map(|revision| revision.number);
    let same = number.and_then(|number| u64::try_from(number).ok()) == Some(current.number());
    let progressing = ConditionType::Progressing.as_str();
    let mut conditions = status.conditions.iter();
    let progressing = conditions.find(|condition| condition.type_ == progressing);
    match progressing {
        Some(condition) if same && condition.reason == Reason::Halted.as_str() => {
            Rollout::halted(current.number(), now)
        }
        _ => Rollout::default(),
    }
}
