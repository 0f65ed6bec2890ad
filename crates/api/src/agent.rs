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
    selectable = ".spec.identity.subject",
    selectable = ".status.connected",
    selectable = ".status.profile.name",
    selectable = ".status.settings.state",
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
        name = "Service",
        type_ = "string",
        json_path = ".status.description.serviceName",
        description = "What the agent says it is"
    ),
    printcolumn(
        name = "Host",
        type_ = "string",
        json_path = ".status.description.hostName",
        description = "Where the agent says it runs"
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
        name = "Authenticator",
        type_ = "string",
        json_path = ".spec.identity.authenticator",
        description = "The authenticator of the configuration that it proved it to",
        priority = 1
    ),
    printcolumn(
        name = "Identity",
        type_ = "string",
        json_path = ".spec.identity.subject",
        description = "Who it proved to be",
        priority = 1
    ),
    printcolumn(
        name = "Transport",
        type_ = "string",
        json_path = ".status.transport",
        description = "How it is connected",
        priority = 1
    ),
    printcolumn(
        name = "Error",
        type_ = "string",
        json_path = ".status.settings.lastError.message",
        description = "Why it could not use the settings",
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

    /// Other profiles that select the agent and give way to that one, best
    /// first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "atomic"))]
    pub overridden: Vec<ProfileKey>,

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

    /// The Pod that the agent was proved to run in last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentPod")]
    pub pod: Option<AgentPod>,

    /// How the agent is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Transport")]
    pub transport: Option<Transport>,

    /// When its newest connection was made, or its last poll after a silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub connected_time: Option<Time>,

    /// What the agent said last that it can do, by the names of the OpAMP
    /// specification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::capabilities")]
    pub capabilities: Vec<String>,

    /// What the agent says of itself, cut and cleaned. It is not proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentDescription")]
    pub description: Option<AgentDescription>,

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

/// What an agent says of itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentDescription {
    /// Its attribute `service.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 63))]
    pub service_name: Option<String>,
    /// Its attribute `host.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 63))]
    pub host_name: Option<String>,
}

/// A Pod in the namespace of its agent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its `metadata.uid`: a later Pod of that name is another one.
    #[schemars(length(max = 128))]
    pub uid: String,
}

/// What an agent reported of settings that it could not use.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AgentError {
    /// Its own words, as far as they are known to be harmless.
    #[schemars(length(max = 256))]
    pub message: String,
    /// When it said so.
    #[schemars(schema_with = "schema::time")]
    pub time: Time,
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
    /// Why the agent could not use what it was offered last; gone once it runs
    /// its settings. If it begins with `beside OpAMP`, it is about own telemetry
    /// or other connections, and the settings for OpAMP are not concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AgentError")]
    pub last_error: Option<AgentError>,
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
                "pod": {"name": "edge-0", "uid": "7"},
                "transport": "HTTP",
                "connectedTime": "2026-01-02T03:04:00Z",
                "capabilities": ["ReportsStatus"],
                "description": {"serviceName": "otelcol", "hostName": "h"},
                "settings": {
                    "revision": 3,
                    "state": "Applied",
                    "evidence": "SettingsHeader",
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                    "lastError": {"message": "bad certificate", "time": "2026-01-02T03:04:05Z"},
                },
            },
        });
        let agent: OpAMPAgent = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&agent).unwrap(), value);
        let again = OpAMPAgent::of("u", &agent.identity());
        assert_eq!(again.spec, agent.spec);
    }
}
