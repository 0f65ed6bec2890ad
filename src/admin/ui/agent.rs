//! One agent: who it is, how it is connected, where it stands with its
//! settings, and why it has these.

use askama::Template;
use axum::http::StatusCode;
use opamp_operator_api::agent::SettingsState;
use opamp_operator_core::fleet::AgentRecord;
use opamp_wire::InstanceUid;

use super::{
    Asked, Frame, NoPage, Page, agents, render,
    words::{self, BAD, BUSY, Badge, GOOD, PLAIN, ProfileLink, Prose, Text, WARNING, When},
};
use crate::{
    admin::explanation::{self, Explanation, Line},
    hub::Hub,
};

#[derive(Template)]
#[template(path = "agent.html")]
struct AgentPage {
    frame: Frame,
    uid: String,
    /// One for each home namespace in which the instance UID is used.
    agents: Vec<Agent>,
}

struct Agent {
    namespace: Text,
    identity: Option<Identity>,
    pod: Option<Text>,
    service: Option<Text>,
    host: Option<Text>,
    transport: Option<&'static str>,
    linked: Option<When>,
    last_contact: When,
    capabilities: Text,
    settings: Option<Settings>,
    capable: bool,
    errors: Vec<Failure>,
    warnings: Vec<&'static str>,
    answer: Text,
    choices: Vec<Choice>,
    left_out: usize,
}

struct Identity {
    subject: Text,
    method: &'static str,
    authenticator: Text,
    bound: Option<When>,
}

struct Settings {
    profile: Option<ProfileLink>,
    state: Badge,
    meaning: &'static str,
    since: When,
    revision: Option<u64>,
    evidence: Option<&'static str>,
    offered: Option<When>,
}

/// What it said that it could not do.
struct Failure {
    of: &'static str,
    said: Text,
    at: When,
}

/// A profile and what it is to the agent.
struct Choice {
    profile: Option<ProfileLink>,
    name: Text,
    priority: Option<i32>,
    verdict: Badge,
    because: Prose,
}

pub(super) fn page(hub: &Hub, asked: &Asked, uid: InstanceUid) -> Page {
    let records = hub.roster.records_of(uid);
    if records.is_empty() {
        let said = "No agent of this instance UID is known.";
        return Err(NoPage(StatusCode::NOT_FOUND, said));
    }
    let mut explained = explanation::of(hub, uid);
    let agents = records.iter().map(|record| {
        let of = |explanation: &Explanation| explanation.namespace == record.namespace;
        let at = explained.iter().position(of);
        agent(record, at.map(|at| explained.swap_remove(at)), asked)
    });
    let host = records
        .iter()
        .find_map(|record| record.about.host.as_deref());
    let title = host.map_or_else(|| uid.to_string(), |host| Text::from(host).to_string());
    let page = AgentPage {
        frame: asked.frame(format!("Agent {title}"), "agents"),
        uid: uid.to_string(),
        agents: agents.collect(),
    };
    render(&page)
}

fn agent(record: &AgentRecord, explained: Option<Explanation>, asked: &Asked) -> Agent {
    let when = |at| When::of(at, asked.now);
    let about = &record.about;
    let said = [
        ("its settings for OpAMP", &about.failure),
        ("what it was sent beside OpAMP", &about.cannot_use),
    ];
    let errors = said.into_iter().filter_map(|(of, said)| {
        let (said, at) = said.as_ref()?;
        let (said, at) = (Text::from(said), when(*at));
        Some(Failure { of, said, at })
    });
    let (answer, choices, left_out) = explained.map_or_else(Default::default, |explained| {
        let choices = explained.profiles.iter().map(choice).collect();
        (Text::from(&explained.answer), choices, explained.left_out)
    });
    Agent {
        namespace: Text::from(&record.namespace),
        identity: record.binding.as_ref().map(|binding| Identity {
            subject: Text::from(&binding.subject),
            method: binding.method.as_str(),
            authenticator: Text::from(&binding.authenticator),
            bound: record.bound_at.map(when),
        }),
        pod: record.pod.as_ref().map(|pod| Text::from(&pod.name)),
        service: about.service.as_ref().map(Text::from),
        host: about.host.as_ref().map(Text::from),
        transport: record.connected.map(agents::transport),
        linked: about.linked.map(when),
        last_contact: when(record.last_contact),
        capabilities: Text::from(about.capabilities.names().collect::<Vec<_>>().join(", ")),
        settings: agents::stands(record).then(|| settings(record, asked)),
        capable: record.capable,
        errors: errors.collect(),
        warnings: warnings(record),
        answer,
        choices,
        left_out,
    }
}

fn settings(record: &AgentRecord, asked: &Asked) -> Settings {
    let applied = record.state == SettingsState::Applied;
    let proved = record.proved.as_ref().filter(|_| applied);
    let offered = record.last_offer.as_ref();
    Settings {
        profile: record.profile.as_ref().map(Into::into),
        state: Badge::state(record.state),
        meaning: words::meaning(record.state),
        since: When::of(record.since, asked.now),
        revision: agents::revision(record),
        evidence: proved.map(|proved| words::evidence(proved.evidence)),
        offered: offered.map(|(_, at)| When::of(*at, asked.now)),
    }
}

fn warnings(record: &AgentRecord) -> Vec<&'static str> {
    let here = record.connected.is_some();
    let told = [
        (
            here && !record.capable,
            "It does not accept connection settings.",
        ),
        (
            record.exhausted,
            "It was offered settings too often and is offered none for a while. See in its log why it comes back without them.",
        ),
        (
            record.cannot_return,
            "It is connected by credentials that would not be admitted again. Give it new ones before it reconnects.",
        ),
    ];
    let holds = told.into_iter().filter(|(holds, _)| *holds);
    holds.map(|(_, said)| said).collect()
}

fn choice(line: &Line) -> Choice {
    let key = line.profile.split_once('/');
    let tone = match line.verdict.as_str() {
        "Applies" => GOOD,
        "AwaitingProof" => WARNING,
        "NotInForce" => BAD,
        "Undecided" => BUSY,
        _ => PLAIN,
    };
    Choice {
        profile: key.map(|(namespace, name)| {
            (&opamp_operator_api::ProfileKey::new(namespace, name)).into()
        }),
        name: Text::from(&line.profile),
        priority: line.priority,
        verdict: Badge::of(tone, &line.verdict),
        because: Prose::from(&line.because),
    }
}
