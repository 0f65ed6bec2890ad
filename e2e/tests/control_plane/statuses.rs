//! What the API says of profiles: to people, to tools that wait, and no more
//! often than they can read it.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{ClusterWorld, random_suffix, shared};
use e2e::eventually::{Look, eventually, eventually_async};
use e2e::manifests::{CLIENT_TLS, mutual_tls, offerable_tls, profile};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::{OFFER, PROFILE, SOON, Setup};
use serde_json::{Value, json};

use crate::steps::{nobody_was_refused, shows_leaf, stays_unoffered};

const KIND: &str = "OpAMPConnectionProfile";

/// A child that ends with the test.
pub(crate) struct Watch(std::process::Child);

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes down every version of a profile that a watch tells.
pub(crate) fn watch(world: &ClusterWorld, file: &std::path::Path) -> Result<Watch> {
    let namespace = world.api.namespace();
    let arguments = [
        "get", "opcp", PROFILE, "-n", namespace, "--watch", "-o", "json",
    ];
    let mut command = world.kubectl.command(&arguments);
    let command = command
        .arg("--output-watch-events")
        .stdout(File::create(file)?);
    command.spawn().map(Watch).context("kubectl cannot be run")
}

/// The versions so far; the last line may be half written.
pub(crate) fn versions(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let all = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    all.map_while(Result::ok)
        .map(|event| event["object"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_a_profile_that_changes_all_the_time_is_written_once_a_second() -> Result<()> {
    let setup = Setup {
        debounce: Duration::from_millis(100),
        ..Setup::default()
    };
    let (world, _) = ClusterWorld::with_mutual_tls("churn", setup).await?;
    let ready = world
        .api
        .wait_for_condition(PROFILE, "Ready", "True", "NoAgents", SOON);
    ready.await?;
    let file = world.folder().join("watch.json");
    let watch = watch(&world, &file)?;
    let watches = || Look::when(!versions(&file).is_empty(), "nothing");
    eventually("the watch begins", SOON, watches).await?;

    let begin = Instant::now();
    let mut edits = 0;
    while begin.elapsed() < Duration::from_secs(6) {
        edits += 1;
        let change = json!({"spec": {"priority": edits}});
        world.api.merge(KIND, PROFILE, &change).await?;
    }
    let seen = |last: &Value| {
        let generation = &last["metadata"]["generation"];
        let current = last["spec"]["priority"] == edits;
        current && last["status"]["observedGeneration"] == *generation
    };
    let all = eventually("the last edit is observed", SOON, || {
        let all = versions(&file);
        let last = all.last().cloned().unwrap_or_default();
        Look::some(seen(&last).then_some(all), &last["status"])
    });
    let all = all.await?;
    let took = begin.elapsed();
    drop(watch);
    let mut writes = 0;
    for pair in all.windows(2) {
        writes += u64::from(pair[0]["status"] != pair[1]["status"]);
        // The status never runs ahead of the spec that is there.
        let (of, now) = (
            &pair[1]["status"]["observedGeneration"],
            &pair[1]["metadata"]["generation"],
        );
        ensure!(of.as_i64() <= now.as_i64(), "{}", pair[1]);
    }
    println!("{edits} edits in {took:?}: {writes} writes of the status");
    ensure!(edits >= 2 * took.as_secs(), "only {edits} edits");
    ensure!(writes >= 2, "nothing was written while it changed");
    ensure!(writes <= took.as_secs() + 2, "{writes} writes in {took:?}");
    world.finish().await
}

/// Events of the namespace: object and reason, note, and how often.
pub(crate) async fn told(world: &ClusterWorld) -> Result<BTreeSet<(String, String, u64)>> {
    let list = world.api.list("Event").await?;
    let all = list["items"].as_array().into_iter().flatten();
    let told = all.map(|event| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = text(&event["regarding"]["name"]);
        let what = format!("{about} {}", text(&event["reason"]));
        let count = event["series"]["count"].as_u64().unwrap_or(1);
        (what, text(&event["note"]), count)
    });
    Ok(told.collect())
}

/// A profile for the supervisor `a1` alone, above the one for everyone.
fn special() -> Value {
    let mut opamp = mutual_tls();
    opamp["heartbeatIntervalSeconds"] = json!(4);
    let mut object = profile("special", &opamp);
    object["spec"]["agentSelector"]["matchAttributes"] = json!({"e2e.agent": "a1"});
    object["spec"]["priority"] = json!(10);
    object
}

/// Waits for the condition of a profile that names the other one.
async fn overlaps(world: &ClusterWorld, name: &str, reason: &str, other: &str) -> Result<()> {
    let api = &world.api;
    let said = api.wait_for_condition(name, "Overlapping", "True", reason, SOON);
    let message = said.await?.message;
    let named = format!("`{}/{other}` (1 agent)", api.namespace());
    ensure!(message.contains(&named), "{message}");
    Ok(())
}

async fn waits_for_ready(world: &ClusterWorld, which: &[&str]) -> Result<()> {
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s"];
    world.kubectl(&[&wait, which].concat(), "").await.map(drop)
}

/// The conditions of both profiles.
async fn conditions(world: &ClusterWorld) -> Result<[Value; 2]> {
    let mut both = [
        world.api.status("everyone").await?,
        world.api.status("special").await?,
    ];
    Ok([both[0]["conditions"].take(), both[1]["conditions"].take()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_profiles_that_overlap_say_so_and_a_restart_tells_nothing_again() -> Result<()> {
    // What a tenant offered lets an agent have whatever that tenant offers.
    let setup = Setup {
        configuration: json!({"adminNamespaces": []}),
        ..Setup::default()
    };
    let mut world = ClusterWorld::new("overlap", setup).await?;
    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    let fresh = profile("everyone", &mutual_tls());
    let fresh = world.api.apply(&fresh).await?["status"].take();
    // Tools that wait by kstatus must not take it for done.
    ensure!(fresh == json!({"observedGeneration": -1}), "{fresh}");
    world.start_operator().await?;
    // Without any agent a pipeline need not wait.
    waits_for_ready(&world, &["opcp/everyone"]).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    let api = world.api.clone();
    let ready = api.wait_for_condition("everyone", "Ready", "True", "Complete", OFFER);
    ready.await?;

    world.api.apply(&special()).await?;
    overlaps(&world, "special", "TakesPrecedence", "everyone").await?;
    overlaps(&world, "everyone", "Overridden", "special").await?;
    let counts = api.status("everyone").await?["agents"].take();
    let overridden = counts["matched"] == 0 && counts["overridden"] == 1;
    ensure!(overridden, "{counts}");
    let ready = api.wait_for_condition("special", "Ready", "True", "Complete", OFFER);
    ready.await?;
    waits_for_ready(&world, &["opcp", "--all"]).await?;
    let gives_way = || async {
        let agent = api.get("OpAMPAgent", &uid).await.ok().flatten();
        let status = agent
            .map(|mut agent| agent["status"].take())
            .unwrap_or_default();
        let named =
            status["profile"]["name"] == "special" && status["overridden"][0]["name"] == "everyone";
        Look::when(named, status)
    };
    eventually_async("the agent's object names both", SOON, gives_way).await?;
    let (before, said) = (told(&world).await?, conditions(&world).await?);
    let taken = before
        .iter()
        .filter(|(what, ..)| what == "special ProfileTookOver");
    let taken: Vec<_> = taken.collect();
    let right = matches!(taken[..], [(_, note, 1)] if note.contains("1 agent of profile") && note.contains(&uid));
    ensure!(right, "{before:?}");

    world.kill_operator()?;
    world.start_operator_again().await?;
    stays_unoffered(&world, &uid, &leaf).await?;
    let back = |status: &Value| (status["agents"]["connected"] == 1).then_some(());
    let back = api.wait_for_status("it is back", "special", SOON, back);
    back.await?;
    let now = conditions(&world).await?;
    ensure!(said == now, "{said:#?} {now:#?}");
    let after = told(&world).await?;
    ensure!(before == after, "{before:#?}\n{after:#?}");

    // It comes back when the other gives way; nothing was taken from anybody.
    api.delete(KIND, "special").await?;
    let alone = api.wait_for_condition("everyone", "Overlapping", "False", "NoOverlap", SOON);
    alone.await?;
    let after = told(&world).await?;
    let mut taken = after
        .iter()
        .filter(|(what, ..)| what == "everyone ProfileTookOver");
    ensure!(taken.next().is_none(), "{after:?}");
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_an_event_that_happens_again_is_counted_in_the_one_that_is_there() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("again", Setup::default()).await?;
    let api = world.api.clone();
    let judged = async |status: &str, reason: &str| {
        let ready = api.wait_for_condition(PROFILE, "Ready", status, reason, SOON);
        ready.await.map(drop)
    };
    judged("True", "NoAgents").await?;
    let what = format!("{PROFILE} SecretNotFound");
    let mut counts = Vec::new();
    for time in 1..=3 {
        if time == 3 {
            // The next process counts on from what is stored.
            world.kill_operator()?;
            world.start_operator_again().await?;
        }
        api.delete("Secret", CLIENT_TLS).await?;
        judged("False", "SecretNotFound").await?;
        let all = || async {
            let told = told(&world).await.unwrap_or_default();
            let found: Vec<_> = told.iter().filter(|(event, ..)| *event == what).collect();
            // By then each of the earlier ones was written.
            let counted = matches!(found[..], [(.., count)] if *count >= time);
            Look::some(
                counted.then(|| found.iter().map(|(.., count)| *count).collect::<Vec<_>>()),
                format!("{told:?}"),
            )
        };
        counts.push(eventually_async("one event, counted", SOON, all).await?);
        api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
        judged("True", "NoAgents").await?;
    }
    ensure!(counts == [[1], [2], [3]], "{counts:?}");
    world.finish().await
}

/// What the operator may have to say is what the definition takes: nothing of
/// it is refused or dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_keeps_every_field_of_a_status() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    let namespace = format!("e2e-fields-{}", random_suffix()?);
    let api = cluster.api().await?.within(&namespace);
    api.make_namespace(&namespace).await?;
    api.apply(&profile("p", &mutual_tls())).await?;
    let failure = |reason: &str, message: &str| {
        let mut failure = json!({
            "instanceUID": "0192aaaa-0000-7000-8000-000000000001",
            "reason": reason,
            "time": "2026-01-02T03:04:05Z",
        });
        if !message.is_empty() {
            failure["message"] = json!(message);
        }
        failure
    };
    // One instance UID may be at home in two namespaces.
    let failures = json!([
        failure("Failed", "tls bad certificate"),
        failure("Lost", "")
    ]);
    let status = json!({"status": {"failures": failures, "agents": {"overridden": 3}}});
    let kept = api.merge(KIND, "p/status", &status).await?;
    ensure!(kept["status"]["failures"] == failures, "{kept}");
    ensure!(kept["status"]["agents"]["overridden"] == 3, "{kept}");
    let eleven: Vec<_> = (0..11).map(|_| failure("Lost", "")).collect();
    let many = json!({"status": {"failures": eleven}});
    ensure!(api.merge(KIND, "p/status", &many).await.is_err(), "taken");
    Ok(())
}
