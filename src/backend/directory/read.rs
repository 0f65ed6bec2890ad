//! Reading manifests. A file that cannot be read or parsed keeps what it said
//! before: one bad file, or one half written, never hides another.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opamp_operator_api::{ObjectRef, ProfileKey};
use opamp_operator_core::offer::Object;
use serde_json::Value;

use crate::manifest::{MAX_FILE_BYTES, documents, manifests};

/// All that a directory holds.
#[derive(Debug, Default)]
pub struct Found {
    /// Profiles as they are written, not judged yet.
    pub profiles: BTreeMap<ProfileKey, Value>,
    /// What profiles may name.
    pub objects: BTreeMap<ObjectRef, Arc<Object>>,
}

/// Why a document is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// It is not what its kind must be.
    #[error("{0}")]
    Broken(String),
    /// Another one has its name.
    #[error("{0}")]
    Twice(String),
}

/// Path, time and size of every file: changes when anything does.
type Listing = Vec<(PathBuf, Option<SystemTime>, u64)>;

#[derive(Debug, Default)]
pub(super) struct Reader {
    listing: Option<Listing>,
    files: BTreeMap<PathBuf, Vec<Value>>,
}

impl Reader {
    /// Whether the directory was ever read.
    pub(super) fn has_read(&self) -> bool {
        self.listing.is_some()
    }

    /// What the directory holds; none if nothing changed.
    pub(super) fn read(&mut self, directory: &Path) -> Option<Found> {
        let listing = match list(directory) {
            Ok(listing) => listing,
            Err(error) => {
                tracing::error!(directory = %directory.display(), %error, "the manifests cannot be listed; what was read before stays");
                return None;
            }
        };
        if self.listing.as_ref() == Some(&listing) {
            return None;
        }
        let mut files = BTreeMap::new();
        for (path, _, size) in &listing {
            let documents = match parse(path, *size) {
                Ok(documents) => documents,
                Err(error) => {
                    tracing::error!(file = %path.display(), error, "a manifest cannot be read; what it said before stays");
                    self.files.remove(path).unwrap_or_default()
                }
            };
            files.insert(path.clone(), documents);
        }
        self.files = files;
        self.listing = Some(listing);
        Some(self.found())
    }

    fn found(&self) -> Found {
        let mut found = Found::default();
        for (path, documents) in &self.files {
            for document in documents {
                if let Err(error) = found.add(document) {
                    tracing::error!(file = %path.display(), %error, "a manifest is left out");
                }
            }
        }
        found
    }
}

impl Found {
    /// What one file holds; what is wrong in it is left out, and said.
    ///
    /// # Errors
    /// If it is not YAML.
    pub fn read(text: &str) -> Result<(Self, Vec<String>), String> {
        let mut found = Self::default();
        let objects = objects(text)?;
        let wrong = objects.iter().filter_map(|one| found.add(one).err());
        let wrong = wrong.map(|wrong| wrong.to_string()).collect();
        Ok((found, wrong))
    }

    /// Takes in a document, if it is of a kind that is read.
    ///
    /// # Errors
    /// With why it is left out.
    pub fn add(&mut self, document: &Value) -> Result<(), LeftOut> {
        let kind = document["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "OpAMPConnectionProfile" | "Secret" | "ConfigMap") {
            return Ok(());
        }
        let metadata = &document["metadata"];
        let name = metadata["name"].as_str().filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| LeftOut::Broken(format!("a {kind} has no `metadata.name`")))?;
        let namespace = metadata["namespace"].as_str().unwrap_or("default");
        let twice = || {
            LeftOut::Twice(format!(
                "{kind} {namespace}/{name} stands in two places; the first counts"
            ))
        };
        if kind == "OpAMPConnectionProfile" {
            let key = ProfileKey::new(namespace, name);
            if self.profiles.contains_key(&key) {
                return Err(twice());
            }
            let mut document = document.clone();
            document["metadata"]["namespace"] = namespace.into();
            self.profiles.insert(key, document);
            return Ok(());
        }
        let (reference, object) = match kind {
            "Secret" => (ObjectRef::secret(namespace, name), secret(document)),
            _ => (ObjectRef::config_map(namespace, name), config_map(document)),
        };
        let object = object.map_err(LeftOut::Broken)?;
        if self.objects.contains_key(&reference) {
            return Err(twice());
        }
        self.objects.insert(reference, Arc::new(object));
        Ok(())
    }
}

fn list(directory: &Path) -> std::io::Result<Listing> {
    let mut listing = Vec::new();
    for path in manifests(directory)? {
        // A file may vanish between the two looks; the next one will tell.
        if let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            listing.push((path, metadata.modified().ok(), metadata.len()));
        }
    }
    Ok(listing)
}

fn parse(path: &Path, size: u64) -> Result<Vec<Value>, String> {
    if size > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    objects(&text)
}

fn objects(text: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in documents(text) {
        objects.extend(document.into_objects()?);
    }
    Ok(objects)
}

fn secret(document: &Value) -> Result<Object, String> {
    let mut data = decoded(document, "data")?;
    data.extend(plain(document, "stringData"));
    let type_ = document["type"].as_str().unwrap_or("Opaque");
    Ok(Object::new(type_, labels(document).as_ref(), data, None))
}

fn config_map(document: &Value) -> Result<Object, String> {
    let mut data = plain(document, "data");
    data.extend(decoded(document, "binaryData")?);
    Ok(Object::new("", labels(document).as_ref(), data, None))
}

fn labels(document: &Value) -> Option<BTreeMap<String, String>> {
    serde_json::from_value(document["metadata"]["labels"].clone()).ok()
}

fn plain(document: &Value, field: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = document[field].as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.as_bytes().to_vec())))
        .collect()
}

fn decoded(document: &Value, field: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let entries = document[field].as_object().into_iter().flatten();
    entries
        .map(|(key, value)| {
            let text = value.as_str().unwrap_or_default();
            let compact: String = text.split_whitespace().collect();
            let bytes = STANDARD
                .decode(compact)
                .map_err(|_| format!("`{field}.{key}` is not base64"))?;
            Ok((key.clone(), bytes))
        })
        .collect()
}
