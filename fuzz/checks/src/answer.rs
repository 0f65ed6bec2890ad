//! What every answer must be, and what the laws say of the offer in it.

use std::{collections::HashMap, time::Duration};

use opamp_operator_core::{
    Now,
    catalog::Target,
    fleet::{Agent, Link, LinkId, Transition, Transport},
    offer::Revision,
};
use opamp_wire::{
    AgentCapabilities, Message as _, OfferBytes, Reply, ServerCapabilities, decode_frame,
    proto::ServerToAgent,
};

use crate::world::WORLD;

/// Largest answer without an offer, and what is around one.
const SMALL: usize = 64;
/// Largest `opamp` section.
pub(crate) const MAX_SECTION: usize = 256 * 1024;
/// Retries have hashes of their own; nobody gets further in a story.
const RETRIES: u32 = 64;

/// What left, or would have.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) until: Option<Duration>,
    pub(crate) transitions: Vec<Transition>,
    /// A message, which was the first of its link or not; none for a push.
    pub(crate) answers: Option<bool>,
}

/// An offer that left.
struct Sent {
    at: Duration,
    link: LinkId,
    hash: Vec<u8>,
}

/// What was seen of one agent.
#[derive(Default)]
pub(crate) struct Watch {
    offers: Vec<Sent>,
    /// What it last said that it can do, on each link.
    capabilities: HashMap<LinkId, AgentCapabilities>,
}

impl Watch {
    pub(crate) fn heard(&mut self, link: LinkId, capabilities: u64) {
        if capabilities != 0 {
            self.capabilities.insert(link, capabilities.into());
        }
    }

    /// Judges an answer; the hash of the offer in it, if there is one.
    pub(crate) fn judge(
        &mut self,
        agent: &Agent,
        link: LinkId,
        answer: &Answer,
        target: Option<&Target>,
        now: Now,
    ) -> Option<Vec<u8>> {
        let message = decode(&answer.reply);
        let link = agent.link(link).expect("the link that was answered");
        well_formed(&message, agent, link, answer.answers);
        let again = answer.until;
        assert!(
            again.is_none_or(|until| now.uptime < until),
            "law 10: again at once"
        );
        bounded(agent);
        silent(agent, answer);
        let offers = message.connection_settings?;
        let hash = offers.hash.to_vec();
        let offer = answer.reply.offer.as_ref().expect("what was read");
        self.offered(agent, link, (&hash, offer), target, now);
        Some(hash)
    }

    fn offered(
        &mut self,
        agent: &Agent,
        link: &Link,
        (hash, offer): (&[u8], &OfferBytes),
        target: Option<&Target>,
        now: Now,
    ) {
        let said = self.capabilities.get(&link.id);
        let capable = said.is_some_and(|said| said.accepts_opamp_connection_settings());
        assert!(capable, "law 1");
        assert!(!link.shared, "law 2: on a shared link");
        let home = agent.namespace() == "a";
        let proved = !link.verdict.proves_nothing();
        assert!(home && proved, "law 2: nobody proved to be at home there");

        let target = target.expect("law 2: no profile applies");
        assert!(!target.paused, "offered while the profile is paused");
        let record = agent.record();
        let identity = link.verdict.primary.as_ref().or(record.binding.as_ref());
        let revision = target.revision_for(agent.uid(), identity, record.attributes.as_ref());
        let revision = revision.expect("law 5: nothing is open to this agent");
        let is = |retry: u32| revision.hash(retry).as_bytes()[..] == *hash;
        let retry = (0..=RETRIES).find(|retry| is(*retry));
        let retry = retry.expect("law 3: another revision");
        assert!(*offer == revision.offer(retry), "law 3: another offer");
        let end = revision.credential().not_after;
        assert!(end.is_none_or(|end| now.wall < end), "law 4: it has ended");
        self.calm(link, hash, revision, now);
    }

