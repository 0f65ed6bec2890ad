//! The events between two statuses. A restart begins with the stored status,
//! so it repeats none.

use super::failures::{is_of_agents, worth_telling};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use opamp_operator_api::{
    condition::{ConditionStatus, find_condition},
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
    /// One word, that of the condition where there is one.
    pub reason: Reason,
    /// A sentence.
    pub note: String,
    /// What tells it apart from others of the same reason and revision.
    pub about: String,
    /// Of which revision, if there is one: events are counted per revision.
    pub revision: Option<i64>,
}

/// How loud the event is that is made when something has come to be for this
/// reason; none if there is nothing to tell.
#[must_use]
pub fn severity(reason: Reason) -> Option<Severity> {
    match reason {
        Reason::NoAgents
        | Reason::Accepted
        | Reason::Resolved
        | Reason::Valid
        | Reason::NoOverlap
        | Reason::TakesPrecedence
        | Reason::Overridden => None,
        Reason::ProfileTookOver
        | Reason::RevisionCreated
        | Reason::Complete
        | Reason::RolloutInProgress
        | Reason::Paused => Some(Severity::Normal),
        _ => Some(Severity::Warning),
    }
}

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
            reason: Reason::RevisionCreated,
            note: format!(
                "revision {} is in force ({:?})",
                revision.number, revision.cause
            ),
            about: String::new(),
            revision: current,
        });
    }
    events.extend(worth_telling(before, after));
    for kind in [
        ConditionType::Ready,
        ConditionType::Accepted,
        ConditionType::ResolvedRefs,
        ConditionType::CredentialsValid,
    ] {
        let Some(condition) = find(after, kind) else {
            continue;
        };
        let changed = find(before, kind)
            .is_none_or(|old| (&old.status, &old.reason) != (&condition.status, &condition.reason));
        let reason = Reason::of(&condition.reason).filter(|_| changed);
        // What is wrong beside OpAMP is told when it is, and becomes the reason
        // of `Ready` when nothing worse is.
        let message = |status, reason: &Reason| refusing(status, *reason).map(|c| &c.message);
        let said = |reason: &Reason| {
            let said = message(before, reason);
            said.is_some() && said == message(after, reason)
        };
        let reason = reason.filter(|reason| kind != ConditionType::Ready || !said(reason));
        events.extend(reason.and_then(|reason| told(reason, condition, after)));
    }
    events
}

/// The event of a condition that came to be as it is for this reason.
fn told(
    reason: Reason,
    condition: &Condition,
    status: &OpAMPConnectionProfileStatus,
) -> Option<ProfileEvent> {
    severity(reason)?;
    // `Ready` sums the others up; only what does not make it false speaks for
    // itself. What became of agents is told with their names.
    let ready = condition.type_ == ConditionType::Ready.as_str();
    let unknown = condition.status == ConditionStatus::Unknown.as_str();
    let summed_up = find(status, ConditionType::Ready)
        .is_some_and(|ready| ready.reason == condition.reason && ready.status == condition.status);
    if is_of_agents(reason) || !ready && (unknown || summed_up) {
        return None;
    }
    let halted = find(status, ConditionType::Progressing).filter(|_| reason == Reason::Halted);
    let note = &halted.unwrap_or(condition).message;
    // Another object may be wrong for the same reason.
    let about = refusing(status, reason).map(|gate| gate.message.clone());
    Some(ProfileEvent {
        reason,
        note: note.clone(),
        about: about.unwrap_or_default(),
        revision: status.revision.as_ref().map(|revision| revision.number),
    })
}

/// The condition that is False for this reason and says so of one object.
fn refusing(status: &OpAMPConnectionProfileStatus, reason: Reason) -> Option<&Condition> {
    let gates = [
        ConditionType::Accepted,
        ConditionType::ResolvedRefs,
        ConditionType::CredentialsValid,
    ];
    let refuses = |gate: &&Condition| {
        gate.reason == reason.as_str() && gate.status == ConditionStatus::False.as_str()
    };
    let mut gates = gates.iter().filter_map(|kind| find(status, *kind));
    gates.find(refuses)
}

fn find(status: &OpAMPConnectionProfileStatus, kind: ConditionType) -> Option<&Condition> {
    find_condition(&status.conditions, kind)
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

    /// What stays in force is no part of what is wrong.
    #[test]
    fn what_is_wrong_with_one_object_is_another_event_than_with_the_next() {
        let about = |refused: &str, kept: &str| {
            let mut status = OpAMPConnectionProfileStatus::default();
            let message = format!("{refused}; {kept}");
            for (kind, message) in [
                (ConditionType::ResolvedRefs, refused),
                (ConditionType::Ready, &message),
            ] {
                let (all, now) = (&mut status.conditions, Timestamp::UNIX_EPOCH);
                set_condition(all, kind, false, Reason::KeyMissing, message, None, now);
            }
            let events = events(&OpAMPConnectionProfileStatus::default(), &status);
            assert_eq!(events.len(), 1);
            assert!(events[0].note.ends_with(kept));
            events[0].about.clone()
        };
        assert_eq!(
            about("a has no key", "1 stays"),
            about("a has no key", "nothing")
        );
        assert_ne!(
            about("a has no key", "1 stays"),
            about("b has no key", "1 stays")
        );
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
            let words: Vec<_> = events.iter().map(|event| event.reason.as_str()).collect();
            assert_eq!(words, reasons);
            let warns = ["KeyMismatch", "Halted", "ExpiringSoon"];
            for event in &events {
                let loud = severity(event.reason) == Some(Severity::Warning);
                assert_eq!(loud, warns.contains(&event.reason.as_str()), "{event:?}");
            }
            before = after;
        }
    }
}
