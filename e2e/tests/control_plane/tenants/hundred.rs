//! As many profiles on one agent as nobody would write.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::cluster::api::Api;
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::Setup;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::party::{KIND, OTHER_TLS, Party, profile_of, shown};
use crate::accounts::by_account;
use crate::steps::{greeted, is_left_alone, nobody_was_refused, offers};

/// Profiles that select one agent.
const MANY: i32 = 100;

/// The best is written neither first nor last.
fn priority(number: i32) -> i32 {
    (number * 37) % MANY
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_profiles_at_once_give_an_agent_the_best() -> Result<()> {
    let setup = Setup {
        authenticators: Some(by_account()),
        ..Setup::default()
    };
    let mut world = ClusterWorld::watching("hundred", setup, &["tenant-a"]).await?;
    let api = world.api.within(&world.namespace("tenant-a"));
    let mut a = Party::new(&mut world, api.clone(), "alpha").await?;
    let month = Window::lasting(30 * DAY);
    let best = world.client_leaf("best", KeyKind::EcdsaP256, month)?;
    api.apply(&offerable_tls(OTHER_TLS, &best)).await?;
    world.start_operator().await?;
    a.connects(&mut world).await?;
    greeted(&world, &a.uid).await?;

    let name = |number: i32| format!("p{number:02}");
    let profiles: Vec<Value> = (0..MANY)
        .map(|number| {
            let wins = priority(number) == MANY - 1;
            let secret = if wins { OTHER_TLS } else { CLIENT_TLS };
            profile_of(&name(number), json!({}), priority(number), secret)
        })
        .collect();
    let mut ranking: Vec<i32> = (0..MANY).collect();
    ranking.sort_by_key(|number| -priority(*number));
    let winner = name(ranking[0]);
    let begin = Instant::now();
    try_join_all(profiles.iter().map(|object| api.apply(object))).await?;
    let applied = begin.elapsed();
    a.runs(&world, &api, &winner, &best).await?;
    println!(
        "{MANY} profiles applied in {applied:?}; the best runs after {:?}",
        begin.elapsed()
    );

    let wins = ("Overlapping", "True", "TakesPrecedence");
    let one = [("matched", 1), ("upToDate", 1), ("overridden", 0)];
    let said = a.says(&winner, wins, &one).await?;
    ensure!(said.contains("99 profiles, among them"), "{said}");
    a.says(&winner, ("Ready", "True", "Complete"), &one).await?;
    let loses = ("Overlapping", "True", "Overridden");
    let none = [("matched", 0), ("overridden", 1)];
    for number in &ranking[1..] {
        let said = a.says(&name(*number), loses, &none).await?;
        ensure!(said.contains(&format!("/{winner}` (1 agent)")), "{said}");
        a.says(&name(*number), ("Ready", "True", "NoAgents"), &none)
            .await?;
    }
    let agent = api.get("OpAMPAgent", &a.uid).await?.context("no agent")?;
    let named = agent["status"]["overridden"].as_array().context("none")?;
    let named: Vec<_> = named.iter().map(|one| one["name"].clone()).collect();
    let next: Vec<_> = ranking[1..].iter().map(|it| json!(name(*it))).collect();
    ensure!(named == next, "{named:?}");

    // One offer of the best. Whichever was there first may have come before it.
    let given = offers(&world, &a.uid);
    let of_best = given
        .iter()
        .filter(|offer| offer.leaf() == Some(best.fingerprint()));
    let of_best = of_best.count();
    println!("{} offers, {of_best} of them of the best", given.len());
    ensure!(of_best == 1 && given.len() <= 2, "{given:?}");
    let events = api.list("Event").await?;
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for event in events["items"].as_array().into_iter().flatten() {
        let reason = event["reason"].as_str().unwrap_or_default().to_owned();
        *told.entry(reason).or_default() += event["series"]["count"].as_u64().unwrap_or(1);
    }
    println!("events: {told:?}");
    let created = told.remove("RevisionCreated");
    ensure!(created == Some(MANY.unsigned_abs().into()), "{created:?}");
    // Each that came while better ones were still unread took the agent over.
    ensure!(told.values().sum::<u64>() <= 20, "{told:?}");

    // And then nothing more, neither to the agent nor into the API.
    let before = versions(&api).await?;
    is_left_alone(&world, &a.uid, &best, given.len()).await?;
    is_left_alone(&world, &a.uid, &best, given.len()).await?;
    ensure!(
        before == versions(&api).await?,
        "statuses are written without need"
    );
    println!(
        "{}",
        shown(&world, "a hundred profiles on one agent").await?
    );
    nobody_was_refused(&world)?;
    world.finish().await
}

/// In which version each profile is stored.
async fn versions(api: &Api) -> Result<BTreeMap<String, Value>> {
    let list = api.list(KIND).await?;
    let all = list["items"].as_array().into_iter().flatten();
    let version = |object: &Value| {
        let metadata = &object["metadata"];
        (
            metadata["name"].to_string(),
            metadata["resourceVersion"].clone(),
        )
    };
    Ok(all.map(version).collect())
}
