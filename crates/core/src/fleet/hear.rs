//! What a message says of its agent.

use std::collections::BTreeMap;

use opamp_operator_api::values::{Attributes, Unread};
use opamp_wire::{
    AgentCapabilities, Reply, ServerCapabilities,
    proto::{AgentToServer, AnyValue, ConnectionSettingsStatuses, KeyValue, any_value::Value},
};

use super::{Agent, LinkId, SettingsState, Transition, Transport, link::FullState, words::clean};
use crate::Now;

/// Attributes kept of a description, and their longest key and value.
const MAX_ATTRIBUTES: usize = 64;
const MAX_ATTRIBUTE_BYTES: usize = 1024;
/// `ServerToAgentFlags_ReportFullState`.
const REPORT_FULL_STATE: u64 = 1;

impl Agent {
    /// Takes in a message, before a profile is chosen: what it says of the
    /// agent. Answered by [`Self::answer`].
    pub fn hear(
        &mut self,
        id: LinkId,
        message: &AgentToServer,
        now: Now,
    ) -> (Reply, Vec<Transition>) {
        let mut transitions = Vec::new();
        let mut reply = Reply::new(self.uid);
        self.last_contact = now.wall;
        self.returns(now);
        let attributes_known = self.attributes.is_some();
        let was_capable = self.capable();
        // Of the agent it says nothing: it may be somebody else's, who shows
        // what was offered to it and knows its instance UID.
        let outranked = self.is_outranked(id);
        let before = self.about.clone();
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return (reply, transitions);
        };
        let first = !link.greeted();
        let repeated = link.repeats(message.sequence_num);
        let described = message.agent_description.is_some();
        link.heard(message.sequence_num, described, now.uptime);
        if first {
            reply.capabilities = Some(ServerCapabilities::OURS);
        }
        if described && link.full_state == FullState::NotYet {
            let fresh = first && message.sequence_num <= 1;
            link.full_state = if fresh {
                FullState::Fresh
            } else {
                FullState::Heard
            };
        }
        if link.transport == Transport::Http {
            if !outranked {
                self.polls.heard(now.uptime);
            }
            reply.capabilities = Some(ServerCapabilities::OURS);
        }
        // 0 is 'not repeated' on a connection and 'unknown' on a new one (H15).
        if message.capabilities != 0 {
            let said = AgentCapabilities::from(message.capabilities);
            link.capabilities = Some(said);
            if !outranked {
                self.capabilities = said;
            }
        }
        let unknown = link.capabilities.is_none()
            || (first && !described)
            || !(attributes_known || described);
        if link.asks(unknown, now.uptime) {
            reply.flags |= REPORT_FULL_STATE;
        }
        if let Some(status) = &message.connection_settings_status
            && !status.last_connection_settings_hash.is_empty()
        {
            let hash = &status.last_connection_settings_hash[..];
            let told = link.told_hash.as_ref();
            let beside = told.is_some_and(|told| told.as_bytes()[..] == *hash);
            // No word on the settings for OpAMP takes none of those back.
            if !beside || link.reported.is_none() {
                link.reported = Some((status.status(), hash.to_vec()));
            }
            if beside {
                let failed = status.status() == ConnectionSettingsStatuses::Failed;
                let before = std::mem::replace(&mut link.told_failed, failed);
                if failed && !before {
                    let said = clean(&status.error_message);
                    self.about.cannot_use = Some((said.clone(), now.wall));
                    transitions.push(Transition::CannotUse(said));
                } else if !failed {
                    self.about.cannot_use = None;
                }
            }
        }
        if let Some(description) = message.agent_description.as_ref().filter(|_| !outranked) {
            let (identifying, unread_identifying) = attributes(&description.identifying_attributes);
            let (non_identifying, unread_non_identifying) =
                attributes(&description.non_identifying_attributes);
            let mut known = Attributes {
                identifying,
                non_identifying,
                unread_identifying,
                unread_non_identifying,
            };
            let vouched = link.verdict.vouched.iter();
            for (key, value) in vouched.flat_map(|vouched| &vouched.attributes) {
                known.vouch(key, value);
            }
            self.about.describe(&known);
            self.attributes = Some(known);
        }
        self.hear_place(id, message);
        transitions.extend(self.told_arrived(id, repeated));
        if self.capabilities != AgentCapabilities::default() {
            self.about.capabilities = self.capabilities;
        }
        if self.about != before {
            transitions.push(Transition::Described);
        }
        if was_capable != self.capable() {
            transitions.push(Transition::Capable(self.capable()));
        }
        if !outranked {
            transitions.extend(self.hear_failure(id, message, now));
        }
        (reply, transitions)
    }

    /// An attribute that the message claims although whoever vouches for the
    /// link says otherwise.
    #[must_use]
    pub fn contradiction(&self, id: LinkId, message: &AgentToServer) -> Option<String> {
        let vouched = self.link(id)?.verdict.vouched.as_ref()?;
        let description = message.agent_description.as_ref()?;
        let lists = [
            &description.identifying_attributes,
            &description.non_identifying_attributes,
        ];
        let otherwise = |pair: &&KeyValue| {
            let known = vouched.attributes.get(&pair.key);
            known.is_some_and(|known| pair.value.as_ref().and_then(scalar).as_ref() != Some(known))
        };
        let mut claims = lists.into_iter().flatten();
        claims.find(otherwise).map(|pair| pair.key.clone())
    }

    fn hear_failure(
        &mut self,
        id: LinkId,
        message: &AgentToServer,
        now: Now,
    ) -> Option<Transition> {
        let status = message.connection_settings_status.as_ref()?;
        let link = self.links.iter().find(|link| link.id == id)?;
        let flight = self.flight.as_mut()?;
        let about_it = status.last_connection_settings_hash[..] == flight.hash.as_bytes()[..];
        let runs_it = link.presented.marker == Some(flight.marker);
        if status.status() != ConnectionSettingsStatuses::Failed
            || !about_it
            || runs_it
            || flight.failed
        {
            return None;
        }
        // Also if it landed: an agent that came back and is asked for its full
        // state says only then what became of the offer.
        flight.landed = true;
        flight.failed = true;
        let end = link.presented.not_after();
        let remaining = end.map(|end| now.until(end));
        self.attempts.failed(flight.marker, now.uptime, remaining);
        self.enter(SettingsState::Failed, now);
        let said = clean(&status.error_message);
        self.about.failure = Some((said.clone(), now.wall));
        Some(Transition::Failed(said))
    }
}

