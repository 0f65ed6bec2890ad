//! The events between two statuses. A restart begins with the stored status,
//! so it repeats none.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use opamp_operator_api::{
    condition::ConditionStatus,
    reason::{ConditionType, Reason},
    v1alpha1::OpAMPConnectionProfileStatus,
};

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For the record.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something that happened to a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileEvent {
    /// How loud.
    pub severity: Severity,
    /// One word, that of the condition where there is one.
    pub reason: String,
    /// A sentence.
    pub note: String,
    /// Of which revision, if there is one: events are counted per revision.
    pub revision: Option<i64>,
}

/// A new revision is in force.
const REVISION_CREATED: &str = "RevisionCreated";

/// What happened between two statuses of a profile, in order.
#[must_use]
pub fn events(
    before: &OpAMPConnectionProfileStatus,
    after: &OpAMPConnectionProfileStatus,
) -> Vec<ProfileEvent> {
    let mut events = Vec::new();
    let number = |status: &OpAMPConnectionProfileStatus| status.revision.as_ref().map(|r| r.number);
    let current = number(after);
    if let Some(revision) = &after.revision
        && number(before) != current
    {
        events.push(ProfileEvent {
            severity: Severity::Normal,
            reason: REVISION_CREATED.to_owned(),
            note: format!(
                "revision {} is in force ({:?})",
                revision.number, revision.cause
            ),
            revision: current,
        });
    }
    // `Ready` sums the others up; only what does not make it false speaks for itself.
    for kind in [
        ConditionType::Ready,
        ConditionType::Accepted,
        ConditionType::CredentialsValid,
    ] {
        let Some(condition) = find(after, kind) else {
            continue;
        };
        let changed = find(before, kind)
            .is_none_or(|old| (&old.status, &old.reason) != (&condition.status, &condition.reason));
        if let Some(severity) = severity(kind, condition).filter(|_| changed) {
            events.push(ProfileEvent {
                severity,
                reason: condition.reason.clone(),
                note: condition.message.clone(),
                revision: current,
            });
        }
    }
    events
}

fn find(status: &OpAMPConnectionProfileStatus, kind: ConditionType) -> Option<&Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == kind.as_str())
}

fn severity(kind: ConditionType, condition: &Condition) -> Option<Severity> {
    let is = |reasons: &[Reason]| reasons.iter().any(|r| condition.reason == r.as_str());
    let holds = condition.status == ConditionStatus::True.as_str();
    match kind {
        ConditionType::Ready if is(&[Reason::NoAgents]) => None,
        ConditionType::Ready if holds || is(&[Reason::RolloutInProgress, Reason::Paused]) => {
            Some(Severity::Normal)
        }
        ConditionType::Ready => Some(Severity::Warning),
        _ if is(&[Reason::ExpiringSoon, Reason::InsecureAllowed]) => Some(Severity::Warning),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use opamp_operator_api::{
        condition::set_condition,
        v1alpha1::{RevisionCause, RevisionStatus},
    };

    fn status(
        number: i64,
        ready: bool,
        reason: Reason,
        credentials: Reason,
    ) -> OpAMPConnectionProfileStatus {
        let mut status = OpAMPConnectionProfileStatus {
            revision: Some(RevisionStatus {
                number,
                marker: "m".into(),
                start_time: Time(Timestamp::UNIX_EPOCH),
                cause: RevisionCause::SecretChanged,
            }),
            ..OpAMPConnectionProfileStatus::default()
        };
        for (kind, holds, reason) in [
            (ConditionType::Ready, ready, reason),
            (ConditionType::CredentialsValid, true, credentials),
        ] {
            let now = Timestamp::UNIX_EPOCH;
            set_condition(
                &mut status.conditions,
                kind,
                holds,
                reason,
                "why",
                None,
                now,
            );
        }
        status
    }

    #[test]
    fn law8_the_same_status_makes_no_event() {
        let done = status(1, true, Reason::Complete, Reason::Valid);
        assert_eq!(events(&done, &done), []);
    }

    #[test]
    fn each_change_speaks_once() {
        let steps = [
            (
                status(1, false, Reason::RolloutInProgress, Reason::Valid),
                vec!["RevisionCreated", "RolloutInProgress"],
            ),
            (
                status(1, true, Reason::Complete, Reason::Valid),
                vec!["Complete"],
            ),
            (
                status(1, true, Reason::Complete, Reason::ExpiringSoon),
                vec!["ExpiringSoon"],
            ),
            (
                status(1, false, Reason::KeyMismatch, Reason::ExpiringSoon),
                vec!["KeyMismatch"],
            ),
            (
                status(2, false, Reason::Halted, Reason::Valid),
                vec!["RevisionCreated", "Halted"],
            ),
        ];
        let mut before = OpAMPConnectionProfileStatus::default();
        for (after, reasons) in steps {
            let events = events(&before, &after);
            let words: Vec<_> = events.iter().map(|event| &*event.reason).collect();
            assert_eq!(words, reasons);
            let warns = ["KeyMismatch", "Halted", "ExpiringSoon"];
            for event in &events {
                let loud = event.severity == Severity::Warning;
                assert_eq!(loud, warns.contains(&&*event.reason), "{event:?}");
            }
            before = after;
        }
    }
}
