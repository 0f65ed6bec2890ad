//! Traces of rotations: a real Collector gets them, and nobody waits for it.

use std::collections::BTreeMap;
use std::net::TcpListener;

use anyhow::{Context as _, Result, ensure};
use e2e::collector::{Collector, Span};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::process::{LogMark, read_from};
use e2e::world::{SOON, Setup, World};
use serde_json::{Value, json};

use crate::steps::{applies_leaf, nobody_was_refused};

fn with_traces(traces: &Value) -> Setup {
    Setup {
        configuration: json!({"telemetry": {"traces": traces}}),
        ..Setup::default()
    }
}

/// Renews the fleet's certificate.
fn renew(world: &mut World, name: &str) -> Result<Leaf> {
    let leaf = world.client_leaf(name, KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &leaf))?;
    Ok(leaf)
}

/// Waits for the trace of the change that made this revision.
async fn trace_of(collector: &Collector, revision: &str) -> Result<BTreeMap<String, Span>> {
    let all = eventually("the collector has the trace", SOON, || {
        let all = collector.spans();
        let is_it = |span: &&Span| {
            span.name == "rotation"
                && span.attributes.get("opamp.revision") == Some(&revision.into())
        };
        let trace = all.iter().find(is_it).map(|root| root.trace.clone());
        let seen = all.len();
        let of_it = |trace| all.into_iter().filter(move |span| span.trace == trace);
        Look::some(trace.map(|trace| of_it(trace).collect::<Vec<_>>()), seen)
    })
    .await?;
    let count = all.len();
    let named: BTreeMap<_, _> = all.into_iter().map(|s| (s.name.clone(), s)).collect();
    ensure!(named.len() == count, "some are there twice: {named:#?}");
    Ok(named)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_one_trace_for_a_real_collector() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path()).await?;
    let setup = with_traces(&json!({"endpoint": collector.url(), "caFile": collector.ca()}));
    let (mut world, first) = World::with_mutual_tls("traces", setup).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &first).await?;
    let renewed = renew(&mut world, "renewed")?;
    applies_leaf(&world, &uid, &renewed).await?;

    let spans = trace_of(&collector, "2").await?;
    let names: Vec<_> = spans.keys().map(String::as_str).collect();
    let expected = ["evidence", "ledger write", "offer", "resolve", "rotation"];
    ensure!(names == expected, "{names:?}");
    let span = |name: &str| &spans[name];
    let root = span("rotation");
    ensure!(root.parent.is_empty(), "{root:?}");
    for (child, parent) in [
        ("resolve", "rotation"),
        ("ledger write", "rotation"),
        ("offer", "rotation"),
        ("evidence", "offer"),
    ] {
        let (child, parent) = (span(child), span(parent));
        ensure!(child.parent == parent.id, "{child:?} {parent:?}");
        ensure!(root.times.0 <= child.times.0, "{root:?} {child:?}");
        ensure!(child.times.1 <= root.times.1, "{root:?} {child:?}");
    }
    ensure!(root.times.0 < root.times.1, "{root:?}");
    for (name, attribute, value) in [
        ("rotation", "opamp.profile", "default/fleet"),
        ("rotation", "opamp.cause", "SecretChanged"),
        ("rotation", "opamp.outcome", "done"),
        ("rotation", "opamp.agents_proved", "1"),
        ("offer", "opamp.agent", &*uid),
        ("offer", "opamp.outcome", "proved"),
        ("evidence", "opamp.agent", &uid),
        ("evidence", "opamp.evidence", "SettingsHeader"),
    ] {
        let seen = span(name).attributes.get(attribute);
        ensure!(seen.map(String::as_str) == Some(value), "{:?}", span(name));
    }
    // The log has the same name for it.
    let path = world.operator_mut()?.log().to_owned();
    let log = read_from(&path, LogMark::default());
    let change = root.attributes.get("opamp.change").context("a name")?;
    let of_it: Vec<_> = log.lines().filter(|line| line.contains(change)).collect();
    ensure!(
        of_it.iter().any(|line| line.contains("object changed")),
        "{of_it:?}"
    );

    // What is not told when the operator ends is told then.
    let last = renew(&mut world, "last")?;
    applies_leaf(&world, &uid, &last).await?;
    world.operator_mut()?.stop().await?;
    let spans = trace_of(&collector, "3").await?;
    ensure!(spans.contains_key("evidence"), "{spans:?}");
    world.start_operator_again().await?;
    applies_leaf(&world, &uid, &last).await?;

    let told = collector.text();
    for secret in [world.bootstrap_token(), &renewed.key, &last.key] {
        let line = secret.lines().nth(1).unwrap_or(secret);
        ensure!(!told.contains(line), "a secret in a trace");
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_collector_that_is_away() -> Result<()> {
    let nobody = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let setup = with_traces(&json!({"endpoint": format!("http://{nobody}")}));
    let (mut world, first) = World::with_mutual_tls("no-traces", setup).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &first).await?;
    let path = world.operator_mut()?.log().to_owned();
    let said = "traces are not delivered";
    let mark = LogMark::default();
    let operator = world.operator_mut()?;
    operator.wait_for_log(said, mark, SOON).await?;
    for name in ["renewed", "again"] {
        let renewed = renew(&mut world, name)?;
        applies_leaf(&world, &uid, &renewed).await?;
    }
    let log = read_from(&path, LogMark::default());
    let lines: Vec<_> = log.lines().filter(|line| line.contains(said)).collect();
    // It is asked every 10 s, and that is said once a minute.
    ensure!(lines.len() == 1, "{lines:?}");
    nobody_was_refused(&world)?;
    world.finish().await
}
