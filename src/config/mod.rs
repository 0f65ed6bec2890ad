//! The configuration file: `kind: OperatorConfiguration`.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};

use opamp_operator_api::{ObjectKind, ObjectRef};
use opamp_operator_core::catalog::{AuthenticatorSource, SourceKind};
use serde::Deserialize;

use crate::server::Limits;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: String,
        /// From the system.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is not an OperatorConfiguration: {problem}")]
    Invalid {
        /// Which.
        path: String,
        /// What is wrong and where.
        problem: String,
    },
}

/// As written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    api_version: String,
    kind: String,
    /// The operator's own namespace.
    pub namespace: String,
    /// Where agents connect.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Path of the OpAMP endpoint.
    #[serde(default = "default_path")]
    pub path: String,
    /// For profiles without an endpoint.
    #[serde(rename = "advertisedURL")]
    pub advertised_url: url::Url,
    serving_certificate: SecretName,
    /// Probes.
    #[serde(default)]
    pub admin: Option<Admin>,
    #[serde(default)]
    admin_namespaces: Option<BTreeSet<String>>,
    #[serde(default)]
    watch_namespaces: Option<BTreeSet<String>>,
    authenticators: Vec<Authenticator>,
    #[serde(default = "two_thousand")]
    debounce_milliseconds: u64,
    #[serde(default = "hundred_twenty")]
    first_agent_timeout_seconds: u64,
    #[serde(default = "fifteen")]
    restart_hold_seconds: u64,
    /// Bounds of the server.
    #[serde(default)]
    pub limits: Limits,
}

