//! The configuration file: `kind: OperatorConfiguration`.

mod authentication;
mod change;
mod nearest;

use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};

use jiff::SignedDuration;
use opamp_operator_api::ObjectRef;
use opamp_operator_core::catalog::{Policy, Settings};
use serde::Deserialize;

pub use authentication::Authentication;
use authentication::{Anonymous, Authenticator, DenyList, fixed_home, sources};

use crate::{server::Limits, telemetry::traces::Traces};

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
    #[serde(default = "default_lease")]
    lease_name: String,
    /// Probes.
    #[serde(default)]
    pub admin: Option<Admin>,
    #[serde(default)]
    shutdown: Shutdown,
    #[serde(default)]
    admin_namespaces: Option<BTreeSet<String>>,
    #[serde(default)]
    watch_namespaces: Option<BTreeSet<String>>,
    #[serde(default)]
    home_namespaces: Option<BTreeSet<String>>,
    #[serde(default)]
    policy: AllowedByPolicy,
    authenticators: Vec<Authenticator>,
    #[serde(default)]
    anonymous: Option<Anonymous>,
    #[serde(default)]
    deny_list: Option<DenyList>,
    #[serde(default = "seven_days")]
    retirement_hours: u32,
    #[serde(default = "one_hour")]
    review_seconds: u64,
    #[serde(default = "two_thousand")]
    debounce_milliseconds: u64,
    #[serde(default = "hundred_twenty")]
    first_agent_timeout_seconds: u64,
    #[serde(default = "fifteen")]
    restart_hold_seconds: u64,
    #[serde(default)]
    telemetry: Telemetry,
    /// Bounds of the server.
    #[serde(default)]
    pub limits: Limits,
}

/// What the process tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Telemetry {
    traces: Option<Traces>,
}

/// Where probes are served, in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Shutdown {
    service_name: Option<String>,
    seconds: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            service_name: None,
            seconds: 50,
        }
    }
}

/// What profiles may ask for beyond what is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AllowedByPolicy {
    insecure_skip_verify: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretName {
    secret_name: String,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4320))
}
fn default_path() -> String {
    "/v1/opamp".into()
}
fn default_lease() -> String {
    "opamp-operator".into()
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
fn seven_days() -> u32 {
    7 * 24
}
fn one_hour() -> u64 {
    3600
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

    /// Checks the text of a file.
    ///
    /// # Errors
    /// With what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|error| nearest::with_nearest(error.to_string()))?;
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
        config.authentication()?;
        config.traces().map_or(Ok(()), Traces::check)?;
        Ok(config)
    }

    /// The Service that sends agents here, if one is named.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.shutdown.service_name.as_deref()
    }

    /// How long the process may take to end.
    #[must_use]
    pub fn shutdown(&self) -> Duration {
        Duration::from_secs(self.shutdown.seconds)
    }

    /// Where traces go, if they are wanted.
    #[must_use]
    pub fn traces(&self) -> Option<&Traces> {
        self.telemetry.traces.as_ref()
    }

    /// The Lease in the operator's namespace: whoever holds it writes.
    #[must_use]
    pub fn lease_name(&self) -> &str {
        &self.lease_name
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

    /// What profiles are judged by.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            debounce: self.debounce(),
            admin_namespaces: self.admin_namespaces(),
            policy: Policy {
                insecure_skip_verify: self.policy.insecure_skip_verify,
            },
        }
    }

    /// Namespaces whose profiles are read.
    #[must_use]
    pub fn watch_namespaces(&self) -> BTreeSet<String> {
        self.watch_namespaces
            .clone()
            .unwrap_or_else(|| [self.namespace.clone()].into())
    }

    /// Who may connect.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn authentication(&self) -> Result<Authentication, String> {
        let authenticators = sources(&self.authenticators, &self.namespace)?;
        let fixed = || authenticators.iter().map(fixed_home);
        let mut homes = match &self.home_namespaces {
            Some(homes) => homes.clone(),
            None if fixed().any(|home| home.is_none()) => self.watch_namespaces(),
            None => BTreeSet::new(),
        };
        homes.extend(fixed().flatten().map(Into::into));
        let anonymous = self.anonymous.as_ref().map(|a| a.namespace.clone());
        let deny_list = self.deny_list.as_ref();
        homes.extend(anonymous.clone());
        Ok(Authentication {
            authenticators,
            homes,
            anonymous,
            deny_list: deny_list.map(|list| ObjectRef::config_map(&self.namespace, &list.name)),
            retirement: SignedDuration::from_hours(self.retirement_hours.into()),
        })
    }

    /// How often a session is judged again whose identity others vouch for.
    #[must_use]
    pub fn review_every(&self) -> Duration {
        Duration::from_secs(self.review_seconds.max(1))
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
            (
                "listen: 0.0.0.0:4320",
                "lisen: 0.0.0.0:4320",
                "`lisen`: is `listen` meant?",
            ),
            ("path: /v1/opamp", "path: /", "advertisedURL"),
            ("path: /v1/opamp", "path: v1", "must begin with `/`"),
            ("wss://opamp", "ws://opamp", "wss:// or https://"),
            (
                "kind: OperatorConfiguration",
                "kind: Other",
                "OperatorConfiguration",
            ),
            (
                "    agentToken: ",
                "    agentTokens: ",
                "is `agentToken` meant?",
            ),
            (
                "  connections: 20000",
                "  conections: 20000",
                "is `connections` meant?",
            ),
            ("largeMessages: 4", "largeMessages: four", "largeMessages"),
            (
                "  traces: null",
                "  trace: null",
                "`trace`: is `traces` meant?",
            ),
            (
                "  traces: null",
                "  traces: {endpoint: 'http://c', headerFile: h}",
                "is `headersFile` meant?",
            ),
            (
                "  traces: null",
                "  traces: {endpoint: 'http://c', headersFile: h}",
                "in the clear",
            ),
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
