//! The operator's own objects: the serving certificate and what its
//! authenticators read.

use std::sync::Arc;

use opamp_operator_api::ObjectRef;
use opamp_operator_core::{
    catalog::{AuthenticatorSource, authenticator},
    identity::Trust,
    offer::{Object, Observed, Serving},
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

use super::Controller;

impl Controller {
    pub(super) fn is_own(&self, object: &ObjectRef) -> bool {
        *object == self.setup.serving
            || self
                .setup
                .authenticators
                .iter()
                .any(|source| source.object == *object)
    }

    /// Takes in a change of an own object: every profile is judged anew by it.
    pub(super) fn read_own(&mut self, object: &ObjectRef) {
        if *object == self.setup.serving {
            self.read_serving();
        }
        self.publish_trust();
        self.catalog.touch_all(self.hub.clock.now());
    }

    fn read_serving(&mut self) {
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
                if self.serving.as_ref() == Some(&serving) {
                    return;
                }
                tracing::info!(object = %self.setup.serving, "serving certificate in use");
                self.serving = Some(serving);
                self.hub.serving.send_replace(Some(Arc::new(key)));
                self.ready.send_replace(self.synced);
            }
            Err(error) => {
                tracing::error!(object = %self.setup.serving, error, "the serving certificate is unusable; the last one stays in use");
            }
        }
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

    /// Builds trust anew from objects and ledger.
    pub(super) fn publish_trust(&mut self) {
        let now = self.hub.clock.now();
        let build = |source: &AuthenticatorSource| {
            let observed = self.catalog.object(&source.object);
            let (authenticator, problem) = authenticator(source, observed, now);
            if let Some(problem) = problem {
                tracing::warn!(
                    authenticator = source.name,
                    problem,
                    "authenticator is impaired"
                );
            }
            authenticator
        };
        let authenticators = self.setup.authenticators.iter().map(build).collect();
        self.trust = Arc::new(Trust::new(authenticators, self.keys.clone(), &self.ledger));
        if self.synced {
            self.hub.trust.send_replace(Some(Arc::clone(&self.trust)));
            self.ready.send_replace(self.serving.is_some());
        }
    }
}
