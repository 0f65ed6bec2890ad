//! E3 and E9: tokens that rotate, and the quiet afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::eventually::throughout;
use e2e::manifests::{CLIENT_TLS, bearer, offerable_secret, offerable_tls, profile};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::world::{PROFILE, Setup, World};
use serde_json::json;

use crate::steps::{
    applied, applies_bearer, applies_leaf, comes_back, exchanges, nobody_was_refused, offers, open,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_a_rotated_token_reaches_the_agent() -> Result<()> {
    let setup = Setup {
        authenticators: Some(json!([
            {"name": "bootstrap", "agentToken": {"secretName": "bootstrap-token", "namespace": "default"}},
            {"name": "agents", "agentToken": {"secretName": "agent-token", "namespace": "default"}},
        ])),
        ..Setup::default()
    };
    let mut world = World::new("e3", setup).await?;
    let first = world.token("first token")?;
    world
        .manifests
        .apply(&offerable_secret("agent-token", &[("token", &first)]))?;
    world
        .manifests
        .apply(&profile(PROFILE, &bearer("agent-token")))?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    applies_bearer(&world, &uid, &first).await?;

    let second = world.token("second token")?;
    let overlap = offerable_secret("agent-token", &[("token", &second), ("token-old", &first)]);
    world.manifests.apply(&overlap)?;
    applies_bearer(&world, &uid, &second).await?;

    let third = world.token("third token")?;
    world
        .manifests
        .apply(&offerable_secret("agent-token", &[("token", &third)]))?;
    applies_bearer(&world, &uid, &third).await?;
    exchanges(&world, &uid, 1).await?;
    ensure!(
        offers(&world, &uid).len() == 3,
        "{:?}",
        offers(&world, &uid)
    );
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_a_token_rotated_in_place_cuts_nobody_off() -> Result<()> {
    let setup = Setup {
        authenticators: Some(json!([
            {"name": "bootstrap", "agentToken": {"secretName": "bootstrap-token", "namespace": "default"}},
        ])),
        ..Setup::default()
    };
    let mut world = World::new("e3-in-place", setup).await?;
    let first = world.bootstrap_token().to_owned();
    let shared = |keys: &[(&str, &str)]| offerable_secret("bootstrap-token", keys);
    world.manifests.apply(&shared(&[("token", &first)]))?;
    world
        .manifests
        .apply(&profile(PROFILE, &bearer("bootstrap-token")))?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    applies_bearer(&world, &uid, &first).await?;

    let second = world.token("second token")?;
    let overlap = shared(&[("token", &second), ("token-old", &first)]);
    world.manifests.apply(&overlap)?;
    applies_bearer(&world, &uid, &second).await?;

    // Replaced at once: the token the agent shows is in no object any more.
    let third = world.token("third token")?;
    world.manifests.apply(&shared(&[("token", &third)]))?;
    applies_bearer(&world, &uid, &third).await?;

    // Its file still has the first token, retired by now.  It was bound through
    // that token, so it may come back to be offered.
    world.supervisor_mut("a1")?.kill9()?;
    world.supervisor_mut("a1")?.start_again()?;
    let plain = |last: &e2e::tap::Connection| last.marker().is_none();
    comes_back(&world, &uid, "the token of its file", plain).await?;
    applies_bearer(&world, &uid, &third).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_after_a_rotation_there_is_quiet() -> Result<()> {
    let (mut world, first) = World::with_mutual_tls("e9", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?, world.supervisor("a2").await?];
    for uid in &agents {
        applies_leaf(&world, uid, &first).await?;
    }
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    for uid in &agents {
        applies_leaf(&world, uid, &renewed).await?;
    }
    world.timeline.note("test", "the watch begins");
    let minute = Duration::from_mins(1);
    let connections = world.tap.record().connections().len();
    throughout("the quiet after a rotation", minute, || {
        let wrong = |uid: &String| {
            let (offers, open) = (offers(&world, uid).len(), open(&world, uid));
            (offers != 2 || open != 1).then(|| format!("{uid}: {offers} offers, {open} open"))
        };
        let more = world.tap.record().connections().len() - connections;
        let another = (more > 0).then(|| format!("{more} further connections"));
        agents.iter().find_map(wrong).or(another)
    })
    .await?;
    for uid in &agents {
        applied(&world, uid).await?;
    }
    nobody_was_refused(&world)?;
    world.finish().await
}
