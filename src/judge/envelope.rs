//! What every Kubernetes object has around its spec: version, kind, metadata.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use opamp_operator_api::API_VERSION;
use regex::Regex;
use serde_json::{Map, Value};

use super::{Refusal, structure::shorten};

const KIND: &str = "OpAMPConnectionProfile";

const METADATA_FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

macro_rules! form {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a valid pattern"));
    };
}

form!(
    SUBDOMAIN,
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
);
form!(DNS_LABEL, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
form!(WORD, r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$");

/// Whether an API server would take this as the name of an object.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && SUBDOMAIN.is_match(name)
}

/// Judges everything but `spec` and `status`.
pub(super) fn check(value: &Value) -> Vec<Refusal> {
    let Some(object) = value.as_object() else {
        return vec![Refusal::new("", "must be an object")];
    };
    let mut refusals = Vec::new();
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if object.get(field).and_then(Value::as_str) != Some(wanted) {
            refusals.push(Refusal::new(field, format!("must be {wanted}")));
        }
    }
    match object.get("metadata") {
        Some(Value::Object(metadata)) => check_metadata(metadata, &mut refusals),
        _ => refusals.push(Refusal::new("metadata", "must be an object with a `name`")),
    }
    refusals
}

fn check_metadata(metadata: &Map<String, Value>, refusals: &mut Vec<Refusal>) {
    for field in metadata.keys() {
        if !METADATA_FIELDS.contains(&field.as_str()) {
            let field = format!("metadata.{}", shorten(field));
            refusals.push(Refusal::new(field, "unknown field"));
        }
    }
    match metadata.get("name").and_then(Value::as_str) {
        Some(name) if is_object_name(name) => {}
        _ => refusals.push(Refusal::new(
            "metadata.name",
            "must be set: lower-case letters, digits, `-` and `.`, at most 253 characters",
        )),
    }
    match metadata.get("namespace") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if name.is_empty() => {}
        Some(Value::String(name)) if name.len() <= 63 && DNS_LABEL.is_match(name) => {}
        Some(_) => refusals.push(Refusal::new(
            "metadata.namespace",
            "must be lower-case letters, digits and `-`, at most 63 characters",
        )),
    }
    check_labels(metadata, refusals);
    check_annotations(metadata, refusals);
    let whole = Value::Object(metadata.clone());
    if refusals.is_empty() && serde_json::from_value::<ObjectMeta>(whole).is_err() {
        refusals.push(Refusal::new("metadata", "has a value of the wrong type"));
    }
}

fn check_labels(metadata: &Map<String, Value>, refusals: &mut Vec<Refusal>) {
    for (key, value) in entries(metadata, "labels") {
        let field = format!("metadata.labels[{}]", shorten(key));
        if !is_qualified_name(key) {
            refusals.push(Refusal::new(
                &field,
                "must have a key like `name` or `example.com/name`",
            ));
        }
        let fits = |text: &str| text.is_empty() || (text.len() <= 63 && WORD.is_match(text));
        if !value.as_str().is_some_and(fits) {
            let message =
                "must be a string of letters, digits, `-`, `_` and `.`, at most 63 characters";
            refusals.push(Refusal::new(field, message));
        }
    }
}

fn check_annotations(metadata: &Map<String, Value>, refusals: &mut Vec<Refusal>) {
    for (key, value) in entries(metadata, "annotations") {
        let field = format!("metadata.annotations[{}]", shorten(key));
        if !is_qualified_name(&key.to_ascii_lowercase()) {
            refusals.push(Refusal::new(
                &field,
                "must have a key like `name` or `example.com/name`",
            ));
        }
        if !value.is_string() {
            refusals.push(Refusal::new(field, "must be a string"));
        }
    }
}

fn entries<'a>(
    metadata: &'a Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    metadata
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// The form of label and annotation keys: a word, after a domain and a slash if there is one.
fn is_qualified_name(key: &str) -> bool {
    let (domain, word) = match key.split_once('/') {
        Some((domain, word)) => (Some(domain), word),
        None => (None, key),
    };
    domain.is_none_or(|domain| domain.len() <= 253 && SUBDOMAIN.is_match(domain))
        && word.len() <= 63
        && WORD.is_match(word)
}
