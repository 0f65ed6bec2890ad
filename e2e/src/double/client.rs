//! One client object of opamp-go (v0.23.0), whatever its transport.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use opamp_wire::proto::{
    ConnectionSettingsStatus, ConnectionSettingsStatuses, ServerToAgent, ServerToAgentFlags,
};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dial::Dialer;
use super::message::{Outbox, State};
use super::server::{Server, Transport};
use super::supervise::Process;
use super::{lock, poll, socket};

/// What the operator adds to the headers that it offers.
const MARKER: &str = "OpAMP-Settings-Hash";

/// How long one who stops a client waits for it.
const STOP: Duration = Duration::from_secs(5);

pub(super) struct Client {
    transport: Transport,
    outbox: Mutex<Outbox>,
    state: Mutex<State>,
    /// There may be something to send.
    pub(super) wake: Notify,
    /// Zero: never.
    pub(super) heartbeat: watch::Sender<Duration>,
    pub(super) stopping: CancellationToken,
    /// Given once: only one of those who stop a client hears that it did.
    pub(super) stopped: Notify,
    /// Whether a server ever let it in.
    pub(super) connected: watch::Sender<bool>,
    /// What it was offered last.
    last_hash: Mutex<Bytes>,
}

impl Client {
    /// Starts one; it connects by itself, for as long as that takes.
    ///
    /// # Errors
    /// When the settings cannot be used at all.  No server is asked.
    pub(super) fn start(
        process: &Arc<Process>,
        server: &Server,
        heartbeat: Duration,
        settings: Option<ConnectionSettingsStatus>,
    ) -> Result<Arc<Self>> {
        let transport = server.transport().map_err(anyhow::Error::msg)?;
        let dialer = Dialer::new(server)?;
        if transport == Transport::Http && heartbeat.is_zero() {
            bail!("a client that polls needs an interval");
        }
        let uid = process.uid();
        // Whatever its collector says: a new client begins with 'not healthy'.
        let mut state = State::new(process.options(), uid, false);
        state.settings = settings;
        let client = Arc::new(Self {
            transport,
            outbox: Mutex::new(Outbox::new(uid, state.capabilities)),
            state: Mutex::new(state),
            wake: Notify::new(),
            heartbeat: watch::Sender::new(heartbeat),
            stopping: CancellationToken::new(),
            stopped: Notify::new(),
            connected: watch::Sender::new(false),
            last_hash: Mutex::default(),
        });
        let (mine, theirs) = (Arc::clone(&client), Arc::clone(process));
        let mut headers = server.headers.clone();
        let lost = |name: &str| process.options().loses_marker && name.eq_ignore_ascii_case(MARKER);
        headers.retain(|(name, _)| !lost(name));
        match transport {
            Transport::WebSocket => process.spawn(socket::run(mine, theirs, dialer, headers)),
            Transport::Http => process.spawn(poll::run(mine, theirs, dialer, headers)),
        }
        Ok(client)
    }

    /// Says goodbye where that is done, and waits for the end; not for ever.
    pub(super) async fn stop(&self) {
        if self.transport == Transport::WebSocket {
            lock(&self.outbox).goodbye();
            self.wake.notify_one();
        }
        self.stopping.cancel();
        let _ = timeout(STOP, self.stopped.notified()).await;
    }

    /// Prepares what the first message on a new connection says: everything
    /// once in a client's life, and nothing new after that.
    pub(super) fn greet(&self, first: bool) {
        let state = lock(&self.state).clone();
        lock(&self.outbox).update(|message| {
            if first {
                state.write_all(message);
            }
        });
    }

    /// A heartbeat is due.
    pub(super) fn beat(&self) {
        lock(&self.outbox).update(|_| {});
        self.wake.notify_one();
    }

    /// The message to send now, if there is one.
    pub(super) fn next(&self) -> Option<opamp_wire::AgentToServer> {
        lock(&self.outbox).take()
    }

    /// What the supervisor learns from its collector.
    pub(super) fn collector_is_healthy(&self) {
        let mut state = lock(&self.state);
        state.healthy = true;
        let state = state.clone();
        lock(&self.outbox).update(|message| {
            message.agent_description = Some(state.description.clone());
            message.health = Some(state.health());
            message.effective_config = Some(super::message::effective_config());
        });
        self.wake.notify_one();
    }

    /// Says what became of offered settings.
    pub(super) fn report(&self, status: &ConnectionSettingsStatus) {
        lock(&self.state).settings = Some(status.clone());
        lock(&self.outbox).update(|message| {
            message.connection_settings_status = Some(status.clone());
        });
        self.wake.notify_one();
    }

    /// Takes in a message, in the order in which opamp-go looks at its fields.
    /// A command is not: this agent takes none.
    pub(super) fn receive(&self, process: &Arc<Process>, message: ServerToAgent) {
        if message.flags & ServerToAgentFlags::ReportFullState as u64 != 0 {
            let state = lock(&self.state).clone();
            lock(&self.outbox).update(|next| state.write_all(next));
            self.wake.notify_one();
        }
        if let Some(identity) = message.agent_identification
            && let Ok(uid) = Uuid::from_slice(&identity.new_instance_uid)
        {
            self.rename(process, uid);
        }
        let Some(offers) = message.connection_settings else {
            return;
        };
        let Some(opamp) = offers.opamp else {
            return;
        };
        // Before anybody looks at the rest of the settings, and whatever they say of it.
        self.set_heartbeat(opamp.heartbeat_interval_seconds);
        if !process.options().accepts_settings {
            return;
        }
        if process.options().mode.verifies() {
            let seen = std::mem::replace(&mut *lock(&self.last_hash), offers.hash.clone());
            if seen == offers.hash && !seen.is_empty() {
                return;
            }
            process.announce(self, &offers.hash, ConnectionSettingsStatuses::Applying, "");
        }
        process.offered(offers.hash, opamp);
    }

    fn set_heartbeat(&self, seconds: u64) {
        // 0 ends heartbeats on a WebSocket; one that polls does not take it.
        if seconds > 0 || self.transport == Transport::WebSocket {
            self.heartbeat.send_replace(Duration::from_secs(seconds));
        }
    }

    fn rename(&self, process: &Process, uid: Uuid) {
        process.set_uid(uid);
        let description = {
            let mut state = lock(&self.state);
            let renamed = State::new(process.options(), uid, state.healthy);
            state.description = renamed.description;
            state.description.clone()
        };
        lock(&self.outbox).update(|message| {
            message.instance_uid = uid.as_bytes().to_vec().into();
            message.agent_description = Some(description);
        });
        self.wake.notify_one();
    }
}
