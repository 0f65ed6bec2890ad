//! cert-manager in this control plane: it issues and re-issues.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::certificates::{certificate, issuer, renew};
use e2e::cluster::api::Api;
use e2e::cluster::{pair, random_suffix, shared};
use e2e::eventually::{Look, eventually_async};
use e2e::pki::{Ca, KeyKind, Leaf};
use e2e::scene::SOON;
use serde_json::Value;

async fn issues_and_renews(kind: KeyKind, key: &str) -> Result<()> {
    let admin = shared().await?.api().await?;
    let namespace = format!("e2e-certificates-{}", random_suffix()?);
    admin.make_namespace(&namespace).await?;
    let api = admin.within(&namespace);
    let ca = Ca::new("client CA")?;
    for object in issuer("fleet-ca", &ca) {
        api.apply(&object).await?;
    }
    api.apply(&certificate("fleet", "fleet-client-tls", "fleet-ca", kind))
        .await?;
    let (secret, first) = issued(&api, |_| true).await?;
    ensure!(secret["type"] == "kubernetes.io/tls");
    let labels = &secret["metadata"]["labels"];
    ensure!(labels["opamp-operator.dev/offerable"] == "true", "{labels}");
    ensure!(first.key.starts_with(key), "another kind of key");
    let (chain, _) = first.for_tls()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(chain.first().context("a leaf")?)?;
    let usage = parsed.extended_key_usage()?.context("no usage")?;
    ensure!(usage.value.client_auth && !usage.value.server_auth);
    let bundle = secret["data"]["ca.crt"].as_str().context("no CA")?;
    let bundle = String::from_utf8(STANDARD.decode(bundle)?)?;
    ensure!(bundle.trim() == ca.pem().trim(), "another issuer");

    renew(&api, "fleet").await?;
    let (_, second) = issued(&api, |leaf| *leaf != first).await?;
    ensure!(second.fingerprint() != first.fingerprint());
    ensure!(second.key != first.key, "the key is renewed as well");
    Ok(())
}

/// Waits until the Secret has a pair that is `wanted`.
async fn issued(api: &Api, wanted: impl Fn(&Leaf) -> bool) -> Result<(Value, Leaf)> {
    eventually_async("cert-manager fills the Secret", SOON, || async {
        let secret = api.get("Secret", "fleet-client-tls").await;
        let secret = secret.ok().flatten().unwrap_or_default();
        let leaf = pair(&secret).filter(|leaf| wanted(leaf));
        Look::some(leaf.map(|leaf| (secret, leaf)), "another or none")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cert_manager_issues_and_renews_an_ecdsa_certificate() -> Result<()> {
    issues_and_renews(KeyKind::EcdsaP256, "-----BEGIN EC PRIVATE KEY-----").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cert_manager_issues_and_renews_an_rsa_certificate() -> Result<()> {
    issues_and_renews(KeyKind::Rsa2048, "-----BEGIN RSA PRIVATE KEY-----").await
}
