//! Agents that are sent to another server for good: a second operator.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{config_map, offerable_secret, profile};
use e2e::tap::Record;
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use serde_json::json;

use crate::steps::{applies_leaf, nobody_was_refused, offers};

/// Who is away counts as departed after two minutes.
const DEPARTED: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_goes_to_a_second_operator_and_is_sent_there_again() -> Result<()> {
    let (there, leaf) = World::with_mutual_tls("external-there", Setup::default()).await?;
    let mut here = World::new("external-here", Setup::default()).await?;
    let token = there.bootstrap_token().to_owned();
    let theirs = [
        offerable_secret("their-token", &[("token", &token)]),
        config_map("their-ca", "ca.crt", there.pki.server_ca.pem()),
        profile(
            PROFILE,
            &json!({
                "servedBy": "External",
                "endpoint": there.tap.url("wss"),
                "heartbeatIntervalSeconds": 5,
                "headers": [{
                    "name": "Authorization",
                    "valueFrom": {"secretKeyRef": {"name": "their-token", "key": "token"}, "prefix": "Bearer "},
                }],
                "clientCertificate": {"source": "None"},
                "tls": {"caBundleRef": {"name": "their-ca"}},
            }),
        ),
    ];
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
    let state = here.state();
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
    let agent = state.agent(&uid);
    ensure!(
        agent["status"]["settings"]["state"] == "Departed",
        "{agent}"
    );

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
