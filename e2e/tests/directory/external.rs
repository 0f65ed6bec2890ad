//! Agents that are sent to another server for good: a second operator, and a
//! server of opamp-go.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::eventually::{Look, eventually, throughout};
use e2e::go_server::GoServer;
use e2e::manifests::{config_map, offerable_secret, profile};
use e2e::pki::{Ca, DAY, Window};
use e2e::tap::Record;
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use serde_json::{Value, json};

use crate::steps::{applies_leaf, nobody_was_refused, offers};

/// Who is away counts as departed after two minutes.
const DEPARTED: Duration = Duration::from_secs(240);

/// The first wait of one that did not keep what it was given is a minute, the
/// next five: in this time it is through with the first and not with the next.
const TRIED_AGAIN: Duration = Duration::from_secs(150);

/// Longer than a test takes.
const ALWAYS: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_goes_to_a_second_operator_and_is_sent_there_again() -> Result<()> {
    let (there, leaf) = World::with_mutual_tls("external-there", Setup::default()).await?;
    let mut here = World::new("external-here", Setup::default()).await?;
    let token = there.bootstrap_token().to_owned();
    let theirs = sent_to(&there.tap.url("wss"), &token, there.pki.server_ca.pem());
    for object in &theirs {
        here.manifests.apply(object)?;
    }
    here.start_operator().await?;
    let uid = here.supervisor("a1").await?;

    // It arrives with what it was given here, and is given what they have there.
    let arrived = |record: &Record| {
        let first = record.of(&uid).into_iter().next();
        Look::some(first, "nobody came")
    };
    let what = "the agent arrives at the other operator";
    let first = there.tap.record().wait(what, OFFER, arrived).await?;
    let bearer = format!("Bearer {token}");
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    applies_leaf(&there, &uid, &leaf).await?;
    let state = there.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    ensure!(state.profile(PROFILE)["agents"]["upToDate"] == 1);
    ensure!(offers(&here, &uid).len() == 1);

    // Here it has departed, and nobody calls it up to date.
    has_departed(&here, &uid).await?;

    // A supervisor that starts anew comes home, and is sent away at once.
    let known = there.tap.record().of(&uid).len();
    here.supervisor_mut("a1")?.kill9()?;
    here.supervisor_mut("a1")?.start_again()?;
    let sent = |_: &Record| {
        let all = offers(&here, &uid);
        Look::when(all.len() == 2, format!("{all:?}"))
    };
    let what = "the agent is sent away again";
    here.tap.record().wait(what, OFFER, sent).await?;
    let again = |record: &Record| Look::some(record.of(&uid).get(known).cloned(), known);
    let what = "the agent is back at the other operator";
    there.tap.record().wait(what, OFFER, again).await?;
    nobody_was_refused(&here)?;
    nobody_was_refused(&there)?;
    here.finish().await?;
    there.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_goes_to_a_server_of_opamp_go_and_is_sent_there_again() -> Result<()> {
    let setup = Setup {
        first_agent: DEPARTED * 2,
        ..Setup::default()
    };
    let mut here = World::new("external-opamp-go", setup).await?;
    let token = here.token("token of the other server")?;
    let authority = Ca::new("CA of the other server")?;
    let serving = authority.server(Window::lasting(DAY))?;
    here.keeps_secret("key of the other server", &serving.key);
    let there = GoServer::start(&here, &serving, &format!("Bearer {token}")).await?;
    for object in &sent_to(there.url(), &token, authority.pem()) {
        here.manifests.apply(object)?;
    }
    here.start_operator().await?;
    let state = here.state();
    let called_up_to_date = || {
        let status = state.profile(PROFILE);
        let counted = status["agents"]["upToDate"].as_u64();
        counted.filter(|count| *count > 0)?;
        Some(status.to_string())
    };
    tokio::select! {
        told = there_and_back(&mut here, &there) => told?,
        wrong = throughout("nobody is up to date", ALWAYS, called_up_to_date) => {
            wrong?;
            bail!("not through within {ALWAYS:?}");
        }
    }
    nobody_was_refused(&here)?;
    there.stop().await?;
    here.finish().await
}

/// A supervisor that comes home twice: once too early to have departed, so that
/// it is taken for one that does not keep its settings, and once from afar.
async fn there_and_back(here: &mut World, there: &GoServer) -> Result<()> {
    let uid = here.supervisor("a1").await?;
    arrives(here, there, &uid, 1, OFFER).await?;

    // So it is sent again after a wait, and the next wait would be longer.
    comes_home(here, &uid).await?;
    arrives(here, there, &uid, 2, TRIED_AGAIN).await?;

    has_departed(here, &uid).await?;
    let visit = there.visits(&uid).pop();
    ensure!(visit.as_ref().is_some_and(|visit| visit.open), "{visit:?}");

    // Who had departed does not wait.
    comes_home(here, &uid).await?;
    arrives(here, there, &uid, 3, OFFER).await?;
    let state = here.state();
    state.wait_for_agent(&uid, "Switching", "", SOON).await?;
    eventually("it is not counted as departed any more", SOON, || {
        let status = state.profile(PROFILE);
        Look::when(status["agents"]["departed"] == 0, status)
    })
    .await
}

/// Waits for the `nth` offer of the operator, and for the agent at the other
/// server with what it was offered.
async fn arrives(
    here: &World,
    there: &GoServer,
    uid: &str,
    nth: usize,
    within: Duration,
) -> Result<()> {
    let sent = |_: &Record| {
        let mut all = offers(here, uid);
        let many = all.len();
        Look::some(all.pop().filter(|_| many == nth), format!("{many} offers"))
    };
    let what = format!("the agent is sent away, offer {nth}");
    let offer = here.tap.record().wait(&what, within, sent).await?;
    let visit = there.visit(uid, nth, OFFER).await?;
    ensure!(visit.authorized, "{visit:?}");
    let marker = offer.header("OpAMP-Settings-Hash");
    ensure!(
        marker.is_some() && visit.header("OpAMP-Settings-Hash") == marker,
        "{visit:?} with {marker:?}"
    );
    Ok(())
}

/// Kills the supervisor and starts it again: it is back with its file's settings.
async fn comes_home(here: &mut World, uid: &str) -> Result<()> {
    let known = here.tap.record().of(uid).len();
    here.supervisor_mut("a1")?.kill9()?;
    here.supervisor_mut("a1")?.start_again()?;
    let again = |record: &Record| Look::some(record.of(uid).get(known).cloned(), known);
    let what = "the agent is back from the other server";
    let back = here.tap.record().wait(what, OFFER, again).await?;
    let shown = back.header("Authorization").context("no Authorization")?;
    ensure!(shown == format!("Bearer {}", here.bootstrap_token()));
    ensure!(back.marker().is_none());
    Ok(())
}

/// Waits until the operator counts its one agent as departed, neither
/// as up to date nor as lost.
async fn has_departed(world: &World, uid: &str) -> Result<()> {
    let state = world.state();
    eventually("the agent has departed", DEPARTED, || {
        let status = state.profile(PROFILE);
        Look::when(status["agents"]["departed"] == 1, status)
    })
    .await?;
    let status = state.profile(PROFILE);
    let agents = &status["agents"];
    ensure!(agents["upToDate"] == 0 && agents["lost"] == 0, "{status}");
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    let agent = state.wait_for_agent(uid, "Departed", "", SOON);
    agent.await.map(drop)
}

/// A profile that sends all agents to a server of others, and what it names.
fn sent_to(url: &str, token: &str, ca: &str) -> [Value; 3] {
    [
        offerable_secret("their-token", &[("token", token)]),
        config_map("their-ca", "ca.crt", ca),
        profile(
            PROFILE,
            &json!({
                "servedBy": "External",
                "endpoint": url,
                "heartbeatIntervalSeconds": 5,
                "headers": [{
                    "name": "Authorization",
                    "valueFrom": {"secretKeyRef": {"name": "their-token", "key": "token"}, "prefix": "Bearer "},
                }],
                "clientCertificate": {"source": "None"},
                "tls": {"caBundleRef": {"name": "their-ca"}},
            }),
        ),
    ]
}
