//! One profile: as it was read, and what is in force of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use opamp_operator_api::{
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus, RevisionCause, ServedBy},
    values::{ObjectKind, ObjectRef},
};

use crate::{
    earliest,
    identity::Marker,
    offer::{Change, Draft, Observed, ReferenceState, Refusal, Revision, references},
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
    /// What is wrong beside OpAMP, and keeps nothing of that back.
    pub beside: Vec<Refusal>,
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
    /// An object of the settings for OpAMP in force that its owner took away:
    /// who has the settings keeps them, and nobody else is offered them.
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
    /// The settings that it was judged to mean, while they are not in force.
    awaited: Option<(Marker, ServedBy)>,
    /// It was deleted, and is forgotten when its time comes.
    pub(super) gone: bool,
    pub(super) last_change: RevisionCause,
    /// What was seen since it was last judged: the first of several, which
    /// the later ones join.
    seen: Option<Change>,
    /// For which it was judged last, while that is not in force.
    judged_for: Option<Change>,
    /// From which nothing followed but a status that is not told yet.
    concluded: Option<Change>,
    pub(super) due: Option<Duration>,
    pub(super) until: Option<Duration>,
}

impl ProfileState {
    pub(super) fn new(stored: Stored, due: Duration) -> Self {
        Self {
            stored,
            refusal: None,
            beside: Vec::new(),
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
            awaited: None,
            gone: false,
            last_change: RevisionCause::SpecChanged,
            seen: None,
            judged_for: None,
            concluded: None,
            due: Some(due),
            until: None,
        }
    }

    /// The spec, if it passed the CRD's rules.
    #[must_use]
    pub fn spec(&self) -> Option<&Arc<OpAMPConnectionProfileSpec>> {
        self.stored.spec.as_ref().ok()
    }

    /// Everything that it needs to know about: also of the settings in force
    /// and of those before, which go to agents only while their objects may be
    /// offered.
    pub(super) fn references(&self, namespace: &str) -> BTreeSet<ObjectRef> {
        let spec = self.spec().map(|spec| references(namespace, spec));
        let mut all = spec.unwrap_or_default();
        let revisions = self.current.iter().chain(&self.previous);
        all.extend(revisions.flat_map(|revision| revision.objects().cloned()));
        all
    }

    /// Holds back what of the settings in force, and of those before, was taken
    /// away. Whether that changed.
    pub(super) fn withdraw<'a>(&mut self, observe: impl Fn(&ObjectRef) -> &'a Observed) -> bool {
        let taken = |object: &ObjectRef| match observe(object) {
            Observed::Absent | Observed::Forbidden(_) => true,
            Observed::Present(present) => object.kind == ObjectKind::Secret && !present.offerable,
            Observed::Pending => false,
        };
        let mut changed = false;
        for revision in [&mut self.current, &mut self.previous]
            .into_iter()
            .flatten()
        {
            if let Some(held) = revision.withhold(taken) {
                *revision = Arc::new(held);
                changed = true;
            }
        }
        let current = self.current.as_ref();
        let withdrawn = current.and_then(|current| current.taken(taken)).cloned();
        changed |= self.withdrawn != withdrawn;
        self.withdrawn = withdrawn;
        changed
    }

    /// Something of it changed, and it is to be judged anew. Under which name
    /// that is told: changes that are judged together have one.
    pub(super) fn see(&mut self, change: Change) -> Change {
        *self.seen.get_or_insert(change)
    }

    /// The same of an object that is read for the first time: whatever waits
    /// for it has its name already.
    pub(super) fn see_first(&mut self, change: Change) -> Change {
        self.see(self.judged_for.unwrap_or(change))
    }

    /// It is judged now. What waits for its time waits for what began it.
    pub(super) fn judge(&mut self) -> Option<Change> {
        self.judged_for = self.seen.take().or(self.judged_for);
        self.judged_for
    }

    /// The change that its newest version was judged for, or else the one that
    /// made what is in force.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        let in_force = self.current.as_ref();
        let in_force = in_force.and_then(|current| current.change());
        self.judged_for.or(in_force)
    }

    /// The change that it was judged for last and that is not in force.
    #[must_use]
    pub fn awaited_change(&self) -> Option<Change> {
        self.judged_for
    }

    /// The change that its next status tells of.
    pub fn told_change(&mut self) -> Option<Change> {
        self.concluded.take().or(self.change())
    }

    /// Nothing new had to come into force for this change.
    pub(super) fn unmoved(&mut self, change: Option<Change>) {
        self.done(change);
        self.concluded = change;
    }

    /// What came of this change is in force.
    pub(super) fn done(&mut self, change: Option<Change>) {
        if change.is_none() || self.judged_for == change {
            self.judged_for = None;
        }
    }

    /// The newest version is good; it is not in force yet.
    pub(super) fn drafted(&mut self, draft: &Draft) {
        self.judged = Some(self.stored.generation);
        self.awaited = Some((draft.marker, draft.served_by));
    }

    /// Another object has its name now: nothing was judged of that.
    pub(super) fn is_another(&mut self) {
        self.resolved_generation = None;
        self.judged = None;
        self.awaited = None;
    }

    /// The newest version was judged, and that is in effect.
    pub(super) fn conclude(&mut self, refusal: Option<Refusal>) {
        self.judged = Some(self.stored.generation);
        self.awaited = None;
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
        self.awaited = None;
        if self.spec().is_some_and(|newest| **newest == *spec) {
            self.resolved_generation = Some(self.stored.generation);
        }
    }

    /// Were settings judged to be good that are not in force yet?
    #[must_use]
    pub fn awaits(&self) -> bool {
        self.awaited.is_some()
    }

    /// Are these, made of `spec`, still what is meant?
    #[must_use]
    pub fn awaits_this(&self, draft: &Draft, spec: &OpAMPConnectionProfileSpec) -> bool {
        self.awaited == Some((draft.marker, draft.served_by))
            && self.spec().is_some_and(|newest| **newest == *spec)
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
