//! The real `OpAMP` Supervisor with a real collector.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::eventually::{Look, eventually};
use crate::manifests::{read_yaml, write_atomically};
use crate::parts::Parts;
use crate::process::{LogMark, Process};

/// How long a supervisor may take to start its collector once and learn what it is.
const BOOTSTRAP: Duration = Duration::from_mins(1);

/// A release of the supervisor that is built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// v0.149.0; part of [`crate::parts::Set::Releases`].
    V0_149,
    /// v0.158.0, which all tests use.
    V0_158,
}

impl Release {
    /// The name of its part.
    fn part(self) -> &'static str {
        match self {
            Self::V0_149 => "opampsupervisor-0.149",
            Self::V0_158 => "opampsupervisor",
        }
    }
}

/// What keeps a collector from listening for those who ask for its metrics.
const SILENT: &str = "--set=service.telemetry.metrics.level=none";

/// The file with the token, where there is one.
pub const TOKEN: &str = "token";
/// The file with the CA that signed the operator's serving certificate.
pub const CA_FILE: &str = "server-ca.pem";
/// The collector's configuration.
pub const COLLECTOR: &str = "collector.yaml";

/// What a supervisor is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which supervisor.
    pub release: Release,
    /// The URL of its `server` section.
    pub endpoint: String,
    /// The bearer token of its `server` section.
    pub token: String,
    /// Takes the token from a file, as a Pod does: it outlives offers.
    pub token_from_file: bool,
    /// Whether it takes connection settings.
    pub accepts_settings: bool,
    /// Whether it reports metrics and logs of its own.
    pub own_telemetry: bool,
    /// Non-identifying attributes of its description.
    pub attributes: Vec<(String, String)>,
}

/// A supervisor; its storage outlives its process.
#[derive(Debug)]
pub struct Supervisor {
    name: String,
    binary: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    process: Process,
    uid: String,
    variable: Option<(String, String)>,
}

impl Supervisor {
    /// Writes its files into `folder`, starts it and waits until it has an instance UID.
    ///
    /// # Errors
    /// When it cannot be started or does not get through its bootstrap.
    pub async fn start(
        name: &str,
        parts: &Parts,
        folder: &Path,
        logs: &Path,
        server_ca: &str,
        options: &Options,
    ) -> Result<Self> {
        prepare(folder, server_ca)?;
        let mut executable = parts.path("otelcol")?.to_owned();
        if options.own_telemetry {
            executable = measuring(folder, &executable)?;
        }
        let config = supervisor_config(folder, &executable, options);
        if options.token_from_file {
            write_atomically(&folder.join(TOKEN), &options.token)?;
        }
        Self::start_with(name, parts, options.release, folder, logs, &config, None).await
    }

    /// Starts one by a configuration that something else made for `folder`, in
    /// which [`prepare`] put what it names; with a variable in its environment.
    ///
    /// # Errors
    /// When it cannot be started or does not get through its bootstrap.
    pub async fn start_with(
        name: &str,
        parts: &Parts,
        release: Release,
        folder: &Path,
        logs: &Path,
        config: &Value,
        variable: Option<(String, String)>,
    ) -> Result<Self> {
        let mut config = config.clone();
        // What keeps the many supervisors of one machine apart.
        let agent = &mut config["agent"];
        // Left alone it takes a port that was free a moment ago, and two
        // supervisors that start together may take the same.
        agent["opamp_server_port"] = own_port().into();
        // Also while the supervisor only asks the collector what it is: else
        // all collectors of the machine want the same port 8888.
        agent["args"] = json!([SILENT]);
        agent["bootstrap_timeout"] = "50s".into();
        agent["config_apply_timeout"] = "30s".into();
        config["telemetry"] = json!({"logs": {"level": "debug", "output_paths": ["stdout"]}});
        let config = serde_saphyr::to_string(&config)?;
        write_atomically(&folder.join("supervisor.yaml"), &config)?;
        let binary = parts.path(release.part())?.to_owned();
        let log = logs.join(format!("{name}.log"));
        let process = spawn(name, &binary, folder, &log, variable.as_ref())?;
        let mut supervisor = Self {
            variable,
            name: name.to_owned(),
            binary,
            folder: folder.to_owned(),
            log,
            process,
            uid: String::new(),
        };
        supervisor.uid = supervisor.wait_for_uid().await?;
        Ok(supervisor)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instance UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The folder with its configuration and storage.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Renews the file with its token, as the kubelet does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew_token(&self, token: &str) -> Result<()> {
        write_atomically(&self.folder.join(TOKEN), token)
    }

    /// Kills it and its collector, without warning.
    ///
    /// # Errors
    /// When the operating system does not give its exit status.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9().map(drop)
    }

