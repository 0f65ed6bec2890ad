//! The Secrets and ConfigMaps that somebody names, with as little privilege as
//! they can be watched with: see [`place`] for which watch tells which.

mod book;
mod place;
mod sight;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use kube::Client;
use opamp_operator_api::ObjectRef;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use book::{Act, MOST, Room};
use place::Place;
use sight::Sight;

use super::remedy::Remedy;
use crate::backend::{Observation, Ticket, Wanted};

/// What a watch is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// One object.
    Object(ObjectRef),
    /// The Secrets of a namespace with the opt-in label.
    Labelled(String),
}

pub(super) struct Objects {
    client: Client,
    remedy: Remedy,
    observations: mpsc::Sender<Observation>,
    places: BTreeMap<String, Place>,
    room: Arc<Room>,
    /// The operator's namespace, and room apart for what is there: what it needs
    /// itself waits for no tenant.
    own: (String, Arc<Room>),
    /// Ends the watches.
    endings: BTreeMap<Source, CancellationToken>,
    watches: SelectAll<BoxStream<'static, Sight>>,
}

impl Objects {
    /// Watches at most so many objects one by one, beside those of the
    /// operator's namespace.
    pub(super) fn new(
        client: Client,
        namespace: &str,
        remedy: Remedy,
        observations: mpsc::Sender<Observation>,
        most: usize,
    ) -> Self {
        Self {
            client,
            remedy,
            observations,
            places: BTreeMap::new(),
            room: Arc::new(Room::new(most)),
            own: (namespace.to_owned(), Arc::new(Room::new(MOST))),
            endings: BTreeMap::new(),
            watches: SelectAll::new(),
        }
    }

    /// Watches what is wanted until the other side is gone.
    pub(super) async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        let mut more = true;
        wanted.mark_changed();
        loop {
            let mut acts = tokio::select! {
                changed = wanted.changed(), if more => {
                    more = changed.is_ok();
                    let wanted = wanted.borrow_and_update().clone();
                    self.want(&wanted)
                }
                Some(sight) = self.watches.next() => self.see(sight),
                else => return,
            };
            // What ended here may be room for those that wait elsewhere.
            // Both are asked, since each says it once.
            let free = self.room.is_free_again();
            if self.own.1.is_free_again() || free {
                acts.extend(self.places.values_mut().flat_map(Place::fill));
            }
            for act in acts {
                if self.act(act).await.is_none() {
                    return;
                }
            }
        }
    }

    fn want(&mut self, wanted: &Wanted) -> Vec<Act> {
        let mut by_namespace = BTreeMap::<&str, Vec<(&ObjectRef, Ticket)>>::new();
        for (object, ticket) in wanted {
            let there = by_namespace.entry(&object.namespace).or_default();
            there.push((object, *ticket));
        }
        let before: BTreeSet<String> = self.places.keys().cloned().collect();
        let mut acts = Vec::new();
        for namespace in before {
            if !by_namespace.contains_key(&*namespace)
                && let Some(mut place) = self.places.remove(&namespace)
            {
                acts.extend(place.want(&[]));
            }
        }
        for (namespace, objects) in by_namespace {
            let place = self.places.entry(namespace.to_owned());
            let (own, apart) = &self.own;
            let room = if own == namespace { apart } else { &self.room };
            let place = place
                .or_insert_with(|| Place::new(namespace, self.remedy.clone(), Arc::clone(room)));
            acts.extend(place.want(&objects));
        }
        acts
    }

    fn see(&mut self, sight: Sight) -> Vec<Act> {
        let Some(place) = self.places.get_mut(sight.namespace()) else {
            return Vec::new();
        };
        match sight {
            Sight::Object(object, seen) => place.object(&object, seen),
            Sight::Labelled(_, seen) => place.labelled(seen),
        }
    }

    /// None once nobody listens.
    async fn act(&mut self, act: Act) -> Option<()> {
        match act {
            Act::Tell(object, ticket, observed) => {
                let told = Observation::Object(object, ticket, observed);
                return self.observations.send(told).await.ok();
            }
            Act::Watch(source) => {
                let ending = CancellationToken::new();
                let watch = sight::watch(self.client.clone(), &source);
                let watch = watch.take_until(ending.clone().cancelled_owned());
                self.watches.push(watch.boxed());
                self.endings.insert(source, ending);
            }
            Act::Leave(source) => {
                if let Some(ending) = self.endings.remove(&source) {
                    ending.cancel();
                }
            }
        }
        Some(())
    }
}
