//! Stories between agents and the server.

use opamp_wire::{
    Message as _, gzip,
    proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value::Value},
};

use super::{Seed, cut, frame};
use crate::{
    body::{DAYS, HTTP, Op, says},
    wish::Wished,
};

/// A full state, as `says` completes it.
const FULL: u8 = says::UID | says::CAPABLE | says::NEXT | says::DESCRIBED;
const BARE: u8 = says::UID | says::NEXT;
/// A full state of an agent that reports its status and takes nothing.
const INCAPABLE: u8 = BARE | says::DESCRIBED;
const REPORTS: &[u8] = &[0x20, 1];

#[expect(clippy::too_many_lines, reason = "one list of all that are made")]
pub(super) fn seeds() -> Vec<Seed> {
    let agent = frame::agent().encode_to_vec();
    let offered = Story::new().connect(0).says(FULL);
    let failed = offered.clone().says(FULL | says::FAILED | says::QUOTES);
    let mut stories = transports(&agent);
    stories.extend([
        ("empty", Story::new()),
        ("offered", offered.clone()),
        (
            "failed-and-tried-again",
            failed.clone().wait(600).refresh().says(BARE),
        ),
        (
            "applied-as-reported",
            offered
                .clone()
                .close()
                .connect(0)
                .says(FULL | says::APPLIED),
        ),
        (
            "applied-and-said-on-the-old-link",
            offered
                .clone()
                .says(FULL | says::APPLIED)
                .wait(130)
                .refresh(),
        ),
        (
            "applied-as-shown",
            offered
                .clone()
                .close()
                .connect(2)
                .says(FULL)
                .wait(9_000)
                .says(BARE),
        ),
        (
            "offered-without-an-answer",
            (0..12).fold(offered.clone(), |story, _| {
                story.close().wait(22_000).connect(0).says(FULL)
            }),
        ),
        (
            "a-ghost-and-who-comes-after-it",
            offered
                .clone()
                .connect(2)
                .says(FULL)
                .connect(0)
                .says(FULL)
                .close()
                .refresh(),
        ),
        (
            "a-second-revision",
            offered
                .clone()
                .close()
                .connect(2)
                .says(FULL)
                .wish(Wished::SECOND)
                .wait(20)
                .refresh(),
        ),
        (
            "one-first-and-not-this-one",
            Story::new()
                .wish(Wished::SECOND | Wished::ONE)
                .connect(0)
                .says(FULL ^ says::UID ^ says::OTHER_UID)
                .close()
                .connect(0)
                .says(FULL),
        ),
        (
            "closed-paused-held-nothing",
            [
                Wished::CLOSED,
                Wished::PAUSED,
                Wished::HOLDS,
                Wished::NOTHING,
            ]
            .into_iter()
            .fold(Story::new(), |story, wish| {
                story
                    .wish(wish)
                    .connect(0)
                    .says(FULL)
                    .wait(20)
                    .refresh()
                    .close()
            }),
        ),
        (
            "selected-by-what-it-says",
            Story::new()
                .wish(Wished::SELECTS)
                .connect(0)
                .says(FULL)
                .plain(&agent)
                .says_with(FULL, &agent),
        ),
        (
            "incapable",
            Story::new()
                .connect(0)
                .says_with(INCAPABLE, REPORTS)
                .wait(20)
                .refresh(),
        ),
        (
            "capability-taken-back",
            failed
                .clone()
                .says_with(INCAPABLE, REPORTS)
                .wait(700)
                .refresh()
                .says(FULL),
        ),
        ("offered-too-often", offered_too_often()),
        (
            "described-at-length",
            Story::new()
                .connect(0)
                .says_with(FULL, &described_at_length()),
        ),
        (
            "a-gateway",
            offered
                .clone()
                .says(FULL ^ says::UID ^ says::OTHER_UID)
                .wait(700)
                .says(FULL),
        ),
        (
            "nobody-and-a-tenant",
            Story::new()
                .connect(6)
                .says(FULL)
                .connect(1)
                .says(FULL)
                .connect(0)
                .says(FULL),
        ),
        (
            "after-the-certificate",
            offered
                .clone()
                .close()
                .connect(2)
                .says(FULL)
                .days(365)
                .connect(4)
                .says(FULL)
                .days(5)
                .connect(4)
                .says(FULL),
        ),
        (
            "shown-by-parts",
            offered
                .clone()
                .close()
                .connect(4)
                .says(FULL)
                .close()
                .connect(5)
                .says(FULL),
        ),
        (
            "anything-shown",
            Story::new()
                .shows(b"bearer  \xff", b"ZZ")
                .shows(b" ", &[b'a'; 64])
                .says(FULL),
        ),
    ]);
    let whole = stories[0].1.0.clone();
    let mut seeds: Vec<_> = stories
        .into_iter()
        .map(|(name, story)| (name, story.0))
        .collect();
    seeds.push(cut("cut", &whole));
    seeds
}

