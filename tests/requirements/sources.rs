//! The tests of the workspace, as its sources declare them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, ItemFn, visit::Visit};

/// A function that runs as a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) name: String,
    /// It sees the server as an agent does.
    outside: bool,
}

impl Test {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.name.split('_')
    }

    /// The rows that it names, in lower case.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.words().filter(|word| {
            let (letter, number) = word.split_at_checked(1).unwrap_or_default();
            "tmcsr".contains(letter)
                && number.len() == 2
                && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    }

    pub(crate) fn shows(&self, id: &str) -> bool {
        self.ids().any(|word| word.eq_ignore_ascii_case(id))
    }

    /// Whether it speaks over `ws` or `http`.
    pub(crate) fn speaks(&self, mark: &str) -> bool {
        self.outside && self.words().any(|word| word == mark || word == "both")
    }
}

/// Every test of the workspace, in the order of names.
pub(crate) fn all() -> Vec<Test> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in files(root) {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap();
        found.extend(tests(path, &fs::read_to_string(&file).unwrap()));
    }
    found.sort();
    found
}

/// The tests of one file.
pub(crate) fn tests(path: &str, source: &str) -> Vec<Test> {
    let mut visitor = Tests {
        outside: path.starts_with("tests/") || path.starts_with("e2e/"),
        found: Vec::new(),
    };
    visitor.visit_file(&syn::parse_file(source).unwrap());
    visitor.found
}

struct Tests {
    outside: bool,
    found: Vec<Test>,
}

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let has = |name: &str| {
            let named = |attribute: &Attribute| {
                let last = attribute.path().segments.last();
                last.is_some_and(|segment| segment.ident == name)
            };
            item.attrs.iter().any(named)
        };
        if has("test") && !has("ignore") {
            self.found.push(Test {
                name: item.sig.ident.to_string(),
                outside: self.outside,
            });
        }
        syn::visit::visit_item_fn(self, item);
    }
}

/// Every Rust file that is not built or hidden.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