    /// Starts it again on the same storage: the same agent, with its file's settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        let variable = self.variable.as_ref();
        self.process = spawn(&self.name, &self.binary, &self.folder, &self.log, variable)?;
        Ok(())
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

    async fn wait_for_uid(&mut self) -> Result<String> {
        let file = self.folder.join("storage/persistent_state.yaml");
        let what = format!("{} has an instance UID", self.name);
        eventually(&what, BOOTSTRAP, || {
            if self.process.has_ended() {
                return Look::Never(format!("it ended; see {}", self.log.display()));
            }
            let state = read_yaml(&file);
            let uid = state
                .as_ref()
                .and_then(|state| state["instance_id"].as_str());
            Look::some(uid.map(str::to_owned), "no state file yet")
        })
        .await
    }
}

/// Writes what configurations name: CA and collector, and a folder to keep.
///
/// # Errors
/// When it cannot be written.
pub fn prepare(folder: &Path, server_ca: &str) -> Result<()> {
    std::fs::create_dir_all(folder.join("storage"))?;
    write_atomically(&folder.join(CA_FILE), server_ca)?;
    let collector = serde_saphyr::to_string(&collector_config())?;
    write_atomically(&folder.join(COLLECTOR), &collector)
}

/// A collector that measures itself as soon as it is told where that goes: until
/// then it would listen on port 8888, which others of this machine may have.
/// It is told no CA, and trusts that of the operator as a machine's roots.
fn measuring(folder: &Path, collector: &Path) -> Result<PathBuf> {
    let script = folder.join("otelcol");
    let (collector, roots) = (collector.display(), folder.join(CA_FILE));
    let (effective, roots) = (folder.join("storage/effective.yaml"), roots.display());
    let effective = effective.display();
    let text = format!(
        "#!/bin/sh\n\
         export SSL_CERT_FILE='{roots}'\n\
         level=none\n\
         if grep -q 'periodic:' '{effective}' 2>/dev/null; then level=basic; fi\n\
         case $1 in\n\
         --*) exec '{collector}' \"$@\" --set=service.telemetry.metrics.level=$level ;;\n\
         *) exec '{collector}' \"$@\" ;;\n\
         esac\n"
    );
    write_atomically(&script, &text)?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    Ok(script)
}

fn spawn(
    name: &str,
    binary: &Path,
    folder: &Path,
    log: &Path,
    variable: Option<&(String, String)>,
) -> Result<Process> {
    let mut command = Command::new(binary);
    command
        .envs(variable.map(|(name, value)| (name, value)))
        .arg("--config")
        .arg(folder.join("supervisor.yaml"))
        .current_dir(folder);
    if folder.join(TOKEN).is_file() {
        command.arg("--feature-gates=opampsupervisor.Extensions");
    }
    Process::spawn(name, command, log)
}

/// A port below the range from which the system gives out ports, and which no
/// other caller of this process gets.
fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 10_000;
    // Processes that run at the same time begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(COUNT / 100)).unwrap_or(0) * 100;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(offset) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    FIRST
}

/// A collector that does nothing and listens nowhere.
fn collector_config() -> Value {
    json!({
        "receivers": {"nop": {}},
        "exporters": {"nop": {}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["nop"], "exporters": ["nop"]}},
        },
    })
}

fn supervisor_config(folder: &Path, executable: &Path, options: &Options) -> Value {
    let attributes = options.attributes.iter().cloned();
    let attributes: serde_json::Map<String, Value> = attributes
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    let ca_file = folder.join(CA_FILE);
    let mut server = json!({"endpoint": options.endpoint, "tls": {"ca_file": ca_file}});
    let mut extensions = None;
    if options.token_from_file {
        server["auth"] = json!("bearertokenauth");
        extensions = Some(json!({"bearertokenauth": {"filename": folder.join(TOKEN)}}));
    } else {
        server["headers"] = json!({"Authorization": format!("Bearer {}", options.token)});
    }
    let mut config = json!({
        "server": server,
        "capabilities": {
            "accepts_opamp_connection_settings": options.accepts_settings,
            "reports_heartbeat": true,
            "reports_effective_config": true,
            "reports_health": true,
            "reports_own_metrics": options.own_telemetry,
            "reports_own_logs": options.own_telemetry,
        },
        "storage": {"directory": folder.join("storage")},
        "agent": {
            "executable": executable,
            "config_files": [folder.join(COLLECTOR)],
            "description": {"non_identifying_attributes": attributes},
        },
    });
    if let Some(extensions) = extensions {
        config["extensions"] = extensions;
    }
    config
}
