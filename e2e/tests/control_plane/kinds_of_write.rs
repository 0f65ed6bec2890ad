//! E11: how cert-manager writes: a key on its way, one forced apply, a change of
//! annotations, a CA that goes away, a temporary certificate.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::ClusterWorld;
use e2e::manifests::{CLIENT_TLS, mutual_tls, offerable_tls, secret};
use e2e::pki::{Ca, DAY, KeyKind, Leaf, Window};
use e2e::scene::{PROFILE, SOON, Setup};
use serde_json::{Value, json};

use crate::steps::{has_read, is_left_alone, nobody_was_refused, offers, ready, shows_leaf};

/// The manager of fields of cert-manager's issuing controller.
const MANAGER: &str = "cert-manager-certificates-issuing";

/// What the issuing controller writes: everything in one apply.
fn issued(leaf: &Leaf, ca: &Ca) -> Value {
    let mut object = offerable_tls(CLIENT_TLS, leaf);
    object["metadata"]["labels"]["controller.cert-manager.io/fao"] = json!("true");
    object["metadata"]["annotations"] = json!({
        "cert-manager.io/certificate-name": "fleet",
        "cert-manager.io/common-name": "fleet",
        "cert-manager.io/issuer-group": "cert-manager.io",
        "cert-manager.io/issuer-kind": "Issuer",
        "cert-manager.io/issuer-name": "fleet-ca",
    });
    object["data"]["ca.crt"] = json!(STANDARD.encode(ca.pem()));
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_only_what_cert_manager_issued_for_good_is_offered() -> Result<()> {
    let mut world = ClusterWorld::new("e11-writes", Setup::default()).await?;
    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    let mut coming = secret("fleet-x2zk9", &[("tls.key", &leaf.key)]);
    coming["metadata"]["labels"] = json!({"cert-manager.io/next-private-key": "true"});
    world.api.apply_as("cert-manager", &coming).await?;
    let first = issued(&leaf, &world.pki.client_ca);
    world.api.apply_as(MANAGER, &first).await?;
    world.publish_profile(&mutual_tls()).await?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;

    world.timeline.add("test", "an annotation changes");
    let mut annotated = first.clone();
    annotated["metadata"]["annotations"]["cert-manager.io/alt-names"] = json!("a");
    let written = world.api.apply_as(MANAGER, &annotated).await?;
    has_read(&world, &written).await?;
    is_left_alone(&world, &uid, &leaf, 1).await?;

    world.timeline.add("test", "the CA goes away");
    let mut without = annotated;
    if let Some(data) = without["data"].as_object_mut() {
        data.remove("ca.crt");
    }
    let written = world.api.apply_as(MANAGER, &without).await?;
    ensure!(
        written["data"]["ca.crt"].is_null(),
        "{}",
        written["metadata"]
    );
    has_read(&world, &written).await?;
    is_left_alone(&world, &uid, &leaf, 1).await?;
    ready(&world, 1, 1).await?;

    world.timeline.add("test", "a temporary certificate");
    let placeholder = Ca::new("cert-manager.local")?;
    let placeholder = placeholder.client("fleet", KeyKind::EcdsaP256, month)?;
    world.knows("temporary", &placeholder);
    let mut temporary = offerable_tls(CLIENT_TLS, &placeholder);
    temporary["metadata"]["labels"]["controller.cert-manager.io/fao"] = json!("true");
    world.api.apply_as(MANAGER, &temporary).await?;
    let (kind, reason) = ("CredentialsValid", "TemporaryCertificate");
    let why = world
        .api
        .wait_for_condition(PROFILE, kind, "False", reason, SOON);
    let said = why.await?.message;
    ensure!(said.contains("wait until the real one is issued"), "{said}");
    is_left_alone(&world, &uid, &leaf, 1).await?;

    world.timeline.add("test", "the next certificate");
    let next = world.client_leaf("fleet-2", KeyKind::EcdsaP256, month)?;
    let second = issued(&next, &world.pki.client_ca);
    world.api.apply_as(MANAGER, &second).await?;
    shows_leaf(&world, &uid, &next).await?;
    ready(&world, 2, 1).await?;
    ensure!(offers(&world, &uid).len() == 2);
    nobody_was_refused(&world)?;
    world.finish().await
}
