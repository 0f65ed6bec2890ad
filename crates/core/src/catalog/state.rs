//! The catalog: one task owns it, nobody else writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus, RevisionCause, ServedBy},
    values::{ObjectKind, ObjectRef, ProfileKey},
};

use super::{Candidate, ProfileState, Stored};
use crate::{
    Now,
    offer::{Change, ChangeId, Context, Draft, Observed, Outcome, Refusal, Revision, resolve},
};

/// Tenants stay below, so that an admin can always step in above them.
const MAX_TENANT_PRIORITY: i32 = 1_000_000;

/// What of the configuration the catalog needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long changes are collected before a profile is resolved.
    pub debounce: Duration,
    /// Namespaces whose profiles may select agents of any namespace.
    pub admin_namespaces: BTreeSet<String>,
    /// What profiles may ask for.
    pub policy: Policy,
}

/// What profiles may ask for beyond what is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// That agents do not verify their server.
    pub insecure_skip_verify: bool,
}

impl Settings {
    /// Those of an operator of which nothing is known.
    #[must_use]
    pub fn strictest() -> Self {
        Self {
            debounce: Duration::ZERO,
            admin_namespaces: BTreeSet::new(),
            policy: Policy::default(),
        }
    }

    /// Why a profile of this namespace may not ask for what it asks for.
    #[must_use]
    pub fn forbids(&self, namespace: &str, spec: &OpAMPConnectionProfileSpec) -> Option<Refusal> {
        let refusal = |reason, message| {
            Some(Refusal {
                condition: ConditionType::Accepted,
                reason,
                message,
            })
        };
        let admin = self.admin_namespaces.contains(namespace);
        if !admin && spec.priority > MAX_TENANT_PRIORITY {
            let message = format!(
                "`priority` must be at most {MAX_TENANT_PRIORITY} outside the operator's admin namespaces"
            );
            return refusal(Reason::PolicyDenied, message);
        }
        let insecure = spec.insecure();
        if insecure.is_empty() || self.policy.insecure_skip_verify {
            return None;
        }
        let message = format!(
            "`{}` may not be true: agents would give their credentials to whoever answers; name a CA instead, or let \
             the operator's configuration allow it (`policy: {{insecureSkipVerify: true}}`)",
            insecure.join("`, `")
        );
        refusal(Reason::InsecureNotAllowed, message)
    }
}

/// What became of a profile whose time had come.
#[derive(Debug)]
pub enum Settled {
    /// It was deleted, and is forgotten now.
    Gone,
    /// The settings in force stay.
    Unchanged,
    /// The settings for OpAMP stay. They are for others now, those beside them
    /// changed, or what may be offered of them did.
    Retargeted,
    /// New settings: to be numbered, stored and adopted.
    Draft(Box<Draft>, Arc<OpAMPConnectionProfileSpec>),
}

