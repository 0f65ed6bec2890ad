//! The message that an opamp-go client sends next.
//!
//! A change is added to it at once; it leaves when the sender comes to it.  So
//! several changes may travel in one message, and every message that leaves
//! takes the next sequence number.

use opamp_wire::AgentCapabilities;
use opamp_wire::proto::{
    AgentConfigFile, AgentConfigMap, AgentDescription, AgentDisconnect, AgentToServer, AnyValue,
    ComponentHealth, ConnectionSettingsStatus, EffectiveConfig, KeyValue, PackageStatuses,
    RemoteConfigStatus, any_value::Value,
};
use uuid::Uuid;

use super::{Mode, Options};

/// What an agent says of itself when it is asked for everything.
#[derive(Clone)]
pub(super) struct State {
    pub(super) capabilities: u64,
    pub(super) description: AgentDescription,
    pub(super) healthy: bool,
    pub(super) settings: Option<ConnectionSettingsStatus>,
}

impl State {
    pub(super) fn new(options: &Options, uid: Uuid, healthy: bool) -> Self {
        let text = |(key, value): (&str, &str)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(value.to_owned())),
            }),
        };
        let uid = uid.to_string();
        let own = [("service.name", "otelcol"), ("service.instance.id", &uid)];
        let given = options
            .attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        Self {
            capabilities: capabilities(options),
            description: AgentDescription {
                identifying_attributes: own.into_iter().map(text).collect(),
                non_identifying_attributes: given.map(text).collect(),
            },
            healthy,
            settings: None,
        }
    }

    fn reports_settings(&self) -> bool {
        let bit = AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS;
        self.capabilities & bit != 0
    }

    /// Writes everything into a message.
    pub(super) fn write_all(&self, message: &mut AgentToServer) {
        message.capabilities = self.capabilities;
        message.agent_description = Some(self.description.clone());
        message.health = Some(self.health());
        message.effective_config = Some(effective_config());
        // opamp-go sends both in every full state, empty for who has none.
        message.remote_config_status = Some(RemoteConfigStatus::default());
        message.package_statuses = Some(PackageStatuses::default());
        if self.reports_settings() {
            message
                .connection_settings_status
                .clone_from(&self.settings);
        }
    }

    pub(super) fn health(&self) -> ComponentHealth {
        ComponentHealth {
            healthy: self.healthy,
            ..ComponentHealth::default()
        }
    }
}

fn capabilities(options: &Options) -> u64 {
    let mut bits = AgentCapabilities::REPORTS_STATUS
        | AgentCapabilities::REPORTS_EFFECTIVE_CONFIG
        | AgentCapabilities::REPORTS_HEALTH
        | AgentCapabilities::REPORTS_HEARTBEAT;
    if options.accepts_settings {
        bits |= AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS;
    }
    if options.mode == Mode::Persist {
        bits |= AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS;
    }
    bits
}

pub(super) fn effective_config() -> EffectiveConfig {
    let file = AgentConfigFile {
        body: "receivers: {nop: {}}\n".into(),
        content_type: "text/yaml".to_owned(),
    };
    EffectiveConfig {
        config_map: Some(AgentConfigMap {
            config_map: [(String::new(), file)].into(),
        }),
    }
}

/// The message that leaves next.
pub(super) struct Outbox {
    next: AgentToServer,
    pending: bool,
}

impl Outbox {
    pub(super) fn new(uid: Uuid, capabilities: u64) -> Self {
        Self {
            next: AgentToServer {
                instance_uid: uid.as_bytes().to_vec().into(),
                capabilities,
                ..AgentToServer::default()
            },
            pending: false,
        }
    }

    /// Changes the next message; it is to be sent now, changed or not.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut AgentToServer)) {
        change(&mut self.next);
        self.pending = true;
    }

    pub(super) fn goodbye(&mut self) {
        self.update(|message| message.agent_disconnect = Some(AgentDisconnect {}));
    }

    /// The message to send now, if there is one.
    pub(super) fn take(&mut self) -> Option<AgentToServer> {
        if !std::mem::take(&mut self.pending) {
            return None;
        }
        let after = AgentToServer {
            instance_uid: self.next.instance_uid.clone(),
            sequence_num: self.next.sequence_num + 1,
            capabilities: self.next.capabilities,
            ..AgentToServer::default()
        };
        Some(std::mem::replace(&mut self.next, after))
    }
}
