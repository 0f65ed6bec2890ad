//! What is wrong, the worst first, and what is held back because of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use opamp_operator_api::{ConditionType, ProfileKey, Reason, condition::find_condition};

use super::words::{BAD, Badge, ProfileLink, Prose, Text, Tone, WARNING};
use crate::hub::{Hub, Known};

/// Something that is wrong, or will be.
pub(super) struct Wrong {
    rank: Rank,
    /// None if it is the operator itself.
    pub(super) profile: Option<ProfileLink>,
    pub(super) what: Badge,
    /// The word that docs and events have for it.
    pub(super) reason: Text,
    pub(super) message: Prose,
    pub(super) remedy: Option<Prose>,
}

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The process does not do its work.
    Operator,
    /// Nothing newer than what is in force is offered.
    HeldBack,
    /// Agents do not get on.
    Agents,
    /// Somebody wanted it so.
    Paused,
    /// It will be wrong.
    Soon,
}

impl Rank {
    fn badge(self) -> Badge {
        let (tone, word): (Tone, _) = match self {
            Self::Operator => (BAD, "Operator"),
            Self::HeldBack => (BAD, "Held back"),
            Self::Agents => (BAD, "Agents"),
            Self::Paused => (WARNING, "Paused"),
            Self::Soon => (WARNING, "Soon"),
        };
        Badge::of(tone, word)
    }
}

impl Wrong {
    /// It keeps settings from agents.
    pub(super) fn is_held_back(&self) -> bool {
        matches!(self.rank, Rank::HeldBack | Rank::Paused)
    }

    fn of(rank: Rank, key: &ProfileKey, condition: &Condition) -> Self {
        Self {
            rank,
            profile: Some(key.into()),
            what: rank.badge(),
            reason: Text::from(&condition.reason),
            message: Prose::from(&condition.message),
            remedy: remedy(condition),
        }
    }
}

/// What to do about it, if anything.
pub(super) fn remedy(condition: &Condition) -> Option<Prose> {
    let remedy = Reason::of(&condition.reason)?.remedy();
    (remedy != "Nothing.").then(|| remedy.into())
}

/// In order.
pub(super) fn sort(wrong: &mut [Wrong]) {
    wrong.sort_by_key(|wrong| wrong.rank);
}

/// With this process.
pub(super) fn with_operator(hub: &Hub) -> Vec<Wrong> {
    let checks = hub.health.live();
    let checks = checks
        .into_iter()
        .chain(hub.health.ready(hub.clock.now().wall));
    let wrong = checks.filter_map(|check| {
        Some(Wrong {
            rank: Rank::Operator,
            profile: None,
            what: Rank::Operator.badge(),
            reason: Text::from(check.name),
            message: Prose::from(check.problem?),
            remedy: None,
        })
    });
    wrong.collect()
}

/// With a profile.
pub(super) fn with_profile(key: &ProfileKey, known: &Known) -> Vec<Wrong> {
    let status = &known.status;
    let condition = |kind| find_condition(&status.conditions, kind);
    let gates = [
        ConditionType::Accepted,
        ConditionType::ResolvedRefs,
        ConditionType::CredentialsValid,
    ]
    .map(condition);
    let mut wrong = Vec::new();
    let fails = |condition: &&Condition| condition.status == "False";
    let failing = gates.into_iter().flatten().find(fails);
    if let Some(condition) = failing {
        wrong.push(Wrong::of(Rank::HeldBack, key, condition));
    } else if let Some(ready) = condition(ConditionType::Ready).filter(fails) {
        let rank = match Reason::of(&ready.reason) {
            Some(Reason::RolloutInProgress) => None,
            Some(Reason::Halted) => Some(Rank::HeldBack),
            Some(Reason::Paused) => Some(Rank::Paused),
            _ => Some(Rank::Agents),
        };
        wrong.extend(rank.map(|rank| Wrong::of(rank, key, ready)));
    }
    for condition in gates.into_iter().flatten() {
        let reason = Reason::of(&condition.reason);
        if matches!(reason, Some(Reason::ExpiringSoon | Reason::InsecureAllowed)) {
            wrong.push(Wrong::of(Rank::Soon, key, condition));
        }
    }
    let counts = status.agents.unwrap_or_default();
    if counts.cannot_return > 0 {
        let count = counts.cannot_return;
        wrong.push(Wrong {
            rank: Rank::Soon,
            profile: Some(key.into()),
            what: Rank::Soon.badge(),
            reason: Text::from("cannotReturn"),
            message: Prose::from(format!(
                "{count} connected by credentials that would not be admitted again"
            )),
            remedy: Some("Give these agents new ones before they reconnect.".into()),
        });
    }
    wrong
}
