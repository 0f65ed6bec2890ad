//! The next status of a profile: a summary of facts, never of hopes.

mod events;
mod failures;
mod overlap;

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use opamp_operator_api::{
    condition::{ConditionStatus, set_condition},
    reason::{ConditionType, Reason},
    v1alpha1::{
        AgentCounts, EvidenceCounts, OpAMPConnectionProfileStatus, ReferenceStatus, RevisionStatus,
    },
    values::{ObjectKind, ObjectRef, ProfileKey},
};

use crate::{
    Now,
    catalog::ProfileState,
    fleet::{AgentRecord, Evidence, SettingsState},
    offer::{Refusal, Validity},
    rollout::Rollout,
};
use failures::failures;
use overlap::overlapping;

pub use events::{ProfileEvent, Severity, events, severity};
pub use failures::{is_of_agents, of_agents};
pub use overlap::{Overlap, Taken};

/// The status of a profile, given its state, its agents, other profiles that
/// select the same ones, and its rollout. The previous status only lends the times of conditions that did not change.
#[must_use]
pub fn summarize(
    state: &ProfileState,
    agents: &[AgentRecord],
    overlap: &Overlap,
    rollout: &Rollout,
    now: Now,
) -> OpAMPConnectionProfileStatus {
    let before = &state.stored.status;
    let Some(generation) = state.resolved_generation else {
        return before.clone();
    };
    let counts = AgentCounts {
        overridden: bounded(overlap.overridden()),
        ..count(state, agents)
    };
    let mut status = OpAMPConnectionProfileStatus {
        observed_generation: Some(generation),
        conditions: before.conditions.clone(),
        revision: revision(state).or_else(|| before.revision.clone()),
        agents: Some(counts),
        failures: failures(state, agents),
        references: state.references.iter().map(reference).collect(),
    };
    let mut set = |kind, (holds, reason, message): Verdict| {
        set_condition(
            &mut status.conditions,
            kind,
            holds,
            reason,
            message,
            Some(generation),
            now.wall,
        );
    };
    for kind in [
        ConditionType::Accepted,
        ConditionType::ResolvedRefs,
        ConditionType::CredentialsValid,
    ] {
        set(kind, gate(kind, state, now));
    }
    let exhausted = agents.iter().filter(|agent| agent.exhausted).count();
    let progressing = progressing(state, &counts, rollout);
    set(
        ConditionType::Ready,
        ready(state, &counts, rollout, exhausted),
    );
    set(ConditionType::Progressing, progressing);
    set(ConditionType::Overlapping, overlapping(overlap));
    status
}

type Verdict = (ConditionStatus, Reason, String);

fn revision(state: &ProfileState) -> Option<RevisionStatus> {
    let current = state.current.as_ref()?;
    Some(RevisionStatus {
        number: i64::try_from(current.number()).unwrap_or(i64::MAX),
        marker: current.marker().short(),
        start_time: Time(state.started.unwrap_or(Timestamp::UNIX_EPOCH)),
        cause: state.cause,
    })
}

fn reference(state: &crate::offer::ReferenceState) -> ReferenceStatus {
    ReferenceStatus {
        kind: state.object.kind,
        name: state.object.name.clone(),
        resource_version: state.resource_version.clone(),
        not_after: state.validity.map(|validity| Time(validity.not_after)),
    }
}

/// Where the agents stand with the revision in force. What became of an older
/// one counts no more: such an agent will be offered this one if it is here,
/// and nobody waits for it if it is away.
fn count(state: &ProfileState, agents: &[AgentRecord]) -> AgentCounts {
    let mut counts = AgentCounts {
        matched: bounded(agents.len()),
        ..AgentCounts::default()
    };
    let current = |profile: &ProfileKey, number: u64| is_current(state, profile, number);
    for agent in agents {
        let connected = agent.connected.is_some();
        counts.connected += i32::from(connected);
        counts.cannot_return += i32::from(agent.cannot_return);
        let offered = agent.last_offer.as_ref();
        let offered = offered.is_some_and(|(r, _)| current(&r.profile, r.number));
        let external = state.current.as_ref().is_some_and(|c| c.is_external());
        let evidence = agent.proved.as_ref();
        let ran = evidence.is_some_and(|p| current(&p.profile, p.number));
        // Who is gone for good is so also from a revision before.
        let gone = agent.state == SettingsState::Departed;
        let away = !connected && (ran || (offered && agent.state == SettingsState::Lost));
        if external && (gone || away) {
            counts.departed += 1;
            continue;
        }
        // One that shows settings for the server of another is not there.
        let here = evidence.filter(|p| !external && current(&p.profile, p.number));
        if let Some(proved) = here {
            counts.up_to_date += 1;
            add(&mut counts.evidence, proved.evidence);
            continue;
        }
        match agent.state {
            _ if !agent.capable && connected => counts.incapable += 1,
            SettingsState::Offered | SettingsState::Switching if offered => counts.in_progress += 1,
            SettingsState::Failed if offered => counts.failed += 1,
            SettingsState::Lost if offered => counts.lost += 1,
            _ if connected => counts.pending += 1,
            _ => {}
        }
    }
    counts
}

