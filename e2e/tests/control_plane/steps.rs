//! What several tests of this tier do and look for: the wire, and what the API
//! says of it.

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::pki::Leaf;
use e2e::scene::{OFFER, PROFILE, SOON};
pub(crate) use e2e::steps::{
    OFFERS_CONNECTION_SETTINGS, exchanges, greeted, is_offered_once_after_a_restart,
    is_offered_to_somebody, no_offer_of_what_was_shown, nobody_was_refused, offers, shows_leaf,
    stays_unoffered,
};
use serde_json::{Value, json};

/// Waits until the standard profile is Ready at this revision and so many agents
/// proved it by the strongest evidence.
pub(crate) async fn ready(world: &ClusterWorld, revision: u64, agents: u64) -> Result<()> {
    let what = format!("{agents} agents run revision {revision}");
    let proved = |status: &Value| {
        let (counts, conditions) = (&status["agents"], &status["conditions"]);
        let all = conditions.as_array()?.iter();
        let mut holding = all.filter(|one| one["type"] == "Ready" && one["status"] == "True");
        let right = holding.next().is_some()
            && status["revision"]["number"] == revision
            && counts["upToDate"] == agents
            && counts["evidence"]["settingsHeader"] == agents;
        right.then_some(())
    };
    world
        .api
        .wait_for_status(&what, PROFILE, OFFER, proved)
        .await
}

/// Every agent comes back with the certificate, and the profile says so.
pub(crate) async fn everyone_runs(
    world: &ClusterWorld,
    agents: &[String],
    leaf: &Leaf,
    revision: u64,
) -> Result<()> {
    for uid in agents {
        shows_leaf(world, uid, leaf).await?;
    }
    ready(world, revision, u64::try_from(agents.len())?).await
}

/// What an agent runs was left alone: one more answer on the same link, with
/// the certificate that it had, and no more offers than before.
pub(crate) async fn is_left_alone(
    world: &ClusterWorld,
    uid: &str,
    leaf: &Leaf,
    offered: usize,
) -> Result<()> {
    let link = exchanges(world, uid, 1).await?;
    ensure!(link.certificate.as_deref() == Some(leaf.fingerprint()));
    let count = offers(world, uid).len();
    ensure!(count == offered, "{count} offers instead of {offered}");
    Ok(())
}

/// Waits until the operator has judged the profile with this version of an
/// object.  What changes nothing leaves no trace by itself, so the profile's
/// priority, which no agent is told, is changed to have it judged anew.
pub(crate) async fn has_read(world: &ClusterWorld, object: &Value) -> Result<()> {
    let metadata = &object["metadata"];
    let (name, version) = (&metadata["name"], &metadata["resourceVersion"]);
    let what = format!("the operator has read version {version} of {name}");
    let mut priority = 0;
    eventually_async(&what, SOON, || {
        priority += 1;
        let change = json!({"spec": {"priority": priority}});
        async move {
            let judged = judged_with(world, &change, name, version).await;
            judged.unwrap_or_else(|error| Look::NotYet(format!("{error:#}")))
        }
    })
    .await
}

async fn judged_with(
    world: &ClusterWorld,
    change: &Value,
    name: &Value,
    version: &Value,
) -> Result<Look<()>> {
    let kind = "OpAMPConnectionProfile";
    let changed = world.api.merge(kind, PROFILE, change).await?;
    let generation = &changed["metadata"]["generation"];
    let what = format!("generation {generation} is judged");
    let status = world
        .api
        .wait_for_status(&what, PROFILE, SOON, |status| {
            (status["observedGeneration"] == *generation).then(|| status.clone())
        })
        .await?;
    let all = status["references"].as_array().into_iter().flatten();
    let mut all = all.filter(|one| one["name"] == *name);
    let read = all.any(|one| one["resourceVersion"] == *version);
    Ok(Look::when(read, &status["references"]))
}
