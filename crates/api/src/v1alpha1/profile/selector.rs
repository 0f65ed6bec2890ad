//! Spec types that say which agents a profile is for.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Chooses agents among those whose proved identity belongs to the profile's
/// namespace. What an agent says about itself only narrows the choice.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AgentSelector {
    /// What the agent must have proved to be; one of these is enough. Unset
    /// means any identity. Unlike attributes, an agent cannot choose it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub authenticated_as: Vec<AuthenticatedAs>,

    /// Attributes of the agent's description that must be equal. An
    /// identifying attribute is looked at before a non-identifying one of the
    /// same key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::match_attributes")]
    #[x_kube(
        validation = Rule::new("self.all(k, k != '' && k.size() <= 256)")
            .message("keys must have 1 to 256 characters")
    )]
    pub match_attributes: BTreeMap<String, String>,

    /// Conditions on attributes; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<AttributeExpression>,

    /// Instance UIDs, in lower case; when given, the agent's must be among them.
    #[serde(
        default,
        rename = "instanceUIDs",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::instance_uids")]
    pub instance_uids: Vec<String>,
}

/// A proved identity. Exactly one of the four is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.serviceAccount), has(self.certificate), has(self.agentToken), has(self.jwt)].filter(x, x).size() == 1")
        .message("must have exactly one of `serviceAccount`, `certificate`, `agentToken` and `jwt`")
        .reason(Reason::FieldValueInvalid)
)]
pub struct AuthenticatedAs {
    /// A ServiceAccount of the agent's home namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceAccountIdentity")]
    pub service_account: Option<ServiceAccountIdentity>,

    /// The holder of a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CertificateIdentity")]
    pub certificate: Option<CertificateIdentity>,

    /// Whoever has a token of this Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentTokenIdentity")]
    pub agent_token: Option<AgentTokenIdentity>,

    /// The holder of a JSON Web Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JwtIdentity")]
    pub jwt: Option<JwtIdentity>,
}

/// A ServiceAccount.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccountIdentity {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// The holder of a client certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.uriSANPrefix) && has(self.commonName))")
        .message("may not be set beside `uriSANPrefix`: a certificate with a URI is named by that alone")
        .reason(Reason::FieldValueForbidden)
        .field_path(".commonName")
)]
pub struct CertificateIdentity {
    /// Name of the authenticator in the operator's configuration.
    #[schemars(length(min = 1, max = 253))]
    pub authenticator: String,

    /// What the first URI among the subject alternative names begins with. End
    /// it with a `/`, or it also means names that continue the last part.
    #[serde(
        default,
        rename = "uriSANPrefix",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub uri_san_prefix: Option<String>,

    /// The common name of a certificate that has no such URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub common_name: Option<String>,
}

/// Whoever has a token of a Secret.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AgentTokenIdentity {
    /// Name of the Secret, in the agent's home namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub secret_name: String,
}

/// The holder of a JSON Web Token.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtIdentity {
    /// Name of the authenticator in the operator's configuration.
    #[schemars(length(min = 1, max = 253))]
    pub authenticator: String,

    /// The subject that the authenticator reads from the token; unset means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub subject: Option<String>,
}

/// One condition on one attribute.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)")
        .message("must have at least one value when `operator` is In or NotIn")
        .reason(Reason::FieldValueRequired)
        .field_path(".values"),
    validation = Rule::new("!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0")
        .message("may not be set when `operator` is Exists or DoesNotExist")
        .reason(Reason::FieldValueForbidden)
        .field_path(".values")
)]
pub struct AttributeExpression {
    /// Key of the attribute, for example `service.name`.
    #[schemars(length(min = 1, max = 256))]
    pub key: String,

    /// How the attribute is compared. An attribute that is absent satisfies
    /// `NotIn` and `DoesNotExist`.
    pub operator: AttributeOperator,

    /// Values for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::expression_values")]
    pub values: Vec<String>,

    /// Where the attribute is looked for. Unset means Any.
    // Without a default in the schema: in an atomic list it would make server-side
    // apply report a conflict between two managers who both leave it out.
    #[serde(default, skip_serializing_if = "AttributeScope::is_any")]
    pub scope: AttributeScope,
}

/// How an attribute is compared.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttributeOperator {
    /// The attribute has one of the values.
    In,
    /// The attribute is absent or has none of the values.
    NotIn,
    /// The attribute is present.
    Exists,
    /// The attribute is absent.
    DoesNotExist,
}

/// Where an attribute is looked for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttributeScope {
    /// Among identifying attributes first, then among the others.
    #[default]
    Any,
    /// Only among identifying attributes.
    Identifying,
    /// Only among non-identifying attributes.
    NonIdentifying,
}

impl AttributeScope {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}
