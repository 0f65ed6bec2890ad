//! What one connection showed.

use std::time::Duration;

use opamp_operator_api::agent::Transport;
use opamp_wire::{AgentCapabilities, proto::ConnectionSettingsStatuses};

use crate::{
    identity::{Digest, Marker, Presented, Rights, Verdict},
    offer::WireHash,
};

/// Between two requests for an agent's full state on one link.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Numbers links in the order in which they were made, across all agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Whether the agent has said all that it would of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FullState {
    /// Only what changed, so far.
    NotYet,
    /// It has, at some time.
    Heard,
    /// It began with that, and with a restarted sequence.
    Fresh,
}

/// Whether every message was heard, and what was done about those that were not.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Sequence number of the last message.
    last: Option<u64>,
    /// A message was lost, and the agent's full state was not heard since.
    lost: bool,
    /// When it was last asked for its full state, and if ever for a loss.
    asked: Option<Duration>,
    asked_for_lost: bool,
}

/// A connection of an agent.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and none excludes another"
)]
pub struct Link {
    /// Which.
    pub id: LinkId,
    /// How.
    pub transport: Transport,
    /// Credentials and marker.
    pub presented: Presented,
    /// Whom they prove.
    pub verdict: Verdict,
    /// What it may be given; settled when it is attached to its agent.
    pub rights: Rights,
    /// Several instances share it (a gateway): what it shows is not the agent's.
    pub shared: bool,
    /// Its agent came back on another link, with what it was offered here.
    pub(super) followed: bool,
    /// What it shows would be admitted again.
    pub(super) returns: bool,
    /// Where its agent says that it runs.
    pub(super) place: Option<super::clones::Place>,
    /// Whether its messages come from there.
    pub(super) places: super::clones::Places,
    /// When its agent was told to take another instance UID.
    pub(super) renamed: Option<Duration>,
    pub(super) attached: Duration,
    pub(super) last_message: Duration,
    heard: Heard,
    pub(super) full_state: FullState,
    /// The last capabilities seen on this link; none before a non-zero value.
    pub(super) capabilities: Option<AgentCapabilities>,
    /// The settings for OpAMP that were offered here, and at which attempt.
    pub(super) offered: Vec<(Marker, u32)>,
    /// What was sent here last beside `opamp`, and its hash.
    pub(super) told: Option<Digest>,
    pub(super) told_hash: Option<WireHash>,
    /// It was reported as failed: said again it is no second failure.
    pub(super) told_failed: bool,
    /// Status and hash as reported on this link.
    pub(super) reported: Option<(ConnectionSettingsStatuses, Vec<u8>)>,
}

impl Link {
    /// A link that was just made.
    #[must_use]
    pub fn new(
        id: LinkId,
        transport: Transport,
        presented: Presented,
        verdict: Verdict,
        attached: Duration,
    ) -> Self {
        Self {
            id,
            transport,
            presented,
            verdict,
            rights: Rights::Recognised(Vec::new()),
            shared: false,
            followed: false,
            returns: true,
            place: None,
            places: super::clones::Places::One,
            renamed: None,
            attached,
            last_message: attached,
            heard: Heard::default(),
            full_state: FullState::NotYet,
            capabilities: None,
            offered: Vec::new(),
            told: None,
            told_hash: None,
            told_failed: false,
            reported: None,
        }
    }

    /// A message was heard, with or without the agent's description.
    pub(super) fn heard(&mut self, sequence: u64, described: bool, now: Duration) {
        let last = self.heard.last.replace(sequence);
        let gap = last.is_some_and(|last| sequence != last.wrapping_add(1));
        self.heard.lost = gap || (self.heard.lost && !described);
        self.last_message = now;
    }

    /// Over HTTP: is this the last message once more, to which no answer came?
    pub(super) fn repeats(&self, sequence: u64) -> bool {
        self.transport == Transport::Http && self.heard.last == Some(sequence)
    }

    /// Ask the agent for its full state now, since something of it is
    /// `unknown` or was lost? At once for the first reason and for the first
    /// loss, then now and then: a client whose answer mends nothing would
    /// answer at once again, for ever.
    pub(super) fn asks(&mut self, unknown: bool, now: Duration) -> bool {
        let heard = &mut self.heard;
        let first_loss = heard.lost && !heard.asked_for_lost;
        let due = heard.asked.is_none_or(|asked| asked + ASK_AGAIN <= now);
        let asks = first_loss || (due && (unknown || heard.lost));
        if asks {
            heard.asked = Some(now);
            heard.asked_for_lost |= heard.lost;
        }
        asks
    }

    /// Whether a message with this number would begin the sequence anew.
    #[must_use]
    pub fn begins_anew(&self, sequence: u64) -> bool {
        self.heard.last.is_some_and(|last| sequence <= last)
    }

    /// Whether the first message has been heard.
    #[must_use]
    pub fn greeted(&self) -> bool {
        self.heard.last.is_some()
    }
}
