//! Counterparts that nobody here wrote: client libraries of `OpAMP`, each over
//! every transport that it has.

mod steps;

use anyhow::{Context as _, Result, ensure};
use e2e::counterpart::{Counterpart, Library};
use e2e::manifests::mutual_tls;
use e2e::parts::clients::Client;
use e2e::world::{PROFILE, SOON};

use self::steps::{
    End, counted, exchanged, hears_again, offered, renew, runs, selecting, survives,
    tells_what_it_is_when_it_changes, world_for,
};
use crate::steps::{OFFERS_CONNECTION_SETTINGS, nobody_was_refused, offers};

/// The bit of `AcceptsOpAMPConnectionSettings`.
const ACCEPTS: u64 = 0x100;

/// One agent runs the revision in force.
const UP_TO_DATE: &[(&str, u64)] = &[("connected", 1), ("upToDate", 1)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_over_http_is_served_and_offered_nothing() -> Result<()> {
    served_and_offered_nothing(Library::Other(Client::Node), "https").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_over_http_is_served_and_offered_nothing() -> Result<()> {
    served_and_offered_nothing(Library::Other(Client::Python), "https").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_over_http_is_served_and_offered_nothing() -> Result<()> {
    served_and_offered_nothing(Library::Other(Client::Java), "https").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_over_websocket_is_served_and_offered_nothing() -> Result<()> {
    served_and_offered_nothing(Library::Other(Client::Java), "wss").await
}

/// A client that takes no settings, from its first message to an operator that
/// ended twice and is back. Another agent of its profile takes them and proves
/// them, which opens each revision to everyone: only what the client says of
/// itself keeps offers away from it.
async fn served_and_offered_nothing(library: Library, scheme: &str) -> Result<()> {
    let (mut world, leaf) = world_for(library).await?;
    let mut capable = Counterpart::start(Library::Go, "wss", &world, &["-applies"]).await?;
    capable.accepts_settings(true).await?;
    runs(&world, &capable, &leaf, 1).await?;

    let mut client = Counterpart::start(library, scheme, &world, &[]).await?;
    let uid = client.uid().to_owned();
    if client.is_quiet() {
        tells_what_it_is_when_it_changes(&world, &mut client).await?;
    }
    counted(
        &world,
        &[("matched", 2), ("connected", 2), ("incapable", 1)],
    )
    .await?;
    let first = world.tap.record().of(&uid).remove(0);
    let bearer = format!("Bearer {}", world.bootstrap_token());
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    ensure!(first.certificate.is_none());
    let said = first.received.iter().map(|message| message.capabilities);
    ensure!(said.fold(0, |all, one| all | one) & ACCEPTS == 0);
    let answered = first.sent.first().context("no answer")?;
    ensure!(answered.capabilities & OFFERS_CONNECTION_SETTINGS != 0);
    hears_again(&world, &mut client).await?;

    let renewed = renew(&mut world, "renewed-2", 2).await?;
    runs(&world, &capable, &renewed, 2).await?;
    hears_again(&world, &mut client).await?;
    counted(&world, &[("incapable", 1), ("upToDate", 1)]).await?;
    let state = world.state();
    let ready = state.wait_for_condition(PROFILE, "Ready", "True", "Complete", SOON);
    ready.await?;

    for (number, end) in [(3, End::Killed), (4, End::Stopped)] {
        survives(&mut world, &mut client, end).await?;
        // Only the operator that is running now can know of this revision.
        renew(&mut world, &format!("renewed-{number}"), number).await?;
        counted(
            &world,
            &[("matched", 2), ("connected", 2), ("incapable", 1)],
        )
        .await?;
        hears_again(&world, &mut client).await?;
    }

    let all = offers(&world, &uid);
    ensure!(all.is_empty(), "offered to an incapable agent: {all:?}");
    nobody_was_refused(&world)?;
    drop((client, capable));
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opamp_go_over_websocket_is_offered_what_it_takes() -> Result<()> {
    offered_while_it_takes_settings("wss").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opamp_go_over_http_is_offered_what_it_takes() -> Result<()> {
    offered_while_it_takes_settings("https").await
}

/// A client that is told to take settings, then not, then again, and applies
/// each offer; at the end the operator is killed and comes back.
async fn offered_while_it_takes_settings(scheme: &str) -> Result<()> {
    let (mut world, leaf) = world_for(Library::Go).await?;
    let mut opamp = mutual_tls();
    opamp["endpoint"] = world.tap.url(scheme).into();
    opamp["heartbeatIntervalSeconds"] = 2.into();
    world
        .manifests
        .apply(&selecting(PROFILE, &[Library::Go.name()], &opamp))?;
    let mut client = Counterpart::start(Library::Go, scheme, &world, &["-applies"]).await?;
    let uid = client.uid().to_owned();
    counted(&world, &[("matched", 1), ("incapable", 1)]).await?;
    exchanged(&world, &uid, 1).await?;
    ensure!(offers(&world, &uid).is_empty());

    client.accepts_settings(true).await?;
    runs(&world, &client, &leaf, 1).await?;

    client.accepts_settings(false).await?;
    // It runs the revision in force, so it counts by that, not by what it takes.
    let renewed = renew(&mut world, "renewed", 2).await?;
    counted(&world, &[("matched", 1), ("incapable", 1)]).await?;
    exchanged(&world, &uid, 2).await?;
    ensure!(offers(&world, &uid).len() == 1, "offered what it gave up");

    client.accepts_settings(true).await?;
    runs(&world, &client, &renewed, 2).await?;

    for end in [End::Killed, End::Stopped] {
        let back = survives(&mut world, &mut client, end).await?;
        ensure!(back.certificate.as_deref() == Some(renewed.fingerprint()));
        ensure!(back.marker().is_some());
        // Heartbeats are 2 s apart and an operator without memory holds 4 s.
        exchanged(&world, &uid, 4).await?;
        counted(&world, UP_TO_DATE).await?;
        ensure!(offers(&world, &uid).len() == 2, "offered what it runs");
    }
    let last = renew(&mut world, "renewed-3", 3).await?;
    runs(&world, &client, &last, 3).await?;
    nobody_was_refused(&world)?;
    drop(client);
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_that_claims_to_take_settings_is_offered_once() -> Result<()> {
    let library = Library::Other(Client::Python);
    let (world, leaf) = world_for(library).await?;
    let client = Counterpart::start(library, "https", &world, &["--claims-settings"]).await?;
    let uid = client.uid().to_owned();
    offered(&world, &uid, 1).await?;
    let all = offers(&world, &uid);
    ensure!(all[0].leaf() == Some(leaf.fingerprint()), "{all:?}");
    let state = world.state();
    state.wait_for_agent(&uid, "Offered", "", SOON).await?;
    exchanged(&world, &uid, 3).await?;
    ensure!(offers(&world, &uid).len() == 1, "offered again");
    let agents = state.profile(PROFILE)["agents"].take();
    ensure!(agents["inProgress"] == 1, "{agents}");
    nobody_was_refused(&world)?;
    drop(client);
    world.finish().await
}