/// What a message claims of these attributes; none if it describes nothing.
pub(super) fn claims(
    message: &AgentToServer,
    keys: &[&'static str],
) -> Option<BTreeMap<&'static str, String>> {
    let description = message.agent_description.as_ref()?;
    let lists = [
        &description.non_identifying_attributes,
        &description.identifying_attributes,
    ];
    let claim = |pair: &KeyValue| {
        let key = keys.iter().find(|key| **key == pair.key)?;
        let value = scalar(pair.value.as_ref()?)?;
        (value.len() <= MAX_ATTRIBUTE_BYTES).then_some((*key, value))
    };
    Some(lists.into_iter().flatten().filter_map(claim).collect())
}

/// Attributes as text, bounded. Of values that are too long, or that are not
/// scalars, the key is kept: a selector cannot name them, and they are there.
/// No selector can name a longer key.
fn attributes(list: &[KeyValue]) -> (BTreeMap<String, String>, Unread) {
    let (mut known, mut unread) = (BTreeMap::new(), Unread::default());
    let named = list
        .iter()
        .filter(|pair| pair.key.len() <= MAX_ATTRIBUTE_BYTES);
    for (index, pair) in named.enumerate() {
        if index == MAX_ATTRIBUTES {
            unread.more = true;
            break;
        }
        let value = pair.value.as_ref().and_then(scalar);
        if let Some(value) = value.filter(|value| value.len() <= MAX_ATTRIBUTE_BYTES) {
            known.insert(pair.key.clone(), value);
        } else {
            unread.keys.insert(pair.key.clone());
        }
    }
    (known, unread)
}

/// A scalar as text.
fn scalar(value: &AnyValue) -> Option<String> {
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        _ => None,
    }
}
