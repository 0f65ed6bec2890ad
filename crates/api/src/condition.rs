//! Writing `metav1.Condition`s.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reason::{ConditionType, Reason};

/// Longest message of a condition, in characters.
pub const MAX_MESSAGE: usize = 1024;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}

impl ConditionStatus {
    /// The word that Kubernetes uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Sets one condition and leaves the others alone. `lastTransitionTime` moves
/// only when the status does.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    status: impl Into<ConditionStatus>,
    reason: Reason,
    message: impl AsRef<str>,
    observed_generation: Option<i64>,
    now: Timestamp,
) {
    let status = status.into().as_str();
    let old = conditions
        .iter_mut()
        .find(|condition| condition.type_ == kind.as_str());
    let last_transition_time = match &old {
        Some(old) if old.status == status => old.last_transition_time.clone(),
        _ => Time(now),
    };
    let new = Condition {
        type_: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.as_ref().chars().take(MAX_MESSAGE).collect(),
        observed_generation,
        last_transition_time,
    };
    match old {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// The condition of this type, if it was ever set.
#[must_use]
pub fn find_condition(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let mut all = Vec::new();
        let kind = ConditionType::Ready;
        set_condition(&mut all, kind, true, Reason::Complete, "a", Some(1), at(1));
        set_condition(&mut all, kind, true, Reason::NoAgents, "b", Some(2), at(2));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].last_transition_time, Time(at(1)));
        assert_eq!(all[0].reason, "NoAgents");
        assert_eq!(all[0].observed_generation, Some(2));

        let unknown = ConditionStatus::Unknown;
        set_condition(&mut all, kind, unknown, Reason::Paused, "c", Some(2), at(3));
        assert_eq!(all[0].last_transition_time, Time(at(3)));
        assert_eq!(all[0].status, "Unknown");

        set_condition(
            &mut all,
            ConditionType::Accepted,
            false,
            Reason::InvalidSpec,
            "",
            None,
            at(4),
        );
        assert_eq!(all.len(), 2);
        assert!(find_condition(&all, ConditionType::Accepted).is_some());
        assert!(find_condition(&all, ConditionType::CredentialsValid).is_none());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut all = Vec::new();
        let message = "é".repeat(MAX_MESSAGE + 10);
        set_condition(
            &mut all,
            ConditionType::Ready,
            true,
            Reason::Complete,
            message,
            None,
            at(1),
        );
        assert_eq!(all[0].message.chars().count(), MAX_MESSAGE);
    }
}
