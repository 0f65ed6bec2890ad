//! The custom resource definitions as YAML, as they are committed under
//! `crds/` and printed by `opamp-operator crd`.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt as _;
use opamp_operator_api::{agent::OpAMPAgent, v1alpha1::OpAMPConnectionProfile};

const HEADER: &str = "\
# Generated from the types in crates/api by `make generate`; do not edit.
---
";

/// Every definition: the name of its file, and its text.
#[must_use]
pub fn definitions() -> Vec<(String, String)> {
    let all = [unobserved(OpAMPConnectionProfile::crd()), OpAMPAgent::crd()];
    all.iter()
        .map(|definition| (file(definition), yaml(definition)))
        .collect()
}

/// A profile without status is one that the operator has not seen: tools that
/// wait by kstatus would take it for done, so the API server says otherwise
/// until the first status is written.
fn unobserved(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_mut());
        let fields = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = fields.and_then(|fields| fields.get_mut("status")) {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
        }
    }
    definition
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
