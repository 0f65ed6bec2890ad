//! E11: hand-broken Secrets and profiles: nothing leaves, the condition says
//! why and what helps, agents keep what they have.

use anyhow::{Context as _, Result, ensure};
use e2e::broken::{Case, cases};
use e2e::cluster::ClusterWorld;
use e2e::manifests::{CLIENT_TLS, config_map, mutual_tls, offerable_tls};
use e2e::pki::{Ca, DAY, KeyKind, Window};
use e2e::scene::{PROFILE, SOON, Setup};
use serde_json::{Value, json};

use crate::steps::{is_left_alone, nobody_was_refused, offers, ready, shows_leaf};

/// With this type the API server lets also those Secrets pass that lack a key.
const TYPE: &str = "Opaque";

/// Waits until the profile says of the Secret what it should.
async fn judged(world: &ClusterWorld, case: &Case) -> Result<()> {
    let what = format!("the profile says what is wrong with {}", case.what);
    let told = |status: &Value| case.is_told_by(status).then_some(());
    world.api.wait_for_status(&what, PROFILE, SOON, told).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_broken_secret_never_leaves() -> Result<()> {
    let mut world = ClusterWorld::new("e11", Setup::default()).await?;
    let month = Window::lasting(30 * DAY);
    let good = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    let mut secret = offerable_tls(CLIENT_TLS, &good);
    secret["type"] = json!(TYPE);
    world.api.apply(&secret).await?;
    world.publish_profile(&mutual_tls()).await?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &good).await?;
    ready(&world, 1, 1).await?;

    for case in cases(&mut world, &good, TYPE)? {
        world
            .timeline
            .note("test", format!("Secret with {}", case.what));
        match &case.secret {
            Some(secret) => world.api.apply(secret).await.map(drop)?,
            None => world.api.delete("Secret", CLIENT_TLS).await?,
        }
        judged(&world, &case).await?;
        let alone = is_left_alone(&world, &uid, &good, 1).await;
        alone.with_context(|| format!("Secret with {}", case.what))?;
        let status = world.api.status(PROFILE).await?;
        ensure!(status["revision"]["number"] == 1, "{status}");
    }
    ready(&world, 1, 1).await?;
    let events = world.api.list("Event").await?.to_string();
    for reason in [
        "KeyMismatch",
        "Expired",
        "SecretNotOptedIn",
        "SecretNotFound",
    ] {
        ensure!(events.contains(reason), "no event {reason}: {events}");
    }

    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, month)?;
    let mut secret = offerable_tls(CLIENT_TLS, &renewed);
    secret["type"] = json!(TYPE);
    world.api.apply(&secret).await?;
    shows_leaf(&world, &uid, &renewed).await?;
    ready(&world, 2, 1).await?;
    ensure!(offers(&world, &uid).len() == 2);
    nobody_was_refused(&world)?;
    world.finish().await
}

/// A change that breaks the profile, and what must be said of it.
struct Change {
    endpoint: Option<&'static str>,
    bundle: Option<Value>,
    condition: &'static str,
    reason: &'static str,
    names: &'static str,
}

fn changes() -> Result<Vec<Change>> {
    let endpoint = |endpoint, names| Change {
        endpoint: Some(endpoint),
        bundle: None,
        condition: "Accepted",
        reason: "WouldLockOut",
        names,
    };
    let bundle = |key: &str, text: &str, condition, reason, names| Change {
        endpoint: None,
        bundle: Some(config_map("server-ca", key, text)),
        condition,
        reason,
        names,
    };
    let stranger = Ca::new("somebody else's CA")?;
    let (accepted, resolved) = ("Accepted", "ResolvedRefs");
    let lock_out = "WouldLockOut";
    Ok(vec![
        endpoint("wss://elsewhere.test:4320/v1/opamp", "`elsewhere.test`"),
        endpoint("https://192.0.2.1/v1/opamp", "`192.0.2.1`"),
        bundle("ca.crt", stranger.pem(), accepted, lock_out, "caBundleRef"),
        bundle("ca.crt", "garbage", resolved, "InvalidPEM", "server-ca"),
        bundle("ca.pem", stranger.pem(), resolved, "KeyMissing", "ca.crt"),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_wrong_endpoint_or_bundle_never_leaves() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e11-profile", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;
    let good = config_map("server-ca", "ca.crt", world.pki.server_ca.pem());

    for change in changes()? {
        let mut opamp = mutual_tls();
        if let Some(endpoint) = change.endpoint {
            opamp["endpoint"] = json!(endpoint);
            world.publish_profile(&opamp).await?;
        }
        if let Some(bundle) = &change.bundle {
            world.api.apply(bundle).await?;
        }
        let (condition, reason) = (change.condition, change.reason);
        let why = world
            .api
            .wait_for_condition(PROFILE, condition, "False", reason, SOON);
        let said = why.await?.message;
        ensure!(said.contains(change.names), "{reason} says only {said:?}");
        is_left_alone(&world, &uid, &leaf, 1).await?;

        world.api.apply(&good).await?;
        world.publish_profile(&mutual_tls()).await?;
        ready(&world, 1, 1).await?;
        is_left_alone(&world, &uid, &leaf, 1).await?;
    }
    nobody_was_refused(&world)?;
    world.finish().await
}
