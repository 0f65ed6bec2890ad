//! A profile that cannot work says why and how to help it; nobody else notices.

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::manifests::{CLIENT_TLS, config_map, mutual_tls, offerable_tls, profile};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::{PROFILE, SOON, Setup};
use serde_json::{Value, json};

use crate::steps::{exchanges, greeted, nobody_was_refused, offers, shows_leaf};

/// A profile for the supervisor of this name, with a Secret of its own.
fn profile_for(agent: &str, secret: &str) -> Value {
    let mut opamp = mutual_tls();
    opamp["clientCertificate"]["secretRef"]["name"] = json!(secret);
    let mut object = profile(agent, &opamp);
    object["spec"]["agentSelector"]["matchAttributes"] = json!({"e2e.agent": agent});
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_profile_beside_a_good_one_harms_nobody() -> Result<()> {
    let mut world = ClusterWorld::new("beside", Setup::default()).await?;
    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    world.api.apply(&profile_for("a1", CLIENT_TLS)).await?;
    world.api.apply(&profile_for("a2", "missing-tls")).await?;
    world.start_operator().await?;
    let (good, other) = (world.supervisor("a1").await?, world.supervisor("a2").await?);

    let refs = world
        .api
        .wait_for_condition("a2", "ResolvedRefs", "False", "SecretNotFound", SOON);
    let message = refs.await?.message;
    let help = format!("kubectl get secret -n {}", world.api.namespace());
    for part in ["`missing-tls`", &help] {
        ensure!(message.contains(part), "{message}");
    }
    let ready = world
        .api
        .wait_for_condition("a2", "Ready", "False", "SecretNotFound", SOON);
    let message = ready.await?.message;
    ensure!(message.contains("nothing is offered"), "{message}");
    shows_leaf(&world, &good, &leaf).await?;
    let ready = world
        .api
        .wait_for_condition("a1", "Ready", "True", "Complete", SOON);
    ready.await?;
    greeted(&world, &other).await?;
    exchanges(&world, &other, 1).await?;
    ensure!(offers(&world, &other).is_empty(), "offered all the same");

    // The good one goes on, and the broken one heals by itself.
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, month)?;
    world
        .api
        .apply(&offerable_tls(CLIENT_TLS, &renewed))
        .await?;
    shows_leaf(&world, &good, &renewed).await?;
    let late = world.client_leaf("late", KeyKind::EcdsaP256, month)?;
    world
        .api
        .apply(&offerable_tls("missing-tls", &late))
        .await?;
    shows_leaf(&world, &other, &late).await?;
    let ready = world
        .api
        .wait_for_condition("a2", "Ready", "True", "Complete", SOON);
    ready.await?;
    ensure!(offers(&world, &good).len() == 2 && offers(&world, &other).len() == 1);
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_with_the_command_that_gives_it() -> Result<()> {
    let mut world = ClusterWorld::watching("rbac", Setup::default(), &["tenant"]).await?;
    let tenant = world.api.within(&world.namespace("tenant"));
    // Somebody lets it read no Secrets of this namespace but those that he names.
    let name = "opamp-operator-profiles";
    let role = tenant.get("Role", name).await?.context("no Role")?;
    let mut rules = role["rules"].as_array().context("no rules")?.clone();
    for rule in &mut rules {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|resource| resource != "secrets");
        }
    }
    tenant.merge("Role", name, &json!({"rules": rules})).await?;

    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    tenant.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    tenant
        .apply(&config_map(
            "server-ca",
            "ca.crt",
            world.pki.server_ca.pem(),
        ))
        .await?;
    tenant.apply(&profile(PROFILE, &mutual_tls())).await?;
    world.start_operator().await?;

    let forbidden = tenant.wait_for_condition(PROFILE, "ResolvedRefs", "False", "Forbidden", SOON);
    let forbidden = forbidden.await?;
    let message = forbidden.message;
    ensure!(message.contains(CLIENT_TLS), "{message}");
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let commands = quoted
        .iter()
        .filter(|text| text.starts_with("kubectl create "));
    let commands: Vec<&&str> = commands.collect();
    ensure!(commands.len() == 2, "{message}");
    ensure!(commands[0].starts_with("kubectl create role "), "{message}");
    ensure!(commands[0].contains(&format!("--resource-name={CLIENT_TLS}")));
    ensure!(commands[1].starts_with("kubectl create rolebinding "));

    // They do what they say, as they are.
    for command in commands {
        world.kubectl.shell(command).await?;
    }
    for (kind, reason) in [("ResolvedRefs", "Resolved"), ("Ready", "NoAgents")] {
        let healed = tenant.wait_for_condition(PROFILE, kind, "True", reason, SOON);
        healed.await?;
    }
    world.finish().await
}
