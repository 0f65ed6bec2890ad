//! Statuses of profiles, and the events about them, written one after the other.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use opamp_operator_api::{
    ProfileKey,
    v1alpha1::{OpAMPConnectionProfile, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::status::ProfileEvent;
use tokio::time::{Instant, timeout};

use super::{FIELD_MANAGER, WRITE_TIMEOUT, events::Events, fault, lease::Fence, queue::Latest};

/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Events that wait with a status: more of one profile say nothing new.
const MAX_EVENTS: usize = 8;

/// A status to be written.
pub(super) struct Job {
    /// Of the object that is meant: never of one made anew under its name.
    pub(super) uid: Option<String>,
    pub(super) status: Box<OpAMPConnectionProfileStatus>,
    pub(super) events: Vec<ProfileEvent>,
}

pub(super) struct Statuses {
    client: Client,
    resource: ApiResource,
    events: Events,
    queue: Latest<ProfileKey, Job>,
    fence: Fence,
}

impl Statuses {
    pub(super) fn new(client: Client, fence: Fence) -> Self {
        Self {
            fence,
            events: Events::new(client.clone()),
            client,
            resource: ApiResource::erase::<OpAMPConnectionProfile>(&()),
            queue: Latest::new(),
        }
    }

    /// Replaces the status that waits for this profile; its events stay.
    pub(super) fn put(&self, profile: ProfileKey, mut job: Job) {
        self.queue.put(profile, |older| {
            if let Some(older) = older.filter(|older| older.uid == job.uid) {
                job.events.splice(0..0, older.events);
                job.events.truncate(MAX_EVENTS);
            }
            job
        });
    }

    /// What waits is tried once more; then `run` ends.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    pub(super) async fn run(&self) {
        while let Some((profile, job)) = self.queue.next().await {
            match self.fence.within(self.write(&profile, &job)).await {
                // Whoever holds the Lease now writes what it sees.
                None => {}
                Some(Ok(())) => {
                    let uid = job.uid.as_deref();
                    let events = self.events.publish(&profile, uid, &job.events);
                    let _ = self.fence.within(events).await;
                }
                Some(Err(error)) => {
                    tracing::warn!(%profile, error, "the status cannot be written");
                    self.queue.put_back(profile, job, Instant::now() + RETRY);
                }
            }
        }
    }

    async fn write(&self, profile: &ProfileKey, job: &Job) -> Result<(), String> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &profile.namespace, &self.resource);
        let patch = Patch::Apply(serde_json::json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"name": profile.name, "uid": job.uid},
            "status": job.status,
        }));
        let how = PatchParams::apply(FIELD_MANAGER).force();
        let write = api.patch_status(&profile.name, &how, &patch);
        match timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(_)) => Ok(()),
            // It is gone, or another one under this name: the watch says so.
            Ok(Err(error)) if matches!(fault::code(&error), Some(404 | 409)) => Ok(()),
            Ok(Err(error)) => Err(fault::words(&error)),
            Err(_) => Err("no answer in time".into()),
        }
    }
}