    /// Laws 5 and 8.
    fn calm(&mut self, link: &Link, hash: &[u8], revision: &Revision, now: Now) {
        let shows = link.presented.marker == Some(revision.marker());
        assert!(!shows, "law 8: it shows what it is offered");
        let (at, link, transport) = (now.uptime, link.id, link.transport);
        if let Some(last) = self.offers.last() {
            assert!(last.at + Duration::from_secs(15) <= at, "law 5: in a row");
        }
        let here = |sent: &&Sent| sent.link == link && sent.hash == hash;
        if let Some(before) = self.offers.iter().rev().find(here) {
            assert_eq!(transport, Transport::Http, "law 5: twice on one link");
            assert!(before.at + Duration::from_secs(60) <= at, "law 5: repeated");
        }
        self.offers.push(Sent {
            at,
            link,
            hash: hash.to_vec(),
        });
        for (earlier, sent) in self.offers.iter().enumerate() {
            let earned = at.saturating_sub(sent.at).as_secs() / 600;
            let count = u64::try_from(self.offers.len() - earlier).unwrap_or(u64::MAX);
            assert!(count <= 10 + earned, "law 5: {count} offers");
        }
    }
}

fn decode(reply: &Reply) -> ServerToAgent {
    let body = reply.to_body();
    let offer = reply.offer.as_ref().map_or(0, OfferBytes::len);
    assert!(body.len() <= SMALL + offer, "law 10: {} bytes", body.len());
    assert!(offer <= SMALL + MAX_SECTION, "law 10: {offer} bytes");
    let message = ServerToAgent::decode(body).expect("an answer is readable");
    let framed = decode_frame(reply.to_frame()).expect("an answer is readable");
    assert!(message == framed, "two transports, two answers");
    message
}

/// M01 to M07, as far as they are about every answer.
fn well_formed(message: &ServerToAgent, agent: &Agent, link: &Link, first: Option<bool>) {
    assert_eq!(message.instance_uid, agent.uid().to_bytes(), "M03");
    let says = first == Some(true) || (first.is_some() && link.transport == Transport::Http);
    let ours = if says { ServerCapabilities::OURS } else { 0 };
    assert_eq!(message.capabilities, ours, "M04");
    assert!(message.flags <= 1, "only ReportFullState is ever asked");
    let only = ServerToAgent {
        instance_uid: message.instance_uid.clone(),
        capabilities: message.capabilities,
        flags: message.flags,
        agent_identification: message.agent_identification.clone(),
        connection_settings: message.connection_settings.clone(),
        ..ServerToAgent::default()
    };
    assert!(*message == only, "M02: more than there is to say");
}

/// Law 10, of what is kept of an agent.
fn bounded(agent: &Agent) {
    let record = agent.record();
    assert!(record.offered.len() <= 32);
    let attributes = record.attributes.unwrap_or_default();
    for kept in [attributes.identifying, attributes.non_identifying] {
        assert!(kept.len() <= 64, "{} attributes", kept.len());
        for (key, value) in kept {
            assert!(key.len() <= 1024 && value.len() <= 1024);
        }
    }
}

/// Law 7, of what is kept, told and printed; what an agent calls itself is
/// told as it is.
fn silent(agent: &Agent, answer: &Answer) {
    if answer.transitions.is_empty() {
        return;
    }
    let mut record = agent.record();
    record.attributes = None;
    let printed = format!("{record:?} {:?} {:?}", answer.transitions, answer.reply);
    for secret in WORLD.secrets() {
        assert!(!printed.contains(secret), "law 7: {printed}");
    }
    for transition in &answer.transitions {
        if let Transition::Failed(text) = transition {
            assert!(text.chars().count() <= 256, "law 10: {text}");
            let plain = |c: char| !c.is_control() && (c == '…' || c.is_ascii());
            assert!(text.chars().all(plain), "law 7: {text:?}");
        }
    }
}
