//! The demonstration: three real supervisors, one operator, no cluster.
//!
//! They connect with a bootstrap token, are moved to mutual TLS, and follow a
//! renewed certificate; what each runs is told with how it is known.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::eventually::{Look, eventually};
use crate::guard;
use crate::manifests::{CLIENT_TLS, offerable_tls, write_atomically};
use crate::operator;
use crate::pki::{DAY, KeyKind, Leaf, Window};
use crate::tap::Connection;
use crate::timeline::say;
use crate::world::{PROFILE, Setup, World};

/// The most either of the two moves may take.
const BOUND: Duration = Duration::from_mins(2);

/// The agents of the demonstration.
const NAMES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];

/// Runs the demonstration to its end; with `KEEP=1` stays until Ctrl-C.
///
/// # Errors
/// When something cannot be started, or the job is not done in time.
pub async fn run() -> Result<()> {
    operator::build()?;
    let setup = Setup {
        echo: true,
        debounce: Duration::from_secs(1),
        ..Setup::default()
    };
    let interrupted = guard::interruption();
    tokio::pin!(interrupted);
    let mut world = tokio::select! {
        world = World::new("demo", setup) => world?,
        () = &mut interrupted => bail!("interrupted"),
    };
    let told = tokio::select! {
        told = story(&mut world) => Some(told),
        () = &mut interrupted => None,
    };
    let Some(told) = told else {
        world.abandon();
        bail!("interrupted");
    };
    told?;
    if std::env::var("KEEP").is_ok_and(|keep| keep == "1") {
        prepare_renewals(&mut world)?;
        say_what_to_try(&world);
        interrupted.await;
        world.abandon();
        return Ok(());
    }
    world
        .finish()
        .await
        .context("at the end of the demonstration")
}

async fn story(world: &mut World) -> Result<()> {
    say("\nThree supervisors know a bootstrap token. A profile says: mutual TLS.\n");
    let first = world.client_leaf("fleet", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.publish_mutual_tls(&first)?;
    world.start_operator().await?;
    for name in NAMES {
        world.supervisor(name).await?;
    }
    let mut told = HashSet::new();
    moved(world, &first, "mutual TLS", &mut told).await?;
    show(world);

    say("\nThe certificate is renewed: its Secret changes, nothing else.");
    say("(No agent is offered settings twice within 15 seconds, so this takes a moment.)\n");
    let second = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(90 * DAY))?;
    world
        .timeline
        .add("you", format!("renew Secret {CLIENT_TLS}"));
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &second))?;
    moved(world, &second, "the renewed certificate", &mut told).await?;
    show(world);
    let refusals = world.tap.record().refusals();
    ensure!(refusals.is_empty(), "someone was cut off: {refusals:?}");
    say("\nDone: every agent runs the renewed certificate, and none was refused on the way.");
    Ok(())
}

/// Tells the story as it happens until every agent runs the certificate.
async fn moved(world: &World, leaf: &Leaf, what: &str, told: &mut HashSet<String>) -> Result<()> {
    let state = world.state();
    eventually(&format!("every agent runs {what}"), BOUND, || {
        let mut done = 0;
        for supervisor in &world.supervisors {
            let connections = world.tap.record().of(supervisor.uid());
            tell(world, supervisor.name(), &connections, told);
            let agent = state.agent(supervisor.uid());
            let applied = agent["status"]["settings"]["state"] == "Applied";
            let shows = |last: &Connection| last.certificate.as_deref() == Some(leaf.fingerprint());
            done += usize::from(applied && connections.last().is_some_and(shows));
        }
        Look::when(done == NAMES.len(), format!("{done} of {}", NAMES.len()))
    })
    .await?;
    let ready = state.wait_for_condition(PROFILE, "Ready", "True", "", BOUND);
    let ready = ready.await?;
    world.timeline.add(
        "profile",
        format!("Ready=True {}: {}", ready.reason, ready.message),
    );
    Ok(())
}

/// Tells what is new about the connections of an agent.
fn tell(world: &World, name: &str, connections: &[Connection], told: &mut HashSet<String>) {
    for connection in connections {
        let with = match connection.certificate.as_deref() {
            Some(leaf) => format!("certificate {}", short(leaf)),
            None => "its bootstrap token".to_owned(),
        };
        let proof = connection.marker().map_or(String::new(), |marker| {
            format!(" and the marker {} of its settings", short(marker))
        });
        let mut news = vec![format!("connects with {with}{proof}")];
        news.extend(connection.offers().map(|offer| {
            let leaf = offer.leaf().map_or("none", short);
            format!("is offered certificate {leaf} for {}", offer.endpoint)
        }));
        for line in news {
            if told.insert(format!("{} {line}", connection.id)) {
                world.timeline.add(name, line);
            }
        }
    }
}

/// A table of what every agent runs, and how that is known.
fn show(world: &World) {
    let state = world.state();
    say("\n  AGENT     REVISION  STATE     KNOWN BY           CERTIFICATE SHOWN  INSTANCE UID");
    for supervisor in &world.supervisors {
        let agent = state.agent(supervisor.uid());
        let settings = &agent["status"]["settings"];
        let text = |field: &str| settings[field].as_str().unwrap_or("-").to_owned();
        let last = world.tap.record().of(supervisor.uid()).pop();
        let leaf = last.and_then(|last| last.certificate);
        say(&format!(
            "  {:<8}  {:<8}  {:<8}  {:<17}  {:<17}  {}",
            supervisor.name(),
            settings["revision"].to_string(),
            text("state"),
            text("evidence"),
            leaf.as_deref().map_or("none", short),
            supervisor.uid()
        ));
    }
}

/// Leaves Secrets beside the manifests, ready to be moved there.
fn prepare_renewals(world: &mut World) -> Result<()> {
    for number in 1..=2 {
        let window = Window::lasting(90 * DAY);
        let leaf = world.client_leaf(&format!("next {number}"), KeyKind::EcdsaP256, window)?;
        let file = world.folder().join(format!("next-{number}.yaml"));
        let secret = serde_saphyr::to_string(&offerable_tls(CLIENT_TLS, &leaf))?;
        write_atomically(&file, &secret)?;
    }
    Ok(())
}

fn say_what_to_try(world: &World) {
    let folder = world.folder().display();
    let manifests = world.manifests.folder().display();
    let state = world.state();
    let state = state.folder().display();
    say(&format!(
        "
Everything stays up until Ctrl-C. To try:
  look at the profile      cat {state}/profiles/default/{PROFILE}.yaml
  look at the agents       head -n 50 {state}/agents/default/*.yaml
  follow the operator      tail -f {folder}/logs/operator.log
  follow a supervisor      tail -f {folder}/logs/{}.log
  change the heartbeat     sed -i 's/heartbeatIntervalSeconds: .*/heartbeatIntervalSeconds: 7/' \\
                             {manifests}/opampconnectionprofile-{PROFILE}.yaml
  break the certificate    sed -i 's/tls.key: .*/tls.key: AAAA/' \\
                             {manifests}/secret-{CLIENT_TLS}.yaml
                           (nothing is offered; the profile's condition says why)
  renew the certificate    mv {folder}/next-1.yaml {manifests}/secret-{CLIENT_TLS}.yaml
  … and once more          mv {folder}/next-2.yaml {manifests}/secret-{CLIENT_TLS}.yaml",
        NAMES[0]
    ));
}

fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}
