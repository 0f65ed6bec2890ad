//! The sections beside `opamp` as agents are sent them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use opamp_wire::{AgentCapabilities, OfferBytes, proto::ConnectionSettingsOffers};
use prost::Message as _;

use super::{
    WireHash, hash,
    sections::{Extent, Sections},
};
use crate::identity::{Digest, KeyRing};

/// What one agent is sent beside `opamp`.
#[derive(Clone)]
pub struct Beside {
    /// Of these very sections: what changed has another.
    pub digest: Digest,
    /// The hash that travels with them; no offer of `opamp` has the same, since
    /// a client may skip a hash that it has seen (agents.md H17).
    pub hash: WireHash,
    /// To be sent.
    pub bytes: OfferBytes,
    /// When the first certificate among them ends.
    pub not_after: Option<Timestamp>,
    /// Of these and those that are held back; none if nobody knows them.
    whole: Option<Digest>,
}

impl Beside {
    /// Is there anything in it for an agent that was told this before? Whoever
    /// has all of it has no less while some of it is held back.
    #[must_use]
    pub fn is_news_to(&self, told: Option<Digest>) -> bool {
        told.is_none_or(|told| told != self.digest && self.whole.is_some_and(|whole| told != whole))
    }
}

/// Each form is encoded once, and shared by all agents that can use the same.
#[derive(Default)]
pub(super) struct Encoded(Mutex<BTreeMap<u64, Option<Arc<Beside>>>>);

/// The capabilities that tell the forms apart.
const TELLING: u64 = AgentCapabilities::REPORTS_OWN_METRICS
    | AgentCapabilities::REPORTS_OWN_TRACES
    | AgentCapabilities::REPORTS_OWN_LOGS
    | AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS;

impl Encoded {
    /// For an agent. `all` is the digest of all sections, `opamp` included.
    pub(super) fn of(
        &self,
        sections: &Sections,
        agent: AgentCapabilities,
        keys: &KeyRing,
        all: impl FnOnce() -> hash::SectionsDigest,
    ) -> Option<Arc<Beside>> {
        let mut forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let form = forms.entry(agent.0 & TELLING).or_insert_with(|| {
            let message = sections.of(agent, Extent::Open)?;
            let these = hash::sections_digest(&message.encode_to_vec());
            let whole = sections.of(agent, Extent::Whole);
            let whole = whole.map(|whole| hash::sections_digest(&whole.encode_to_vec()));
            let hash = hash::beside_hash(keys, &all(), &these);
            let bytes = OfferBytes::encode(&ConnectionSettingsOffers {
                hash: hash.as_bytes().to_vec().into(),
                ..message
            });
            Some(Arc::new(Beside {
                digest: hash::beside(keys, &these),
                hash,
                bytes,
                not_after: sections.not_after(agent),
                whole: whole.map(|whole| hash::beside(keys, &whole)),
            }))
        });
        form.clone()
    }
}
