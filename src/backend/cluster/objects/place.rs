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

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::runtime::watcher::Event;
use opamp_operator_api::{ObjectKind, ObjectRef};
use opamp_operator_core::offer::{Object, Observed};

use super::Source;
use crate::backend::{
    Ticket,
    cluster::{fault::WatchFault, remedy::Remedy},
};

/// Above so many Secrets the label is tried, and given up at so few.
const MANY: usize = 50;
const FEW: usize = 40;
/// Most objects of a namespace with watches of their own, each of which is a
/// connection to the API.
const MOST: usize = 500;
/// Most of these that have not heard anything yet: a start is no burst.
const STARTING: usize = 16;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Watch(Source),
    Leave(Source),
    Tell(ObjectRef, Ticket, Observed),
}

/// Who tells an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    /// Nobody, until there is room for a watch of its own, or the labelled are
    /// listed.
    Nobody,
    /// A watch of its own, that has heard something or not yet.
    Own { heard: bool },
    /// The watch of all that are labelled.
    Label,
}

/// What was told last.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Version(Option<String>),
    Absent,
    Forbidden,
    /// That there is no room.
    Declined,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    teller: Teller,
    told: Told,
    fault: Option<String>,
}

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
    entries: BTreeMap<ObjectRef, Entry>,
    /// Those that nobody tells, first come first served.
    waiting: BTreeSet<(Ticket, ObjectRef)>,
    own: usize,
    starting: usize,
    label: Option<Labelled>,
    acts: Vec<Act>,
}

impl Place {
    pub(super) fn new(namespace: &str, remedy: Remedy) -> Self {
        Self {
            namespace: namespace.to_owned(),
            remedy,
            entries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            own: 0,
            starting: 0,
            label: None,
            acts: Vec::new(),
        }
    }

