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

use super::{MAX_WATCHES, fault::WatchFault};
use crate::backend::{Observation, Ticket};

/// Of which object, and to whom.
struct Tell {
    object: ObjectRef,
    ticket: Ticket,
    observations: mpsc::Sender<Observation>,
}

/// Reads objects under our own name.
#[derive(Clone)]
pub(super) struct Reader {
    user: Arc<str>,
}

impl Reader {
    pub(super) fn new(user: String) -> Self {
        Self { user: user.into() }
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
                    } => Observed::Forbidden(remedy(object, &self.user)),
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

/// The commands that let us read an object, and nothing else.
fn remedy(object: &ObjectRef, user: &str) -> String {
    let ObjectRef {
        namespace, name, ..
    } = object;
    let resource = match object.kind {
        ObjectKind::Secret => "secrets",
        ObjectKind::ConfigMap => "configmaps",
    };
    let whom = user.strip_prefix("system:serviceaccount:").map_or_else(
        || format!("--user={user}"),
        |account| format!("--serviceaccount={account}"),
    );
    format!(
        "`kubectl create role opamp-operator-{name} -n {namespace} --verb=get,list,watch --resource={resource} \
         --resource-name={name}` and `kubectl create rolebinding opamp-operator-{name} -n {namespace} \
         --role=opamp-operator-{name} {whom}`"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_one_object_and_our_own_account() {
        let text = remedy(
            &ObjectRef::secret("a", "tls"),
            "system:serviceaccount:ops:operator",
        );
        for part in [
            "-n a",
            "--resource=secrets",
            "--resource-name=tls",
            "--serviceaccount=ops:operator",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = remedy(&ObjectRef::config_map("a", "ca"), "ann");
        assert!(
            text.contains("--resource=configmaps") && text.ends_with("--user=ann`"),
            "{text}"
        );
    }
}
