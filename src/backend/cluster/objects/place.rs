//! Which watch tells which object of one namespace. Pure.
//!
//! Every object has a watch of its own, for which a Role with `resourceNames`
//! is enough. Where a namespace has many Secrets, one more watch is tried: of
//! all Secrets with the opt-in label, which needs the right to read every
//! Secret there. What it shows, it tells, and the objects' own watches end. It
//! never says that a Secret is gone, since one that loses the label is gone for
//! it as well: such a Secret gets a watch of its own again, which says what is
//! true. So do those that never had the label, among them the operator's own.
//!
//! Who tells an object hands over to the other only when both have seen the
//! same version of it. So no change is lost, and none is told that is older
//! than one told before.

use std::{collections::BTreeMap, sync::Arc};

use kube::runtime::watcher::Event;
use opamp_operator_api::{ObjectKind, ObjectRef};
use opamp_operator_core::offer::{Object, Observed};

use super::{
    Source,
    book::{Act, Book, Entry, MOST, Room, Teller, Told},
};
use crate::backend::{
    Ticket,
    cluster::{fault::WatchFault, remedy::Remedy},
};

/// Above so many Secrets the label is tried, and given up at so few.
const MANY: usize = 50;
const FEW: usize = 40;
/// What the watch of the labelled Secrets knows.
#[derive(Debug, Default)]
struct Labelled {
    /// It listed them, or failed to, at least once.
    answered: bool,
    /// It may not watch them, for the time being.
    denied: bool,
    /// Names and versions, also of those that nobody wants.
    versions: BTreeMap<String, Option<String>>,
    /// Seen since a listing began.
    listing: BTreeMap<String, Option<String>>,
    fault: Option<String>,
}

#[derive(Debug)]
pub(super) struct Place {
    namespace: String,
    remedy: Remedy,
    room: Arc<Room>,
    book: Book,
    label: Option<Labelled>,
}

