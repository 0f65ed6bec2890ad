//! Sections beside `opamp`, and the way to another server, as people write them
//! into the API.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::go_server::GoServer;
use e2e::manifests::{bearer, config_map, mutual_tls, offerable_secret, profile};
use e2e::pki::{Ca, DAY, Window};
use e2e::receiver::Receiver;
use e2e::scene::{OFFER, PROFILE, Setup};
use e2e::supervisor::Options;
use serde_json::{Value, json};

use crate::steps::{nobody_was_refused, offers, ready, shows_leaf};

/// A collector is started anew, and exports what it measures every ten seconds.
const RESTART: Duration = Duration::from_secs(90);

/// Who is away counts as departed after two minutes.
const DEPARTED: Duration = Duration::from_secs(240);

const THEIR_TOKEN: &str = "their-token";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_follows_its_telemetry_and_then_leaves_for_a_server_of_opamp_go() -> Result<()>
{
    let setup = Setup {
        first_agent: DEPARTED * 2,
        ..Setup::default()
    };
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("telemetry", setup).await?;
    let receiving = world.pki.server_ca.server(Window::lasting(DAY))?;
    world.keeps_secret("key of the receiver's certificate", &receiving.key);
    let mut receiver = Receiver::start(Some(&receiving)).await?;
    let authority = Ca::new("CA of the other server")?;
    let serving = authority.server(Window::lasting(DAY))?;
    world.keeps_secret("key of the other server", &serving.key);
    let token = world.token("token of the other server")?;
    let there = GoServer::start(&world, &serving, &format!("Bearer {token}")).await?;
    let options = Options {
        own_telemetry: true,
        ..world.supervisor_options("a1")
    };
    let uid = world.supervisor_with("a1", &options).await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;

    // What the Secret holds comes to the receiver, and what follows it too.
    for key in ["first key of the receiver", "second key of the receiver"] {
        let (path, value) = (format!("/{}/v1/metrics", key.len()), world.token(key)?);
        let secret = offerable_secret("telemetry", &[("key", &value)]);
        world.api.apply(&secret).await?;
        let manifest = serde_saphyr::to_string(&measured(&receiver.url(&path)))?;
        world.kubectl(&["apply", "-f", "-"], &manifest).await?;
        let head = receiver.got(&path, RESTART).await?;
        let shown = format!("x-receiver-key: {}", value.to_ascii_lowercase());
        ensure!(head.contains(&shown), "not with the {key}");
    }
    let all = offers(&world, &uid);
    ensure!(all.iter().filter(|offer| offer.opamp).count() == 1);
    // The revision is that of the `opamp` section, which is as it was.
    ready(&world, 1, 1).await?;

    let trust = config_map("their-ca", "ca.crt", authority.pem());
    let secret = offerable_secret(THEIR_TOKEN, &[("token", &token)]);
    world.api.apply(&trust).await?;
    world.api.apply(&secret).await?;
    world.publish_profile(&elsewhere(there.url())).await?;
    let visit = there.visit(&uid, 1, OFFER).await?;
    ensure!(visit.authorized, "{visit:?}");
    let departed = |status: &Value| {
        let agents = &status["agents"];
        let right = agents["departed"] == 1 && agents["upToDate"] == 0 && agents["lost"] == 0;
        right.then_some(())
    };
    let what = "the profile counts who departed";
    let api = &world.api;
    api.wait_for_status(what, PROFILE, DEPARTED, departed)
        .await?;
    let listed = world.kubectl(&["get", "opamp"], "").await?;
    let line = listed.lines().find(|line| line.contains(&uid));
    ensure!(
        line.is_some_and(|line| line.contains("Departed")),
        "{listed}"
    );
    println!("{listed}");
    nobody_was_refused(&world)?;
    there.stop().await?;
    world.finish().await
}

/// The standard profile, with metrics to this URL.
fn measured(url: &str) -> Value {
    let mut profile = profile(PROFILE, &mutual_tls());
    let key = json!({"secretKeyRef": {"name": "telemetry", "key": "key"}});
    let headers = json!([{"name": "X-Receiver-Key", "valueFrom": key}]);
    profile["spec"]["ownTelemetry"] = json!({
        "metrics": {"endpoint": url, "headers": headers, "tls": {"systemCAs": "Include"}},
    });
    profile
}

/// `spec.opamp` of who sends everybody to another server.
fn elsewhere(url: &str) -> Value {
    let mut opamp = bearer(THEIR_TOKEN);
    opamp["servedBy"] = json!("External");
    opamp["endpoint"] = json!(url);
    opamp["tls"] = json!({"caBundleRef": {"name": "their-ca"}});
    opamp
}
