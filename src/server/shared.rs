//! What every connection needs.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opamp_operator_core::offer::Revision;
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limits, Metrics,
    budget::{Budget, Leave, SMALL},
    quota::Quotas,
    seldom::Seldom,
};
use crate::hub::Hub;

/// WebSockets are closed over so long for each, up to [`Shared::closes_within`]:
/// whoever takes their agents takes a hundred a second.
const BETWEEN_CLOSES: Duration = Duration::from_millis(10);

pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) limits: Limits,
    pub(super) budget: Budget,
    pub(super) quotas: Quotas,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
    /// No connection is accepted any more.
    pub(super) closing: CancellationToken,
    /// And those that are here end, from this moment on and over this time.
    leaving: CancellationToken,
    spread: OnceLock<(Instant, Duration)>,
    pub(super) closes_within: Duration,
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
            metrics: Arc::default(),
            limits,
            tasks: TaskTracker::new(),
            closing,
            leaving: CancellationToken::new(),
            spread: OnceLock::new(),
            closes_within: Duration::from_secs(20),
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
        tokio::select! {
            biased;
            leave = self.budget.leave() => leave,
            () = self.closing.cancelled() => None,
        }
    }

    /// Ends the connections that are here, a few at a time.
    pub(super) fn begin_to_leave(&self) {
        self.hub.roster.leave();
        let connections = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        let spread = BETWEEN_CLOSES.saturating_mul(connections);
        let _ = self
            .spread
            .set((Instant::now(), spread.min(self.closes_within)));
        self.leaving.cancel();
    }

    /// Waits until a connection is to end, whose place among all is `place` of
    /// 65,536. Cancel safe.
    pub(super) async fn leaves(&self, place: u16) {
        self.leaving.cancelled().await;
        if let Some((begin, spread)) = self.spread.get() {
            sleep_until(*begin + *spread * u32::from(place) / (1 << u16::BITS)).await;
        }
    }

    /// A number that nobody can choose; 0 if the system gives none.
    pub(super) fn random() -> u16 {
        let mut random = [0; 2];
        let _ = getrandom::fill(&mut random);
        u16::from_ne_bytes(random)
    }

    /// How long somebody who is refused should wait: between once and twice
    /// the limit, so that those who were refused together do not come back so
    /// (spec section "Throttling").
    pub(super) fn refusal(&self) -> Duration {
        // Without randomness all come back at once; the answer stays right.
        let least = self.limits.refusal();
        least + least * u32::from(Self::random()) / (1 << u16::BITS)
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