    /// These are wanted from now on, and no others.
    pub(super) fn want(&mut self, objects: &[(&ObjectRef, Ticket)]) -> Vec<Act> {
        let wanted: BTreeMap<&ObjectRef, Ticket> = objects.iter().copied().collect();
        let stays =
            |(object, entry): (&ObjectRef, &Entry)| wanted.get(object) == Some(&entry.ticket);
        let gone = self.entries.iter().filter(|entry| !stays(*entry));
        let gone: Vec<ObjectRef> = gone.map(|(object, _)| object.clone()).collect();
        for object in gone {
            self.set_teller(&object, Teller::Label);
            self.entries.remove(&object);
        }
        for (object, ticket) in objects {
            if !self.entries.contains_key(object) {
                let entry = Entry {
                    ticket: *ticket,
                    teller: Teller::Label,
                    told: Told::Nothing,
                    fault: None,
                };
                self.entries.insert((*object).clone(), entry);
                self.set_teller(object, Teller::Nobody);
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
        let Some(entry) = self.entries.get_mut(object) else {
            return Vec::new();
        };
        if entry.teller == (Teller::Own { heard: false }) {
            entry.teller = Teller::Own { heard: true };
            self.starting -= 1;
        }
        match seen {
            Ok(found) => {
                entry.fault = None;
                let version = found.as_ref().map(|found| found.resource_version.clone());
                match found {
                    Some(found) => self.present(object, found),
                    None => self.tell(object, Told::Absent, Observed::Absent),
                }
                if version.is_some_and(|version| self.labelled_as(&object.name) == Some(&version)) {
                    self.set_teller(object, Teller::Label);
                }
            }
            Err(WatchFault {
                code: Some(403), ..
            }) => {
                let why = self.remedy.object(object);
                self.tell(object, Told::Forbidden, Observed::Forbidden(why));
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
        let secrets = self.entries.keys();
        let secrets = secrets.filter(|object| object.kind == ObjectKind::Secret);
        let bound = if self.label.is_some() { FEW } else { MANY };
        let many = secrets.count() > bound;
        let source = Source::Labelled(self.namespace.clone());
        if many && self.label.is_none() {
            self.label = Some(Labelled::default());
            self.acts.push(Act::Watch(source));
        } else if !many && self.label.take().is_some() {
            self.acts.push(Act::Leave(source));
            self.lost();
        }
    }

    /// A labelled Secret was seen.
    fn carries(&mut self, name: &str, secret: Arc<Object>) {
        let object = ObjectRef::secret(&self.namespace, name);
        let Some(entry) = self.entries.get(&object) else {
            return;
        };
        let denied = self.label.as_ref().is_none_or(|label| label.denied);
        match entry.teller {
            _ if denied => {}
            Teller::Nobody | Teller::Label => {
                self.present(&object, secret);
                self.set_teller(&object, Teller::Label);
            }
            Teller::Own { .. } => {
                if entry.told == Told::Version(secret.resource_version.clone()) {
                    self.set_teller(&object, Teller::Label);
                }
            }
        }
    }

    /// The version of a Secret that the watch of the labelled shows.
    fn labelled_as(&self, name: &str) -> Option<&Option<String>> {
        let label = self.label.as_ref().filter(|label| !label.denied)?;
        label.versions.get(name)
    }

    /// What the watch of the labelled does not show any more, others tell.
    fn lost(&mut self) {
        let told = self.entries.iter();
        let told = told.filter(|(_, entry)| entry.teller == Teller::Label);
        let lost = told.filter(|(object, _)| self.labelled_as(&object.name).is_none());
        let lost: Vec<ObjectRef> = lost.map(|(object, _)| object.clone()).collect();
        for object in lost {
            self.set_teller(&object, Teller::Nobody);
        }
    }

    /// What both have seen alike, one watch is enough for.
    fn hand_over(&mut self) {
        let alike = |(object, entry): &(&ObjectRef, &Entry)| {
            let own = matches!(entry.teller, Teller::Own { .. });
            let version = self.labelled_as(&object.name);
            let same = |v: &Option<String>| entry.told == Told::Version(v.clone());
            own && object.kind == ObjectKind::Secret && version.is_some_and(same)
        };
        let alike: Vec<ObjectRef> = self
            .entries
            .iter()
            .filter(alike)
            .map(|(object, _)| object.clone())
            .collect();
        for object in alike {
            self.set_teller(&object, Teller::Label);
        }
    }

    fn present(&mut self, object: &ObjectRef, found: Arc<Object>) {
        let told = Told::Version(found.resource_version.clone());
        self.tell(object, told, Observed::Present(found));
    }

    /// Once.
    fn tell(&mut self, object: &ObjectRef, told: Told, observed: Observed) {
        let Some(entry) = self.entries.get_mut(object) else {
            return;
        };
        if entry.told != told {
            entry.told = told;
            let told = Act::Tell(object.clone(), entry.ticket, observed);
            self.acts.push(told);
        }
    }

    /// Begins and ends the object's own watch as it needs.
    fn set_teller(&mut self, object: &ObjectRef, teller: Teller) {
        let Some(entry) = self.entries.get_mut(object) else {
            return;
        };
        let before = std::mem::replace(&mut entry.teller, teller);
        let place = (entry.ticket, object.clone());
        match before {
            Teller::Nobody => drop(self.waiting.remove(&place)),
            Teller::Own { heard } => {
                self.own -= 1;
                self.starting -= usize::from(!heard);
                self.acts.push(Act::Leave(Source::Object(object.clone())));
            }
            Teller::Label => {}
        }
        match teller {
            Teller::Nobody => drop(self.waiting.insert(place)),
            Teller::Own { heard } => {
                self.own += 1;
                self.starting += usize::from(!heard);
                self.acts.push(Act::Watch(Source::Object(object.clone())));
            }
            Teller::Label => {}
        }
    }

    /// Begins watches where there is room, and says where there is none.
    fn fill(&mut self) -> Vec<Act> {
        let listing = self.label.as_ref().is_some_and(|label| !label.answered);
        // While they are listed, it may be among the labelled.
        let may = |object: &&ObjectRef| !(listing && object.kind == ObjectKind::Secret);
        let room = (MOST - self.own).min(STARTING - self.starting);
        let waiting = self.waiting.iter().map(|(_, object)| object);
        let begin: Vec<_> = waiting.filter(may).take(room).cloned().collect();
        for object in begin {
            self.set_teller(&object, Teller::Own { heard: false });
        }
        if self.own == MOST {
            let waiting = self.waiting.iter().map(|(_, object)| object);
            let declined: Vec<_> = waiting.filter(may).cloned().collect();
            for object in declined {
                let why = self.no_room();
                self.tell(&object, Told::Declined, Observed::Forbidden(why));
            }
        }
        std::mem::take(&mut self.acts)
    }

    fn no_room(&self) -> String {
        let most =
            format!("it watches at most {MOST} Secrets and ConfigMaps of a namespace one by one");
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
