//! The committed definitions are the ones that the types generate.

use std::path::Path;

use opamp_operator::crd::definitions;
use serde_json::Value;

#[test]
fn committed_definitions_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["crds", "charts/opamp-operator/files"] {
        for (file, text) in definitions() {
            let committed = std::fs::read_to_string(root.join(folder).join(&file));
            assert!(
                committed.unwrap_or_default() == text,
                "{folder}/{file} is not what the types generate; run `make generate`"
            );
        }
        let files = std::fs::read_dir(root.join(folder)).expect("a folder");
        let files = files.map(|file| file.expect("a file").path());
        let yaml = files.filter(|file| file.extension().is_some_and(|it| it == "yaml"));
        assert_eq!(yaml.count(), definitions().len(), "more in {folder}");
    }
}

/// Every field of the definition that people write says what it is for, so that
/// `kubectl explain` does. Prints how large the definitions are.
#[test]
fn every_field_of_the_definitions_is_described() {
    let (mut rules, mut undescribed) = (0, Vec::new());
    for (file, text) in definitions() {
        let definition: Value = serde_saphyr::from_str(&text).expect("YAML");
        let bytes = definition.to_string().len();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut fields = 0;
        for (name, field) in schema["properties"].as_object().expect("fields") {
            if !["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                walk(field, name, &mut fields, &mut rules, &mut undescribed);
            }
        }
        println!("{file}: {bytes} bytes as JSON, {fields} fields, {rules} rules so far");
        // The API server refuses an object of more than 1.5 MiB, and `kubectl
        // apply` without --server-side an annotation of more than 256 KiB.
        assert!(bytes < 256 * 1024, "{file}: {bytes}");
    }
    assert!(undescribed.is_empty(), "without a word: {undescribed:#?}");
    assert!(rules > 100, "{rules}");
}

fn walk(schema: &Value, path: &str, fields: &mut u32, rules: &mut usize, bad: &mut Vec<String>) {
    *fields += 1;
    let said = schema["description"].as_str().unwrap_or_default();
    if said.len() < 8 {
        bad.push(path.to_owned());
    }
    let list = schema["x-kubernetes-validations"].as_array();
    *rules += list.map_or(0, Vec::len);
    for part in ["items", "additionalProperties"] {
        let fields_of = schema[part]["properties"].as_object();
        for (name, field) in fields_of.into_iter().flatten() {
            walk(field, &format!("{path}[].{name}"), fields, rules, bad);
        }
        let list = schema[part]["x-kubernetes-validations"].as_array();
        *rules += list.map_or(0, Vec::len);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(field, &format!("{path}.{name}"), fields, rules, bad);
    }
}
