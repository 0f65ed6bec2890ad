//! The demonstration: three real supervisors, one operator, no cluster.
//!
//! They connect with a bootstrap token, are moved to mutual TLS, and follow a
//! renewed certificate; what each runs is told with how it is known.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::eventually::{Look, eventually};
use crate::manifests::{CLIENT_TLS, offerable_tls};
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
    let mut world = World::new("demo", setup).await?;
    say("\nThree supervisors know a bootstrap token. A profile says: mutual TLS.\n");
    let first = world.client_leaf("fleet", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.publish_mutual_tls(&first)?;
    world.start_operator().await?;
    for name in NAMES {
        world.supervisor(name).await?;
    }
    moved(&world, &first, "mutual TLS").await?;
    show(&world);

    say("\nThe certificate is renewed: its Secret changes, nothing else.\n");
    let second = world.client_leaf(
        "fleet renewed",
        KeyKind::EcdsaP256,
        Window::lasting(90 * DAY),
    )?;
    world
        .timeline
        .add("you", format!("renew Secret {CLIENT_TLS}"));
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &second))?;
    moved(&world, &second, "the renewed certificate").await?;
    show(&world);
    say("\nDone: every agent runs the renewed certificate, and none was cut off on the way.");
    if std::env::var("KEEP").is_ok_and(|keep| keep == "1") {
        stay(&world).await?;
    }
    world
        .finish()
        .await
        .context("at the end of the demonstration")
}

/// Tells the story as it happens until every agent runs the certificate.
async fn moved(world: &World, leaf: &Leaf, what: &str) -> Result<()> {
    let mut told = Vec::new();
    let state = world.state();
    eventually(&format!("every agent runs {what}"), BOUND, || {
        let mut done = 0;
        for supervisor in &world.supervisors {
            let connections = world.tap.record().of(supervisor.uid());
            tell(world, supervisor.name(), &connections, &mut told);
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
fn tell(world: &World, name: &str, connections: &[Connection], told: &mut Vec<String>) {
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
            let key = format!("{} {line}", connection.id);
            if !told.contains(&key) {
                told.push(key);
                world.timeline.add(name, line);
            }
        }
    }
}

/// A table of what every agent runs, and how that is known.
fn show(world: &World) {
    let state = world.state();
    say("\n  AGENT     REVISION  STATE     EVIDENCE           CERTIFICATE SHOWN  INSTANCE UID");
    for supervisor in &world.supervisors {
        let agent = state.agent(supervisor.uid());
        let settings = &agent["status"]["settings"];
        let text = |field: &str| settings[field].as_str().unwrap_or("-").to_owned();
        let last = world.tap.record().of(supervisor.uid()).pop();
        let leaf = last.and_then(|last| last.certificate);
        say(&format!(
            "  {:<8}  {:<8}  {:<8}  {:<17}  {:<17}  {}",
            supervisor.name(),
            settings["revision"],
            text("state"),
            text("evidence"),
            leaf.as_deref().map_or("none", short),
            supervisor.uid()
        ));
    }
}

/// Says what to try and waits for Ctrl-C.
async fn stay(world: &World) -> Result<()> {
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
  renew the certificate    write tls.crt and tls.key, signed by the same CA, into
                             {manifests}/secret-{CLIENT_TLS}.yaml",
        NAMES[0]
    ));
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}
