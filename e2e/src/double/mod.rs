//! A double of the `OpAMP` Supervisor, for the releases that cannot be had
//! here and for moments that a real one cannot be brought to.
//!
//! [`Mode::Legacy0`] is held against the real supervisor by
//! `tests/directory/double`.  [`Mode::Legacy`] and [`Mode::Persist`] are
//! **modelled, unverified**: nobody has compared them with the releases that
//! they stand for, and every test that uses them says so in its name.
//!
//! The double has no collector, no files and no process: what a supervisor
//! keeps on its disk is a value that outlives [`Double::kill9`].

mod client;
mod dial;
mod message;
mod persist;
mod poll;
mod server;
mod socket;
mod supervise;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use uuid::Uuid;

use crate::timeline::Timeline;
use persist::Store;
use server::Server;
use supervise::Process;

/// How long a supervisor that verifies new settings tries them.
pub const VERIFY: Duration = Duration::from_mins(1);

/// Which supervisor is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The releases up to v0.159.0; compared with v0.149.0 and v0.158.0, which
    /// do the same on the wire.  (What else v0.158.0 says when its collector
    /// tells of itself again, its description, decides nothing here.)
    Legacy0,
    /// The releases from v0.160.0 on, which ignore a heartbeat of 0.
    /// Modelled, unverified.
    Legacy,
    /// The proposed rewrite: verifies new settings, keeps them over a restart,
    /// goes back when they do not work, and reports.  Modelled, unverified.
    Persist,
}

impl Mode {
    fn verifies(self) -> bool {
        self == Self::Persist
    }
}

/// What a double is started with: what a supervisor has in its file.
#[derive(Clone)]
pub struct Options {
    /// Which supervisor it plays.
    pub mode: Mode,
    /// The URL of its `server` section.
    pub endpoint: String,
    /// The bearer token of its `server` section.
    pub token: String,
    /// The CA of its `server` section, as PEM.
    pub ca: String,
    /// Whether it takes connection settings.
    pub accepts_settings: bool,
    /// Non-identifying attributes of its description.
    pub attributes: Vec<(String, String)>,
    /// How long [`Mode::Persist`] tries new settings.
    pub verify: Duration,
    /// Whether something on its way takes the marker off its requests.
    pub loses_marker: bool,
    /// The instance UID of its empty disk; none: one of its own.
    pub uid: Option<Uuid>,
    /// Where it tells what it does.
    pub timeline: Timeline,
}

/// A double; what it would keep on a disk outlives its process.
pub struct Double {
    name: String,
    options: Arc<Options>,
    disk: Arc<Mutex<Disk>>,
    process: Option<Arc<Process>>,
}

/// What a supervisor keeps in its storage folder.
struct Disk {
    uid: Uuid,
    store: Store,
}

impl Double {
    /// Starts one with an empty disk; it connects by itself.
    ///
    /// # Errors
    /// When its file's settings are not usable.
    pub fn start(name: &str, options: Options) -> Result<Self> {
        let disk = Disk {
            uid: options.uid.unwrap_or_else(Uuid::now_v7),
            store: Store::default(),
        };
        let mut double = Self {
            name: name.to_owned(),
            options: Arc::new(options),
            disk: Arc::new(Mutex::new(disk)),
            process: None,
        };
        double.start_again()?;
        Ok(double)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instance UID as it is now.
    #[must_use]
    pub fn uid(&self) -> String {
        lock(&self.disk).uid.to_string()
    }

    /// Ends it without warning: its connections break off.
    pub async fn kill9(&mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }

    /// Starts it again on the same disk, with its file's settings or with those
    /// that it kept.
    ///
    /// # Errors
    /// When its file's settings are not usable.
    pub fn start_again(&mut self) -> Result<()> {
        let file = Server::of_file(&self.options);
        let (options, disk) = (Arc::clone(&self.options), Arc::clone(&self.disk));
        self.process = Some(Process::start(&self.name, options, disk, file)?);
        Ok(())
    }

    /// Whether it has a client at all: one that could not be started, nor the
    /// one before it, leaves a supervisor without any until it is restarted.
    #[must_use]
    pub fn has_client(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.has_client())
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
