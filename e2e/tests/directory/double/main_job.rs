//! The main job with the operator, played by real supervisors and by doubles.

use anyhow::{Context as _, Result, ensure};
use e2e::eventually::Look;
use e2e::manifests::{bearer, offerable_secret, profile};
use e2e::parts::Set;
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::tap::{Connection, FromAgent, Record};
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use serde_json::json;

use super::subject::{EVERYONE, Subject, agree};
use crate::steps::{applied, applies_bearer, applies_leaf, exchanges, nobody_was_refused};

/// Everyone is connected, and has no more news of its collector.
async fn everyone(world: &mut World) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for player in EVERYONE {
        subjects.push(Subject::start(world, player).await?);
    }
    for subject in &mut subjects {
        let look = |record: &Record| {
            let link = record.of(&subject.uid).pop().unwrap_or_default();
            let healthy = link.healthy();
            let settled = healthy == Some(true) && link.sent.len() >= link.received.len();
            Look::when(settled, format!("{healthy:?}"))
        };
        let what = format!("{} is healthy", subject.player.name());
        world.tap.record().wait(&what, SOON, look).await?;
    }
    stage(world, &mut subjects, "first connection", true);
    Ok(subjects)
}

fn stage(world: &World, subjects: &mut [Subject], name: &'static str, health: bool) {
    for subject in subjects {
        subject.stage(world, name, health);
    }
}

/// Everyone runs the certificate, and has beaten once with it.
async fn everyone_applies(world: &World, subjects: &[Subject], leaf: &Leaf) -> Result<()> {
    for subject in subjects {
        applies_leaf(world, &subject.uid, leaf).await?;
        beats(world, subject).await?;
    }
    Ok(())
}

/// Waits for a heartbeat on the newest connection, and its answer.
async fn beats(world: &World, subject: &Subject) -> Result<()> {
    let look = |record: &Record| {
        let link = record.of(&subject.uid).pop().unwrap_or_default();
        let bare = link.received.iter().skip(1).any(FromAgent::is_bare);
        let beaten = bare && link.sent.len() >= link.received.len();
        Look::when(beaten, format!("{} messages", link.received.len()))
    };
    let what = format!("{} beats", subject.player.name());
    world.tap.record().wait(&what, SOON, look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h14_h25_real_supervisors_and_doubles_get_mutual_tls_and_survive_restarts_alike()
-> Result<()> {
    let mut world = World::with("double-main", Setup::default(), Set::Releases).await?;
    world.start_operator().await?;
    let mut subjects = everyone(&mut world).await?;

    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.publish_mutual_tls(&leaf)?;
    everyone_applies(&world, &subjects, &leaf).await?;
    stage(&world, &mut subjects, "mutual TLS", true);
    // Nobody says that it is healthy any more, and nobody minds.
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "Complete", SOON)
        .await?;
    for subject in &subjects {
        let link = world.tap.record().of(&subject.uid).pop();
        let link = link.context("no connection")?;
        let said = link.received.iter();
        let health: Vec<_> = said.filter_map(|message| message.healthy).collect();
        ensure!(health == [false], "{health:?}");
    }

    world.kill_operator()?;
    let known: Vec<usize> = subjects
        .iter()
        .map(|subject| world.tap.record().of(&subject.uid).len())
        .collect();
    world.start_operator_again().await?;
    for (subject, known) in subjects.iter().zip(known) {
        let look = |record: &Record| {
            let links = record.of(&subject.uid);
            Look::when(links.len() > known, links.len())
        };
        world.tap.record().wait("comes back", SOON, look).await?;
        exchanges(&world, &subject.uid, 2).await?;
        beats(&world, subject).await?;
    }
    stage(&world, &mut subjects, "restart of the operator", true);

    for subject in &mut subjects {
        subject.restart(&mut world).await?;
    }
    for subject in &subjects {
        let look = |record: &Record| {
            let mut links = record.of(&subject.uid).into_iter().rev();
            let bare = links.any(|link| link.marker().is_none() && link.offers().count() > 0);
            let again = record
                .of(&subject.uid)
                .iter()
                .filter(|link| link.marker().is_none())
                .count();
            Look::when(bare && again > 1, again)
        };
        world
            .tap
            .record()
            .wait("is offered again", OFFER, look)
            .await?;
    }
    everyone_applies(&world, &subjects, &leaf).await?;
    // Their collectors have just started: what they say of them is chance.
    stage(&world, &mut subjects, "restart of the agent", false);

    for (stage, trace) in &subjects[0].stages {
        world.timeline.note("trace", format!("{stage}\n{trace}"));
    }
    agree(&subjects)?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_real_supervisors_and_doubles_follow_a_token_and_an_endpoint_alike() -> Result<()> {
    let setup = Setup {
        authenticators: Some(json!([
            {"name": "bootstrap", "agentToken": {"secretName": "bootstrap-token", "namespace": "default"}},
            {"name": "agents", "agentToken": {"secretName": "agent-token", "namespace": "default"}},
        ])),
        ..Setup::default()
    };
    let mut world = World::with("double-moves", setup, Set::Releases).await?;
    let tokens = [world.token("first token")?, world.token("second token")?];
    let [first, second] = &tokens;
    let secret = |keys: &[(&str, &str)]| offerable_secret("agent-token", keys);
    world.manifests.apply(&secret(&[("token", first)]))?;
    world.start_operator().await?;
    let mut subjects = everyone(&mut world).await?;

    world
        .manifests
        .apply(&profile(PROFILE, &bearer("agent-token")))?;
    for subject in &subjects {
        applies_bearer(&world, &subject.uid, first).await?;
        beats(&world, subject).await?;
    }
    stage(&world, &mut subjects, "a token", true);

    world
        .manifests
        .apply(&secret(&[("token", second), ("token-old", first)]))?;
    for subject in &subjects {
        applies_bearer(&world, &subject.uid, second).await?;
        beats(&world, subject).await?;
    }
    stage(&world, &mut subjects, "a rotated token", true);

    for (scheme, status, name) in [("https", 200, "to polling"), ("wss", 101, "to WebSocket")] {
        let mut moved = bearer("agent-token");
        moved["endpoint"] = world.tap.url(scheme).into();
        moved["heartbeatIntervalSeconds"] = 2.into();
        world.manifests.apply(&profile(PROFILE, &moved))?;
        for subject in &subjects {
            let look = |record: &Record| {
                let there = |link: &Connection| link.status == Some(status) && link.sent.len() > 2;
                let last = record.of(&subject.uid).pop();
                Look::some(last.filter(there), "not there")
            };
            let link = world.tap.record().wait(name, OFFER, look).await?;
            ensure!(link.marker().is_some());
            applied(&world, &subject.uid).await?;
        }
        stage(&world, &mut subjects, name, true);
    }
    agree(&subjects)?;
    nobody_was_refused(&world)?;
    world.finish().await
}
