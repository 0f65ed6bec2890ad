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
