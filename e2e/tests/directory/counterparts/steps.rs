//! What a client of `OpAMP` goes through, and how a test sees it.

use anyhow::{Context as _, Result, ensure};
use e2e::counterpart::{BACK, Counterpart, Library};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{CLIENT_TLS, mutual_tls, offerable_tls, profile};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::process::LogMark;
use e2e::tap::{Connection, Record};
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use serde_json::{Value, json};

use crate::steps::{greeted, offers};

/// A profile for agents of another name, above all others.
const STRANGERS: &str = "strangers";

/// A running operator with the standard profile for agents of this library's
/// name and of opamp-go's, and one above it for agents of another.
pub(crate) async fn world_for(library: Library) -> Result<(World, Leaf)> {
    let mut world = World::new(library.name(), Setup::default()).await?;
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &leaf))?;
    let mut names = vec![library.name(), Library::Go.name()];
    names.dedup();
    let ours = selecting(PROFILE, &names, &mutual_tls());
    let mut strangers = selecting(STRANGERS, &["somebody-else"], &mutual_tls());
    strangers["spec"]["priority"] = 10.into();
    for object in [ours, strangers] {
        world.manifests.apply(&object)?;
    }
    world.start_operator().await?;
    world.state().wait_for_revision(PROFILE, 1, SOON).await?;
    Ok((world, leaf))
}

/// A profile for the agents that report one of these service names.
pub(crate) fn selecting(name: &str, services: &[&str], opamp: &Value) -> Value {
    let mut object = profile(name, opamp);
    object["spec"]["agentSelector"]["matchExpressions"] =
        json!([{"key": "service.name", "operator": "In", "values": services}]);
    object
}

/// Gives the profile another certificate and waits for its revision.
pub(crate) async fn renew(world: &mut World, name: &str, number: u64) -> Result<Leaf> {
    let leaf = world.client_leaf(name, KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &leaf))?;
    let state = world.state();
    state.wait_for_revision(PROFILE, number, SOON).await?;
    Ok(leaf)
}

/// Waits until the profile counts its agents so; nobody is ever a stranger.
pub(crate) async fn counted(world: &World, wanted: &[(&str, u64)]) -> Result<()> {
    let (what, state) = (format!("counts {wanted:?}"), world.state());
    let look = || {
        let agents = state.profile(PROFILE)["agents"].take();
        let strangers = state.profile(STRANGERS)["agents"]["matched"].as_u64();
        let right = wanted
            .iter()
            .all(|(count, number)| agents[count] == *number);
        match strangers {
            None | Some(0) => Look::when(right, agents),
            Some(_) => Look::Never("a profile for others has it".into()),
        }
    };
    eventually(&what, BACK, look).await
}

/// Waits until the operator has answered `more` messages of the agent. A poll
/// may come over any connection: the link is the agent's, not TCP's.
pub(crate) async fn exchanged(world: &World, uid: &str, more: usize) -> Result<()> {
    let answers = |record: &Record| {
        let all = record.of(uid);
        all.iter().map(|link| link.sent.len()).sum::<usize>()
    };
    let record = world.tap.record();
    let wanted = answers(record) + more;
    let look = |record: &Record| {
        let have = answers(record);
        Look::when(have >= wanted, have)
    };
    let what = format!("{more} more answers");
    record.wait(&what, SOON, look).await
}

/// The client hears the operator once more, over the same link.
pub(crate) async fn hears_again(world: &World, client: &mut Counterpart) -> Result<()> {
    let uid = client.uid().to_owned();
    let links = || world.tap.record().of(&uid);
    let before = links();
    if client.is_quiet() {
        let (heard, changed) = tokio::join!(exchanged(world, &uid, 1), client.changes());
        changed.and(heard)?;
    } else {
        exchanged(world, &uid, 1).await?;
    }
    let websocket = before.first().is_some_and(|link| link.status == Some(101));
    ensure!(!websocket || links().len() == before.len(), "reconnected");
    Ok(())
}

/// Java's client says nothing of itself in its first WebSocket message. It is
/// asked, and says it with the next message: when something changes.
pub(crate) async fn tells_what_it_is_when_it_changes(
    world: &World,
    client: &mut Counterpart,
) -> Result<()> {
    client.connected(LogMark::default()).await?;
    greeted(world, client.uid()).await?;
    let first = world.tap.record().of(client.uid()).remove(0);
    let asks = first.sent.first().context("no answer")?.flags;
    ensure!(
        !first.received[0].described && asks & 1 == 1,
        "{:?}",
        first.received
    );
    let agents = world.state().profile(PROFILE)["agents"].take();
    // The capable agent alone.
    ensure!(agents["matched"] == 1, "{agents}");
    client.changes().await
}

/// How the operator ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Killed,
    Stopped,
}

/// The operator ends and comes back; the client is back at it, is asked what it
/// is and tells. Returns the connection on which it told.
pub(crate) async fn survives(
    world: &mut World,
    client: &mut Counterpart,
    end: End,
) -> Result<Connection> {
    let uid = client.uid().to_owned();
    let known = world.tap.record().of(&uid).len();
    let mark = client.mark();
    match end {
        End::Killed => world.kill_operator()?,
        End::Stopped => world.operator_mut()?.stop().await?,
    }
    world.start_operator_again().await?;
    if client.is_quiet() {
        client.connected(mark).await?;
        client.changes().await?;
    }
    let look = |record: &Record| {
        let links = record.of(&uid);
        let new = links.get(known..).unwrap_or_default();
        let told = |link: &&Connection| link.received.iter().any(|message| message.described);
        let last = new.iter().rfind(told).cloned();
        Look::some(last, format!("{} new connections", new.len()))
    };
    let what = "the client tells the new operator what it is";
    world.tap.record().wait(what, BACK, look).await
}

pub(crate) async fn offered(world: &World, uid: &str, count: usize) -> Result<()> {
    let what = format!("offer number {count}");
    let look = |_: &Record| {
        let have = offers(world, uid).len();
        Look::when(have == count, have)
    };
    world.tap.record().wait(&what, OFFER, look).await
}

/// The client was offered settings for the `count`th time, took them and is
/// known by them.
pub(crate) async fn runs(
    world: &World,
    client: &Counterpart,
    leaf: &Leaf,
    count: usize,
) -> Result<()> {
    let uid = client.uid();
    offered(world, uid, count).await?;
    let shows = |record: &Record| {
        let shows = |link: &Connection| {
            link.certificate.as_deref() == Some(leaf.fingerprint()) && !link.sent.is_empty()
        };
        let last = record.of(uid).pop().filter(shows);
        Look::some(last, "the offered certificate is not shown")
    };
    let record = world.tap.record();
    let back = record.wait("the client applies the offer", OFFER, shows);
    let back = back.await?;
    let all = offers(world, uid);
    let last = all.last().context("no offer")?;
    ensure!(back.marker().is_some() && back.marker() == last.header("OpAMP-Settings-Hash"));
    let state = world.state();
    let proved = state.wait_for_agent(uid, "Applied", "SettingsHeader", SOON);
    proved.await?;
    counted(world, &[("upToDate", 1)]).await?;
    exchanged(world, uid, 2).await?;
    ensure!(offers(world, uid).len() == count, "offered again");
    ensure!(client.heard_offers() == count, "not heard exactly once");
    Ok(())
}
