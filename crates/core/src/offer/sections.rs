//! What an offer holds beside the `opamp` section: own telemetry, and other
//! connections. Each goes to agents that can use it. What is wrong with one of
//! them keeps nothing of OpAMP back, so they are judged apart from that.

use std::collections::BTreeSet;

use jiff::Timestamp;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{
        ConnectionPart, OpAMPConnectionProfileSpec, OtherConnection, OwnTelemetry, SystemCAs,
        TelemetryConnection,
    },
    values::ObjectRef,
};
use opamp_wire::{
    AgentCapabilities,
    proto::{ConnectionSettingsOffers, OtherConnectionSettings, TelemetryConnectionSettings},
};

use prost::Message as _;

use super::{
    Observed, Refusal,
    connection::Connection,
    group::{Group, Part},
    outcome::{Stop, refused},
    read::{Reader, Section, named},
    references::part_references,
};
use crate::earliest;

/// What a collector's YAML would not bring through as it is.
const NOT_FOR_YAML: [char; 3] = ['"', '\\', '$'];

/// The sections beside `opamp`. No `Debug`.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Sections {
    own: Group<TelemetryConnectionSettings>,
    others: Group<OtherConnectionSettings>,
}

/// How much of the sections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// What may be sent.
    Open,
    /// Also what is held back.
    Whole,
}

impl Sections {
    /// Reads all of them. What is broken stays as it is in `last`; why it is
    /// broken is told beside.
    pub(super) fn read<'a, F: Fn(&ObjectRef) -> &'a Observed>(
        reader: &mut Reader<'_, F>,
        spec: &OpAMPConnectionProfileSpec,
        last: Option<&Self>,
    ) -> (Self, Vec<Refusal>) {
        let (mut sections, mut broken) = (Self::default(), Vec::new());
        let now = reader.now;
        let own = spec.own_telemetry.iter().flat_map(OwnTelemetry::signals);
        for (name, signal) in own {
            let part = signal.part(format!("ownTelemetry.{name}"));
            let read = telemetry(reader, signal, &part).map_err(|stop| at(&part, stop));
            let last = last.map(|last| &last.own);
            sections.own.put(name, read, last, &mut broken, now);
        }
        for other in &spec.other_connections {
            let part = other.part();
            let read = other_connection(reader, other, &part).map_err(|stop| at(&part, stop));
            let last = last.map(|last| &last.others);
            sections
                .others
                .put(&other.name, read, last, &mut broken, now);
        }
        // Also of what stays although its objects changed.
        let ends = earliest(sections.own.not_after(), sections.others.not_after());
        reader.until = earliest(reader.until, ends);
        (sections, broken)
    }

    /// The same, of which nothing is known.
    pub(super) fn forgotten(&self) -> Self {
        Self {
            own: self.own.forgotten(),
            others: self.others.forgotten(),
        }
    }

    /// Holds back what is made of objects that were taken away.
    pub(super) fn withhold(&mut self, taken: impl Fn(&ObjectRef) -> bool) {
        self.own.withhold(&taken);
        self.others.withhold(&taken);
    }

