//! Who may connect: the part of the configuration that is reloaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use jiff::SignedDuration;
use opamp_operator_api::{ObjectKind, ObjectRef};
use opamp_operator_core::{
    catalog::{AuthenticatorSource, KeySource, SourceKind},
    identity::{Home, JwtHome, JwtRules, NamePattern},
};
use serde::Deserialize;

/// What is made of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// In their order.
    pub authenticators: Vec<AuthenticatorSource>,
    /// Namespaces in which agents may be at home.
    pub homes: BTreeSet<String>,
    /// Home of agents that prove nothing, if they may connect and report.
    pub anonymous: Option<String>,
    /// The ConfigMap that names what is revoked.
    pub deny_list: Option<ObjectRef>,
    /// How long agents may come back with what left its object.
    pub retirement: SignedDuration,
}

/// An authenticator, as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Authenticator {
    name: String,
    #[serde(default)]
    agent_token: Option<AgentToken>,
    #[serde(default)]
    client_certificate: Option<ClientCertificate>,
    #[serde(default)]
    service_account: Option<ServiceAccount>,
    #[serde(default)]
    jwt: Option<Jwt>,
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
    ca_bundle_ref: KeyRef,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name_pattern: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceAccount {
    #[serde(default = "audience")]
    audience: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    issuer: String,
    audiences: Vec<String>,
    jwks: Jwks,
    #[serde(default = "sub")]
    subject_claim: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    namespace_claim: Option<String>,
    #[serde(default)]
    required_claims: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwks {
    #[serde(default)]
    key_ref: Option<KeyRef>,
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    url: Option<url::Url>,
}

/// A key of an object in the operator's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyRef {
    #[serde(default = "config_map")]
    kind: ObjectKind,
    name: String,
    #[serde(default)]
    key: Option<String>,
}

/// Where agents are at home that prove nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Anonymous {
    pub(super) namespace: String,
}

/// Names the ConfigMap with the deny list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DenyList {
    pub(super) name: String,
}

fn config_map() -> ObjectKind {
    ObjectKind::ConfigMap
}
fn audience() -> String {
    "opamp-operator.dev".into()
}
fn sub() -> String {
    "sub".into()
}

impl Authenticator {
    /// How it judges.
    fn source(&self, own: &str) -> Result<AuthenticatorSource, String> {
        let name = &self.name;
        let kind = match (
            &self.agent_token,
            &self.client_certificate,
            &self.service_account,
            &self.jwt,
        ) {
            (Some(token), None, None, None) => SourceKind::AgentToken {
                object: ObjectRef::secret(
                    token.namespace.as_deref().unwrap_or(own),
                    &token.secret_name,
                ),
            },
            (None, Some(certificate), None, None) => certificate.kind(own)?,
            (None, None, Some(account), None) => account.kind()?,
            (None, None, None, Some(jwt)) => jwt.kind(own)?,
            _ => {
                return Err(
                    "it must have exactly one of `agentToken`, `clientCertificate`, `serviceAccount` and `jwt`"
                        .into(),
                );
            }
        };
        if name.is_empty() || name.len() > 253 || name.contains('/') {
            return Err("its name must have 1 to 253 characters and no `/`".into());
        }
        Ok(AuthenticatorSource {
            name: name.clone(),
            kind,
        })
    }
}

impl ClientCertificate {
    fn kind(&self, own: &str) -> Result<SourceKind, String> {
        let home = match (&self.namespace, &self.name_pattern) {
            (Some(namespace), None) => Home::Namespace(namespace.clone()),
            (None, Some(pattern)) => Home::Pattern(
                NamePattern::parse(pattern).map_err(|why| format!("`namePattern`: {why}"))?,
            ),
            _ => return Err("it must have exactly one of `namespace` and `namePattern`".into()),
        };
        let bundle = &self.ca_bundle_ref;
        Ok(SourceKind::ClientCertificate {
            object: bundle.object(own),
            key: bundle.key.clone().unwrap_or_else(|| "ca.crt".into()),
            home,
        })
    }
}

impl ServiceAccount {
    fn kind(&self) -> Result<SourceKind, String> {
        // Tokens for the API server itself are everywhere in a cluster.
        let for_the_api = ["kubernetes", "https://kubernetes"];
        if self.audience.is_empty() || for_the_api.iter().any(|it| self.audience.starts_with(it)) {
            return Err(
                "`audience` must be one of this operator's own: tokens for the Kubernetes API would do otherwise"
                    .into(),
            );
        }
        Ok(SourceKind::ServiceAccount {
            audience: self.audience.clone(),
        })
    }
}

impl Jwt {
    fn kind(&self, own: &str) -> Result<SourceKind, String> {
        if self.audiences.is_empty() {
            return Err(
                "`audiences` must hold one at least: without, a token for anybody else would do"
                    .into(),
            );
        }
        let namespace = match (&self.namespace, &self.namespace_claim) {
            (Some(namespace), None) => JwtHome::Namespace(namespace.clone()),
            (None, Some(claim)) => JwtHome::Claim(claim.clone()),
            _ => {
                return Err("it must have exactly one of `namespace` and `namespaceClaim`".into());
            }
        };
        let keys = match (&self.jwks.key_ref, &self.jwks.file, &self.jwks.url) {
            (Some(key), None, None) => KeySource::Object(
                key.object(own),
                key.key.clone().unwrap_or_else(|| "jwks.json".into()),
            ),
            (None, Some(file), None) if file.is_absolute() => KeySource::File(file.clone()),
            (None, Some(_), None) => return Err("`jwks.file` must be an absolute path".into()),
            (None, None, Some(url)) if url.scheme() == "https" => KeySource::Url(url.to_string()),
            (None, None, Some(_)) => return Err("`jwks.url` must be https://".into()),
            _ => return Err("`jwks` must have exactly one of `keyRef`, `file` and `url`".into()),
        };
        let rules = JwtRules {
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            subject_claim: self.subject_claim.clone(),
            namespace,
            required: self.required_claims.clone().into_iter().collect(),
        };
        Ok(SourceKind::Jwt {
            rules: Arc::new(rules),
            keys,
        })
    }
}

impl KeyRef {
    fn object(&self, own: &str) -> ObjectRef {
        ObjectRef::new(self.kind, own, &self.name)
    }
}

/// The authenticators, in their order.
pub(super) fn sources(
    authenticators: &[Authenticator],
    own: &str,
) -> Result<Vec<AuthenticatorSource>, String> {
    let mut names = BTreeSet::new();
    for authenticator in authenticators {
        let name = &authenticator.name;
        if !names.insert(name) {
            return Err(format!(
                "two authenticators have the name `{name}`: agents are bound to it"
            ));
        }
    }
    let source = |one: &Authenticator| {
        one.source(own)
            .map_err(|why| format!("authenticator `{}`: {why}", one.name))
    };
    authenticators.iter().map(source).collect()
}

/// The home that an authenticator gives to all, if it is one.
pub(super) fn fixed_home(source: &AuthenticatorSource) -> Option<&str> {
    match &source.kind {
        SourceKind::AgentToken { object } => Some(&object.namespace),
        SourceKind::ClientCertificate {
            home: Home::Namespace(namespace),
            ..
        } => Some(namespace),
        SourceKind::Jwt { rules, .. } => match &rules.namespace {
            JwtHome::Namespace(namespace) => Some(namespace),
            JwtHome::Claim(_) => None,
        },
        SourceKind::ClientCertificate { .. } | SourceKind::ServiceAccount { .. } => None,
    }
}
