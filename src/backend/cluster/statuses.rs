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
use opamp_operator_core::status::{ProfileEvent, Severity, severity};
use tokio::time::{Instant, timeout};

use super::{FIELD_MANAGER, WRITE_TIMEOUT, events::Events, fault, lease::Fence, queue::Latest};

/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Events that wait with a status.
const MAX_EVENTS: usize = 8;

/// A status to be written.
pub(super) struct Job {
    /// Of the object that is meant: never of one made anew under its name.
    pub(super) uid: Option<String>,
    pub(super) status: Box<OpAMPConnectionProfileStatus>,
    pub(super) events: Vec<ProfileEvent>,
    /// Events that found no room here.
    pub(super) left_out: usize,
}

impl Job {
    /// Takes over the events of an older one. Over the limit the oldest go, and
    /// first those that nobody has to look at: what happened last explains the
    /// status that is written with it.
    fn follow(&mut self, older: Self) {
        if older.uid != self.uid {
            return;
        }
        self.left_out += older.left_out;
        self.events.splice(0..0, older.events);
        while self.events.len() > MAX_EVENTS {
            let warns = |event: &ProfileEvent| severity(event.reason) == Some(Severity::Warning);
            let calm = self.events.iter().position(|event| !warns(event));
            self.events.remove(calm.unwrap_or_default());
            self.left_out += 1;
        }
    }
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
            if let Some(older) = older {
                job.follow(older);
            }
            job
        });
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.queue.depth()
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
                    let events = &job.events;
                    let events = self.events.publish(&profile, uid, events, job.left_out);
                    let _ = self.fence.within(events).await;
                }
                Some(Err(error)) => {
                    tracing::warn!(%profile, error, "the status cannot be written");
                    let again = Instant::now() + RETRY;
                    self.queue.put_back_under(profile, job, again, Job::follow);
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

#[cfg(test)]
mod tests {
    use opamp_operator_api::Reason;

    use super::*;

    fn job(events: &[(Reason, i64)]) -> Job {
        let event = |(reason, number): &(Reason, i64)| ProfileEvent {
            reason: *reason,
            note: String::new(),
            about: String::new(),
            revision: Some(*number),
        };
        Job {
            uid: None,
            status: Box::default(),
            events: events.iter().map(event).collect(),
            left_out: 0,
        }
    }

    #[test]
    fn law10_of_many_events_the_newest_and_the_warnings_wait() {
        let calm = |number| (Reason::RevisionCreated, number);
        let warning = |number| (Reason::AgentsFailed, number);
        let mut all = job(&[]);
        for events in [
            vec![warning(1), calm(2), calm(3), warning(4)],
            vec![warning(5), calm(6), warning(7), calm(8)],
            vec![warning(9), calm(10)],
        ] {
            let older = std::mem::replace(&mut all, job(&events));
            all.follow(older);
        }
        let numbers: Vec<_> = all.events.iter().filter_map(|e| e.revision).collect();
        assert_eq!(numbers, [1, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(all.left_out, 2);
        // No more than there is room for, whatever they are.
        let older = std::mem::replace(&mut all, job(&[warning(11); 8]));
        all.follow(older);
        assert!(all.events.iter().all(|event| event.revision == Some(11)));
        assert_eq!(all.left_out, 10);
    }
}
