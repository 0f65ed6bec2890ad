//! Which profile applies to an agent: total, by properties, explainable.

use std::{cmp::Reverse, sync::Arc};

use opamp_operator_api::{
    v1alpha1::AgentSelector,
    values::{Attributes, ProfileKey},
};

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
    /// None before a description is known.
    pub attributes: Option<&'a Attributes>,
    /// Set for a link that showed nothing but recognised credentials: the
    /// profiles they were offered by. It may get their later revisions only.
    pub only: Option<&'a [ProfileKey]>,
}

/// Which profile applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Cannot be said before a description is known.
    NotYet,
    /// None selects it.
    Nobody,
    /// The best that matches could be had only by a primary proof.
    AwaitingProof(ProfileKey),
    /// This one.
    Profile(ProfileKey),
}

/// Chooses among candidates. The first that matches wins; one that needs
/// attributes we do not have yet makes the answer unknown.
#[must_use]
pub fn choose(candidates: &Candidates, chooser: &Chooser<'_>) -> Choice {
    for candidate in &candidates.0 {
        let matches = match chooser.attributes {
            Some(attributes) => candidate.selector.matches(chooser.uid, attributes),
            None if candidate.selector.reads_attributes() => return Choice::NotYet,
            None => candidate
                .selector
                .matches(chooser.uid, &Attributes::default()),
        };
        if matches {
            let profile = candidate.profile.clone();
            let allowed = chooser.only.is_none_or(|only| only.contains(&profile));
            return if allowed {
                Choice::Profile(profile)
            } else {
                Choice::AwaitingProof(profile)
            };
        }
    }
    Choice::Nobody
}
