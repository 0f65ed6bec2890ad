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
    backend::{cluster::Cluster, directory::Directory, pipe},
    config::Config,
    controller::{Controller, Setup},
    hub::Hub,
    server::Server,
};

/// How long agents have to take their leave.
const SERVER_GRACE: Duration = Duration::from_secs(15);
/// How long the last statuses and records may take.
const REPORT_GRACE: Duration = Duration::from_secs(10);

/// Where profiles come from and where the operator's memory is.
#[derive(Debug)]
pub enum Source {
    /// The Kubernetes API.
    Cluster,
    /// Two directories.
    Directory {
        /// With YAML files.
        manifests: PathBuf,
        /// Of the operator's own.
        state: PathBuf,
    },
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, source: Source) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Ended in this order: agents, then statuses and records.
    let (serving, working) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let (port, plug) = pipe();
    let namespaces = config.watch_namespaces();
    let memory = match source {
        Source::Cluster => {
            let homes = config.home_namespaces().map_err(anyhow::Error::msg)?;
            let mut cluster = Cluster::connect(&config.namespace, namespaces, homes).await?;
            let memory = cluster.load().await?;
            tasks.spawn(cluster.run(plug, working.clone()));
            memory
        }
        Source::Directory { manifests, state } => {
            let directory = Directory::new(manifests, state, namespaces)?;
            let memory = directory.load()?;
            tasks.spawn(directory.run(plug, working.clone()));
            memory
        }
    };
    let hub = Arc::new(Hub::new(config.limits.agents, config.hold()));
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
    if let Some(address) = &config.admin {
        let listener = TcpListener::bind(address.listen).await.with_context(|| {
            format!(
                "cannot listen on {}: choose another `admin.listen`",
                address.listen
            )
        })?;
        tasks.spawn(admin::serve(listener, ready.clone(), serving.clone()));
    }
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
