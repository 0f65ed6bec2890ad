//! From the write into the API to the closed socket.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{config_map, secret};
use e2e::scene::{SOON, Setup};
use e2e::timeline::say;
use serde_json::json;
use uuid::Uuid;

use crate::accounts::{EDGE, connecting, example, pod, token};
use crate::probe::{Probe, Shown, bearing};

/// It takes a fraction of a second; a busy machine may be slower.
const LONGEST: Duration = Duration::from_secs(10);

/// Somebody who is connected and will be cut off.
struct Session {
    what: &'static str,
    token: String,
    probe: Probe,
}

impl Session {
    async fn open(world: &ClusterWorld, what: &'static str, token: String) -> Result<Self> {
        let mut probe = Probe::enter(world, &bearing(&token), &[]).await?;
        probe.gets_nothing().await?;
        Ok(Self { what, token, probe })
    }

    /// The socket closes, and whoever comes back with the same is refused.
    async fn ends(self, world: &ClusterWorld, written: Instant) -> Result<()> {
        let Self { what, token, probe } = self;
        let uid = probe.uid();
        let took = probe.closed(written, LONGEST).await?;
        let line = format!(
            "{what}: the socket is closed {} ms after the write",
            took.as_millis()
        );
        world.timeline.add("revocation", &line);
        say(&format!("revocation: {line}"));
        refused(world, &bearing(&token), uid).await
    }
}

