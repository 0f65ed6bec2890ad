//! One profile: as it was read, and what is in force of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use opamp_operator_api::{
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus, RevisionCause},
    values::{ObjectKind, ObjectRef},
};

use crate::{
    earliest,
    offer::{Observed, ReferenceState, Refusal, Revision, references},
};

/// A profile as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.uid`, for events and status writes.
    pub uid: Option<String>,
    /// None if it does not pass the CRD's rules; then `refusal` says why.
    pub spec: Result<Arc<OpAMPConnectionProfileSpec>, Refusal>,
    /// As stored; the base of the next one.
    pub status: OpAMPConnectionProfileStatus,
}

/// All that is known of one profile.
#[derive(Debug)]
pub struct ProfileState {
    /// As it was read.
    pub stored: Stored,
    /// Why the newest version is not in force, if it is not.
    pub refusal: Option<Refusal>,
    /// Why the operator's new serving certificate waits for its agents.
    pub serving_held_back: Option<String>,
    /// Its objects when it was last resolved.
    pub references: Vec<ReferenceState>,
    /// In force.
    pub current: Option<Arc<Revision>>,
    /// The last before it that was open to everyone.
    pub previous: Option<Arc<Revision>>,
    /// The spec that `current` was made of: whom it selects and at which
    /// priority is as much in force as the settings are.
    pub in_force: Option<Arc<OpAMPConnectionProfileSpec>>,
    /// An object of `in_force` that its owner took away: who has the settings
    /// keeps them, and nobody else is offered them.
    pub withdrawn: Option<ObjectRef>,
    /// Newer settings were published than `current`, by another process: these go
    /// to nobody any more.
    pub superseded: bool,
    /// When `current` came into force.
    pub started: Option<Timestamp>,
    /// Why it did.
    pub cause: RevisionCause,
    /// The generation that was last judged and whose outcome is in effect: what
    /// is good counts from when it is in force.
    pub resolved_generation: Option<i64>,
    /// The generation that was last judged.
    judged: Option<i64>,
    /// It was deleted, and is forgotten when its time comes.
    pub(super) gone: bool,
    pub(super) last_change: RevisionCause,
    pub(super) due: Option<Duration>,
    pub(super) until: Option<Duration>,
}

impl ProfileState {
    pub(super) fn new(stored: Stored, due: Duration) -> Self {
        Self {
            stored,
            refusal: None,
            serving_held_back: None,
            references: Vec::new(),
            current: None,
            previous: None,
            in_force: None,
            withdrawn: None,
            superseded: false,
            started: None,
            cause: RevisionCause::SpecChanged,
            resolved_generation: None,
            judged: None,
            gone: false,
            last_change: RevisionCause::SpecChanged,
            due: Some(due),
            until: None,
        }
    }

    /// The spec, if it passed the CRD's rules.
    #[must_use]
    pub fn spec(&self) -> Option<&Arc<OpAMPConnectionProfileSpec>> {
        self.stored.spec.as_ref().ok()
    }

    /// Everything that it needs to know about: also of the settings in force,
    /// which go to new agents only while their objects may be offered.
    pub(super) fn references(&self, namespace: &str) -> BTreeSet<ObjectRef> {
        let specs = [self.spec(), self.in_force.as_ref()];
        let specs = specs.into_iter().flatten();
        specs.flat_map(|spec| references(namespace, spec)).collect()
    }

    /// Whether an object of the settings in force was taken away: whether that
    /// changed.
    pub(super) fn withdraw<'a>(
        &mut self,
        namespace: &str,
        observe: impl Fn(&ObjectRef) -> &'a Observed,
    ) -> bool {
        let in_force = self.in_force.as_ref();
        let names = in_force.map(|spec| references(namespace, spec));
        let taken = |object: &ObjectRef| match observe(object) {
            Observed::Absent | Observed::Forbidden(_) => true,
            Observed::Present(present) => object.kind == ObjectKind::Secret && !present.offerable,
            Observed::Pending => false,
        };
        let withdrawn = names.into_iter().flatten().find(taken);
        let changed = self.withdrawn != withdrawn;
        self.withdrawn = withdrawn;
        changed
    }

    /// The newest version is good; it is not in force yet.
    pub(super) fn drafted(&mut self) {
        self.judged = Some(self.stored.generation);
    }

    /// The newest version was judged, and that is in effect.
    pub(super) fn conclude(&mut self, refusal: Option<Refusal>) {
        self.drafted();
        self.refusal = refusal;
        self.resolved_generation = self.judged;
    }

    /// What was judged good cannot come into force.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        self.resolved_generation = self.judged;
    }

    /// What was made of `spec` is in force. If it is not the newest any more,
    /// nothing is said of that one.
    pub(super) fn in_effect(&mut self, spec: &OpAMPConnectionProfileSpec) {
        self.refusal = None;
        if self.spec().is_some_and(|newest| **newest == *spec) {
            self.resolved_generation = Some(self.stored.generation);
        }
    }

    /// The first change opens the window; later ones fall into it, so that a
    /// stream of changes cannot put it off for ever.
    pub(super) fn touch(&mut self, due: Duration) {
        self.due = earliest(self.due, Some(due));
    }

    pub(super) fn next(&self) -> Option<Duration> {
        earliest(self.due, self.until)
    }
}
