//! Composition and ordered shutdown.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use opamp_operator_core::catalog::Settings;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin,
    backend::{directory::Directory, pipe},
    config::Config,
    controller::{Controller, Setup},
    hub::Hub,
    server::Server,
};

/// How long agents have to take their leave.
const SERVER_GRACE: Duration = Duration::from_secs(15);
/// How long the last statuses and records may take.
const REPORT_GRACE: Duration = Duration::from_secs(10);

/// Runs over two directories until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, manifests: PathBuf, state: PathBuf) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let directory = Directory::new(manifests, state, config.watch_namespaces())?;
    let memory = directory.load()?;
    let hub = Arc::new(Hub::new(config.limits.agents, config.hold()));
    let (port, plug) = pipe();
    let setup = Setup {
        settings: Settings {
            debounce: config.debounce(),
            admin_namespaces: config.admin_namespaces(),
        },
        advertised_url: config.advertised_url.clone(),
        serving: config.serving(),
        authenticators: config.authenticators().map_err(anyhow::Error::msg)?,
        first_agent_timeout: config.first_agent_timeout(),
    };
    let controller = Controller::new(Arc::clone(&hub), port, setup, memory, Arc::clone(&provider));
    let mut ready = controller.ready();
    // Ended in this order: agents, then statuses and records.
    let (serving, working) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    if let Some(address) = &config.admin {
        let listener = TcpListener::bind(address.listen).await.with_context(|| {
            format!(
                "cannot listen on {}: choose another `admin.listen`",
                address.listen
            )
        })?;
        tasks.spawn(admin::serve(listener, ready.clone(), serving.clone()));
    }
    tasks.spawn(directory.run(plug, working.clone()));
    let working_controller = tasks.spawn(controller.run(working.clone()));
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let server = async {
        // The listener opens after the first sync: until then nobody can be judged.
        while !*ready.borrow_and_update() {
            ready.changed().await.context("the controller ended")?;
        }
        let (listen, path) = (config.listen, config.path.clone());
        let server = Server::bind(
            listen,
            &path,
            hub,
            config.limits,
            &provider,
            serving.clone(),
        )
        .await?;
        tracing::info!(address = %server.address()?, "listening on {}", server.address()?);
        server.run().await;
        anyhow::Ok(())
    };
    tokio::pin!(server);
    let mut outcome = Ok(());
    tokio::select! {
        result = &mut server => outcome = result,
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        _ = working_controller => outcome = Err(anyhow::anyhow!("the controller ended")),
    }
    tracing::info!("shutting down");
    serving.cancel();
    if outcome.is_ok() {
        let _ = timeout(SERVER_GRACE, server).await;
    }
    working.cancel();
    tasks.close();
    if timeout(REPORT_GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("the last statuses were not written in time");
    }
    outcome
}