fn is_current(state: &ProfileState, profile: &ProfileKey, number: u64) -> bool {
    let current = state.current.as_ref();
    current.is_some_and(|c| c.number() == number && *c.profile() == *profile)
}

fn add(counts: &mut EvidenceCounts, evidence: Evidence) {
    match evidence {
        Evidence::SettingsHeader => counts.settings_header += 1,
        Evidence::ClientCertificate => counts.client_certificate += 1,
        Evidence::Token => counts.token += 1,
        Evidence::Report => counts.report += 1,
        Evidence::None => {}
    }
}

/// `Accepted`, `ResolvedRefs` and `CredentialsValid` are passed in this order;
/// what lies behind the one that refuses is unknown.
fn gate(kind: ConditionType, state: &ProfileState, now: Now) -> Verdict {
    let order = |kind: ConditionType| match kind {
        ConditionType::Accepted => 0,
        ConditionType::ResolvedRefs => 1,
        _ => 2,
    };
    if let Some(Refusal {
        condition,
        reason,
        message,
    }) = &state.refusal
    {
        if *condition == kind {
            return (ConditionStatus::False, *reason, message.clone());
        }
        // The lock-out check comes last: everything else was fine by then.
        let passed = *reason == Reason::WouldLockOut;
        if !passed && order(kind) > order(*condition) {
            return (
                ConditionStatus::Unknown,
                *reason,
                format!("not judged while `{condition}` is False"),
            );
        }
    }
    if let Some((refusal, message)) = beside(state, |condition| condition == kind) {
        return (ConditionStatus::False, refusal.reason, message);
    }
    match kind {
        ConditionType::Accepted if !insecure(state).is_empty() => (
            ConditionStatus::True,
            Reason::InsecureAllowed,
            format!(
                "policy allows it: by `{}` agents give their credentials to whoever answers; name a CA as soon as \
                 there is one",
                insecure(state).join("`, `")
            ),
        ),
        ConditionType::Accepted => (
            ConditionStatus::True,
            Reason::Accepted,
            "the profile is understood and allowed".into(),
        ),
        ConditionType::ResolvedRefs => (
            ConditionStatus::True,
            Reason::Resolved,
            "every object was found and understood".into(),
        ),
        _ if state.serving_held_back.is_some() => (
            ConditionStatus::False,
            Reason::ServingCertificateHeldBack,
            state.serving_held_back.clone().unwrap_or_default(),
        ),
        _ => match ending(state, now) {
            Some(Validity { not_after, .. }) => (
                ConditionStatus::True,
                Reason::ExpiringSoon,
                format!("a certificate ends at {not_after}: see that it is renewed in time"),
            ),
            _ => (
                ConditionStatus::True,
                Reason::Valid,
                "every credential is valid".into(),
            ),
        },
    }
}

/// What is wrong beside OpAMP, of those conditions.
fn beside(state: &ProfileState, of: impl Fn(ConditionType) -> bool) -> Option<(&Refusal, String)> {
    let mut wrong = state.beside.iter().filter(|refusal| of(refusal.condition));
    let first = wrong.next()?;
    let message = match wrong.count() {
        0 => first.message.clone(),
        more => format!("{}; and {more} more", first.message),
    };
    Some((first, message))
}

/// By which fields agents verify nothing.
fn insecure(state: &ProfileState) -> Vec<String> {
    state.spec().map(|spec| spec.insecure()).unwrap_or_default()
}

/// The certificate that ends first, if that is soon.
fn ending(state: &ProfileState, now: Now) -> Option<Validity> {
    let all = state.references.iter().filter_map(|r| r.validity);
    all.filter(|validity| validity.ends_soon(now))
        .min_by_key(|validity| validity.not_after)
}

fn lacking(counts: &AgentCounts) -> i32 {
    counts.pending + counts.in_progress + counts.failed + counts.lost
}

/// What is wrong beside OpAMP comes last: it keeps nobody from being offered
/// settings, and what keeps them from having these is worse.
fn ready(
    state: &ProfileState,
    counts: &AgentCounts,
    rollout: &Rollout,
    exhausted: usize,
) -> Verdict {
    let verdict = ready_for_opamp(state, counts, rollout, exhausted);
    match beside(state, |_| true) {
        Some((refusal, message)) if verdict.0 == ConditionStatus::True => (
            ConditionStatus::False,
            refusal.reason,
            format!(
                "{message}; agents keep what they have of this, and get the rest of the profile"
            ),
        ),
        _ => verdict,
    }
}

