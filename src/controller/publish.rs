//! Observation → draft → ledger → hub. Nothing is published before its ledger
//! entry is stored.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::ProfileKey;
use opamp_operator_core::{
    catalog::Target,
    identity::LedgerEntry,
    offer::{Context, Draft, Revision},
    rollout::plan,
};
use tokio::{sync::oneshot, time::timeout};

use super::Controller;
use crate::backend::Report;

/// How long storing a ledger entry may take before it is tried again.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(30);
/// When it is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(5);

impl Controller {
    pub(super) async fn publish(&mut self) {
        let now = self.hub.clock.now();
        for key in self.catalog.due(now) {
            let context = Context {
                advertised_url: &self.setup.advertised_url,
                serving: self.serving.as_ref(),
                trust: &self.trust,
                keys: &self.keys,
            };
            let draft = self.catalog.settle(&key, &context, now);
            if let Some(draft) = draft {
                self.adopt(&key, *draft).await;
            }
            self.dirty.insert(key);
        }
        let planned = self.replan.iter().filter(|(_, at)| **at <= now.uptime);
        let planned: Vec<_> = planned.map(|(key, _)| key.clone()).collect();
        self.dirty.extend(planned);
    }

    /// Numbers a draft, stores its ledger entry and puts it in force. If it
    /// cannot be stored the last revision stays, and all is tried again.
    async fn adopt(&mut self, key: &ProfileKey, draft: Draft) {
        let now = self.hub.clock.now();
        let newest = self.ledger.newest(key).cloned();
        let known = newest.as_ref().filter(|entry| entry.marker == draft.marker);
        let (number, started) = if let Some(entry) = known {
            (entry.number, entry.published)
        } else {
            let number = newest.as_ref().map_or(1, |entry| entry.number + 1);
            let mut entries = vec![draft.ledger_entry(number, now.wall)];
            entries.extend(newest.map(|entry| LedgerEntry {
                superseded: Some(now.wall),
                ..entry
            }));
            for entry in entries {
                if let Err(error) = self.store(entry).await {
                    tracing::error!(profile = %key, error, "the ledger cannot be written; nothing is offered before it can");
                    self.catalog.retry(key, now.uptime + LEDGER_RETRY);
                    return;
                }
            }
            (number, now.wall)
        };
        tracing::info!(profile = %key, revision = number, marker = draft.marker.short(), endpoint = %draft.trust.endpoint, "revision in force");
        self.catalog
            .adopt(Arc::new(Revision::new(draft, number)), started);
        // Its credentials are recognised before anybody can hold them.
        self.publish_trust();
        let over = self.ledger.prune(now.wall);
        if !over.is_empty() {
            self.send(Report::Forget(over)).await;
        }
        self.publish_target(key);
    }

    async fn store(&mut self, entry: LedgerEntry) -> Result<(), String> {
        let (done, stored) = oneshot::channel();
        self.send(Report::Ledger(Box::new(entry.clone()), done))
            .await;
        match timeout(LEDGER_TIMEOUT, stored).await {
            Ok(Ok(Ok(()))) => {
                self.ledger.put(entry);
                Ok(())
            }
            Ok(Ok(Err(error))) => Err(error),
            _ => Err("no answer in time".into()),
        }
    }

    /// Plans how far the revision may go, and tells the agents.
    pub(super) fn publish_target(&mut self, key: &ProfileKey) {
        let now = self.hub.clock.now();
        let Some(state) = self.catalog.get(key) else {
            return;
        };
        let Some(current) = state.current.clone() else {
            return;
        };
        let agents = self.hub.roster.records(key);
        let before = self.rollouts.get(key).cloned().unwrap_or_default();
        let (rollout, again) = plan(
            &before,
            &current,
            &agents,
            self.setup.first_agent_timeout,
            now,
        );
        match again {
            Some(at) => self.replan.insert(key.clone(), at),
            None => self.replan.remove(key),
        };
        if rollout.halted && !before.halted {
            tracing::warn!(profile = %key, revision = current.number(), "halted: the first agent brought no evidence in time");
        }
        let target = Target {
            current,
            previous: state.previous.clone(),
            bound: rollout.bound(),
            paused: state.spec().is_some_and(|spec| spec.paused),
        };
        self.rollouts.insert(key.clone(), rollout);
        self.hub.book.publish_target(key, Some(target));
    }

    pub(super) async fn send(&self, report: Report) {
        // Fails only when the backend is gone, which ends the process.
        let _ = self.port.reports.send(report).await;
    }
}
