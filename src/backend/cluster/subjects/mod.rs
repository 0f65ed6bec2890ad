//! The ServiceAccounts and Pods of the namespaces where agents are at home,
//! watched for one thing: who is gone. Of each no more than its UID is kept,
//! and of a ServiceAccount its name.

mod place;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Pod, ServiceAccount},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::PartialObjectMeta,
    runtime::{
        watcher,
        watcher::{Config, Event},
    },
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use place::Place;

use super::{fault::WatchFault, patience, remedy::Remedy};
use crate::backend::{Homes, Observation};

/// ServiceAccounts by name, with their UIDs, in each namespace of which they
/// are known.
pub(super) type Seen = BTreeMap<String, BTreeMap<String, String>>;

/// Name and UID.
type Named = (String, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Account,
    Pod,
}

/// What a watch says.
struct Sight {
    namespace: Arc<str>,
    kind: Kind,
    event: Result<Event<Named>, WatchFault>,
}

pub(super) struct Subjects {
    client: Client,
    remedy: Remedy,
    /// What is told, also for those who must not be ahead of it.
    seen: watch::Sender<Seen>,
    observations: mpsc::Sender<Observation>,
    places: BTreeMap<Arc<str>, Place>,
}

impl Subjects {
    pub(super) fn new(
        client: Client,
        remedy: Remedy,
        observations: mpsc::Sender<Observation>,
    ) -> Self {
        Self {
            client,
            remedy,
            seen: watch::Sender::default(),
            observations,
            places: BTreeMap::new(),
        }
    }

    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Watches what `homes` says until the other side is gone.
    pub(super) async fn run(mut self, mut homes: watch::Receiver<Homes>) {
        let mut watches = SelectAll::new();
        let mut more = true;
        homes.mark_changed();
        loop {
            let told = tokio::select! {
                changed = homes.changed(), if more => {
                    more = changed.is_ok();
                    let wanted = wanted(&homes.borrow_and_update());
                    self.follow(&wanted, &mut watches)
                }
                Some(sight) = watches.next() => self.take(sight),
                else => return,
            };
            for observation in told {
                if self.tell(observation).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Told first, then seen: nobody is to be ahead of the controller.
    async fn tell(&self, observation: Observation) -> Option<()> {
        let news = match &observation {
            Observation::ServiceAccounts(namespace, known) => {
                Some((namespace.clone(), known.clone()))
            }
            _ => None,
        };
        self.observations.send(observation).await.ok()?;
        if let Some((namespace, known)) = news {
            self.seen.send_modify(|seen| match known {
                Some(known) => drop(seen.insert(namespace, known)),
                None => drop(seen.remove(&namespace)),
            });
        }
        Some(())
    }

    /// Begins and ends watches.
    fn follow(
        &mut self,
        wanted: &BTreeSet<String>,
        watches: &mut SelectAll<BoxStream<'static, Sight>>,
    ) -> Vec<Observation> {
        let mut told = Vec::new();
        self.places.retain(|namespace, place| {
            let keep = wanted.contains(&**namespace);
            if !keep {
                place.ending.cancel();
                // What is not watched is not known.
                told.push(Observation::ServiceAccounts(namespace.to_string(), None));
            }
            keep
        });
        for namespace in wanted {
            if self.places.contains_key(namespace.as_str()) {
                continue;
            }
            let (namespace, place) = (Arc::<str>::from(namespace.as_str()), Place::default());
            let (client, ending) = (&self.client, &place.ending);
            watches.push(stream::<ServiceAccount>(
                client,
                &namespace,
                Kind::Account,
                ending,
            ));
            watches.push(stream::<Pod>(client, &namespace, Kind::Pod, ending));
            self.places.insert(namespace, place);
        }
        told
    }

    fn take(&mut self, sight: Sight) -> Vec<Observation> {
        let Sight {
            namespace,
            kind,
            event,
        } = sight;
        let Some(place) = self.places.get_mut(&namespace) else {
            return Vec::new();
        };
        let event = match event {
            Ok(event) => event,
            Err(fault) => return self.complain(&namespace, kind, &fault),
        };
        match kind {
            Kind::Pod => place.pod(&namespace, event),
            Kind::Account => {
                let news = place.account(event, self.seen.borrow().get(&*namespace));
                let told = |now| Observation::ServiceAccounts(namespace.to_string(), Some(now));
                news.map(told).into_iter().collect()
            }
        }
    }

    /// One line per kind of fault; the watch is tried again by itself.
    fn complain(&mut self, namespace: &str, kind: Kind, fault: &WatchFault) -> Vec<Observation> {
        let Some(place) = self.places.get_mut(namespace) else {
            return Vec::new();
        };
        let may_not = fault.code == Some(403);
        let error = &fault.words;
        match (place.is_news(kind, fault), may_not) {
            (true, true) => {
                let remedy = self.remedy.subjects(namespace);
                tracing::error!(
                    namespace,
                    error,
                    "it is not seen which ServiceAccounts and Pods are deleted: {remedy}"
                );
            }
            (true, false) => {
                tracing::warn!(namespace, error, "a watch is interrupted and tried again");
            }
            (false, _) => {}
        }
        let known = self.seen.borrow().contains_key(namespace);
        if kind == Kind::Account && may_not && known {
            return vec![Observation::ServiceAccounts(namespace.to_owned(), None)];
        }
        Vec::new()
    }
}

/// Where ServiceAccounts and Pods matter.
fn wanted(homes: &Homes) -> BTreeSet<String> {
    if homes.service_accounts {
        homes.namespaces.clone()
    } else {
        BTreeSet::new()
    }
}

/// Watches one kind in one namespace until `ending`, metadata only.
fn stream<K>(
    client: &Client,
    namespace: &Arc<str>,
    kind: Kind,
    ending: &CancellationToken,
) -> BoxStream<'static, Sight>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), namespace);
    let namespace = Arc::clone(namespace);
    let sight = move |event: watcher::Result<Event<PartialObjectMeta<K>>>| Sight {
        namespace: Arc::clone(&namespace),
        kind,
        event: event.map(small).map_err(|error| WatchFault::from(&error)),
    };
    patience::watch(api, Config::default())
        .map(sight)
        .take_until(ending.clone().cancelled_owned())
        .boxed()
}

/// Name and UID of what an event is about.
fn small<K>(event: Event<PartialObjectMeta<K>>) -> Event<Named>
where
    K: Resource<DynamicType = ()>,
{
    let named = |object: PartialObjectMeta<K>| {
        let uid = object.uid().unwrap_or_default();
        (object.name_any(), uid)
    };
    match event {
        Event::Apply(object) => Event::Apply(named(object)),
        Event::Delete(object) => Event::Delete(named(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(named(object)),
        Event::InitDone => Event::InitDone,
    }
}
