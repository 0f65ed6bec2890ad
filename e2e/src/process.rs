//! A child process with a log file of its own that never outlives its owner.
//!
//! Every child leads a process group; ending a child ends the group, so the
//! collector a supervisor starts goes with the supervisor.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::eventually::{self, Look};
use crate::guard;

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(8);

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    group: Pid,
    ended: Option<ExitStatus>,
}

/// A place in a log file: a wait looks only at what was written after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogMark(u64);

impl LogMark {
    /// The present end of the log file.
    #[must_use]
    pub fn end_of(log: &Path) -> Self {
        Self(std::fs::metadata(log).map_or(0, |meta| meta.len()))
    }
}

impl Process {
    /// Starts `command`; its output is added to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot open the log {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({program})"))?;
        let group = Pid::from_child(&child);
        guard::add(group);
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            group,
            child,
            ended: None,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for a log line after `mark` that contains `needle`, and returns it.
    ///
    /// # Errors
    /// When the deadline passes or the process ends first.
    pub async fn wait_for_log(
        &mut self,
        needle: &str,
        mark: LogMark,
        within: Duration,
    ) -> Result<String> {
        let what = format!("{} logs {needle:?}", self.name);
        eventually::eventually(&what, within, || {
            let text = read_from(&self.log, mark);
            if let Some(line) = text.lines().find(|line| line.contains(needle)) {
                return Look::Done(line.to_owned());
            }
            if self.has_ended() {
                return Look::Never(format!("it ended; its log ends with\n{}", tail(&text, 15)));
            }
            Look::NotYet(tail(&text, 3))
        })
        .await
    }

    /// Whether the process has ended by itself or been ended.
    pub fn has_ended(&mut self) -> bool {
        // WNOWAIT leaves the child unreaped: its group id stays ours until `reap`.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.ended.is_some()
            || !matches!(
                rustix::process::waitid(WaitId::Pid(self.group), options),
                Ok(None)
            )
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.group, signal)
            .with_context(|| format!("{} cannot be signalled", self.name))
    }

    /// Sends SIGTERM and waits for an orderly end.
    ///
    /// # Errors
    /// When the process is still there after the grace period (it is killed then).
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.terminate();
        let ended = self.end(GRACE).await;
        ended.context("after SIGTERM")
    }

    /// Asks the process to end.
    pub fn terminate(&self) {
        if self.ended.is_none() {
            let _ = rustix::process::kill_process(self.group, Signal::TERM);
        }
    }

    /// Has the process stand still until [`Process::go_on`].
    pub fn stand_still(&self) {
        if self.ended.is_none() {
            let _ = rustix::process::kill_process(self.group, Signal::STOP);
        }
    }

    /// Has it go on.
    pub fn go_on(&self) {
        if self.ended.is_none() {
            let _ = rustix::process::kill_process(self.group, Signal::CONT);
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it is still there when the deadline passes (it is killed then).
    pub async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let waited = eventually::eventually(&what, within, || {
            Look::when(self.has_ended(), "still running")
        })
        .await;
        let status = self.reap();
        waited.and(status)
    }

    /// Kills the process and everything it started, without warning.
    ///
    /// # Errors
    /// When the operating system does not give its exit status.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.reap()
    }

    /// Kills the whole group while the leader still holds its id, then reaps.
    fn reap(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        guard::remove(self.group);
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = rustix::process::kill_process_group(self.group, Signal::TERM);
            eventually::blocking(GRACE, || self.has_ended());
            let _ = self.reap();
        }
    }
}

/// Runs a short command to its end.
///
/// # Errors
/// When it cannot be started or fails; the message has the end of its output.
pub fn run(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{program} failed ({}):\n{}",
            output.status,
            tail(&errors, 20)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a log holds after `mark`; a missing log is empty.
#[must_use]
pub fn read_from(log: &Path, mark: LogMark) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The last `lines` lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_child_is_heard_and_its_children_end_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "sleep 1000 & echo child $!; wait";
        let mut process = Process::spawn("sh", shell(script), &log).unwrap();
        let second = Duration::from_secs(10);
        let mark = LogMark::default();
        let line = process.wait_for_log("child", mark, second).await.unwrap();
        let grandchild = PathBuf::from("/proc").join(line.trim_start_matches("child "));
        assert!(grandchild.exists());
        drop(process);
        // A reaped or zombie grandchild: either has no command line any more.
        let gone = || std::fs::read(grandchild.join("cmdline")).is_ok_and(|line| !line.is_empty());
        assert!(eventually::blocking(second, || !gone()));
    }

    #[tokio::test]
    async fn a_wait_for_a_line_ends_when_the_child_does() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::spawn("sh", shell("echo only this"), &log).unwrap();
        let wait = process.wait_for_log("more", LogMark::default(), Duration::from_mins(1));
        let error = wait.await.unwrap_err().to_string();
        assert!(error.contains("only this"), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "trap '' TERM; echo up; while :; do sleep 0.1; done";
        let mut process = Process::spawn("sh", shell(script), &log).unwrap();
        let up = process.wait_for_log("up", LogMark::default(), Duration::from_secs(10));
        up.await.unwrap();
        assert!(process.stop().await.is_err());
        assert!(process.has_ended());
    }
}
