//! The operator under test: its binary, its configuration, its process.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::manifests::{API_VERSION, SERVING_TLS, read_yaml, write_atomically};
use crate::process::{LogMark, Process};

/// How long the operator may take from its start to its open port.
const START: Duration = Duration::from_secs(20);

/// Where the operator's binary is looked for when nothing else is said.
const BINARY: &str = "OPAMP_OPERATOR_BIN";

/// As which Pod an operator with an API server runs.
pub const POD: &str = "operator-0";

/// What the operator is configured with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The URL offered to agents.
    pub advertised: String,
    /// How long several changes are gathered.
    pub debounce: Duration,
    /// How long one agent may take before its revision is halted.
    pub first_agent: Duration,
    /// How long a process without memory waits before it offers.
    pub restart_hold: Duration,
    /// Replaces the authenticators of the default configuration.
    pub authenticators: Option<Value>,
    /// More of the configuration.
    pub configuration: Value,
    /// What it logs, and in which form.
    pub log: (&'static str, &'static str),
}

/// What the operator reads and writes.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Two directories.
    Directory {
        /// What people write.
        manifests: PathBuf,
        /// What the operator writes.
        state: PathBuf,
    },
    /// An API server.
    Cluster {
        /// As whom it comes.
        kubeconfig: PathBuf,
        /// Its own namespace.
        namespace: String,
        /// Namespaces whose profiles it reads.
        watched: Vec<String>,
    },
}

impl Backend {
    fn namespace(&self) -> &str {
        match self {
            Self::Directory { .. } => "default",
            Self::Cluster { namespace, .. } => namespace,
        }
    }

    fn watched(&self) -> Vec<String> {
        match self {
            Self::Directory { .. } => vec![self.namespace().to_owned()],
            Self::Cluster { watched, .. } => watched.clone(),
        }
    }

    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.arg("run");
        match self {
            Self::Directory { manifests, state } => {
                command.arg("--manifests").arg(manifests);
                command.arg("--state").arg(state);
            }
            Self::Cluster { kubeconfig, .. } => {
                command.env("KUBECONFIG", kubeconfig);
                command.env("POD_NAME", POD);
            }
        }
        command
    }
}

/// An operator.
#[derive(Debug)]
pub struct Operator {
    binary: PathBuf,
    config: PathBuf,
    lines: (&'static str, &'static str),
    backend: Backend,
    log: PathBuf,
    admin: SocketAddr,
    process: Process,
    address: SocketAddr,
}

impl Operator {
    /// Writes the configuration into `folder` and starts the operator.
    ///
    /// # Errors
    /// When there is no binary or it does not start to listen.
    pub async fn start(
        folder: &Path,
        backend: Backend,
        logs: &Path,
        options: &Options,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        if let Backend::Directory { state, .. } = &backend {
            std::fs::create_dir_all(state)?;
        }
        let admin = free_port()?;
        let config = folder.join("operator.yaml");
        let text = serde_saphyr::to_string(&configuration(&backend, options, admin))?;
        write_atomically(&config, &text)?;
        let binary = binary()?;
        let log = logs.join("operator.log");
        let (process, address) = spawn(&binary, &config, &backend, &log, options.log).await?;
        Ok(Self {
            binary,
            config,
            lines: options.log,
            backend,
            log,
            admin,
            process,
            address,
        })
    }

    /// Starts another process with the same configuration, but for its admin
    /// port, as a rolling update does.
    ///
    /// # Errors
    /// When it does not start to listen.
    pub async fn beside(&self, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let admin = free_port()?;
        let mut configuration = read_yaml(&self.config).context("no configuration")?;
        configuration["admin"]["listen"] = admin.to_string().into();
        let config = folder.join("operator.yaml");
        write_atomically(&config, &serde_saphyr::to_string(&configuration)?)?;
        let name = folder.file_name().context("a folder without a name")?;
        let log = self.log.with_file_name(name).with_extension("log");
        let started = spawn(&self.binary, &config, &self.backend, &log, self.lines);
        let (process, address) = started.await?;
        Ok(Self {
            binary: self.binary.clone(),
            config,
            lines: self.lines,
            backend: self.backend.clone(),
            log,
            admin,
            process,
            address,
        })
    }

    /// Where it listens for agents.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// When the operating system does not give its exit status.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end in time or not with success.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.stop().await?;
        if status.success() {
            return Ok(());
        }
        bail!("the operator ended with {status} after SIGTERM");
    }

    /// Asks it to end, and does not wait.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Has it stand still until [`Operator::go_on`].
    pub fn stand_still(&self) {
        self.process.stand_still();
    }

    /// Has it go on as if no time had passed.
    pub fn go_on(&self) {
        self.process.go_on();
    }

    /// Waits until it has ended after it was asked to.
    ///
    /// # Errors
    /// When it does not end in time or not with success.
    pub async fn end(&mut self, within: Duration) -> Result<()> {
        let status = self.process.end(within).await?;
        ensure!(status.success(), "the operator ended with {status}");
        Ok(())
    }

    /// Starts it again on the same backend; its port changes.
    ///
    /// # Errors
    /// When it does not start to listen.
    pub async fn start_again(&mut self) -> Result<()> {
        let started = spawn(
            &self.binary,
            &self.config,
            &self.backend,
            &self.log,
            self.lines,
        );
        (self.process, self.address) = started.await?;
        Ok(())
    }

    /// Changes the file with its configuration while it runs, in one step.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut configuration = read_yaml(&self.config).context("no configuration")?;
        change(&mut configuration);
        write_atomically(&self.config, &serde_saphyr::to_string(&configuration)?)
    }

    /// Waits for a line in its log.
    ///
    /// # Errors
    /// When the deadline passes or it ends first.
    pub async fn wait_for_log(
        &mut self,
        needle: &str,
        mark: LogMark,
        within: Duration,
    ) -> Result<String> {
        self.process.wait_for_log(needle, mark, within).await
    }

    /// Where its admin port is.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The answer of a page of its admin port, head and body.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let ask = async {
            let mut stream = TcpStream::connect(self.admin).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        timeout(Duration::from_secs(10), ask).await?
    }
}