    /// What they are made of.
    pub(super) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.own.objects().chain(self.others.objects())
    }

    /// The same message with these sections.
    pub(super) fn add_to(&self, offers: ConnectionSettingsOffers) -> ConnectionSettingsOffers {
        ConnectionSettingsOffers {
            own_metrics: self.own.get("metrics"),
            own_traces: self.own.get("traces"),
            own_logs: self.own.get("logs"),
            other_connections: self.others.all(),
            ..offers
        }
    }

    /// Those that an agent can use; none if it can use none, or if it is not
    /// known what all of them are.
    pub(super) fn of(
        &self,
        agent: AgentCapabilities,
        extent: Extent,
    ) -> Option<ConnectionSettingsOffers> {
        let (own, others) = usable(agent);
        if extent == Extent::Whole
            && ((own && !self.own.is_known()) || (others && !self.others.is_known()))
        {
            return None;
        }
        let open = extent == Extent::Open;
        let mut message = self.add_to(ConnectionSettingsOffers::default());
        if !agent.reports_own_metrics() {
            message.own_metrics = None;
        }
        if !agent.reports_own_traces() {
            message.own_traces = None;
        }
        if !agent.reports_own_logs() {
            message.own_logs = None;
        }
        if open && self.own.stays() {
            (message.own_metrics, message.own_traces, message.own_logs) = (None, None, None);
        }
        if !others || (open && self.others.stays()) {
            message.other_connections.clear();
        }
        (message != ConnectionSettingsOffers::default()).then_some(message)
    }

    /// When the first certificate of those that an agent can use ends.
    pub(super) fn not_after(&self, agent: AgentCapabilities) -> Option<Timestamp> {
        let (own, others) = usable(agent);
        let own = (own && !self.own.stays()).then(|| self.own.not_after());
        let others = (others && !self.others.stays()).then(|| self.others.not_after());
        earliest(own.flatten(), others.flatten())
    }

    pub(super) fn encoded_len(&self) -> usize {
        let all = self.add_to(ConnectionSettingsOffers::default());
        all.encoded_len()
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether an agent can use own telemetry of any kind, and other connections.
fn usable(agent: AgentCapabilities) -> (bool, bool) {
    let own = agent.reports_own_metrics() || agent.reports_own_traces() || agent.reports_own_logs();
    (own, agent.accepts_other_connection_settings())
}

/// Says where in the spec it is that something is wrong.
fn at(part: &ConnectionPart<'_>, stop: Stop) -> Stop {
    match stop {
        Stop::Pending => Stop::Pending,
        Stop::Refused(refusal) => Stop::Refused(Refusal {
            message: format!("`{}`: {}", part.path, refusal.message),
            ..refusal
        }),
    }
}

fn telemetry<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    signal: &TelemetryConnection,
    part: &ConnectionPart<'_>,
) -> Result<Part<TelemetryConnectionSettings>, Stop> {
    let connection = connection(reader, part, signal.endpoint.starts_with("https://"))?;
    let dollar = signal
        .headers
        .iter()
        .find(|header| header.name.contains('$'));
    if let Some(header) = dollar {
        return Err(refused(
            ConditionType::Accepted,
            Reason::InvalidSpec,
            format!(
                "the name of header `{}` of `{}` has a dollar sign, which collectors take for the beginning of a \
                 variable: choose another name",
                header.name, part.path
            ),
        ));
    }
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
    Ok(made(reader, part, &connection, settings))
}

fn other_connection<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    other: &OtherConnection,
    part: &ConnectionPart<'_>,
) -> Result<Part<OtherConnectionSettings>, Stop> {
    let trust = part.tls;
    let trusts = trust.ca_bundle_ref.is_some()
        || trust.system_cas == SystemCAs::Include
        || trust.insecure_skip_verify;
    let clear = ["ws://", "http://"].iter().any(|clear| {
        let scheme = other.endpoint.get(..clear.len());
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(clear))
    });
    let connection = connection(reader, part, trusts && !clear)?;
    let settings = OtherConnectionSettings {
        destination_endpoint: other.endpoint.clone(),
        headers: Some(connection.headers()),
        certificate: connection.strict_certificate(),
        other_settings: other.settings.clone(),
        tls: connection.tls(),
        proxy: connection.proxy(),
    };
    Ok(made(reader, part, &connection, settings))
}

fn made<F, T>(
    reader: &Reader<'_, F>,
    part: &ConnectionPart<'_>,
    connection: &Connection,
    settings: T,
) -> Part<T> {
    let made_of: BTreeSet<_> = part_references(&reader.key.namespace, part);
    Part {
        settings,
        made_of,
        not_after: connection.ends(),
        ended: false,
        withheld: false,
    }
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
