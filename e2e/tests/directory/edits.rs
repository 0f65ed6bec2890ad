//! Edits of profiles: whom settings are for and what they are change together,
//! and a profile that is renamed, or broken for a while, moves nobody.

use anyhow::{Result, ensure};
use e2e::manifests::{bearer, offerable_secret, profile};
use e2e::world::{PROFILE, SOON, Setup, World};
use serde_json::{Value, json};

use crate::steps::{applies_bearer, exchanges, greeted, nobody_was_refused, offers};

/// A profile for the agent of this name, with the token of a Secret.
fn for_agent(name: &str, secret: &str) -> Value {
    let mut profile = profile(PROFILE, &bearer(secret));
    profile["spec"]["agentSelector"] = json!({"matchAttributes": {"e2e.agent": name}});
    profile["spec"]["priority"] = json!(10);
    profile
}

/// The `Authorization` values that an agent was ever offered.
fn tokens(world: &World, uid: &str) -> Vec<String> {
    let all = offers(world, uid);
    let value = |offer: &e2e::tap::Offer| offer.header("Authorization").map(str::to_owned);
    all.iter().filter_map(value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_selector_and_secret_gives_nobody_what_was_the_others() -> Result<()> {
    let mut world = World::new("edit", Setup::default()).await?;
    let (first, second) = (world.token("token a")?, world.token("token b")?);
    for (name, token) in [("token-a", &first), ("token-b", &second)] {
        world
            .manifests
            .apply(&offerable_secret(name, &[("token", token)]))?;
    }
    world.manifests.apply(&for_agent("a1", "token-a"))?;
    world.start_operator().await?;
    let a1 = world.supervisor("a1").await?;
    let a2 = world.supervisor("a2").await?;
    applies_bearer(&world, &a1, &first).await?;
    greeted(&world, &a2).await?;

    world.manifests.apply(&for_agent("a2", "token-b"))?;
    applies_bearer(&world, &a2, &second).await?;
    exchanges(&world, &a1, 1).await?;
    ensure!(tokens(&world, &a1) == [format!("Bearer {first}")]);
    ensure!(tokens(&world, &a2) == [format!("Bearer {second}")]);

    // Selector of one, Secret that is broken: nothing changes for anybody.
    world.manifests.apply(&for_agent("a1", "token-missing"))?;
    world
        .state()
        .wait_for_condition(PROFILE, "Ready", "False", "SecretNotFound", SOON)
        .await?;
    for uid in [&a1, &a2] {
        exchanges(&world, uid, 1).await?;
        ensure!(tokens(&world, uid).len() == 1, "{:?}", offers(&world, uid));
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_is_broken_or_renamed_leaves_its_agents_where_they_are() -> Result<()> {
    let mut world = World::new("rename", Setup::default()).await?;
    let (own, others) = (world.token("own token")?, world.token("fallback token")?);
    for (name, token) in [("token-own", &own), ("token-fallback", &others)] {
        world
            .manifests
            .apply(&offerable_secret(name, &[("token", token)]))?;
    }
    world
        .manifests
        .apply(&profile("all", &bearer("token-fallback")))?;
    world.manifests.apply(&for_agent("a1", "token-own"))?;
    world.start_operator().await?;
    let a1 = world.supervisor("a1").await?;
    applies_bearer(&world, &a1, &own).await?;

    let mut broken = for_agent("a1", "token-own");
    broken["spec"]["opamp"]["endpoint"] = json!("not an address");
    world.manifests.apply(&broken)?;
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Accepted", "False", "InvalidSpec", SOON)
        .await?;
    exchanges(&world, &a1, 1).await?;
    ensure!(offers(&world, &a1).len() == 1, "{:?}", offers(&world, &a1));

    // The same under another name, in one step.
    let mut renamed = for_agent("a1", "token-own");
    renamed["metadata"]["name"] = json!("fleet-2");
    world.manifests.replace(PROFILE, &renamed)?;
    state
        .wait_for_condition("fleet-2", "ResolvedRefs", "True", "", SOON)
        .await?;
    exchanges(&world, &a1, 1).await?;
    ensure!(offers(&world, &a1).len() == 1, "{:?}", offers(&world, &a1));
    // Started again, it comes with its bootstrap token, and gets the same.
    world.supervisor_mut("a1")?.kill9()?;
    world.supervisor_mut("a1")?.start_again()?;
    applies_bearer(&world, &a1, &own).await?;
    let given = tokens(&world, &a1);
    ensure!(
        given == vec![format!("Bearer {own}"); 2],
        "another's token was offered"
    );
    nobody_was_refused(&world)?;
    world.finish().await
}
