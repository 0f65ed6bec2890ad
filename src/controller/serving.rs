//! The operator's own serving certificate.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::ProfileKey;
use opamp_operator_core::{
    fleet::AgentRecord,
    offer::{Change, Object, Observed, Revision, Serving, hold_back},
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

use super::Controller;

/// A serving certificate on its way into use.
pub(super) struct NextServing {
    serving: Serving,
    key: Arc<CertifiedKey>,
    /// While it is held back.
    pub(super) until: Option<Duration>,
    /// With which it came.
    change: Change,
}

/// How long a new certificate waits for what is not known yet. An object that
/// is never told must not keep it until the old one ends; agents whose settings
/// are known are looked at in any case.
const UNSETTLED: Duration = Duration::from_secs(60);

/// Is any of these agents known to run the revision, or on its way to it?
fn runs(agents: &[AgentRecord], revision: &Revision) -> bool {
    let this = |profile: &ProfileKey, number: u64| revision.is_named(profile, number);
    agents.iter().any(|agent| {
        let proved = agent.proved.as_ref();
        let offered = agent.last_offer.as_ref();
        proved.is_some_and(|proved| this(&proved.profile, proved.number))
            || offered.is_some_and(|(offered, _)| this(&offered.profile, offered.number))
    })
}

impl Controller {
    pub(super) fn read_serving(&mut self, change: Change) {
        let object = match self.catalog.object(&self.setup.serving) {
            Observed::Present(object) => Arc::clone(object),
            Observed::Pending => return,
            Observed::Absent | Observed::Forbidden(_) => {
                tracing::warn!(object = %self.setup.serving, "the serving certificate cannot be read; the last one stays in use");
                return;
            }
        };
        match self.load_serving(&object) {
            Ok((serving, key)) => {
                self.next_serving =
                    (self.serving.as_ref() != Some(&serving)).then(|| NextServing {
                        serving,
                        key: Arc::new(key),
                        until: None,
                        change,
                    });
                self.change_serving();
            }
            Err(error) => {
                tracing::error!(object = %self.setup.serving, error, "the serving certificate is unusable; the last one stays in use");
            }
        }
    }

    /// Puts the new serving certificate into use, unless agents that are known
    /// to run a revision could not come back to it.
    pub(super) fn change_serving(&mut self) {
        let now = self.hub.clock.now();
        if self.serving.is_some()
            && !self.catalog.is_settled()
            && let Some(next) = &mut self.next_serving
        {
            // Nobody can say yet what agents run.
            let until = next.change.at.uptime + UNSETTLED;
            if now.uptime < until {
                next.until = Some(until);
                return;
            }
        }
        let held = self.next_serving.as_ref().and_then(|next| {
            let running = self.running();
            let running = running.iter().map(|revision| &**revision);
            hold_back(self.serving.as_ref()?, &next.serving, running, now)
        });
        let profiles = held.as_ref().map(|held| held.profiles.clone());
        let changed = self
            .catalog
            .hold_serving_back(&profiles.unwrap_or_default());
        let change = self.next_serving.as_ref().map(|next| next.change.id);
        for key in &changed {
            if let Some(message) = held.as_ref().and_then(|held| held.profiles.get(key)) {
                tracing::warn!(change = change.map(display), profile = %key, message, "serving certificate held back");
            }
        }
        self.dirty.extend(changed);
        if let Some(held) = held {
            if let Some(next) = &mut self.next_serving {
                next.until = Some(now.uptime_at(held.until));
            }
            return;
        }
        let Some(next) = self.next_serving.take() else {
            return;
        };
        tracing::info!(change = %next.change.id, object = %self.setup.serving, "serving certificate in use");
        self.serving = Some(next.serving);
        self.hub.serving.send_replace(Some(next.key));
        self.tell_readiness();
        self.catalog.touch_all(next.change, now);
    }

    /// Tells whether agents can be served.
    pub(super) fn tell_readiness(&self) {
        let (health, synced) = (&self.hub.health, self.synced());
        health.set_synced(synced);
        let serving = self.serving.as_ref();
        health.set_serving(serving.map(|serving| serving.not_after));
        self.ready.send_replace(synced && serving.is_some());
    }

    /// Revisions that agents are known to run or were offered.
    fn running(&self) -> Vec<Arc<Revision>> {
        let mut running = Vec::new();
        for (key, state) in self.catalog.profiles() {
            let agents = self.hub.roster.records(key);
            let revisions = state.current.iter().chain(&state.previous);
            running.extend(
                revisions
                    .filter(|revision| runs(&agents, revision))
                    .cloned(),
            );
        }
        running
    }

    /// Reads and checks the pair; nothing unusable ever goes into use.
    fn load_serving(&self, object: &Object) -> Result<(Serving, CertifiedKey), String> {
        let part = |key: &str| {
            object
                .get(key)
                .ok_or_else(|| format!("it has no key `{key}`"))
        };
        let (crt, key) = (part("tls.crt")?, part("tls.key")?);
        let now = self.hub.clock.now();
        let serving = Serving::read(crt, key, now).map_err(|error| error.to_string())?;
        let der = PrivateKeyDer::from_pem_slice(key).map_err(|_| "`tls.key` is not a PEM key")?;
        let signer = self
            .provider
            .key_provider
            .load_private_key(der)
            .map_err(|_| "`tls.key` is of a kind that cannot be used")?;
        let key = CertifiedKey::new(serving.chain.clone(), signer);
        Ok((serving, key))
    }
}
