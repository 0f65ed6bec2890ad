//! Kubeconfig files: one cluster, one user.

use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::manifests::write_atomically;
use crate::pki::Leaf;

/// How somebody proves who he is.
pub enum User {
    /// By a client certificate.
    Certificate(Leaf),
    /// By a bearer token.
    Token(String),
}

/// Where an API server is and who asks.
pub struct Kubeconfig {
    /// URL of the API server.
    pub server: String,
    /// The CA of its certificate, as PEM.
    pub ca: String,
    /// Who asks.
    pub user: User,
    /// The namespace of requests that name none.
    pub namespace: String,
}

impl Kubeconfig {
    /// Reads where the API server of a kubeconfig is; `user` asks instead of its own.
    ///
    /// # Errors
    /// When the file is not one of ours.
    pub fn like(file: &Path, namespace: &str, user: User) -> Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let config: Value = serde_saphyr::from_str(&text)?;
        let cluster = &config["clusters"][0]["cluster"];
        let part = |field: &str| cluster[field].as_str().unwrap_or_default().to_owned();
        let ca = STANDARD.decode(part("certificate-authority-data"))?;
        Ok(Self {
            server: part("server"),
            ca: String::from_utf8(ca)?,
            user,
            namespace: namespace.to_owned(),
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let user = match &self.user {
            User::Token(token) => json!({"token": token}),
            User::Certificate(leaf) => json!({
                "client-certificate-data": STANDARD.encode(&leaf.certificate),
                "client-key-data": STANDARD.encode(&leaf.key),
            }),
        };
        let cluster = json!({
            "server": self.server,
            "certificate-authority-data": STANDARD.encode(&self.ca),
        });
        let context = json!({"cluster": "e2e", "user": "e2e", "namespace": self.namespace});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": "e2e", "user": user}],
            "contexts": [{"name": "e2e", "context": context}],
            "current-context": "e2e",
        });
        write_atomically(file, &serde_saphyr::to_string(&config)?)
    }
}
