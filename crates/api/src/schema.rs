//! Pieces of schema that the derives cannot express: bounded maps,
//! set lists and Kubernetes' own condition type with limits.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::v1alpha1::profile::CipherSuite;

/// A DNS subdomain, the form of every Kubernetes object name.
pub(crate) const OBJECT_NAME: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A key of a Secret or ConfigMap.
pub(crate) const OBJECT_KEY: &str = r"^[-._a-zA-Z0-9]+$";

/// An instance UID in its lower-case textual form.
pub(crate) const INSTANCE_UID: &str =
    r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// Name of a connection that only agents understand.
pub(crate) const CONNECTION_NAME: &str = r"^[A-Za-z0-9]([-._/A-Za-z0-9]*[A-Za-z0-9])?$";

/// Settings of a connection; the length of keys is bounded by a rule.
pub(crate) fn connection_settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 1024},
    })
}

/// Attribute keys and values that must be equal; the length of keys is bounded by a rule.
pub(crate) fn match_attributes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 1024},
    })
}

/// Values of an attribute expression.
pub(crate) fn expression_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "maxLength": 1024},
        "x-kubernetes-list-type": "set",
    })
}

/// Instance UIDs, each at most once.
pub(crate) fn instance_uids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "maxLength": 36, "pattern": INSTANCE_UID},
        "x-kubernetes-list-type": "set",
    })
}

/// Names of capabilities, each at most once.
pub(crate) fn capabilities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "maxLength": 64},
        "x-kubernetes-list-type": "set",
    })
}

/// Cipher suites, each at most once.
pub(crate) fn cipher_suites(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = CipherSuite::ALL
        .iter()
        .map(|suite| suite.as_str())
        .collect();
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"type": "string", "enum": names, "maxLength": 64},
        "x-kubernetes-list-type": "set",
    })
}

/// A moment as Kubernetes writes it.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// `metav1.Condition`, one per type, with the limits that Kubernetes documents.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the state of the profile.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "Name of the condition.",
                    "maxLength": 316,
                    "minLength": 1,
                },
                "status": {
                    "type": "string",
                    "description": "Whether the condition holds.",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The `metadata.generation` that the condition speaks about.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When `status` last changed.",
                },
                "reason": {
                    "type": "string",
                    "description": "One CamelCase word for the cause; programs may rely on it.",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "type": "string",
                    "description": "What happened and what to do about it, for people.",
                    "maxLength": 32768,
                },
            },
        },
    })
}
