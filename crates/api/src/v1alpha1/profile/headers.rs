//! Spec types for the HTTP headers that agents send to their server.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules::{HEADER_NAME, HEADER_VALUE, NO_CREDENTIAL_IN_CLEAR, VALUE_OR_SOURCE};
use crate::schema;

/// One HTTP header. Its value is either clear text or comes from a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(VALUE_OR_SOURCE.0).message(VALUE_OR_SOURCE.1),
    validation = Rule::new(NO_CREDENTIAL_IN_CLEAR.0)
        .message(NO_CREDENTIAL_IN_CLEAR.1)
        .reason(Reason::FieldValueForbidden)
        .field_path(".value")
)]
pub struct HeaderSetting {
    /// Name of the header. Names that the transport or the operator needs are refused.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new(HEADER_NAME.0).message(HEADER_NAME.1),
        validation = Rule::new("!(self.lowerAscii() in ['accept-encoding', 'connection', 'content-encoding', 'content-length', 'content-type', 'expect', 'host', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade']) && !self.lowerAscii().startsWith('proxy-') && !self.lowerAscii().startsWith('sec-websocket-')")
            .message("may not be a header of the transport: it would keep agents from connecting")
            .reason(Reason::FieldValueForbidden),
        validation = Rule::new("self.lowerAscii() != 'opamp-instance-uid' && !self.lowerAscii().startsWith('opamp-settings-')")
            .message("may not be `OpAMP-Instance-UID` or start with `OpAMP-Settings-`: OpAMP and the operator set these")
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

/// Where the value of a header comes from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValueSource {
    /// The key of a Secret that holds the value.
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub secret_key_ref: SecretKeyRef,

    /// Text before the value, for example `"Bearer "`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-~][ -~]*$')")
            .message("must be printable ASCII without a space at the start")
    )]
    pub prefix: Option<String>,
}

/// A key of a Secret in the profile's namespace. The Secret needs the label
/// `opamp-operator.dev/offerable: "true"`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,

    /// Key within the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_KEY))]
    pub key: String,
}
