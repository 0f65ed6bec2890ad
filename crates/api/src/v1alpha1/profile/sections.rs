//! Spec types for what agents connect to beside their OpAMP server.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    CertificateSource, ClientCertificate, HeaderSetting, OpAMPConnectionProfileSpec, ProxySettings,
    ServerTrust,
    rules::{UNIQUE_NAMES, url_form},
};
use crate::schema;

const CLEAR: &str = "self.endpoint.matches('^(?i)(ws|http)://')";
const SAYS_TLS: &str = concat!(
    "(has(self.tls.caBundleRef) || self.tls.systemCAs == 'Include' || self.tls.insecureSkipVerify",
    " || has(self.tls.minVersion) || has(self.tls.maxVersion)",
    " || (has(self.tls.cipherSuites) && self.tls.cipherSuites.size() > 0))"
);
const TRUSTS: &str =
    "(has(self.tls.caBundleRef) || self.tls.systemCAs == 'Include' || self.tls.insecureSkipVerify)";
const SECRET_HEADERS: &str = "(has(self.headers) && self.headers.exists(h, has(h.valueFrom)))";

/// Where agents send their own telemetry. An OpAMP Supervisor takes all three
/// at once and restarts its collector: what is not listed here, it drops.
/// Leaving `ownTelemetry` out altogether takes nothing back.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.metrics) || has(self.traces) || has(self.logs)")
        .message("must have at least one of `metrics`, `traces` and `logs`")
        .reason(Reason::FieldValueRequired)
)]
pub struct OwnTelemetry {
    /// For agents that report their own metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TelemetryConnection")]
    pub metrics: Option<TelemetryConnection>,

    /// For agents that report their own traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TelemetryConnection")]
    pub traces: Option<TelemetryConnection>,

    /// For agents that report their own logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TelemetryConnection")]
    pub logs: Option<TelemetryConnection>,
}

/// An OTLP receiver that is reached by HTTP.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(format!("!{CLEAR} || self.clientCertificate.source == 'None'"))
        .message("must be None when `endpoint` is plaintext: a client certificate needs https")
        .reason(Reason::FieldValueForbidden)
        .field_path(".clientCertificate.source"),
    validation = Rule::new(format!("!{CLEAR} || !{SECRET_HEADERS}"))
        .message("may not use `valueFrom` when `endpoint` is plaintext: a credential needs https")
        .reason(Reason::FieldValueForbidden)
        .field_path(".headers"),
    validation = Rule::new(format!("!{CLEAR} || !{SAYS_TLS}"))
        .message("may not say anything of TLS when `endpoint` is plaintext: there is none")
        .reason(Reason::FieldValueForbidden)
        .field_path(".tls"),
    validation = Rule::new(format!("{CLEAR} || {TRUSTS}"))
        .message("must name a CA: `caBundleRef`, or `systemCAs: Include`, which is all that OpAMP Supervisors can do")
        .reason(Reason::FieldValueRequired)
        .field_path(".tls"),
    validation = Rule::new("!has(self.headers) || self.headers.all(h, !h.name.contains('$') && (!has(h.value) || !h.value.matches('[\"$\\\\x5c]')))")
        .message("may not have a name with a dollar sign, or a value with a quotation mark, a dollar sign or a backslash: OpAMP Supervisors write them into YAML")
        .field_path(".headers")
)]
pub struct TelemetryConnection {
    /// Full URL of the receiver, with its path, for example
    /// `https://telemetry.example.com:4318/v1/metrics`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://')")
            .message("must be an absolute URL that starts with https:// or http://"),
        validation = Rule::new("!self.matches('^[a-z]*://[^/?#]*@')")
            .message("may not contain user info; use `headers` with `valueFrom`")
            .reason(Reason::FieldValueForbidden),
        validation = Rule::new(RECEIVER_FORM)
            .message("must name a host and a path, may name a port from 1 to 65535, and must percent-encode what a URL does not allow, and $")
    )]
    pub endpoint: String,

    /// Headers that agents send to the receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new(UNIQUE_NAMES.0).message(UNIQUE_NAMES.1)
    )]
    pub headers: Vec<HeaderSetting>,

    /// The certificate that agents show to the receiver. OpAMP Supervisors
    /// show none.
    #[serde(default = "no_certificate")]
    pub client_certificate: ClientCertificate,

    /// What agents verify the receiver's certificate against.
    #[serde(default)]
    pub tls: ServerTrust,

    /// A proxy through which agents connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProxySettings")]
    pub proxy: Option<ProxySettings>,
}