impl Place {
    pub(super) fn new(namespace: &str, remedy: Remedy, room: Arc<Room>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            remedy,
            book: Book::new(Arc::clone(&room)),
            room,
            label: None,
        }
    }

    /// These are wanted from now on, and no others.
    pub(super) fn want(&mut self, objects: &[(&ObjectRef, Ticket)]) -> Vec<Act> {
        let wanted: BTreeMap<&ObjectRef, Ticket> = objects.iter().copied().collect();
        let stays = |object: &ObjectRef, entry: &Entry| wanted.get(object) == Some(&entry.ticket);
        for object in self.book.those(|object, entry| !stays(object, entry)) {
            self.book.remove(&object);
        }
        for (object, ticket) in objects {
            if !self.book.entries.contains_key(object) {
                self.book.add(object, *ticket);
            }
        }
        self.choose();
        self.fill()
    }

    /// What a watch of its own sees of an object.
    pub(super) fn object(
        &mut self,
        object: &ObjectRef,
        seen: Result<Option<Arc<Object>>, WatchFault>,
    ) -> Vec<Act> {
        let Some(entry) = self.book.heard(object) else {
            return Vec::new();
        };
        match seen {
            Ok(found) => {
                entry.fault = None;
                let version = found.as_ref().map(|found| found.resource_version.clone());
                match found {
                    Some(found) => self.book.present(object, found),
                    None => self.book.tell(object, Told::Absent, Observed::Absent),
                }
                if version.is_some_and(|version| self.labelled_as(object) == Some(&version)) {
                    self.book.set_teller(object, Teller::Label);
                }
            }
            Err(WatchFault {
                code: Some(403), ..
            }) => {
                let why = self.remedy.object(object);
                self.book
                    .tell(object, Told::Forbidden, Observed::Forbidden(why));
            }
            Err(fault) => {
                if entry.fault.as_ref() != Some(&fault.words) {
                    tracing::warn!(%object, error = fault.words, "a watch is interrupted and tried again");
                    entry.fault = Some(fault.words);
                }
            }
        }
        self.fill()
    }

    /// What the watch of the labelled Secrets sees.
    pub(super) fn labelled(
        &mut self,
        seen: Result<Event<(String, Arc<Object>)>, WatchFault>,
    ) -> Vec<Act> {
        let Some(label) = &mut self.label else {
            return Vec::new();
        };
        match seen {
            Ok(Event::Init) => label.listing.clear(),
            Ok(Event::InitApply((name, secret))) => {
                label.allowed();
                let version = secret.resource_version.clone();
                label.listing.insert(name.clone(), version.clone());
                label.versions.insert(name.clone(), version);
                self.carries(&name, secret);
            }
            Ok(Event::Apply((name, secret))) => {
                label.allowed();
                let version = secret.resource_version.clone();
                label.versions.insert(name.clone(), version);
                self.carries(&name, secret);
            }
            Ok(Event::Delete((name, _))) => {
                label.allowed();
                label.versions.remove(&name);
                self.lost();
            }
            Ok(Event::InitDone) => {
                label.versions = std::mem::take(&mut label.listing);
                label.answered = true;
                label.allowed();
                let (namespace, secrets) = (&self.namespace, label.versions.len());
                tracing::info!(
                    namespace,
                    secrets,
                    "Secrets with the opt-in label are watched at once"
                );
                self.lost();
                self.hand_over();
            }
            Err(fault) => {
                label.answered = true;
                label.denied |= fault.code == Some(403);
                if label.fault.as_ref() != Some(&fault.words) {
                    let (namespace, error) = (&self.namespace, &fault.words);
                    tracing::warn!(
                        namespace,
                        error,
                        "Secrets with the opt-in label cannot be watched at once"
                    );
                    label.fault = Some(fault.words);
                }
                self.lost();
            }
        }
        self.fill()
    }

    /// How many Secrets there are says whether the label is tried.
    fn choose(&mut self) {
        let secrets = self.book.entries.keys();
        let secrets = secrets.filter(|object| object.kind == ObjectKind::Secret);
        let bound = if self.label.is_some() { FEW } else { MANY };
        let many = secrets.count() > bound;
        let source = Source::Labelled(self.namespace.clone());
        if many && self.label.is_none() {
            self.label = Some(Labelled::default());
            self.book.acts.push(Act::Watch(source));
        } else if !many && self.label.take().is_some() {
            self.book.acts.push(Act::Leave(source));
            self.lost();
        }
    }

    /// A labelled Secret was seen.
    fn carries(&mut self, name: &str, secret: Arc<Object>) {
        let object = ObjectRef::secret(&self.namespace, name);
        let Some(entry) = self.book.entries.get(&object) else {
            return;
        };
        let denied = self.label.as_ref().is_none_or(|label| label.denied);
        match entry.teller {
            _ if denied => {}
            Teller::Nobody | Teller::Label => {
                self.book.present(&object, secret);
                self.book.set_teller(&object, Teller::Label);
            }
            Teller::Own { .. } => {
                if entry.told == Told::Version(secret.resource_version.clone()) {
                    self.book.set_teller(&object, Teller::Label);
                }
            }
        }
    }

    /// The version of a Secret that the watch of the labelled shows.
    fn labelled_as(&self, object: &ObjectRef) -> Option<&Option<String>> {
        let label = self.label.as_ref().filter(|label| !label.denied)?;
        let secret = object.kind == ObjectKind::Secret;
        label.versions.get(&object.name).filter(|_| secret)
    }

    /// What the watch of the labelled does not show any more, others tell.
    fn lost(&mut self) {
        let lost = self.book.those(|object, entry| {
            entry.teller == Teller::Label && self.labelled_as(object).is_none()
        });
        for object in lost {
            self.book.set_teller(&object, Teller::Nobody);
        }
    }

    /// What both have seen alike, one watch is enough for.
    fn hand_over(&mut self) {
        let alike = self.book.those(|object, entry| {
            let same = |version: &Option<String>| entry.told == Told::Version(version.clone());
            let own = matches!(entry.teller, Teller::Own { .. });
            own && self.labelled_as(object).is_some_and(same)
        });
        for object in alike {
            self.book.set_teller(&object, Teller::Label);
        }
    }

    /// Begins watches where there is room, and says where there is none.
    pub(super) fn fill(&mut self) -> Vec<Act> {
        let listing = self.label.as_ref().is_some_and(|label| !label.answered);
        // While they are listed, it may be among the labelled.
        let may = |object: &ObjectRef| !(listing && object.kind == ObjectKind::Secret);
        for object in self.book.begin(may) {
            let why = Observed::Forbidden(self.no_room());
            self.book.tell(&object, Told::Declined, why);
        }
        std::mem::take(&mut self.book.acts)
    }

    fn no_room(&self) -> String {
        let all = self.room.most;
        let most = format!(
            "it watches at most {MOST} Secrets and ConfigMaps of a namespace one by one, and {all} of all namespaces (limits.watches)"
        );
        match &self.label {
            Some(label) if label.denied => {
                let remedy = self.remedy.all_secrets(&self.namespace);
                format!(
                    "{most}; allow it to watch all that carry the opt-in label at once: {remedy}"
                )
            }
            _ => format!(
                "{most}, beside the Secrets that carry the opt-in label: let profiles share them"
            ),
        }
    }
}

impl Labelled {
    /// It works.
    fn allowed(&mut self) {
        self.denied = false;
        self.fault = None;
    }
}
