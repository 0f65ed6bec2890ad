//! E7: an operator that is killed and started again.

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::{SOON, Setup};

use crate::steps::{
    everyone_runs, exchanges, is_offered_once_after_a_restart, is_offered_to_somebody,
    no_offer_of_what_was_shown, nobody_was_refused, offers, ready, stays_unoffered,
};

/// The Secret with the key of markers and digests.
const KEY: &str = "opamp-operator-hash-key";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_a_killed_operator_refuses_nobody_and_offers_nothing_again() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e7", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?, world.supervisor("a2").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;

    world.kill_operator()?;
    world.start_operator_again().await?;
    for uid in &agents {
        stays_unoffered(&world, uid, &leaf).await?;
    }
    ready(&world, 1, 2).await?;

    // It goes on counting where it was, and still reaches everyone.
    let window = Window::lasting(60 * DAY);
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, window)?;
    world
        .api
        .apply(&offerable_tls(CLIENT_TLS, &renewed))
        .await?;
    everyone_runs(&world, &agents, &renewed, 2).await?;
    for uid in &agents {
        let count = offers(&world, uid).len();
        ensure!(count == 2, "{count} offers");
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_an_operator_killed_while_it_offers_loses_nobody() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e7-offer", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?, world.supervisor("a2").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;
    let window = Window::lasting(60 * DAY);
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, window)?;
    let secret = offerable_tls(CLIENT_TLS, &renewed);
    world.api.apply(&secret).await?;
    is_offered_to_somebody(&world, &renewed).await?;
    world.kill_operator()?;
    world.start_operator_again().await?;
    everyone_runs(&world, &agents, &renewed, 2).await?;
    for uid in &agents {
        exchanges(&world, uid, 2).await?;
        no_offer_of_what_was_shown(&world, uid)?;
    }
    ready(&world, 2, 2).await?;

    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_supervisor_that_restarts_after_the_operator_did_is_offered_once() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e6", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;
    world.kill_operator()?;
    world.start_operator_again().await?;
    stays_unoffered(&world, &agents[0], &leaf).await?;

    // It comes with the token of its file, to an operator that has seen it with
    // the offered certificate only.
    is_offered_once_after_a_restart(&mut world, "a1", &agents[0], &leaf).await?;
    ready(&world, 1, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_a_key_that_somebody_deletes_is_written_again() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e7-key", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;
    let key = world.api.get("Secret", KEY).await?.context("no key")?;
    world.api.delete("Secret", KEY).await?;
    let api = world.api.clone();
    let same = eventually_async("the key is back", SOON, || async {
        let again = api.get("Secret", KEY).await.ok().flatten();
        let again = again.filter(|again| again["metadata"]["uid"] != key["metadata"]["uid"]);
        Look::some(again.map(|again| again["data"] == key["data"]), "no key")
    });
    ensure!(same.await?, "it is another key");

    // With it, what was published before is still known to the next process.
    world.kill_operator()?;
    world.start_operator_again().await?;
    stays_unoffered(&world, &agents[0], &leaf).await?;
    ready(&world, 1, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