/// State per profile, and the objects they name.
#[derive(Debug)]
pub struct Catalog {
    settings: Settings,
    profiles: BTreeMap<ProfileKey, ProfileState>,
    objects: BTreeMap<ObjectRef, Observed>,
    next_change: u32,
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            profiles: BTreeMap::new(),
            objects: BTreeMap::new(),
            next_change: 0,
        }
    }

    /// Names changes from here on. Processes begin anywhere, so that their
    /// names differ.
    #[must_use]
    pub fn naming_from(self, next_change: u32) -> Self {
        Self {
            next_change,
            ..self
        }
    }

    /// A change that is seen now.
    pub fn change(&mut self, now: Now) -> Change {
        let id = ChangeId(self.next_change);
        self.next_change = self.next_change.wrapping_add(1);
        let first = false;
        Change { id, at: now, first }
    }

    /// A profile appeared, changed, or (`None`) went away. The change, if it is
    /// one of what it says.
    pub fn set_profile(
        &mut self,
        key: &ProfileKey,
        stored: Option<Stored>,
        now: Now,
    ) -> Option<Change> {
        let change = self.change(now);
        let due = now.uptime + self.settings.debounce;
        let Some(stored) = stored else {
            // Editors and `kubectl replace --force` delete and make anew: its
            // agents do not move to another profile for that.
            if let Some(state) = self.profiles.get_mut(key) {
                state.gone = true;
                state.touch(due);
            }
            return None;
        };
        let Some(state) = self.profiles.get_mut(key) else {
            let change = Change {
                first: true,
                ..change
            };
            let mut state = ProfileState::new(stored, due);
            state.see(change);
            self.profiles.insert(key.clone(), state);
            return Some(change);
        };
        let same = match (&state.stored.spec, &stored.spec) {
            (Ok(old), Ok(new)) => old == new,
            (Err(old), Err(new)) => old == new,
            _ => false,
        };
        let another = std::mem::take(&mut state.gone) || state.stored.uid != stored.uid;
        let generation_moved = another || state.stored.generation != stored.generation;
        if another {
            state.is_another();
            state.stored = stored;
        } else {
            // Our own status is the newest there is; an echo of it is no news.
            let status = std::mem::take(&mut state.stored.status);
            state.stored = Stored { status, ..stored };
        }
        (!same || generation_moved).then(|| {
            state.last_change = RevisionCause::SpecChanged;
            state.touch(due);
            state.see(change)
        })
    }

    /// An object was observed. Content that is the same is no change. Else the
    /// change; or those that it joins, of profiles that are about to be judged.
    pub fn set_object(&mut self, object: &ObjectRef, observed: Observed, now: Now) -> Vec<Change> {
        let known = self.objects.entry(object.clone()).or_default();
        let first = *known == Observed::Pending;
        let changed = *known != observed;
        *known = observed;
        if !changed {
            return Vec::new();
        }
        let change = Change {
            first,
            ..self.change(now)
        };
        let mut told: Vec<Change> = Vec::new();
        let due = now.uptime + self.settings.debounce;
        for (key, state) in &mut self.profiles {
            if state.references(&key.namespace).contains(object) {
                // What is read for the first time did not change.
                if !first {
                    let cause = match object.kind {
                        ObjectKind::Secret => RevisionCause::SecretChanged,
                        ObjectKind::ConfigMap => RevisionCause::ConfigMapChanged,
                    };
                    state.last_change = cause;
                }
                state.touch(due);
                let joined = if first {
                    state.see_first(change)
                } else {
                    state.see(change)
                };
                if !told.contains(&joined) {
                    told.push(joined);
                }
            }
        }
        if told.is_empty() {
            told.push(change);
        }
        told
    }

    /// What is known of an object.
    #[must_use]
    pub fn object(&self, object: &ObjectRef) -> &Observed {
        observed(&self.objects, object)
    }

    /// Forgets what nobody names any more: no secret is kept without a use, and
    /// none is used that was not watched in between.
    pub fn retain(&mut self, keep: impl Fn(&ObjectRef) -> bool) {
        self.objects.retain(|object, _| keep(object));
    }

    /// Everything the profiles name, and what is in force of them.
    #[must_use]
    pub fn wanted(&self) -> BTreeSet<ObjectRef> {
        let names = |(key, state): (&ProfileKey, &ProfileState)| state.references(&key.namespace);
        self.profiles.iter().flat_map(names).collect()
    }

    /// Our own side changed (serving certificate, trust): all are judged anew.
    pub fn touch_all(&mut self, change: Change, now: Now) {
        for state in self.profiles.values_mut() {
            state.touch(now.uptime + self.settings.debounce);
            state.see(change);
        }
    }

    /// The profiles whose time has come.
    #[must_use]
    pub fn due(&self, now: Now) -> Vec<ProfileKey> {
        let due = |state: &ProfileState| state.next().is_some_and(|at| at <= now.uptime);
        self.profiles
            .iter()
            .filter(|(_, state)| due(state))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// When the next profile is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.profiles.values().filter_map(ProfileState::next).min()
    }

    /// Resolves a profile and records the outcome.
    pub fn settle(&mut self, key: &ProfileKey, context: &Context<'_>, now: Now) -> Settled {
        let objects = &self.objects;
        let Some(state) = self.profiles.get_mut(key) else {
            return Settled::Gone;
        };
        if state.gone {
            self.profiles.remove(key);
            return Settled::Gone;
        }
        state.due = None;
        state.until = None;
        let change = state.judge();
        let spec = match &state.stored.spec {
            Ok(spec) => Arc::clone(spec),
            Err(refusal) => {
                let refusal = refusal.clone();
                state.beside.clear();
                state.conclude(Some(refusal));
                return Settled::Unchanged;
            }
        };
        if let Some(refusal) = self.settings.forbids(&key.namespace, &spec) {
            state.beside.clear();
            state.conclude(Some(refusal));
            return Settled::Unchanged;
        }
        let observe = |object: &ObjectRef| observed(objects, object);
        let last = state.current.as_deref();
        let resolution = resolve(key, &spec, last, observe, context, now);
        state.until = resolution.until.map(|wall| now.uptime_at(wall));
        if !matches!(resolution.outcome, Outcome::Pending) {
            state.beside = resolution.beside;
        }
        match resolution.outcome {
            Outcome::Pending => Settled::Unchanged,
            Outcome::Unresolved(refusal) => {
                state.references = resolution.references;
                state.conclude(Some(refusal));
                Settled::Unchanged
            }
            Outcome::Resolved(draft) => {
                state.references = resolution.references;
                let same = state.current.as_ref();
                let external = draft.served_by == ServedBy::External;
                let superseded = state.superseded;
                let is_same = |current: &&Arc<Revision>| {
                    !superseded
                        && current.marker() == draft.marker
                        && current.is_external() == external
                };
                let Some(same) = same.filter(is_same) else {
                    // What the status says stays until it is in force.
                    state.drafted(&draft);
                    return Settled::Draft(draft, spec);
                };
                let same = Arc::clone(same);
                state.conclude(None);
                state.unmoved(change);
                // The same settings for OpAMP, perhaps for others, or with
                // others beside them.
                let changed = *same.selector() != draft.selector
                    || !draft.is_same_beside(&same)
                    || !draft.is_made_of_the_same(&same);
                if changed {
                    state.current = Some(Arc::new(same.remade(*draft, change)));
                }
                state.in_force = Some(spec);
                // Before anybody sees it.
                let changed = state.withdraw(observe) || changed;
                if changed {
                    Settled::Retargeted
                } else {
                    Settled::Unchanged
                }
            }
        }
    }

    /// A revision came into force, after its ledger entry was written. What
    /// was never open to everyone is not what lost agents go back to; nor are
    /// settings for the server of another, which would send them away for good.
    pub fn adopt(
        &mut self,
        revision: Arc<Revision>,
        spec: Arc<OpAMPConnectionProfileSpec>,
        started: Timestamp,
        opened: bool,
    ) {
        let profile = revision.profile().clone();
        if let Some(state) = self.profiles.get_mut(&profile) {
            state.superseded = false;
            state.done(revision.change());
            let before = state.current.replace(revision);
            if opened {
                state.previous = before.filter(|before| !before.is_external());
            }
            state.in_effect(&spec);
            state.in_force = Some(spec);
            state.started = Some(started);
            state.cause = state.last_change;
        }
        self.withdraw(&profile);
    }

    /// What is in force has another number from now on, and is the newest again.
    pub fn renumber(
        &mut self,
        key: &ProfileKey,
        number: u64,
        also: BTreeSet<u64>,
        started: Timestamp,
    ) {
        if let Some(state) = self.profiles.get_mut(key)
            && let Some(current) = &mut state.current
        {
            *current = Arc::new(current.renumbered(number, also));
            state.superseded = false;
            state.started = Some(started);
        }
    }

    /// Looks what of the settings in force may go to agents that do not have
    /// it: nothing while an object of it is away, may not be read or, being a
    /// Secret, has no opt-in label. Whether that changed.
    pub fn withdraw(&mut self, key: &ProfileKey) -> bool {
        let objects = &self.objects;
        let state = self.profiles.get_mut(key);
        state.is_some_and(|state| state.withdraw(|o| observed(objects, o)))
    }

    /// Which profiles the operator's new serving certificate waits for; the
    /// profiles for which that changed.
    pub fn hold_serving_back(&mut self, held: &BTreeMap<ProfileKey, String>) -> Vec<ProfileKey> {
        let mut changed = Vec::new();
        for (key, state) in &mut self.profiles {
            let message = held.get(key);
            if state.serving_held_back.as_ref() != message {
                state.serving_held_back = message.cloned();
                changed.push(key.clone());
            }
        }
        changed
    }

    /// The revision of this number was published by somebody. What is in force
    /// here, if it is older, goes to nobody any more: whether it is.
    pub fn supersede(&mut self, key: &ProfileKey, number: u64, now: Now) -> bool {
        let state = self.profiles.get_mut(key);
        let Some(state) = state else { return false };
        let older = |current: &Arc<Revision>| current.number() < number;
        let supersedes = state.current.as_ref().is_some_and(older);
        if supersedes {
            state.superseded = true;
            state.touch(now.uptime);
        }
        supersedes
    }

    /// Another process wrote the status of a profile: the next one is based on
    /// that. Whether it differs from what was known.
    pub fn set_status(&mut self, key: &ProfileKey, status: OpAMPConnectionProfileStatus) -> bool {
        let state = self.profiles.get_mut(key);
        let known = state.map(|state| &mut state.stored.status);
        known.is_some_and(|known| std::mem::replace(known, status) != *known)
    }

    /// Something outside failed: settle the profile again at `at`.
    pub fn retry(&mut self, key: &ProfileKey, at: Duration) {
        if let Some(state) = self.profiles.get_mut(key) {
            state.touch(at);
        }
    }

    /// Something outside keeps new settings from coming into force.
    pub fn refuse(&mut self, key: &ProfileKey, refusal: Refusal) {
        if let Some(state) = self.profiles.get_mut(key) {
            state.refuse(refusal);
        }
    }

    /// One profile's state.
    #[must_use]
    pub fn get(&self, key: &ProfileKey) -> Option<&ProfileState> {
        self.profiles.get(key).filter(|state| !state.gone)
    }

    /// For `report`, which keeps the newest status here.
    pub fn get_mut(&mut self, key: &ProfileKey) -> Option<&mut ProfileState> {
        self.profiles.get_mut(key).filter(|state| !state.gone)
    }

    /// Has every profile been judged once, and what came of it is in effect?
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let settled = |state: &ProfileState| state.resolved_generation.is_some();
        self.profiles.values().all(settled)
    }

    /// All profiles.
    pub fn profiles(&self) -> impl Iterator<Item = (&ProfileKey, &ProfileState)> {
        self.profiles.iter()
    }

    /// All profiles that may be chosen: those with settings in force, by the
    /// spec of these. One without takes no agent from another profile, unless
    /// it had settings before this process began (`published`): then its agents
    /// are left alone.
    #[must_use]
    pub fn candidates(&self, published: impl Fn(&ProfileKey) -> bool) -> Vec<Candidate> {
        let candidate = |(key, state): (&ProfileKey, &ProfileState)| {
            let admin = self.settings.admin_namespaces.contains(&key.namespace);
            let before = || {
                let spec = state.spec()?;
                let forbidden = self.settings.forbids(&key.namespace, spec).is_some();
                (published(key) && !forbidden).then_some(spec)
            };
            let spec = state.in_force.as_ref().or_else(before)?;
            Some(Candidate {
                profile: key.clone(),
                priority: spec.priority,
                admin,
                selector: Arc::new(spec.agent_selector.clone()),
            })
        };
        self.profiles.iter().filter_map(candidate).collect()
    }
}

/// What is not known is pending.
fn observed<'a>(objects: &'a BTreeMap<ObjectRef, Observed>, object: &ObjectRef) -> &'a Observed {
    static PENDING: Observed = Observed::Pending;
    objects.get(object).unwrap_or(&PENDING)
}
