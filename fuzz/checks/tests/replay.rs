//! Every seed, and whatever crashed once, goes through its check again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use fuzz_checks::{TARGETS, seeds};

/// The seeds are small: they are read with the code.
const MAX_SEED: usize = 8 * 1024;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = ["seeds", "crashes"].map(|of| seeds::folder().join(of).join(target));
    let files = folders.iter().flat_map(|folder| {
        let names = names(folder).into_iter();
        names.map(|name| folder.join(name))
    });
    files
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[test]
fn every_input_keeps_the_properties_of_its_target() {
    let mut broken = Vec::new();
    for (target, check) in TARGETS {
        for (file, input) in inputs(target) {
            // The check's own message is printed by the panic.
            if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
                broken.push(format!("{target}: {}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_target_has_seeds_and_every_folder_a_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&seeds::folder().join("seeds")), targets);
    let crashes = names(&seeds::folder().join("crashes"));
    assert!(crashes.is_subset(&targets), "{crashes:?}");
    for target in &targets {
        let folder = seeds::folder().join("seeds").join(target);
        let found = names(&folder);
        assert!(found.len() > 10, "{target} has {} seeds", found.len());
        for (name, bytes) in seeds::of(target) {
            let file = fs::read(folder.join(name)).unwrap_or_default();
            let same = file == bytes && found.contains(name);
            assert!(
                same,
                "{target}/{name}: write it with `cargo run -p fuzz-checks`"
            );
        }
        for (file, input) in inputs(target) {
            assert!(
                input.len() <= MAX_SEED,
                "{}: {}",
                file.display(),
                input.len()
            );
        }
    }
}

/// libFuzzer's side has a program for every target, and no other.
#[test]
fn every_target_is_built_for_the_fuzzer() {
    let programs = names(&seeds::folder().join("fuzz_targets"));
    let wanted = TARGETS.iter().map(|(name, _)| format!("{name}.rs"));
    assert_eq!(programs, wanted.collect());
    let manifest = fs::read_to_string(seeds::folder().join("Cargo.toml")).unwrap();
    for program in programs {
        let path = format!("path = \"fuzz_targets/{program}\"");
        assert!(manifest.contains(&path), "{path}");
        let target = program.trim_end_matches(".rs");
        let calls = fs::read_to_string(seeds::folder().join("fuzz_targets").join(&program));
        assert!(calls.unwrap().contains(&format!("fuzz_checks::{target}(")));
    }
}
