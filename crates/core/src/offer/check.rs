//! What a single value must be like before it may be offered.

use std::collections::BTreeSet;

use opamp_operator_api::reason::{ConditionType, Reason};

use super::{
    encode::Plan,
    outcome::{Stop, refused},
    revision::Credential,
};
use crate::identity::Fingerprint;

/// Largest header value: servers commonly refuse more than 8 KiB a line.
const MAX_HEADER_VALUE_BYTES: usize = 4096;
pub(super) fn endpoint(stated: Option<&str>, advertised: &url::Url) -> Result<url::Url, Stop> {
    let Some(stated) = stated else {
        return Ok(advertised.clone());
    };
    let invalid = |what: &str| {
        refused(
            ConditionType::Accepted,
            Reason::InvalidSpec,
            format!("`endpoint` {what}: write for example wss://opamp.example.com:4320/v1/opamp"),
        )
    };
    let url = url::Url::parse(stated).map_err(|_| invalid("is not an absolute URL"))?;
    if !matches!(url.scheme(), "ws" | "wss" | "http" | "https") {
        return Err(invalid(
            "must begin with wss://, https://, ws:// or http://",
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(invalid("must hold no user, password or fragment"));
    }
    Ok(url)
}

/// What a server and every HTTP library takes: visible ASCII and single inner
/// spaces (agents.md 1.7: anything else keeps a client from ever connecting).
pub(super) fn header_value(name: &str, value: &str) -> Result<(), Stop> {
    let wrong = |what: &str| {
        Err(refused(
            ConditionType::ResolvedRefs,
            Reason::InvalidHeaderValue,
            format!("the value of header `{name}` {what}"),
        ))
    };
    if value.ends_with(['\n', '\r']) {
        return wrong(
            "ends in a line break: store it without one (`printf %s`, or `kubectl create secret generic --from-literal`)",
        );
    }
    if value.trim().is_empty() {
        return wrong("is empty: store one, or remove the header");
    }
    if value.len() > MAX_HEADER_VALUE_BYTES {
        return wrong("is longer than 4096 bytes, which servers refuse");
    }
    if value.trim() != value || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return wrong(
            "holds characters other than printable ASCII, or begins or ends with a space",
        );
    }
    Ok(())
}

pub(super) fn credential(plan: &Plan) -> Credential {
    let connection = &plan.connection;
    let authorization = connection
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value);
    Credential {
        leaf: connection.client.as_ref().map(|client| client.fingerprint),
        authorization: authorization.map(|value| Fingerprint::of_authorization(value.as_bytes())),
        strong: authorization.is_some_and(|value| is_strong(value)),
        not_after: connection
            .client
            .as_ref()
            .map(|client| client.validity.not_after),
    }
}

/// Can this value have 128 bits? By length and alphabet, which is all that can
/// be seen from outside; passwords (`Basic`) never count.
fn is_strong(authorization: &str) -> bool {
    let (scheme, token) = authorization.split_once(' ').unwrap_or(("", authorization));
    if scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let distinct = token.bytes().collect::<BTreeSet<_>>().len();
    let bits = if token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        4
    } else {
        6
    };
    token.len() * bits >= 128 && distinct >= 8
}
