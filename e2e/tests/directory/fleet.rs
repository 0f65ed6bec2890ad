//! Several agents: one first, then all; a renewed certificate reaches everyone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::tap::{Event, Kind};
use e2e::world::{PROFILE, SOON, Setup, World};

use crate::steps::{applies_leaf, exchanges, greeted, nobody_was_refused, offers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_agent_first_then_all_of_three() -> Result<()> {
    let mut world = World::new("three", Setup::default()).await?;
    world.start_operator().await?;
    let mut agents = Vec::new();
    for name in ["a1", "a2", "a3"] {
        agents.push(world.supervisor(name).await?);
    }
    for uid in &agents {
        greeted(&world, uid).await?;
    }
    let first = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.publish_mutual_tls(&first)?;
    everyone_moves(&world, &agents, &first).await?;

    let renewed = world.client_leaf("fleet-2", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    everyone_moves(&world, &agents, &renewed).await?;

    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    let status = state.profile(PROFILE);
    ensure!(status["agents"]["matched"] == 3, "{status}");
    ensure!(status["agents"]["upToDate"] == 3, "{status}");
    for uid in &agents {
        exchanges(&world, uid, 1).await?;
        ensure!(offers(&world, uid).len() == 2, "{:?}", offers(&world, uid));
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

/// All agents get to run the certificate, and the second offer of it left only
/// after the first agent had come back with the marker that it was offered.
async fn everyone_moves(world: &World, agents: &[String], leaf: &Leaf) -> Result<()> {
    for uid in agents {
        applies_leaf(world, uid, leaf).await?;
    }
    let events = world.tap.record().events();
    let offered: Vec<(usize, String, u64)> = events
        .iter()
        .enumerate()
        .filter_map(|(at, event)| {
            let marker = offered_marker(event, leaf)?;
            Some((at, marker, event.connection))
        })
        .collect();
    ensure!(offered.len() == agents.len(), "{} offers", offered.len());
    let (first, second) = (&offered[0], &offered[1]);
    let uids: BTreeMap<u64, String> = world
        .tap
        .record()
        .connections()
        .into_iter()
        .filter_map(|link| Some((link.id, link.uid?)))
        .collect();
    let pioneer = uids.get(&first.2).context("an offer to nobody")?;
    let back = events.iter().position(|event| {
        let of_pioneer = uids.get(&event.connection) == Some(pioneer);
        of_pioneer && shows_marker(event, &first.1)
    });
    let back = back.context("the first agent never came back")?;
    ensure!(
        first.0 < back && back < second.0,
        "first offer {}, evidence {back}, second offer {}",
        first.0,
        second.0
    );
    Ok(())
}

fn offered_marker(event: &Event, leaf: &Leaf) -> Option<String> {
    let Kind::ToAgent(message) = &event.kind else {
        return None;
    };
    let offer = message.offer.as_ref()?;
    let marker = offer.header("OpAMP-Settings-Hash")?;
    (offer.leaf() == Some(leaf.fingerprint())).then(|| marker.to_owned())
}

fn shows_marker(event: &Event, marker: &str) -> bool {
    let Kind::Request(request) = &event.kind else {
        return false;
    };
    let mut headers = request.headers.iter();
    headers.any(|(name, value)| name.eq_ignore_ascii_case("OpAMP-Settings-Hash") && value == marker)
}
