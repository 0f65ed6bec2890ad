//! `OpAMPAgent`: what the operator remembers about one authenticated agent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::{
    API_VERSION,
    values::{Identity, IdentityMethod, ProfileKey},
};

/// Kind of an agent record.
pub const AGENT_KIND: &str = "OpAMPAgent";

/// One authenticated agent. Lives in the agent's home namespace and is named
/// by its instance UID.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpAMPAgent {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`AGENT_KIND`].
    pub kind: String,
    /// Where the record lives.
    pub metadata: AgentMetadata,
    /// The binding: which identity the instance UID belongs to.
    pub spec: OpAMPAgentSpec,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<OpAMPAgentStatus>,
}

impl OpAMPAgent {
    /// A record without status for an instance UID that belongs to an identity.
    #[must_use]
    pub fn new(instance_uid: &str, identity: &Identity) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: AGENT_KIND.to_owned(),
            metadata: AgentMetadata {
                name: instance_uid.to_owned(),
                namespace: identity.namespace.clone(),
            },
            spec: OpAMPAgentSpec {
                instance_uid: instance_uid.to_owned(),
                identity: BoundIdentity {
                    method: identity.method,
                    authenticator: identity.authenticator.clone(),
                    subject: identity.subject.clone(),
                },
            },
            status: None,
        }
    }

    /// The identity that the instance UID belongs to.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let bound = &self.spec.identity;
        Identity {
            namespace: self.metadata.namespace.clone(),
            method: bound.method,
            authenticator: bound.authenticator.clone(),
            subject: bound.subject.clone(),
        }
    }
}

/// Where an agent record lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentMetadata {
    /// The instance UID.
    pub name: String,
    /// Home namespace of the agent.
    pub namespace: String,
}

/// The binding of an instance UID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpAMPAgentSpec {
    /// The instance UID.
    #[serde(rename = "instanceUID")]
    pub instance_uid: String,
    /// The first identity that used it.
    pub identity: BoundIdentity,
}

/// An identity without its namespace, which is the record's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundIdentity {
    /// How the agent proved who it is.
    pub method: IdentityMethod,
    /// Name of the authenticator in the operator's configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authenticator: String,
    /// Who, in the words of the authenticator.
    pub subject: String,
}

/// What is known about an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpAMPAgentStatus {
    /// The profile that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileKey>,
    /// Whether the agent is connected.
    pub connected: bool,
    /// How it is, or was last, connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Where it stands with its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsStatus>,
    /// What was offered under this instance UID, newest last: whoever shows
    /// one of these credentials may speak for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<OfferedRevision>,
}

/// A revision that an agent was offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedRevision {
    /// Whose revision.
    pub profile: ProfileKey,
    /// Its number.
    pub revision: i64,
}

/// How an agent is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// By WebSocket.
    WebSocket,
    /// By polling over plain HTTP.
    #[serde(rename = "HTTP")]
    Http,
}

/// Where an agent stands with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsStatus {
    /// Number of the revision that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// How far the agent is.
    pub state: SettingsState,
    /// By what the agent proved that it runs the revision.
    pub evidence: Evidence,
    /// When `state` last changed.
    pub last_transition_time: Time,
}

/// How far an agent is with a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// By what an agent proved that it runs its settings.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
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
            "apiVersion": API_VERSION,
            "kind": AGENT_KIND,
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
        let again = OpAMPAgent::new("u", &agent.identity());
        assert_eq!(again.spec, agent.spec);
    }
}
