//! `Debug` of every message: its outline, and nothing that a peer wrote.
//!
//! Private keys and tokens travel in a handful of fields, but agents also
//! quote them, in configuration, health, attributes and error messages. So no
//! message derives `Debug`: text, bytes and maps show their size, numbers show
//! themselves. Each list below takes its message apart completely; a field
//! that is added to a message does not compile until it is listed here.

use std::collections::BTreeMap;
use std::fmt;

use crate::proto;
use crate::proto::any_value::Value;
use crate::proto::server_error_response::Details;
use crate::uid::InstanceUid;

/// How text and bytes are shown.
struct Size(usize);

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("empty"),
            size => write!(f, "{size} bytes"),
        }
    }
}

/// How maps and lists of text are shown: keys are a peer's text too.
struct Count(usize);

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.0)
    }
}

/// An instance UID, which is no secret, if it has the form of one.
struct Uid<'a>(&'a [u8]);

impl fmt::Debug for Uid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match InstanceUid::try_from(self.0) {
            Ok(uid) => fmt::Debug::fmt(&uid, f),
            Err(_) => fmt::Debug::fmt(&Size(self.0.len()), f),
        }
    }
}

fn size(field: &impl AsRef<[u8]>) -> Size {
    Size(field.as_ref().len())
}

fn texts(field: &[String]) -> Count {
    Count(field.len())
}

fn map<V>(field: &BTreeMap<String, V>) -> Count {
    Count(field.len())
}

fn uid(field: &impl AsRef<[u8]>) -> Uid<'_> {
    Uid(field.as_ref())
}

/// Numbers, and messages that outline themselves.
fn shown<T: fmt::Debug>(field: &T) -> &T {
    field
}

macro_rules! outline {
    ($($message:ident { $($field:ident: $how:ident),* $(,)? })*) => {$(
        impl fmt::Debug for proto::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { $($field),* } = self;
                let mut out = f.debug_struct(stringify!($message));
                $(out.field(stringify!($field).trim_start_matches("r#"), &$how($field));)*
                out.finish()
            }
        }
    )*};
}

// What travels.
outline! {
    AgentToServer {
        instance_uid: uid, sequence_num: shown, agent_description: shown, capabilities: shown,
        health: shown, effective_config: shown, remote_config_status: shown,
        package_statuses: shown, agent_disconnect: shown, flags: shown,
        connection_settings_request: shown, custom_capabilities: shown, custom_message: shown,
        available_components: shown, connection_settings_status: shown,
    }
    ServerToAgent {
        instance_uid: uid, error_response: shown, remote_config: shown,
        connection_settings: shown, packages_available: shown, flags: shown,
        capabilities: shown, agent_identification: shown, command: shown,
        custom_capabilities: shown, custom_message: shown,
    }
    AgentDisconnect {}
    AgentIdentification { new_instance_uid: uid }
    ServerErrorResponse { r#type: shown, error_message: size, details: shown }
    RetryInfo { retry_after_nanoseconds: shown }
    ServerToAgentCommand { r#type: shown }
    CustomCapabilities { capabilities: texts }
    CustomMessage { capability: size, r#type: size, data: size }
}

// An agent about itself.
outline! {
    AgentDescription { identifying_attributes: shown, non_identifying_attributes: shown }
    KeyValue { key: size, value: shown }
    AnyValue { value: shown }
    ArrayValue { values: shown }
    KeyValueList { values: shown }
    ComponentHealth {
        healthy: shown, start_time_unix_nano: shown, last_error: size, status: size,
        status_time_unix_nano: shown, component_health_map: map,
    }
    AvailableComponents { components: map, hash: size }
    ComponentDetails { metadata: shown, sub_component_map: map }
}

// Connection settings.
outline! {
    ConnectionSettingsOffers {
        hash: size, opamp: shown, own_metrics: shown, own_traces: shown, own_logs: shown,
        other_connections: map,
    }
    OpAmpConnectionSettings {
        destination_endpoint: size, headers: shown, certificate: shown,
        heartbeat_interval_seconds: shown, tls: shown, proxy: shown,
    }
    TelemetryConnectionSettings {
        destination_endpoint: size, headers: shown, certificate: shown, tls: shown, proxy: shown,
    }
    OtherConnectionSettings {
        destination_endpoint: size, headers: shown, certificate: shown, other_settings: map,
        tls: shown, proxy: shown,
    }
    Headers { headers: shown }
    Header { key: size, value: size }
    TlsCertificate { cert: size, private_key: size, ca_cert: size }
    TlsConnectionSettings {
        ca_pem_contents: size, include_system_ca_certs_pool: shown, insecure_skip_verify: shown,
        min_version: size, max_version: size, cipher_suites: texts,
    }
    ProxyConnectionSettings { url: size, connect_headers: shown }
    ConnectionSettingsStatus { last_connection_settings_hash: size, status: shown, error_message: size }
    ConnectionSettingsRequest { opamp: shown }
    OpAmpConnectionSettingsRequest { certificate_request: shown }
    CertificateRequest { csr: size }
}

// Remote configuration and packages.
outline! {
    AgentRemoteConfig { config: shown, config_hash: size }
    EffectiveConfig { config_map: shown }
    AgentConfigMap { config_map: map }
    AgentConfigFile { body: size, content_type: size }
    RemoteConfigStatus { last_remote_config_hash: size, status: shown, error_message: size }
    PackagesAvailable { packages: map, all_packages_hash: size }
    PackageAvailable { r#type: shown, version: size, file: shown, hash: size }
    DownloadableFile { download_url: size, content_hash: size, signature: size, headers: shown }
    PackageStatuses { packages: map, server_provided_all_packages_hash: size, error_message: size }
    PackageStatus {
        name: size, agent_has_version: size, agent_has_hash: size, server_offered_version: size,
        server_offered_hash: size, status: shown, error_message: size, download_details: shown,
    }
    PackageDownloadDetails { download_percent: shown, download_bytes_per_second: shown }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StringValue(text) => write!(f, "string of {:?}", size(text)),
            Self::BytesValue(bytes) => write!(f, "bytes of {:?}", size(bytes)),
            Self::BoolValue(_) => f.write_str("bool"),
            Self::IntValue(_) => f.write_str("int"),
            Self::DoubleValue(_) => f.write_str("double"),
            Self::ArrayValue(array) => write!(f, "array of {:?}", Count(array.values.len())),
            Self::KvlistValue(list) => write!(f, "map of {:?}", Count(list.values.len())),
        }
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetryInfo(info) => info.fmt(f),
        }
    }
}
