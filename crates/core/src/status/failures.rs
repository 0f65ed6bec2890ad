//! The agents that an offer did not help: the newest by name, all as one event.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use opamp_operator_api::{
    reason::Reason,
    v1alpha1::{AgentFailure, FailureReason, OpAMPConnectionProfileStatus},
};

use super::{ProfileEvent, is_current, overlap::EXAMPLES};
use crate::{
    catalog::ProfileState,
    fleet::{AgentRecord, SettingsState},
};

/// Agents that the status names.
const NAMED: usize = 10;

/// The newest failures with the revision in force.
pub(super) fn failures(state: &ProfileState, agents: &[AgentRecord]) -> Vec<AgentFailure> {
    let about = |agent: &&AgentRecord| {
        let offered = agent.last_offer.as_ref();
        let offered = offered.is_some_and(|(r, _)| is_current(state, &r.profile, r.number));
        let proved = agent.proved.as_ref();
        offered && !proved.is_some_and(|p| is_current(state, &p.profile, p.number))
    };
    // Whoever is lost on the way to the server of another is there.
    let external = state.current.as_ref().is_some_and(|c| c.is_external());
    let failed = agents.iter().filter(about).filter_map(|agent| {
        let reason = match agent.state {
            SettingsState::Failed => FailureReason::Failed,
            SettingsState::Lost if !external => FailureReason::Lost,
            _ => return None,
        };
        Some((Reverse(agent.since), agent.uid, reason, agent))
    });
    let mut failed: Vec<_> = failed.collect();
    failed.sort_by_key(|(since, uid, ..)| (*since, *uid));
    failed.truncate(NAMED);
    let named = failed
        .into_iter()
        .map(|(Reverse(since), uid, reason, agent)| {
            let said = agent.about.failure.as_ref();
            let said = said.filter(|_| reason == FailureReason::Failed);
            AgentFailure {
                instance_uid: uid.to_string(),
                reason,
                message: said.map(|(said, _)| said.clone()).unwrap_or_default(),
                time: Time(since),
            }
        });
    named.collect()
}

/// What becomes of agents that an offer did not help; each is told apart.
const WAYS: [(Reason, FailureReason, &str); 2] = [
    (
        Reason::AgentsFailed,
        FailureReason::Failed,
        "failed with this revision",
    ),
    (
        Reason::AgentsLost,
        FailureReason::Lost,
        "left after they were offered this revision, and did not come back",
    ),
];

/// Is this a word for what became of agents?
#[must_use]
pub fn is_of_agents(reason: Reason) -> bool {
    WAYS.iter().any(|(word, ..)| *word == reason)
}

/// That agents failed or were lost, with as many of them as an event has room
/// for; none if there are none.
#[must_use]
pub fn of_agents(reason: Reason, status: &OpAMPConnectionProfileStatus) -> Option<ProfileEvent> {
    let (_, kind, became) = WAYS.into_iter().find(|(word, ..)| *word == reason)?;
    let count = count(status, kind);
    let magnitude = magnitude(count)?;
    let examples = status.failures.iter();
    let examples = examples.filter(|failure| failure.reason == kind);
    let examples: Vec<_> = examples
        .take(EXAMPLES)
        .map(|failure| match failure.message.as_str() {
            "" => failure.instance_uid.clone(),
            said => format!("{} ({said})", failure.instance_uid),
        })
        .collect();
    let agents = if count == 1 { "agent" } else { "agents" };
    let mut note = format!("{count} {agents} {became}");
    // The newest have names in the status; these may all have come to the other.
    if !examples.is_empty() {
        note = format!("{note}: {}", examples.join(", "));
    }
    Some(ProfileEvent {
        reason,
        note,
        about: magnitude.to_string(),
        revision: status.revision.as_ref().map(|revision| revision.number),
    })
}

/// Has the number of agents that came to this with a revision grown so far that
/// it is worth an event? Ten times as many are.
pub(super) fn worth_telling(
    before: &OpAMPConnectionProfileStatus,
    after: &OpAMPConnectionProfileStatus,
) -> Vec<ProfileEvent> {
    let number = |s: &OpAMPConnectionProfileStatus| s.revision.as_ref().map(|r| r.number);
    let same = number(before) == number(after);
    let grown = WAYS.into_iter().filter(|(_, kind, _)| {
        let told = magnitude(count(before, *kind)).filter(|_| same);
        magnitude(count(after, *kind)) > told
    });
    grown
        .filter_map(|(reason, ..)| of_agents(reason, after))
        .collect()
}

fn count(status: &OpAMPConnectionProfileStatus, kind: FailureReason) -> i32 {
    status.agents.map_or(0, |agents| match kind {
        FailureReason::Failed => agents.failed,
        FailureReason::Lost => agents.lost,
    })
}

fn magnitude(count: i32) -> Option<u32> {
    count.checked_ilog10()
}
