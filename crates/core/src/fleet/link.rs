//! What one connection showed.

use std::time::Duration;

use opamp_operator_api::agent::Transport;
use opamp_wire::proto::ConnectionSettingsStatuses;

use crate::{
    identity::{Presented, Rights, Verdict},
    offer::WireHash,
};

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

/// A connection of an agent.
#[derive(Clone, Debug)]
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
    pub(super) attached: Duration,
    pub(super) last_message: Duration,
    pub(super) sequence: Option<u64>,
    pub(super) full_state: FullState,
    /// The last capabilities seen on this link; none before a non-zero value.
    pub(super) capabilities_known: bool,
    pub(super) offered: Vec<WireHash>,
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
            attached,
            last_message: attached,
            sequence: None,
            full_state: FullState::NotYet,
            capabilities_known: false,
            offered: Vec::new(),
            reported: None,
        }
    }

    /// A message was heard.
    pub(super) fn heard(&mut self, sequence: u64, now: Duration) {
        self.last_message = now;
        self.sequence = Some(sequence);
    }

    /// Whether the first message has been answered.
    #[must_use]
    pub fn greeted(&self) -> bool {
        self.sequence.is_some()
    }
}
