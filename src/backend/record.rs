//! `AgentRecord` ↔ `OpAMPAgent`: what is stored of an agent, by either backend.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use opamp_operator_api::agent::{
    AgentDescription, AgentError, Evidence, OfferedRevision, OpAMPAgent, OpAMPAgentStatus,
    SettingsStatus,
};
use opamp_operator_core::{
    fleet::{About, AgentRecord, DEFAULT_INTERVAL, Proved, SettingsState},
    identity::{Digest, Recognition},
};
use opamp_wire::{AgentCapabilities, InstanceUid};

/// Profiles that give way, as many as the CRD takes: enough to count the same
/// after a restart, before the agent comes back.
const MAX_OVERRIDDEN: usize = 8;
/// The longest text of an error that the CRD takes.
const MAX_ERROR_CHARS: usize = 256;

/// Begins what an agent said of settings beside those for OpAMP. No agent's own
/// words do: this one is not among those that are kept.
const BESIDE: &str = "beside OpAMP: ";

/// The object of a record; none for an agent that has proved no identity.
#[must_use]
pub fn to_agent(record: &AgentRecord) -> Option<OpAMPAgent> {
    let mut agent = OpAMPAgent::of(&record.uid.to_string(), record.binding.as_ref()?);
    let proved = record.proved.as_ref();
    let offered = record
        .last_offer
        .as_ref()
        .map(|(revision, _)| revision.number);
    let applied = record.state == SettingsState::Applied;
    let described = record.about.service.is_some() || record.about.host.is_some();
    agent.status = Some(OpAMPAgentStatus {
        profile: record.profile.clone(),
        overridden: record
            .overridden
            .iter()
            .take(MAX_OVERRIDDEN)
            .cloned()
            .collect(),
        connected: record.connected.is_some(),
        bound_time: record.bound_at.map(Time),
        last_contact_time: Some(Time(record.last_contact)),
        transport: record.connected,
        connected_time: record.about.linked.map(Time),
        capabilities: record.about.capabilities.names().map(Into::into).collect(),
        description: described.then(|| AgentDescription {
            service_name: record.about.service.clone(),
            host_name: record.about.host.clone(),
        }),
        settings: Some(SettingsStatus {
            revision: if applied {
                proved.map(|proved| signed(proved.number))
            } else {
                offered.map(signed)
            },
            state: record.state,
            evidence: proved
                .filter(|_| applied)
                .map(|proved| proved.evidence)
                .unwrap_or_default(),
            last_transition_time: Time(record.since),
            last_error: last_error(&record.about),
        }),
        told: record.told.map(Digest::to_hex),
        offered: record
            .offered
            .iter()
            .map(|revision| OfferedRevision {
                profile: revision.profile.clone(),
                revision: signed(revision.number),
            })
            .collect(),
    });
    Some(agent)
}

/// The record of an object; none if its name is no instance UID.
pub(super) fn to_record(agent: OpAMPAgent) -> Option<AgentRecord> {
    let uid: InstanceUid = agent.spec.instance_uid.parse().ok()?;
    let binding = agent.identity();
    let status = agent.status.unwrap_or_default();
    let said = about(&status);
    let settings = status.settings.as_ref();
    let since = settings.map_or(jiff::Timestamp::UNIX_EPOCH, |s| s.last_transition_time.0);
    let applied =
        settings.filter(|s| s.state == SettingsState::Applied && s.evidence != Evidence::None);
    let proved = applied
        .zip(status.profile.clone())
        .and_then(|(settings, profile)| {
            let number = unsigned(settings.revision?);
            Some(Proved {
                profile,
                number,
                evidence: settings.evidence,
                at: since,
            })
        });
    let state = settings.map(|s| s.state).unwrap_or_default();
    let offered: Vec<_> = status
        .offered
        .into_iter()
        .map(|offered| Recognition {
            profile: offered.profile,
            number: unsigned(offered.revision),
        })
        .collect();
    // `revision` is the one that the state is about.
    let about = settings.and_then(|s| s.revision).map(unsigned);
    let mut newest_first = offered.iter().rev();
    let last_offer = newest_first.find(|r| Some(r.number) == about).cloned();
    Some(AgentRecord {
        uid,
        namespace: binding.namespace.clone(),
        binding: Some(binding),
        bound_at: status.bound_time.map(|time| time.0),
        attributes: None,
        profile: status.profile,
        overridden: status.overridden,
        connected: status.transport,
        interval: DEFAULT_INTERVAL,
        capable: false,
        receives: false,
        cannot_return: false,
        exhausted: false,
        state: match state {
            SettingsState::Applied if proved.is_none() => SettingsState::Pending,
            state => state,
        },
        proved,
        last_offer: last_offer.map(|last| (last, since)),
        offered,
        told: status.told.as_deref().and_then(Digest::from_hex),
        since,
        last_contact: status.last_contact_time.map_or(since, |time| time.0),
        about: said,
    })
}

