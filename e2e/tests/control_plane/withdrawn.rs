//! A Secret that is deleted: who has what was in it keeps it, and nobody else
//! gets it.

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::scene::{PROFILE, SOON, Setup};
use e2e::steps::comes_back;

use crate::steps::{
    exchanges, greeted, is_left_alone, nobody_was_refused, offers, ready, shows_leaf,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_secret_stays_with_those_who_have_it() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("deleted", Setup::default()).await?;
    let first = world.supervisor("a1").await?;
    shows_leaf(&world, &first, &leaf).await?;
    ready(&world, 1, 1).await?;

    world.api.delete("Secret", CLIENT_TLS).await?;
    for kind in ["ResolvedRefs", "Ready", "Progressing"] {
        let gone = world
            .api
            .wait_for_condition(PROFILE, kind, "False", "SecretNotFound", SOON);
        let said = gone.await?.message;
        ensure!(said.contains(CLIENT_TLS), "{kind} says only {said:?}");
        let kept =
            "revision 1 stays in force for the agents that have it, and is offered to nobody else";
        ensure!(kind != "Ready" || said.contains(kept), "{said}");
    }
    // Somebody new gets nothing; who has it goes on, also with a new connection.
    let second = world.supervisor("a2").await?;
    greeted(&world, &second).await?;
    exchanges(&world, &second, 2).await?;
    ensure!(offers(&world, &second).is_empty(), "offered all the same");
    let waits = |status: &serde_json::Value| (status["agents"]["pending"] == 1).then_some(());
    let what = "the profile counts who waits";
    world
        .api
        .wait_for_status(what, PROFILE, SOON, waits)
        .await?;
    world.kill_operator()?;
    world.start_operator_again().await?;
    shows_leaf(&world, &first, &leaf).await?;
    is_left_alone(&world, &first, &leaf, 1).await?;
    comes_back(&world, &second, "whatever it shows", |_| true).await?;
    exchanges(&world, &second, 1).await?;
    ensure!(offers(&world, &second).is_empty(), "offered after a start");

    // As it was: the same revision, and nobody is offered it twice.
    world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    shows_leaf(&world, &second, &leaf).await?;
    ready(&world, 1, 2).await?;
    is_left_alone(&world, &first, &leaf, 1).await?;
    is_left_alone(&world, &second, &leaf, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
