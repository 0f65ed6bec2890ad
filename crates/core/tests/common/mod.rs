//! What the tests of the laws share: certificates, a small world of objects
//! that a profile names, and a bench on which one agent comes and goes.

mod bench;
mod world;

pub(crate) use bench::{
    Bench, CAPABLE, able, bench, candidate, evidence, full, nothing, reported, token, uid,
};
pub(crate) use world::{Ca, Issue, Pair, STRONG_TOKEN, World, opaque, tls_secret};

use std::time::Duration;

use jiff::Timestamp;
use opamp_operator_core::{Now, offer::Revision};
use opamp_wire::{
    InstanceUid, Message as _, OfferBytes, Reply,
    proto::{ConnectionSettingsOffers, ServerToAgent},
};

/// The moment `seconds` after every test's beginning.
pub(crate) fn at(seconds: u64) -> Now {
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    Now {
        wall: start + Duration::from_secs(seconds),
        uptime: Duration::from_secs(seconds),
    }
}

/// What an agent reads of an offer.
pub(crate) fn decode(offer: OfferBytes) -> ConnectionSettingsOffers {
    let reply = Reply {
        offer: Some(offer),
        ..Reply::new(InstanceUid::from_bytes([1; 16]))
    };
    let message = ServerToAgent::decode(reply.to_body()).unwrap();
    message.connection_settings.unwrap()
}

/// What an agent reads of a revision's first offer.
pub(crate) fn offered(revision: &Revision) -> ConnectionSettingsOffers {
    decode(revision.offer(0))
}
