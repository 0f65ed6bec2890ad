//! The Kubernetes API: profiles and the objects they name are watched, the
//! ledger is kept as `ControllerRevision`s, statuses are written by
//! server-side apply.

mod agents;
mod endpoints;
mod events;
mod fault;
mod held;
mod lease;
mod memory;
mod objects;
mod patience;
mod profiles;
mod queue;
mod remedy;
mod requests;
mod reviews;
mod statuses;
mod subjects;
mod succession;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams, client::ClientBuilder};
use opamp_operator_core::{fleet::AgentRecord, identity::KeyRing};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Homes, Memory, Plug, Pulse, Report,
    documents::{self, Pages},
};
use crate::judge::Judge;

pub use endpoints::Endpoints;
pub use memory::MemoryError;
pub use requests::Requests;

/// Who writes: the field manager of everything that is applied.
const FIELD_MANAGER: &str = "opamp-operator";
/// A silent connection to the API is given up after this: longer than a watch
/// is silent by agreement (290 s).
const READ_TIMEOUT: Duration = Duration::from_secs(330);
/// How long the last writes may take before the Lease is given up.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// How long any single write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the API cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no configuration for a client, or a broken one.
    #[error(
        "no Kubernetes API: run inside a cluster, set KUBECONFIG, or use --manifests DIR --state DIR"
    )]
    Config(#[source] kube::config::InferConfigError),
    /// The client cannot be made.
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(String),
    /// It does not answer.
    #[error("the Kubernetes API does not answer: {0}")]
    Api(String),
    /// What an earlier process left cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// The backend.
pub struct Cluster {
    client: Client,
    namespace: String,
    /// Name of the Lease, and whether its task gets on.
    lease: String,
    pulse: Arc<Pulse>,
    /// Where profiles are.
    namespaces: BTreeSet<String>,
    homes: watch::Receiver<Homes>,
    /// Objects that may be watched one by one.
    watches: usize,
    agents: Arc<agents::Agents>,
    held: Arc<held::Held>,
    remedy: remedy::Remedy,
    judge: Arc<Judge>,
    /// Once they are loaded.
    keys: Option<KeyRing>,
}

impl Cluster {
    /// Connects by the Pod's ServiceAccount or by `KUBECONFIG`.
    ///
    /// # Errors
    /// If there is no API, or it does not say who we are.
    pub async fn connect(
        namespace: &str,
        lease: &str,
        namespaces: BTreeSet<String>,
        homes: watch::Receiver<Homes>,
        watches: usize,
        requests: &Arc<Requests>,
    ) -> Result<Self, ClusterError> {
        let mut config = kube::Config::infer().await.map_err(ClusterError::Config)?;
        config.read_timeout = Some(READ_TIMEOUT);
        let client = ClientBuilder::try_from(config)
            .map_err(|error| ClusterError::Client(fault::words(&error)))?
            .with_layer(&requests::Counting(Arc::clone(requests)))
            .build();
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let (how, review) = (PostParams::default(), SelfSubjectReview::default());
        let review = reviews.create(&how, &review);
        let review = timeout(WRITE_TIMEOUT, review)
            .await
            .map_err(|_| ClusterError::Api("no answer in time".into()))?
            .map_err(|error| ClusterError::Api(fault::words(&error)))?;
        let user = review.status.and_then(|status| status.user_info);
        let user = user.and_then(|user| user.username).unwrap_or_default();
        tracing::info!(user, "connected to the Kubernetes API");
        Ok(Self {
            remedy: remedy::Remedy::new(&user),
            agents: Arc::new(agents::Agents::new(client.clone())),
            held: Arc::new(held::Held::new(client.clone(), namespace)),
            client,
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
            pulse: Arc::default(),
            namespaces,
            homes,
            watches,
            judge: Arc::new(Judge::new()),
            keys: None,
        })
    }

    /// What an earlier process left; a new key where nothing was left.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn load(&mut self) -> Result<Memory, ClusterError> {
        let store = memory::Store::new(self.client.clone(), &self.namespace);
        let stored = store.load().await?;
        let held = self.held.load().await?;
        let homes = self.homes.borrow().namespaces.clone();
        let agents = self.records().load(&homes).await?;
        if stored.key_lost.is_none() {
            self.keys = Some(stored.keys.clone());
        }
        Ok(Memory {
            agents,
            held,
            ..stored
        })
    }

    /// What is known of agents of other namespaces.
    #[must_use]
    pub fn records(&self) -> Records {
        Records(Arc::clone(&self.agents))
    }

    /// Whether a Service of the operator's namespace sends agents here.
    #[must_use]
    pub fn endpoints(&self, service: &str) -> Endpoints {
        Endpoints::new(self.client.clone(), &self.namespace, service)
    }

    /// Beats while the task that holds the Lease gets on.
    #[must_use]
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Watches and writes until all reports are written, and then gives up the
    /// Lease.
    pub async fn run(self, mut plug: Plug) {
        let (client, pulse) = (self.client.clone(), self.pulse());
        let lease = lease::Lease::new(client, &self.namespace, &self.lease, pulse);
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => {
                tracing::error!(%error, "no Lease");
                return;
            }
        };
        let (fence, ending) = (lease.fence(), CancellationToken::new());
        let holding = tokio::spawn(lease.run(ending.clone()));
        let (mut watches, mut storing) = (JoinSet::new(), JoinSet::new());
        for namespace in &self.namespaces {
            let watch = profiles::Watch::new(
                self.client.clone(),
                namespace,
                Arc::clone(&self.judge),
                plug.observations.clone(),
            );
            watches.spawn(watch.run());
        }
        let pages = Pages::trusting_the_system();
        let documents = plug.documents.clone();
        watches.spawn(documents::follow(
            documents,
            plug.observations.clone(),
            pages,
        ));
        let (client, remedy) = (self.client.clone(), self.remedy.clone());
        let objects = objects::Objects::new(
            client.clone(),
            &self.namespace,
            remedy.clone(),
            plug.observations.clone(),
            self.watches,
        );
        watches.spawn(objects.run(plug.wanted));
        let subjects =
            subjects::Subjects::new(client.clone(), remedy.clone(), plug.observations.clone());
        let reviewer = reviews::Reviewer::new(client, remedy, self.homes.clone(), subjects.seen());
        watches.spawn(reviewer.run(plug.questions));
        watches.spawn(subjects.run(self.homes.clone()));
        let store = memory::Store::new(self.client.clone(), &self.namespace);
        watches.spawn(store.clone().keep(self.keys.clone()));
        watches.spawn(store.clone().follow(plug.observations.clone()));
        let succession = succession::Succession {
            client: self.client.clone(),
            fence: fence.clone(),
            store: store.clone(),
            records: self.records(),
            namespaces: self.namespaces.clone(),
            homes: self.homes.clone(),
            observations: plug.observations.clone(),
        };
        watches.spawn(succession.run());
        let statuses = statuses::Statuses::new(self.client.clone(), fence.clone());
        let statuses = Arc::new(statuses);
        let (waiting, agents) = (Arc::downgrade(&statuses), Arc::downgrade(&self.agents));
        let depth = move || Some(waiting.upgrade()?.depth());
        plug.queues.watch("statuses", depth);
        plug.queues
            .watch("agents", move || Some(agents.upgrade()?.depth()));
        let writer = {
            let (statuses, agents) = (Arc::clone(&statuses), Arc::clone(&self.agents));
            let held = Arc::clone(&self.held);
            tokio::spawn(async move { tokio::join!(statuses.run(), agents.run(), held.run()) })
        };
        loop {
            tokio::select! {
                Some(ended) = watches.join_next() => {
                    // A watch only ends when it is told to, or by a fault of ours:
                    // then the process must not go on without it.
                    if ended.is_err_and(|error| error.is_panic()) {
                        tracing::error!("a watch failed");
                        break;
                    }
                }
                Some(_) = storing.join_next() => {}
                report = plug.reports.recv() => match report {
                    Some(Report::Ledger(entry, stored)) => {
                        let (store, fence) = (store.clone(), fence.clone());
                        storing.spawn(async move {
                            let _ = stored.send(store.publish(&fence, &entry).await);
                        });
                    }
                    Some(report) => self.write(report, &statuses, &store, &fence),
                    None => break,
                },
            }
        }
        watches.abort_all();
        statuses.close();
        self.agents.close();
        self.held.close();
        let answered = timeout(LAST_WRITES, writer).await.is_ok();
        lease::end(holding, &ending, answered).await;
    }

    /// Has a report written behind the caller's back.
    fn write(
        &self,
        report: Report,
        statuses: &statuses::Statuses,
        store: &memory::Store,
        fence: &lease::Fence,
    ) {
        match report {
            Report::Profile {
                key,
                uid,
                status,
                events,
                ..
            } => {
                let job = statuses::Job {
                    uid,
                    status,
                    events,
                    left_out: 0,
                };
                statuses.put(key, job);
            }
            Report::Agent(record) => self.agents.put(record),
            Report::ForgetAgents(agents) => {
                for key in agents {
                    self.agents.delete(key);
                }
            }
            Report::Forget(entries) => store.forget(fence.clone(), entries),
            Report::Held(held) => self.held.put(held),
            // Answered, so taken apart by the caller.
            Report::Ledger(..) => {}
        }
    }
}

/// Reads what is known of agents.
#[derive(Clone)]
pub struct Records(Arc<agents::Agents>);

impl Records {
    /// Of these namespaces.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn load(
        &self,
        namespaces: &BTreeSet<String>,
    ) -> Result<Vec<AgentRecord>, MemoryError> {
        let mut records = Vec::new();
        for namespace in namespaces {
            match self.0.load(namespace).await {
                Ok(found) => records.extend(found),
                // A namespace that was deleted, or lost its Role, costs its own
                // agents their records, and nobody else anything.
                Err(MemoryError::Denied { problem, .. }) => {
                    tracing::error!(
                        namespace,
                        problem,
                        "the OpAMPAgents of a namespace cannot be read: give the operator's ServiceAccount the chart's Role there"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }
}
