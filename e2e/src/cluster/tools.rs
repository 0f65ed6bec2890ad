//! kubectl and helm as a person would run them, with what they print.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::parts::Parts;
use crate::process::tail;

/// The longest that a command may take; `kubectl wait` has a shorter one.
const LONGEST: Duration = Duration::from_secs(90);

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended well.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// kubectl as one user.
#[derive(Clone, Debug)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub(super) fn new(parts: &Parts, folder: &Path, kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            binary: parts.path("kubectl")?.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache: folder.join("kubectl"),
        })
    }

    /// The same kubectl as somebody else.
    #[must_use]
    pub fn with(&self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            ..self.clone()
        }
    }

    /// The command, for callers that cannot wait asynchronously.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.binary);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache);
        command
    }

    /// Runs it; returns what it printed.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "").await
    }

    /// Runs it with an input; returns what it printed.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input).await?;
        good(&format!("kubectl {}", arguments.join(" ")), output)
    }

    /// Runs it with an input; failing is an answer too.
    ///
    /// # Errors
    /// When it cannot be run or does not end in time.
    pub async fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        finish(self.command(arguments).into(), input).await
    }

    /// Runs a shell line in which `kubectl` is this one.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub async fn shell(&self, line: &str) -> Result<String> {
        let folder = self.binary.parent().context("kubectl in a folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-ec", line])
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache);
        good(line, finish(command, "").await?)
    }
}

/// Helm; by itself it talks to no cluster.
#[derive(Clone, Debug)]
pub struct Helm {
    binary: PathBuf,
    home: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    pub(super) fn new(parts: &Parts, folder: &Path) -> Result<Self> {
        Ok(Self {
            binary: parts.path("helm")?.to_owned(),
            home: folder.join("helm"),
            kubeconfig: None,
        })
    }

    /// The same Helm, as a user of a cluster.
    #[must_use]
    pub fn of(&self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..self.clone()
        }
    }

    /// Runs it; returns what it printed.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        good(&format!("helm {}", arguments.join(" ")), output)
    }

    /// Runs it; failing is an answer too.
    ///
    /// # Errors
    /// When it cannot be run or does not end in time.
    pub async fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("HELM_CACHE_HOME", self.home.join("cache"))
            .env("HELM_CONFIG_HOME", self.home.join("config"))
            .env("HELM_DATA_HOME", self.home.join("data"));
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        finish(command, "").await
    }
}

fn good(what: &str, output: Output) -> Result<String> {
    if output.success {
        return Ok(output.stdout);
    }
    bail!("{what} failed:\n{}", tail(&output.stderr, 30));
}

async fn finish(mut command: Command, input: &str) -> Result<Output> {
    let program = command.as_std().get_program().to_owned();
    let run = async {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        // A program that ends early closes its input: its own words say why.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(LONGEST, run).await;
    let output = output
        .with_context(|| format!("{} did not end within {LONGEST:?}", program.display()))?
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output {
        success: output.status.success(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}
