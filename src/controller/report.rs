//! From what agents did to statuses and records: never resolves anything.

use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfileStatus};
use opamp_operator_core::{
    fleet::AgentRecord,
    identity::LedgerEntry,
    status::{events, summarize},
};

use super::{AGENT_KEPT, BETWEEN_REPORTS, Controller};
use crate::{backend::Report, hub::Known};

impl Controller {
    /// Folds the records of dirty profiles, at most once a second each.
    pub(super) async fn report(&mut self) {
        let now = self.hub.clock.now();
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
        let forgotten = std::mem::take(&mut self.forgotten);
        if !forgotten.is_empty() {
            self.send(Report::ForgetAgents(forgotten)).await;
        }
        for (uid, namespace) in std::mem::take(&mut self.agents) {
            if let Some(record) = self.hub.roster.record(uid, &namespace) {
                self.send(Report::Agent(Box::new(record))).await;
            }
        }
    }

    /// Forgets agents that were away for long, unless they may still hold a
    /// credential that we would recognise.
    pub(super) async fn forget_agents(&mut self) {
        let now = self.hub.clock.now();
        let over = |record: &AgentRecord| {
            let holds = |entry: &LedgerEntry| {
                let alive = entry.not_after.is_some_and(|end| now.wall < end);
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

    async fn report_profile(&mut self, key: &ProfileKey) -> bool {
        let now = self.hub.clock.now();
        let agents = self.hub.roster.records(key);
        let rollout = self.rollouts.get(key).cloned().unwrap_or_default();
        let Some(state) = self.catalog.get_mut(key) else {
            return false;
        };
        let status = summarize(state, &agents, &rollout, now);
        let known = Known {
            generation: state.stored.generation,
            status: status.clone(),
        };
        self.hub.statuses.set(key, known);
        if status == state.stored.status {
            return false;
        }
        log_changes(key, &state.stored.status, &status);
        let events = events(&state.stored.status, &status);
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

/// One line per condition that changed its status or reason.
fn log_changes(
    key: &ProfileKey,
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
