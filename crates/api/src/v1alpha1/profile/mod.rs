//! `OpAMPConnectionProfile`: which agents use which connection settings.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

mod headers;
mod proxy;
mod rules;
mod sections;
mod selector;
mod settings;
mod status;
mod trust;

pub use headers::{HeaderSetting, HeaderValueSource, SecretKeyRef};
pub use proxy::{ConnectHeader, ProxySettings};
pub use sections::{ConnectionPart, OtherConnection, OwnTelemetry, TelemetryConnection};
pub use selector::{
    AgentSelector, AgentTokenIdentity, AttributeExpression, AttributeOperator, AttributeScope,
    AuthenticatedAs, CertificateIdentity, JwtIdentity, ServiceAccountIdentity,
};
pub use settings::{Compatibility, OpAMPSettings, ServedBy};
pub use status::{
    AgentCounts, AgentFailure, EvidenceCounts, FailureReason, OpAMPConnectionProfileStatus,
    ReferenceStatus, RevisionCause, RevisionStatus,
};
pub use trust::{
    BundleKind, CABundleRef, CertificateSource, CipherSuite, ClientCertificate, SecretRef,
    ServerTrust, SystemCAs, TLSVersion,
};

/// Which agents get these connection settings, and what the settings are.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "opamp-operator.dev",
    version = "v1alpha1",
    kind = "OpAMPConnectionProfile",
    plural = "opampconnectionprofiles",
    singular = "opampconnectionprofile",
    namespaced,
    shortname = "opcp",
    category = "opamp",
    status = "OpAMPConnectionProfileStatus",
    derive = "PartialEq",
    doc = "Connection settings for OpAMP agents: these agents use that endpoint, these headers, this certificate and this CA. Whenever the profile or a Secret or ConfigMap that it names changes, every selected agent is offered the new settings at once, and the status counts the agents that proved to run them. Deleting a profile takes nothing back: OpAMP has no such message, so agents keep what they have until another profile selects them.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether every capable matched agent runs the current revision"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready, or why not"
    ),
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".status.revision.number",
        description = "The revision in force"
    ),
    printcolumn(
        name = "Agents",
        type_ = "integer",
        json_path = ".status.agents.matched",
        description = "Agents that use this profile"
    ),
    printcolumn(
        name = "Up-To-Date",
        type_ = "integer",
        json_path = ".status.agents.upToDate",
        description = "Agents that proved to run the revision in force"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".spec.opamp.endpoint",
        description = "Where the agents are sent; empty means this operator",
        priority = 1
    ),
    printcolumn(
        name = "Priority",
        type_ = "integer",
        json_path = ".spec.priority",
        description = "The highest priority wins where profiles overlap",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct OpAMPConnectionProfileSpec {
    /// Which agents use this profile. `{}` selects every agent of the
    /// namespace. All parts that are given must agree.
    pub agent_selector: AgentSelector,

    /// Of all profiles that select an agent, the one with the highest priority
    /// applies as a whole. Equal priorities are decided by name. Values above
    /// 1000000 are kept for profiles in the operator's admin namespaces.
    #[serde(default)]
    #[schemars(range(min = -2_000_000_000, max = 2_000_000_000))]
    pub priority: i32,

    /// Stops new offers at once. Agents keep what they have.
    #[serde(default)]
    pub paused: bool,

    /// How the agents connect to their OpAMP server.
    pub opamp: OpAMPSettings,

    /// Where the agents send their own telemetry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OwnTelemetry")]
    pub own_telemetry: Option<OwnTelemetry>,

    /// Other connections of the agents, by names that they know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub other_connections: Vec<OtherConnection>,
}
