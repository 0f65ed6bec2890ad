//! An image as an archive of the OCI image layout, which `ctr images import`,
//! `docker load`, `podman load` and `skopeo copy oci-archive:` read.
//!
//! The documents are written here: those of the crate `oci-spec` keep their maps
//! in an order that differs from run to run.

use std::{collections::BTreeMap, io::Write as _};

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// Whom processes of an image run as: nobody that a system knows.
pub const USER: u32 = 65532;

/// A file of an image.
#[derive(Clone, Debug)]
pub struct File {
    /// From the root, without a slash at the beginning.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Content.
    pub bytes: Vec<u8>,
}

/// What an image holds.
#[derive(Clone, Debug)]
pub struct Image {
    /// Repository and tag, without a registry.
    pub name: String,
    /// The program.
    pub entrypoint: String,
    /// Everything that is in it.
    pub files: Vec<File>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// An image as one file.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The file.
    pub bytes: Vec<u8>,
    /// Of the manifest: what a registry calls the image by.
    pub digest: String,
    /// What a node fetches.
    pub compressed: usize,
}

/// The content that a digest names.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = hex::encode(Sha256::digest(&bytes));
        Self { digest, bytes }
    }

    fn json(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

impl Image {
    /// Writes it.
    ///
    /// # Errors
    /// When a path is too long for an archive.
    pub fn archive(&self) -> Result<Archive> {
        let mut files: Vec<&File> = self.files.iter().collect();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let plain = tar(files
            .iter()
            .map(|file| (&*file.path, file.mode, &*file.bytes)))?;
        // Of the content: the digest of the layer is that of its compressed form.
        let content = Blob::new(plain);
        let layer = Blob::new(gzip(&content.bytes)?);
        let config = Blob::json(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": format!("{USER}:{USER}"),
                "Entrypoint": [self.entrypoint],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", content.digest)]},
        }))?;
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("config.v1+json"),
            "layers": [layer.descriptor("layer.v1.tar+gzip")],
        }))?;
        let mut named = manifest.descriptor("manifest.v1+json");
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        // A node looks an image without a registry up by its full name.
        named["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{}", self.name),
            "org.opencontainers.image.ref.name": tag,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [named],
        });
        // What older versions of Docker read instead of the index.
        let docker = json!([{
            "Config": config.path(),
            "RepoTags": [self.name],
            "Layers": [layer.path()],
        }]);
        let mut entries = vec![
            ("index.json".to_owned(), serde_json::to_vec(&index)?),
            ("manifest.json".to_owned(), serde_json::to_vec(&docker)?),
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
        ];
        let digest = format!("sha256:{}", manifest.digest);
        let compressed = manifest.bytes.len() + config.bytes.len() + layer.bytes.len();
        for blob in [manifest, config, layer] {
            entries.push((blob.path(), blob.bytes));
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        let bytes = tar(entries
            .iter()
            .map(|(path, bytes)| (&**path, 0o644, &**bytes)))?;
        Ok(Archive {
            bytes,
            digest,
            compressed,
        })
    }
}

/// As images name the processor that this is built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Files of root and of no time.
fn tar<'a>(files: impl Iterator<Item = (&'a str, u32, &'a [u8])>) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let mut made = Vec::new();
    for (path, mode, bytes) in files {
        for (end, _) in path.match_indices('/') {
            let folder = &path[..=end];
            if !made.contains(&folder) {
                made.push(folder);
                append(&mut archive, EntryType::Directory, folder, 0o755, &[])?;
            }
        }
        append(&mut archive, EntryType::Regular, path, mode, bytes)?;
    }
    Ok(archive.into_inner()?)
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    Ok(archive.append_data(&mut header, path, bytes)?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use anyhow::{Context as _, ensure};

    use super::*;

    fn image(files: &[&str]) -> Image {
        let file = |path: &&str| File {
            path: (*path).to_owned(),
            mode: 0o555,
            bytes: path.as_bytes().to_vec(),
        };
        Image {
            name: "thing:1".to_owned(),
            entrypoint: "/bin/thing".to_owned(),
            files: files.iter().map(file).collect(),
            labels: [("a", "b"), ("c", "d"), ("e", "f")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    /// Permissions, time and content.
    type Entry = (u32, u64, Vec<u8>);

    fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
        let mut all = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.display().to_string();
            let (mode, mtime) = (entry.header().mode()?, entry.header().mtime()?);
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            all.insert(path, (mode, mtime, content));
        }
        Ok(all)
    }

    #[test]
    fn every_digest_of_an_archive_is_that_of_the_content() -> Result<()> {
        let archive = image(&["bin/thing", "LICENSE"]).archive()?;
        let all = entries(&archive.bytes)?;
        let find = |digest: &Value| {
            let digest = digest.as_str().unwrap_or_default();
            let path = digest.replace("sha256:", "blobs/sha256/");
            all.get(&path).with_context(|| path.clone())
        };
        for (path, (_, _, content)) in &all {
            if let Some(digest) = path
                .strip_prefix("blobs/sha256/")
                .filter(|it| !it.is_empty())
            {
                ensure!(hex::encode(Sha256::digest(content)) == digest, "{path}");
            }
        }
        let json = |content: &[u8]| serde_json::from_slice::<Value>(content);
        let index = json(&all["index.json"].2)?;
        let named = &index["manifests"][0];
        ensure!(named["digest"] == archive.digest);
        let manifest = find(&named["digest"])?;
        ensure!(named["size"] == manifest.2.len());
        let manifest = json(&manifest.2)?;
        let layer = &find(&manifest["layers"][0]["digest"])?.2;
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&**layer).read_to_end(&mut plain)?;
        let config = json(&find(&manifest["config"]["digest"])?.2)?;
        let content = format!("sha256:{}", hex::encode(Sha256::digest(&plain)));
        ensure!(config["rootfs"]["diff_ids"] == json!([content]));
        ensure!(config["config"]["User"] == "65532:65532");
        let files = entries(&plain)?;
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        ensure!(paths == ["LICENSE", "bin/", "bin/thing"], "{paths:?}");
        ensure!(files["bin/thing"].0 == 0o555 && files["bin/thing"].1 == 0);
        Ok(())
    }

    #[test]
    fn an_archive_depends_on_its_content_only() -> Result<()> {
        let one = image(&["LICENSE", "bin/thing"]).archive()?;
        let other = image(&["bin/thing", "LICENSE"]).archive()?;
        ensure!(one.bytes == other.bytes && one.digest == other.digest);
        let another = image(&["bin/thing", "LICENCE"]).archive()?;
        ensure!(one.digest != another.digest);
        Ok(())
    }
}
