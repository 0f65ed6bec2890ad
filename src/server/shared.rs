//! What every connection needs.

use std::{sync::Arc, time::Duration};

use opamp_operator_core::offer::Revision;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limits,
    budget::{Budget, Leave, SMALL},
    quota::Quotas,
    seldom::Seldom,
};
use crate::hub::Hub;

pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) limits: Limits,
    pub(super) budget: Budget,
    pub(super) quotas: Quotas,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
    pub(super) too_large: Seldom,
    pub(super) busy: Seldom,
    pub(super) unsent: Seldom,
}

impl Shared {
    pub(super) fn new(hub: Arc<Hub>, limits: Limits, closing: CancellationToken) -> Self {
        Self {
            hub,
            budget: Budget::new(limits.large_messages, limits.first_message()),
            quotas: Quotas::new(&limits),
            limits,
            tasks: TaskTracker::new(),
            closing,
            too_large: Seldom::default(),
            busy: Seldom::default(),
            unsent: Seldom::default(),
        }
    }

    /// Leave to decode a message of `bytes`; none if there was none in time, or
    /// the server ends.
    pub(super) async fn leave(&self, bytes: usize) -> Option<Leave> {
        if bytes <= SMALL {
            return Some(Leave::SMALL);
        }
        let leave = self.budget.leave();
        self.closing.run_until_cancelled(leave).await?
    }

    /// How long somebody who is refused should wait: between once and twice
    /// the limit, so that those who were refused together do not come back so
    /// (spec section "Throttling").
    pub(super) fn refusal(&self) -> Duration {
        let mut random = [0; 2];
        // Without randomness all come back at once; the answer stays right.
        let _ = getrandom::fill(&mut random);
        let least = self.limits.refusal();
        least + least * u32::from(u16::from_ne_bytes(random)) / (1 << u16::BITS)
    }

    /// An agent sent more than is taken.
    pub(super) fn note_too_large(&self) {
        self.too_large.note(|left_out| {
            tracing::warn!(
                limit = self.limits.message_bytes,
                left_out,
                "an agent's message is larger than limits.messageBytes"
            );
        });
    }

    /// Settings that are larger than we send (T06, T09).
    pub(super) fn note_unsent(&self, revision: &Revision) {
        self.unsent.note(|left_out| {
            tracing::warn!(
                limit = self.limits.sent_bytes,
                profile = %revision.profile(),
                revision = revision.number(),
                bytes = revision.largest(),
                left_out,
                "settings are larger than limits.sentBytes and are not sent"
            );
        });
    }

    /// There was no leave to decode a large message.
    pub(super) fn note_busy(&self) {
        self.busy.note(|left_out| {
            tracing::warn!(
                limit = self.limits.large_messages,
                left_out,
                "limits.largeMessages is reached: a large message was not handled in time"
            );
        });
    }
}
