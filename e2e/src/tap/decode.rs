//! What a message says, in the few values the tests ask for.

use std::fmt;

use opamp_wire::proto;

use crate::pki::{Leaf, pem_fingerprint};

/// A message of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromAgent {
    /// The instance UID as a UUID in text.
    pub uid: String,
    /// The sequence number.
    pub sequence: u64,
    /// The capability bits.
    pub capabilities: u64,
    /// Whether it describes the agent (full state).
    pub described: bool,
    /// Whether the agent says goodbye.
    pub disconnect: bool,
    /// The names of all its other fields that are there.
    pub parts: Vec<&'static str>,
    /// Its health, if it says so.
    pub healthy: Option<bool>,
    /// What it says of the settings it was offered.
    pub settings: Option<SettingsStatus>,
}

impl FromAgent {
    /// Whether it says no more than that the agent is alive.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.parts.is_empty() && !self.disconnect
    }
}

/// What an agent says of the settings it was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsStatus {
    /// The wire hash in hex.
    pub hash: String,
    /// What became of them.
    pub status: proto::ConnectionSettingsStatuses,
    /// Whether it says why.
    pub explained: bool,
}

/// A message of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToAgent {
    /// The instance UID as a UUID in text.
    pub uid: String,
    /// The capability bits.
    pub capabilities: u64,
    /// The flags (1 asks for full state).
    pub flags: u64,
    /// The settings offered, if any.
    pub offer: Option<Offer>,
    /// Whether it carries a command.
    pub command: bool,
    /// The text of an error response.
    pub error: Option<String>,
    /// The instance UID that the agent is to take.
    pub new_uid: Option<String>,
}

/// Offered connection settings; its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The wire hash in hex.
    pub hash: String,
    /// Whether an `opamp` section is there at all.
    pub opamp: bool,
    /// Where the agent shall connect.
    pub endpoint: String,
    /// All headers, values included.
    pub headers: Vec<(String, String)>,
    /// The certificate message.
    pub certificate: Option<OfferedCertificate>,
    /// Seconds between heartbeats.
    pub heartbeat: u64,
}

/// The certificate message of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedCertificate {
    /// SHA-256 over the leaf.
    pub fingerprint: Option<String>,
    /// Whether a private key comes with it.
    pub key: bool,
    /// The CA bundle as PEM.
    pub ca: String,
    /// Certificate and key, where both came.
    pub(super) pair: Option<Box<Leaf>>,
}

impl Offer {
    /// The value of an offered header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(found)
            .map(|(_, value)| value.as_str())
    }

    /// The fingerprint of the offered client certificate.
    #[must_use]
    pub fn leaf(&self) -> Option<&str> {
        self.certificate.as_ref()?.fingerprint.as_deref()
    }

    /// The offered certificate with its key.
    pub(super) fn pair(&self) -> Option<&Leaf> {
        self.certificate.as_ref()?.pair.as_deref()
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let leaf = self.leaf().map(|leaf| leaf.get(..8).unwrap_or(leaf));
        write!(
            f,
            "offer {} to {} headers {names:?} certificate {leaf:?} heartbeat {} s",
            self.hash.get(..8).unwrap_or(&self.hash),
            self.endpoint,
            self.heartbeat
        )
    }
}

/// Reads a message of an agent; `framed` when it came in a WebSocket message.
pub(super) fn from_agent(bytes: &[u8], framed: bool) -> Result<FromAgent, String> {
    let message: proto::AgentToServer = read(bytes, framed)?;
    Ok(FromAgent {
        uid: uid(&message.instance_uid),
        sequence: message.sequence_num,
        capabilities: message.capabilities,
        described: message.agent_description.is_some(),
        disconnect: message.agent_disconnect.is_some(),
        parts: parts(&message),
        healthy: message.health.as_ref().map(|health| health.healthy),
        settings: message
            .connection_settings_status
            .as_ref()
            .map(settings_status),
    })
}

/// The names of the fields that are there, beside those that every message has.
fn parts(message: &proto::AgentToServer) -> Vec<&'static str> {
    let all = [
        ("description", message.agent_description.is_some()),
        ("health", message.health.is_some()),
        ("effective config", message.effective_config.is_some()),
        (
            "remote config status",
            message.remote_config_status.is_some(),
        ),
        ("package statuses", message.package_statuses.is_some()),
        ("flags", message.flags != 0),
        (
            "settings request",
            message.connection_settings_request.is_some(),
        ),
        ("custom capabilities", message.custom_capabilities.is_some()),
        ("custom message", message.custom_message.is_some()),
        (
            "available components",
            message.available_components.is_some(),
        ),
        (
            "settings status",
            message.connection_settings_status.is_some(),
        ),
    ];
    let there = all.into_iter().filter(|(_, there)| *there);
    there.map(|(name, _)| name).collect()
}

fn settings_status(status: &proto::ConnectionSettingsStatus) -> SettingsStatus {
    SettingsStatus {
        hash: hex::encode(&status.last_connection_settings_hash),
        status: status.status(),
        explained: !status.error_message.is_empty(),
    }
}

/// Reads a message of the operator; `framed` when it came in a WebSocket message.
pub(super) fn to_agent(bytes: &[u8], framed: bool) -> Result<ToAgent, String> {
    let message: proto::ServerToAgent = read(bytes, framed)?;
    Ok(ToAgent {
        uid: uid(&message.instance_uid),
        capabilities: message.capabilities,
        flags: message.flags,
        offer: message.connection_settings.map(offer),
        command: message.command.is_some(),
        error: message.error_response.map(|error| error.error_message),
        new_uid: message
            .agent_identification
            .map(|given| uid(&given.new_instance_uid)),
    })
}

fn read<M: prost::Message + Default>(bytes: &[u8], framed: bool) -> Result<M, String> {
    // A message may or may not begin with the header 0; no protobuf field has number 0.
    let body = match bytes {
        [0, rest @ ..] if framed => rest,
        all => all,
    };
    M::decode(body).map_err(|error| error.to_string())
}

fn offer(offers: proto::ConnectionSettingsOffers) -> Offer {
    let hash = hex::encode(&offers.hash);
    let present = offers.opamp.is_some();
    let opamp = offers.opamp.unwrap_or_default();
    let headers = opamp.headers.unwrap_or_default().headers;
    Offer {
        hash,
        opamp: present,
        endpoint: opamp.destination_endpoint,
        headers: headers
            .into_iter()
            .map(|header| (header.key, header.value))
            .collect(),
        certificate: opamp.certificate.as_ref().map(offered_certificate),
        heartbeat: opamp.heartbeat_interval_seconds,
    }
}

fn offered_certificate(certificate: &proto::TlsCertificate) -> OfferedCertificate {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (cert, key) = (text(&certificate.cert), text(&certificate.private_key));
    let pair = Leaf::read(&cert, &key);
    OfferedCertificate {
        fingerprint: pem_fingerprint(&certificate.cert),
        key: !key.is_empty(),
        ca: text(&certificate.ca_cert),
        pair: pair.filter(|_| !key.is_empty()).map(Box::new),
    }
}

/// 16 bytes as a UUID in text, anything else as plain hex.
fn uid(bytes: &[u8]) -> String {
    let text = hex::encode(bytes);
    if bytes.len() != 16 {
        return text;
    }
    let part = |from, to| text.get(from..to).unwrap_or_default();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(from, to)| part(from, to)).join("-")
}
