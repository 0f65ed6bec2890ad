//! Spec types for a proxy on the way to a server.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    HeaderValueSource,
    rules::{
        HEADER_NAME, HEADER_VALUE, NO_CREDENTIAL_IN_CLEAR, UNIQUE_NAMES, VALUE_OR_SOURCE, url_form,
    },
};

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
        validation = Rule::new(url_form!("/?"))
            .message("must name a host, may name a port from 1 to 65535, and nothing else")
    )]
    pub url: String,

    /// Headers of the `CONNECT` request to the proxy. The example agent of
    /// opamp-go crashes on any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new(UNIQUE_NAMES.0).message(UNIQUE_NAMES.1)
    )]
    pub connect_headers: Vec<ConnectHeader>,
}

/// One header of a `CONNECT` request, for example `Proxy-Authorization`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(VALUE_OR_SOURCE.0).message(VALUE_OR_SOURCE.1),
    validation = Rule::new(NO_CREDENTIAL_IN_CLEAR.0)
        .message(NO_CREDENTIAL_IN_CLEAR.1)
        .reason(Reason::FieldValueForbidden)
        .field_path(".value")
)]
pub struct ConnectHeader {
    /// Name of the header. Names that the transport needs are refused.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new(HEADER_NAME.0).message(HEADER_NAME.1),
        validation = Rule::new("!(self.lowerAscii() in ['connection', 'content-encoding', 'content-length', 'content-type', 'expect', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])")
            .message("may not be a header of the transport: it would keep agents from connecting")
            .reason(Reason::FieldValueForbidden)
    )]
    pub name: String,

    /// The value in clear text: printable ASCII without a space at either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 4096))]
    #[x_kube(
        validation = Rule::new(HEADER_VALUE.0).message(HEADER_VALUE.1)
    )]
    pub value: Option<String>,

    /// Takes the value from a Secret of the profile's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HeaderValueSource")]
    pub value_from: Option<HeaderValueSource>,
}
