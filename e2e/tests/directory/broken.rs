//! Broken Secrets: nothing leaves, the condition says why, agents keep what they have.

use anyhow::{Result, ensure};
use e2e::broken::{Case, cases};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::state::State;
use e2e::world::{PROFILE, SOON, Setup, World};

use crate::steps::{applies_leaf, exchanges, greeted, nobody_was_refused, offers};

/// Waits until the profile says of the Secret what it should.
async fn judged(state: &State, case: &Case) -> Result<()> {
    let what = format!("the profile says what is wrong with {}", case.what);
    eventually(&what, SOON, || {
        let status = state.profile(PROFILE);
        Look::when(case.is_told_by(&status), &status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_a_broken_secret_never_leaves() -> Result<()> {
    let (mut world, good) = World::with_mutual_tls("broken", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &good).await?;
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;

    for case in cases(&mut world, &good, "kubernetes.io/tls")? {
        world
            .timeline
            .note("test", format!("Secret with {}", case.what));
        match &case.secret {
            Some(secret) => world.manifests.apply(secret)?,
            None => world.manifests.delete("Secret", CLIENT_TLS)?,
        }
        judged(&state, &case).await?;
        let link = exchanges(&world, &uid, 1).await?;
        ensure!(offers(&world, &uid).len() == 1, "{} was offered", case.what);
        ensure!(link.certificate.as_deref() == Some(good.fingerprint()));
        ensure!(
            state.profile(PROFILE)["revision"]["number"] == 1,
            "{}",
            case.what
        );
        ensure!(state.agent(&uid)["status"]["settings"]["state"] == "Applied");
    }

    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    applies_leaf(&world, &uid, &renewed).await?;
    ensure!(offers(&world, &uid).len() == 2);
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_broken_from_the_start_offers_nothing() -> Result<()> {
    let mut world = World::new("broken-start", Setup::default()).await?;
    let expired = world.client_leaf("expired", KeyKind::EcdsaP256, Window::expired())?;
    world.publish_mutual_tls(&expired)?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    let state = world.state();
    let expired = state.wait_for_condition(PROFILE, "CredentialsValid", "False", "Expired", SOON);
    expired.await?;
    greeted(&world, &uid).await?;
    ensure!(offers(&world, &uid).is_empty());

    let good = world.client_leaf("good", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &good))?;
    applies_leaf(&world, &uid, &good).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
