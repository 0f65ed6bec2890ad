//! The Lease: who of several operators writes the ledger, statuses of profiles
//! and events.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use opamp_operator_core::lease::{Claim, Seen, Step, Terms};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use tokio_util::sync::CancellationToken;

use super::{FIELD_MANAGER, MemoryError, fault};
use crate::backend::Pulse;

/// A request that takes longer is as good as lost: there are several attempts
/// before the Lease is.
const REQUEST: Duration = Duration::from_secs(4);

/// What the code of a refused request means here.
const CONFLICT: u16 = 409;

/// Ends the task that holds a Lease, which is released if all that was written
/// was answered.
pub(super) async fn end(holding: JoinHandle<()>, ending: &CancellationToken, answered: bool) {
    if answered {
        ending.cancel();
        let _ = holding.await;
    } else {
        // It could land after what the next one writes: that one waits until
        // the Lease runs out.
        tracing::warn!("the last writes were not answered in time, so the Lease is not released");
        holding.abort();
    }
}

/// Until when this process may write what only the holder may.
#[derive(Clone)]
pub(super) struct Fence(watch::Receiver<Option<Instant>>);

impl Fence {
    /// Whether it may now.
    pub(super) fn is_open(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process may; false if it never will.
    pub(super) async fn opened(&self) -> bool {
        let open = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        self.0.clone().wait_for(open).await.is_ok()
    }

    /// Waits until it may not any more.
    pub(super) async fn closed(&self) {
        let _ = self.within(std::future::pending::<()>()).await;
    }

    /// Does something for as long as this process may: none if it may not, or
    /// not any more before it was done. What was sent by then has the rest of
    /// the Lease to land: it is released only when every write was answered.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut until = self.0.clone();
        let over = async move {
            loop {
                let end = *until.borrow_and_update();
                let end = end.filter(|end| Instant::now() < *end);
                let Some(end) = end else { return };
                tokio::select! {
                    () = sleep_until(end) => {}
                    changed = until.changed() => if changed.is_err() { return },
                }
            }
        };
        tokio::select! {
            biased;
            () = over => None,
            done = work => Some(done),
        }
    }
}

/// What a process needs to hold the Lease.
pub(super) struct Lease {
    api: Api<Object>,
    name: String,
    me: String,
    claim: Claim,
    start: Instant,
    until: watch::Sender<Option<Instant>>,
    pulse: Arc<Pulse>,
    /// As it was last read or written.
    known: Object,
    complained: Option<String>,
}

impl Lease {
    /// # Errors
    /// If the system gives no randomness.
    pub(super) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        pulse: Arc<Pulse>,
    ) -> Result<Self, MemoryError> {
        // A container that is started again in its Pod is another process.
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| MemoryError::Random)?;
        let host = std::env::var("HOSTNAME").ok();
        let host = host.filter(|name| (1..=128).contains(&name.len()));
        let host = host.unwrap_or_else(|| FIELD_MANAGER.to_owned());
        let me = format!("{host}_{}", hex::encode(random));
        Ok(Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            claim: Claim::new(me.clone(), Terms::default()),
            me,
            start: Instant::now(),
            until: watch::Sender::new(None),
            pulse,
            known: Object::default(),
            complained: None,
        })
    }

    pub(super) fn fence(&self) -> Fence {
        Fence(self.until.subscribe())
    }

    /// Claims and renews until `ending`, and then gives it up.
    pub(super) async fn run(mut self, ending: CancellationToken) {
        while ending.run_until_cancelled(self.step()).await.is_some() {}
        self.release().await;
    }

    async fn step(&mut self) {
        self.pulse.beat();
        match self.claim.next(self.now()) {
            Step::Wait(at) => {
                let at = self.start + at;
                let end = self.until.borrow().map_or(at, |end| end.min(at));
                sleep_until(end).await;
            }
            Step::Read => self.read().await,
            Step::Claim(version) => self.write(version).await,
        }
        let until = self.claim.leads_until(self.now());
        self.until
            .send_replace(until.map(|until| self.start + until));
    }

    /// Gives it up, so that nobody has to wait until it runs out. Nothing is
    /// written under it any more.
    async fn release(mut self) {
        self.until.send_replace(None);
        if self.claim.release(self.now()).is_none() {
            return;
        }
        let released = async {
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.me) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.api
                .replace(&self.name, &manager(), &lease)
                .await
                .map(drop)
        };
        match timeout(REQUEST, released).await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "the Lease is released"),
            Ok(Err(error)) => {
                let error = fault::words(&error);
                tracing::warn!(
                    error,
                    "the Lease is not released: the next one waits until it runs out"
                );
            }
            Err(_) => tracing::warn!("the Lease is not released: no answer in time"),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    async fn read(&mut self) {
        let read = timeout(REQUEST, self.api.get_opt(&self.name)).await;
        match read {
            Ok(Ok(lease)) => {
                let now = self.now();
                self.claim.observe(lease.as_ref().map(seen), now);
                self.known = lease.unwrap_or_default();
                self.complained = None;
            }
            Ok(Err(error)) => self.complain(fault::words(&error)),
            Err(_) => self.complain("no answer in time".into()),
        }
    }

    async fn write(&mut self, version: Option<String>) {
        let (sent, wall) = (self.now(), MicroTime(Timestamp::now()));
        let before = self.known.spec.clone().unwrap_or_default();
        let anew = before.holder_identity.as_ref() != Some(&self.me);
        let moves = i32::from(anew && version.is_some());
        let transitions = before.lease_transitions.unwrap_or_default();
        let acquired = before.acquire_time.filter(|_| !anew);
        let spec = LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(Terms::default().lasts.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(wall.clone())),
            renew_time: Some(wall),
            lease_transitions: Some(transitions.saturating_add(moves)),
            ..LeaseSpec::default()
        };
        let (how, creates) = (manager(), version.is_none());
        // Labels that somebody gave it stay.
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            resource_version: version,
            ..self.known.metadata.clone()
        };
        let lease = Object {
            metadata,
            spec: Some(spec),
        };
        let written = async {
            if creates {
                self.api.create(&how, &lease).await
            } else {
                self.api.replace(&self.name, &how, &lease).await
            }
        };
        match timeout(REQUEST, written).await {
            Ok(Ok(lease)) => {
                let version = lease.metadata.resource_version.clone().unwrap_or_default();
                self.known = lease;
                self.claim.claimed(version, sent, self.now());
                self.complained = None;
            }
            Ok(Err(error)) if matches!(fault::code(&error), Some(CONFLICT | 404)) => {
                self.claim.outrun(self.now());
            }
            Ok(Err(error)) => self.complain(fault::words(&error)),
            Err(_) => self.complain("no answer in time".into()),
        }
    }

    /// One line per kind of fault.
    fn complain(&mut self, error: String) {
        self.claim.failed(self.now());
        if self.complained.as_ref() != Some(&error) {
            let lease = &self.name;
            tracing::error!(
                lease,
                error,
                "the Lease cannot be had: without it no settings are published and no status is written. Does the \
                 operator's ServiceAccount have the chart's Role?"
            );
            self.complained = Some(error);
        }
    }
}

fn manager() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

fn seen(lease: &Object) -> Seen {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.clone());
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds);
    let lasts = lasts.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: holder.filter(|holder| !holder.is_empty()),
        lasts: lasts.map_or(Terms::default().lasts, Duration::from_secs),
    }
}
