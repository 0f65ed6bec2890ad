//! The custom resource definitions as YAML, as they are committed under
//! `crds/` and printed by `opamp-operator crd`.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use opamp_operator_api::{agent::OpAMPAgent, v1alpha1::OpAMPConnectionProfile};

const HEADER: &str = "\
# Generated from the types in crates/api by `make generate`; do not edit.
---
";

/// Every definition: the name of its file, and its text.
#[must_use]
pub fn definitions() -> Vec<(String, String)> {
    let all = [OpAMPConnectionProfile::crd(), OpAMPAgent::crd()];
    all.iter()
        .map(|definition| (file(definition), yaml(definition)))
        .collect()
}

/// Writes every definition into a directory.
///
/// # Errors
/// If a file cannot be written.
pub fn write(directory: &Path) -> std::io::Result<()> {
    for (file, text) in definitions() {
        std::fs::write(directory.join(file), text)?;
    }
    Ok(())
}

fn file(definition: &CustomResourceDefinition) -> String {
    format!("{}.yaml", definition.spec.names.plural)
}

#[expect(
    clippy::expect_used,
    reason = "the definitions are constants of the program, and a test writes them"
)]
fn yaml(definition: &CustomResourceDefinition) -> String {
    let yaml = serde_saphyr::to_string(definition).expect("a definition is plain data");
    format!("{HEADER}{yaml}")
}
