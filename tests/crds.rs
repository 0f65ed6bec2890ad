//! The committed definitions are the ones that the types generate.

use opamp_operator::crd::profile_crd_yaml;

#[test]
fn committed_definition_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crds/opampconnectionprofiles.yaml"
    );
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == profile_crd_yaml(),
        "crds/opampconnectionprofiles.yaml is not what the types generate; run `make generate`"
    );
}
