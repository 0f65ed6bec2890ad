//! Composition and ordered shutdown.

mod reload;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use rustls::crypto::CryptoProvider;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::Admin,
    backend::{
        Homes, Memory, Plug, Pulse, Queues,
        cluster::{Cluster, ClusterError, Endpoints, Records, Requests},
        directory::Directory,
        pipe,
    },
    config::{Authentication, Config},
    controller::{self, Controller, Setup},
    hub::{Facts, Hub, Leadership, Reviews, Roster, Trail},
    metrics::{Metric, Process, Registry},
    server::{Metrics, Server},
    telemetry::traces::Export,
};

pub use reload::{Reload, without_cluster};

/// All that is counted, for the reference.
pub const METRICS: &[&[&Metric]] = &[
    Leadership::METRICS,
    Facts::METRICS,
    Metrics::METRICS,
    controller::Metrics::METRICS,
    Queues::METRICS,
    Requests::METRICS,
    Process::METRICS,
];

/// How long to wait for the Kubernetes API before it is tried again, at first
/// and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// How long agents have to take their leave.
const SERVER_GRACE: Duration = Duration::from_secs(26);
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

/// Runs until SIGTERM or SIGINT by a configuration, and by what changes in its
/// file.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, file: PathBuf, source: Source) -> anyhow::Result<()> {
    let mut ending = Ending::new()?;
    // Ended in this order: agents, then statuses and records, then probes.
    let (serving, working) = (CancellationToken::new(), CancellationToken::new());
    let (tasks, probed) = (TaskTracker::new(), CancellationToken::new());
    let _probed = probed.clone().drop_guard();
    let ready = watch::Sender::new(false);
    let (known, registry) = (Arc::new(OnceLock::new()), Registry::default());
    registry.add(Process::begins());
    registry.add(Leadership::new(Arc::clone(&known)));
    if let Some(address) = &config.admin {
        let pages = Admin::new(Arc::clone(&known), registry.clone(), probed.clone());
        serve_admin(address.listen, pages).await?;
    }
    let (port, plug) = pipe();
    let requests = Arc::<Requests>::default();
    registry.add(port.queues.clone());
    registry.add(Arc::clone(&requests));
    let authentication = config.authentication().map_err(anyhow::Error::msg)?;
    let homes = watch::Sender::new(reload::homes(&authentication));
    let cluster = matches!(source, Source::Cluster);
    if !cluster {
        reload::without_cluster(&authentication).map_err(anyhow::Error::msg)?;
    }
    let Started {
        memory,
        records,
        pulse,
        endpoints,
    } = tokio::select! {
        started = start_backend(&config, source, plug, &homes, &requests, &tasks, &working) => started?,
        () = ending.asked() => return Ok(()),
    };
    let reload = Reload::new(file, config.clone(), authentication.clone(), cluster);
    let (reloading, reloads) = mpsc::channel(1);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let reviews = Reviews::new(port.questions.clone(), config.review_every());
    let roster = Roster::new(config.limits.agents, config.limits.agents_per_identity);
    let (trail, exporting) = export(&config);
    let hub = Arc::new(Hub::new(roster, config.hold(), reviews).followed_on(trail));
    if let Some(pulse) = pulse {
        hub.health.watch_lease(pulse);
    }
    let _ = known.set(Arc::clone(&hub));
    registry.add(Facts::new(Arc::clone(&hub)));
    let controller = Controller::new(
        Arc::clone(&hub),
        port,
        setup(&config, authentication, reloads),
        memory,
        Arc::clone(&provider),
        ready.clone(),
    );
    registry.add(controller.metrics());
    let working_controller = tasks.spawn(controller.run(working.clone()));
    let follow = reload::follow(reload, records, homes, Arc::clone(&hub), reloading);
    tasks.spawn(working.clone().run_until_cancelled_owned(follow));
    let server = serve(
        &config,
        Arc::clone(&hub),
        &provider,
        &registry,
        ready.subscribe(),
        serving.clone(),
    );
    tokio::pin!(server);
    let mut outcome = Ok(());
    let mut asked = false;
    tokio::select! {
        result = &mut server => outcome = result,
        () = ending.asked() => asked = true,
        _ = working_controller => outcome = Err(anyhow::anyhow!("the controller ended")),
    }
    tracing::info!("shutting down");
    hub.health.set_ending();
    let end = Instant::now() + config.shutdown();
    // The last of the time is for statuses and records.
    let report_from = end.checked_sub(REPORT_GRACE).unwrap_or(end);
    if asked && let Some(endpoints) = endpoints {
        let left = timeout_at(report_from, endpoints.left());
        tokio::select! {
            result = &mut server => (asked, outcome) = (false, result),
            _ = left => {}
        }
    }
    serving.cancel();
    if asked {
        let _ = timeout_at(report_from.min(Instant::now() + SERVER_GRACE), server).await;
    }
    working.cancel();
    tasks.close();
    let now = Instant::now();
    let reported = end.clamp(now + Duration::from_secs(1), now + REPORT_GRACE);
    if timeout_at(reported, tasks.wait()).await.is_err() {
        tracing::warn!("the last statuses were not written in time");
    }
    exporting.end(end.max(now)).await;
    tracing::info!("ended");
    outcome
}

