//! Values that cross module borders: names of things, who an agent is, and
//! what it says about itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v1alpha1::profile::{AttributeScope, BundleKind, OpAMPConnectionProfile};

/// Label (with value `"true"`) that every Secret needs whose bytes are offered.
pub const OFFERABLE_LABEL: &str = "opamp-operator.dev/offerable";

/// Header by which an agent shows which settings it runs.
pub const MARKER_HEADER: &str = "OpAMP-Settings-Hash";

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Names a profile.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ProfileKey {
    /// Namespace of the profile.
    pub namespace: String,
    /// Name of the profile.
    pub name: String,
}

impl ProfileKey {
    /// Names a profile.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl From<&OpAMPConnectionProfile> for ProfileKey {
    fn from(profile: &OpAMPConnectionProfile) -> Self {
        let namespace = profile.namespace();
        Self::new(
            namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            profile.name_any(),
        )
    }
}

impl fmt::Display for ProfileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Kind of an object that a profile refers to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ObjectKind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

impl ObjectKind {
    /// The kind as Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<BundleKind> for ObjectKind {
    fn from(kind: BundleKind) -> Self {
        match kind {
            BundleKind::ConfigMap => Self::ConfigMap,
            BundleKind::Secret => Self::Secret,
        }
    }
}

/// Names an object that a profile refers to.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ObjectRef {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl ObjectRef {
    /// Names a Secret.
    pub fn secret(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(ObjectKind::Secret, namespace, name)
    }

    /// Names a `ConfigMap`.
    pub fn config_map(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(ObjectKind::ConfigMap, namespace, name)
    }

    /// Names an object.
    pub fn new(kind: ObjectKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// How an agent proved who it is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum IdentityMethod {
    /// By a token that the operator's configuration names.
    AgentToken,
    /// By a client certificate under a configured CA.
    ClientCertificate,
    /// By a token of a Kubernetes ServiceAccount.
    ServiceAccount,
    /// By a JSON Web Token of a configured issuer.
    #[serde(rename = "JWT")]
    Jwt,
}

impl IdentityMethod {
    /// All methods.
    pub const ALL: [Self; 4] = [
        Self::AgentToken,
        Self::ClientCertificate,
        Self::ServiceAccount,
        Self::Jwt,
    ];

    /// The method as it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentToken => "AgentToken",
            Self::ClientCertificate => "ClientCertificate",
            Self::ServiceAccount => "ServiceAccount",
            Self::Jwt => "JWT",
        }
    }
}

impl fmt::Display for IdentityMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who an agent proved to be.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Identity {
    /// Home namespace of the agent.
    pub namespace: String,
    /// How the agent proved who it is.
    pub method: IdentityMethod,
    /// Name of the authenticator in the operator's configuration.
    pub authenticator: String,
    /// Who, in the words of the authenticator.
    pub subject: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            method,
            authenticator,
            subject,
        } = self;
        write!(f, "{namespace}/{method}/{authenticator}/{subject}")
    }
}

/// What an agent says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Attributes {
    /// Attributes that identify the agent.
    pub identifying: BTreeMap<String, String>,
    /// Attributes that describe where it runs.
    pub non_identifying: BTreeMap<String, String>,
    /// What is not known of those that identify it.
    #[serde(skip)]
    pub unread_identifying: Unread,
    /// What is not known of the others.
    #[serde(skip)]
    pub unread_non_identifying: Unread,
}

/// Attributes that an agent has and that were not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unread {
    /// Keys of values that are too long, or no scalars.
    pub keys: BTreeSet<String>,
    /// There are more than are looked at.
    pub more: bool,
}

/// What an agent has under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// This.
    Value(&'a str),
    /// A value that was not kept.
    Unread,
    /// Nothing, among those that were looked at.
    Unknown,
    /// Nothing.
    Nothing,
}

impl Attributes {
    /// What the agent has under a key. With [`AttributeScope::Any`] an
    /// identifying attribute hides a non-identifying one of the same key.
    #[must_use]
    pub fn find(&self, key: &str, scope: AttributeScope) -> Found<'_> {
        use AttributeScope::{Any, Identifying, NonIdentifying};
        let identifying = (&self.identifying, &self.unread_identifying);
        let others = (&self.non_identifying, &self.unread_non_identifying);
        let lists = match scope {
            Any => vec![identifying, others],
            Identifying => vec![identifying],
            NonIdentifying => vec![others],
        };
        for (known, unread) in &lists {
            if let Some(value) = known.get(key) {
                return Found::Value(value);
            }
            if unread.keys.contains(key) {
                return Found::Unread;
            }
        }
        if lists.iter().any(|(_, unread)| unread.more) {
            return Found::Unknown;
        }
        Found::Nothing
    }

    /// The value of an attribute, if it is known.
    #[must_use]
    pub fn get(&self, key: &str, scope: AttributeScope) -> Option<&str> {
        match self.find(key, scope) {
            Found::Value(value) => Some(value),
            Found::Unread | Found::Unknown | Found::Nothing => None,
        }
    }

    /// Somebody who knows says so; what the agent claims does not count.
    pub fn vouch(&mut self, key: &str, value: &str) {
        self.identifying.remove(key);
        self.unread_identifying.keys.remove(key);
        self.unread_non_identifying.keys.remove(key);
        self.non_identifying
            .insert(key.to_owned(), value.to_owned());
    }
}
