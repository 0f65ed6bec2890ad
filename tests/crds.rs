//! The committed definitions are the ones that the types generate.

use std::path::Path;

use opamp_operator::crd::definitions;

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
        let files = std::fs::read_dir(root.join(folder)).map(Iterator::count);
        assert_eq!(
            files.unwrap_or_default(),
            definitions().len(),
            "more in {folder}"
        );
    }
}
