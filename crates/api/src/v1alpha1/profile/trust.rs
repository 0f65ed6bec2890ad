//! Spec types for the two directions of trust: the certificate that agents
//! show, and what they verify their server against.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The client certificate that agents show. Said explicitly, because leaving
/// it out of an offer would take away the one that they have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source != 'Secret' || has(self.secretRef)")
        .message("must be set when `source` is Secret")
        .reason(Reason::FieldValueRequired)
        .field_path(".secretRef"),
    validation = Rule::new("self.source == 'Secret' || !has(self.secretRef)")
        .message("may not be set unless `source` is Secret")
        .reason(Reason::FieldValueForbidden)
        .field_path(".secretRef")
)]
pub struct ClientCertificate {
    /// Where the certificate comes from; None means that agents show none.
    pub source: CertificateSource,

    /// A Secret of type `kubernetes.io/tls` in the profile's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SecretRef")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub secret_ref: Option<SecretRef>,
}

/// Where a client certificate comes from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// One Secret, shared by all agents of the profile.
    Secret,
    /// No client certificate.
    None,
}

/// A Secret in the profile's namespace. It needs the label
/// `opamp-operator.dev/offerable: "true"`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// What agents verify their server's certificate against.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.caBundleRef) || self.systemCAs == 'Exclude'")
        .message("may not be Include together with `caBundleRef`; put the public root into the bundle")
        .reason(Reason::FieldValueForbidden)
        .field_path(".systemCAs")
)]
pub struct ServerTrust {
    /// CA certificates in PEM form, in the profile's namespace. For a change
    /// of CA, let the bundle hold the old and the new one for a while.
    #[serde(
        default,
        rename = "caBundleRef",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "CABundleRef")]
    pub ca_bundle_ref: Option<CABundleRef>,

    /// Whether agents trust the CAs of the system that they run on.
    #[serde(default, rename = "systemCAs")]
    pub system_cas: SystemCAs,
}

/// A key of a ConfigMap or Secret that holds CA certificates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CABundleRef {
    /// Kind of the object.
    #[serde(default)]
    pub kind: BundleKind,

    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,

    /// Key within the object.
    #[serde(default = "default_bundle_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_KEY))]
    pub key: String,
}

fn default_bundle_key() -> String {
    "ca.crt".to_owned()
}

/// Kind of the object that holds CA certificates.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BundleKind {
    /// A `ConfigMap`, for example one that trust-manager fills.
    #[default]
    ConfigMap,
    /// A `Secret`; it needs the label `opamp-operator.dev/offerable: "true"`.
    Secret,
}

/// Whether the CAs of the agent's system are trusted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SystemCAs {
    /// Only the bundle is trusted.
    #[default]
    Exclude,
    /// The CAs of the system are trusted.
    Include,
}
