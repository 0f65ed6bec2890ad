//! Spec types for the connection itself, and the rules that span its parts.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ClientCertificate, HeaderSetting, ProxySettings, ServerTrust,
    rules::{UNIQUE_NAMES, url_form},
};

/// How agents connect to their OpAMP server. An offer is always complete:
/// what is not listed here, agents will no longer have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.matches('^(ws|http)://') || self.clientCertificate.source == 'None'")
        .message("must be None when `endpoint` is plaintext: a client certificate needs wss or https")
        .reason(Reason::FieldValueForbidden)
        .field_path(".clientCertificate.source"),
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.matches('^(ws|http)://') || !has(self.headers) || self.headers.all(h, !has(h.valueFrom))")
        .message("may not use `valueFrom` when `endpoint` is plaintext: a credential needs wss or https")
        .reason(Reason::FieldValueForbidden)
        .field_path(".headers"),
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.matches('^(ws|http)://') || !has(self.tls.caBundleRef)")
        .message("may not be set when `endpoint` is plaintext: there is no certificate to verify")
        .reason(Reason::FieldValueForbidden)
        .field_path(".tls.caBundleRef"),
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.matches('^(ws|http)://') || self.tls.systemCAs == 'Exclude'")
        .message("may not be Include when `endpoint` is plaintext: there is no certificate to verify")
        .reason(Reason::FieldValueForbidden)
        .field_path(".tls.systemCAs"),
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.matches('^(ws|http)://') || !(self.tls.insecureSkipVerify || has(self.tls.minVersion) || has(self.tls.maxVersion) || (has(self.tls.cipherSuites) && self.tls.cipherSuites.size() > 0))")
        .message("may not say anything of TLS when `endpoint` is plaintext: there is none")
        .reason(Reason::FieldValueForbidden)
        .field_path(".tls"),
    validation = Rule::new("self.servedBy == 'Operator' || has(self.endpoint)")
        .message("must be set when `servedBy` is External: where else should agents go?")
        .reason(Reason::FieldValueRequired)
        .field_path(".endpoint"),
    validation = Rule::new("self.compatibility == 'Strict' || self.clientCertificate.source == 'None' || !self.tls.insecureSkipVerify")
        .message("may not be true beside a client certificate unless `compatibility` is Strict: an OpAMP Supervisor that gets a certificate verifies its server")
        .reason(Reason::FieldValueForbidden)
        .field_path(".tls.insecureSkipVerify"),
    validation = Rule::new("(has(self.endpoint) && self.endpoint.matches('^(ws|http)://')) || has(self.tls.caBundleRef) || self.tls.systemCAs == 'Include' || self.tls.insecureSkipVerify")
        .message("must be set unless `systemCAs` is Include: agents need a CA to verify their server")
        .reason(Reason::FieldValueRequired)
        .field_path(".tls.caBundleRef")
)]
pub struct OpAMPSettings {
    /// Where the agents connect: a `wss`, `https`, `ws` or `http` URL. Unset
    /// means this operator's own advertised URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 2048))]
    #[x_kube(
        validation = Rule::new("self.matches('^(wss|https|ws|http)://')")
            .message("must be an absolute URL that starts with wss://, https://, ws:// or http://"),
        validation = Rule::new("!self.matches('^[a-z]*://[^/?#]*@')")
            .message("may not contain user info; use `headers` with `valueFrom`")
            .reason(Reason::FieldValueForbidden),
        validation = Rule::new("!self.contains('#')")
            .message("may not contain a fragment")
            .reason(Reason::FieldValueForbidden),
        validation = Rule::new(ENDPOINT_FORM)
            .message("must name a host, may name a port from 1 to 65535, and must percent-encode what a URL does not allow")
    )]
    pub endpoint: Option<String>,

    /// Whose server that is. External sends agents away for good: no lock-out
    /// check is made, they are counted as departed, and what they were offered
    /// is no credential here.
    #[serde(default)]
    pub served_by: ServedBy,

    /// Form of the certificate message. Universal is one that every known
    /// agent survives; Strict is the letter of the specification.
    #[serde(default)]
    pub compatibility: Compatibility,

    /// How often agents send a heartbeat, or poll over plain HTTP.
    #[serde(default = "default_heartbeat")]
    #[schemars(range(min = 1, max = 86_400), extend("format" = "int32"))]
    pub heartbeat_interval_seconds: u32,

    /// All headers that agents send. Agents drop headers that are not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new(UNIQUE_NAMES.0).message(UNIQUE_NAMES.1)
    )]
    pub headers: Vec<HeaderSetting>,

    /// The certificate that agents show to their server.
    pub client_certificate: ClientCertificate,

    /// What agents verify their server's certificate against.
    #[serde(default)]
    pub tls: ServerTrust,

    /// A proxy through which agents connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProxySettings")]
    pub proxy: Option<ProxySettings>,
}

/// Then path and query in the characters of RFC 3986; a fragment is refused in
/// words of its own.
const ENDPOINT_FORM: &str =
    url_form!(r#"([/?]([-A-Za-z0-9._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*)?(#.*)?"#);

fn default_heartbeat() -> u32 {
    30
}

/// Whose server the agents are sent to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServedBy {
    /// This operator.
    #[default]
    Operator,
    /// Somebody else.
    External,
}

/// Form of the certificate message on the wire.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compatibility {
    /// One form that every known agent survives.
    #[default]
    Universal,
    /// The letter of the specification.
    Strict,
}
