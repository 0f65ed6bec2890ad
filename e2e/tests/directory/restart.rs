//! E6 and E7: supervisors and operators that are killed and come back.

use anyhow::{Result, ensure};
use e2e::eventually::Look;
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::tap::Connection;
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};

use crate::steps::{applied, applies_leaf, comes_back, exchanges, nobody_was_refused, offers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_restarted_supervisor_is_offered_exactly_once() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("e6", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &leaf).await?;
    restarts_and_is_offered_once(&mut world, "a1", &uid, &leaf).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

/// Kills a supervisor, starts it on the same storage and follows it back.
async fn restarts_and_is_offered_once(
    world: &mut World,
    name: &str,
    uid: &str,
    leaf: &Leaf,
) -> Result<()> {
    let (before, known) = (offers(world, uid).len(), world.tap.record().of(uid).len());
    world.supervisor_mut(name)?.kill9()?;
    world.timeline.note(name, "killed (SIGKILL)");
    world.supervisor_mut(name)?.start_again()?;
    let what = "the restarted supervisor connects";
    let look = |record: &e2e::tap::Record| Look::some(record.of(uid).get(known).cloned(), known);
    let first = world.tap.record().wait(what, SOON, look).await?;
    let bearer = format!("Bearer {}", world.bootstrap_token());
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    ensure!(first.certificate.is_none() && first.marker().is_none());

    let back = applies_leaf(world, uid, leaf).await?;
    exchanges(world, uid, 2).await?;
    let all = world.tap.record().of(uid);
    ensure!(all.len() == known + 2, "{} connections", all.len());
    ensure!(
        offers(world, uid).len() == before + 1,
        "not exactly one offer"
    );
    ensure!(back.offers().count() == 0, "an offer on the new link");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_a_killed_operator_offers_nothing_to_who_has_the_settings() -> Result<()> {
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
    let offered = |record: &e2e::tap::Record| {
        let all = record.connections();
        let mut offers = all.iter().flat_map(Connection::offers);
        let any = offers.any(|offer| offer.leaf() == Some(renewed.fingerprint()));
        Look::when(any, "no offer of the renewed certificate")
    };
    world
        .tap
        .record()
        .wait("the offer goes out", OFFER, offered)
        .await?;
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
    restarts_and_is_offered_once(&mut world, name, uid, &renewed).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

/// The agent is back on the restarted operator and is left alone, also after
/// the time in which an operator without memory holds back.
async fn stays_unoffered(world: &World, uid: &str, leaf: &Leaf) -> Result<()> {
    let shows = |last: &Connection| {
        last.certificate.as_deref() == Some(leaf.fingerprint()) && last.marker().is_some()
    };
    let back = comes_back(world, uid, "what it had", |last| {
        shows(last) && last.received.len() + last.sent.len() >= 2
    });
    let back = back.await?;
    applied(world, uid).await?;
    // Heartbeats are 5 s apart and the hold is 4 s long.
    exchanges(world, uid, 2).await?;
    ensure!(offers(world, uid).len() == 1, "offered after the restart");
    ensure!(back.offers().count() == 0);
    Ok(())
}

/// Nobody is offered the certificate and marker that this very link shows.
fn no_offer_of_what_was_shown(world: &World, uid: &str) -> Result<()> {
    for connection in world.tap.record().of(uid) {
        for offer in connection.offers() {
            let marker = offer.header("OpAMP-Settings-Hash");
            ensure!(
                marker.is_none() || marker != connection.marker(),
                "{uid}: #{} runs what it is offered",
                connection.id
            );
        }
    }
    Ok(())
}