/// With a path, and without `$`, which collectors take for the beginning of a
/// variable.
const RECEIVER_FORM: &str = url_form!(r#"/([-A-Za-z0-9._~!&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+"#);

/// A connection that an agent knows by a name of its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(format!("!{CLEAR} || !{SAYS_TLS}"))
        .message("may not say anything of TLS when `endpoint` is plaintext: there is none")
        .reason(Reason::FieldValueForbidden)
        .field_path(".tls"),
    validation = Rule::new(format!("{TRUSTS} || (self.clientCertificate.source == 'None' && !{SECRET_HEADERS})"))
        .message("must name a CA, `caBundleRef` or `systemCAs: Include`, beside `valueFrom` or a client certificate: a credential needs TLS")
        .reason(Reason::FieldValueRequired)
        .field_path(".tls")
)]
pub struct OtherConnection {
    /// Name by which agents know the connection.
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::CONNECTION_NAME))]
    pub name: String,

    /// Where it leads: a URL, host and port, or what else agents understand.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-~]+$')")
            .message("must be printable ASCII without spaces"),
        validation = Rule::new("!self.matches('^[A-Za-z][-+.A-Za-z0-9]*://[^/?#]*@')")
            .message("may not contain user info; use `headers` with `valueFrom`")
            .reason(Reason::FieldValueForbidden)
    )]
    pub endpoint: String,

    /// Headers that agents send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new(UNIQUE_NAMES.0).message(UNIQUE_NAMES.1)
    )]
    pub headers: Vec<HeaderSetting>,

    /// The certificate that agents show.
    #[serde(default = "no_certificate")]
    pub client_certificate: ClientCertificate,

    /// What agents verify the other side's certificate against. When it names
    /// no CA, nothing is said of TLS.
    #[serde(default)]
    pub tls: ServerTrust,

    /// A proxy through which agents connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProxySettings")]
    pub proxy: Option<ProxySettings>,

    /// Further settings that agents understand, in clear text: no place for
    /// credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::connection_settings")]
    #[x_kube(
        validation = Rule::new("self.all(k, k != '' && k.size() <= 256)")
            .message("keys must have 1 to 256 characters")
    )]
    pub settings: BTreeMap<String, String>,
}

fn no_certificate() -> ClientCertificate {
    ClientCertificate {
        source: CertificateSource::None,
        secret_ref: None,
    }
}

/// The part of a spec that describes one connection, whatever it is for.
#[derive(Clone, Debug)]
pub struct ConnectionPart<'a> {
    /// Where it stands in the spec.
    pub path: String,
    /// Its headers.
    pub headers: &'a [HeaderSetting],
    /// Its client certificate.
    pub client_certificate: &'a ClientCertificate,
    /// What the other side is verified by.
    pub tls: &'a ServerTrust,
    /// Its proxy.
    pub proxy: Option<&'a ProxySettings>,
}

impl TelemetryConnection {
    /// As a part of the spec at `path`.
    #[must_use]
    pub fn part(&self, path: impl Into<String>) -> ConnectionPart<'_> {
        ConnectionPart {
            path: path.into(),
            headers: &self.headers,
            client_certificate: &self.client_certificate,
            tls: &self.tls,
            proxy: self.proxy.as_ref(),
        }
    }
}

impl OtherConnection {
    /// As a part of the spec.
    #[must_use]
    pub fn part(&self) -> ConnectionPart<'_> {
        ConnectionPart {
            path: format!("otherConnections[{}]", self.name),
            headers: &self.headers,
            client_certificate: &self.client_certificate,
            tls: &self.tls,
            proxy: self.proxy.as_ref(),
        }
    }
}

impl OwnTelemetry {
    /// The connections that it has, by signal.
    pub fn signals(&self) -> impl Iterator<Item = (&'static str, &TelemetryConnection)> {
        let all = [
            ("metrics", &self.metrics),
            ("traces", &self.traces),
            ("logs", &self.logs),
        ];
        all.into_iter()
            .filter_map(|(name, signal)| Some((name, signal.as_ref()?)))
    }
}

impl OpAMPConnectionProfileSpec {
    /// The connection to the OpAMP server.
    #[must_use]
    pub fn opamp_part(&self) -> ConnectionPart<'_> {
        ConnectionPart {
            path: "opamp".into(),
            headers: &self.opamp.headers,
            client_certificate: &self.opamp.client_certificate,
            tls: &self.opamp.tls,
            proxy: self.opamp.proxy.as_ref(),
        }
    }

    /// Every connection that the profile describes.
    #[must_use]
    pub fn parts(&self) -> Vec<ConnectionPart<'_>> {
        let own = self.own_telemetry.iter().flat_map(OwnTelemetry::signals);
        let own = own.map(|(signal, one)| one.part(format!("ownTelemetry.{signal}")));
        let others = self.other_connections.iter().map(OtherConnection::part);
        [self.opamp_part()]
            .into_iter()
            .chain(own)
            .chain(others)
            .collect()
    }

    /// The fields by which agents would not verify the other side.
    #[must_use]
    pub fn insecure(&self) -> Vec<String> {
        let parts = self.parts().into_iter();
        let insecure = parts.filter(|part| part.tls.insecure_skip_verify);
        insecure
            .map(|part| format!("{}.tls.insecureSkipVerify", part.path))
            .collect()
    }
}
