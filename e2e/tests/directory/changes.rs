//! What the operator's log tells of a rotation, to somebody who looks for its
//! name.

use anyhow::{Result, ensure};
use e2e::eventually::{Look, eventually};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::process::{LogMark, read_from};
use e2e::world::{PROFILE, SOON, Setup, World};
use serde_json::json;

use crate::steps::{applies_leaf, nobody_was_refused};

/// The name of the change that a line is about.
fn change(line: &str) -> Option<&str> {
    let text = || line.split("change=").nth(1);
    let json = || line.split("\"change\":\"").nth(1);
    let id = json().or_else(text)?.get(..8)?;
    id.bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then_some(id)
}

/// Writes the fleet's certificate and waits for the name of that change.
async fn writes(world: &mut World, leaf: &Leaf) -> Result<String> {
    let path = world.operator_mut()?.log().to_owned();
    let mark = LogMark::end_of(&path);
    world.manifests.apply(&offerable_tls(CLIENT_TLS, leaf))?;
    eventually("the Secret's change is logged", SOON, || {
        let text = read_from(&path, mark);
        let line = text.lines().find(|line| line.contains("object changed"));
        let named = line.filter(|line| line.contains(CLIENT_TLS));
        Look::some(named.and_then(change).map(ToOwned::to_owned), text)
    })
    .await
}

/// Waits until lines with this name hold these, in this order; returns all.
async fn tells(world: &mut World, id: &str, story: &[&str]) -> Result<Vec<String>> {
    let path = world.operator_mut()?.log().to_owned();
    eventually("the log tells the whole story", SOON, || {
        let text = read_from(&path, LogMark::default());
        let lines = text.lines().filter(|line| line.contains(id));
        let lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
        let mut left = lines.iter();
        let told = story
            .iter()
            .all(|part| left.any(|line| line.contains(part)));
        let seen = lines.join("\n");
        Look::some(told.then_some(lines), seen)
    })
    .await
}

fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

async fn is_told(format: &'static str) -> Result<()> {
    let setup = Setup {
        log_format: format,
        ..Setup::default()
    };
    let (mut world, first) = World::with_mutual_tls(&format!("changes-{format}"), setup).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &first).await?;

    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    let id = writes(&mut world, &renewed).await?;
    applies_leaf(&world, &uid, &renewed).await?;
    let story = [
        "object changed",
        "revision drafted",
        "revision in force",
        "settings offered",
        "agent left after an offer",
        "agent runs revision",
        "condition changed",
    ];
    let lines = tells(&mut world, &id, &story).await?;
    for once in story.iter().take(6) {
        ensure!(count(&lines, once) == 1, "{once}: {lines:#?}");
    }
    for of_agent in ["settings offered", "agent runs revision"] {
        let lines = lines.iter().filter(|line| line.contains(of_agent));
        ensure!(lines.clone().all(|line| line.contains(&uid)), "{of_agent}");
    }
    if format == "json" {
        for line in &lines {
            let line: serde_json::Value = serde_json::from_str(line)?;
            ensure!(line["change"] == json!(id), "{line}");
        }
    }

    // One that is refused is told under its own name, and no further.
    let expired = world.client_leaf("expired", KeyKind::EcdsaP256, Window::expired())?;
    let refused = writes(&mut world, &expired).await?;
    let story = [
        "object changed",
        "new settings held back",
        "condition changed",
    ];
    let lines = tells(&mut world, &refused, &story).await?;
    ensure!(refused != id);
    for never in ["revision drafted", "settings offered"] {
        ensure!(count(&lines, never) == 0, "{lines:#?}");
    }
    let id = writes(&mut world, &renewed).await?;
    tells(&mut world, &id, &["condition changed"]).await?;

    // What an earlier process published has no name.
    let path = world.operator_mut()?.log().to_owned();
    world.kill_operator()?;
    let mark = LogMark::end_of(&path);
    world.start_operator_again().await?;
    let operator = world.operator_mut()?;
    let adopted = operator.wait_for_log("revision in force", mark, SOON);
    let adopted = &adopted.await?;
    ensure!(adopted.contains(PROFILE), "{adopted}");
    ensure!(change(adopted).is_none(), "{adopted}");
    applies_leaf(&world, &uid, &renewed).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_told_under_one_name_as_text() -> Result<()> {
    is_told("text").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_told_under_one_name_as_json() -> Result<()> {
    is_told("json").await
}
