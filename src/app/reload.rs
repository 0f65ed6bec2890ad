//! Looks at the configuration file while the process runs: who may connect is
//! configured anew, everything else waits for the next start.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use opamp_operator_core::catalog::SourceKind;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use crate::{
    backend::{Homes, cluster::Records},
    config::{Authentication, Config},
    hub::Hub,
};

/// How often. A mounted ConfigMap is replaced by a symbolic link that changes,
/// which says nothing to whoever watches the file; so its content is compared.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    /// As at the start.
    config: Config,
    /// There is an API that judges ServiceAccounts.
    cluster: bool,
    in_force: Authentication,
    /// The content that was last judged, or why there was none.
    seen: Option<Result<String, String>>,
    /// What waits for the next start, as it was last said.
    waiting: Vec<&'static str>,
}

impl Reload {
    /// Over the file that `config` was read from.
    #[must_use]
    pub fn new(file: PathBuf, config: Config, in_force: Authentication, cluster: bool) -> Self {
        Self {
            file,
            config,
            cluster,
            in_force,
            seen: None,
            waiting: Vec::new(),
        }
    }

    /// Waits until who may connect is configured otherwise than it is in force.
    pub async fn next(&mut self) -> Authentication {
        loop {
            sleep(LOOK_EVERY).await;
            let read = tokio::fs::read_to_string(&self.file).await;
            let read = read.map_err(|error| error.to_string());
            if self.seen.as_ref() == Some(&read) {
                continue;
            }
            let judged = read.clone().and_then(|text| self.judge(&text));
            self.seen = Some(read);
            match judged {
                Ok(authentication) if authentication != self.in_force => return authentication,
                Ok(_) => {}
                Err(problem) => tracing::error!(
                    file = %self.file.display(),
                    problem,
                    "the configuration has changed and cannot be used: all stays as it was"
                ),
            }
        }
    }

    /// What `next` returned is in force.
    pub fn done(&mut self, authentication: Authentication) {
        self.in_force = authentication;
    }

    /// What `next` returned is not in force: it will return it again.
    pub fn again(&mut self) {
        self.seen = None;
    }

    fn judge(&mut self, text: &str) -> Result<Authentication, String> {
        let new = Config::parse(text)?;
        // By what is in force of the rest: no half of a change takes effect.
        let authentication = self.config.reloaded(&new).authentication()?;
        if !self.cluster {
            without_cluster(&authentication)?;
        }
        let waiting = self.config.needs_restart(&new);
        if waiting != self.waiting && !waiting.is_empty() {
            let fields = waiting.join(", ");
            tracing::warn!(
                fields,
                "the configuration has changed and needs a restart: {fields}"
            );
        }
        self.waiting = waiting;
        Ok(authentication)
    }
}

/// Where agents are at home by this.
pub(super) fn homes(authentication: &Authentication) -> Homes {
    let mut sources = authentication.authenticators.iter();
    Homes {
        namespaces: authentication.homes.clone(),
        service_accounts: sources
            .any(|source| matches!(source.kind, SourceKind::ServiceAccount { .. })),
    }
}

/// Puts into force what changes in the configuration. Who is bound to what in a
/// namespace is known before anybody of that namespace is let in.
pub(super) async fn follow(
    mut reload: Reload,
    records: Option<Records>,
    homes_told: watch::Sender<Homes>,
    hub: Arc<Hub>,
    reloads: mpsc::Sender<Authentication>,
) {
    let mut said = None;
    loop {
        let authentication = reload.next().await;
        let new = authentication.homes.iter();
        let known = homes_told.borrow().namespaces.clone();
        let new: BTreeSet<_> = new.filter(|home| !known.contains(*home)).cloned().collect();
        if let Some(records) = &records {
            match records.load(&new).await {
                Ok(records) => {
                    let now = hub.clock.now();
                    for record in records {
                        if hub.roster.record(record.uid, &record.namespace).is_none() {
                            hub.roster.restore(record, now);
                        }
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if said.as_ref() != Some(&error) {
                        tracing::error!(
                            error,
                            "the new configuration is not in force yet; it is tried again"
                        );
                    }
                    said = Some(error);
                    reload.again();
                    continue;
                }
            }
        }
        homes_told.send_replace(homes(&authentication));
        if reloads.send(authentication.clone()).await.is_err() {
            return;
        }
        reload.done(authentication);
        said = None;
    }
}

/// Nobody but the Kubernetes API can judge the tokens of ServiceAccounts.
///
/// # Errors
/// When an authenticator asks it.
pub fn without_cluster(authentication: &Authentication) -> Result<(), String> {
    let mut all = authentication.authenticators.iter();
    let asks = all.find(|source| matches!(source.kind, SourceKind::ServiceAccount { .. }));
    asks.map_or(Ok(()), |source| {
        Err(format!(
            "authenticator `{}`: `serviceAccount` needs a cluster: the Kubernetes API judges such tokens, and with \
             --manifests there is none",
            source.name
        ))
    })
}
