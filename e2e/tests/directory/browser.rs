//! The admin port's pages in headless Chromium, of a running operator with real
//! supervisors. What is looked at is in `parts/admin-browser/main.js`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::manifests::{bearer, profile};
use e2e::parts::foreign::BROWSER;
use e2e::world::{PROFILE, SOON, Setup, World};
use tokio::process::Command;
use tokio::time::timeout;

use crate::steps::applies_leaf;

/// The whole walk takes ten seconds on an idle machine.
const WALK: Duration = Duration::from_secs(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_what_is_held_back_and_whom_a_profile_has() -> Result<()> {
    let browser = BROWSER.ensure().await?;
    let (mut world, leaf) = World::with_mutual_tls("browser", Setup::default()).await?;
    let held = "canary";
    world
        .manifests
        .apply(&profile(held, &bearer("canary-token")))?;
    let mut agents = Vec::new();
    for name in ["a1", "a2"] {
        agents.push(world.supervisor(name).await?);
    }
    for uid in &agents {
        applies_leaf(&world, uid, &leaf).await?;
    }
    let state = world.state();
    for (name, ready) in [(PROFILE, "True"), (held, "False")] {
        let known = state.wait_for_condition(name, "Ready", ready, "", SOON);
        known.await?;
    }
    let pictures = world.folder().join("pictures");
    std::fs::create_dir_all(&pictures)?;
    let address = world.operator_mut()?.admin_address();
    let walk = Command::new(browser)
        .arg(format!("http://{address}"))
        .arg(format!("default/{PROFILE}"))
        .arg(format!("default/{held}"))
        .args([&agents[0], pictures.to_string_lossy().as_ref()])
        .kill_on_drop(true)
        .output();
    let walked = timeout(WALK, walk).await.context("it takes too long")??;
    let said = String::from_utf8_lossy(&walked.stderr);
    ensure!(walked.status.success(), "{said}");
    if std::env::var_os("UPDATE").is_some() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for name in ["overview", "agent"] {
            let (from, to) = (format!("{name}.png"), format!("admin-{name}.png"));
            std::fs::copy(pictures.join(from), docs.join(to))?;
        }
    }
    world.finish().await
}
