//! Spec types for a proxy on the way to a server.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::HeaderValueSource;

/// A proxy through which agents connect. OpAMP Supervisors ignore it. Leaving
/// it out later takes nothing back: OpAMP has no such message.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.url.startsWith('http://') || !has(self.connectHeaders) || self.connectHeaders.all(h, !has(h.valueFrom))")
        .message("may not use `valueFrom` when `url` is plaintext: a credential needs an https proxy")
        .reason(Reason::FieldValueForbidden)
        .field_path(".connectHeaders")
)]
pub struct ProxySettings {
    /// URL of the proxy: `http` or `https`, a host, and perhaps a port.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://')")
            .message("must start with http:// or https://"),
        validation = Rule::new("!self.matches('^[a-z]*://[^/?#]*@')")
            .message("may not contain user info; use `connectHeaders` with `valueFrom`")
            .reason(Reason::FieldValueForbidden),
        validation = Rule::new(PROXY_FORM)
            .message("must name a host, may name a port from 1 to 65535, and nothing else")
    )]
    pub url: String,

    /// Headers of the `CONNECT` request to the proxy. The example agent of
    /// opamp-go crashes on any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(h, self.exists_one(other, other.name.lowerAscii() == h.name.lowerAscii()))")
            .message("must have names that are unique without regard to case")
    )]
    pub connect_headers: Vec<ConnectHeader>,
}

/// Scheme, host, port: see the form of `endpoint`.
const PROXY_FORM: &str = concat!(
    r#"self.matches("^[a-z]*://([^/?#]*@)?"#,
    r#"([A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?|[\\[][0-9A-Fa-f:.]+[\\]])"#,
    r#"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$")"#,
);

/// One header of a `CONNECT` request, for example `Proxy-Authorization`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.valueFrom)")
        .message("must have exactly one of `value` and `valueFrom`"),
    validation = Rule::new("!(self.name.lowerAscii() in ['authorization', 'cookie', 'proxy-authorization', 'x-api-key']) || !has(self.value)")
        .message("may not carry a credential in clear text; put it into a Secret and use `valueFrom`")
        .reason(Reason::FieldValueForbidden)
        .field_path(".value")
)]
pub struct ConnectHeader {
    /// Name of the header. Names that the transport needs are refused.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^[-!#$%&*+.^_`|~0-9A-Za-z]+$')")
            .message("must be an HTTP header name: letters, digits and any of !#$%&*+-.^_`|~"),
        validation = Rule::new("!(self.lowerAscii() in ['connection', 'content-encoding', 'content-length', 'content-type', 'expect', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])")
            .message("may not be a header of the transport: it would keep agents from connecting")
            .reason(Reason::FieldValueForbidden)
    )]
    pub name: String,

    /// The value in clear text: printable ASCII without a space at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 4096))]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-~]([ -~]*[!-~])?$')")
            .message("must be printable ASCII without a space at either end")
    )]
    pub value: Option<String>,

    /// Takes the value from a Secret of the profile's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HeaderValueSource")]
    pub value_from: Option<HeaderValueSource>,
}
