//! The profiles of one namespace, watched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    runtime::watcher::{Config, Event},
};
use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfile};
use opamp_operator_core::catalog::Stored;
use tokio::sync::mpsc;

use super::{fault::WatchFault, patience};
use crate::{
    backend::{Observation, refuse},
    judge::Judge,
};

pub(super) struct Watch {
    api: Api<DynamicObject>,
    namespace: String,
    judge: Arc<Judge>,
    observations: mpsc::Sender<Observation>,
    /// What was told: a write of our own status is no news.
    known: BTreeMap<ProfileKey, (Option<String>, Option<i64>)>,
    /// Seen since a listing began.
    listed: BTreeSet<ProfileKey>,
    /// It was said how the first listing went.
    said: bool,
    last_fault: Option<String>,
}

impl Watch {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        judge: Arc<Judge>,
        observations: mpsc::Sender<Observation>,
    ) -> Self {
        // Read as they are stored: an object older than its schema becomes a
        // condition, and does not end the watch.
        let resource = ApiResource::erase::<OpAMPConnectionProfile>(&());
        Self {
            api: Api::namespaced_with(client, namespace, &resource),
            namespace: namespace.to_owned(),
            judge,
            observations,
            known: BTreeMap::new(),
            listed: BTreeSet::new(),
            said: false,
            last_fault: None,
        }
    }

    /// Runs until the other side is gone.
    pub(super) async fn run(mut self) {
        let stream = patience::watch(self.api.clone(), Config::default());
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            let told = match event {
                Ok(event) => {
                    // A listing that begins has not succeeded.
                    if !matches!(event, Event::Init) {
                        self.last_fault = None;
                    }
                    self.take(event)
                }
                Err(error) => self.complain(&WatchFault::from(&error)),
            };
            for observation in told {
                if self.observations.send(observation).await.is_err() {
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: Event<DynamicObject>) -> Vec<Observation> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.insert(self.key(&object));
                self.tell(&object)
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = self.known.keys().filter(|key| !listed.contains(key));
                let gone: Vec<_> = gone.cloned().collect();
                let mut told: Vec<_> = gone.into_iter().map(|key| self.forget(key)).collect();
                self.said = true;
                told.push(Observation::Listed(self.namespace.clone()));
                told
            }
            Event::Apply(object) => self.tell(&object),
            Event::Delete(object) => {
                let key = self.key(&object);
                vec![self.forget(key)]
            }
        }
    }

    fn key(&self, object: &DynamicObject) -> ProfileKey {
        ProfileKey::new(&self.namespace, object.name_any())
    }

    fn forget(&mut self, key: ProfileKey) -> Observation {
        self.known.remove(&key);
        Observation::Profile(key, None)
    }

    fn tell(&mut self, object: &DynamicObject) -> Vec<Observation> {
        let key = self.key(object);
        let (uid, generation) = (object.uid(), object.metadata.generation);
        let version = (uid.clone(), generation);
        let before = self.known.insert(key.clone(), version.clone());
        if before.as_ref() == Some(&version) {
            let status = object.data.get("status").cloned();
            let status = status.and_then(|status| serde_json::from_value(status).ok());
            let told = status.map(|status| Observation::Status(key, status));
            return told.into_iter().collect();
        }
        let mut told = Vec::new();
        if before.is_some_and(|(before, _)| before != uid) {
            // Deleted and made anew between two looks.
            told.push(Observation::Profile(key.clone(), None));
        }
        let value = serde_json::to_value(object).unwrap_or_default();
        let status = value.get("status").cloned();
        let status = status.and_then(|status| serde_json::from_value(status).ok());
        let spec = self.judge.read_stored(value);
        let stored = Stored {
            generation: generation.unwrap_or(1),
            uid,
            spec: spec
                .map(|profile| Arc::new(profile.spec))
                .map_err(|refusals| refuse(&refusals)),
            status: status.unwrap_or_default(),
        };
        told.push(Observation::Profile(key, Some(Box::new(stored))));
        told
    }

    /// One line per kind of fault; the watch is tried again by itself.
    fn complain(&mut self, fault: &WatchFault) -> Vec<Observation> {
        let namespace = &self.namespace;
        let remedy = match fault.code {
            Some(403) => "give the operator's ServiceAccount the chart's Role in this namespace",
            Some(404) => "install the CRD: kubectl apply --server-side -f crds/",
            _ => "it is tried again",
        };
        if self.last_fault.as_ref() != Some(&fault.words) {
            tracing::error!(
                namespace,
                error = fault.words,
                "the profiles cannot be watched: {remedy}"
            );
            self.last_fault = Some(fault.words.clone());
        }
        // The other namespaces do not wait for one that we may not see.
        if fault.code == Some(403) && !std::mem::replace(&mut self.said, true) {
            return vec![Observation::Unlistable(self.namespace.clone())];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn watch() -> Watch {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody calls"))
        });
        let (observations, _) = mpsc::channel(1);
        let client = Client::new(service, "a");
        Watch::new(client, "a", Arc::new(Judge::new()), observations)
    }

    fn profile(name: &str, uid: &str, generation: i64) -> DynamicObject {
        let object = json!({
            "apiVersion": "opamp-operator.dev/v1alpha1",
            "kind": "OpAMPConnectionProfile",
            "metadata": {"name": name, "namespace": "a", "uid": uid, "generation": generation},
            "spec": {
                "agentSelector": {},
                "fieldOfANewerVersion": 1,
                "opamp": {
                    "clientCertificate": {"source": "None"},
                    "tls": {"systemCAs": "Include"},
                },
            },
            "status": {"fieldOfANewerVersion": 1},
        });
        serde_json::from_value(object).unwrap()
    }

    /// Names of what was told; `-` before what is gone, `=` for a namespace.
    fn told(watch: &mut Watch, event: Event<DynamicObject>) -> Vec<String> {
        let word = |observation: &Observation| match observation {
            Observation::Profile(key, Some(stored)) => {
                assert!(stored.spec.is_ok(), "{:?}", stored.spec);
                key.name.clone()
            }
            Observation::Profile(key, None) => format!("-{}", key.name),
            Observation::Listed(namespace) => format!("={namespace}"),
            Observation::Status(key, _) => format!("~{}", key.name),
            other => format!("{other:?}"),
        };
        watch.take(event).iter().map(word).collect()
    }

    #[tokio::test]
    async fn law8_a_namespace_is_listed_when_all_its_profiles_were_told() {
        let mut watch = watch();
        let nothing: [&str; 0] = [];
        assert_eq!(told(&mut watch, Event::Init), nothing);
        let p = profile("p", "1", 1);
        assert_eq!(told(&mut watch, Event::InitApply(p.clone())), ["p"]);
        assert_eq!(told(&mut watch, Event::InitDone), ["=a"]);
        // A status alone, perhaps our own, is told as such.
        assert_eq!(told(&mut watch, Event::Apply(p)), ["~p"]);
        assert_eq!(told(&mut watch, Event::Apply(profile("p", "1", 2))), ["p"]);
        // Made anew under its name between two looks.
        let anew = profile("p", "2", 1);
        assert_eq!(told(&mut watch, Event::Apply(anew.clone())), ["-p", "p"]);
        // Gone while the watch was interrupted.
        assert_eq!(told(&mut watch, Event::Init), nothing);
        assert_eq!(told(&mut watch, Event::InitDone), ["-p", "=a"]);
        assert_eq!(told(&mut watch, Event::Apply(anew.clone())), ["p"]);
        assert_eq!(told(&mut watch, Event::Delete(anew)), ["-p"]);
    }
}