/// What it said of its settings for OpAMP comes first: they are what counts.
fn last_error(about: &About) -> Option<AgentError> {
    let error = |message, at| AgentError {
        message,
        time: Time(at),
    };
    let beside = about.cannot_use.as_ref();
    let beside = beside.map(|(said, at)| {
        let most = MAX_ERROR_CHARS - BESIDE.len();
        let said: String = said.chars().take(most).collect();
        error(format!("{BESIDE}{said}"), *at)
    });
    let failure = about.failure.clone();
    failure.map(|(said, at)| error(said, at)).or(beside)
}

fn about(status: &OpAMPAgentStatus) -> About {
    let description = status.description.clone().unwrap_or_default();
    let error = status.settings.as_ref().and_then(|s| s.last_error.as_ref());
    let beside = error.and_then(|error| {
        let said = error.message.strip_prefix(BESIDE)?;
        Some((said.to_owned(), error.time.0))
    });
    let failure = error.filter(|_| beside.is_none());
    let capabilities = status.capabilities.iter().map(String::as_str);
    About {
        capabilities: AgentCapabilities::from_names(capabilities),
        service: description.service_name,
        host: description.host_name,
        linked: status.connected_time.as_ref().map(|time| time.0),
        failure: failure.map(|error| (error.message.clone(), error.time.0)),
        cannot_use: beside,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opamp_operator_api::{Identity, IdentityMethod, ProfileKey, agent::Transport};

    use super::*;

    #[test]
    fn law8_what_a_restart_needs_survives_it() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let profile = ProfileKey::new("a", "p");
        let third = Recognition {
            profile: profile.clone(),
            number: 3,
        };
        let record = AgentRecord {
            uid: InstanceUid::from_bytes([7; 16]),
            namespace: "a".into(),
            binding: Some(Identity {
                namespace: "a".into(),
                method: IdentityMethod::AgentToken,
                authenticator: "bootstrap".into(),
                subject: "token".into(),
            }),
            bound_at: Some(at(50)),
            attributes: None,
            profile: Some(profile.clone()),
            overridden: vec![ProfileKey::new("a", "q")],
            connected: Some(Transport::WebSocket),
            interval: DEFAULT_INTERVAL,
            capable: true,
            receives: true,
            cannot_return: false,
            exhausted: false,
            state: SettingsState::Applied,
            proved: Some(Proved {
                profile: profile.clone(),
                number: 3,
                evidence: Evidence::SettingsHeader,
                at: at(100),
            }),
            last_offer: Some((third.clone(), at(100))),
            offered: vec![third.clone()],
            told: Digest::from_hex(&"5a".repeat(32)),
            since: at(100),
            last_contact: at(200),
            about: About {
                capabilities: AgentCapabilities::from(0x2101),
                service: Some("otelcol".into()),
                host: Some("node-7".into()),
                linked: Some(at(60)),
                failure: Some(("bad certificate".into(), at(90))),
                cannot_use: None,
            },
        };
        let restored = to_record(to_agent(&record).unwrap()).unwrap();
        // What it can, and what it shows, it says when it comes.
        let expected = AgentRecord {
            capable: false,
            receives: false,
            ..record.clone()
        };
        assert_eq!(restored, expected);
        // What is said of other settings stays apart, and is as short.
        let long = "not ".repeat(64);
        let beside = |failure| AgentRecord {
            about: About {
                failure,
                cannot_use: Some((long.clone(), at(91))),
                ..record.about.clone()
            },
            ..record.clone()
        };
        let restored = to_record(to_agent(&beside(None)).unwrap()).unwrap();
        let (said, when) = restored.about.cannot_use.unwrap();
        assert!(long.starts_with(&said) && said.len() > 200, "{said}");
        assert_eq!((restored.about.failure, when), (None, at(91)));
        let stored = to_agent(&beside(None)).unwrap().status.unwrap();
        let stored = stored.settings.unwrap().last_error.unwrap().message;
        assert_eq!(stored.len(), MAX_ERROR_CHARS);
        let both = beside(record.about.failure.clone());
        let restored = to_record(to_agent(&both).unwrap()).unwrap();
        assert_eq!(restored.about, record.about);
        // So does what became of an offer: a restart makes no lost agent well.
        for state in [
            SettingsState::Lost,
            SettingsState::Failed,
            SettingsState::Switching,
        ] {
            let record = AgentRecord {
                state,
                proved: None,
                ..record.clone()
            };
            let restored = to_record(to_agent(&record).unwrap()).unwrap();
            assert_eq!((restored.state, &restored.proved), (state, &None));
            assert_eq!(restored.last_offer, Some((third.clone(), at(100))));
        }
        let stranger = AgentRecord {
            binding: None,
            ..record
        };
        assert_eq!(to_agent(&stranger), None);
    }
}
