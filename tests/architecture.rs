//! Which module of the root crate and of the core may name which other.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use syn::{Item, UseTree, visit::Visit};

/// Module → what it may import of its own crate.
const ROOT: &[(&str, &[&str])] = &[
    // An agent is shown as the object that it is.
    ("admin", &["backend", "hub", "metrics"]),
    ("agent_config", &["judge", "manifest"]),
    (
        "app",
        &[
            "admin",
            "backend",
            "config",
            "controller",
            "hub",
            "metrics",
            "server",
            "telemetry",
        ],
    ),
    ("backend", &["judge", "manifest", "metrics"]),
    (
        "cli",
        &[
            "admin",
            "agent_config",
            "app",
            "config",
            "crd",
            "manifest",
            "telemetry",
            "validate",
        ],
    ),
    // The bounds of the server are part of the configuration, and where traces go.
    ("config", &["server", "telemetry"]),
    ("controller", &["backend", "config", "hub", "metrics"]),
    ("crd", &[]),
    // The questions and answers of the backend.
    ("hub", &["backend", "metrics"]),
    ("judge", &[]),
    ("manifest", &[]),
    ("metrics", &[]),
    ("server", &["hub", "metrics"]),
    // Traces are made of the steps that the hub tells.
    ("telemetry", &["hub"]),
    // Reads the files as directory mode does.
    ("validate", &["backend", "config", "judge", "manifest"]),
];

const CORE: &[(&str, &[&str])] = &[
    ("catalog", &["identity", "now", "offer"]),
    ("fleet", &["catalog", "identity", "now", "offer"]),
    ("identity", &["now"]),
    ("lease", &[]),
    ("now", &[]),
    // `resolve` judges by trust and signs by key.
    ("offer", &["identity", "now"]),
    ("rollout", &["catalog", "fleet", "now", "offer"]),
    ("status", &["catalog", "fleet", "now", "offer", "rollout"]),
];

#[test]
fn modules_of_the_operator_import_only_what_the_table_allows() {
    check(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(),
        ROOT,
    );
}

#[test]
fn modules_of_the_core_import_only_what_the_table_allows() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/src");
    check(&core, CORE);
}

#[test]
fn the_core_knows_no_runtime_and_no_client() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap();
    let dependencies = text.split("[dependencies]").nth(1).unwrap();
    for forbidden in ["tokio", "hyper", "axum", "kube"] {
        let named = dependencies
            .lines()
            .any(|line| line.starts_with(&format!("{forbidden}.")));
        assert!(!named, "crates/core must not depend on {forbidden}");
    }
}

fn check(root: &Path, table: &[(&str, &[&str])]) {
    let known: BTreeSet<_> = table.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for module in modules(root) {
        let Some((_, allowed)) = table.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("module `{module}` is not in the table"));
            continue;
        };
        for file in files(root, &module) {
            let parsed = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
            let mut uses = Uses::default();
            uses.visit_file(&parsed);
            for used in uses.0 {
                let other = known.contains(used.as_str()) && used != module;
                if other && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{} names `{used}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn modules(root: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !matches!(name.as_str(), "lib" | "main"))
        .collect()
}

fn files(root: &Path, module: &str) -> Vec<std::path::PathBuf> {
    let single = root.join(format!("{module}.rs"));
    let mut found = if single.exists() {
        vec![single]
    } else {
        Vec::new()
    };
    let mut folders = vec![root.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The modules named behind `crate::`, in `use` and in paths.
#[derive(Default)]
struct Uses(BTreeSet<String>);

impl Uses {
    fn behind_crate(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => drop(self.0.insert(path.ident.to_string())),
            UseTree::Name(name) => drop(self.0.insert(name.ident.to_string())),
            UseTree::Rename(name) => drop(self.0.insert(name.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.behind_crate(tree)),
            UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Use(item) = item
            && let UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            self.behind_crate(&path.tree);
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(module) = segments.next()
        {
            self.0.insert(module.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}
