//! What an offer holds beside the `opamp` section: own telemetry, and other
//! connections. Each goes to agents that can use it, all that an agent can use
//! go together: a supervisor drops what is not there (agents.md H28).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{ConnectionPart, OpAMPConnectionProfileSpec, SystemCAs, TelemetryConnection},
    values::ObjectRef,
};
use opamp_wire::{
    AgentCapabilities, OfferBytes,
    proto::{ConnectionSettingsOffers, OtherConnectionSettings, TelemetryConnectionSettings},
};
use prost::Message as _;

use super::{
    Observed, WireHash,
    connection::Connection,
    hash,
    outcome::{Stop, refused},
    read::{Reader, Section, named},
};
use crate::identity::{Digest, KeyRing};

/// What a collector's YAML would not bring through as it is.
const NOT_FOR_YAML: [char; 3] = ['"', '\\', '$'];

/// The sections beside `opamp`. No `Debug`.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Sections {
    metrics: Option<Part<TelemetryConnectionSettings>>,
    traces: Option<Part<TelemetryConnectionSettings>>,
    logs: Option<Part<TelemetryConnectionSettings>>,
    others: BTreeMap<String, Part<OtherConnectionSettings>>,
}

/// One of them, and when its client certificate ends.
#[derive(Clone, PartialEq)]
struct Part<T> {
    settings: T,
    ends: Option<Timestamp>,
}

/// What one agent is sent beside `opamp`.
#[derive(Clone)]
pub struct Beside {
    /// Of these very sections: what changed has another.
    pub digest: Digest,
    /// As each of the operator's keys makes it.
    known: Vec<Digest>,
    /// When the first client certificate in them ends.
    pub not_after: Option<Timestamp>,
    /// The hash that travels with them; no offer of `opamp` has the same, since
    /// a client may skip a hash that it has seen (agents.md H17).
    pub hash: WireHash,
    /// To be sent.
    pub bytes: OfferBytes,
}

impl Beside {
    /// Does the digest name these sections, also if it is from before the
    /// operator's key was renewed?
    #[must_use]
    pub fn is(&self, digest: Digest) -> bool {
        self.known.contains(&digest)
    }
}