/// Every twenty seconds it has lost its settings again.
fn offered_too_often() -> Story {
    let come = |story: Story, shows| story.connect(shows).says(FULL).close();
    (0..12).fold(Story::new(), |story, _| come(come(story.wait(20), 0), 2))
}

/// More attributes than are kept, and a value and a key that are too long.
fn described_at_length() -> Vec<u8> {
    let attribute = |key: String, value: String| KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
    };
    let long = || "x".repeat(1_100);
    let many = (0..90).map(|number| attribute(number.to_string(), "v".into()));
    let description = AgentDescription {
        identifying_attributes: many.collect(),
        non_identifying_attributes: vec![
            attribute("long".into(), long()),
            attribute(long(), "v".into()),
        ],
    };
    let message = AgentToServer {
        agent_description: Some(description),
        ..AgentToServer::default()
    };
    message.encode_to_vec()
}

/// What depends on how a body travels.
fn transports(agent: &[u8]) -> Vec<(&'static str, Story)> {
    let poll = Story::new().connect(HTTP);
    let zipped = gzip(agent);
    vec![
        (
            "polls-until-applied",
            poll.clone()
                .says_with(FULL, agent)
                .wait(30)
                .says(BARE)
                .wait(30)
                .says(BARE)
                .wait(60)
                .says(BARE)
                .connect(2 | HTTP)
                .says(FULL),
        ),
        ("polls-compressed", poll.clone().op(Op::Zipped).text(agent)),
        (
            "polls-badly-compressed",
            poll.clone()
                .op(Op::SaidZipped)
                .text(agent)
                .op(Op::SaidZipped)
                .text(&zipped[..zipped.len() - 3])
                .op(Op::SaidZipped)
                .text(&zipped),
        ),
        (
            "polls-a-bomb",
            poll.clone()
                .op(Op::SaidZipped)
                .text(&gzip(&vec![0; 1 << 20])),
        ),
        ("polls-nothing", poll.clone().plain(&[])),
        ("polls-a-short-uid", poll.clone().plain(&[0x0a, 3, 1, 2, 3])),
        (
            "polls-length-too-long",
            poll.clone().plain(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
        (
            "polls-and-begins-anew",
            poll.clone()
                .says(FULL)
                .says(FULL)
                .says_with(FULL ^ says::NEXT, agent)
                .tick(),
        ),
        (
            "polls-and-is-silent",
            poll.clone()
                .says(FULL)
                .wait(200)
                .tick()
                .wait(200)
                .tick()
                .says(BARE),
        ),
        (
            "polls-and-leaves",
            // `agent_disconnect`, field 9.
            poll.says(FULL).says_with(BARE, &[0x4a, 0]).wait(130).tick(),
        ),
        (
            "a-socket-as-well",
            Story::new()
                .connect(HTTP)
                .says(FULL)
                .connect(0)
                .says(FULL)
                .connect(2)
                .says(FULL),
        ),
        (
            "more-agents-than-places",
            (0..8).fold(Story::new().connect(HTTP), |story, number| {
                story.plain(&[&[0x0a, 16][..], &[number; 16]].concat())
            }),
        ),
    ]
}

/// Bytes that `body` reads as steps.
#[derive(Clone)]
struct Story(Vec<u8>);

impl Story {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn op(mut self, op: Op) -> Self {
        self.0.push(op as u8);
        self
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    fn text(mut self, text: &[u8]) -> Self {
        let length = u16::try_from(text.len()).expect("a seed is small");
        self.0.extend(length.to_le_bytes());
        self.0.extend(text);
        self
    }

    fn wait(mut self, seconds: u16) -> Self {
        self.0.push(Op::Wait as u8);
        self.0.extend(seconds.to_le_bytes());
        self
    }

    fn days(self, days: u16) -> Self {
        self.wait(DAYS + days)
    }

    fn connect(self, shows: u8) -> Self {
        self.op(Op::Connect).byte(shows)
    }

    fn shows(self, authorization: &[u8], marker: &[u8]) -> Self {
        self.connect(7).text(authorization).text(marker)
    }

    fn plain(self, body: &[u8]) -> Self {
        self.op(Op::Plain).text(body)
    }

    fn says(self, what: u8) -> Self {
        self.says_with(what, &[])
    }

    fn says_with(self, what: u8, body: &[u8]) -> Self {
        self.op(Op::Says).byte(what).text(body)
    }

    fn wish(self, wish: u8) -> Self {
        self.op(Op::Wish).byte(wish)
    }

    fn close(self) -> Self {
        self.op(Op::Other).byte(0)
    }

    fn tick(self) -> Self {
        self.op(Op::Other).byte(1)
    }

    fn refresh(self) -> Self {
        self.op(Op::Other).byte(2)
    }
}