/// 401, however often one asks: also while the API server still knows the token.
async fn refused(world: &ClusterWorld, shown: &Shown<'_>, uid: Uuid) -> Result<()> {
    for _ in 0..3 {
        let knocked = Probe::knock(world, shown, uid, &[]).await?;
        ensure!(knocked.err() == Some(401), "it was not refused with 401");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_what_is_revoked_closes_its_sockets_within_a_moment() -> Result<()> {
    let setup = Setup {
        authenticators: Some(json!([
            {"name": "cluster", "serviceAccount": {}},
            {"name": "bootstrap", "agentToken": {"secretName": "bootstrap-token"}},
            {"name": "second", "agentToken": {"secretName": "second-token"}},
        ])),
        configuration: json!({"denyList": {"name": "revoked"}}),
        ..Setup::default()
    };
    let mut world = ClusterWorld::new("revoke", setup).await?;
    let api = world.api.clone();
    example(&world, &api).await?;
    for name in ["denied", "stays"] {
        connecting(&api, name).await?;
    }
    let second = world.token("second token")?;
    api.apply(&secret("second-token", &[("token", &second)]))
        .await?;
    world.start_operator().await?;

    let bound = pod(&mut world, &api, EDGE, "edge-0").await?;
    let free = token(&mut world, &api, EDGE).await?;
    let denied = token(&mut world, &api, "denied").await?;
    let stays = token(&mut world, &api, "stays").await?;
    let first = world.bootstrap_token().to_owned();
    let by_pod = Session::open(&world, "Pod deleted", bound.clone()).await?;
    let by_account = Session::open(&world, "ServiceAccount deleted", free).await?;
    let by_secret = Session::open(&world, "`revoked` in the token's Secret", first.clone()).await?;
    let by_list = Session::open(&world, "identity on the deny list", denied).await?;
    let by_uid = Session::open(&world, "instance UID on the deny list", second).await?;
    let mut other = Probe::enter(&world, &bearing(&stays), &[]).await?;
    other.gets_nothing().await?;

    // A Pod that is being deleted is still there.
    let finalizer = json!({"metadata": {"finalizers": ["e2e.example.com/wait"]}});
    api.merge("Pod", "edge-0", &finalizer).await?;
    api.delete_pod("edge-0").await?;
    let mut by_pod = by_pod;
    by_pod.probe.gets_nothing().await?;
    let written = Instant::now();
    let finalizer = json!({"metadata": {"finalizers": null}});
    api.merge("Pod", "edge-0", &finalizer).await?;
    by_pod.ends(&world, written).await?;

    let written = Instant::now();
    let entries = [("token", &*first), ("revoked", &*first)];
    api.apply(&secret("bootstrap-token", &entries)).await?;
    by_secret.ends(&world, written).await?;

    let written = Instant::now();
    api.apply(&config_map("revoked", "identities", "cluster/denied"))
        .await?;
    by_list.ends(&world, written).await?;

    let uid = by_uid.probe.uid().to_string();
    let written = Instant::now();
    api.apply(&config_map("revoked", "instanceUIDs", &uid))
        .await?;
    let took = by_uid.probe.closed(written, LONGEST).await?;
    let line = format!(
        "{}: the socket is closed {} ms after the write",
        by_uid.what,
        took.as_millis()
    );
    world.timeline.add("revocation", &line);
    say(&format!("revocation: {line}"));
    // The token is good under another one; this one is nobody's any more.
    let knocked = Probe::knock(&world, &bearing(&by_uid.token), uid.parse()?, &[]).await?;
    let mut again = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    again.is_denied("revoked").await?;

    let written = Instant::now();
    api.delete("ServiceAccount", EDGE).await?;
    by_account.ends(&world, written).await?;

    // Its successor of the same name is somebody else, to whom nothing is owed.
    connecting(&api, EDGE).await?;
    let knocked = Probe::knock(&world, &bearing(&bound), Uuid::now_v7(), &[]).await?;
    ensure!(knocked.err() == Some(401), "an old token of a new account");
    other.gets_nothing().await?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_who_may_not_connect_any_more_is_cut_off_by_the_next_review() -> Result<()> {
    let setup = Setup {
        authenticators: Some(crate::accounts::by_account()),
        configuration: json!({"reviewSeconds": 1}),
        ..Setup::default()
    };
    let mut world = ClusterWorld::new("review", setup).await?;
    let api = world.api.clone();
    example(&world, &api).await?;
    world.start_operator().await?;
    let free = token(&mut world, &api, EDGE).await?;
    let session = Session::open(&world, "`connect` withdrawn, reviewed every second", free).await?;
    let written = Instant::now();
    api.delete("RoleBinding", "opamp-agents").await?;
    session.ends(&world, written).await?;
    // And is let in again once it may: no refusal is kept for long.
    example(&world, &api).await?;
    let again = token(&mut world, &api, EDGE).await?;
    eventually_async("it is let in again", SOON, || async {
        match Probe::knock(&world, &bearing(&again), Uuid::now_v7(), &[]).await {
            Ok(Ok(_)) => Look::Done(()),
            Ok(Err(status)) => Look::NotYet(status.to_string()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_what_authenticators_held_outlives_the_process() -> Result<()> {
    let mut world = ClusterWorld::new("held", Setup::default()).await?;
    let api = world.api.clone();
    world.start_operator().await?;
    let first = world.bootstrap_token().to_owned();
    let mut agent = Probe::enter(&world, &bearing(&first), &[]).await?;
    agent.gets_nothing().await?;
    let uid = agent.uid();
    let next = world.token("next token")?;
    api.apply(&secret("bootstrap-token", &[("token", &next)]))
        .await?;
    eventually_async("it is written what has left", SOON, || async {
        let held = api.get("ConfigMap", "opamp-operator-held").await;
        let held = held.ok().flatten().unwrap_or_default();
        let text = held["data"]["held.json"].as_str().unwrap_or_default();
        Look::when(text.contains("\"left\""), text)
    })
    .await?;
    world.kill_operator()?;
    world.start_operator_again().await?;

    // Whoever came by the old token comes back with it, and nobody else does.
    let knocked = Probe::knock(&world, &bearing(&first), uid, &[]).await?;
    let mut back = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    back.gets_nothing().await?;
    let mut stranger = Probe::enter(&world, &bearing(&first), &[]).await?;
    stranger.is_denied("no new agent").await?;
    Probe::enter(&world, &bearing(&next), &[]).await?;
    world.finish().await
}
