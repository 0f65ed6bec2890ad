//! The server between an agent's bytes and the core, without sockets and
//! clocks, and the laws as seen from outside.

use std::{collections::HashMap, time::Duration};

use opamp_operator::hub::{Roster, SharedAgent};
use opamp_operator_core::{
    Now,
    catalog::{Choice, Target},
    fleet::{Agent, Link, LinkId, Step, Transport, Wish},
    identity::{Inquiry, Presented, Proof, Verdict},
    offer::Revision,
};
use opamp_wire::{
    BodyError, Encoding, InstanceUid, Message as _, Reply, decode_frame, decompress,
    proto::AgentToServer,
};
use rustls_pki_types::CertificateDer;

use crate::{
    answer::{Answer, Watch},
    wish::{PUBLISHED, Wished},
    world::at,
};

/// Up to here a body is unpacked at once, and in any case: the bounds of the
/// server by default.
const SMALL: usize = 16 * 1024;
const LARGE: usize = 1024 * 1024;
/// Agents that are remembered.
const MAX_AGENTS: usize = 3;
const MAX_OF_IDENTITY: usize = 2;
/// What a clone is to call itself from now on.
const NEW_UID: InstanceUid = InstanceUid::from_bytes([9; 16]);
/// `AgentToServerFlags_RequestInstanceUid`.
const REQUEST_INSTANCE_UID: u64 = 1;
/// How long an agent nobody remembers waits, where it does.
const HOLD: Duration = Duration::from_secs(15);

/// What a connection shows: certificates, and the values of the headers
/// `Authorization` and `OpAMP-Settings-Hash`.
#[derive(Default)]
pub(crate) struct Shown(
    pub(crate) Vec<CertificateDer<'static>>,
    pub(crate) Option<Vec<u8>>,
    pub(crate) Option<Vec<u8>>,
);

/// A connection that was let in.
struct Connection {
    transport: Transport,
    presented: Presented,
    verdict: Verdict,
    /// Of a WebSocket, once it has spoken.
    attached: Option<(SharedAgent, LinkId)>,
}

