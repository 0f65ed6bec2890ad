//! What authenticators hold and held, in a ConfigMap: no secret, and a restart
//! must not refuse those who came by what has left since.

use std::time::Duration;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use opamp_operator_core::identity::HeldEntry;
use tokio::time::Instant;

use super::{FIELD_MANAGER, fault::within, memory::MemoryError, queue::Latest};

const NAME: &str = "opamp-operator-held";
const KEY: &str = "held.json";
/// An object of the API holds no more than a MiB.
const MAX_BYTES: usize = 900 * 1024;
/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

pub(super) struct Held {
    api: Api<ConfigMap>,
    namespace: String,
    queue: Latest<(), Vec<HeldEntry>>,
}

impl Held {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            queue: Latest::new(),
        }
    }

    /// What an earlier process wrote.
    pub(super) async fn load(&self) -> Result<Vec<HeldEntry>, MemoryError> {
        let found = within(self.api.get_opt(NAME)).await;
        let found = found.map_err(|(_, problem)| MemoryError::Api {
            what: "ConfigMap opamp-operator-held",
            namespace: self.namespace.clone(),
            problem,
        })?;
        let text = found.and_then(|map| map.data?.remove(KEY));
        let Some(text) = text else {
            return Ok(Vec::new());
        };
        // It costs those their way back who came by what has left, and nobody
        // else anything.
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| {
            tracing::error!(
                "ConfigMap {NAME} cannot be read: agents whose token or CA left its object must come with a new one"
            );
            Vec::new()
        }))
    }

    pub(super) fn put(&self, held: Vec<HeldEntry>) {
        self.queue.put((), |_| held);
    }

    /// What waits is tried once more; then `run` ends.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    pub(super) async fn run(&self) {
        while let Some(((), held)) = self.queue.next().await {
            if let Err(error) = self.write(&held).await {
                tracing::warn!(error, "ConfigMap {NAME} cannot be written");
                self.queue.put_back((), held, Instant::now() + RETRY);
            }
        }
    }

    async fn write(&self, held: &[HeldEntry]) -> Result<(), String> {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), text(held.to_vec())?)].into()),
            ..ConfigMap::default()
        };
        let how = PatchParams::apply(FIELD_MANAGER).force();
        let written = within(self.api.patch(NAME, &how, &Patch::Apply(&map))).await;
        written.map(drop).map_err(|(_, problem)| problem)
    }
}

/// As much as fits: what left long ago goes first.
fn text(mut held: Vec<HeldEntry>) -> Result<String, String> {
    loop {
        let text = serde_json::to_string(&held).map_err(|_| "it cannot be written as JSON")?;
        if text.len() <= MAX_BYTES {
            return Ok(text);
        }
        let oldest = held.iter().enumerate();
        let oldest = oldest.min_by_key(|(_, entry)| (entry.left.is_none(), entry.left));
        let Some((oldest, _)) = oldest else {
            return Ok(text);
        };
        tracing::warn!("ConfigMap {NAME} is full: what left longest ago is not remembered");
        held.remove(oldest);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use jiff::Timestamp;
    use kube::client::Body;
    use opamp_operator_core::identity::Held as What;
    use serde_json::{Value, json};

    use super::*;

    /// An API with one object.
    fn api(stored: Arc<Mutex<Option<Value>>>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let stored = Arc::clone(&stored);
            async move {
                let patch = request.method() == Method::PATCH;
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut stored = stored.lock().unwrap();
                if patch {
                    *stored = serde_json::from_slice(&body).unwrap();
                }
                let status = json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "no",
                    "status": "Failure"});
                let (code, answer) = stored.clone().map_or((404, status), |object| (200, object));
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Response::builder().status(code).body(answer)
            }
        });
        Client::new(service, "ops")
    }

    fn entry(authority: &str, left: Option<i64>) -> HeldEntry {
        HeldEntry {
            authenticator: "ca".into(),
            held: What::Authority(authority.into()),
            left: left.map(|left| Timestamp::from_second(left).unwrap()),
        }
    }

    #[tokio::test]
    async fn law8_what_is_written_is_read_again() {
        let stored = Arc::default();
        let held = Held::new(api(Arc::clone(&stored)), "ops");
        assert_eq!(held.load().await.unwrap(), [], "nothing was stored");
        let entries = vec![entry("aa", None), entry("bb", Some(7))];
        held.put(entries.clone());
        held.close();
        held.run().await;
        assert_eq!(held.load().await.unwrap(), entries);
        // One that somebody broke is left out.
        stored.lock().unwrap().as_mut().unwrap()["data"][KEY] = json!("{");
        assert_eq!(held.load().await.unwrap(), []);
    }

    #[test]
    fn law10_what_left_first_makes_room() {
        let large = "ab".repeat(MAX_BYTES / 5);
        let all = vec![
            entry(&large, None),
            entry(&large, Some(9)),
            entry(&large, Some(7)),
        ];
        let kept: Vec<HeldEntry> = serde_json::from_str(&text(all.clone()).unwrap()).unwrap();
        assert_eq!(kept, all[..2]);
    }
}