fn ready_for_opamp(
    state: &ProfileState,
    counts: &AgentCounts,
    rollout: &Rollout,
    exhausted: usize,
) -> Verdict {
    if let Some(refusal) = &state.refusal {
        let kept = state.current.as_ref().map_or_else(
            || "nothing is offered".to_owned(),
            |current| {
                format!(
                    "revision {} stays in force{}",
                    current.number(),
                    kept_by(state)
                )
            },
        );
        return (
            ConditionStatus::False,
            refusal.reason,
            format!("{}; {kept}", refusal.message),
        );
    }
    if let Some(message) = &state.serving_held_back {
        return (
            ConditionStatus::False,
            Reason::ServingCertificateHeldBack,
            message.clone(),
        );
    }
    let lacking = lacking(counts);
    if counts.matched - counts.incapable == 0 {
        return (
            ConditionStatus::True,
            Reason::NoAgents,
            "no capable agent uses this profile yet".into(),
        );
    }
    if lacking == 0 {
        let away = counts.matched - counts.incapable - counts.up_to_date - counts.departed;
        let mut message = format!(
            "{} of {} agents run this revision",
            counts.up_to_date, counts.matched
        );
        if counts.departed > 0 {
            let _ = write!(
                message,
                "; {} went to the server that it names, which is not seen from here",
                counts.departed
            );
        }
        if away > 0 {
            let _ = write!(message, "; {away} are away, and get it when they come back");
        }
        return (ConditionStatus::True, Reason::Complete, message);
    }
    if exhausted > 0 {
        let message = format!(
            "{}; {exhausted} were offered settings too often, whatever these were, and get at most 6 offers an hour: \
             see why they come back without them",
            describe(counts)
        );
        return (ConditionStatus::False, Reason::OffersExhausted, message);
    }
    let reason = match () {
        () if rollout.halted => Reason::Halted,
        () if state.spec().is_some_and(|spec| spec.paused) => Reason::Paused,
        () if counts.failed > 0 => Reason::AgentsFailed,
        () if counts.lost > 0 => Reason::AgentsLost,
        () => Reason::RolloutInProgress,
    };
    (ConditionStatus::False, reason, describe(counts))
}

fn progressing(state: &ProfileState, counts: &AgentCounts, rollout: &Rollout) -> Verdict {
    let lacks = lacking(counts) > 0;
    let moves = lacking(counts) > counts.lost;
    if state.spec().is_some_and(|spec| spec.paused) {
        return (
            ConditionStatus::Unknown,
            Reason::Paused,
            "`spec.paused` stops new offers".into(),
        );
    }
    if let (Some(object), Some(refusal)) = (&state.withdrawn, &state.refusal) {
        let message = format!("nothing is offered: {}", taken(object));
        return (ConditionStatus::False, refusal.reason, message);
    }
    if let (None, Some(refusal)) = (&state.current, &state.refusal)
        && counts.matched > 0
    {
        // Also after a start without what is in force.
        let message = format!("nothing is offered: {}", refusal.message);
        return (ConditionStatus::False, refusal.reason, message);
    }
    if rollout.halted && lacks {
        let first = rollout
            .first
            .map_or_else(String::new, |(uid, _)| uid.to_string());
        let message = format!(
            "the first agent, {first}, brought no evidence that it runs this revision; nobody else is touched \
             until it does or the profile changes"
        );
        return (ConditionStatus::False, Reason::Halted, message);
    }
    if state.current.is_some() && moves {
        return (
            ConditionStatus::True,
            Reason::RolloutInProgress,
            describe(counts),
        );
    }
    let reason = match () {
        () if counts.matched == 0 => Reason::NoAgents,
        // It comes back or it does not: nothing can be sent to it.
        () if lacks => Reason::AgentsLost,
        () => Reason::Complete,
    };
    (
        ConditionStatus::False,
        reason,
        "nothing is on its way".into(),
    )
}

/// Who keeps what is in force, if it is nobody else's.
fn kept_by(state: &ProfileState) -> String {
    state.withdrawn.as_ref().map_or_else(String::new, |object| {
        format!(
            " for the agents that have it, and is offered to nobody else: {}",
            taken(object)
        )
    })
}

fn taken(object: &ObjectRef) -> String {
    let name = &object.name;
    match object.kind {
        ObjectKind::Secret => {
            format!("its Secret `{name}` is gone, may not be read, or may not be offered any more")
        }
        ObjectKind::ConfigMap => format!("its ConfigMap `{name}` is gone, or may not be read"),
    }
}

fn describe(counts: &AgentCounts) -> String {
    format!(
        "{} of {} agents run this revision; {} pending, {} on their way, {} failed, {} lost",
        counts.up_to_date,
        counts.matched,
        counts.pending,
        counts.in_progress,
        counts.failed,
        counts.lost
    )
}

fn bounded(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
