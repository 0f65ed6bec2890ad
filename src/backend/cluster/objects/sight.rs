//! The watches themselves, as streams of what they see.

use std::{fmt::Debug, sync::Arc};

use futures::{StreamExt as _, future, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::watcher::{Config, Event},
};
use opamp_operator_api::{OFFERABLE_LABEL, ObjectKind, ObjectRef};
use opamp_operator_core::offer::Object;
use serde::de::DeserializeOwned;

use super::Source;
use crate::backend::cluster::{fault::WatchFault, patience};

/// A request to watch is answered for so many seconds, then made again: at
/// most, and how many fewer it may be.
const LONGEST: u32 = 290;
const SPREAD: u32 = 90;

/// What a watch says.
pub(super) enum Sight {
    /// The one object as it is, or that there is none.
    Object(ObjectRef, Result<Option<Arc<Object>>, WatchFault>),
    /// Of the labelled Secrets of a namespace, by their names.
    Labelled(Arc<str>, Result<Event<(String, Arc<Object>)>, WatchFault>),
}

impl Sight {
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Object(object, _) => &object.namespace,
            Self::Labelled(namespace, _) => namespace,
        }
    }
}

/// Watches a source until the stream is dropped.
pub(super) fn watch(client: Client, source: &Source) -> BoxStream<'static, Sight> {
    match source {
        Source::Object(object) => match object.kind {
            ObjectKind::Secret => one(client, object.clone(), from_secret),
            ObjectKind::ConfigMap => one(client, object.clone(), from_config_map),
        },
        Source::Labelled(namespace) => labelled(client, namespace),
    }
}

/// As a list with this field selector a Role with `resourceNames` allows it.
fn one<K>(client: Client, object: ObjectRef, read: fn(K) -> Object) -> BoxStream<'static, Sight>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    let api = Api::<K>::namespaced(client, &object.namespace);
    let config = config().fields(&format!("metadata.name={}", object.name));
    let mut listed = false;
    patience::watch(api, config)
        .filter_map(move |event| {
            let seen = match event {
                Ok(Event::Init) => {
                    listed = false;
                    None
                }
                Ok(Event::InitApply(found)) => {
                    listed = true;
                    Some(Ok(Some(found)))
                }
                Ok(Event::InitDone) => (!listed).then_some(Ok(None)),
                Ok(Event::Apply(found)) => Some(Ok(Some(found))),
                Ok(Event::Delete(_)) => Some(Ok(None)),
                Err(error) => Some(Err(WatchFault::from(&error))),
            };
            let seen = seen.map(|seen| seen.map(|found| found.map(|k| Arc::new(read(k)))));
            future::ready(seen.map(|seen| Sight::Object(object.clone(), seen)))
        })
        .boxed()
}

fn labelled(client: Client, namespace: &str) -> BoxStream<'static, Sight> {
    let api = Api::<Secret>::namespaced(client, namespace);
    let config = config().labels(&format!("{OFFERABLE_LABEL}=true"));
    let namespace = Arc::<str>::from(namespace);
    let named = |secret: Secret| (secret.name_any(), Arc::new(from_secret(secret)));
    patience::watch(api, config)
        .map(move |event| {
            let event = event.map(|event| match event {
                Event::Init => Event::Init,
                Event::InitApply(secret) => Event::InitApply(named(secret)),
                Event::InitDone => Event::InitDone,
                Event::Apply(secret) => Event::Apply(named(secret)),
                Event::Delete(secret) => Event::Delete(named(secret)),
            });
            let event = event.map_err(|error| WatchFault::from(&error));
            Sight::Labelled(Arc::clone(&namespace), event)
        })
        .boxed()
}

/// Watches that began together are not to end together.
fn config() -> Config {
    let mut byte = [0];
    // Without randomness they are only less spread.
    let _ = getrandom::fill(&mut byte);
    Config::default().timeout(LONGEST - u32::from(byte[0]) * SPREAD / 255)
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
