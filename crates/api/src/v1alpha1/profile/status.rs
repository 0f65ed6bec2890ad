//! Status types: what the operator reports about a profile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{schema, values::ObjectKind};

/// What the operator knows about a profile and the agents that use it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OpAMPConnectionProfileStatus {
    /// The `metadata.generation` that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,

    /// The conditions `Ready`, `Accepted`, `ResolvedRefs`, `CredentialsValid` and
    /// `Progressing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The revision in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RevisionStatus")]
    pub revision: Option<RevisionStatus>,

    /// How many agents stand where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentCounts")]
    pub agents: Option<AgentCounts>,

    /// The objects that the profile uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub references: Vec<ReferenceStatus>,
}

/// A revision: one set of settings, counted from 1 in each profile.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Number of the revision.
    pub number: i64,

    /// Start of the marker that agents send back when they run this revision.
    #[schemars(length(max = 64))]
    pub marker: String,

    /// When the revision came into force.
    #[schemars(schema_with = "schema::time")]
    pub start_time: Time,

    /// What made the revision.
    pub cause: RevisionCause,
}

/// What made a revision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevisionCause {
    /// The profile was written.
    SpecChanged,
    /// A Secret changed.
    SecretChanged,
    /// A `ConfigMap` changed.
    ConfigMapChanged,
}

/// How many agents stand where with the revision in force.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentCounts {
    /// Agents that use this profile.
    pub matched: i32,
    /// Of these, the ones that are connected.
    pub connected: i32,
    /// Agents that proved to run the revision in force.
    pub up_to_date: i32,
    /// Agents that were offered the revision and have not come back yet.
    pub in_progress: i32,
    /// Agents that will be offered the revision.
    pub pending: i32,
    /// Agents that reported that the settings do not work for them.
    pub failed: i32,
    /// Agents that went away after an offer and did not come back in time.
    pub lost: i32,
    /// Agents that went to the server of another, as the profile says. Whether
    /// they arrived is not seen from here.
    pub departed: i32,
    /// Agents that do not accept connection settings.
    pub incapable: i32,
    /// Agents that are connected by credentials that would not be admitted
    /// again: give them new ones before they reconnect.
    pub cannot_return: i32,
    /// By what the agents that are up to date proved it.
    pub evidence: EvidenceCounts,
}

/// By what agents proved that they run the revision in force.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct EvidenceCounts {
    /// By the header that came with the settings.
    pub settings_header: i32,
    /// By the new client certificate.
    pub client_certificate: i32,
    /// By the new token.
    pub token: i32,
    /// By their own report.
    pub report: i32,
}

/// One object that the profile uses.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceStatus {
    /// Kind of the object.
    pub kind: ObjectKind,

    /// Name of the object.
    #[schemars(length(max = 253))]
    pub name: String,

    /// The version of the object that was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub resource_version: Option<String>,

    /// When the first certificate in the object expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub not_after: Option<Time>,
}
