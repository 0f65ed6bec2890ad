//! The list of agents.

use askama::{Template, filters::HtmlSafe};
use axum::http::StatusCode;
use jiff::Timestamp;
use opamp_operator_api::agent::{SettingsState, Transport};
use opamp_operator_core::fleet::{Agent, AgentRecord};
use opamp_wire::InstanceUid;

use super::{
    Asked, Frame, Next, NoPage, Page, ROWS, render,
    words::{Badge, ProfileLink, Text, When},
};
use crate::hub::Hub;

#[derive(Template)]
#[template(path = "agents.html")]
struct Agents {
    frame: Frame,
    find: Text,
    table: Table,
    pages: Next,
}

/// Agents.
#[derive(Template)]
#[template(path = "agent_rows.html")]
pub(super) struct Table {
    rows: Vec<Row>,
}

impl HtmlSafe for Table {}

/// An agent in a list.
struct Row {
    uid: String,
    namespace: Text,
    host: Text,
    service: Text,
    connected: Option<&'static str>,
    profile: Option<ProfileLink>,
    state: Option<Badge>,
    revision: Option<u64>,
    last_contact: When,
}

pub(super) fn page(hub: &Hub, asked: &Asked) -> Page {
    let after = after(asked)?;
    let (records, more) = match asked.find.as_deref() {
        None => hub.roster.page(after, ROWS),
        Some(find) => {
            let find = find.to_lowercase();
            let begins = |agent: &Agent| {
                let host = agent.about().host.as_deref().unwrap_or_default();
                agent.uid().to_string().starts_with(&find) || host.to_lowercase().starts_with(&find)
            };
            hub.roster.page_of(after, ROWS, begins)
        }
    };
    let last = records.last().map(|record| record.uid.to_string());
    let page = Agents {
        frame: asked.frame("Agents", "agents"),
        find: Text::from(asked.find.as_deref().unwrap_or_default()),
        table: Table::of(&records, asked.now),
        pages: asked.next(last.filter(|_| more)),
    };
    render(&page)
}

/// The agent behind which a list goes on.
pub(super) fn after(asked: &Asked) -> Result<Option<InstanceUid>, NoPage> {
    let after = asked.after.as_deref().map(str::parse).transpose();
    let said = "The query's after is the instance UID of the last agent that was seen.";
    after.map_err(|_| NoPage(StatusCode::BAD_REQUEST, said))
}

impl Table {
    pub(super) fn of(records: &[AgentRecord], now: Timestamp) -> Self {
        let text = |text: &Option<String>| Text::from(text.as_deref().unwrap_or_default());
        let row = |record: &AgentRecord| Row {
            uid: record.uid.to_string(),
            namespace: Text::from(&record.namespace),
            host: text(&record.about.host),
            service: text(&record.about.service),
            connected: record.connected.map(transport),
            profile: record.profile.as_ref().map(Into::into),
            state: stands(record).then(|| Badge::state(record.state)),
            revision: revision(record),
            last_contact: When::of(record.last_contact, now),
        };
        let rows = records.iter().map(row).collect();
        Self { rows }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Whether it stands anywhere: without a profile there are no settings.
pub(super) fn stands(record: &AgentRecord) -> bool {
    record.profile.is_some() || record.state != SettingsState::Pending
}

/// The revision that its state is about.
pub(super) fn revision(record: &AgentRecord) -> Option<u64> {
    if record.state == SettingsState::Applied {
        return record.proved.as_ref().map(|proved| proved.number);
    }
    let offered = record.last_offer.as_ref();
    offered.map(|(offered, _)| offered.number)
}

pub(super) const fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::WebSocket => "WebSocket",
        Transport::Http => "HTTP",
    }
}
