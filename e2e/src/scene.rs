//! What every test has, whatever the operator reads from: throw-away PKI, tap,
//! supervisors, the operator's process, a timeline and a leak check.
//!
//! A scene that ends without [`Scene::finish`] was part of a failure: it prints
//! its timeline and the ends of its logs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::guard;
use crate::leaks::Leaks;
use crate::operator::{self, Backend, Operator};
use crate::parts::{Parts, Set};
use crate::pki::{Ca, DAY, KeyKind, Leaf, Wallet, Window, random_token};
use crate::process::{LogMark, read_from, tail};
pub use crate::setup::{OFFER, PROFILE, SOON, Setup};
use crate::supervisor::{self, Release, Supervisor};
use crate::tap::Tap;
use crate::timeline::Timeline;

/// The authorities and keys of a scene.
pub struct Pki {
    /// Signs the operator's serving certificate.
    pub server_ca: Ca,
    /// Signs the agents' certificates.
    pub client_ca: Ca,
    /// The operator's first serving certificate.
    pub serving: Leaf,
    /// Every client identity made or offered so far.
    pub wallet: Wallet,
}

/// More for a person to read after a failure.
type Epilogue = Box<dyn Fn() -> String + Send + Sync>;

/// What a test has beside the objects that its operator reads.
pub struct Scene {
    /// The supervisors, in the order of their start.
    pub supervisors: Vec<Supervisor>,
    operator: Option<Operator>,
    /// Between the two.
    pub tap: Tap,
    /// The test's keys.
    pub pki: Pki,
    /// What happened.
    pub timeline: Timeline,
    bootstrap_token: String,
    setup: Setup,
    parts: Parts,
    leaks: Leaks,
    epilogue: Option<Epilogue>,
    name: String,
    dir: TempDir,
    finished: bool,
}

impl Scene {
    /// Makes PKI, a bootstrap token and the tap; nothing else runs yet.
    ///
    /// # Errors
    /// When a part is missing or something cannot be made.
    pub async fn new(name: &str, setup: Setup, parts: Set) -> Result<Self> {
        if !setup.echo {
            guard::watch();
        }
        let parts = Parts::ensure(parts).await?;
        let timeline = Timeline::start(setup.echo);
        let dir = tempfile::Builder::new().prefix("opamp-e2e-").tempdir()?;
        std::fs::create_dir_all(dir.path().join("logs"))?;
        let server_ca = Ca::new("server CA")?;
        let pki = Pki {
            serving: server_ca.server(Window::lasting(30 * DAY))?,
            server_ca,
            client_ca: Ca::new("client CA")?,
            wallet: Wallet::default(),
        };
        let (ca, wallet) = (pki.server_ca.pem(), pki.wallet.clone());
        let tap = Tap::start(timeline.clone(), &pki.serving, ca, wallet).await?;
        let bootstrap_token = random_token()?;
        let mut leaks = Leaks::default();
        leaks.add("serving key", &pki.serving.key);
        leaks.add("server CA key", pki.server_ca.key_pem());
        leaks.add("client CA key", pki.client_ca.key_pem());
        leaks.add("bootstrap token", &bootstrap_token);
        Ok(Self {
            supervisors: Vec::new(),
            operator: None,
            tap,
            pki,
            timeline,
            bootstrap_token,
            setup,
            parts,
            leaks,
            epilogue: None,
            name: name.to_owned(),
            dir,
            finished: false,
        })
    }

