//! Hazards that no real agent here can be brought to show.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::double::{Double, Mode};
use e2e::eventually::Look;
use e2e::manifests::{bearer, offerable_secret, profile};
use e2e::tap::{Event, Kind, Record};
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use uuid::Uuid;

use super::subject::double_options;
use crate::steps::{applied, exchanges, nobody_was_refused, offers};

/// The least time before settings that brought no proof are offered again.
const BACKOFF: Duration = Duration::from_mins(1);

/// Heartbeats of 5 seconds that together take longer than the 15 between offers.
const BEATS: usize = 4;

/// An operator that offers the very token that agents come with: showing it
/// proves nothing.
async fn offers_what_they_have(name: &str) -> Result<World> {
    let mut world = World::new(name, Setup::default()).await?;
    let token = world.bootstrap_token().to_owned();
    let secret = offerable_secret("bootstrap-token", &[("token", &token)]);
    world.manifests.apply(&secret)?;
    world
        .manifests
        .apply(&profile(PROFILE, &bearer("bootstrap-token")))?;
    world.start_operator().await?;
    Ok(world)
}

/// Waits until an agent has made so many connections, and the last one is answered.
async fn connects(world: &World, uid: &str, count: usize) -> Result<()> {
    let look = |record: &Record| {
        let all = record.of(uid);
        let greeted = all.last().is_some_and(|link| !link.sent.is_empty());
        Look::when(greeted && all.len() == count, all.len())
    };
    let what = format!("connection number {count}");
    world.tap.record().wait(&what, OFFER, look).await
}

/// When each offer was made.
fn times(events: &[Event]) -> Vec<Duration> {
    let offer = |event: &&Event| match &event.kind {
        Kind::ToAgent(message) => message.offer.is_some(),
        _ => false,
    };
    events.iter().filter(offer).map(|event| event.at).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_who_never_shows_what_it_was_offered_is_not_offered_in_a_loop() -> Result<()> {
    let world = offers_what_they_have("h1").await?;
    let mut options = double_options(&world, Mode::Legacy0);
    options.loses_marker = true;
    let mut double = Double::start("double", options)?;
    let uid = double.uid();
    connects(&world, &uid, 2).await?;
    // It comes again and again, and not once with a proof.
    for count in 3..=6 {
        double.kill9().await;
        double.start_again()?;
        connects(&world, &uid, count).await?;
    }
    let again = |record: &Record| {
        let times = times(&record.events_of(&uid));
        Look::some((times.len() == 2).then_some(times), "one offer")
    };
    let record = world.tap.record();
    let times = record.wait("is offered again", 3 * BACKOFF, again).await?;
    ensure!(times[1] >= times[0] + BACKOFF, "{times:?}");
    let agent = world.state().agent(&uid);
    ensure!(agent["status"]["settings"]["state"] != "Applied", "{agent}");
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h13_of_two_with_one_uid_the_one_with_the_settings_is_left_alone() -> Result<()> {
    let world = offers_what_they_have("h13").await?;
    let mut options = double_options(&world, Mode::Legacy0);
    options.uid = Some(Uuid::now_v7());
    let mut first = Double::start("first", options.clone())?;
    let uid = first.uid();
    applied(&world, &uid).await?;
    connects(&world, &uid, 2).await?;

    let second = Double::start("second", options)?;
    ensure!(second.uid() == uid);
    connects(&world, &uid, 3).await?;
    // While the other one shows the settings, nobody is offered any, not even
    // when more than the least time between two offers has passed.
    let links = world.tap.record().of(&uid);
    let link = links.get(1).context("no second connection")?.id;
    let wanted = links[1].sent.len() + BEATS;
    let heard = |record: &Record| {
        let all = record.of(&uid);
        let link = all.into_iter().find(|other| other.id == link);
        let link = link.unwrap_or_default();
        Look::when(link.open && link.sent.len() >= wanted, link.sent.len())
    };
    let record = world.tap.record();
    record.wait("the first is still heard", SOON, heard).await?;
    ensure!(offers(&world, &uid).len() == 1);

    // When that one ends, the other is the agent.
    first.kill9().await;
    applied(&world, &uid).await?;
    connects(&world, &uid, 4).await?;
    exchanges(&world, &uid, 1).await?;
    ensure!(offers(&world, &uid).len() == 2);
    nobody_was_refused(&world)?;
    world.finish().await
}
