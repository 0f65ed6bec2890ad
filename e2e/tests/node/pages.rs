//! The quick start and the how-tos, as a person follows them who has a cluster.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::repository;
use e2e::node::NodeWorld;
use e2e::pages::script;
use e2e::process::{LogMark, Process, read_from};

/// In the order in which a person comes to them.
const PAGES: [&str; 5] = [
    "docs/quick-start.md",
    "docs/how-to/rotate-a-certificate.md",
    "docs/how-to/rotate-a-ca.md",
    "docs/how-to/move-an-endpoint.md",
    "docs/how-to/run-several-tenants.md",
];

/// Pods start three times, and agents are offered settings five times.
const WALK: Duration = Duration::from_mins(15);

pub(crate) async fn are_walked() -> Result<()> {
    let world = NodeWorld::with_images().await?;
    let folder = world.folder().join("walk");
    std::fs::create_dir(&folder)?;
    for name in ["charts", "examples"] {
        symlink(repository().canonicalize()?.join(name), folder.join(name))?;
    }
    let file = folder.join("walk.sh");
    std::fs::write(&file, script(&PAGES, "cluster")?)?;
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for program in ["kubectl", "helm"] {
        let folder = world.parts().path(program)?.parent();
        let folder = folder.context("a program in a folder")?.to_owned();
        let folders = [folder].into_iter().chain(std::env::split_paths(&path));
        path = std::env::join_paths(folders.collect::<Vec<_>>())?;
    }
    let mut command = Command::new("bash");
    command.arg(&file).current_dir(&folder);
    command.env("PATH", path).env("HOME", &folder);
    command.env("KUBECONFIG", world.node.cluster.admin());
    let log = folder.join("walk.log");
    let mut walk = Process::spawn("walk", command, &log)?;
    let ended = walk.end(WALK).await;
    let said = read_from(&log, LogMark::default());
    world.timeline.add("pages", said);
    ensure!(ended?.success(), "a command of the pages failed: see above");
    world.finish().await
}
