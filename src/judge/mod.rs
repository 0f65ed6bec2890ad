//! Judges profiles without an API server, by the very definition that an API
//! server is given: defaults, schema and CEL rules are read from the generated
//! CRD and stated nowhere else.
//!
//! A refusal names the field and what is wrong with it, never the value: a
//! value may be a credential that somebody put into the wrong place.

mod envelope;
mod structure;

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::CustomResourceExt as _;
use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator};
use opamp_operator_api::v1alpha1::OpAMPConnectionProfile;
use serde_json::Value;

pub use envelope::is_object_name;
use structure::Structure;
pub use structure::shorten;

/// Most refusals that are reported for one object.
const MAX_REFUSALS: usize = 50;

/// One reason why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Path of the field, for example `spec.opamp.headers[0].name`.
    pub field: String,
    /// What is wrong with it, or what it must be.
    pub message: String,
}

impl Refusal {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Judges profiles as an API server with our definition would.
#[derive(Debug)]
pub struct Judge {
    structure: Structure,
    rules: CompiledSchema,
}

impl Judge {
    /// A judge that knows the definition of `OpAMPConnectionProfile`.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the definition is a constant of the program, and tests judge by it"
    )]
    pub fn new() -> Self {
        let schema = profile_schema().expect("the definition has one version with a schema");
        let raw = serde_json::to_value(&schema).expect("a schema is plain data");
        Self {
            rules: kube_cel::compile_schema(&raw),
            structure: Structure::new(schema).expect("patterns of the definition are valid"),
        }
    }

    /// Reads a profile, with the defaults filled in, or says why it is refused.
    /// The status is not read: it belongs to the operator.
    ///
    /// # Errors
    ///
    /// Every refusal that was found, at least one. Rules between fields are
    /// looked at only when the fields have the right form.
    pub fn read(&self, value: Value) -> Result<OpAMPConnectionProfile, Vec<Refusal>> {
        let mut refusals = envelope::check(&value);
        self.structure.unknown_fields(&value, &mut refusals);
        self.judge(value, refusals)
    }

    /// As [`Self::read`], for a profile that an API server has admitted:
    /// perhaps by a newer definition than ours, whose further fields are left
    /// out as the API server itself would leave them out.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_stored(&self, value: Value) -> Result<OpAMPConnectionProfile, Vec<Refusal>> {
        self.judge(value, Vec::new())
    }

    fn judge(
        &self,
        mut value: Value,
        mut refusals: Vec<Refusal>,
    ) -> Result<OpAMPConnectionProfile, Vec<Refusal>> {
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
        }
        self.structure.complete(&mut value);
        self.structure.check(&value, &mut refusals);
        if refusals.is_empty() {
            refusals = self.broken_rules(&value);
        }
        if refusals.is_empty() {
            return serde_json::from_value(value).map_err(|error| {
                let place = format!("cannot be read: {}", error_kind(&error));
                vec![Refusal::new("", place)]
            });
        }
        refusals.truncate(MAX_REFUSALS);
        Err(refusals)
    }

    fn broken_rules(&self, value: &Value) -> Vec<Refusal> {
        // The function table is not shared between threads, so each reading makes its own.
        match Validator::new().validate_compiled(&self.rules, value, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.iter().map(refusal).collect(),
        }
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

fn refusal(error: &ValidationError) -> Refusal {
    let message = match error.kind {
        ErrorKind::ValidationFailure => error.message.clone(),
        // An evaluation error may quote a value.
        _ => format!("could not be judged by the rule {}", error.rule),
    };
    Refusal::new(error.field_path.clone(), message)
}

/// What kind of error it is; the text of the error itself may quote a value.
fn error_kind(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "a value has the wrong form",
        _ => "it is not JSON",
    }
}

fn profile_schema() -> Option<JSONSchemaProps> {
    let version = OpAMPConnectionProfile::crd()
        .spec
        .versions
        .into_iter()
        .next()?;
    version.schema?.open_api_v3_schema
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the schema language that `structure` gives a meaning to,
    /// or that mean nothing for a verdict.
    const KNOWN: [&str; 22] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minLength",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    ];

    fn words_are_known(schema: &Value, path: &str) {
        for word in schema.as_object().unwrap().keys() {
            assert!(KNOWN.contains(&word.as_str()), "{path} uses {word}");
        }
        let length = schema.get("minLength").and_then(Value::as_u64);
        assert!(
            length.is_none_or(|least| least == 1),
            "{path}: the refusal says 'not empty'"
        );
        for (name, child) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            words_are_known(child, &format!("{path}.{name}"));
        }
        for part in ["items", "additionalProperties"] {
            if let Some(child) = schema.get(part) {
                words_are_known(child, &format!("{path}.{part}"));
            }
        }
    }

    #[test]
    fn the_definition_uses_no_word_that_is_overlooked() {
        let schema = serde_json::to_value(profile_schema().unwrap()).unwrap();
        words_are_known(&schema, "");
    }

    #[test]
    fn every_bound_is_there() {
        fn bounded(schema: &Value, path: &str) {
            let has = |word: &str| schema.get(word).is_some();
            match schema["type"].as_str().unwrap() {
                "string" => assert!(has("maxLength") || has("enum") || has("format"), "{path}"),
                "array" => {
                    assert!(has("maxItems") && has("x-kubernetes-list-type"), "{path}");
                    bounded(&schema["items"], &format!("{path}[]"));
                }
                _ if has("additionalProperties") => {
                    assert!(has("maxProperties"), "{path}");
                    bounded(&schema["additionalProperties"], &format!("{path}{{}}"));
                }
                _ => {}
            }
            for (name, child) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                bounded(child, &format!("{path}.{name}"));
            }
        }
        bounded(
            &serde_json::to_value(profile_schema().unwrap()).unwrap(),
            "",
        );
    }
}
