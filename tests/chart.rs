//! The chart's README and schema say of its values what `values.yaml` says, and
//! its limits are those of the operator's configuration.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use opamp_operator::config::Config;
use serde_json::Value;

const BEGIN: &str = "| value | default | meaning |\n|---|---|---|\n";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A value, as `values.yaml` has it.
struct Documented {
    /// `image.tag`.
    path: String,
    /// What the comment above it says, in one line.
    meaning: String,
    /// As JSON.
    default: String,
}

/// Every value that a person may set: those with a comment, and those below them
/// have none of their own.
fn documented() -> Vec<Documented> {
    let text = read("charts/opamp-operator/values.yaml");
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let (mut path, mut comment, mut all) = (Vec::new(), Vec::new(), Vec::<Documented>::new());
    for line in text.lines() {
        let indented = line.trim_start();
        if let Some(words) = indented.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let key = indented.split_once(':').map(|(key, _)| key);
        if let Some(key) = key.filter(|key| key.chars().all(char::is_alphanumeric)) {
            path.truncate((line.len() - indented.len()) / 2);
            path.push(key);
            let covered = |one: &Documented| path.join(".").starts_with(&format!("{}.", one.path));
            // What is in a list is the default of the list.
            let Some(value) = values.pointer(&format!("/{}", path.join("/"))) else {
                continue;
            };
            if !comment.is_empty() {
                all.push(Documented {
                    path: path.join("."),
                    meaning: comment.join(" "),
                    default: value.to_string(),
                });
            } else if !value.is_object() || value.as_object().unwrap().is_empty() {
                assert!(all.iter().any(covered), "{} has no comment", path.join("."));
            }
        }
        comment.clear();
    }
    all
}

fn table() -> String {
    let mut table = BEGIN.to_owned();
    for Documented {
        path,
        meaning,
        default,
    } in documented()
    {
        writeln!(table, "| `{path}` | `{default}` | {meaning} |").unwrap();
    }
    table
}

#[test]
fn the_readme_of_the_chart_has_the_table_that_its_values_make() {
    let page = "charts/opamp-operator/README.md";
    let text = read(page);
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let after = rest.lines().skip_while(|line| line.starts_with('|'));
    let after: Vec<_> = after.collect();
    let made = format!("{before}{}{}", table(), after.join("\n"));
    let made = format!("{}\n", made.trim_end());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(page), made).unwrap();
    } else {
        assert_eq!(text, made, "run `make generate`");
    }
}

#[test]
fn the_schema_of_the_chart_says_of_a_value_what_its_comment_says() {
    let schema: Value =
        serde_json::from_str(&read("charts/opamp-operator/values.schema.json")).unwrap();
    for Documented { path, meaning, .. } in documented() {
        let pointer = path.replace('.', "/properties/");
        let place = schema.pointer(&format!("/properties/{pointer}/description"));
        assert_eq!(place.and_then(Value::as_str), Some(&*meaning), "{path}");
    }
}

/// Objects that Kubernetes judges are its own; ours know every field.
#[test]
fn the_schema_of_the_chart_takes_no_value_that_it_does_not_know() {
    fn walk(schema: &Value, place: &str, open: &mut BTreeSet<String>) {
        if schema.get("properties").is_some() {
            assert_eq!(schema["additionalProperties"], false, "{place}");
        } else if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
            open.insert(place.rsplit('.').next().unwrap().to_owned());
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            walk(below, &format!("{place}.{name}"), open);
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{place}[]"), open);
        }
    }
    let schema: Value =
        serde_json::from_str(&read("charts/opamp-operator/values.schema.json")).unwrap();
    let mut open = BTreeSet::new();
    walk(&schema, "", &mut open);
    let open: Vec<_> = open.iter().map(String::as_str).collect();
    let kubernetes = [
        "affinity",
        "agents[]",
        "apiServer[]",
        "claims[]",
        "extraEgress[]",
        "extraEnv[]",
        "extraVolumeMounts[]",
        "extraVolumes[]",
        "global",
        "limits",
        "metrics[]",
        "parentRefs[]",
        "podSecurityContext",
        "requests",
        "securityContext",
        "tolerations[]",
        "topologySpreadConstraints[]",
    ];
    assert_eq!(open, kubernetes);
}

/// What the chart says of a field that nobody sets is what the operator says of it.
#[test]
fn the_default_of_the_chart_is_that_of_the_operator() {
    let rendered = read("charts/opamp-operator/examples/default.yaml");
    let (_, text) = rendered.split_once("operator.yaml: |\n").unwrap();
    let lines = text.lines().take_while(|line| line.starts_with("    "));
    let lines: Vec<_> = lines.map(|line| &line[4..]).collect();
    let made = Config::parse(&lines.join("\n")).unwrap();
    // What the chart must say, because the operator cannot know it.
    let own = [
        "apiVersion",
        "kind",
        "namespace",
        "advertisedURL",
        "servingCertificate",
        "shutdown",
        "admin",
        "authenticators",
    ];
    let mut keeping = false;
    let least = lines.iter().filter(|line| {
        if !line.starts_with(' ') {
            keeping = own.contains(&line.split(':').next().unwrap());
        }
        keeping
    });
    let least: Vec<_> = least.copied().collect();
    assert!(least.len() < lines.len(), "{lines:?}");
    assert_eq!(Config::parse(&least.join("\n")).unwrap(), made);
}

#[test]
fn the_chart_knows_every_limit_of_the_operator() {
    let schema: Value =
        serde_json::from_str(&read("charts/opamp-operator/values.schema.json")).unwrap();
    let limits = schema["properties"]["limits"]["properties"]
        .as_object()
        .unwrap();
    let page = read("docs/configuration.md");
    let (_, shown) = page.split_once("\nlimits:\n").unwrap();
    let shown = shown.lines().take_while(|line| line.starts_with("  "));
    let shown: BTreeSet<_> = shown
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    assert!(shown.len() > 10, "{shown:?}");
    assert_eq!(
        limits.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        shown
    );
}
