//! Which profile applies to an agent: total, by properties, explainable.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use opamp_operator_api::{
    selector::Mismatch,
    v1alpha1::AgentSelector,
    values::{Attributes, Identity, ProfileKey, Unread},
};

use crate::identity::Rights;

/// A profile as an agent sees it when it chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub profile: ProfileKey,
    /// Higher wins.
    pub priority: i32,
    /// Of an admin namespace: may select agents of any namespace.
    pub admin: bool,
    /// Whom it wants.
    pub selector: Arc<AgentSelector>,
}

/// All profiles that agents of one home namespace may get, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidates(Vec<Candidate>);

impl Candidates {
    /// The candidates, best first.
    #[must_use]
    pub fn as_slice(&self) -> &[Candidate] {
        &self.0
    }
}

/// The candidates of `namespace`: its own profiles and the admin profiles. The
/// highest priority applies as a whole, then admin before tenant, then name,
/// then namespace.
#[must_use]
pub fn candidates<'a>(namespace: &str, all: impl Iterator<Item = &'a Candidate>) -> Candidates {
    let mut found: Vec<_> = all
        .filter(|c| c.admin || c.profile.namespace == namespace)
        .cloned()
        .collect();
    found.sort_by(|a, b| {
        let rank = |c: &Candidate| (Reverse(c.priority), !c.admin);
        (rank(a), &a.profile.name, &a.profile.namespace).cmp(&(
            rank(b),
            &b.profile.name,
            &b.profile.namespace,
        ))
    });
    Candidates(found)
}

/// What is known of the agent that chooses.
#[derive(Clone, Debug)]
pub struct Chooser<'a> {
    /// Canonical UUID.
    pub uid: &'a str,
    /// What it proved, or whom its instance UID belongs to.
    pub identity: Option<&'a Identity>,
    /// None before a description is known.
    pub attributes: Option<&'a Attributes>,
    /// What its link may be given.
    pub rights: &'a Rights,
}

impl Chooser<'_> {
    /// May it have what this candidate offers? By recognised credentials alone
    /// it gets later revisions of the profiles that it shows; and if such a
    /// profile is a tenant's, what that tenant offers to any agent, since none
    /// of those shows more. Under a UID without an owner not even that: it was
    /// not seen to be this agent that was offered it. An instance UID is not proved by a credential that
    /// several agents hold. The profiles of one namespace are all tenants' or
    /// none is.
    fn may_have(&self, candidate: &Candidate) -> bool {
        let shown = match self.rights {
            Rights::Everything => return true,
            Rights::Nothing => return false,
            Rights::Own(shown) | Rights::Expired(shown) => {
                return shown.contains(&candidate.profile);
            }
            Rights::Recognised(shown) => shown,
        };
        let namespace = &candidate.profile.namespace;
        let of_its_tenant = !candidate.admin && shown.iter().any(|p| p.namespace == *namespace);
        shown.contains(&candidate.profile)
            || (of_its_tenant
                && candidate.selector.instance_uids.is_empty()
                && candidate.selector.authenticated_as.is_empty())
    }
}

/// Which profile applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Cannot be said before a description is known.
    NotYet,
    /// None selects it.
    Nobody,
    /// Those that match could be had only by a primary proof; this is the best.
    AwaitingProof(ProfileKey),
    /// This one.
    Profile(ProfileKey),
}

/// What a candidate is to an agent, whatever the others are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fit<'a> {
    /// It selects the agent, which may have it.
    Selects,
    /// It selects the agent, which must prove who it is first.
    NeedsProof,
    /// It reads attributes, and none are known yet.
    Unknown,
    /// It does not select the agent.
    Not(Mismatch<'a>),
}

impl Chooser<'_> {
    /// What a candidate is to this agent.
    #[must_use]
    pub fn fit<'c>(&'c self, candidate: &'c Candidate) -> Fit<'c> {
        const NOTHING_UNREAD: Unread = Unread {
            keys: BTreeSet::new(),
            more: false,
        };
        static NONE: Attributes = Attributes {
            identifying: BTreeMap::new(),
            non_identifying: BTreeMap::new(),
            unread_identifying: NOTHING_UNREAD,
            unread_non_identifying: NOTHING_UNREAD,
        };
        let attributes = match self.attributes {
            Some(attributes) => attributes,
            None if candidate.selector.reads_attributes() => return Fit::Unknown,
            None => &NONE,
        };
        let selector = &candidate.selector;
        match selector.mismatch(self.uid, self.identity, attributes) {
            Some(mismatch) => Fit::Not(mismatch),
            None if self.may_have(candidate) => Fit::Selects,
            None => Fit::NeedsProof,
        }
    }
}

/// Chooses among candidates. The first that matches wins; one that needs
/// attributes we do not have yet makes the answer unknown. While the winner
/// waits for a primary proof, the best that needs none applies: an agent must
/// not miss a rotation of what it runs because something better appeared.
#[must_use]
pub fn choose(candidates: &Candidates, chooser: &Chooser<'_>) -> Choice {
    let mut awaiting = None;
    for candidate in &candidates.0 {
        match chooser.fit(candidate) {
            Fit::Selects => return Choice::Profile(candidate.profile.clone()),
            Fit::NeedsProof => awaiting = awaiting.or_else(|| Some(candidate.profile.clone())),
            Fit::Unknown => return Choice::NotYet,
            Fit::Not(_) => {}
        }
    }
    awaiting.map_or(Choice::Nobody, Choice::AwaitingProof)
}

/// Of the profiles that lose an agent by precedence as many are remembered,
/// best first: as many as its object holds, so that a restart, before the agent
/// comes back, counts the same.
pub const MAX_OVERRIDDEN: usize = 128;

/// The profiles that select an agent too and have to give way to the one that
/// was chosen, best first. Those above it that wait for a proof lose nothing by
/// precedence.
#[must_use]
pub fn overridden(
    candidates: &Candidates,
    chooser: &Chooser<'_>,
    choice: &Choice,
) -> Vec<ProfileKey> {
    // Whoever waits for a proof has nothing yet, so it was taken from nobody.
    let Choice::Profile(winner) = choice else {
        return Vec::new();
    };
    let all = candidates.0.iter();
    all.skip_while(|candidate| candidate.profile != *winner)
        .skip(1)
        .filter(|candidate| matches!(chooser.fit(candidate), Fit::Selects | Fit::NeedsProof))
        .map(|candidate| candidate.profile.clone())
        .take(MAX_OVERRIDDEN)
        .collect()
}
