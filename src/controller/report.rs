//! From what agents did to statuses and records: never resolves anything.

use opamp_operator_api::{ConditionType, ProfileKey, v1alpha1::OpAMPConnectionProfileStatus};
use opamp_operator_core::{
    fleet::AgentRecord,
    identity::LedgerEntry,
    offer::Change,
    status::{Taken, events, is_of_agents, of_agents, summarize},
};

use super::{AGENT_KEPT, BETWEEN_REPORTS, Controller, GATHER_FAILURES};
use crate::{
    backend::Report,
    hub::{Known, What},
};

impl Controller {
    /// Folds the records of dirty profiles, at most once a second each.
    pub(super) async fn report(&mut self) {
        let now = self.hub.clock.now();
        let told = self.failing.iter().filter(|(_, at)| **at <= now.uptime);
        self.dirty.extend(told.map(|((key, _), _)| key.clone()));
        let ripe = |key: &&ProfileKey| {
            self.reported
                .get(key)
                .is_none_or(|last| *last + BETWEEN_REPORTS <= now.uptime)
        };
        let ripe: Vec<_> = self.dirty.iter().filter(ripe).cloned().collect();
        for key in ripe {
            self.dirty.remove(&key);
            self.publish_target(&key);
            if self.report_profile(&key).await {
                self.reported.insert(key, now.uptime);
            }
        }
        self.reported
            .retain(|_, last| *last + BETWEEN_REPORTS > now.uptime);
        // Who came back meanwhile, perhaps to another process, is kept.
        let roster = &self.hub.roster;
        self.forgotten
            .retain(|(namespace, uid)| roster.record(*uid, namespace).is_none());
        if self.leads && !self.forgotten.is_empty() {
            let forgotten = std::mem::take(&mut self.forgotten);
            self.send(Report::ForgetAgents(forgotten)).await;
        }
        for (uid, namespace) in std::mem::take(&mut self.agents) {
            let Some(record) = self.hub.roster.record(uid, &namespace) else {
                continue;
            };
            if !self.leads && record.connected.is_none() {
                self.untold.insert((uid, namespace));
            } else {
                self.send(Report::Agent(Box::new(record))).await;
            }
        }
    }

    /// Forgets agents that were away for long, unless they may still hold a
    /// certificate that lets them in. A token has no end while its revision is
    /// in force, and agents that come once and never again would pile up.
    pub(super) async fn forget_agents(&mut self) {
        let now = self.hub.clock.now();
        let over = |record: &AgentRecord| {
            let holds = |entry: &LedgerEntry| {
                let alive = entry.admits_until().is_some_and(|end| now.wall < end);
                alive
                    && record
                        .offered
                        .iter()
                        .any(|r| r.number == entry.number && r.profile == entry.profile)
            };
            record.last_contact + AGENT_KEPT < now.wall && !self.ledger.entries().iter().any(holds)
        };
        let forgotten = self.hub.roster.forget(over);
        if !forgotten.is_empty() {
            tracing::info!(
                agents = forgotten.len(),
                "agents that were away for 30 days are forgotten"
            );
            self.send(Report::ForgetAgents(forgotten)).await;
        }
    }

    /// What a profile took over from which others, the most agents first.
    fn take_taken(&mut self, key: &ProfileKey) -> Vec<(ProfileKey, Taken)> {
        let pairs: Vec<_> = self
            .taken
            .keys()
            .filter(|(of, _)| of == key)
            .cloned()
            .collect();
        let taken = pairs
            .into_iter()
            .filter_map(|pair| self.taken.remove_entry(&pair));
        let mut taken: Vec<_> = taken.map(|((_, before), taken)| (before, taken)).collect();
        taken.sort_by_key(|(_, taken)| std::cmp::Reverse(taken.count()));
        taken
    }

    async fn report_profile(&mut self, key: &ProfileKey) -> bool {
        let now = self.hub.clock.now();
        let agents = self.hub.roster.records(key);
        let mut overlap = self.hub.roster.overlap(key);
        overlap.retain(|other| self.catalog.get(other).is_some());
        let taken = self.take_taken(key);
        let rollout = self.rollouts.get(key).cloned().unwrap_or_default();
        let Some(state) = self.catalog.get_mut(key) else {
            self.failing.retain(|(of, _), _| of != key);
            return false;
        };
        let status = summarize(state, &agents, &overlap, &rollout, now);
        let known = Known {
            generation: state.stored.generation,
            status: status.clone(),
        };
        self.hub.statuses.set(key, known);
        if let Some(current) = &state.current {
            let change = current.change();
            self.hub.trail.tell(change, key, || progress(&status));
        }
        if !self.leads {
            self.failing.retain(|(of, _), _| of != key);
            return false;
        }
        let mut events = events(&state.stored.status, &status);
        for event in events.extract_if(.., |event| is_of_agents(event.reason)) {
            let at = now.uptime + GATHER_FAILURES;
            let failing = (key.clone(), event.reason);
            self.failing.entry(failing).or_insert(at);
        }
        let told = self
            .failing
            .extract_if(.., |(of, _), at| of == key && *at <= now.uptime);
        events.extend(told.filter_map(|((_, reason), _)| of_agents(reason, &status)));
        let revision = status.revision.as_ref().map(|revision| revision.number);
        let told = taken.iter().take(MAX_TAKEN);
        events.extend(told.map(|(before, taken)| taken.event(before, revision)));
        let change = state.told_change();
        if status == state.stored.status && events.is_empty() {
            return false;
        }
        log_changes(key, change, &state.stored.status, &status);
        state.stored.status = status.clone();
        let report = Report::Profile {
            key: key.clone(),
            uid: state.stored.uid.clone(),
            generation: state.stored.generation,
            spec: state.stored.spec.as_ref().ok().cloned(),
            status: Box::new(status),
            events,
        };
        self.send(report).await;
        true
    }
}

/// Whether agents are on their way.
fn progress(status: &OpAMPConnectionProfileStatus) -> What {
    let progressing = ConditionType::Progressing.as_str();
    let mut conditions = status.conditions.iter();
    let progressing = conditions.find(|condition| condition.type_ == progressing);
    let reason = progressing.map(|condition| condition.reason.clone());
    let progressing = progressing.is_some_and(|condition| condition.status == "True");
    What::Progress(progressing, reason.unwrap_or_default())
}

/// Profiles whose loss of agents is told at once.
const MAX_TAKEN: usize = 5;

/// One line per condition that changed its status or reason.
fn log_changes(
    key: &ProfileKey,
    change: Option<Change>,
    before: &OpAMPConnectionProfileStatus,
    after: &OpAMPConnectionProfileStatus,
) {
    for condition in &after.conditions {
        let old = before
            .conditions
            .iter()
            .find(|old| old.type_ == condition.type_);
        let same =
            old.is_some_and(|old| old.status == condition.status && old.reason == condition.reason);
        if !same {
            tracing::info!(
                change = change.map(|change| display(change.id)),
                profile = %key,
                condition = condition.type_,
                status = condition.status,
                reason = condition.reason,
                message = condition.message,
                "condition changed"
            );
        }
    }
}
