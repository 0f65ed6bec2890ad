//! A corpus of profiles and what the judge says about each. The same files are
//! for a real API server, whose verdicts must be equal.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf};

use opamp_operator::judge::{Judge, Refusal};
use opamp_operator_api::v1alpha1::profile::{
    AttributeScope, BundleKind, CertificateSource, Compatibility, SystemCAs,
};
use serde_json::{Value, json};

fn corpus(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/profiles")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn list(refusals: &[Refusal]) -> String {
    let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    lines.join("\n    ")
}

#[test]
fn accepted_profiles_are_accepted() {
    let judge = Judge::new();
    let files = corpus("accepted");
    assert!(files.len() >= 20, "only {} files", files.len());
    let failures: Vec<_> = files
        .iter()
        .filter_map(|(name, text)| {
            let refusals = judge.read(parse(text)).err()?;
            Some(format!("{name}:\n    {}", list(&refusals)))
        })
        .collect();
    assert!(failures.is_empty(), "refused:\n{}", failures.join("\n"));
}

#[test]
fn h8_h9_refused_profiles_are_refused_for_their_reason() {
    let judge = Judge::new();
    let files = corpus("refused");
    assert!(files.len() >= 100, "only {} files", files.len());
    let mut failures = Vec::new();
    for (name, text) in &files {
        let comment = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# refused: "));
        let (field, part) = comment.and_then(|text| text.split_once(": ")).unwrap();
        match judge.read(parse(text)) {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(refusals) => {
                let named = |r: &Refusal| r.field == field && r.message.contains(part);
                if !refusals.iter().any(named) {
                    failures.push(format!("{name}:\n    {}", list(&refusals)));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "not as expected:\n{}",
        failures.join("\n")
    );
}

#[test]
fn defaults_are_filled_in() {
    let profile = Judge::new()
        .read(json!({
            "apiVersion": "opamp-operator.dev/v1alpha1",
            "kind": "OpAMPConnectionProfile",
            "metadata": {"name": "fleet"},
            "spec": {
                "agentSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                "opamp": {
                    "clientCertificate": {"source": "None"},
                    "tls": {"caBundleRef": {"name": "server-ca"}},
                },
            },
            "status": {"observedGeneration": 1},
        }))
        .unwrap();
    let spec = &profile.spec;
    assert_eq!((spec.priority, spec.paused), (0, false));
    assert_eq!(
        spec.agent_selector.match_expressions[0].scope,
        AttributeScope::Any
    );
    let opamp = &spec.opamp;
    assert_eq!(opamp.compatibility, Compatibility::Universal);
    assert_eq!(opamp.heartbeat_interval_seconds, 30);
    assert_eq!(opamp.client_certificate.source, CertificateSource::None);
    assert_eq!(opamp.tls.system_cas, SystemCAs::Exclude);
    let bundle = opamp.tls.ca_bundle_ref.as_ref().unwrap();
    assert_eq!(
        (bundle.kind, bundle.key.as_str()),
        (BundleKind::ConfigMap, "ca.crt")
    );
    assert_eq!(profile.status, None, "the status belongs to the operator");
}

#[test]
fn values_are_never_repeated() {
    let judge = Judge::new();
    let secret = "hunter2-hunter2";
    let places = [
        json!({"name": "Authorization", "value": secret}),
        json!({"name": "X-A", "value": format!("{secret}\n")}),
        json!({"name": "X-A", "value": {"secret": secret}}),
        json!({"name": "X-A", "value": [secret]}),
        json!({"name": "X-A", "valueFrom": secret}),
        json!({"name": "X-A", "valueFrom": {"secretKeyRef": secret, "prefix": format!(" {secret}")}}),
        json!(secret),
    ];
    for header in places {
        let refusals = judge
            .read(json!({
                "apiVersion": "opamp-operator.dev/v1alpha1",
                "kind": "OpAMPConnectionProfile",
                "metadata": {"name": "fleet"},
                "spec": {
                    "agentSelector": {},
                    "opamp": {
                        "endpoint": format!("wss://user:{secret}@localhost"),
                        "headers": [header],
                        "clientCertificate": {"source": secret},
                        "tls": {"systemCAs": "Include"},
                    },
                },
            }))
            .unwrap_err();
        assert!(!list(&refusals).contains(secret), "{}", list(&refusals));
    }
}

#[test]
fn anything_else_is_refused() {
    let judge = Judge::new();
    for value in [
        json!(null),
        json!("text"),
        json!([]),
        json!({}),
        json!({"spec": 1}),
    ] {
        assert!(judge.read(value.clone()).is_err(), "{value}");
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    assert!(judge.read(secret).is_err());
}

#[test]
fn every_rule_is_broken_by_a_refused_profile() {
    fn messages(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                for rule in object
                    .get("x-kubernetes-validations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    found.push(rule["message"].as_str().unwrap().to_owned());
                }
                object.values().for_each(|child| messages(child, found));
            }
            Value::Array(items) => items.iter().for_each(|child| messages(child, found)),
            _ => {}
        }
    }
    let mut rules = Vec::new();
    let (_, text) = opamp_operator::crd::definitions().swap_remove(0);
    let definition = serde_saphyr::from_str(&text).unwrap();
    messages(&definition, &mut rules);
    assert!(rules.len() >= 20, "only {} rules", rules.len());

    let judge = Judge::new();
    let broken: Vec<_> = corpus("refused")
        .iter()
        .filter_map(|(_, text)| judge.read(parse(text)).err())
        .flatten()
        .collect();
    for rule in rules {
        let is_broken = broken.iter().any(|refusal| refusal.message == rule);
        assert!(is_broken, "no refused profile breaks the rule {rule:?}");
    }
}

#[test]
fn a_judge_can_be_shared_between_tasks() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Judge>();
}

#[test]
fn the_examples_are_accepted() {
    let judge = Judge::new();
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut profiles = 0;
    let (mut folders, mut files) = (vec![examples], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "yaml") {
                files.push(path);
            }
        }
    }
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n") {
            let value = parse(document);
            if value["kind"] == "OpAMPConnectionProfile" {
                profiles += 1;
                let refusals = judge.read(value).err().unwrap_or_default();
                assert!(refusals.is_empty(), "{path:?}: {}", list(&refusals));
            }
        }
    }
    assert!(profiles >= 5, "only {profiles}");
}
