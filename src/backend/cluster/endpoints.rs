//! Whether the Service still sends agents to this Pod.

use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::{Api, Client, api::ListParams};
use tokio::time::{sleep, timeout};

use super::fault::within;

/// Names the Service of an `EndpointSlice`.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long is waited at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// What nodes take to do as the slices say.
const NODES: Duration = Duration::from_secs(1);

/// See the module.
pub struct Endpoints {
    api: Api<EndpointSlice>,
    service: String,
    /// None if nobody said.
    pod: Option<String>,
}

impl Endpoints {
    pub(super) fn new(client: Client, namespace: &str, service: &str) -> Self {
        let named = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
        Self {
            api: Api::namespaced(client, namespace),
            service: service.to_owned(),
            // A Pod's host name is its own unless it is told otherwise.
            pod: named("POD_NAME").or_else(|| named("HOSTNAME")),
        }
    }

    /// Waits until no agent is sent here any more, for ten seconds at most.
    pub async fn left(&self) {
        let Some(pod) = &self.pod else {
            tracing::warn!("neither POD_NAME nor HOSTNAME is set: agents may still be sent here");
            return sleep(PATIENCE).await;
        };
        let gone = async {
            while !self.gone(pod).await {
                sleep(LOOK_EVERY).await;
            }
            sleep(NODES).await;
        };
        let service = &self.service;
        if timeout(PATIENCE, gone).await.is_ok() {
            tracing::info!(service, "no agent is sent here any more");
        } else {
            tracing::warn!(service, "agents may still be sent here");
        }
    }

    async fn gone(&self, pod: &str) -> bool {
        let how = ListParams::default().labels(&format!("{SERVICE_LABEL}={}", self.service));
        match within(self.api.list(&how)).await {
            Ok(slices) => {
                let mut all = slices.items.iter().flat_map(|slice| &slice.endpoints);
                !all.any(|endpoint| is_sent(endpoint, pod))
            }
            Err((_, error)) => {
                tracing::debug!(error, "EndpointSlices cannot be read");
                false
            }
        }
    }
}

/// A Pod that ends is named on, but not as ready.
fn is_sent(endpoint: &Endpoint, pod: &str) -> bool {
    let target = endpoint.target_ref.as_ref();
    let this = target.is_some_and(|target| {
        target.kind.as_deref() == Some("Pod") && target.name.as_deref() == Some(pod)
    });
    let ready = endpoint.conditions.as_ref().and_then(|all| all.ready);
    this && ready != Some(false)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    fn slice(pod: &str, ready: bool) -> Value {
        json!({
            "metadata": {"name": "s"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": pod}}],
        })
    }

    /// Answers each listing with the next of these, the last for ever.
    fn endpoints(answers: Vec<Option<Value>>) -> (Endpoints, Arc<AtomicUsize>) {
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: Request<Body>| {
            let at = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let (code, answer) = match answers[at].clone() {
                Some(slice) => (200, json!({"metadata": {}, "items": [slice]})),
                None => (
                    403,
                    json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no"}),
                ),
            };
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            async move { Response::builder().status(code).body(body) }
        });
        let endpoints = Endpoints {
            api: Api::namespaced(Client::new(service, "a"), "a"),
            service: "s".into(),
            pod: Some("me".into()),
        };
        (endpoints, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn law8_it_serves_on_until_it_is_not_named_as_ready() {
        let here = || Some(slice("me", true));
        for gone in [slice("me", false), slice("another", true)] {
            let (endpoints, asked) = endpoints(vec![here(), here(), here(), Some(gone)]);
            let start = Instant::now();
            endpoints.left().await;
            assert_eq!(asked.load(Ordering::Relaxed), 4);
            let waited = start.elapsed();
            assert!(
                LOOK_EVERY * 3 + NODES <= waited && waited < PATIENCE,
                "{waited:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn law10_it_waits_no_longer_than_it_may() {
        for answer in [Some(slice("me", true)), None] {
            let (endpoints, _) = endpoints(vec![answer]);
            let start = Instant::now();
            endpoints.left().await;
            assert!(start.elapsed() <= PATIENCE + LOOK_EVERY);
            assert!(start.elapsed() >= PATIENCE);
        }
    }
}
