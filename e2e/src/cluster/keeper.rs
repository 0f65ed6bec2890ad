//! The process that owns a control plane: `e2e up`.
//!
//! A test process must not own it: the last test that ends drops nothing, and a
//! killed one ends nothing.  The keeper notices both, since a pipe from its
//! owner closes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::control_plane::{ControlPlane, Reach};
use super::{HOT, admin_kubeconfig};
use crate::guard;
use crate::parts::{Parts, Set};
use crate::timeline::say;

/// A keeper that ends with this process.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Holds the pipe open; nothing is ever written to it.
    child: Child,
}

impl Keeper {
    /// Starts one and waits until its control plane is ready; returns its folder.
    pub(super) fn start() -> Result<(PathBuf, Self)> {
        use std::os::unix::process::CommandExt as _;
        let binary = binary()?;
        let child = Command::new(&binary)
            .args(["up", "--attached"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C ends the tests, and those end the keeper.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut keeper = Self { child };
        let output = keeper.child.stdout.take().context("no output")?;
        let mut line = String::new();
        // It has deadlines of its own: it says where or it ends.
        BufReader::new(output).read_line(&mut line)?;
        let folder = PathBuf::from(line.trim_end());
        anyhow::ensure!(
            admin_kubeconfig(&folder).is_file(),
            "see what `e2e up` said above"
        );
        Ok((folder, keeper))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// This package's binary, beside the binary of the tests.
fn binary() -> Result<PathBuf> {
    let myself = std::env::current_exe()?;
    let mut folders = myself.ancestors().skip(1);
    let found = folders.find_map(|folder| {
        let binary = folder.join("e2e");
        binary.is_file().then_some(binary)
    });
    found.context("the binary `e2e` is not beside the tests: run them with cargo")
}

/// Keeps a control plane until SIGINT or SIGTERM or, when `attached`, until the
/// owner's pipe closes.
///
/// # Errors
/// When it does not start.
pub async fn up(attached: bool) -> Result<()> {
    let parts = Parts::ensure(Set::ControlPlane).await?;
    let folder = tempfile::Builder::new()
        .prefix("opamp-e2e-cluster-")
        .tempdir()?;
    let ended = async {
        if attached {
            tokio::select! {
                () = owner_is_gone() => {}
                () = guard::interruption() => {}
            }
        } else {
            guard::interruption().await;
        }
    };
    tokio::pin!(ended);
    let _plane = tokio::select! {
        plane = ControlPlane::start(&parts, folder.path(), Reach::Loopback) => plane?,
        () = &mut ended => return Ok(()),
    };
    if attached {
        say(&folder.path().display().to_string());
    } else {
        say_how_to_use(folder.path(), &parts)?;
    }
    ended.await;
    Ok(())
}

/// Waits for the end of the standard input.
async fn owner_is_gone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread, not a task: a runtime waits for its blocking tasks.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tell.send(());
    });
    let _ = told.await;
}

fn say_how_to_use(folder: &Path, parts: &Parts) -> Result<()> {
    let kubeconfig = admin_kubeconfig(folder);
    say(&format!(
        "
etcd, kube-apiserver, kube-controller-manager and cert-manager run until Ctrl-C.
  by hand      export KUBECONFIG={}
               {} get namespaces
  their logs   {}
  in tests     {HOT}={} cargo test -p e2e --test control_plane
",
        kubeconfig.display(),
        parts.path("kubectl")?.display(),
        folder.join("logs").display(),
        folder.display(),
    ));
    Ok(())
}
