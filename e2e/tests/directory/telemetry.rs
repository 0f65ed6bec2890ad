//! Own telemetry: the real supervisor gives it to its collector, and a receiver
//! gets it.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{mutual_tls, profile};
use e2e::receiver::Receiver;
use e2e::supervisor::Options;
use e2e::world::{PROFILE, SOON, Setup, World};
use serde_json::{Value, json};

use crate::steps::{applies_leaf, exchanges, nobody_was_refused, offers};

/// A collector is started anew, and its log is exported every second.
const RESTART: Duration = Duration::from_secs(90);

fn with_telemetry(receiver: &Receiver, metrics: &str) -> Value {
    let to = |path: &str, team: &str| {
        json!({
            "endpoint": receiver.url(path),
            "headers": [{"name": "X-Team", "value": team}],
        })
    };
    let mut profile = profile(PROFILE, &mutual_tls());
    profile["spec"]["ownTelemetry"] = json!({
        "metrics": to(metrics, "blue: metrics"),
        "logs": to("/v1/logs", "blue, 'logs' # and more"),
    });
    profile
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h28_a_supervisor_restarts_its_collector_with_its_own_telemetry() -> Result<()> {
    let mut receiver = Receiver::start(None).await?;
    let (mut world, leaf) = World::with_mutual_tls("telemetry", Setup::default()).await?;
    let reports = Options {
        own_telemetry: true,
        ..world.supervisor_options("reports")
    };
    let uid = world.supervisor_with("reports", &reports).await?;
    let silent = world.supervisor("silent").await?;
    applies_leaf(&world, &uid, &leaf).await?;
    applies_leaf(&world, &silent, &leaf).await?;
    let state = world.state();
    let ready = ("Ready", "True");
    state
        .wait_for_condition(PROFILE, ready.0, ready.1, "", SOON)
        .await?;
    let before = state.profile(PROFILE)["revision"].clone();
    let offered = offers(&world, &uid).len();

    // The collector sends its log to where the profile says, with the headers.
    let manifest = with_telemetry(&receiver, "/v1/metrics");
    world.manifests.apply(&manifest)?;
    let head = receiver.got("/v1/logs", RESTART).await?;
    ensure!(head.contains("x-team: blue, 'logs' # and more"), "{head}");
    let head = receiver.got("/v1/metrics", RESTART).await?;
    ensure!(head.contains("x-team: blue: metrics"), "{head}");
    let folder = world.folder().join("supervisors/reports/storage");
    let effective = || std::fs::read_to_string(folder.join("effective.yaml")).unwrap_or_default();
    let told = |path: &str| receiver.url(path);
    let config = effective();
    ensure!(config.contains(&told("/v1/metrics")), "{config}");
    ensure!(config.contains("blue: metrics"), "{config}");
    let first = state.agent(&uid)["status"]["told"].clone();
    let link = exchanges(&world, &uid, 1).await?;
    let all = offers(&world, &uid);
    ensure!(all.len() == offered + 1, "told once: {all:?}");
    ensure!(all.last().is_some_and(|offer| !offer.opamp), "{all:?}");

    // A change alone: told again, on the same connection, and no new revision.
    let manifest = with_telemetry(&receiver, "/v2/metrics");
    world.manifests.apply(&manifest)?;
    eventually("the collector has the new endpoint", RESTART, || {
        let config = effective();
        let has = config.contains(&told("/v2/metrics")) && !config.contains("/v1/metrics");
        Look::when(has, config)
    })
    .await?;
    let same = exchanges(&world, &uid, 1).await?;
    ensure!(same.id == link.id, "it made another connection");
    ensure!(offers(&world, &uid).len() == offered + 2);
    let after = state.profile(PROFILE)["revision"].clone();
    ensure!(after == before, "{before} {after}");
    ensure!(
        offers(&world, &silent).len() == 1,
        "it reports nothing of its own"
    );

    // A restart of the operator tells nothing again (law 8).
    let stored = |told: &Value| {
        let now = &state.agent(&uid)["status"]["told"];
        Look::some((now != told && now.is_string()).then(|| now.clone()), now)
    };
    eventually("the record says so", SOON, || stored(&first)).await?;
    world.kill_operator()?;
    world.start_operator_again().await?;
    let back = |record: &e2e::tap::Record| {
        let newest = record.of(&uid).pop();
        let newest = newest.filter(|newest| newest.id != same.id && newest.open);
        Look::some(newest, "no new connection")
    };
    let what = "the supervisor is back";
    world.tap.record().wait(what, RESTART, back).await?;
    exchanges(&world, &uid, 2).await?;
    ensure!(offers(&world, &uid).len() == offered + 2);
    nobody_was_refused(&world)?;
    world.finish().await
}
