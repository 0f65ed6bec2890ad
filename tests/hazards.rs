//! Every hazard that real agents are for a server has a test that carries its
//! number, or a reason why it cannot arise: `docs/agents.md` has a line for
//! each, and this holds the page against the tests.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{ItemFn, visit::Visit};

/// H1 to H28.
const LAST: u32 = 28;

/// How a line begins its last column when there is no test.
const CANNOT: &str = "Cannot arise: ";

#[test]
fn every_hazard_has_a_test_or_cannot_arise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = tests(root);
    let page = fs::read_to_string(root.join("docs/agents.md")).unwrap();
    let lines = lines(&page);
    let mut wrong: Vec<String> = (1..=LAST)
        .filter(|hazard| !lines.contains_key(hazard))
        .map(|hazard| format!("H{hazard} has no line in docs/agents.md, Hazards"))
        .collect();
    for (hazard, shown) in &lines {
        if !(1..=LAST).contains(hazard) {
            wrong.push(format!("there is no H{hazard}"));
        }
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let reason = shown.strip_prefix(CANNOT).is_some_and(|why| why.len() > 20);
        if named.is_empty() && !reason {
            wrong.push(format!(
                "H{hazard} has neither a test nor a reason: {shown}"
            ));
        }
        for name in named {
            match tests.get(name) {
                None => wrong.push(format!("H{hazard}: there is no test {name}")),
                Some(carries) if !carries.contains(hazard) => {
                    wrong.push(format!("H{hazard}: {name} does not carry h{hazard}_"));
                }
                Some(_) => {}
            }
        }
    }
    for (name, carries) in &tests {
        for hazard in carries {
            let told = lines.get(hazard).is_some_and(|line| line.contains(name));
            if !told {
                wrong.push(format!("the line of H{hazard} does not name {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last column of each line of the table, by hazard.
fn lines(page: &str) -> BTreeMap<u32, String> {
    let (_, section) = page.split_once("\n## Hazards\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut lines = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| H")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [hazard, what, does, shown]: [&str; 4] = cells.try_into().unwrap();
        assert!(!what.is_empty() && !does.is_empty(), "{line}");
        let hazard = hazard[1..].parse().unwrap();
        let before = lines.insert(hazard, shown.to_owned());
        assert_eq!(before, None, "H{hazard} has two lines");
    }
    lines
}

/// Every test function of the workspace, with the hazards whose numbers it carries.
fn tests(root: &Path) -> BTreeMap<String, BTreeSet<u32>> {
    let mut found = Tests::default();
    let mut folders: Vec<PathBuf> = ["src", "tests", "crates", "e2e"]
        .map(|folder| root.join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.visit_file(&syn::parse_file(&text).unwrap());
            }
        }
    }
    found.0
}

#[derive(Default)]
struct Tests(BTreeMap<String, BTreeSet<u32>>);

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let has = |name: &str| {
            let mut attributes = function.attrs.iter();
            attributes.any(|attribute| {
                let last = attribute.path().segments.last();
                last.is_some_and(|last| last.ident == name)
            })
        };
        if has("test") && !has("ignore") {
            let name = function.sig.ident.to_string();
            let carries = hazards(&name);
            self.0.entry(name).or_default().extend(carries);
        }
        syn::visit::visit_item_fn(self, function);
    }
}

/// `law5_h1_h12_what_it_shows` carries 1 and 12: what comes before the words.
fn hazards(name: &str) -> BTreeSet<u32> {
    let parts = name.split('_').map(|part| {
        let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = part[letters.len()..].parse::<u32>().ok()?;
        Some((letters, number))
    });
    let labels = parts.take_while(Option::is_some).flatten();
    labels
        .filter(|(letters, _)| *letters == "h")
        .map(|(_, number)| number)
        .collect()
}

#[test]
fn only_the_labels_before_the_words_count() {
    assert_eq!(hazards("law5_h1_h12_what_h3_it_shows"), [1, 12].into());
    assert_eq!(hazards("h7_x"), [7].into());
    assert_eq!(hazards("the_h7"), [].into());
    assert_eq!(hazards("hold_back"), [].into());
}