/// Where probes are served, in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretName {
    secret_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Authenticator {
    name: String,
    #[serde(default)]
    agent_token: Option<AgentToken>,
    #[serde(default)]
    client_certificate: Option<ClientCertificate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AgentToken {
    secret_name: String,
    namespace: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientCertificate {
    ca_bundle_ref: BundleRef,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BundleRef {
    #[serde(default = "config_map")]
    kind: ObjectKind,
    name: String,
    #[serde(default = "ca_crt")]
    key: String,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4320))
}
fn default_path() -> String {
    "/v1/opamp".into()
}
fn two_thousand() -> u64 {
    2000
}
fn hundred_twenty() -> u64 {
    120
}
fn fifteen() -> u64 {
    15
}
fn config_map() -> ObjectKind {
    ObjectKind::ConfigMap
}
fn ca_crt() -> String {
    "ca.crt".into()
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With what is wrong and where.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: name.clone(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| ConfigError::Invalid {
            path: name,
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if config.kind != "OperatorConfiguration"
            || config.api_version != opamp_operator_api::API_VERSION
        {
            return Err(format!(
                "it must begin with `apiVersion: {}` and `kind: OperatorConfiguration`",
                opamp_operator_api::API_VERSION
            ));
        }
        if !config.path.starts_with('/') || config.path.contains(['{', '}', '*']) {
            return Err("`path` must begin with `/` and hold no wildcards".into());
        }
        if !matches!(config.advertised_url.scheme(), "wss" | "https") {
            return Err(
                "`advertisedURL` must be wss:// or https://: this operator serves TLS only".into(),
            );
        }
        if config.advertised_url.path() != config.path {
            return Err(format!(
                "the path of `advertisedURL` is `{}` but `path` is `{}`: agents that were sent there would find nothing",
                config.advertised_url.path(),
                config.path
            ));
        }
        config.authenticators()?;
        Ok(config)
    }

    /// The Secret with the serving certificate.
    #[must_use]
    pub fn serving(&self) -> ObjectRef {
        ObjectRef::secret(&self.namespace, &self.serving_certificate.secret_name)
    }

    /// Namespaces whose profiles may select agents of any namespace.
    #[must_use]
    pub fn admin_namespaces(&self) -> BTreeSet<String> {
        self.admin_namespaces
            .clone()
            .unwrap_or_else(|| [self.namespace.clone()].into())
    }

    /// Namespaces whose profiles are read.
    #[must_use]
    pub fn watch_namespaces(&self) -> BTreeSet<String> {
        self.watch_namespaces
            .clone()
            .unwrap_or_else(|| [self.namespace.clone()].into())
    }

    /// Namespaces in which agents may be at home.
    ///
    /// # Errors
    /// As [`Self::authenticators`].
    pub fn home_namespaces(&self) -> Result<BTreeSet<String>, String> {
        let home = |source: AuthenticatorSource| match source.kind {
            SourceKind::AgentToken => source.object.namespace,
            SourceKind::ClientCertificate { namespace, .. } => namespace,
        };
        Ok(self.authenticators()?.into_iter().map(home).collect())
    }

    /// How long changes are collected.
    #[must_use]
    pub fn debounce(&self) -> Duration {
        Duration::from_millis(self.debounce_milliseconds)
    }

    /// How long the first agent may take.
    #[must_use]
    pub fn first_agent_timeout(&self) -> Duration {
        Duration::from_secs(self.first_agent_timeout_seconds)
    }

    /// How long a process without memory of an agent waits.
    #[must_use]
    pub fn hold(&self) -> Duration {
        Duration::from_secs(self.restart_hold_seconds)
    }

    /// The authenticators, in their order.
    ///
    /// # Errors
    /// If one is of no kind, or of two.
    pub fn authenticators(&self) -> Result<Vec<AuthenticatorSource>, String> {
        let source = |authenticator: &Authenticator| {
            let name = authenticator.name.clone();
            let (object, kind) = match (
                &authenticator.agent_token,
                &authenticator.client_certificate,
            ) {
                (Some(token), None) => {
                    let namespace = token.namespace.as_deref().unwrap_or(&self.namespace);
                    (
                        ObjectRef::secret(namespace, &token.secret_name),
                        SourceKind::AgentToken,
                    )
                }
                (None, Some(certificate)) => {
                    let bundle = &certificate.ca_bundle_ref;
                    let kind = SourceKind::ClientCertificate {
                        key: bundle.key.clone(),
                        namespace: certificate.namespace.clone(),
                    };
                    (
                        ObjectRef::new(bundle.kind, &self.namespace, &bundle.name),
                        kind,
                    )
                }
                _ => {
                    return Err(format!(
                        "authenticator `{name}` must have exactly one of `agentToken` and `clientCertificate`"
                    ));
                }
            };
            Ok(AuthenticatorSource { name, object, kind })
        };
        let mut names = BTreeSet::new();
        for authenticator in &self.authenticators {
            if !names.insert(&authenticator.name) {
                let name = &authenticator.name;
                return Err(format!(
                    "two authenticators have the name `{name}`: agents are bound to it"
                ));
            }
        }
        self.authenticators.iter().map(source).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/configuration.md");
    const REQUIRED: [&str; 7] = [
        "apiVersion",
        "kind",
        "namespace",
        "advertisedURL",
        "servingCertificate",
        "authenticators",
        "path",
    ];

    fn documented() -> &'static str {
        let (_, rest) = PAGE.split_once("```yaml\n").unwrap();
        rest.split_once("```").unwrap().0
    }

    fn without(text: &str, drop: impl Fn(&str) -> bool) -> String {
        let mut dropping = false;
        let keep = |line: &&str| {
            if !line.starts_with(' ') {
                let field = line.split(':').next().unwrap_or_default();
                dropping = drop(field);
            }
            !dropping
        };
        text.lines().filter(keep).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_page_shows_every_field_with_its_default() {
        let page = Config::parse(documented()).unwrap();
        let least = without(documented(), |field| !REQUIRED.contains(&field));
        assert_eq!(Config::parse(&least).unwrap(), page);
        // Every field of the limits is on the page: none is left to its default.
        let fields = format!("{:?}", page.limits).matches(": ").count();
        let shown = documented().lines().skip_while(|line| *line != "limits:");
        assert_eq!(shown.count() - 1, fields);
    }

    #[test]
    fn what_is_required_is_required() {
        for field in REQUIRED.into_iter().filter(|field| *field != "path") {
            let error = Config::parse(&without(documented(), |f| f == field)).unwrap_err();
            assert!(error.contains(field), "{field}: {error}");
        }
    }

    #[test]
    fn a_bad_configuration_says_what_is_wrong() {
        let wrong = [
            ("listen: 0.0.0.0:4320", "lisen: 0.0.0.0:4320", "lisen"),
            ("path: /v1/opamp", "path: /", "advertisedURL"),
            ("path: /v1/opamp", "path: v1", "must begin with `/`"),
            ("wss://opamp", "ws://opamp", "wss:// or https://"),
            (
                "kind: OperatorConfiguration",
                "kind: Other",
                "OperatorConfiguration",
            ),
            ("    agentToken: ", "    agentTokens: ", "agentTokens"),
            ("largeMessages: 4", "largeMessages: four", "largeMessages"),
            ("- name: fleet", "- name: bootstrap", "two authenticators"),
        ];
        for (from, to, named) in wrong {
            assert!(documented().contains(from.trim_end()), "{from}");
            let error = Config::parse(&documented().replacen(from.trim_end(), to.trim_end(), 1));
            let error = error.unwrap_err();
            assert!(error.contains(named), "{to}: {error}");
        }
    }
}