/// Where the steps of changes are told, and the task that makes traces of them,
/// if they are wanted.
fn export(config: &Config) -> (Trail, Exporting) {
    let Some(traces) = config.traces() else {
        return (Trail::default(), Exporting(None));
    };
    let (trail, follower) = Trail::followed();
    let (export, told) = (
        Export::new(traces.clone(), follower),
        CancellationToken::new(),
    );
    let exporting = tokio::spawn(export.run(told.clone()));
    (trail, Exporting(Some((told, exporting))))
}

/// The task that makes traces, and what ends it.
struct Exporting(Option<(CancellationToken, JoinHandle<()>)>);

impl Exporting {
    /// All has been told. Waits for the last traces.
    async fn end(self, by: Instant) {
        if let Some((told, exporting)) = self.0 {
            told.cancel();
            let _ = timeout_at(by, exporting).await;
        }
    }
}

async fn serve_admin(address: SocketAddr, pages: Admin) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another `admin.listen`"))?;
    tokio::spawn(pages.serve(listener));
    Ok(())
}

/// A backend, and what an earlier process left.
struct Started {
    memory: Memory,
    records: Option<Records>,
    /// Of the task that holds the Lease.
    pulse: Option<Arc<Pulse>>,
    endpoints: Option<Endpoints>,
}

fn setup(
    config: &Config,
    authentication: Authentication,
    reloads: mpsc::Receiver<Authentication>,
) -> Setup {
    Setup {
        settings: config.settings(),
        advertised_url: config.advertised_url.clone(),
        path: config.path.clone(),
        namespaces: config.watch_namespaces(),
        serving: config.serving(),
        authentication,
        reloads,
        first_agent_timeout: config.first_agent_timeout(),
    }
}

/// Starts a backend once what an earlier process left has been read.
async fn start_backend(
    config: &Config,
    source: Source,
    plug: Plug,
    homes: &watch::Sender<Homes>,
    requests: &Arc<Requests>,
    tasks: &TaskTracker,
    working: &CancellationToken,
) -> anyhow::Result<Started> {
    let namespaces = config.watch_namespaces();
    match source {
        Source::Directory { manifests, state } => {
            let directory = Directory::new(manifests, state, namespaces)?;
            let memory = directory.load()?;
            tasks.spawn(directory.run(plug, working.clone()));
            Ok(Started {
                memory,
                records: None,
                pulse: None,
                endpoints: None,
            })
        }
        Source::Cluster => {
            let (cluster, memory) = reach(config, &namespaces, homes, requests).await?;
            let started = Started {
                memory,
                records: Some(cluster.records()),
                pulse: Some(cluster.pulse()),
                endpoints: config.service().map(|service| cluster.endpoints(service)),
            };
            tasks.spawn(cluster.run(plug));
            Ok(started)
        }
    }
}

/// Waits for the Kubernetes API: agents find us unready meanwhile, and come
/// back, as they would if we ended.
async fn reach(
    config: &Config,
    namespaces: &BTreeSet<String>,
    homes: &watch::Sender<Homes>,
    requests: &Arc<Requests>,
) -> anyhow::Result<(Cluster, Memory)> {
    let mut wait = FIRST_WAIT;
    loop {
        let tried = async {
            let (namespace, lease) = (&config.namespace, config.lease_name());
            let (namespaces, homes) = (namespaces.clone(), homes.subscribe());
            let watches = config.limits.watches;
            let connected =
                Cluster::connect(namespace, lease, namespaces, homes, watches, requests);
            let mut cluster = connected.await?;
            let memory = cluster.load().await?;
            Ok((cluster, memory))
        };
        match tried.await {
            Ok(reached) => return Ok(reached),
            Err(error @ (ClusterError::Api(_) | ClusterError::Memory(_))) => {
                tracing::error!(%error, "not started yet; it is tried again in {} s", wait.as_secs());
            }
            Err(error) => return Err(error.into()),
        }
        sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Serves agents, from the time on when they can be judged.
async fn serve(
    config: &Config,
    hub: Arc<Hub>,
    provider: &Arc<CryptoProvider>,
    registry: &Registry,
    mut ready: watch::Receiver<bool>,
    serving: CancellationToken,
) -> anyhow::Result<()> {
    let ready = serving.run_until_cancelled(ready.wait_for(|ready| *ready));
    match ready.await {
        None => return Ok(()),
        Some(ready) => drop(ready.context("the controller ended")?),
    }
    let (limits, health) = (config.limits.clone(), Arc::clone(&hub));
    let server = Server::bind(config.listen, &config.path, hub, limits, provider, serving).await?;
    registry.add(server.metrics());
    health.health.set_listening();
    tracing::info!(address = %server.address()?, "listening on {}", server.address()?);
    server.run().await;
    Ok(())
}

/// The two signals that ask us to end.
struct Ending {
    terminated: Signal,
    interrupted: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminated: signal(SignalKind::terminate())?,
            interrupted: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminated.recv() => {}
            _ = self.interrupted.recv() => {}
        }
    }
}
