//! Which profile applies to an agent and why not the others, as a page.

use opamp_operator_api::{ConditionType, v1alpha1::OpAMPConnectionProfileStatus};
use opamp_operator_core::{
    catalog::{Choice, Explained},
    fleet::AgentRecord,
};
use opamp_wire::InstanceUid;
use serde::{Deserialize, Serialize};

use crate::hub::Hub;

/// Profiles that are told of one agent: those that it may choose from first.
const MOST: usize = 100;
/// Profiles that are looked through for those without settings in force.
const LOOKED_THROUGH: usize = 10_000;

/// What is told of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Its instance UID.
    #[serde(rename = "instanceUID")]
    pub instance_uid: String,
    /// Its home.
    pub namespace: String,
    /// The identity that its instance UID belongs to; none if it proved none.
    pub identity: Option<String>,
    /// Whether it is connected; if not, it is judged as if it came back.
    pub connected: bool,
    /// Which profile applies.
    pub answer: String,
    /// Each profile, best first.
    pub profiles: Vec<Line>,
    /// Profiles that are left out here.
    pub left_out: usize,
}

/// A profile and what it is to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Namespace and name.
    pub profile: String,
    /// None if it has no settings in force.
    pub priority: Option<i32>,
    /// One word.
    pub verdict: String,
    /// Why.
    pub because: String,
}

/// One for each home namespace in which the instance UID is used.
pub(super) fn of(hub: &Hub, uid: InstanceUid) -> Vec<Explanation> {
    let statuses = hub.statuses.page(None, LOOKED_THROUGH);
    let explain = |namespace: &str| hub.book.all(namespace);
    let found = hub.roster.explain(uid, explain);
    found
        .into_iter()
        .map(|(record, explained)| {
            let Some((choice, profiles)) = explained else {
                let unknown = "not known yet: the profiles of its namespace, or of an admin namespace, cannot be read";
                return explanation(&record, unknown.into(), Vec::new());
            };
            let mut lines: Vec<_> = profiles.iter().map(line).collect();
            for (key, known) in &statuses {
                let name = key.to_string();
                let why = not_in_force(&known.status);
                match lines.iter_mut().find(|line| line.profile == name) {
                    Some(line) => line.because.extend(why.map(|why| {
                        format!("; judged by its last good version, since its newest is not in force: {why}")
                    })),
                    None => lines.push(Line {
                        profile: name,
                        priority: None,
                        verdict: "NotInForce".into(),
                        because: why.unwrap_or_else(|| "it has no settings in force yet".into()),
                    }),
                }
            }
            explanation(&record, answer(&choice), lines)
        })
        .collect()
}

fn explanation(record: &AgentRecord, answer: String, mut profiles: Vec<Line>) -> Explanation {
    let left_out = profiles.len().saturating_sub(MOST);
    profiles.truncate(MOST);
    Explanation {
        instance_uid: record.uid.to_string(),
        namespace: record.namespace.clone(),
        identity: record.binding.as_ref().map(ToString::to_string),
        connected: record.connected.is_some(),
        answer,
        profiles,
        left_out,
    }
}

fn line(explained: &Explained) -> Line {
    Line {
        profile: explained.profile.to_string(),
        priority: Some(explained.priority),
        verdict: explained.verdict.to_string(),
        because: explained.because.clone(),
    }
}

fn answer(choice: &Choice) -> String {
    match choice {
        Choice::Profile(profile) => format!("{profile} applies"),
        Choice::AwaitingProof(profile) => {
            format!("{profile} would apply, if the agent proved who it is")
        }
        Choice::Nobody => "no profile applies".into(),
        Choice::NotYet => {
            "not known before the agent describes itself: a profile reads its attributes".into()
        }
    }
}

/// Why the newest version of a profile has no effect, if it has none.
fn not_in_force(status: &OpAMPConnectionProfileStatus) -> Option<String> {
    let gates = [
        ConditionType::Accepted,
        ConditionType::ResolvedRefs,
        ConditionType::CredentialsValid,
    ];
    let failed = status.conditions.iter().find(|condition| {
        condition.status == "False" && gates.iter().any(|gate| gate.as_str() == condition.type_)
    })?;
    Some(format!(
        "{}=False/{}: {}",
        failed.type_, failed.reason, failed.message
    ))
}
