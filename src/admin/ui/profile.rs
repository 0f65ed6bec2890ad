//! One profile.

use askama::Template;
use opamp_operator_api::{
    ConditionType, ProfileKey, Reason,
    condition::find_condition,
    v1alpha1::{AgentCounts, FailureReason},
};

use super::{
    Asked, Frame, NOTHING, Next, Page, ROWS, agents,
    overview::End,
    render,
    revisions::{Reach, Revision},
    words::{BAD, Badge, Prose, Text, When},
    wrong,
};
use crate::hub::Hub;

#[derive(Template)]
#[template(path = "profile.html")]
struct Profile {
    frame: Frame,
    generation: i64,
    /// None while it was not judged.
    observed: Option<i64>,
    conditions: Vec<Condition>,
    revision: Option<Revision>,
    reach: Reach,
    counts: Option<Counts>,
    failures: Vec<Failure>,
    references: Vec<Reference>,
    table: agents::Table,
    pages: Next,
}

struct Condition {
    kind: Text,
    badge: Badge,
    reason: Text,
    since: When,
    message: Prose,
    meaning: Option<Prose>,
    remedy: Option<Prose>,
}

struct Counts {
    matched: i32,
    connected: i32,
    /// Of those that match.
    states: [(&'static str, i32, &'static str); 7],
    evidence: [(&'static str, i32); 4],
    overridden: i32,
    cannot_return: i32,
}

impl From<AgentCounts> for Counts {
    fn from(counts: AgentCounts) -> Self {
        let evidence = counts.evidence;
        Self {
            matched: counts.matched,
            connected: counts.connected,
            states: [
                (
                    "Up to date",
                    counts.up_to_date,
                    "proved to run the revision in force",
                ),
                ("Pending", counts.pending, "will be offered it"),
                (
                    "In progress",
                    counts.in_progress,
                    "were offered it and have not come back yet",
                ),
                (
                    "Failed",
                    counts.failed,
                    "reported that it does not work for them",
                ),
                (
                    "Lost",
                    counts.lost,
                    "went away after an offer and did not come back in time",
                ),
                (
                    "Departed",
                    counts.departed,
                    "went to the server of another, as the profile says",
                ),
                (
                    "Incapable",
                    counts.incapable,
                    "do not accept connection settings",
                ),
            ],
            evidence: [
                (
                    "the header that came with the settings",
                    evidence.settings_header,
                ),
                ("the new client certificate", evidence.client_certificate),
                ("the new token", evidence.token),
                ("their own report", evidence.report),
            ],
            overridden: counts.overridden,
            cannot_return: counts.cannot_return,
        }
    }
}

struct Failure {
    uid: Text,
    what: Badge,
    message: Text,
    since: When,
}

struct Reference {
    kind: &'static str,
    name: Text,
    version: Text,
    end: Option<End>,
}

pub(super) fn page(hub: &Hub, asked: &Asked, key: &ProfileKey) -> Page {
    let known = hub.statuses.get(key).ok_or(NOTHING)?;
    let status = &known.status;
    let now = asked.now;
    let conditions = ConditionType::ALL.iter().filter_map(|kind| {
        let condition = find_condition(&status.conditions, *kind)?;
        let reason = Reason::of(&condition.reason);
        Some(Condition {
            kind: Text::from(kind.as_str()),
            badge: Badge::condition(condition),
            reason: Text::from(&condition.reason),
            since: When::of(condition.last_transition_time.0, now),
            message: Prose::from(&condition.message),
            meaning: reason.map(|reason| reason.meaning().into()),
            remedy: wrong::remedy(condition),
        })
    });
    let failures = status.failures.iter().map(|failure| Failure {
        uid: Text::from(&failure.instance_uid),
        what: match failure.reason {
            FailureReason::Failed => Badge::of(BAD, "Failed"),
            FailureReason::Lost => Badge::of(BAD, "Lost"),
        },
        message: Text::from(&failure.message),
        since: When::of(failure.time.0, now),
    });
    let references = status.references.iter().map(|reference| Reference {
        kind: reference.kind.as_str(),
        name: Text::from(&reference.name),
        version: Text::from(reference.resource_version.as_deref().unwrap_or("none")),
        end: reference.not_after.as_ref().map(|end| End::of(end.0, now)),
    });
    let after = agents::after(asked)?;
    let mut records = hub.roster.records(key);
    records.retain(|record| after.is_none_or(|after| after < record.uid));
    records.sort_unstable_by(|a, b| (a.uid, &a.namespace).cmp(&(b.uid, &b.namespace)));
    let more = records.len() > ROWS;
    records.truncate(ROWS);
    let last = records.last().map(|record| record.uid.to_string());
    let page = Profile {
        frame: asked.frame(
            format!("Profile {}", Text::from(key.to_string())),
            "profiles",
        ),
        generation: known.generation,
        observed: status.observed_generation.filter(|observed| *observed >= 0),
        conditions: conditions.collect(),
        revision: Revision::of(status, asked),
        reach: Reach::of(hub, key),
        counts: status.agents.map(Into::into),
        failures: failures.collect(),
        references: references.collect(),
        table: agents::Table::of(&records, now),
        pages: asked.next(last.filter(|_| more)),
    };
    render(&page)
}
