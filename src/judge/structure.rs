//! The structural part of the definition: defaults, types, limits, unknown
//! fields, in the order and with the meaning that an API server gives them.
//!
//! Only the words that our definition uses are known here; a test fails when
//! the definition uses another one, so that none is overlooked.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::{Map, Value};

use super::Refusal;

/// Longest part of a name from the object that a refusal repeats.
const MAX_ECHO: usize = 64;

/// The schema of one kind, with its patterns compiled.
#[derive(Debug)]
pub(super) struct Structure {
    schema: JSONSchemaProps,
    patterns: BTreeMap<String, Regex>,
}

impl Structure {
    /// Compiles the patterns of the schema.
    pub(super) fn new(schema: JSONSchemaProps) -> Result<Self, regex::Error> {
        let mut patterns = BTreeMap::new();
        collect_patterns(&schema, &mut patterns)?;
        Ok(Self { schema, patterns })
    }

    /// Names the fields that the schema does not know.
    pub(super) fn unknown_fields(&self, value: &Value, refusals: &mut Vec<Refusal>) {
        let Value::Object(object) = value else { return };
        for (name, child) in object {
            match (name.as_str(), property(&self.schema, name)) {
                ("apiVersion" | "kind" | "metadata", _) => {}
                (_, Some(schema)) => unknown_fields(child, schema, name, refusals),
                (_, None) => refusals.push(Refusal::new(shorten(name), "unknown field")),
            }
        }
    }

    /// Fills in defaults and drops nulls, as far as the value has the right types.
    pub(super) fn complete(&self, value: &mut Value) {
        complete(value, &self.schema);
    }

    /// Judges types and limits.
    pub(super) fn check(&self, value: &Value, refusals: &mut Vec<Refusal>) {
        if let Value::Object(object) = value {
            self.check_object(object, &self.schema, "", refusals);
        }
    }

    fn check_value(
        &self,
        value: &Value,
        schema: &JSONSchemaProps,
        path: &str,
        refusals: &mut Vec<Refusal>,
    ) {
        if value.is_null() && schema.nullable == Some(true) {
            return;
        }
        let wanted = schema.type_.as_deref().unwrap_or_default();
        match (wanted, value) {
            ("object", Value::Object(object)) => self.check_object(object, schema, path, refusals),
            ("array", Value::Array(items)) => self.check_array(items, schema, path, refusals),
            ("string", Value::String(text)) => self.check_string(text, schema, path, refusals),
            ("boolean", Value::Bool(_)) => {}
            ("integer", Value::Number(_)) if is_integer(value) => {
                check_number(value, schema, path, refusals);
            }
            _ => {
                let message = format!("must be of type {wanted}, not {}", type_of(value));
                refusals.push(Refusal::new(path, message));
                return;
            }
        }
        check_enum(value, schema, path, refusals);
    }

    fn check_object(
        &self,
        object: &Map<String, Value>,
        schema: &JSONSchemaProps,
        path: &str,
        refusals: &mut Vec<Refusal>,
    ) {
        for name in schema.required.iter().flatten() {
            if !object.contains_key(name) {
                refusals.push(Refusal::new(join(path, name), "must be set"));
            }
        }
        let size = i64::try_from(object.len()).unwrap_or(i64::MAX);
        if schema.max_properties.is_some_and(|most| size > most) {
            refusals.push(Refusal::new(
                path,
                at_most(schema.max_properties, "entries"),
            ));
        }
        for (name, child) in object {
            if let Some(child_schema) = property(schema, name) {
                self.check_value(child, child_schema, &join(path, name), refusals);
            } else if let Some(child_schema) = additional(schema) {
                let path = format!("{path}[{}]", shorten(name));
                self.check_value(child, child_schema, &path, refusals);
            }
        }
    }

    fn check_array(
        &self,
        items: &[Value],
        schema: &JSONSchemaProps,
        path: &str,
        refusals: &mut Vec<Refusal>,
    ) {
        let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if schema.max_items.is_some_and(|most| size > most) {
            refusals.push(Refusal::new(path, at_most(schema.max_items, "items")));
            return;
        }
        if let Some(item_schema) = item(schema) {
            for (index, child) in items.iter().enumerate() {
                self.check_value(child, item_schema, &format!("{path}[{index}]"), refusals);
            }
        }
        let keys = match schema.x_kubernetes_list_type.as_deref() {
            Some("set") => None,
            Some("map") => schema.x_kubernetes_list_map_keys.as_ref(),
            _ => return,
        };
        for (index, child) in items.iter().enumerate() {
            let twin = items
                .iter()
                .take(index)
                .any(|other| same(other, child, keys));
            if twin {
                let path = format!("{path}[{index}]");
                refusals.push(Refusal::new(path, "must be unique in the list"));
            }
        }
    }

