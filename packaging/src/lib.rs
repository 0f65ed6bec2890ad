//! The image of opamp-operator: one static binary and nothing else that runs.
//!
//! The same sources and the same compiler make the same bytes, wherever the
//! sources are and whenever it is done: nothing here reads a clock, paths of
//! this machine are replaced, and everything is written in a fixed order.

mod archive;
mod binary;
mod sbom;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

pub use archive::{Archive, File, Image, USER};

/// The operator's image and what it is made of.
#[derive(Debug)]
pub struct Packaged {
    /// Bytes of the static binary.
    pub binary: usize,
    /// The image.
    pub archive: Archive,
    /// Its bill of materials, CycloneDX as JSON.
    pub sbom: Vec<u8>,
    /// The version of the operator.
    pub version: String,
}

/// Builds the operator of a workspace, in a target directory, and makes its image.
///
/// # Errors
/// When it cannot be built.
pub fn package(workspace: &Path, target: &Path) -> Result<Packaged> {
    let workspace = workspace.canonicalize()?;
    let metadata = metadata(&workspace)?;
    let version = packages(&metadata)
        .find(|package| package["name"] == "opamp-operator")
        .and_then(|package| package["version"].as_str())
        .context("there is no package opamp-operator")?
        .to_owned();
    let binary = fs::read(binary::build(&workspace, target)?)?;
    let sbom = sbom::bill(&workspace, &metadata)?;
    let file = |path: &str, mode, bytes| File {
        path: path.to_owned(),
        mode,
        bytes,
    };
    let labels = [
        ("title", "opamp-operator"),
        ("version", &version),
        ("licenses", "Apache-2.0"),
        ("source", "https://github.com/opamp-operator/opamp-operator"),
    ];
    let size = binary.len();
    let image = Image {
        name: format!("opamp-operator:{version}"),
        entrypoint: "/opamp-operator".to_owned(),
        files: vec![
            file("etc/ssl/certs/ca-certificates.crt", 0o444, roots()),
            file("LICENSE", 0o444, fs::read(workspace.join("LICENSE"))?),
            file("opamp-operator", 0o555, binary),
            // Where scanners of images look for it.
            file("opamp-operator.cdx.json", 0o444, sbom.clone()),
        ],
        labels: labels
            .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    };
    Ok(Packaged {
        binary: size,
        archive: image.archive()?,
        sbom,
        version,
    })
}

/// Whom the `jwks.url` of an authenticator may be vouched for by: what a system
/// has, and where the operator looks for it. Mount another file over it.
fn roots() -> Vec<u8> {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = BASE64_STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

/// Where Cargo puts what it builds of a workspace.
///
/// # Errors
/// When Cargo does not say.
pub fn target_directory(workspace: &Path) -> Result<PathBuf> {
    let metadata = metadata(workspace)?;
    let directory = metadata["target_directory"].as_str();
    Ok(directory.context("no target directory")?.into())
}

/// What Cargo says of a workspace.
fn metadata(workspace: &Path) -> Result<Value> {
    let triple = binary::triple();
    let arguments = [
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        &triple,
    ];
    Ok(serde_json::from_slice(&cargo(workspace, &arguments)?)?)
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    output(Command::new(cargo).args(arguments).current_dir(workspace))
}

/// What a command prints.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {said}", command.get_program().display());
    }
    Ok(output.stdout)
}
