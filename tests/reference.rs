//! `docs/crds.md` is what the definitions say: fields, types, defaults and
//! rules with their messages.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use opamp_operator::crd::definitions;
use serde_json::Value;

const HEAD: &str = "\
# Custom resources

Every field of the two kinds of the group `opamp-operator.dev/v1alpha1`. `kubectl explain opcp.spec.opamp` tells the same. This page is made of the definitions (`make generate`): edit the types in `crates/api` instead.

Whatever breaks a rule is refused when it is written, with the message that stands here; an edit of another field does not get around it. Lists say how many entries they may have, texts how many characters.
";

/// What a kind is for, before its fields.
const KINDS: [(&str, &str); 2] = [
    (
        "OpAMPConnectionProfile",
        "Short name `opcp`. Which agents connect how: you write `spec`, the operator writes `status`. [What its conditions say](conditions.md). [Examples](../examples).",
    ),
    (
        "OpAMPAgent",
        "Short name `opag`. One agent, named by its instance UID, in its home namespace. The operator writes all of it; delete one only to [release an instance UID](operate.md#who-owns-an-instance-uid).",
    ),
];

/// Of the names of most objects.
const SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// An object's fields, where they were first shown.
type Shown = BTreeMap<String, String>;

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut shown = Shown::new();
    let definitions: Vec<Value> = definitions()
        .iter()
        .map(|(_, text)| serde_saphyr::from_str(text).unwrap())
        .collect();
    for (kind, words) in KINDS {
        let of_kind = |one: &&Value| one["spec"]["names"]["kind"] == kind;
        let version = &definitions.iter().find(of_kind).unwrap()["spec"]["versions"][0];
        write!(page, "\n## {kind}\n\n{words}\n\n").unwrap();
        page.push_str("| column of `kubectl get` | meaning |\n|---|---|\n");
        for column in version["additionalPrinterColumns"].as_array().unwrap() {
            let wide = if column["priority"] == 1 {
                " (`-o wide`)"
            } else {
                ""
            };
            let name = column["name"].as_str().unwrap().to_uppercase();
            let says = column["description"].as_str();
            let says = says.unwrap_or("How long ago it was made");
            writeln!(page, "| `{name}`{wide} | {says} |").unwrap();
        }
        let schema = &version["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let prefix = if kind == "OpAMPAgent" { "agent " } else { "" };
            object(
                &mut page,
                &mut shown,
                &schema["properties"][part],
                part,
                prefix,
            );
        }
    }
    page
}

/// Everything that makes two objects the same, but for what they are for.
fn same(schema: &Value) -> String {
    let rules = &schema["x-kubernetes-validations"];
    format!("{}{}{rules}", schema["properties"], schema["required"])
}

/// An object with fields, a list of such, or none.
fn inner(schema: &Value) -> Option<(&Value, &'static str)> {
    let with_fields = |schema: &Value| schema.get("properties").is_some();
    if with_fields(schema) {
        return Some((schema, ""));
    }
    let items = schema.get("items").filter(|items| with_fields(items));
    items.map(|items| (items, "[]"))
}

