//! Connections of one kind, which go to an agent together or not at all: a
//! supervisor drops of its own telemetry what is not there (agents.md H28), and
//! nobody knows what others do.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use opamp_operator_api::values::ObjectRef;

use super::outcome::{Refusal, Stop};
use crate::{Now, earliest};

/// One connection. No `Debug`.
#[derive(Clone, PartialEq)]
pub(super) struct Part<T> {
    pub(super) settings: T,
    /// Its objects.
    pub(super) made_of: BTreeSet<ObjectRef>,
    /// End of its client certificate.
    pub(super) not_after: Option<Timestamp>,
    /// That is over, and what came after it is broken.
    pub(super) ended: bool,
    /// One of its objects was taken away.
    pub(super) withheld: bool,
}

/// By name.
#[derive(Clone, PartialEq)]
pub(super) struct Group<T> {
    parts: BTreeMap<String, Part<T>>,
    /// Those that are broken, and nobody remembers what was good for them.
    unknown: BTreeSet<String>,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            parts: BTreeMap::new(),
            unknown: BTreeSet::new(),
        }
    }
}

impl<T: Clone + PartialEq> Group<T> {
    /// Takes what was read. What is broken, or not known yet, stays as it was
    /// last, and is left out if it never was.
    pub(super) fn put(
        &mut self,
        name: &str,
        read: Result<Part<T>, Stop>,
        last: Option<&Self>,
        broken: &mut Vec<Refusal>,
        now: Now,
    ) {
        let part = match read {
            Ok(part) => part,
            Err(stop) => {
                if let Stop::Refused(refusal) = stop {
                    broken.push(refusal);
                }
                let kept = last.and_then(|last| last.parts.get(name));
                let Some(kept) = kept else {
                    if last.is_none_or(|last| last.unknown.contains(name)) {
                        self.unknown.insert(name.to_owned());
                    }
                    return;
                };
                Part {
                    ended: kept.not_after.is_some_and(|end| end <= now.wall),
                    ..kept.clone()
                }
            }
        };
        self.parts.insert(name.to_owned(), part);
    }

    /// The same names, of which nothing is known.
    pub(super) fn forgotten(&self) -> Self {
        Self {
            parts: BTreeMap::new(),
            unknown: self.parts.keys().chain(&self.unknown).cloned().collect(),
        }
    }

    /// Holds back what is made of objects that were taken away.
    pub(super) fn withhold(&mut self, taken: impl Fn(&ObjectRef) -> bool) {
        for part in self.parts.values_mut() {
            part.withheld = part.made_of.iter().any(&taken);
        }
    }

    /// Is something wrong with any of them, so that none goes?
    pub(super) fn stays(&self) -> bool {
        !self.is_known() || self.parts.values().any(|part| part.withheld || part.ended)
    }

    pub(super) fn is_known(&self) -> bool {
        self.unknown.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<T> {
        self.parts.get(name).map(|part| part.settings.clone())
    }

    pub(super) fn all(&self) -> BTreeMap<String, T> {
        let parts = self.parts.iter();
        parts
            .map(|(name, part)| (name.clone(), part.settings.clone()))
            .collect()
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.parts.values().flat_map(|part| &part.made_of)
    }

    /// When the first certificate of those ends.
    pub(super) fn not_after(&self) -> Option<Timestamp> {
        let ends = self.parts.values().filter(|part| !part.ended);
        ends.map(|part| part.not_after).fold(None, earliest)
    }
}
