//! The world of one test: throw-away PKI, manifests, tap, operator, supervisors.
//!
//! A world that ends without [`World::finish`] was part of a failure: it prints
//! its timeline and the ends of its logs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::guard;
use crate::leaks::Leaks;
use crate::manifests::{
    CLIENT_TLS, Manifests, config_map, mutual_tls, offerable_tls, profile, secret, with_pair,
};
use crate::operator::{self, Operator};
use crate::parts::{Parts, Set};
use crate::pki::{Ca, DAY, KeyKind, Leaf, Wallet, Window, random_token};
use crate::process::{LogMark, read_from, tail};
use crate::state::State;
use crate::supervisor::{self, Supervisor};
use crate::tap::Tap;
use crate::timeline::Timeline;

/// How long anything may take that should take a moment, on a busy machine.
pub const SOON: Duration = Duration::from_secs(40);

/// Longer than the least time between two offers to one agent.
pub const OFFER: Duration = Duration::from_mins(1);

/// The profile of the standard manifests.
pub const PROFILE: &str = "fleet";

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long the operator gathers changes.
    pub debounce: Duration,
    /// How long the operator waits for a first agent's evidence.
    pub first_agent: Duration,
    /// How long an operator without memory waits before it offers.
    pub restart_hold: Duration,
    /// Replaces the standard authenticators.
    pub authenticators: Option<Value>,
    /// Prints the timeline as it grows, and leaves signals to the caller.
    pub echo: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(300),
            first_agent: Duration::from_mins(2),
            restart_hold: Duration::from_secs(4),
            authenticators: None,
            echo: false,
        }
    }
}

/// The authorities and keys of a world.
pub struct Pki {
    /// Signs the operator's serving certificate.
    pub server_ca: Ca,
    /// Signs the agents' certificates.
    pub client_ca: Ca,
    /// Every client identity made so far.
    pub wallet: Wallet,
}

/// Everything a test of the directory tier has.
pub struct World {
    /// The supervisors, in the order of their start.
    pub supervisors: Vec<Supervisor>,
    operator: Option<Operator>,
    /// Between the two.
    pub tap: Tap,
    /// What the operator watches.
    pub manifests: Manifests,
    /// The test's keys.
    pub pki: Pki,
    /// What happened.
    pub timeline: Timeline,
    bootstrap_token: String,
    setup: Setup,
    parts: Parts,
    leaks: Leaks,
    name: String,
    dir: TempDir,
    finished: bool,
}

impl World {
    /// Makes PKI, tap and the manifests of a serving certificate, CAs and a
    /// bootstrap token; nothing runs yet but the tap.
    ///
    /// # Errors
    /// When a part is missing or something cannot be made.
    pub async fn new(name: &str, setup: Setup) -> Result<Self> {
        if !setup.echo {
            guard::watch();
        }
        let parts = Parts::ensure(Set::Directory).await?;
        let timeline = Timeline::start(setup.echo);
        let dir = tempfile::Builder::new().prefix("opamp-e2e-").tempdir()?;
        std::fs::create_dir_all(dir.path().join("logs"))?;
        let pki = Pki {
            server_ca: Ca::new("server CA")?,
            client_ca: Ca::new("client CA")?,
            wallet: Wallet::default(),
        };
        let serving = pki.server_ca.server(Window::lasting(30 * DAY))?;
        let tap = Tap::start(
            timeline.clone(),
            &serving,
            pki.server_ca.pem(),
            pki.wallet.clone(),
        );
        let mut world = Self {
            supervisors: Vec::new(),
            operator: None,
            tap: tap.await?,
            manifests: Manifests::new(&dir.path().join("manifests"))?,
            pki,
            timeline,
            bootstrap_token: random_token()?,
            setup,
            parts,
            leaks: Leaks::default(),
            name: name.to_owned(),
            dir,
            finished: false,
        };
        world.write_basics(&serving)?;
        Ok(world)
    }