pub(crate) struct Server {
    roster: Roster,
    wished: Wished,
    seconds: u64,
    /// The last one speaks; those before it are still there.
    connections: Vec<Connection>,
    watches: HashMap<(InstanceUid, String), Watch>,
    /// Hashes of all offers, in their order.
    offers: Vec<Vec<u8>>,
    sequence: u64,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            roster: Roster::new(MAX_AGENTS, MAX_OF_IDENTITY),
            wished: Wished::from(0),
            seconds: 0,
            connections: Vec::new(),
            watches: HashMap::new(),
            offers: Vec::new(),
            sequence: 0,
        }
    }

    pub(crate) fn revision(at: usize) -> &'static Revision {
        &PUBLISHED.revisions[at]
    }

    pub(crate) fn offers(&self) -> &[Vec<u8>] {
        &self.offers
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence
    }

    fn now(&self) -> Now {
        at(self.seconds)
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.seconds += seconds;
    }

    pub(crate) fn wish(&mut self, wished: Wished) {
        self.wished = wished;
        self.refresh();
    }

    /// Somebody connects, and is let in or not.
    pub(crate) fn connect(&mut self, transport: Transport, shown: Shown) {
        let Shown(chain, authorization, marker) = shown;
        let (authorization, marker) = (authorization.as_deref(), marker.as_deref());
        let presented = Presented::new(chain, authorization, marker);
        let (trust, now) = (&PUBLISHED.trust, self.now());
        let Inquiry::Known(bearer) = trust.inquire(&presented, authorization, now) else {
            panic!("there is nobody to ask");
        };
        self.sequence = 0;
        if let Proof::Proved(verdict) = trust.verify(&presented, &bearer, now) {
            self.connections.push(Connection {
                transport,
                presented,
                verdict,
                attached: None,
            });
        }
    }

    /// The connection that speaks ends.
    pub(crate) fn close(&mut self) {
        let closed = self.connections.pop();
        // A poll's link does not end with its connection.
        if let Some((agent, id)) = closed.and_then(|closed| closed.attached) {
            self.detach(&agent, id);
        }
    }

    fn detach(&self, agent: &SharedAgent, id: LinkId) {
        let mut agent = agent.lock();
        let step = agent.detach(id, self.now());
        self.roster.note(&agent, &step.transitions);
    }

    pub(crate) fn tick(&mut self) {
        self.roster.tick(self.now());
    }

    /// A body or, without its header, a frame.
    pub(crate) fn receive(&mut self, encoding: Encoding, body: &[u8]) {
        let Some(connection) = self.connections.last() else {
            return;
        };
        let message = match connection.transport {
            Transport::WebSocket => frame(body),
            Transport::Http => unpack(encoding, body),
        };
        let Some(message) = message else { return };
        self.sequence = self.sequence.wrapping_add(1);
        let Ok(uid) = InstanceUid::try_from(&message.instance_uid[..]) else {
            return;
        };
        // It is answered with another name, and nothing is kept under this one.
        let renames = message.flags & REQUEST_INSTANCE_UID != 0;
        if renames && message.agent_disconnect.is_none() {
            return;
        }
        let attached = match connection.transport {
            Transport::WebSocket => self.socket(uid),
            Transport::Http => self.poll(uid, &message),
        };
        let Some((agent, id)) = attached else { return };
        let contradicts = agent.lock().contradiction(id, &message).is_some();
        if !contradicts {
            self.exchange(&agent, id, &message);
        }
        if contradicts || message.agent_disconnect.is_some() {
            self.detach(&agent, id);
            if let Some(connection) = self.connections.last_mut() {
                connection.attached = None;
            }
        }
    }

    fn attach(&mut self, uid: InstanceUid) -> Option<(SharedAgent, LinkId)> {
        let now = self.now();
        let Connection {
            transport,
            presented,
            verdict,
            ..
        } = self.connections.last()?;
        let (presented, verdict) = (presented.clone(), verdict.for_uid(uid));
        let shared = self.roster.find(uid, &verdict, now)?;
        let id = self.roster.link_id();
        let mut agent = shared.lock();
        let seat = self.roster.seat(&agent, &verdict)?;
        let link = Link::new(id, *transport, presented, verdict, now.uptime);
        let step = agent.attach(link, now)?;
        seat.take(&agent);
        self.roster.note(&agent, &step.transitions);
        drop(agent);
        Some((shared, id))
    }

    /// The link of a WebSocket; none for the second agent of a gateway.
    fn socket(&mut self, uid: InstanceUid) -> Option<(SharedAgent, LinkId)> {
        let attached = match self.connections.last()?.attached.clone() {
            None => self.attach(uid)?,
            Some((agent, id)) if agent.lock().uid() != uid => {
                agent.lock().mark_shared(id);
                return None;
            }
            Some(attached) => attached,
        };
        self.connections.last_mut()?.attached = Some(attached.clone());
        Some(attached)
    }

    /// The link that a poll continues, or a new one in its place.
    fn poll(&mut self, uid: InstanceUid, message: &AgentToServer) -> Option<(SharedAgent, LinkId)> {
        let Connection {
            presented, verdict, ..
        } = self.connections.last()?;
        let verdict = verdict.for_uid(uid);
        let shared = self.roster.find(uid, &verdict, self.now())?;
        let agent = shared.lock();
        let described = message.agent_description.is_some();
        let polls = |link: &&Link| link.transport == Transport::Http;
        let continues = |link: &&Link| {
            link.presented == *presented && !(described && link.begins_anew(message.sequence_num))
        };
        let links = || agent.links().iter().filter(polls);
        if let Some(id) = links().find(continues).map(|link| link.id) {
            drop(agent);
            return Some((shared, id));
        }
        let old: Vec<_> = links().map(|link| link.id).collect();
        drop(agent);
        let (shared, id) = self.attach(uid)?;
        for old in old {
            let gives_way = shared.lock().gives_way(old, id);
            if gives_way {
                self.detach(&shared, old);
            }
        }
        Some((shared, id))
    }

    fn exchange(&mut self, shared: &SharedAgent, id: LinkId, message: &AgentToServer) {
        let now = self.now();
        let mut agent = shared.lock();
        let first = agent.link(id).is_some_and(|link| !link.greeted());
        let (reply, transitions) = agent.hear(id, message, now);
        self.roster.note(&agent, &transitions);
        let target = self.settle(&mut agent, id);
        let (mut reply, step) = agent.answer(id, reply, &self.as_wish(target.as_ref()), now);
        reply.new_instance_uid = step.rename.then_some(NEW_UID);
        self.roster.note(&agent, &step.transitions);
        drop(agent);
        let watch = self.watch(shared);
        watch.heard(id, message.capabilities);
        let answer = Answer {
            reply,
            until: step.until,
            transitions: [transitions, step.transitions].concat(),
            answers: Some(first),
        };
        self.judge(shared, id, &answer, target.as_ref());
    }

    /// Something changed, or time passed: those who keep a connection are told.
    pub(crate) fn refresh(&mut self) {
        let attached: Vec<_> = self
            .connections
            .iter()
            .filter(|connection| connection.transport == Transport::WebSocket)
            .filter_map(|connection| connection.attached.clone())
            .collect();
        for (shared, id) in attached {
            let now = self.now();
            let mut agent = shared.lock();
            let target = self.settle(&mut agent, id);
            let step = agent.refresh(id, &self.as_wish(target.as_ref()), now);
            self.roster.note(&agent, &step.transitions);
            let Step {
                push,
                rename,
                transitions,
                until,
            } = step;
            let mut reply = Reply::new(agent.uid());
            reply.offer = push;
            reply.new_instance_uid = rename.then_some(NEW_UID);
            drop(agent);
            let answer = Answer {
                reply,
                until,
                transitions,
                answers: None,
            };
            self.judge(&shared, id, &answer, target.as_ref());
        }
    }

    fn settle(&self, agent: &mut Agent, id: LinkId) -> Option<Target> {
        let candidates = self.wished.candidates(agent.namespace());
        let choice = agent.choose(id, &candidates);
        let transitions = agent.chosen(&choice, self.now());
        self.roster.note(agent, &transitions);
        let chosen = matches!(choice, Choice::Profile(_));
        self.wished.target().filter(|_| chosen)
    }

    fn as_wish<'a>(&self, target: Option<&'a Target>) -> Wish<'a> {
        let holds = self.wished.has(Wished::HOLDS);
        Wish {
            target,
            trust: Some(&PUBLISHED.trust),
            hold: if holds { HOLD } else { Duration::ZERO },
        }
    }

    fn watch(&mut self, agent: &SharedAgent) -> &mut Watch {
        let agent = agent.lock();
        let key = (agent.uid(), agent.namespace().to_owned());
        self.watches.entry(key).or_default()
    }

    fn judge(
        &mut self,
        shared: &SharedAgent,
        id: LinkId,
        answer: &Answer,
        target: Option<&Target>,
    ) {
        let now = self.now();
        // Of each UID one in every namespace where somebody can be at home.
        let known = self.roster.records(&PUBLISHED.profile).len();
        assert!(known <= 2 * MAX_AGENTS, "law 10: {known} agents");
        let watch = self.watch(shared);
        let offered = watch.judge(&shared.lock(), id, answer, target, now);
        self.offers.extend(offered);
    }
}

fn frame(body: &[u8]) -> Option<AgentToServer> {
    let frame = [&[0][..], body].concat();
    decode_frame(frame.into()).ok()
}

/// As the server does: what is small at once, and again what was too large.
fn unpack(encoding: Encoding, body: &[u8]) -> Option<AgentToServer> {
    let body = match decompress(encoding, body, SMALL) {
        Err(BodyError::TooLarge { .. }) => decompress(encoding, body, LARGE),
        small => small,
    };
    AgentToServer::decode(body.ok()?).ok()
}
