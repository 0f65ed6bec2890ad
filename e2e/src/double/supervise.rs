//! What a supervisor does with the settings it is offered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use opamp_wire::proto::{
    ConnectionSettingsStatus, ConnectionSettingsStatuses, OpAmpConnectionSettings,
};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::client::Client;
use super::server::Server;
use super::{Disk, Mode, Options, lock, persist};

/// The interval that a supervisor begins with; no file can change it.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long its collector takes to say that it is healthy.
const COLLECTOR: Duration = Duration::from_millis(50);

/// A running supervisor.
pub(super) struct Process {
    name: String,
    options: Arc<Options>,
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) running: Mutex<Running>,
    /// Held by who changes the settings, in the mode that takes turns.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// None after its end.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What it runs with.  Two offers at once change it under each other.
pub(super) struct Running {
    pub(super) server: Server,
    pub(super) heartbeat: Duration,
    pub(super) client: Option<Arc<Client>>,
}

impl Process {
    /// # Errors
    /// When the file's settings are not usable.
    pub(super) fn start(
        name: &str,
        options: Arc<Options>,
        disk: Arc<Mutex<Disk>>,
        file: Server,
    ) -> Result<Arc<Self>> {
        let verifies = options.mode.verifies();
        let process = Arc::new(Self {
            name: name.to_owned(),
            options,
            disk,
            running: Mutex::new(Running {
                server: file,
                heartbeat: HEARTBEAT,
                client: None,
            }),
            turn: tokio::sync::Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
        });
        process.note("starts");
        if verifies {
            persist::resume(&process)?;
        } else {
            process.connect(None)?;
        }
        let collector = Arc::clone(&process);
        process.spawn(async move {
            sleep(COLLECTOR).await;
            if let Some(client) = collector.client() {
                client.collector_is_healthy();
            }
        });
        Ok(process)
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn note(&self, what: &str) {
        self.options.timeline.note(&self.name, what);
    }

    pub(super) fn uid(&self) -> Uuid {
        lock(&self.disk).uid
    }

    pub(super) fn set_uid(&self, uid: Uuid) {
        lock(&self.disk).uid = uid;
    }

    pub(super) fn client(&self) -> Option<Arc<Client>> {
        lock(&self.running).client.clone()
    }

    pub(super) fn has_client(&self) -> bool {
        lock(&self.running).client.is_some()
    }

    /// Runs a part of it, until its end at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = lock(&self.tasks).as_mut() {
            tasks.spawn(task);
        }
    }

    pub(super) fn abort(&self) {
        drop(lock(&self.tasks).take());
    }

    /// Ends all of it and waits until nothing of it is left.
    pub(super) async fn end(&self) {
        let tasks = lock(&self.tasks).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Starts a client with the present settings.
    pub(super) fn connect(
        self: &Arc<Self>,
        settings: Option<ConnectionSettingsStatus>,
    ) -> Result<Arc<Client>> {
        let (server, heartbeat) = {
            let mut running = lock(&self.running);
            running.client = None;
            (running.server.clone(), running.heartbeat)
        };
        let client = Client::start(self, &server, heartbeat, settings)?;
        lock(&self.running).client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Settings are offered: the client that heard them goes on in the meantime.
    pub(super) fn offered(self: &Arc<Self>, hash: Bytes, settings: OpAmpConnectionSettings) {
        let process = Arc::clone(self);
        self.note("is offered settings");
        self.spawn(async move {
            if process.options.mode.verifies() {
                persist::apply(&process, hash, settings).await;
            } else {
                process.switch(&settings).await;
            }
        });
    }

    /// Leaves for the offered settings.  Nothing keeps another offer from doing
    /// the same meanwhile.
    async fn switch(self: &Arc<Self>, settings: &OpAmpConnectionSettings) {
        let server = match Server::of_offer(settings) {
            Ok(server) => server,
            Err(why) => return self.note(&format!("drops an offer: {why}")),
        };
        let heartbeat = Duration::from_secs(settings.heartbeat_interval_seconds);
        if !heartbeat.is_zero() || self.options.mode == Mode::Legacy0 {
            lock(&self.running).heartbeat = heartbeat;
        }
        if let Some(client) = self.client() {
            client.stop().await;
        }
        let before = std::mem::replace(&mut lock(&self.running).server, server);
        if let Err(error) = self.connect(None) {
            self.note(&format!("goes back to its old settings: {error:#}"));
            lock(&self.running).server = before;
            if let Err(error) = self.connect(None) {
                self.note(&format!("has no client any more: {error:#}"));
            }
        }
    }

    /// Has a client say what became of an offer; one without a hash is never
    /// spoken of.
    pub(super) fn announce(
        &self,
        client: &Client,
        hash: &Bytes,
        status: ConnectionSettingsStatuses,
        why: &str,
    ) {
        if let Some(status) = persist::status(hash, status, why) {
            lock(&self.disk).store.status = Some(status.clone());
            client.report(&status);
        }
    }
}
