//! From WebSocket to polling over HTTPS and back: an endpoint that moves.

use anyhow::{Context as _, Result, ensure};
use e2e::eventually::Look;
use e2e::manifests::{mutual_tls, profile};
use e2e::tap::Connection;
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};

use crate::steps::{applied, applies_leaf, nobody_was_refused, offers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_moves_to_polling_and_back() -> Result<()> {
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

    world.manifests.apply(&profile(PROFILE, &mutual_tls()))?;
    applies_leaf(&world, &uid, &leaf).await?;
    let agent = state.agent(&uid);
    ensure!(agent["status"]["transport"] == "WebSocket", "{agent}");
    ensure!(
        offers(&world, &uid).len() == 3,
        "{:?}",
        offers(&world, &uid)
    );
    nobody_was_refused(&world)?;
    world.finish().await
}
