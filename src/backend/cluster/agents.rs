//! `OpAMPAgent` objects: read before the listener opens, written behind the
//! push and at a bounded rate.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use opamp_operator_api::agent::{OpAMPAgent, OpAMPAgentStatus};
use opamp_operator_core::fleet::AgentRecord;
use opamp_wire::InstanceUid;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{FIELD_MANAGER, fault::within, memory::MemoryError, queue::Latest};
use crate::backend::record::{to_agent, to_record};

/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// At most 50 objects a second: a rotation of a large fleet must not be felt
/// by the others who use the API server.
const BETWEEN_WRITES: Duration = Duration::from_millis(20);
/// Objects fetched at a time.
const PAGE: u32 = 500;

/// Home namespace and instance UID.
type Key = (String, InstanceUid);

/// What is to be done with an object.
enum Job {
    Write(Box<AgentRecord>),
    Delete,
}

pub(super) struct Agents {
    client: Client,
    queue: Latest<Key, Job>,
    /// Objects that exist, as far as we know.
    known: Mutex<BTreeSet<Key>>,
}

impl Agents {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            queue: Latest::new(),
            known: Mutex::default(),
        }
    }

    /// All records of a namespace.
    pub(super) async fn load(&self, namespace: &str) -> Result<Vec<AgentRecord>, MemoryError> {
        let resource = ApiResource::erase::<OpAMPAgent>(&());
        // As they are stored: one that cannot be read does not hide the others.
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let failed = |(code, problem): (Option<u16>, String)| {
            let namespace = namespace.to_owned();
            match code {
                Some(403) => MemoryError::Denied { namespace, problem },
                _ => MemoryError::Api {
                    what: "OpAMPAgents",
                    namespace,
                    problem,
                },
            }
        };
        let mut how = ListParams::default().limit(PAGE);
        let mut records = Vec::new();
        loop {
            let page = within(api.list(&how)).await;
            let page = page.map_err(failed)?;
            for object in page.items {
                let name = object.metadata.name.clone().unwrap_or_default();
                let agent = serde_json::to_value(object).and_then(serde_json::from_value);
                let Some(record) = agent.ok().and_then(to_record) else {
                    tracing::warn!(name, namespace, "an OpAMPAgent cannot be read");
                    continue;
                };
                let key = (record.namespace.clone(), record.uid);
                self.known.lock().insert(key);
                records.push(record);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => how = how.continue_token(&token),
                None => return Ok(records),
            }
        }
    }

    pub(super) fn put(&self, record: Box<AgentRecord>) {
        let key = (record.namespace.clone(), record.uid);
        let known = || self.known.lock();
        self.queue.put(key.clone(), |older| {
            // It may belong to somebody else by now: it is written as a whole.
            if matches!(older, Some(Job::Delete)) {
                known().remove(&key);
            }
            Job::Write(record)
        });
    }

    pub(super) fn delete(&self, key: Key) {
        self.queue.put(key, |_| Job::Delete);
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
        let mut next = Instant::now();
        while let Some((key, job)) = self.queue.next().await {
            sleep_until(next).await;
            next = Instant::now() + BETWEEN_WRITES;
            let done = match &job {
                Job::Write(record) => self.write(&key, record).await,
                Job::Delete => self.remove(&key).await,
            };
            if let Err(error) = done {
                tracing::warn!(agent = %key.1, namespace = key.0, error, "an OpAMPAgent cannot be written");
                self.queue.put_back(key, job, Instant::now() + RETRY);
            }
        }
    }

    async fn write(&self, key: &Key, record: &AgentRecord) -> Result<(), String> {
        let Some(mut agent) = to_agent(record) else {
            return Ok(());
        };
        let api: Api<OpAMPAgent> = Api::namespaced(self.client.clone(), &key.0);
        let how = PatchParams::apply(FIELD_MANAGER).force();
        let name = key.1.to_string();
        let status = agent.status.take();
        let left = status.as_ref().is_some_and(|status| !status.connected);
        if left || !self.known.lock().contains(key) {
            let patch = Patch::Apply(&agent);
            let stored = within(api.patch(&name, &how, &patch))
                .await
                .map_err(|(_, problem)| problem)?;
            self.known.lock().insert(key.clone());
            if left {
                if linked(stored.status.as_ref()) > linked(status.as_ref()) {
                    // It came back to another process, which wrote that: this
                    // one is about to end, and is late.
                    return Ok(());
                }
                // Nor is that to be written between the two.
                agent.metadata.resource_version = stored.metadata.resource_version;
            }
        }
        agent.status = status;
        let patch = Patch::Apply(&agent);
        match within(api.patch_status(&name, &how, &patch)).await {
            Ok(_) => Ok(()),
            Err((code, problem)) => {
                if code == Some(404) {
                    // Somebody deleted it: it is made anew.
                    self.known.lock().remove(key);
                }
                Err(problem)
            }
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), String> {
        let api: Api<OpAMPAgent> = Api::namespaced(self.client.clone(), &key.0);
        let (name, how) = (key.1.to_string(), DeleteParams::default());
        match within(api.delete(&name, &how)).await {
            Ok(_) | Err((Some(404), _)) => {
                self.known.lock().remove(key);
                Ok(())
            }
            Err((_, problem)) => Err(problem),
        }
    }
}

