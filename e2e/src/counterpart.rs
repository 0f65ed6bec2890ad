//! An agent that is a client library nobody here wrote, and next to nothing
//! else: opamp-go's, or that of another language.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use uuid::Uuid;

use crate::manifests::write_atomically;
use crate::parts::clients::Client;
use crate::process::{LogMark, Process};
use crate::scene::{SOON, Scene};

/// Seconds between its messages, until it is told otherwise.
const HEARTBEAT: &str = "2";

/// How long any of them may take to come back after a failure. That for
/// Node.js waits half a minute and longer.
pub const BACK: Duration = Duration::from_mins(3);

/// Which library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// opamp-go.
    Go,
    /// That of another language.
    Other(Client),
}

impl Library {
    /// The part's name, which is also the agent's `service.name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "opamp-go-client",
            Self::Other(client) => client.name(),
        }
    }

    async fn program(self, scene: &Scene) -> Result<PathBuf> {
        match self {
            Self::Go => scene.parts().path(self.name()).map(Into::into),
            Self::Other(client) => client.ensure().await,
        }
    }
}

/// The agent's process.
#[derive(Debug)]
pub struct Counterpart {
    process: Process,
    uid: String,
    quiet: bool,
}

impl Counterpart {
    /// Starts one over `wss` or `https`, with the scene's bootstrap token,
    /// against the scene's tap. It says that it takes no connection settings,
    /// unless `more` of its arguments make it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(
        library: Library,
        scheme: &str,
        scene: &Scene,
        more: &[&str],
    ) -> Result<Self> {
        let name = library.name();
        let folder = scene.folder().join("clients").join(name);
        std::fs::create_dir_all(&folder)?;
        let (token, ca) = (folder.join("token"), folder.join("server-ca.pem"));
        write_atomically(&token, scene.bootstrap_token())?;
        write_atomically(&ca, scene.pki.server_ca.pem())?;
        let mut command = Command::new(library.program(scene).await?);
        command.args(["--endpoint", &scene.tap.url(scheme)]);
        if library != Library::Other(Client::Python) {
            // Python's client can be given no instance UID.
            command.args(["--uid", &Uuid::now_v7().to_string()]);
        }
        command.arg("--token-file").arg(token);
        command.arg("--ca-file").arg(ca);
        command.args(["--heartbeat", HEARTBEAT]).args(more);
        let log = scene.logs().join(format!("{name}.log"));
        scene.timeline.add(name, format!("starts over {scheme}"));
        let mut process = Process::spawn(name, command, &log)?;
        let says = process.wait_for_log("agent ", LogMark::default(), SOON);
        let says = says.await?;
        let uid = says.trim_start_matches("agent ").trim();
        let uid = Uuid::try_parse(uid).with_context(|| format!("no instance UID in {says:?}"))?;
        let uid = uid.to_string();
        scene.timeline.note(name, format!("is agent {uid}"));
        let quiet = library == Library::Other(Client::Java) && scheme == "wss";
        Ok(Self {
            process,
            uid,
            quiet,
        })
    }

    /// Whether it speaks only when something of it changes, as Java's client
    /// does over WebSocket: no heartbeats, and nothing after a new connection.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Its instance UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// opamp-go: from now on it says that it takes connection settings, or
    /// that it does not.
    ///
    /// # Errors
    /// When it does not hear.
    pub async fn accepts_settings(&mut self, accepts: bool) -> Result<()> {
        let signal = if accepts { Signal::USR1 } else { Signal::USR2 };
        self.hears(signal, "capabilities").await
    }

    /// Java: changes its description, which it reports.
    ///
    /// # Errors
    /// When it does not hear.
    pub async fn changes(&mut self) -> Result<()> {
        self.hears(Signal::USR1, "changed").await
    }

    /// Waits until the library says, from now on, that it is connected.
    ///
    /// # Errors
    /// When the deadline passes or the agent ends.
    pub async fn connected(&mut self, since: LogMark) -> Result<()> {
        let said = self.process.wait_for_log("connected", since, BACK);
        said.await.map(drop)
    }

    /// The present end of what it has written.
    #[must_use]
    pub fn mark(&self) -> LogMark {
        LogMark::end_of(self.process.log())
    }

    /// How many offers reached the program behind the library.
    #[must_use]
    pub fn heard_offers(&self) -> usize {
        let log = crate::process::read_from(self.process.log(), LogMark::default());
        let offers = log.lines().filter(|line| line.starts_with("offered "));
        offers.count()
    }

    async fn hears(&mut self, signal: Signal, answer: &str) -> Result<()> {
        let mark = LogMark::end_of(self.process.log());
        self.process.signal(signal)?;
        let said = self.process.wait_for_log(answer, mark, SOON);
        said.await.map(drop)
    }
}
