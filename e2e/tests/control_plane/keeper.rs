//! A control plane ends with the test process that it was started for.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::api::Api;
use e2e::cluster::shared;
use e2e::eventually::blocking;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_ends_with_its_owner() -> Result<()> {
    // Two that start at once would only wait for each other.
    shared().await?;
    let mut keeper = Command::new(env!("CARGO_BIN_EXE_e2e"))
        .args(["up", "--attached"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().context("no output")?).read_line(&mut line)?;
    let folder = PathBuf::from(line.trim_end());
    let api = Api::of(&folder.join("admin.kubeconfig")).await?;
    ensure!(api.is_ready().await, "ready means ready");

    // What the system does with the pipe of a process that it ends.
    drop(keeper.stdin.take());
    let mut status = None;
    blocking(Duration::from_secs(20), || {
        status = keeper.try_wait().ok().flatten();
        status.is_some()
    });
    ensure!(status.is_some_and(|status| status.success()), "{status:?}");
    ensure!(!api.is_ready().await, "the API server is still there");
    ensure!(!folder.exists(), "{} was left behind", folder.display());
    Ok(())
}
