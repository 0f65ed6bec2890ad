//! The Secrets and ConfigMaps that somebody names: one watch for each, so that
//! a Role with `resourceNames` is enough.

use std::{fmt::Debug, sync::Arc};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt as _, watcher::watch_object},
};
use opamp_operator_api::{ObjectKind, ObjectRef};
use opamp_operator_core::offer::{Object, Observed};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{MAX_WATCHES, fault::WatchFault, remedy::Remedy};
use crate::backend::{Observation, Ticket};

/// Of which object, and to whom.
struct Tell {
    object: ObjectRef,
    ticket: Ticket,
    observations: mpsc::Sender<Observation>,
}

/// Reads objects, and says what lets us read them.
#[derive(Clone)]
pub(super) struct Reader(Remedy);

impl Reader {
    pub(super) fn new(remedy: Remedy) -> Self {
        Self(remedy)
    }

    /// Tells every change of an object until the other side is gone.
    pub(super) async fn follow(
        self,
        client: Client,
        object: ObjectRef,
        ticket: Ticket,
        observations: mpsc::Sender<Observation>,
    ) {
        let tell = Tell {
            object,
            ticket,
            observations,
        };
        let object = &tell.object;
        let namespace = object.namespace.clone();
        match object.kind {
            ObjectKind::Secret => {
                let api = Api::<Secret>::namespaced(client, &namespace);
                self.watch(api, tell, from_secret).await;
            }
            ObjectKind::ConfigMap => {
                let api = Api::<ConfigMap>::namespaced(client, &namespace);
                self.watch(api, tell, from_config_map).await;
            }
        }
    }

    /// Says that there are too many objects to watch one more.
    pub(super) async fn decline(
        self,
        object: ObjectRef,
        ticket: Ticket,
        observations: mpsc::Sender<Observation>,
    ) {
        let why = format!(
            "the operator watches at most {MAX_WATCHES} Secrets and ConfigMaps: let profiles share them"
        );
        let told = Observation::Object(object, ticket, Observed::Forbidden(why));
        let _ = observations.send(told).await;
    }

    async fn watch<K>(self, api: Api<K>, tell: Tell, read: fn(K) -> Object)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let object = &tell.object;
        let stream = watch_object(api, &object.name).default_backoff();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            let observed = match event {
                Ok(Some(found)) => Observed::Present(Arc::new(read(found))),
                Ok(None) => Observed::Absent,
                Err(error) => match WatchFault::from(&error) {
                    WatchFault {
                        code: Some(403), ..
                    } => Observed::Forbidden(self.0.object(object)),
                    fault => {
                        tracing::warn!(%object, error = fault.words, "a watch is interrupted and tried again");
                        continue;
                    }
                },
            };
            let told = Observation::Object(object.clone(), tell.ticket, observed);
            if tell.observations.send(told).await.is_err() {
                return;
            }
        }
    }
}

fn from_secret(secret: Secret) -> Object {
    let data = secret.data.unwrap_or_default();
    Object::new(
        secret.type_.as_deref().unwrap_or("Opaque"),
        secret.metadata.labels.as_ref(),
        data.into_iter().map(|(key, value)| (key, value.0)),
        secret.metadata.resource_version,
    )
}

fn from_config_map(map: ConfigMap) -> Object {
    let text = map.data.unwrap_or_default().into_iter();
    let binary = map.binary_data.unwrap_or_default().into_iter();
    Object::new(
        "",
        map.metadata.labels.as_ref(),
        text.map(|(key, value)| (key, value.into_bytes()))
            .chain(binary.map(|(key, value)| (key, value.0))),
        map.metadata.resource_version,
    )
}
