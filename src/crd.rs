//! The custom resource definitions as YAML, as they are committed under
//! `crds/` and printed by `opamp-operator crd`.

use kube::CustomResourceExt as _;
use opamp_operator_api::v1alpha1::OpAMPConnectionProfile;

const HEADER: &str = "\
# Generated from the types in crates/api; do not edit.
# Regenerate with `make generate`, that is
#   opamp-operator crd > crds/opampconnectionprofiles.yaml
---
";

/// The definition of `OpAMPConnectionProfile`.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the definition is a constant of the program, and a test writes it"
)]
pub fn profile_crd_yaml() -> String {
    let definition = OpAMPConnectionProfile::crd();
    let yaml = serde_saphyr::to_string(&definition).expect("a definition is plain data");
    format!("{HEADER}{yaml}")
}