    /// A client certificate of the fleet's CA; the tap can present it, the leak check knows it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_leaf(&mut self, name: &str, kind: KeyKind, window: Window) -> Result<Leaf> {
        let leaf = self.pki.client_ca.client(name, kind, window)?;
        self.knows(name, &leaf);
        Ok(leaf)
    }

    /// Takes in a certificate that was made elsewhere: the tap can present it,
    /// the leak check knows its key.
    pub fn knows(&mut self, name: &str, leaf: &Leaf) {
        self.pki.wallet.add(leaf);
        self.leaks.add(&format!("key of {name}"), &leaf.key);
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

    /// Any other secret of the test, for the leak check.
    pub fn keeps_secret(&mut self, name: &str, value: &str) {
        self.leaks.add(name, value);
    }

    /// The token in the `server` section of the supervisors.
    #[must_use]
    pub fn bootstrap_token(&self) -> &str {
        &self.bootstrap_token
    }

    /// The real parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The scene's directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// What is also printed after a failure.
    pub fn set_epilogue(&mut self, epilogue: impl Fn() -> String + Send + Sync + 'static) {
        self.epilogue = Some(Box::new(epilogue));
    }

    /// Where every process of the scene has its log: the leak check reads all,
    /// and a failure prints their ends.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// Starts the operator and tells the tap.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn run_operator(&mut self, backend: Backend) -> Result<()> {
        let options = operator::Options {
            advertised: self.tap.url("wss"),
            debounce: self.setup.debounce,
            first_agent: self.setup.first_agent,
            restart_hold: self.setup.restart_hold,
            authenticators: self.setup.authenticators.clone(),
            configuration: self.setup.configuration.clone(),
            log: (self.setup.log, self.setup.log_format),
        };
        let folder = self.dir.path().join("operator");
        let operator = Operator::start(&folder, backend, &self.logs(), &options).await?;
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

    /// Starts the operator again as it was started first and tells the tap.
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

    /// Starts another process of the operator beside the first, which agents do
    /// not get to until the tap is told.
    ///
    /// # Errors
    /// When there is no first one, or it does not start.
    pub async fn second_operator(&mut self) -> Result<Operator> {
        let folder = self.dir.path().join("operator-2");
        let second = self.operator_mut()?.beside(&folder).await?;
        let address = second.address();
        self.timeline
            .add("operator", format!("a second one listens on {address}"));
        Ok(second)
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
            release: Release::V0_158,
            endpoint: self.tap.url("wss"),
            token: self.bootstrap_token.clone(),
            token_from_file: false,
            accepts_settings: true,
            own_telemetry: false,
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
        let folder = self.supervisor_folder(name);
        let ca = self.pki.server_ca.pem();
        let logs = self.logs();
        self.timeline.add(name, "starts with its bootstrap token");
        let started = Supervisor::start(name, &self.parts, &folder, &logs, ca, options).await?;
        let uid = started.uid().to_owned();
        self.timeline.note(name, format!("is agent {uid}"));
        self.supervisors.push(started);
        Ok(uid)
    }

    /// Where a supervisor of this name has its files.
    #[must_use]
    pub fn supervisor_folder(&self, name: &str) -> PathBuf {
        self.dir.path().join("supervisors").join(name)
    }

    /// Starts a supervisor by a configuration that something else made for its
    /// folder; returns its instance UID.
    ///
    /// # Errors
    /// When it does not get through its bootstrap.
    pub async fn supervisor_by(
        &mut self,
        name: &str,
        config: &Value,
        variable: Option<(String, String)>,
    ) -> Result<String> {
        let (folder, logs) = (self.supervisor_folder(name), self.logs());
        self.timeline.add(name, "starts as it was told");
        let (parts, release) = (&self.parts, Release::V0_158);
        let started =
            Supervisor::start_with(name, parts, release, &folder, &logs, config, variable).await?;
        let uid = started.uid().to_owned();
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

    /// The end of a scene that nobody wants to judge: everything stops, nothing is printed.
    pub fn abandon(mut self) {
        self.finished = true;
    }

    /// The end of every good test: ends the operator in order, then looks for
    /// leaks in its logs, below `folders` and in what `texts` returns.
    ///
    /// # Errors
    /// When a secret leaked or the operator does not end as it should.
    pub async fn finish<T>(mut self, folders: &[&Path], texts: T) -> Result<()>
    where
        T: AsyncFnOnce() -> Result<Vec<(String, String)>>,
    {
        let agents = self.supervisors.iter();
        let agents = agents.map(|agent| format!("/ui/agents/{}", agent.uid()));
        let agents: Vec<_> = agents.collect();
        let operator = self.operator_mut()?;
        let mut all = Vec::new();
        let pages = [
            "/readyz",
            "/metrics",
            "/profiles",
            "/agents",
            "/ui/",
            "/ui/revisions",
        ];
        for page in pages.into_iter().chain(agents.iter().map(String::as_str)) {
            all.push((page.to_owned(), operator.admin(page).await?));
        }
        let for_people = ["/ui/", "/ui/profiles", "/ui/revisions"].map(str::to_owned);
        for page in for_people.into_iter().chain(agents) {
            let text = operator.admin(&page).await?;
            all.push((page, text));
        }
        operator.stop().await?;
        all.extend(texts().await?);
        all.push(("timeline".to_owned(), self.timeline.render()));
        for leaf in self.pki.wallet.all() {
            self.leaks.add("an offered key", &leaf.key);
        }
        let (logs, scratch) = (self.logs(), self.dir.path().join("scratch"));
        let folders = [&[logs.as_path()], folders].concat();
        let texts: Vec<(&str, &str)> = all
            .iter()
            .map(|(place, text)| (&**place, &**text))
            .collect();
        self.leaks.check(&folders, &texts, &scratch)?;
        self.finished = true;
        Ok(())
    }

    /// Everything a person needs after a failure.
    fn report(&self) -> String {
        let mut text = format!("=== {}: timeline\n{}", self.name, self.timeline.render());
        let entries = std::fs::read_dir(self.logs()).into_iter().flatten();
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.sort();
        for log in logs {
            let operator = log.file_stem().is_some_and(|stem| stem == "operator");
            let lines = if operator { 60 } else { 12 };
            let end = tail(&read_from(&log, LogMark::default()), lines);
            let _ = writeln!(text, "=== end of {}\n{end}", log.display());
        }
        text.extend(self.epilogue.iter().map(|epilogue| epilogue()));
        text
    }
}

impl Drop for Scene {
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
