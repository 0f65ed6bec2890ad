//! Two instances with one instance UID: a disk image that was copied, an agent
//! started twice (spec section "Duplicate instance_uid Detection").

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use opamp_wire::proto::AgentToServer;

use super::{Agent, Link, LinkId, Transport, hear::claims};
use crate::Now;

/// Two links live for longer than this are no agent that changes links.
const BOTH_LIVE: Duration = Duration::from_secs(60);
/// A clone that does not take its new instance UID is told again.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Attributes that tell where an agent runs; two values are two agents.
const WHERE: [&str; 3] = ["host.id", "host.name", "k8s.pod.uid"];

/// Where an agent runs, as far as it is known.
pub(super) type Place = BTreeMap<&'static str, String>;

/// Where the messages of a link come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// One place.
    One,
    /// Another than the first ones: perhaps it has a new name.
    Moved,
    /// From the first again after another: two agents; whether the last message
    /// was the other's.
    Two { other: bool },
}

/// Where a message says that its agent runs, or whoever vouches for it says.
pub(super) fn place(link: &Link, message: &AgentToServer) -> Option<Place> {
    let claimed = claims(message, &WHERE)?;
    let vouched = link.verdict.vouched.as_ref();
    let known = |key: &'static str| {
        let vouched = vouched.and_then(|vouched| vouched.attributes.get(key));
        Some((key, vouched.or_else(|| claimed.get(key))?.clone()))
    };
    Some(WHERE.into_iter().filter_map(known).collect())
}

fn differ(one: &Place, other: &Place) -> bool {
    one.iter()
        .any(|(key, value)| other.get(key).is_some_and(|other| other != value))
}

impl Agent {
    /// Takes in where a message says that its agent runs. Over HTTP two agents
    /// that show the same look like one link: they are told apart when the
    /// first place is named again after a second one.
    pub(super) fn hear_place(&mut self, id: LinkId, message: &AgentToServer) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        let Some(place) = place(link, message) else {
            return;
        };
        let first = link.place.get_or_insert_with(|| place.clone());
        if link.transport == Transport::WebSocket {
            *first = place;
            return;
        }
        link.places = match (link.places, differ(first, &place)) {
            (Places::One | Places::Moved, true) => Places::Moved,
            (Places::One, false) => Places::One,
            (Places::Moved, false) => Places::Two { other: false },
            (Places::Two { .. }, other) => Places::Two { other },
        };
    }

    /// Does another live link say that it runs elsewhere?
    pub(super) fn is_disputed(&self, link: &Link) -> bool {
        matches!(link.places, Places::Two { .. }) || self.rivals(link).next().is_some()
    }

    fn rivals<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = &'a Link> {
        let elsewhere = move |other: &&Link| {
            let places = link.place.as_ref().zip(other.place.as_ref());
            other.id != link.id && places.is_some_and(|(one, other)| differ(one, other))
        };
        self.links.iter().filter(elsewhere)
    }

    /// Must whoever is on this link get another instance UID? Of two the newer,
    /// unless it proves more. Until that shows, `until` says when to look.
    pub(super) fn rename(&mut self, id: LinkId, now: Now, until: &mut Option<Duration>) -> bool {
        let Some(link) = self.links.iter().find(|link| link.id == id) else {
            return false;
        };
        let rank = |link: &Link| (link.rights.strength(), Reverse(link.id));
        let rivals: Vec<_> = self
            .rivals(link)
            .filter(|rival| rank(rival) > rank(link))
            .map(|rival| rival.attached.max(link.attached) + BOTH_LIVE)
            .collect();
        let mut due = rivals.into_iter().min();
        if link.places == (Places::Two { other: true }) {
            due = Some(now.uptime);
        }
        let Some(due) = due else { return false };
        let due = link.renamed.map_or(due, |told| due.max(told + TELL_AGAIN));
        if due > now.uptime {
            *until = crate::earliest(*until, Some(due));
            return false;
        }
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            link.renamed = Some(now.uptime);
        }
        true
    }
}
