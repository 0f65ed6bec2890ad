//! Counterparts that nobody here wrote: client libraries of `OpAMP`, each over
//! every transport that it has.

use anyhow::{Context as _, Result, ensure};
use e2e::counterpart::{BACK, Counterpart, Library};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{CLIENT_TLS, mutual_tls, offerable_tls, profile};
use e2e::parts::clients::Client;
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::process::LogMark;
use e2e::tap::{Connection, Record};
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use serde_json::Value;

use crate::steps::{OFFERS_CONNECTION_SETTINGS, greeted, nobody_was_refused, offers};

/// A profile for agents of another name, above all others.
const STRANGERS: &str = "strangers";

/// The bit of `AcceptsOpAMPConnectionSettings`.
const ACCEPTS: u64 = 0x100;

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
/// was killed and is back.
async fn served_and_offered_nothing(library: Library, scheme: &str) -> Result<()> {
    let (mut world, _) = world_for(library).await?;
    let mut client = Counterpart::start(library, scheme, &world, &[]).await?;
    let uid = client.uid().to_owned();
    if client.is_quiet() {
        tells_what_it_is_when_it_changes(&world, &mut client).await?;
    }
    counted(&world, "one incapable agent", is_incapable).await?;
    let first = world.tap.record().of(&uid).remove(0);
    let bearer = format!("Bearer {}", world.bootstrap_token());
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    ensure!(first.certificate.is_none());
    let said = first.received.iter().map(|message| message.capabilities);
    ensure!(said.fold(0, |all, one| all | one) & ACCEPTS == 0);
    let answered = first.sent.first().context("no answer")?;
    ensure!(answered.capabilities & OFFERS_CONNECTION_SETTINGS != 0);
    hears_again(&world, &mut client).await?;

    renew(&mut world, "renewed", 2).await?;
    hears_again(&world, &mut client).await?;
    counted(&world, "still incapable", is_incapable).await?;

    for (number, end) in [(3, End::Killed), (4, End::Stopped)] {
        survives(&mut world, &mut client, end).await?;
        // Only the operator that is running now can know of this revision.
        renew(&mut world, &format!("renewed-{number}"), number).await?;
        counted(&world, "incapable after the restart", is_incapable).await?;
        hears_again(&world, &mut client).await?;
    }

    let all = offers(&world, &uid);
    ensure!(all.is_empty(), "offered to an incapable agent: {all:?}");
    nobody_was_refused(&world)?;
    drop(client);
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
        .apply(&selecting(PROFILE, Library::Go.name(), &opamp))?;
    let mut client = Counterpart::start(Library::Go, scheme, &world, &["-applies"]).await?;
    let uid = client.uid().to_owned();
    counted(&world, "one incapable agent", is_incapable).await?;
    exchanged(&world, &uid, 1).await?;
    ensure!(offers(&world, &uid).is_empty());

    client.accepts_settings(true).await?;
    runs(&world, &client, &leaf, 1).await?;

    client.accepts_settings(false).await?;
    // It runs the revision in force, so it counts by that, not by what it takes.
    let renewed = renew(&mut world, "renewed", 2).await?;
    counted(&world, "incapable again", is_incapable).await?;
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
        counted(&world, "up to date after the restart", is_up_to_date).await?;
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

/// A running operator with the standard profile for agents of this library's
/// name, and one above it for agents of another.
async fn world_for(library: Library) -> Result<(World, Leaf)> {
    let mut world = World::new(library.name(), Setup::default()).await?;
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &leaf))?;
    let mut strangers = selecting(STRANGERS, "somebody-else", &mutual_tls());
    strangers["spec"]["priority"] = 10.into();
    for object in [selecting(PROFILE, library.name(), &mutual_tls()), strangers] {
        world.manifests.apply(&object)?;
    }
    world.start_operator().await?;
    world.state().wait_for_revision(PROFILE, 1, SOON).await?;
    Ok((world, leaf))
}

/// A profile for the agents that report this service name.
fn selecting(name: &str, service: &str, opamp: &Value) -> Value {
    let mut object = profile(name, opamp);
    object["spec"]["agentSelector"]["matchAttributes"]["service.name"] = service.into();
    object
}

/// Gives the profile another certificate and waits for its revision.
async fn renew(world: &mut World, name: &str, number: u64) -> Result<Leaf> {
    let leaf = world.client_leaf(name, KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &leaf))?;
    let state = world.state();
    state.wait_for_revision(PROFILE, number, SOON).await?;
    Ok(leaf)
}

fn is_incapable(agents: &Value) -> bool {
    let one = ["matched", "connected", "incapable"].map(|count| agents[count] == 1);
    one == [true; 3]
}

fn is_up_to_date(agents: &Value) -> bool {
    let one = ["matched", "connected", "upToDate"].map(|count| agents[count] == 1);
    one == [true; 3]
}

/// Waits until the profile counts its agents so; nobody is ever a stranger.
async fn counted(world: &World, what: &str, right: fn(&Value) -> bool) -> Result<()> {
    let state = world.state();
    let look = || {
        let agents = state.profile(PROFILE)["agents"].take();
        let strangers = state.profile(STRANGERS)["agents"]["matched"].as_i64();
        match strangers {
            None | Some(0) => Look::when(right(&agents), agents),
            Some(_) => Look::Never("a profile for others has it".into()),
        }
    };
    eventually(what, BACK, look).await
}

/// Waits until the operator has answered `more` messages of the agent. A poll
/// may come over any connection: the link is the agent's, not TCP's.
async fn exchanged(world: &World, uid: &str, more: usize) -> Result<()> {
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
async fn hears_again(world: &World, client: &mut Counterpart) -> Result<()> {
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
async fn tells_what_it_is_when_it_changes(world: &World, client: &mut Counterpart) -> Result<()> {
    client.connected(LogMark::default()).await?;
    greeted(world, client.uid()).await?;
    let first = world.tap.record().of(client.uid()).remove(0);
    let asks = first.sent.first().context("no answer")?.flags;
    ensure!(!first.received[0].described && asks & 1 == 1, "{first:?}");
    let agents = world.state().profile(PROFILE)["agents"].take();
    ensure!(agents["matched"] == 0, "{agents}");
    client.changes().await
}

/// How the operator ends.
#[derive(Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

/// The operator ends and comes back; the client is back at it, is asked what it
/// is and tells. Returns the connection on which it told.
async fn survives(world: &mut World, client: &mut Counterpart, end: End) -> Result<Connection> {
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
        Look::some(last, format!("{new:?}"))
    };
    let what = "the client tells the new operator what it is";
    world.tap.record().wait(what, BACK, look).await
}

async fn offered(world: &World, uid: &str, count: usize) -> Result<()> {
    let what = format!("offer number {count}");
    let look = |_: &Record| {
        let have = offers(world, uid).len();
        Look::when(have == count, have)
    };
    world.tap.record().wait(&what, OFFER, look).await
}

/// The client was offered settings for the `count`th time, took them and is
/// known by them.
async fn runs(world: &World, client: &Counterpart, leaf: &Leaf, count: usize) -> Result<()> {
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
    counted(world, "the client runs the revision", is_up_to_date).await?;
    exchanged(world, uid, 2).await?;
    ensure!(offers(world, uid).len() == count, "offered again");
    ensure!(client.heard_offers() == count, "not heard exactly once");
    Ok(())
}
