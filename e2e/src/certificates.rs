//! What people give cert-manager: issuers, Certificates, the wish to renew.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::api::Api;
use crate::eventually::{Look, eventually_async};
use crate::manifests::{secret, with_pair};
use crate::pki::{Ca, KeyKind};
use crate::scene::SOON;

const API_VERSION: &str = "cert-manager.io/v1";

/// An Issuer that signs with this CA, and the Secret that it reads.
#[must_use]
pub fn issuer(name: &str, ca: &Ca) -> [Value; 2] {
    let keys = format!("{name}-keys");
    let issuer = json!({
        "apiVersion": API_VERSION,
        "kind": "Issuer",
        "metadata": {"name": name},
        "spec": {"ca": {"secretName": keys}},
    });
    [
        with_pair(secret(&keys, &[]), ca.pem(), ca.key_pem()),
        issuer,
    ]
}

/// A Certificate for agents, as the README has it: the label comes by `secretTemplate`.
#[must_use]
pub fn certificate(name: &str, secret: &str, issuer: &str, kind: KeyKind) -> Value {
    let key = match kind {
        KeyKind::EcdsaP256 => json!({"algorithm": "ECDSA", "size": 256}),
        KeyKind::Rsa2048 => json!({"algorithm": "RSA", "size": 2048}),
    };
    json!({
        "apiVersion": API_VERSION,
        "kind": "Certificate",
        "metadata": {"name": name},
        "spec": {
            "secretName": secret,
            "secretTemplate": {"labels": {"opamp-operator.dev/offerable": "true"}},
            "commonName": name,
            "duration": "2160h",
            "usages": ["client auth", "digital signature"],
            "privateKey": key,
            "issuerRef": {"name": issuer, "kind": "Issuer"},
        },
    })
}

/// Has a Certificate re-issued now, as `cmctl renew` does, once it is issued.
///
/// # Errors
/// When it is not issued in time, or the API server refuses.
pub async fn renew(api: &Api, certificate: &str) -> Result<()> {
    let issued = issued(api, certificate).await?;
    let conditions = issued["status"]["conditions"].as_array();
    let mut conditions = conditions.cloned().unwrap_or_default();
    conditions.push(json!({
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }));
    let change = json!({"status": {"conditions": conditions}});
    let status = format!("{certificate}/status");
    api.merge("Certificate", &status, &change).await.map(drop)
}

/// Waits until cert-manager has nothing left to do for a Certificate.
///
/// # Errors
/// When that takes too long.
pub async fn issued(api: &Api, certificate: &str) -> Result<Value> {
    let what = format!("Certificate {certificate} is issued");
    let issued = eventually_async(&what, SOON, || async {
        match api.get("Certificate", certificate).await {
            Ok(kept) => Look::some(kept.filter(is_issued), "not yet"),
            Err(error) => Look::NotYet(format!("{error:#}")),
        }
    });
    issued.await
}

/// Whether cert-manager is done with it: what it writes at the end of an issuance
/// would take a wish away that was made before.
fn is_issued(certificate: &Value) -> bool {
    let conditions = certificate["status"]["conditions"].as_array();
    let has = |kind| {
        let mut all = conditions.into_iter().flatten();
        all.any(|one| one["type"] == kind && one["status"] == "True")
    };
    has("Ready") && !has("Issuing")
}