/// When the newest connection was made that a status knows of.
fn linked(status: Option<&OpAMPAgentStatus>) -> Option<Timestamp> {
    Some(status?.connected_time.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// Its instance UID was given up, and somebody else owns it now.
    #[tokio::test]
    async fn law2_an_agent_that_is_made_anew_before_it_was_deleted_is_written_with_its_owner() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let subject = &body["spec"]["identity"]["subject"];
                let last = head.uri.path().rsplit('/').next().unwrap().len();
                seen.lock()
                    .push(format!("{} {subject}", last == "status".len()));
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                http::Response::builder().body(body)
            }
        });
        let agents = Agents::new(Client::new(service, "a"));
        let now = opamp_operator_core::Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            uptime: Duration::ZERO,
        };
        let owned_by = |subject: &str| {
            let uid = InstanceUid::from_bytes([1; 16]);
            let mut record = opamp_operator_core::fleet::Agent::new(uid, "a", now).record();
            record.binding = Some(opamp_operator_api::Identity {
                namespace: "a".into(),
                method: opamp_operator_api::IdentityMethod::AgentToken,
                authenticator: "bootstrap".into(),
                subject: subject.into(),
            });
            Box::new(record)
        };
        let key = ("a".to_owned(), InstanceUid::from_bytes([1; 16]));
        agents.known.lock().insert(key.clone());
        agents.delete(key);
        agents.put(owned_by("two"));
        agents.close();
        agents.run().await;
        assert_eq!(*asked.lock(), ["false \"two\"", "true \"two\""]);
    }

    const UID: &str = "01a20ada-d1e4-705f-bc88-c05d1b1e5557";

    fn object(connected: bool, since: &str) -> Value {
        let identity = json!({"method": "ServiceAccount", "authenticator": "c", "subject": "a"});
        json!({
            "apiVersion": "opamp-operator.dev/v1alpha1",
            "kind": "OpAMPAgent",
            "metadata": {"name": UID, "namespace": "a", "resourceVersion": "7"},
            "spec": {"instanceUID": UID, "identity": identity},
            "status": {"connected": connected, "connectedTime": since},
        })
    }

    /// What is written of an agent that left, over what is stored.
    async fn written(stored: Value) -> Vec<(String, Value)> {
        let asked = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let seen = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (seen, stored) = (Arc::clone(&seen), stored.clone());
            async move {
                let path = request.uri().path().to_owned();
                let bytes = request.into_body().collect_bytes().await?;
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                seen.lock().push((path, body));
                let body = Body::from(serde_json::to_vec(&stored).unwrap_or_default());
                Ok::<_, kube::Error>(http::Response::new(body))
            }
        });
        let agents = Agents::new(Client::new(service, "a"));
        let agent = serde_json::from_value(object(false, "2026-11-24T00:11:07Z")).unwrap();
        let record = to_record(agent).unwrap();
        let key = (record.namespace.clone(), record.uid);
        agents.known.lock().insert(key.clone());
        agents.write(&key, &record).await.unwrap();
        std::mem::take(&mut *asked.lock())
    }

    #[tokio::test]
    async fn law8_who_left_this_process_for_another_is_not_said_to_be_away() {
        let asked = written(object(true, "2026-11-24T00:11:17Z")).await;
        assert!(!asked.iter().any(|(path, _)| path.ends_with("/status")));
        let asked = written(object(true, "2026-11-24T00:11:07Z")).await;
        let (path, body) = asked.last().unwrap();
        assert!(path.ends_with("/status"), "{path}");
        assert_eq!(body["status"]["connected"], false);
        // What is written meanwhile is not written over.
        assert_eq!(body["metadata"]["resourceVersion"], "7");
    }

    #[tokio::test]
    async fn law9_agents_that_may_not_be_read_are_told_from_an_api_that_fails() {
        for (code, denied) in [(403, true), (500, false)] {
            let service = tower::service_fn(move |_: http::Request<Body>| async move {
                let status = serde_json::json!({
                    "kind": "Status", "status": "Failure", "code": code, "message": "no",
                });
                let body = Body::from(serde_json::to_vec(&status).unwrap_or_default());
                http::Response::builder().status(code).body(body)
            });
            let agents = Agents::new(Client::new(service, "a"));
            let error = agents.load("a").await.unwrap_err();
            assert_eq!(
                matches!(error, MemoryError::Denied { .. }),
                denied,
                "{error}"
            );
        }
    }
}