async fn spawn(
    binary: &Path,
    config: &Path,
    backend: &Backend,
    log: &Path,
    (level, format): (&str, &str),
) -> Result<(Process, SocketAddr)> {
    let mark = LogMark::end_of(log);
    let mut command = backend.command(binary);
    command.args(["--log", level, "--log-format", format]);
    command.arg("--config").arg(config);
    let mut process = Process::spawn("operator", command, log)?;
    let line = process.wait_for_log("listening on", mark, START).await?;
    let address = address_in(&line).with_context(|| format!("no address in {line:?}"))?;
    Ok((process, address))
}

/// The first socket address in a log line (which may have colours).
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))
        .find_map(|word| word.parse().ok())
}

/// Builds the operator as people install it, unless a binary is named; cargo shows its progress.
///
/// # Errors
/// When the build fails.
pub fn build() -> Result<()> {
    if std::env::var_os(BINARY).is_some() {
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "opamp-operator",
        ])
        .current_dir(workspace())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the operator did not build ({status})");
    }
    Ok(())
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs another command of the operator's binary; returns what it prints.
///
/// # Errors
/// When it fails, with what it said.
pub fn command<A: AsRef<OsStr>>(arguments: &[A]) -> Result<String> {
    let output = Command::new(binary()?).args(arguments).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The binary under test: the one named, else the newer release build of this
/// workspace: the image's, which is static, or the plain one.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(BINARY) {
        return Ok(named.into());
    }
    let target = target()?;
    let image = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let builds = [target.join(image), target.clone()];
    let builds = builds.map(|build| build.join("release/opamp-operator"));
    let built = |binary: &PathBuf| binary.metadata().and_then(|meta| meta.modified()).ok();
    let newest = builds
        .into_iter()
        .filter(|it| it.is_file())
        .max_by_key(built);
    newest.with_context(|| {
        let target = target.display();
        format!(
            "there is no release build of the operator below {target}. Run `make image` \
             or `make operator` (`make test` and `make demo` do), or set {BINARY}"
        )
    })
}

/// Where Cargo puts what it builds.
///
/// # Errors
/// When this process has no path.
pub fn target() -> Result<PathBuf> {
    // Cargo marks its target directory, wherever that was configured to be.
    let myself = std::env::current_exe()?;
    let mut above = myself.ancestors();
    let target = above.find(|folder| folder.join("CACHEDIR.TAG").is_file());
    Ok(target.map_or_else(|| workspace().join("target"), Path::to_owned))
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn configuration(backend: &Backend, options: &Options, admin: SocketAddr) -> Value {
    let namespace = backend.namespace();
    let authenticators = options.authenticators.clone();
    let mut configuration = json!({
        "apiVersion": API_VERSION,
        "kind": "OperatorConfiguration",
        "namespace": namespace,
        "watchNamespaces": backend.watched(),
        "listen": "127.0.0.1:0",
        "advertisedURL": options.advertised,
        "servingCertificate": {"secretName": SERVING_TLS},
        "admin": {"listen": admin.to_string()},
        "authenticators": authenticators.unwrap_or_else(|| default_authenticators(namespace)),
        "debounceMilliseconds": milliseconds(options.debounce),
        "firstAgentTimeoutSeconds": options.first_agent.as_secs(),
        "restartHoldSeconds": options.restart_hold.as_secs(),
    });
    for (field, value) in options.configuration.as_object().into_iter().flatten() {
        configuration[field] = value.clone();
    }
    configuration
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A bootstrap token, and certificates of the fleet's CA.
fn default_authenticators(home: &str) -> Value {
    json!([
        {
            "name": "bootstrap",
            "agentToken": {"secretName": "bootstrap-token", "namespace": home},
        },
        {
            "name": "fleet-ca",
            "clientCertificate": {
                "caBundleRef": {"kind": "ConfigMap", "name": "client-ca", "key": "ca.crt"},
                "namespace": home,
            },
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_a_line_with_colours() {
        let line = "\u{1b}[2m2026-11-23T00:00:00Z\u{1b}[0m INFO listening on 127.0.0.1:4320 \
                    \u{1b}[3maddress\u{1b}[0m\u{1b}[2m=\u{1b}[0m127.0.0.1:4320";
        assert_eq!(address_in(line), "127.0.0.1:4320".parse().ok());
        assert_eq!(address_in("no address"), None);
    }
}
