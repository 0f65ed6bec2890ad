//! The proposed rewrite of the supervisor: offers take turns, new settings are
//! tried before they are kept, and the outcome is reported.
//!
//! **Modelled, unverified**: written from the proposal's description, never
//! compared with a program.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use opamp_wire::proto::{
    ConnectionSettingsStatus, ConnectionSettingsStatuses, OpAmpConnectionSettings,
};
use tokio::time::timeout;

use super::client::Client;
use super::lock;
use super::server::Server;
use super::supervise::Process;

/// What it keeps over a restart.
#[derive(Default)]
pub(super) struct Store {
    /// The settings that last worked.
    valid: Option<OpAmpConnectionSettings>,
    /// Settings that are being tried, with their hash.
    candidate: Option<(Bytes, OpAmpConnectionSettings)>,
    /// What was last reported.
    pub(super) status: Option<ConnectionSettingsStatus>,
}

/// A report, unless the offer had no hash to report about.
pub(super) fn status(
    hash: &Bytes,
    status: ConnectionSettingsStatuses,
    why: &str,
) -> Option<ConnectionSettingsStatus> {
    (!hash.is_empty()).then(|| ConnectionSettingsStatus {
        last_connection_settings_hash: hash.clone(),
        status: status.into(),
        error_message: why.to_owned(),
    })
}

/// Starts with the settings that it kept, and tries a candidate again that it
/// was trying when it ended.
///
/// # Errors
/// When there are none and the file's are not usable.
pub(super) fn resume(process: &Arc<Process>) -> Result<()> {
    let (valid, candidate, status) = {
        let disk = lock(&process.disk);
        let store = &disk.store;
        (
            store.valid.clone(),
            store.candidate.clone(),
            store.status.clone(),
        )
    };
    if let Some(valid) = valid {
        take(process, &valid);
    }
    let Some((hash, settings)) = candidate else {
        return process.connect(status).map(drop);
    };
    let trying = Arc::clone(process);
    process.spawn(async move { verify(&trying, hash, settings).await });
    Ok(())
}

/// Makes settings the present ones.
fn take(process: &Process, settings: &OpAmpConnectionSettings) {
    let mut running = lock(&process.running);
    if let Ok(server) = Server::of_offer(settings) {
        running.server = server;
    }
    let heartbeat = Duration::from_secs(settings.heartbeat_interval_seconds);
    if !heartbeat.is_zero() {
        running.heartbeat = heartbeat;
    }
}

/// Takes an offer, when it is its turn.
pub(super) async fn apply(process: &Arc<Process>, hash: Bytes, settings: OpAmpConnectionSettings) {
    use ConnectionSettingsStatuses::{Applied, Failed};
    let _turn = process.turn.lock().await;
    let Some(client) = process.client() else {
        return;
    };
    if let Err(why) = Server::of_offer(&settings) {
        process.note(&format!("refuses an offer: {why}"));
        return process.announce(&client, &hash, Failed, &why);
    }
    if lock(&process.disk).store.valid.as_ref() == Some(&settings) {
        process.note("runs what it is offered");
        return process.announce(&client, &hash, Applied, "");
    }
    lock(&process.disk).store.candidate = Some((hash.clone(), settings.clone()));
    verify(process, hash, settings).await;
}

/// Tries settings, and goes back to the present ones when they do not work.
async fn verify(process: &Arc<Process>, hash: Bytes, settings: OpAmpConnectionSettings) {
    use ConnectionSettingsStatuses::{Applied, Applying, Failed};
    let (server, heartbeat) = {
        let running = lock(&process.running);
        (running.server.clone(), running.heartbeat)
    };
    if let Some(client) = process.client() {
        client.stop().await;
    }
    take(process, &settings);
    let why = match process.connect(status(&hash, Applying, "")) {
        Ok(client) if is_let_in(process, &client).await => {
            {
                let mut disk = lock(&process.disk);
                disk.store.candidate = None;
                disk.store.valid = Some(settings);
            }
            process.note("keeps new settings");
            return process.announce(&client, &hash, Applied, "");
        }
        Ok(client) => {
            client.stop().await;
            let time = process.options().verify;
            format!("the server did not accept a connection within {time:?}")
        }
        Err(error) => format!("{error:#}"),
    };
    process.note("goes back to the settings before");
    let failed = status(&hash, Failed, &why);
    {
        let mut disk = lock(&process.disk);
        disk.store.candidate = None;
        disk.store.status.clone_from(&failed);
    }
    {
        let mut running = lock(&process.running);
        (running.server, running.heartbeat) = (server, heartbeat);
    }
    if let Err(error) = process.connect(failed) {
        process.note(&format!("has no client any more: {error:#}"));
    }
}

async fn is_let_in(process: &Process, client: &Client) -> bool {
    let mut connected = client.connected.subscribe();
    let let_in = connected.wait_for(|connected| *connected);
    timeout(process.options().verify, let_in)
        .await
        .is_ok_and(|let_in| let_in.is_ok())
}
