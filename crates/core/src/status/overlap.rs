//! Where several profiles select the same agents: who gives way to whom.

use std::{cmp::Reverse, collections::BTreeMap};

use opamp_operator_api::{reason::Reason, values::ProfileKey};
use opamp_wire::InstanceUid;

use super::{ProfileEvent, Verdict};

/// Other profiles that a message names.
const NAMED: usize = 3;
/// Agents that a message names.
pub(super) const EXAMPLES: usize = 3;

/// The other profiles that select agents of a profile's selection, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Those that give way to it.
    pub won: BTreeMap<ProfileKey, usize>,
    /// Those that it gives way to.
    pub lost: BTreeMap<ProfileKey, usize>,
}

impl Overlap {
    /// Counts, for `profile`, an agent that `winner` has and to which the
    /// `overridden` give way.
    pub fn add(&mut self, profile: &ProfileKey, winner: &ProfileKey, overridden: &[ProfileKey]) {
        if winner == profile {
            for other in overridden {
                *self.won.entry(other.clone()).or_default() += 1;
            }
        } else if overridden.contains(profile) {
            *self.lost.entry(winner.clone()).or_default() += 1;
        }
    }

    /// Forgets profiles that are no more: agents that are away remember them.
    pub fn retain(&mut self, exists: impl Fn(&ProfileKey) -> bool) {
        self.won.retain(|other, _| exists(other));
        self.lost.retain(|other, _| exists(other));
    }

    /// Agents that the profile selects and that have another one.
    pub(super) fn overridden(&self) -> usize {
        self.lost.values().sum()
    }
}

pub(super) fn overlapping(overlap: &Overlap) -> Verdict {
    let Overlap { won, lost } = overlap;
    let mut parts = Vec::new();
    if !lost.is_empty() {
        let count = agents(overlap.overridden());
        let others = named(lost);
        parts.push(format!(
            "{count} that this profile selects have another, which takes precedence: {others}"
        ));
    }
    if !won.is_empty() {
        let others = named(won);
        parts.push(format!(
            "agents of this profile are selected by others too, which give way: {others}"
        ));
    }
    let (holds, reason) = match (lost.is_empty(), won.is_empty()) {
        (false, _) => (true, Reason::Overridden),
        (true, false) => (true, Reason::TakesPrecedence),
        (true, true) => {
            parts.push("no other profile selects the same agents".to_owned());
            (false, Reason::NoOverlap)
        }
    };
    (holds.into(), reason, parts.join("; "))
}

/// The others with the most agents, by name.
fn named(others: &BTreeMap<ProfileKey, usize>) -> String {
    let mut all: Vec<_> = others.iter().collect();
    all.sort_by_key(|(_, count)| Reverse(**count));
    let one = |(other, count): &(&ProfileKey, &usize)| format!("`{other}` ({})", agents(**count));
    let named: Vec<_> = all.iter().take(NAMED).map(one).collect();
    let more = all.len() - named.len();
    let total = if more > 0 {
        format!("{} profiles, among them ", all.len())
    } else {
        String::new()
    };
    format!("{total}{}", named.join(", "))
}

fn agents(count: usize) -> String {
    if count == 1 {
        "1 agent".to_owned()
    } else {
        format!("{count} agents")
    }
}

/// Agents that changed from one profile to another by precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    count: usize,
    examples: Vec<InstanceUid>,
}

impl Taken {
    /// One more.
    pub fn add(&mut self, uid: InstanceUid) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(uid);
        }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Those and these.
    pub fn merge(&mut self, more: Self) {
        self.count += more.count;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(more.examples.into_iter().take(room));
    }

    /// That a profile took these agents over from `before`.
    #[must_use]
    pub fn event(&self, before: &ProfileKey, revision: Option<i64>) -> ProfileEvent {
        let examples: Vec<_> = self.examples.iter().map(ToString::to_string).collect();
        ProfileEvent {
            reason: Reason::ProfileTookOver,
            note: format!(
                "{} of profile `{before}` changed to this one, which takes precedence: {}{}",
                agents(self.count),
                examples.join(", "),
                if self.count > examples.len() {
                    ", …"
                } else {
                    ""
                }
            ),
            about: before.to_string(),
            revision,
        }
    }
}