    /// As [`World::new`], with the standard profile (mutual TLS) and a running
    /// operator; returns the certificate that agents are to be given.
    ///
    /// # Errors
    /// When something cannot be made or the operator does not start.
    pub async fn with_mutual_tls(name: &str, setup: Setup) -> Result<(Self, Leaf)> {
        let mut world = Self::new(name, setup).await?;
        let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
        world.publish_mutual_tls(&leaf)?;
        world.start_operator().await?;
        Ok((world, leaf))
    }

    /// Writes the standard profile and its certificate.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn publish_mutual_tls(&self, leaf: &Leaf) -> Result<()> {
        self.manifests.apply(&offerable_tls(CLIENT_TLS, leaf))?;
        self.manifests.apply(&profile(PROFILE, &mutual_tls()))
    }

    fn write_basics(&mut self, serving: &Leaf) -> Result<()> {
        let serving_secret = secret("opamp-operator-serving", &[]);
        let pair = with_pair(serving_secret, &serving.certificate, &serving.key);
        self.manifests.apply(&pair)?;
        let (server_ca, client_ca) = (self.pki.server_ca.pem(), self.pki.client_ca.pem());
        self.manifests
            .apply(&config_map("server-ca", "ca.crt", server_ca))?;
        self.manifests
            .apply(&config_map("client-ca", "ca.crt", client_ca))?;
        let token = self.bootstrap_token.clone();
        self.manifests
            .apply(&secret("bootstrap-token", &[("token", &token)]))?;
        self.leaks.add("serving key", &serving.key);
        self.leaks
            .add("server CA key", self.pki.server_ca.key_pem());
        self.leaks
            .add("client CA key", self.pki.client_ca.key_pem());
        self.leaks.add("bootstrap token", &token);
        Ok(())
    }

    /// A client certificate of the fleet's CA; the tap can present it, the leak check knows it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_leaf(&mut self, name: &str, kind: KeyKind, window: Window) -> Result<Leaf> {
        let leaf = self.pki.client_ca.client(name, kind, window)?;
        self.pki.wallet.add(&leaf);
        self.leaks.add(&format!("key of {name}"), &leaf.key);
        Ok(leaf)
    }

    /// A new token; the leak check knows it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn token(&mut self, name: &str) -> Result<String> {
        let token = random_token()?;
        self.leaks.add(name, &token);
        Ok(token)
    }

    /// The token in the `server` section of the supervisors.
    #[must_use]
    pub fn bootstrap_token(&self) -> &str {
        &self.bootstrap_token
    }

    /// The world's directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// Starts the operator on the manifests and tells the tap.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_operator(&mut self) -> Result<()> {
        let options = operator::Options {
            advertised: self.tap.url("wss"),
            debounce: self.setup.debounce,
            first_agent: self.setup.first_agent,
            restart_hold: self.setup.restart_hold,
            authenticators: self.setup.authenticators.clone(),
        };
        let folder = self.dir.path().join("operator");
        let manifests = self.manifests.folder().to_owned();
        let operator = Operator::start(&folder, &manifests, &self.logs(), &options).await?;
        self.tap.set_operator(operator.address());
        let address = operator.address();
        self.timeline
            .add("operator", format!("listens on {address}"));
        self.operator = Some(operator);
        Ok(())
    }

    /// Kills the operator without warning.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_operator(&mut self) -> Result<()> {
        self.operator_mut()?.kill9()?;
        self.timeline.add("operator", "killed (SIGKILL)");
        Ok(())
    }

    /// Starts the operator again on its directories and tells the tap.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_operator_again(&mut self) -> Result<()> {
        let operator = self.operator_mut()?;
        operator.start_again().await?;
        let address = operator.address();
        self.tap.set_operator(address);
        self.timeline
            .add("operator", format!("started again, listens on {address}"));
        Ok(())
    }

    /// The operator.
    ///
    /// # Errors
    /// When it was never started.
    pub fn operator_mut(&mut self) -> Result<&mut Operator> {
        self.operator
            .as_mut()
            .context("the operator was not started")
    }

    /// What the operator says about profiles and agents.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(&self.dir.path().join("operator/state"))
    }

    /// Starts a supervisor that takes settings; returns its instance UID.
    ///
    /// # Errors
    /// When it does not get through its bootstrap.
    pub async fn supervisor(&mut self, name: &str) -> Result<String> {
        let options = self.supervisor_options(name);
        self.supervisor_with(name, &options).await
    }

    /// The options of a supervisor that takes settings.
    #[must_use]
    pub fn supervisor_options(&self, name: &str) -> supervisor::Options {
        supervisor::Options {
            endpoint: self.tap.url("wss"),
            token: self.bootstrap_token.clone(),
            accepts_settings: true,
            attributes: vec![("e2e.agent".to_owned(), name.to_owned())],
        }
    }

    /// Starts a supervisor with other options; returns its instance UID.
    ///
    /// # Errors
    /// When it does not get through its bootstrap.
    pub async fn supervisor_with(
        &mut self,
        name: &str,
        options: &supervisor::Options,
    ) -> Result<String> {
        let folder = self.dir.path().join("supervisors").join(name);
        let ca = self.pki.server_ca.pem();
        let logs = self.logs();
        self.timeline.add(name, "starts with its bootstrap token");
        let started = Supervisor::start(name, &self.parts, &folder, &logs, ca, options).await?;
        let uid = started.uid().to_owned();
        self.timeline.note(name, format!("is agent {uid}"));
        self.supervisors.push(started);
        Ok(uid)
    }

    /// A supervisor by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn supervisor_mut(&mut self, name: &str) -> Result<&mut Supervisor> {
        let mut all = self.supervisors.iter_mut();
        let found = all.find(|supervisor| supervisor.name() == name);
        found.with_context(|| format!("no supervisor {name}"))
    }

    /// The end of a world that nobody wants to judge: everything stops, nothing is printed.
    pub fn abandon(mut self) {
        self.finished = true;
    }

    /// The end of every good test: looks for leaks, then ends the operator in order.
    ///
    /// # Errors
    /// When a secret leaked or the operator does not end as it should.
    pub async fn finish(mut self) -> Result<()> {
        let operator = self
            .operator
            .as_mut()
            .context("the operator was not started")?;
        let metrics = operator.admin("/metrics").await?;
        let ready = operator.admin("/readyz").await?;
        operator.stop().await?;
        let timeline = self.timeline.render();
        let texts = [
            ("/metrics", metrics.as_str()),
            ("/readyz", ready.as_str()),
            ("timeline", timeline.as_str()),
        ];
        let (logs, state, scratch) = (
            self.logs(),
            self.dir.path().join("operator/state"),
            self.dir.path().join("scratch"),
        );
        self.leaks.check(&[&logs, &state], &texts, &scratch)?;
        self.finished = true;
        Ok(())
    }

    /// Everything a person needs after a failure.
    fn report(&self) -> String {
        let mut text = format!("=== {}: timeline\n{}", self.name, self.timeline.render());
        let operator = self.operator.iter().map(Operator::log);
        let supervisors = self.supervisors.iter().map(Supervisor::log);
        for (log, lines) in operator
            .map(|log| (log, 60))
            .chain(supervisors.map(|log| (log, 12)))
        {
            let end = tail(&read_from(log, LogMark::default()), lines);
            let _ = writeln!(text, "=== end of {}\n{end}", log.display());
        }
        text
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.finished {
            eprintln!("{}", self.report());
            if std::env::var_os("E2E_KEEP").is_some() {
                self.dir.disable_cleanup(true);
                eprintln!("kept: {}", self.dir.path().display());
            }
        }
    }
}
