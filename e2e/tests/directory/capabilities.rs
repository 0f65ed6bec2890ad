//! E10: what an agent takes may change while it is connected.

use anyhow::{Result, ensure};
use e2e::counterpart::{Counterpart, Library};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::steps::{exchanges, greeted, nobody_was_refused, offers};
use e2e::tap::Record;
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_capability_that_comes_and_goes_is_respected() -> Result<()> {
    let (mut world, _) = World::with_mutual_tls("e10-changes", Setup::default()).await?;
    let mut client = Counterpart::start(Library::Go, "wss", &world, &[]).await?;
    let uid = client.uid().to_owned();
    greeted(&world, &uid).await?;
    incapable(&world, 1).await?;
    exchanges(&world, &uid, 1).await?;
    ensure!(offers(&world, &uid).is_empty());

    client.accepts_settings(true).await?;
    offered(&world, &uid, 1).await?;
    // opamp-go says what became of the offer: this client refuses each.
    let state = world.state();
    state.wait_for_agent(&uid, "Failed", "", SOON).await?;

    client.accepts_settings(false).await?;
    incapable(&world, 1).await?;
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    world.state().wait_for_revision(PROFILE, 2, SOON).await?;
    exchanges(&world, &uid, 1).await?;
    ensure!(
        offers(&world, &uid).len() == 1,
        "offered to an incapable agent"
    );

    client.accepts_settings(true).await?;
    offered(&world, &uid, 2).await?;
    let all = offers(&world, &uid);
    ensure!(all[1].leaf() == Some(renewed.fingerprint()), "{all:?}");
    nobody_was_refused(&world)?;
    drop(client);
    world.finish().await
}

async fn incapable(world: &World, count: u64) -> Result<()> {
    let (what, state) = (format!("{count} incapable"), world.state());
    let look = || {
        let agents = state.profile(PROFILE)["agents"].take();
        Look::when(agents["incapable"] == count, agents)
    };
    eventually(&what, SOON, look).await
}

async fn offered(world: &World, uid: &str, count: usize) -> Result<()> {
    let what = format!("offer number {count}");
    let look = |record: &Record| {
        let all = record.of(uid);
        let have: usize = all.iter().map(|link| link.offers().count()).sum();
        Look::when(have == count, have)
    };
    world.tap.record().wait(&what, OFFER, look).await
}
