//! Why a profile applies to an agent, and why the others do not: by the same
//! functions that choose, so that it cannot disagree with them.

use std::fmt;

use opamp_operator_api::values::ProfileKey;

use super::{Candidate, Choice, Chooser, candidates, choose, select::Fit};

/// What a profile is to an agent, among all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Which.
    pub profile: ProfileKey,
    /// Its `priority`.
    pub priority: i32,
    /// Of an admin namespace.
    pub admin: bool,
    /// One word.
    pub verdict: Relation,
    /// Why.
    pub because: String,
}

/// What a profile is to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It applies.
    Applies,
    /// It would apply, if the agent proved who it is.
    AwaitingProof,
    /// It selects the agent, and another one comes first.
    Outranked,
    /// It selects other agents.
    NotSelected,
    /// It cannot be said before the agent describes itself.
    Undecided,
    /// It is for agents of another namespace.
    OtherNamespace,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

const FIRST: &str = "the first, by precedence, of those that select the agent";
const UNPROVED: &str = "it selects the agent, but what that shows does not let it receive this: it must prove who it is, \
                        with a credential of an authenticator";
const UNDESCRIBED: &str = "it reads attributes, and the agent has not described itself yet";
const BEHIND: &str = "one before it reads attributes, and the agent has not described itself yet";

/// Which profile applies to an agent at home in `namespace`, and what each is
/// to it: first those that it may choose from, best first, then the others.
#[must_use]
pub fn explain(
    namespace: &str,
    all: &[Candidate],
    chooser: &Chooser<'_>,
) -> (Choice, Vec<Explained>) {
    let own = candidates(namespace, all.iter());
    let choice = choose(&own, chooser);
    let winner = match &choice {
        Choice::Profile(key) | Choice::AwaitingProof(key) => {
            own.as_slice().iter().find(|c| c.profile == *key)
        }
        Choice::NotYet | Choice::Nobody => None,
    };
    let mut before = true;
    let mut explained = Vec::new();
    for candidate in own.as_slice() {
        let is_winner = winner.is_some_and(|winner| winner.profile == candidate.profile);
        let (verdict, because) = match (chooser.fit(candidate), winner) {
            (Fit::Selects, _) if is_winner => (Relation::Applies, FIRST.into()),
            (Fit::Selects | Fit::NeedsProof, Some(winner)) if !before => {
                (Relation::Outranked, outranked(candidate, winner))
            }
            (Fit::NeedsProof, _) => (Relation::AwaitingProof, UNPROVED.into()),
            (Fit::Not(mismatch), _) => (Relation::NotSelected, mismatch.to_string()),
            (Fit::Unknown, _) => (Relation::Undecided, UNDESCRIBED.into()),
            (Fit::Selects, _) => (Relation::Undecided, BEHIND.into()),
        };
        explained.push(entry(candidate, verdict, because));
        before &= !is_winner;
    }
    let own: Vec<_> = own.as_slice().iter().map(|c| &c.profile).collect();
    for candidate in all.iter().filter(|c| !own.contains(&&c.profile)) {
        let because = format!(
            "it selects agents of its own namespace, and this one is at home in `{namespace}`"
        );
        explained.push(entry(candidate, Relation::OtherNamespace, because));
    }
    (choice, explained)
}

fn entry(candidate: &Candidate, verdict: Relation, because: String) -> Explained {
    Explained {
        profile: candidate.profile.clone(),
        priority: candidate.priority,
        admin: candidate.admin,
        verdict,
        because,
    }
}

/// By which property the winner comes first.
fn outranked(candidate: &Candidate, winner: &Candidate) -> String {
    let Candidate {
        profile, priority, ..
    } = winner;
    let why = if winner.priority != candidate.priority {
        format!(
            "has the higher priority ({priority} against {})",
            candidate.priority
        )
    } else if winner.admin != candidate.admin {
        "is of an admin namespace, with the same priority".to_owned()
    } else if profile.name != candidate.profile.name {
        "comes first by name, with the same priority".to_owned()
    } else {
        "comes first by namespace, with the same priority and name".to_owned()
    };
    format!("it selects the agent, but {profile} {why}")
}