impl Sections {
    pub(super) fn read<'a, F: Fn(&ObjectRef) -> &'a Observed>(
        reader: &mut Reader<'_, F>,
        spec: &OpAMPConnectionProfileSpec,
    ) -> Result<Self, Stop> {
        let mut sections = Self::default();
        if let Some(own) = &spec.own_telemetry {
            let mut read = |name: &str, signal: &Option<TelemetryConnection>| {
                let signal = signal.as_ref();
                signal
                    .map(|signal| telemetry(reader, signal, name))
                    .transpose()
            };
            sections.metrics = read("metrics", &own.metrics)?;
            sections.traces = read("traces", &own.traces)?;
            sections.logs = read("logs", &own.logs)?;
        }
        for other in &spec.other_connections {
            let part = other.part();
            let trust = part.tls;
            let trusts = trust.ca_bundle_ref.is_some()
                || trust.system_cas == SystemCAs::Include
                || trust.insecure_skip_verify;
            let clear = ["ws://", "http://"].iter().any(|clear| {
                let scheme = other.endpoint.get(..clear.len());
                scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(clear))
            });
            let connection = connection(reader, &part, trusts && !clear)?;
            let settings = OtherConnectionSettings {
                destination_endpoint: other.endpoint.clone(),
                headers: Some(connection.headers()),
                certificate: connection.strict_certificate(),
                other_settings: other.settings.clone(),
                tls: connection.tls(),
                proxy: connection.proxy(),
            };
            let ends = connection.ends();
            let part = Part { settings, ends };
            sections.others.insert(other.name.clone(), part);
        }
        Ok(sections)
    }

    /// The same message with these sections.
    pub(super) fn add_to(&self, offers: ConnectionSettingsOffers) -> ConnectionSettingsOffers {
        let others = self.others.iter();
        let others = others.map(|(name, part)| (name.clone(), part.settings.clone()));
        ConnectionSettingsOffers {
            own_metrics: settings(self.metrics.as_ref()),
            own_traces: settings(self.traces.as_ref()),
            own_logs: settings(self.logs.as_ref()),
            other_connections: others.collect(),
            ..offers
        }
    }

    /// Those that an agent can use.
    fn of(&self, agent: AgentCapabilities) -> Self {
        let others = agent.accepts_other_connection_settings();
        Self {
            metrics: self.metrics.clone().filter(|_| agent.reports_own_metrics()),
            traces: self.traces.clone().filter(|_| agent.reports_own_traces()),
            logs: self.logs.clone().filter(|_| agent.reports_own_logs()),
            others: if others {
                self.others.clone()
            } else {
                BTreeMap::new()
            },
        }
    }

    /// When the first client certificate ends.
    fn ends(&self) -> Option<Timestamp> {
        let own = [&self.metrics, &self.traces, &self.logs];
        let own = own.into_iter().flatten().filter_map(|part| part.ends);
        let others = self.others.values().filter_map(|part| part.ends);
        own.chain(others).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Each form is encoded once, and shared by all agents that can use the same.
#[derive(Default)]
pub(super) struct Encoded(Mutex<BTreeMap<u64, Option<Arc<Beside>>>>);

/// The capabilities that tell the forms apart.
const TELLING: u64 = AgentCapabilities::REPORTS_OWN_METRICS
    | AgentCapabilities::REPORTS_OWN_TRACES
    | AgentCapabilities::REPORTS_OWN_LOGS
    | AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS;

impl Encoded {
    /// For an agent. `all` is the digest of all sections, `opamp` included.
    pub(super) fn of(
        &self,
        sections: &Sections,
        agent: AgentCapabilities,
        keys: &KeyRing,
        all: impl FnOnce() -> hash::SectionsDigest,
    ) -> Option<Arc<Beside>> {
        let mut forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let form = forms.entry(agent.0 & TELLING).or_insert_with(|| {
            let usable = sections.of(agent);
            if usable.is_empty() {
                return None;
            }
            let message = usable.add_to(ConnectionSettingsOffers::default());
            let these = hash::sections_digest(&message.encode_to_vec());
            let hash = hash::beside_hash(keys, &all(), &these);
            let bytes = OfferBytes::encode(&ConnectionSettingsOffers {
                hash: hash.as_bytes().to_vec().into(),
                ..message
            });
            Some(Arc::new(Beside {
                digest: hash::beside(keys, &these),
                known: hash::beside_by_each(keys, &these),
                not_after: usable.ends(),
                hash,
                bytes,
            }))
        });
        form.clone()
    }
}

fn settings<T: Clone>(part: Option<&Part<T>>) -> Option<T> {
    part.map(|part| part.settings.clone())
}

fn telemetry<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    signal: &TelemetryConnection,
    name: &str,
) -> Result<Part<TelemetryConnectionSettings>, Stop> {
    let part = signal.part(format!("ownTelemetry.{name}"));
    let connection = connection(reader, &part, signal.endpoint.starts_with("https://"))?;
    let unfit = |(_, value): &&(String, zeroize::Zeroizing<String>)| value.contains(NOT_FOR_YAML);
    if let Some((header, _)) = connection.headers.iter().find(unfit) {
        return Err(refused(
            ConditionType::ResolvedRefs,
            Reason::InvalidHeaderValue,
            format!(
                "the value of header `{header}` of `{}` has a quotation mark, a dollar sign or a backslash, which OpAMP \
                 Supervisors do not bring through: store another value",
                part.path
            ),
        ));
    }
    let settings = TelemetryConnectionSettings {
        destination_endpoint: signal.endpoint.clone(),
        headers: Some(connection.headers()),
        certificate: connection.strict_certificate(),
        tls: connection.tls(),
        proxy: connection.proxy(),
    };
    let ends = connection.ends();
    Ok(Part { settings, ends })
}

fn connection<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    part: &ConnectionPart<'_>,
    tls: bool,
) -> Result<Connection, Stop> {
    reader.connection(&Section {
        path: &format!("{}.", part.path),
        tls,
        client_ca: true,
        headers: named(part.headers),
        client_certificate: part.client_certificate,
        trust: part.tls,
        proxy: part.proxy,
    })
}
