//! What the binary is made of, as CycloneDX 1.6.
//!
//! `cargo cyclonedx` writes a random serial number and the time; this is the same
//! for the same lock file, and it names what else is linked into the binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{binary::triple, cargo, output, packages};

/// Name and version.
type Key = (String, String);

/// The bill, as a file.
pub(crate) fn bill(workspace: &Path, metadata: &Value) -> Result<Vec<u8>> {
    let linked = linked(workspace)?;
    let lock = checksums(&fs::read_to_string(workspace.join("Cargo.lock"))?);
    let mut bill = of(metadata, &linked, &lock)?;
    let components = bill["components"].as_array_mut();
    components
        .context("no components")?
        .extend(beside_crates()?);
    let mut text = serde_json::to_vec_pretty(&bill)?;
    text.push(b'\n');
    Ok(text)
}

/// The bill of a dependency graph, by what of it is linked.
fn of(metadata: &Value, linked: &BTreeSet<Key>, lock: &BTreeMap<Key, String>) -> Result<Value> {
    let mut references = BTreeMap::new();
    let mut components = BTreeMap::new();
    let mut root = None;
    for package in packages(metadata) {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let key = (text("name"), text("version"));
        if !linked.contains(&key) {
            continue;
        }
        let (name, version) = &key;
        let published = package["source"].is_string();
        let reference = if published {
            format!("pkg:cargo/{name}@{version}")
        } else {
            format!("{name}@{version}")
        };
        let mut component = json!({
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            // The older way to write it.
            "licenses": [{"expression": text("license").replace('/', " OR ")}],
        });
        if published {
            component["purl"] = json!(reference);
        }
        if let Some(checksum) = lock.get(&key) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        if let Some(repository) = package["repository"].as_str() {
            component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
        }
        references.insert(text("id"), reference);
        if name == "opamp-operator" {
            component["type"] = json!("application");
            root = Some(component);
        } else {
            components.insert(key, component);
        }
    }
    let nodes = metadata["resolve"]["nodes"].as_array();
    let mut dependencies = BTreeMap::new();
    for node in nodes.into_iter().flatten() {
        let Some(reference) = node["id"].as_str().and_then(|id| references.get(id)) else {
            continue;
        };
        let wanted = node["deps"].as_array().into_iter().flatten();
        let wanted = wanted.filter(|dependency| {
            let kinds = dependency["dep_kinds"].as_array();
            kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
        });
        let wanted: BTreeSet<_> = wanted
            .filter_map(|dependency| references.get(dependency["pkg"].as_str()?))
            .collect();
        dependencies.insert(reference, json!({"ref": reference, "dependsOn": wanted}));
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": root.context("opamp-operator is not linked")?,
            "lifecycles": [{"phase": "build"}],
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies.into_values().collect::<Vec<_>>(),
    }))
}

/// What Cargo links. The graph of `cargo metadata` is that of the whole
/// workspace, with what only tests switch on.
fn linked(workspace: &Path) -> Result<BTreeSet<Key>> {
    let triple = triple();
    let arguments = [
        "tree",
        "--locked",
        "--package=opamp-operator",
        "--edges=normal",
        "--target",
        &triple,
        "--prefix=none",
        "--format={p}",
    ];
    let text = String::from_utf8(cargo(workspace, &arguments)?)?;
    let mut all = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            let version = version.trim_start_matches('v');
            all.insert((name.to_owned(), version.to_owned()));
        }
    }
    Ok(all)
}

/// The digests of a lock file.
fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let mut all = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let mut lines = package.lines();
            let line = lines.find_map(|line| line.strip_prefix(&format!("{name} = ")))?;
            Some(line.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            all.insert((name, version), checksum);
        }
    }
    all
}

/// What is linked that no crate holds: the standard library, and the C library
/// of the machine that builds.
fn beside_crates() -> Result<[Value; 2]> {
    let said = |program: &str, argument: &str| -> Result<String> {
        let said = output(Command::new(program).arg(argument))?;
        let said = String::from_utf8(said)?;
        let version = said.split_whitespace().nth(1);
        Ok(version.context("no version")?.to_owned())
    };
    let rust = said("rustc", "--version")?;
    let glibc = said("getconf", "GNU_LIBC_VERSION")?;
    let component = |name: &str, version: &str, licence: &str| {
        let reference = format!("pkg:generic/{name}@{version}");
        json!({
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "purl": reference,
            "licenses": [{"expression": licence}],
        })
    };
    Ok([
        component("rust-std", &rust, "MIT OR Apache-2.0"),
        component("glibc", &glibc, "LGPL-2.1-or-later"),
    ])
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), "1.0.0".to_owned())
    }

    #[test]
    fn a_bill_names_what_is_linked_and_nothing_else() -> Result<()> {
        let package = |name: &str, source: Value| {
            json!({
                "id": format!("{name} 1.0.0"), "name": name, "version": "1.0.0",
                "license": "MIT/Apache-2.0", "source": source,
            })
        };
        let dependency = |name: &str, kind: Value| json!({"pkg": format!("{name} 1.0.0"), "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("tests-only", json!("registry")),
                package("linked", json!("registry")),
                package("opamp-operator", Value::Null),
            ],
            "resolve": {"nodes": [
                {"id": "opamp-operator 1.0.0", "deps": [dependency("linked", Value::Null), dependency("tests-only", json!("dev"))]},
                {"id": "linked 1.0.0", "deps": []},
            ]},
        });
        let lock = checksums(
            "[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\nsource = \"r\"\nchecksum = \"abc\"\n",
        );
        let linked = [key("linked"), key("opamp-operator")].into();
        let bill = of(&metadata, &linked, &lock)?;
        ensure!(bill["metadata"]["component"]["bom-ref"] == "opamp-operator@1.0.0");
        let components = bill["components"].as_array().context("none")?;
        ensure!(components.len() == 1, "{components:?}");
        let component = &components[0];
        ensure!(component["purl"] == "pkg:cargo/linked@1.0.0");
        ensure!(component["hashes"][0]["content"] == "abc");
        ensure!(component["licenses"][0]["expression"] == "MIT OR Apache-2.0");
        let wanted = json!([
            {"ref": "opamp-operator@1.0.0", "dependsOn": ["pkg:cargo/linked@1.0.0"]},
            {"ref": "pkg:cargo/linked@1.0.0", "dependsOn": []},
        ]);
        ensure!(bill["dependencies"] == wanted, "{}", bill["dependencies"]);
        Ok(())
    }
}