/// A section of an object, and then those of the objects in it.
fn object(page: &mut String, shown: &mut Shown, schema: &Value, path: &str, prefix: &str) {
    let title = format!("{prefix}`{path}`");
    shown.insert(same(schema), title.clone());
    write!(page, "\n### {title}\n\n").unwrap();
    page.push_str(&words(schema));
    page.push_str("\n\n| field | type | default | meaning |\n|---|---|---|---|\n");
    let fields = schema["properties"].as_object().unwrap();
    let required = schema["required"].as_array();
    let mut rules = rules(schema, "");
    let mut below = Vec::new();
    for (name, field) in fields {
        let must = required.is_some_and(|all| all.iter().any(|one| one == name));
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if must => "*required*".into(),
            None => String::new(),
        };
        let mut kind = kind(field);
        if let Some((object, list)) = inner(field) {
            if !list.is_empty() {
                rules.extend(self::rules(field, name));
            }
            let place = format!("{path}.{name}{list}");
            let title = shown.get(&same(object)).cloned();
            let title = title.unwrap_or_else(|| {
                let title = format!("{prefix}`{place}`");
                shown.insert(same(object), title.clone());
                below.push((place, object));
                title
            });
            let anchor: String = title
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
                    _ => None,
                })
                .collect();
            write!(kind, ", [{title}](#{anchor})").unwrap();
        } else {
            rules.extend(self::rules(field, name));
            let items = format!("{name}[]");
            rules.extend(
                field
                    .get("items")
                    .iter()
                    .flat_map(|item| self::rules(item, &items)),
            );
        }
        let means = words(field);
        writeln!(page, "| `{name}` | {kind} | {default} | {means} |").unwrap();
    }
    for (index, rule) in rules.iter().enumerate() {
        let before = if index == 0 { "\n" } else { "" };
        writeln!(page, "{before}- {rule}").unwrap();
    }
    for (place, inner) in below {
        object(page, shown, inner, &place, prefix);
    }
}

/// What a field is for, in one line.
fn words(schema: &Value) -> String {
    let words = schema["description"].as_str().unwrap_or_default();
    words
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// The messages of a schema's rules.
fn rules(schema: &Value, name: &str) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array();
    let told = rules.into_iter().flatten().map(|rule| {
        let below = rule["fieldPath"].as_str().unwrap_or_default();
        let field = format!("{name}{below}");
        let message = rule["message"].as_str().unwrap();
        match field.trim_start_matches('.') {
            "" => format!("It {message}."),
            field => format!("`{field}` {message}."),
        }
    });
    told.collect()
}

/// Type and bounds.
fn kind(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap()))
            .collect();
        return values.join(", ");
    }
    let number = |name: &str| schema[name].as_f64();
    let kind = schema["type"].as_str().unwrap_or("any");
    let mut text = match (
        kind,
        schema.get("items"),
        schema.get("additionalProperties"),
    ) {
        ("array", Some(items), _) if items.get("properties").is_none() => {
            format!("list of {}", self::kind(items))
        }
        ("array", ..) => "list".into(),
        ("object", _, Some(values)) => format!("map to {}", self::kind(values)),
        ("string", ..) if schema["format"] == "date-time" => "time".into(),
        (kind, ..) => kind.to_owned(),
    };
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => write!(text, ", {least} to {most}").unwrap(),
        (Some(least), None) => write!(text, ", {least} or more").unwrap(),
        (None, Some(most)) => write!(text, ", at most {most}").unwrap(),
        (None, None) => {}
    }
    for (bound, unit) in [
        ("maxLength", "characters"),
        ("maxItems", "entries"),
        ("maxProperties", "entries"),
    ] {
        if let Some(most) = number(bound) {
            write!(text, ", at most {most} {unit}").unwrap();
        }
    }
    match schema["pattern"].as_str() {
        None => {}
        Some(SUBDOMAIN) => text.push_str(", as names of objects are"),
        Some(pattern) => write!(text, ", as `{}`", pattern.replace('|', "\\|")).unwrap(),
    }
    text
}

#[test]
fn the_page_says_what_the_definitions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/crds.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/crds.md is not what the definitions make; run `make generate`"
    );
}

/// Of every rule the message stands on the page, once at least.
#[test]
fn every_message_of_a_rule_is_on_the_page() {
    fn walk(schema: &Value, page: &str, count: &mut usize) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let message = rule["message"].as_str().unwrap();
            assert!(page.contains(message), "{message}");
            *count += 1;
        }
        let fields = schema["properties"].as_object().into_iter().flatten();
        let below = ["items", "additionalProperties"].map(|part| schema.get(part));
        for schema in fields
            .map(|(_, field)| field)
            .chain(below.into_iter().flatten())
        {
            walk(schema, page, count);
        }
    }
    let (page, mut count) = (page(), 0);
    for (_, text) in definitions() {
        let definition: Value = serde_saphyr::from_str(&text).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            walk(&schema["properties"][part], &page, &mut count);
        }
    }
    assert!(count > 100, "{count}");
}
