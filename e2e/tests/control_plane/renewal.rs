//! E2: cert-manager renews, and every agent follows.

use anyhow::{Result, ensure};
use e2e::certificates::{certificate, issued, issuer, renew};
use e2e::cluster::ClusterWorld;
use e2e::manifests::{CLIENT_TLS, mutual_tls};
use e2e::pki::KeyKind;
use e2e::scene::{SOON, Setup};

use crate::steps::{everyone_runs, exchanges, nobody_was_refused, offers};

async fn renewed_by_cert_manager(name: &str, kind: KeyKind) -> Result<()> {
    let mut world = ClusterWorld::new(name, Setup::default()).await?;
    for object in issuer("fleet-ca", &world.pki.client_ca) {
        world.api.apply(&object).await?;
    }
    let wanted = certificate("fleet", CLIENT_TLS, "fleet-ca", kind);
    world.api.apply(&wanted).await?;
    world.publish_profile(&mutual_tls()).await?;
    world.start_operator().await?;
    let agents = [world.supervisor("a1").await?, world.supervisor("a2").await?];
    let first = world.wait_for_pair(CLIENT_TLS, SOON, |_| true).await?;
    everyone_runs(&world, &agents, &first, 1).await?;

    world.timeline.add("test", "cert-manager is asked to renew");
    renew(&world.api, "fleet").await?;
    let another = |leaf: &e2e::pki::Leaf| *leaf != first;
    world.wait_for_pair(CLIENT_TLS, SOON, another).await?;
    // It may have issued twice before it took the wish away.
    issued(&world.api, "fleet").await?;
    let second = world.wait_for_pair(CLIENT_TLS, SOON, another).await?;
    everyone_runs(&world, &agents, &second, 2).await?;
    for uid in &agents {
        exchanges(&world, uid, 1).await?;
        let leaves: Vec<_> = offers(&world, uid)
            .iter()
            .map(|offer| offer.leaf().map(str::to_owned))
            .collect();
        let wanted = [first.fingerprint(), second.fingerprint()];
        ensure!(
            leaves == wanted.map(|leaf| Some(leaf.to_owned())),
            "{leaves:?}"
        );
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_every_agent_follows_an_ecdsa_certificate_that_cert_manager_renews() -> Result<()> {
    renewed_by_cert_manager("e2-ecdsa", KeyKind::EcdsaP256).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_every_agent_follows_an_rsa_certificate_that_cert_manager_renews() -> Result<()> {
    renewed_by_cert_manager("e2-rsa", KeyKind::Rsa2048).await
}