    fn check_string(
        &self,
        text: &str,
        schema: &JSONSchemaProps,
        path: &str,
        refusals: &mut Vec<Refusal>,
    ) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if schema.max_length.is_some_and(|most| length > most) {
            refusals.push(Refusal::new(path, at_most(schema.max_length, "characters")));
        }
        if schema.min_length.is_some_and(|least| length < least) {
            refusals.push(Refusal::new(path, "must not be empty"));
        }
        if let Some(pattern) = &schema.pattern {
            let fits = self.patterns.get(pattern).is_some_and(|p| p.is_match(text));
            if !fits {
                refusals.push(Refusal::new(path, format!("must match '{pattern}'")));
            }
        }
    }
}

fn unknown_fields(
    value: &Value,
    schema: &JSONSchemaProps,
    path: &str,
    refusals: &mut Vec<Refusal>,
) {
    match value {
        Value::Object(object) => {
            for (name, child) in object {
                let place = join(path, &shorten(name));
                match property(schema, name).or_else(|| additional(schema)) {
                    Some(schema) => unknown_fields(child, schema, &place, refusals),
                    None => refusals.push(Refusal::new(place, "unknown field")),
                }
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                if let Some(schema) = item(schema) {
                    unknown_fields(child, schema, &format!("{path}[{index}]"), refusals);
                }
            }
        }
        _ => {}
    }
}

fn complete(value: &mut Value, schema: &JSONSchemaProps) {
    match value {
        Value::Object(object) => {
            for (name, child) in schema.properties.iter().flatten() {
                let missing = object
                    .get(name)
                    .is_none_or(|found| is_stray_null(found, child));
                if let (true, Some(default)) = (missing, &child.default) {
                    object.insert(name.clone(), default.0.clone());
                }
            }
            object.retain(|name, found| {
                let child = property(schema, name).or_else(|| additional(schema));
                child.is_none_or(|child| !is_stray_null(found, child))
            });
            for (name, found) in object.iter_mut() {
                if let Some(child) = property(schema, name).or_else(|| additional(schema)) {
                    complete(found, child);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = item(schema) {
                for found in items {
                    complete(found, child);
                }
            }
        }
        Value::Number(number) => {
            // JSON knows one kind of number: 30.0 is an integer too.
            if let (Some("integer"), Some(integer)) = (schema.type_.as_deref(), whole(number)) {
                *value = Value::from(integer);
            }
        }
        _ => {}
    }
}

/// A null that an API server treats as if the field were not there.
fn is_stray_null(value: &Value, schema: &JSONSchemaProps) -> bool {
    value.is_null() && schema.nullable != Some(true)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the value is whole and within the range where floats hold integers exactly"
)]
fn whole(number: &serde_json::Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let exact = |float: &f64| float.fract() == 0.0 && float.abs() <= EXACT;
    number
        .as_i64()
        .or_else(|| number.as_f64().filter(exact).map(|float| float as i64))
}

fn is_integer(value: &Value) -> bool {
    value.as_number().and_then(whole).is_some()
}

fn check_number(value: &Value, schema: &JSONSchemaProps, path: &str, refusals: &mut Vec<Refusal>) {
    let Some(number) = value.as_f64() else { return };
    if let Some(least) = schema.minimum.filter(|least| number < *least) {
        refusals.push(Refusal::new(path, format!("must be at least {least}")));
    }
    if let Some(most) = schema.maximum.filter(|most| number > *most) {
        refusals.push(Refusal::new(path, format!("must be at most {most}")));
    }
}

fn check_enum(value: &Value, schema: &JSONSchemaProps, path: &str, refusals: &mut Vec<Refusal>) {
    let Some(allowed) = &schema.enum_ else { return };
    if !allowed.iter().any(|one| one.0 == *value) {
        let words: Vec<_> = allowed.iter().map(|one| one.0.to_string()).collect();
        let message = format!("must be one of {}", words.join(", "));
        refusals.push(Refusal::new(path, message));
    }
}

/// Whether two items of a list are the same: as a whole, or by these keys.
fn same(one: &Value, other: &Value, keys: Option<&Vec<String>>) -> bool {
    match keys {
        None => one == other,
        Some(keys) => keys.iter().all(|key| one.get(key) == other.get(key)),
    }
}

fn collect_patterns(
    schema: &JSONSchemaProps,
    patterns: &mut BTreeMap<String, Regex>,
) -> Result<(), regex::Error> {
    if let Some(pattern) = &schema.pattern {
        patterns.insert(pattern.clone(), Regex::new(pattern)?);
    }
    let children = schema.properties.iter().flat_map(BTreeMap::values);
    for child in children.chain(additional(schema)).chain(item(schema)) {
        collect_patterns(child, patterns)?;
    }
    Ok(())
}

fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    schema.properties.as_ref()?.get(name)
}

fn additional(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(schema) => Some(schema),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(schema) => Some(schema),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn at_most(limit: Option<i64>, what: &str) -> String {
    format!("must have at most {} {what}", limit.unwrap_or_default())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A name from the object, cut and without characters that could forge output.
#[must_use]
pub fn shorten(name: &str) -> String {
    let printable = name.chars().filter(|c| !c.is_control());
    printable.take(MAX_ECHO).collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
