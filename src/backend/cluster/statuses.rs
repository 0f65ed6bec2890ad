//! Statuses of profiles, written one after the other; of each only the newest
//! waits, so there are never more than profiles.

use std::{collections::BTreeMap, time::Duration};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use opamp_operator_api::{
    ProfileKey,
    v1alpha1::{OpAMPConnectionProfile, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::status::ProfileEvent;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{FIELD_MANAGER, WRITE_TIMEOUT, events::Events, fault};

/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// A status to be written.
pub(super) struct Job {
    pub(super) key: ProfileKey,
    /// Of the object that is meant: never of one made anew under its name.
    pub(super) uid: Option<String>,
    pub(super) status: Box<OpAMPConnectionProfileStatus>,
    pub(super) events: Vec<ProfileEvent>,
}

/// Events that wait with a status: more of one profile say nothing new.
const MAX_EVENTS: usize = 8;

#[derive(Default)]
struct Pending {
    /// And not before when.
    jobs: BTreeMap<ProfileKey, (Job, Instant)>,
    closing: bool,
}

pub(super) struct Statuses {
    client: Client,
    resource: ApiResource,
    events: Events,
    pending: Mutex<Pending>,
    changed: Notify,
}

impl Statuses {
    pub(super) fn new(client: Client) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            resource: ApiResource::erase::<OpAMPConnectionProfile>(&()),
            pending: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Replaces the status that waits for this profile; its events stay.
    pub(super) fn put(&self, mut job: Job) {
        let mut pending = self.pending.lock();
        if let Some((older, _)) = pending.jobs.remove(&job.key)
            && older.uid == job.uid
        {
            job.events.splice(0..0, older.events);
            job.events.truncate(MAX_EVENTS);
        }
        pending.jobs.insert(job.key.clone(), (job, Instant::now()));
        drop(pending);
        self.changed.notify_one();
    }

    /// What waits is tried once more; then `run` ends.
    pub(super) fn close(&self) {
        self.pending.lock().closing = true;
        self.changed.notify_one();
    }

    pub(super) async fn run(&self) {
        loop {
            let (next, closing) = {
                let pending = self.pending.lock();
                (
                    pending.jobs.values().map(|(_, at)| *at).min(),
                    pending.closing,
                )
            };
            match next {
                Some(at) if closing || at <= Instant::now() => self.write_next().await,
                Some(at) => drop(timeout_at(at, self.changed.notified()).await),
                None if closing => return,
                None => self.changed.notified().await,
            }
        }
    }

    async fn write_next(&self) {
        let (job, closing) = {
            let mut pending = self.pending.lock();
            let next = pending.jobs.iter().min_by_key(|(_, (_, at))| *at);
            let key = next.map(|(key, _)| key.clone());
            let job = key.and_then(|key| pending.jobs.remove(&key));
            (job, pending.closing)
        };
        let Some((job, _)) = job else { return };
        let Err(error) = self.write(&job).await else {
            let uid = job.uid.as_deref();
            self.events.publish(&job.key, uid, &job.events).await;
            return;
        };
        tracing::warn!(profile = %job.key, error, "the status cannot be written");
        if !closing {
            // Unless a newer one came meanwhile.
            let mut pending = self.pending.lock();
            let retry = Instant::now() + RETRY;
            pending.jobs.entry(job.key.clone()).or_insert((job, retry));
        }
    }

    async fn write(&self, job: &Job) -> Result<(), String> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &job.key.namespace, &self.resource);
        let patch = Patch::Apply(serde_json::json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"name": job.key.name, "uid": job.uid},
            "status": job.status,
        }));
        let how = PatchParams::apply(FIELD_MANAGER).force();
        let write = api.patch_status(&job.key.name, &how, &patch);
        match timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(_)) => Ok(()),
            // It is gone, or another one under this name: the watch says so.
            Ok(Err(error)) if matches!(fault::code(&error), Some(404 | 409)) => Ok(()),
            Ok(Err(error)) => Err(fault::words(&error)),
            Err(_) => Err("no answer in time".into()),
        }
    }
}
