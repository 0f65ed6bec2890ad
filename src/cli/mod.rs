//! The command line.

mod agent_config;
mod config;
mod explain;
mod probe;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use agent_config::AgentConfig;
use config::ConfigCommand;
use explain::Explain;
use probe::Probe;

use crate::{
    app::{self, Source},
    config::Config,
    crd,
    manifest::inputs,
    telemetry::{self, LogFormat},
    validate::validate,
};

/// Keeps `OpAMP` agents connected while credentials rotate and endpoints move.
#[derive(Debug, Parser)]
#[command(
    name = "opamp-operator",
    version,
    about = "Keeps OpAMP agents connected while credentials rotate and endpoints move"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves agents.
    Run(Run),
    /// Prints the `CustomResourceDefinition`s.
    #[command(about = "Prints the CustomResourceDefinitions")]
    Crd {
        /// Writes a file for each into this directory instead.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Judges files without a cluster, as the Kubernetes API would.
    ///
    /// Profiles are judged by the schema and rules of the CRD. Where all the
    /// Secrets and ConfigMaps that a profile names are among the files, it is
    /// looked whether they could be offered. Ends with 0 if nothing is wrong, 1
    /// if something is refused, 2 if a file cannot be read.
    Validate {
        /// YAML or JSON with any number of documents; `-` is standard input; of
        /// a directory its `.yaml`, `.yml` and `.json` files are read.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Prints a supervisor.yaml for agents that a profile is to select.
    AgentConfig(Box<AgentConfig>),
    /// Asks a running operator which profile applies to an agent, and why not
    /// the others.
    Explain(Explain),
    /// Connects to an OpAMP server as an agent does that has no credential yet.
    ///
    /// Ends with 0 if the server proved itself by a certificate and serves OpAMP.
    #[command(about = "Connects to an OpAMP server as an agent does that has no credential yet")]
    Probe(Probe),
    /// Looks at the operator's configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The configuration: a file with `kind: OperatorConfiguration`.
    #[arg(
        long,
        value_name = "FILE",
        help = "The configuration: a file with kind: OperatorConfiguration"
    )]
    config: PathBuf,
    /// Instead of the Kubernetes API: a directory with profiles, Secrets and
    /// `ConfigMaps` as YAML.
    #[arg(
        long,
        value_name = "DIR",
        requires = "state",
        help = "Instead of the Kubernetes API: a directory with profiles, Secrets and ConfigMaps as YAML"
    )]
    manifests: Option<PathBuf>,
    /// With --manifests: where statuses, agents, ledger and key are kept.
    #[arg(long, value_name = "DIR", requires = "manifests")]
    state: Option<PathBuf>,
    /// Form of log lines.
    #[arg(
        long,
        env = "OPAMP_OPERATOR_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    log_format: LogFormat,
    /// A level, or a list of `target=level`.
    #[arg(long, env = "OPAMP_OPERATOR_LOG", default_value = "info")]
    log: String,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// With what went wrong.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Validate { files } => {
                let inputs = inputs(&files, std::io::stdin());
                let verdict = validate(&inputs, jiff::Timestamp::now());
                write!(std::io::stdout(), "{verdict}")?;
                return Ok(ExitCode::from(verdict.exit_code()));
            }
            Command::Explain(explain) => {
                std::io::stdout().write_all(explain.text()?.as_bytes())?;
            }
            Command::Config(command) => {
                let (said, code) = command.execute();
                std::io::stdout().write_all(said.as_bytes())?;
                return Ok(code);
            }
            Command::Probe(probe) => {
                std::io::stdout().write_all(probe.text()?.as_bytes())?;
            }
            Command::AgentConfig(wanted) => {
                std::io::stdout().write_all(wanted.text()?.as_bytes())?;
            }
            Command::Crd {
                directory: Some(directory),
            } => crd::write(&directory)
                .with_context(|| format!("cannot write into {}", directory.display()))?,
            Command::Crd { directory: None } => {
                for (_, text) in crd::definitions() {
                    std::io::stdout().write_all(text.as_bytes())?;
                }
            }
            Command::Run(run) => {
                telemetry::start(run.log_format, &run.log)?;
                let config = Config::read(&run.config)?;
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()
                    .context("the runtime cannot be started")?;
                let source = match run.manifests.zip(run.state) {
                    Some((manifests, state)) => Source::Directory { manifests, state },
                    None => Source::Cluster,
                };
                runtime.block_on(app::run(config, run.config, source))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
