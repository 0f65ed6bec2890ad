//! `OpAMPAgent`: what the operator remembers about one authenticated agent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    schema,
    values::{Identity, IdentityMethod, ProfileKey},
};

/// The binding of an instance UID: which identity it belongs to.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "opamp-operator.dev",
    version = "v1alpha1",
    kind = "OpAMPAgent",
    plural = "opampagents",
    singular = "opampagent",
    namespaced,
    shortname = "opag",
    category = "opamp",
    status = "OpAMPAgentStatus",
    derive = "PartialEq",
    doc = "One authenticated OpAMP agent, as the operator knows it. The operator writes these objects: read them, do not write them. They live in the home namespace of the agent's identity and are named by its instance UID.",
    validation = Rule::new("self.metadata.name == self.spec.instanceUID").message("the name of an OpAMPAgent is its instance UID"),
    printcolumn(
        name = "Connected",
        type_ = "boolean",
        json_path = ".status.connected",
        description = "Whether the agent is connected"
    ),
    printcolumn(
        name = "Profile",
        type_ = "string",
        json_path = ".status.profile.name",
        description = "The profile that applies"
    ),
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".status.settings.revision",
        description = "The revision that the state is about"
    ),
    printcolumn(
        name = "Settings",
        type_ = "string",
        json_path = ".status.settings.state",
        description = "How far the agent is with it"
    ),
    printcolumn(
        name = "Evidence",
        type_ = "string",
        json_path = ".status.settings.evidence",
        description = "By what the agent proved that it runs the revision"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Method",
        type_ = "string",
        json_path = ".spec.identity.method",
        description = "How the agent proved who it is",
        priority = 1
    ),
    printcolumn(
        name = "Identity",
        type_ = "string",
        json_path = ".spec.identity.subject",
        description = "Who it proved to be",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct OpAMPAgentSpec {
    /// The instance UID, as the agent sends it.
    #[serde(rename = "instanceUID")]
    #[schemars(length(max = 36), regex(pattern = schema::INSTANCE_UID))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("an instance UID does not change: delete the object instead"))]
    pub instance_uid: String,

    /// The first identity that used the instance UID. No other may use it.
    pub identity: BoundIdentity,
}

impl OpAMPAgent {
    /// A record without status for an instance UID that belongs to an identity.
    #[must_use]
    pub fn of(instance_uid: &str, identity: &Identity) -> Self {
        let spec = OpAMPAgentSpec {
            instance_uid: instance_uid.to_owned(),
            identity: BoundIdentity {
                method: identity.method,
                authenticator: identity.authenticator.clone(),
                subject: identity.subject.clone(),
            },
        };
        let mut agent = Self::new(instance_uid, spec);
        agent.metadata.namespace = Some(identity.namespace.clone());
        agent
    }

    /// The identity that the instance UID belongs to.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let bound = &self.spec.identity;
        Identity {
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            method: bound.method,
            authenticator: bound.authenticator.clone(),
            subject: bound.subject.clone(),
        }
    }
}

/// An identity without its namespace, which is the record's.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct BoundIdentity {
    /// How the agent proved who it is.
    pub method: IdentityMethod,

    /// Name of the authenticator in the operator's configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub authenticator: String,

    /// Who, in the words of the authenticator.
    #[schemars(length(max = 1024))]
    pub subject: String,
}

/// What is known about an agent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct OpAMPAgentStatus {
    /// The profile that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProfileKey")]
    pub profile: Option<ProfileKey>,

    /// Whether the agent is connected.
    pub connected: bool,

    /// When the agent was last heard before this status was written: the time
    /// of its last change, not of its last heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_contact_time: Option<Time>,

    /// When the instance UID was bound to its identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub bound_time: Option<Time>,

    /// How the agent is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Transport")]
    pub transport: Option<Transport>,

    /// Where the agent stands with its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SettingsStatus")]
    pub settings: Option<SettingsStatus>,

    /// Keyed digest of the settings beside those for OpAMP that the agent was
    /// sent last: it is sent them anew when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub told: Option<String>,

    /// What was offered under this instance UID, newest last: whoever shows
    /// one of these credentials may speak for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub offered: Vec<OfferedRevision>,
}

/// A revision that an agent was offered.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct OfferedRevision {
    /// Whose revision.
    pub profile: ProfileKey,
    /// Its number.
    pub revision: i64,
}

/// How an agent is connected.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Transport {
    /// By WebSocket.
    WebSocket,
    /// By polling over plain HTTP.
    #[serde(rename = "HTTP")]
    Http,
}

/// Where an agent stands with its settings.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SettingsStatus {
    /// Number of the revision that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub revision: Option<i64>,
    /// How far the agent is.
    pub state: SettingsState,
    /// By what the agent proved that it runs the revision.
    pub evidence: Evidence,
    /// When `state` last changed.
    #[schemars(schema_with = "schema::time")]
    pub last_transition_time: Time,
}

/// How far an agent is with a revision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SettingsState {
    /// The revision will be offered.
    #[default]
    Pending,
    /// The revision was offered.
    Offered,
    /// The agent went away after the offer and is expected back.
    Switching,
    /// The agent proved that it runs the revision.
    Applied,
    /// The agent reported that the settings do not work.
    Failed,
    /// The agent went away after the offer and did not come back in time.
    Lost,
    /// The agent must prove who it is before it is offered anything.
    AwaitingProof,
    /// The agent went to the server of another, where its profile sends it.
    Departed,
}

/// By what an agent proved that it runs its settings.
#[derive(
    JsonSchema,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub enum Evidence {
    /// By the header that came with the settings.
    SettingsHeader,
    /// By the new client certificate.
    ClientCertificate,
    /// By the new token.
    Token,
    /// By its own report.
    Report,
    /// Not at all.
    #[default]
    None,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let value = json!({
            "apiVersion": crate::API_VERSION,
            "kind": "OpAMPAgent",
            "metadata": {"name": "u", "namespace": "default"},
            "spec": {
                "instanceUID": "u",
                "identity": {"method": "AgentToken", "authenticator": "bootstrap", "subject": "s"},
            },
            "status": {
                "profile": {"namespace": "default", "name": "fleet"},
                "connected": true,
                "transport": "HTTP",
                "settings": {
                    "revision": 3,
                    "state": "Applied",
                    "evidence": "SettingsHeader",
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                },
            },
        });
        let agent: OpAMPAgent = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&agent).unwrap(), value);
        let again = OpAMPAgent::of("u", &agent.identity());
        assert_eq!(again.spec, agent.spec);
    }
}
