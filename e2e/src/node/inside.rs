//! A test in namespaces of its own: its program starts itself again as the
//! first process of them.
//!
//! When that process ends, the kernel ends every other of its namespace and
//! takes network and mounts away. It ends also with its starter, whose pipe
//! closes then.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cgroups::Group;

/// The path of the control group; only set inside.
const GROUP: &str = "E2E_NODE_GROUP";

/// Where all files are; only set inside.
const FOLDER: &str = "E2E_NODE_FOLDER";

/// The command that makes the namespaces.
pub(super) const UNSHARE: [&str; 7] = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// What the namespaces that this process is in were given.
pub(super) struct Place {
    /// The path of their control group.
    pub(super) group: String,
    /// A folder that goes with them: as long as they are there something is
    /// mounted in it.
    pub(super) folder: PathBuf,
}

impl Place {
    /// Of this process, if it is inside.
    pub(super) fn own() -> Option<Self> {
        Some(Self {
            group: std::env::var(GROUP).ok()?,
            folder: std::env::var_os(FOLDER)?.into(),
        })
    }
}

/// Whether this process is in the namespaces of [`alone`].
#[must_use]
pub fn is_inside() -> bool {
    Place::own().is_some()
}

/// Runs `body` as the only test of a process in namespaces of its own; `test`
/// is the whole name of the test that calls.
///
/// # Errors
/// When the namespaces cannot be made or `body` fails.
pub fn alone<B>(test: &str, body: B) -> Result<()>
where
    B: AsyncFnOnce() -> Result<()>,
{
    if is_inside() {
        end_with_the_starter();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        return runtime.block_on(body());
    }
    if let Some(why) = super::lacks() {
        bail!("{why}");
    }
    let group = Group::make()?;
    let mut folder = tempfile::Builder::new()
        .prefix("opamp-e2e-node-")
        .tempdir()?;
    let mut child = Command::new(UNSHARE[0])
        .args(&UNSHARE[1..])
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(GROUP, group.path())
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        // A Ctrl-C ends the tests, and those end what is inside.
        .process_group(0)
        .spawn()
        .context("cannot start unshare")?;
    let pipe = child.stdin.take();
    let status = child.wait()?;
    drop(pipe);
    if !status.success() {
        if std::env::var_os("E2E_KEEP").is_some() {
            folder.disable_cleanup(true);
            eprintln!("kept: {}", folder.path().display());
        }
        bail!("{test} failed in its namespaces: see above");
    }
    Ok(())
}

/// Ends this process, and so everything in its namespaces, when the pipe from
/// its starter closes.
fn end_with_the_starter() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
}
