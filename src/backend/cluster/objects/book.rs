//! Who tells which object, what was told of it, and what has to be done for
//! that. Knows nothing of why.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use opamp_operator_api::ObjectRef;
use opamp_operator_core::offer::{Object, Observed};
use parking_lot::Mutex;

use super::Source;
use crate::backend::Ticket;

/// Most objects of a namespace with watches of their own, each of which is a
/// connection to the API.
pub(super) const MOST: usize = 500;
/// Most of these that have not heard anything yet: a start is no burst.
const STARTING: usize = 16;
/// And in all namespaces together.
const STARTING_IN_ALL: usize = 64;

/// What all namespaces share, each of which may have [`MOST`].
#[derive(Debug)]
pub(super) struct Room {
    /// Watches of single objects, at most.
    pub(super) most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    watches: usize,
    starting: usize,
    /// Some wait because of the others.
    short: bool,
    /// Since they looked last there may be room again.
    freed: bool,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Mutex::default(),
        }
    }

    /// True once if those who wait are to look again.
    pub(super) fn is_free_again(&self) -> bool {
        let mut taken = self.taken.lock();
        let again = taken.short && taken.freed;
        if again {
            (taken.short, taken.freed) = (false, false);
        }
        again
    }

    /// Room for so many; and for so many that begin now.
    fn left(&self) -> (usize, usize) {
        let taken = self.taken.lock();
        let left = self.most.saturating_sub(taken.watches);
        let starting = STARTING_IN_ALL.saturating_sub(taken.starting);
        (left, left.min(starting))
    }

    fn is_short(&self) {
        self.taken.lock().short = true;
    }

    fn begin(&self, heard: bool) {
        let mut taken = self.taken.lock();
        taken.watches += 1;
        taken.starting += usize::from(!heard);
    }

    fn heard(&self) {
        let mut taken = self.taken.lock();
        taken.starting -= 1;
        taken.freed = true;
    }

    fn end(&self, heard: bool) {
        let mut taken = self.taken.lock();
        taken.watches -= 1;
        taken.starting -= usize::from(!heard);
        taken.freed = true;
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Watch(Source),
    Leave(Source),
    Tell(ObjectRef, Ticket, Observed),
}

/// Who tells an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teller {
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
pub(super) enum Told {
    Nothing,
    Version(Option<String>),
    Absent,
    Forbidden,
    /// That there is no room.
    Declined,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ticket: Ticket,
    pub(super) teller: Teller,
    pub(super) told: Told,
    pub(super) fault: Option<String>,
}

/// The objects of one namespace.
#[derive(Debug)]
pub(super) struct Book {
    room: Arc<Room>,
    pub(super) entries: BTreeMap<ObjectRef, Entry>,
    /// Those that nobody tells, first come first served.
    waiting: BTreeSet<(Ticket, ObjectRef)>,
    own: usize,
    starting: usize,
    pub(super) acts: Vec<Act>,
}

impl Book {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            room,
            entries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            own: 0,
            starting: 0,
            acts: Vec::new(),
        }
    }

    /// A new object, which nobody tells.
    pub(super) fn add(&mut self, object: &ObjectRef, ticket: Ticket) {
        let entry = Entry {
            ticket,
            teller: Teller::Nobody,
            told: Told::Nothing,
            fault: None,
        };
        self.waiting.insert((ticket, object.clone()));
        self.entries.insert(object.clone(), entry);
    }

    pub(super) fn remove(&mut self, object: &ObjectRef) {
        // Which ends a watch of its own.
        self.set_teller(object, Teller::Label);
        self.entries.remove(object);
    }

    /// Its own watch said something.
    pub(super) fn heard(&mut self, object: &ObjectRef) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(object)?;
        if entry.teller == (Teller::Own { heard: false }) {
            entry.teller = Teller::Own { heard: true };
            self.starting -= 1;
            self.room.heard();
        }
        Some(entry)
    }

    /// The objects of which this holds.
    pub(super) fn those(&self, hold: impl Fn(&ObjectRef, &Entry) -> bool) -> Vec<ObjectRef> {
        let those = self
            .entries
            .iter()
            .filter(|(object, entry)| hold(object, entry));
        those.map(|(object, _)| object.clone()).collect()
    }

    /// Begins watches of those that wait and may have one, where there is room;
    /// returns those for which there is none at all.
    pub(super) fn begin(&mut self, may: impl Fn(&ObjectRef) -> bool) -> Vec<ObjectRef> {
        let (_, begin) = self.room.left();
        let room = (MOST - self.own).min(STARTING - self.starting).min(begin);
        let waiting = self.waiting.iter().map(|(_, object)| object);
        let begin: Vec<_> = waiting.filter(|o| may(o)).take(room).cloned().collect();
        for object in begin {
            self.set_teller(&object, Teller::Own { heard: false });
        }
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.room.is_short();
        let (left, _) = self.room.left();
        if self.own < MOST && left > 0 {
            return Vec::new();
        }
        let waiting = self.waiting.iter().map(|(_, object)| object);
        waiting.filter(|object| may(object)).cloned().collect()
    }

    pub(super) fn present(&mut self, object: &ObjectRef, found: Arc<Object>) {
        let told = Told::Version(found.resource_version.clone());
        self.tell(object, told, Observed::Present(found));
    }

    /// Once.
    pub(super) fn tell(&mut self, object: &ObjectRef, told: Told, observed: Observed) {
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
    pub(super) fn set_teller(&mut self, object: &ObjectRef, teller: Teller) {
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
                self.room.end(heard);
                self.acts.push(Act::Leave(Source::Object(object.clone())));
            }
            Teller::Label => {}
        }
        match teller {
            Teller::Nobody => drop(self.waiting.insert(place)),
            Teller::Own { heard } => {
                self.own += 1;
                self.starting += usize::from(!heard);
                self.room.begin(heard);
                self.acts.push(Act::Watch(Source::Object(object.clone())));
            }
            Teller::Label => {}
        }
    }
}
