//! E6 and E7: supervisors and operators that are killed and come back.

use anyhow::{Result, ensure};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::world::{PROFILE, SOON, Setup, World};

use crate::steps::{
    applied, applies_leaf, exchanges, is_offered_once_after_a_restart, is_offered_to_somebody,
    no_offer_of_what_was_shown, nobody_was_refused, stays_unoffered,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_h11_a_restarted_supervisor_is_offered_exactly_once() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("e6", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &leaf).await?;
    is_offered_once_after_a_restart(&mut world, "a1", &uid, &leaf).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_h24_a_killed_operator_offers_nothing_to_who_has_the_settings() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("e7", Setup::default()).await?;
    let agents = [
        ("a1", world.supervisor("a1").await?),
        ("a2", world.supervisor("a2").await?),
    ];
    for (_, uid) in &agents {
        applies_leaf(&world, uid, &leaf).await?;
    }

    world.kill_operator()?;
    world.start_operator_again().await?;
    for (_, uid) in &agents {
        stays_unoffered(&world, uid, &leaf).await?;
        applied(&world, uid).await?;
    }
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    ensure!(state.profile(PROFILE)["agents"]["upToDate"] == 2);
    ensure!(state.profile(PROFILE)["revision"]["number"] == 1);

    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_an_operator_killed_while_it_offers_loses_nobody() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("e7-offer", Setup::default()).await?;
    let agents = [
        ("a1", world.supervisor("a1").await?),
        ("a2", world.supervisor("a2").await?),
    ];
    for (_, uid) in &agents {
        applies_leaf(&world, uid, &leaf).await?;
    }
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    is_offered_to_somebody(&world, &renewed).await?;
    world.kill_operator()?;
    world.start_operator_again().await?;
    for (_, uid) in &agents {
        applies_leaf(&world, uid, &renewed).await?;
        exchanges(&world, uid, 2).await?;
        no_offer_of_what_was_shown(&world, uid)?;
    }
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    ensure!(state.profile(PROFILE)["agents"]["upToDate"] == 2);
    ensure!(state.profile(PROFILE)["revision"]["number"] == 2);

    let (name, uid) = &agents[0];
    is_offered_once_after_a_restart(&mut world, name, uid, &renewed).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
