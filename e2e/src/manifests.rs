//! The directory of manifests the operator watches: Secrets, `ConfigMap`s and
//! profiles, each in a file of its own, replaced in one step.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::pki::Leaf;
use crate::scene::Pki;

/// The group and version of the operator's kinds.
pub const API_VERSION: &str = "opamp-operator.dev/v1alpha1";

/// The TLS Secret of the standard manifests that agents are given.
pub const CLIENT_TLS: &str = "fleet-client-tls";

/// The TLS Secret of the operator itself.
pub const SERVING_TLS: &str = "opamp-operator-serving";

/// A directory of manifests, all in namespace `default` unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    /// Makes the directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes an object to `<kind>-<name>.yaml`, replacing it in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").context("a manifest without kind")?;
        let name = text("/metadata/name").context("a manifest without metadata.name")?;
        let file = self.file(kind, name);
        write_atomically(&file, &serde_saphyr::to_string(object)?)
    }

    /// Takes an object away.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        let file = self.file(kind, name);
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }

    /// Writes a profile into the file of another one, in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(&self, old: &str, new: &Value) -> Result<()> {
        let file = self.file("OpAMPConnectionProfile", old);
        write_atomically(&file, &serde_saphyr::to_string(new)?)
    }

    fn file(&self, kind: &str, name: &str) -> PathBuf {
        let kind = kind.to_lowercase();
        self.folder.join(format!("{kind}-{name}.yaml"))
    }
}

/// Replaces a file in one step: nobody ever reads half of it.
///
/// # Errors
/// When it cannot be written.
pub fn write_atomically(file: &Path, text: &str) -> Result<()> {
    let name = file.file_name().context("a file without a name")?;
    let temporary = file.with_file_name(format!(".{}.new", name.to_string_lossy()));
    let write = || -> std::io::Result<()> {
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// A Secret that a profile may offer: with the label.
#[must_use]
pub fn offerable_secret(name: &str, entries: &[(&str, &str)]) -> Value {
    let mut object = secret(name, entries);
    object["metadata"]["labels"] = json!({"opamp-operator.dev/offerable": "true"});
    object
}

/// A Secret without the label: the operator's own, or one somebody forgot to label.
#[must_use]
pub fn secret(name: &str, entries: &[(&str, &str)]) -> Value {
    let data = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value))));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "data": Value::Object(data.collect()),
    })
}

/// Turns a Secret into a TLS one and fills it.
#[must_use]
pub fn with_pair(mut secret: Value, certificate: &str, key: &str) -> Value {
    secret["type"] = json!("kubernetes.io/tls");
    secret["data"]["tls.crt"] = json!(STANDARD.encode(certificate));
    secret["data"]["tls.key"] = json!(STANDARD.encode(key));
    secret
}

/// A TLS Secret whose certificate and key may be offered.
#[must_use]
pub fn offerable_tls(name: &str, leaf: &Leaf) -> Value {
    with_pair(offerable_secret(name, &[]), &leaf.certificate, &leaf.key)
}

/// What every operator and profile of a test starts from: serving certificate,
/// both CAs, bootstrap token.
#[must_use]
pub fn basics(pki: &Pki, bootstrap_token: &str) -> [Value; 4] {
    [
        serving_tls(&pki.serving),
        config_map("server-ca", "ca.crt", pki.server_ca.pem()),
        config_map("client-ca", "ca.crt", pki.client_ca.pem()),
        secret("bootstrap-token", &[("token", bootstrap_token)]),
    ]
}

/// The Secret with the operator's serving certificate.
#[must_use]
pub fn serving_tls(leaf: &Leaf) -> Value {
    with_pair(secret(SERVING_TLS, &[]), &leaf.certificate, &leaf.key)
}

/// A `ConfigMap` with one entry.
#[must_use]
pub fn config_map(name: &str, key: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {key: value},
    })
}

/// A profile over all agents of the namespace; `opamp` is its `spec.opamp`.
#[must_use]
pub fn profile(name: &str, opamp: &Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "OpAMPConnectionProfile",
        "metadata": {"name": name},
        "spec": {"agentSelector": {}, "opamp": opamp},
    })
}

/// `spec.opamp` of the standard profile: mutual TLS with the fleet's certificate.
#[must_use]
pub fn mutual_tls() -> Value {
    json!({
        "heartbeatIntervalSeconds": 5,
        "clientCertificate": {"source": "Secret", "secretRef": {"name": CLIENT_TLS}},
        "tls": {"caBundleRef": {"name": "server-ca", "key": "ca.crt"}},
    })
}

/// `spec.opamp` of a profile that gives agents a bearer token from a Secret.
#[must_use]
pub fn bearer(secret: &str) -> Value {
    json!({
        "heartbeatIntervalSeconds": 5,
        "headers": [{
            "name": "Authorization",
            "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}, "prefix": "Bearer "},
        }],
        "clientCertificate": {"source": "None"},
        "tls": {"caBundleRef": {"name": "server-ca", "key": "ca.crt"}},
    })
}

/// Reads a YAML file; none where there is no (readable) file.
#[must_use]
pub fn read_yaml(file: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file).ok()?;
    serde_saphyr::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_survives_the_way_to_the_file_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::new(&dir.path().join("m")).unwrap();
        let object = offerable_secret("a", &[("token", "line\n: \"x\"")]);
        manifests.apply(&object).unwrap();
        let file = manifests.folder().join("secret-a.yaml");
        assert_eq!(read_yaml(&file), Some(object));
        manifests.delete("Secret", "a").unwrap();
        assert_eq!(read_yaml(&file), None);
        assert!(manifests.delete("Secret", "a").is_err());
    }
}
