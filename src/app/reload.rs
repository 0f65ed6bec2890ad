//! Looks at the configuration file while the process runs: who may connect is
//! configured anew, everything else waits for the next start.

use std::{path::PathBuf, time::Duration};

use opamp_operator_core::catalog::SourceKind;
use tokio::time::sleep;

use crate::config::{Authentication, Config};

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

/// Nobody but the Kubernetes API can judge the tokens of ServiceAccounts.
pub(super) fn without_cluster(authentication: &Authentication) -> Result<(), String> {
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
