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
    /// As each of the operator's keys makes it, the newest first.
    known: Vec<Digest>,
    /// The same of these and those that are held back; empty if nobody knows
    /// them.
    whole: Vec<Digest>,
}

impl Beside {
    /// Does the digest name these sections, or these with those that are held
    /// back, also if it is from before the operator's key was renewed?
    #[must_use]
    pub fn is(&self, digest: Digest) -> bool {
        self.known.contains(&digest) || self.whole.contains(&digest)
    }

    /// Is there anything in it for an agent that was told this before? Whoever
    /// has all of it has no less while some of it is held back; and whether one
    /// has what nobody knows cannot be said.
    #[must_use]
    pub fn is_news_to(&self, told: Option<Digest>) -> bool {
        told.is_none_or(|told| !self.is(told) && !self.whole.is_empty())
    }

    /// What was told, by the newest key.
    #[must_use]
    pub fn renewed(&self, told: Digest) -> Digest {
        let names = [&self.known, &self.whole];
        let name = names.into_iter().find(|name| name.contains(&told));
        let newest = name.and_then(|name| name.first());
        newest.copied().unwrap_or(told)
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
                known: hash::beside_by_each(keys, &these),
                whole: whole.map_or_else(Vec::new, |whole| hash::beside_by_each(keys, &whole)),
            }))
        });
        form.clone()
    }
}
