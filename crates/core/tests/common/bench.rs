//! One agent, its connections and what it should have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opamp_operator_api::values::{Identity, IdentityMethod, ProfileKey};
use opamp_operator_core::{
    catalog::{Bound, Candidate, Target},
    fleet::{Agent, AgentRecord, Evidence, Link, LinkId, Step, Transition, Transport, Wish},
    identity::{Presented, Trust, Verdict},
    offer::Revision,
};
use opamp_wire::{
    AgentCapabilities, InstanceUid, Reply,
    proto::{
        AgentDescription, AgentToServer, ConnectionSettingsStatus, ConnectionSettingsStatuses,
    },
};

use super::{World, at};

/// Takes settings and says what became of them.
pub(crate) const CAPABLE: u64 = AgentCapabilities::REPORTS_STATUS
    | AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS
    | AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS;

pub(crate) fn uid(last: u8) -> InstanceUid {
    InstanceUid::from_bytes([last; 16])
}

/// Full state; the bench counts the sequence.
pub(crate) fn full() -> AgentToServer {
    AgentToServer {
        capabilities: CAPABLE,
        agent_description: Some(AgentDescription::default()),
        ..Default::default()
    }
}

/// Full state with a word on an offer.
pub(crate) fn reported(status: ConnectionSettingsStatuses, hash: &[u8]) -> AgentToServer {
    AgentToServer {
        connection_settings_status: Some(ConnectionSettingsStatus {
            last_connection_settings_hash: hash.to_vec().into(),
            status: status.into(),
            error_message: String::new(),
        }),
        ..full()
    }
}

/// What became of a message.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) reply: Reply,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) until: Option<Duration>,
}

impl Heard {
    pub(crate) fn offers(&self) -> bool {
        self.reply.offer.is_some()
    }
}

pub(crate) struct Bench {
    pub(crate) agent: Agent,
    pub(crate) target: Target,
    pub(crate) trust: Option<Trust>,
    pub(crate) hold: Duration,
    next: u64,
    sequences: BTreeMap<LinkId, u64>,
}

impl Bench {
    /// An unknown agent that should have `revision`.
    pub(crate) fn new(revision: Arc<Revision>) -> Self {
        Self::with(Agent::new(uid(1), "a", at(0)), revision)
    }

    /// The agent of a record.
    pub(crate) fn restored(record: AgentRecord, revision: Arc<Revision>) -> Self {
        Self::with(Agent::restore(record, at(0)), revision)
    }

    fn with(agent: Agent, current: Arc<Revision>) -> Self {
        Self {
            agent,
            target: Target {
                current,
                previous: None,
                bound: Bound::Everyone,
                paused: false,
            },
            trust: None,
            hold: Duration::ZERO,
            next: 1,
            sequences: BTreeMap::new(),
        }
    }

    /// A connection that says nothing yet; its sequence starts at `sequence`.
    pub(crate) fn connect(
        &mut self,
        transport: Transport,
        presented: Presented,
        sequence: u64,
        seconds: u64,
    ) -> LinkId {
        let verdict = Verdict {
            primary: Some(Identity {
                namespace: "a".into(),
                method: IdentityMethod::AgentToken,
                authenticator: "bootstrap".into(),
                subject: "agents".into(),
            }),
            ..Verdict::default()
        };
        self.attach(transport, verdict, presented, sequence, seconds)
            .unwrap()
    }

    /// A WebSocket link of whoever this is, unless it is refused.
    pub(crate) fn connect_as(
        &mut self,
        verdict: Verdict,
        presented: Presented,
        seconds: u64,
    ) -> Option<LinkId> {
        self.attach(Transport::WebSocket, verdict, presented, 0, seconds)
    }

    fn attach(
        &mut self,
        transport: Transport,
        verdict: Verdict,
        presented: Presented,
        sequence: u64,
        seconds: u64,
    ) -> Option<LinkId> {
        let id = LinkId(self.next);
        self.next += 1;
        let link = Link::new(id, transport, presented, verdict, at(seconds).uptime);
        self.agent.attach(link, at(seconds))?;
        self.sequences.insert(id, sequence);
        Some(id)
    }

    /// A WebSocket link that says hello with its full state.
    pub(crate) fn come(&mut self, presented: Presented, seconds: u64) -> (LinkId, Heard) {
        let id = self.connect(Transport::WebSocket, presented, 0, seconds);
        let heard = self.say(id, full(), seconds);
        (id, heard)
    }

    /// A message of this link is lost.
    pub(crate) fn skip(&mut self, id: LinkId) {
        *self.sequences.get_mut(&id).unwrap() += 1;
    }

    /// The last message of this link comes once more.
    pub(crate) fn repeat(&mut self, id: LinkId) {
        *self.sequences.get_mut(&id).unwrap() -= 1;
    }

    pub(crate) fn say(&mut self, id: LinkId, message: AgentToServer, seconds: u64) -> Heard {
        let sequence = self.sequences.get_mut(&id).unwrap();
        let message = AgentToServer {
            sequence_num: *sequence,
            ..message
        };
        *sequence += 1;
        let (reply, mut transitions) = self.agent.hear(id, &message, at(seconds));
        let wish = Wish {
            target: Some(&self.target),
            trust: self.trust.as_ref(),
            hold: self.hold,
        };
        let (reply, step) = self.agent.answer(id, reply, &wish, at(seconds));
        transitions.extend(step.transitions);
        Heard {
            reply,
            transitions,
            until: step.until,
        }
    }

    pub(crate) fn refresh(&mut self, id: LinkId, seconds: u64) -> Step {
        let wish = Wish {
            target: Some(&self.target),
            trust: self.trust.as_ref(),
            hold: self.hold,
        };
        self.agent.refresh(id, &wish, at(seconds))
    }

    pub(crate) fn leave(&mut self, id: LinkId, seconds: u64) {
        self.agent.detach(id, at(seconds));
    }

    /// Shows the settings of the current revision.
    pub(crate) fn marked(&self) -> Presented {
        Presented {
            marker: Some(self.target.current.marker()),
            ..Presented::default()
        }
    }
}

/// Shows no credential.
pub(crate) fn nothing() -> Presented {
    Presented::default()
}

/// Full state with these capabilities.
pub(crate) fn able(capabilities: u64) -> AgentToServer {
    AgentToServer {
        capabilities,
        ..full()
    }
}

/// Shows this token.
pub(crate) fn token(value: &str) -> Presented {
    Presented::new(Vec::new(), Some(format!("Bearer {value}").as_bytes()), None)
}

/// An unknown agent and the first revision.
pub(crate) fn bench() -> Bench {
    Bench::new(World::new().revision(1))
}

/// A profile that wants everybody.
pub(crate) fn candidate(profile: &ProfileKey) -> Candidate {
    Candidate {
        profile: profile.clone(),
        priority: 0,
        admin: false,
        selector: Arc::default(),
    }
}

/// How the agent proved what it runs.
pub(crate) fn evidence(bench: &Bench) -> Option<Evidence> {
    bench.agent.record().proved.map(|proved| proved.evidence)
}
