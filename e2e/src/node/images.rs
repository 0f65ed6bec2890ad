//! Images of static binaries, as archives, without any daemon.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};

/// The user that programs run as.
pub const USER: u32 = 65532;

/// Writes an image with these programs in its root and nothing else; the first
/// is what it runs.
///
/// # Errors
/// When it cannot be written.
pub fn archive(folder: &Path, name: &str, programs: &[&Path]) -> Result<PathBuf> {
    let mut layer = Builder::new(Vec::new());
    let mut first = None;
    for program in programs {
        let file = program.file_name().context("a program without name")?;
        let file = file.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        File::open(program)
            .and_then(|mut open| open.read_to_end(&mut bytes))
            .with_context(|| program.display().to_string())?;
        append(&mut layer, &file, &bytes, 0o755)?;
        first.get_or_insert(file);
    }
    let layer = layer.into_inner()?;
    let first = first.context("an image without program")?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": [format!("/{first}")], "User": format!("{USER}:{USER}")},
        "rootfs": {
            "type": "layers",
            "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&layer)))],
        },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": ["layer.tar"],
    }]);
    let path = folder.join(format!("{first}.image.tar"));
    let mut archive = Builder::new(File::create(&path)?);
    for (file, text) in [("config.json", config), ("manifest.json", manifest)] {
        append(&mut archive, file, text.to_string().as_bytes(), 0o644)?;
    }
    append(&mut archive, "layer.tar", &layer, 0o644)?;
    archive.into_inner()?.flush()?;
    Ok(path)
}

/// This machine's architecture, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn append<W: std::io::Write>(
    to: &mut Builder<W>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(u64::try_from(bytes.len())?);
    header.set_mode(mode);
    to.append_data(&mut header, name, bytes)?;
    Ok(())
}
