//! E4: an endpoint that moves, from WebSocket to polling over HTTPS and on to
//! another host and port.

use anyhow::{Context as _, Result, ensure};
use e2e::eventually::Look;
use e2e::manifests::{mutual_tls, profile};
use e2e::tap::Connection;
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};

use crate::steps::{applied, applies_leaf, comes_back, exchanges, nobody_was_refused, offers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_an_endpoint_moves_to_polling_and_on_to_another_host() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("polling", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &leaf).await?;

    let mut polling = mutual_tls();
    polling["endpoint"] = world.tap.url("https").into();
    polling["heartbeatIntervalSeconds"] = 2.into();
    world.manifests.apply(&profile(PROFILE, &polling))?;
    let polls = |record: &e2e::tap::Record| {
        let polls = |link: &Connection| {
            let shows = link.certificate.as_deref() == Some(leaf.fingerprint());
            shows && link.status == Some(200) && link.sent.len() >= 3
        };
        let last = record.of(&uid).pop().filter(polls);
        Look::some(last, "no connection that polls")
    };
    let link = world
        .tap
        .record()
        .wait("the agent polls", OFFER, polls)
        .await?;
    let marker = link.marker().context("a poll without a marker")?.to_owned();
    let last = offers(&world, &uid).pop().context("no offer")?;
    ensure!(last.header("OpAMP-Settings-Hash") == Some(marker.as_str()));
    ensure!(last.heartbeat == 2 && last.endpoint == world.tap.url("https"));
    applied(&world, &uid).await?;
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    let agent = state.agent(&uid);
    ensure!(agent["status"]["transport"] == "HTTP", "{agent}");

    let mut moved = mutual_tls();
    moved["endpoint"] = world.tap.second_url("wss").await?.into();
    world.manifests.apply(&profile(PROFILE, &moved))?;
    let there = comes_back(&world, &uid, "the other endpoint", |last| {
        let host = last.header("Host").unwrap_or_default();
        moved["endpoint"]
            .as_str()
            .is_some_and(|url| url.contains(host))
    });
    let there = there.await?;
    ensure!(there.certificate.as_deref() == Some(leaf.fingerprint()));
    ensure!(there.marker().is_some_and(|now| now != marker));
    applied(&world, &uid).await?;
    // Its HTTP connection may stay open for a while; nothing comes over it.
    let polls = || heard(&world, link.id);
    let before = polls();
    exchanges(&world, &uid, 1).await?;
    ensure!(polls() == before, "a poll of the old endpoint");
    e2e::eventually::eventually("the agent is known by its WebSocket", SOON, || {
        let agent = state.agent(&uid);
        let known = agent["status"]["transport"] == "WebSocket";
        Look::when(known, agent["status"].to_string())
    })
    .await?;
    ensure!(
        offers(&world, &uid).len() == 3,
        "{:?}",
        offers(&world, &uid)
    );
    nobody_was_refused(&world)?;
    world.finish().await
}

/// How many messages an agent sent on one connection.
fn heard(world: &World, id: u64) -> Option<usize> {
    let all = world.tap.record().connections();
    let link = all.iter().find(|link| link.id == id);
    link.map(|link| link.received.len())
}
