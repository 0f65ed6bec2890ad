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

/// How agents make a TLS connection, and what they verify their server's
/// certificate against. OpAMP Supervisors take the bundle and nothing else.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.caBundleRef) || self.systemCAs == 'Exclude'")
        .message("may not be Include together with `caBundleRef`; put the public root into the bundle")
        .reason(Reason::FieldValueForbidden)
        .field_path(".systemCAs"),
    validation = Rule::new("!self.insecureSkipVerify || (!has(self.caBundleRef) && self.systemCAs == 'Exclude')")
        .message("may not be true together with `caBundleRef` or `systemCAs: Include`; agents either verify their server or do not")
        .reason(Reason::FieldValueForbidden)
        .field_path(".insecureSkipVerify"),
    validation = Rule::new("!has(self.minVersion) || !has(self.maxVersion) || self.minVersion <= self.maxVersion")
        .message("may not be lower than `minVersion`")
        .field_path(".maxVersion"),
    validation = Rule::new("!has(self.cipherSuites) || self.cipherSuites.size() == 0 || !has(self.maxVersion) || self.maxVersion != '1.2' || self.cipherSuites.exists(s, s.startsWith('TLS_ECDHE_'))")
        .message("must have a suite of TLS 1.2, one that starts with TLS_ECDHE_, when `maxVersion` is 1.2")
        .field_path(".cipherSuites"),
    validation = Rule::new("!has(self.cipherSuites) || self.cipherSuites.size() == 0 || !has(self.minVersion) || self.minVersion != '1.3' || self.cipherSuites.exists(s, !s.startsWith('TLS_ECDHE_'))")
        .message("must have a suite of TLS 1.3, one that does not start with TLS_ECDHE_, when `minVersion` is 1.3")
        .field_path(".cipherSuites")
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

    /// Agents do not verify their server: whoever is on the way can read and
    /// change everything, credentials too. Only where the operator's
    /// configuration allows it (`policy.insecureSkipVerify`).
    #[serde(default)]
    pub insecure_skip_verify: bool,

    /// Lowest version of TLS. Unset leaves it to the agent, which takes 1.2 or
    /// higher.
    // Without a default: it would be one more field of every offer, so every
    // agent would be offered its settings anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TLSVersion")]
    pub min_version: Option<TLSVersion>,

    /// Highest version of TLS. Unset leaves it to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TLSVersion")]
    pub max_version: Option<TLSVersion>,

    /// Cipher suites that agents may use. Unset leaves it to the agent. Many
    /// agents let nobody choose those of TLS 1.3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::cipher_suites")]
    pub cipher_suites: Vec<CipherSuite>,
}

/// A version of TLS.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum TLSVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl TLSVersion {
    /// The version as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// Declares cipher suites by variant and registered name.
macro_rules! cipher_suites {
    ($($variant:ident = $name:literal, $doc:literal;)+) => {
        /// A cipher suite, by its registered name. These are the ones that have
        /// no known weakness; this operator speaks all of them, and so does
        /// every TLS library that agents use.
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CipherSuite {
            $(
                #[doc = $doc]
                #[serde(rename = $name)]
                $variant,
            )+
        }

        impl CipherSuite {
            /// Every suite.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The registered name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

cipher_suites! {
    Aes128 = "TLS_AES_128_GCM_SHA256", "TLS 1.3, AES-128.";
    Aes256 = "TLS_AES_256_GCM_SHA384", "TLS 1.3, AES-256.";
    ChaCha20 = "TLS_CHACHA20_POLY1305_SHA256", "TLS 1.3, ChaCha20.";
    EcdsaAes128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS 1.2, ECDSA, AES-128.";
    EcdsaAes256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS 1.2, ECDSA, AES-256.";
    EcdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS 1.2, ECDSA, ChaCha20.";
    RsaAes128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS 1.2, RSA, AES-128.";
    RsaAes256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS 1.2, RSA, AES-256.";
    RsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS 1.2, RSA, ChaCha20.";
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
