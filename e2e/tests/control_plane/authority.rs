//! E5: both CAs are replaced, in the right order and in two wrong ones.

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, config_map, offerable_tls, serving_tls};
use e2e::pki::{Ca, DAY, KeyKind, Leaf, Window};
use e2e::scene::{OFFER, PROFILE, SOON, Setup};

use crate::steps::{
    everyone_runs, exchanges, is_left_alone, nobody_was_refused, offers, ready, shows_leaf,
};

/// Publishes a bundle of CAs, as trust-manager would.
async fn bundle(world: &ClusterWorld, name: &str, roots: &[&str]) -> Result<()> {
    let object = config_map(name, "ca.crt", &roots.concat());
    world.api.apply(&object).await.map(drop)
}

/// Waits until the operator serves with this certificate; from then on agents see it.
async fn serves_with(world: &ClusterWorld, serving: &Leaf) -> Result<()> {
    eventually_async("the operator serves with it", OFFER, || async {
        match world.tap.operator_shows().await {
            Ok(shown) => Look::when(shown == serving.fingerprint(), shown),
            Err(error) => Look::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    world.tap.set_serving(serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_new_authorities_in_three_steps_cut_nobody_off() -> Result<()> {
    let (mut world, first) = ClusterWorld::with_mutual_tls("e5", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?, world.supervisor("a2").await?];
    everyone_runs(&world, &agents, &first, 1).await?;
    let old = [
        world.pki.server_ca.pem().to_owned(),
        world.pki.client_ca.pem().to_owned(),
    ];
    let (server, client) = (Ca::new("new server CA")?, Ca::new("new client CA")?);
    world.keeps_secret("new server CA key", server.key_pem());
    world.keeps_secret("new client CA key", client.key_pem());
    world.tap.trust(&[&old[0], server.pem()].concat());

    world.timeline.add("test", "step 1: bundles of old and new");
    bundle(&world, "client-ca", &[&old[1], client.pem()]).await?;
    bundle(&world, "server-ca", &[&old[0], server.pem()]).await?;
    everyone_runs(&world, &agents, &first, 2).await?;

    world.timeline.add("test", "step 2: leaves of the new CAs");
    let window = Window::lasting(30 * DAY);
    let serving = server.server(window)?;
    let leaf = client.client("fleet-2", KeyKind::EcdsaP256, window)?;
    world.keeps_secret("new serving key", &serving.key);
    world.knows("fleet-2", &leaf);
    world.api.apply(&serving_tls(&serving)).await?;
    serves_with(&world, &serving).await?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    everyone_runs(&world, &agents, &leaf, 3).await?;

    world.timeline.add("test", "step 3: bundles of new only");
    bundle(&world, "client-ca", &[client.pem()]).await?;
    bundle(&world, "server-ca", &[server.pem()]).await?;
    everyone_runs(&world, &agents, &leaf, 4).await?;
    for uid in &agents {
        let link = exchanges(&world, uid, 1).await?;
        ensure!(link.open, "{uid} was cut off");
        let last = offers(&world, uid).pop().context("no offer")?;
        let trust = last.certificate.map(|certificate| certificate.ca);
        ensure!(trust.as_deref().map(str::trim) == Some(server.pem().trim()));
        ensure!(offers(&world, uid).len() == 4, "{:?}", offers(&world, uid));
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_an_old_root_that_is_dropped_first_is_held_back() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e5-root", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;
    let old = world.pki.server_ca.pem().to_owned();
    let server = Ca::new("new server CA")?;
    world.keeps_secret("new server CA key", server.key_pem());

    bundle(&world, "server-ca", &[server.pem()]).await?;
    let accepted = world
        .api
        .wait_for_condition(PROFILE, "Accepted", "False", "WouldLockOut", SOON);
    let message = accepted.await?.message;
    ensure!(
        message.contains("keep the old CA in the bundle"),
        "{message}"
    );
    let summary = world
        .api
        .wait_for_condition(PROFILE, "Ready", "False", "WouldLockOut", SOON);
    let message = summary.await?.message;
    ensure!(message.contains("revision 1 stays in force"), "{message}");
    is_left_alone(&world, &uid, &leaf, 1).await?;

    bundle(&world, "server-ca", &[&old, server.pem()]).await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 2, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_serving_certificate_that_agents_cannot_verify_is_held_back() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e5-serving", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;
    let (old, before) = (
        world.pki.server_ca.pem().to_owned(),
        world.pki.serving.fingerprint().to_owned(),
    );
    let server = Ca::new("new server CA")?;
    let serving = server.server(Window::lasting(30 * DAY))?;
    world.keeps_secret("new server CA key", server.key_pem());
    world.keeps_secret("new serving key", &serving.key);
    world.tap.trust(&[&old, server.pem()].concat());

    world.api.apply(&serving_tls(&serving)).await?;
    let reason = "ServingCertificateHeldBack";
    let held = |condition| {
        let api = &world.api;
        api.wait_for_condition(PROFILE, condition, "False", reason, SOON)
    };
    held("Ready").await?;
    let message = held("CredentialsValid").await?.message;
    ensure!(
        message.contains("put its CA into the profile's CA bundle"),
        "{message}"
    );
    ensure!(world.tap.operator_shows().await? == before, "it is in use");
    is_left_alone(&world, &uid, &leaf, 1).await?;

    bundle(&world, "server-ca", &[&old, server.pem()]).await?;
    shows_leaf(&world, &uid, &leaf).await?;
    serves_with(&world, &serving).await?;
    ready(&world, 2, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
