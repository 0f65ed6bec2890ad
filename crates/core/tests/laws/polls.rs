//! Agents that poll, each at its own pace, and the rollout between them: a day
//! of the server's and the controller's part, second by second.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::values::{Identity, IdentityMethod};
use opamp_operator_core::{
    Now,
    catalog::{Bound, Target},
    fleet::{Agent, AgentRecord, Link, LinkId, Transport, Wish},
    identity::{Presented, Verdict},
    offer::Revision,
    rollout::{Rollout, plan},
};
use opamp_wire::proto::AgentToServer;

use crate::common::{Bench, World, at, full, uid};

const HOUR: u64 = 3_600;
const TIMEOUT: Duration = Duration::from_secs(120);

/// An agent that takes what it is offered.
struct Poller {
    agent: Agent,
    every: u64,
    next: u64,
    /// It connects with new settings at once; else at its next poll.
    eager: bool,
    shows: Presented,
    sequence: u64,
}

impl Poller {
    /// As the server does: the new link first, then the old one goes.
    fn connect(&mut self, links: &mut u64, now: Now) -> LinkId {
        let old: Vec<_> = self.agent.links().iter().map(|link| link.id).collect();
        *links += 1;
        let (id, shows) = (LinkId(*links), self.shows.clone());
        let link = Link::new(id, Transport::Http, shows, verdict(), now.uptime);
        self.agent.attach(link, now).unwrap();
        for old in old {
            self.agent.detach(old, now);
        }
        id
    }
}

struct Fleet {
    pollers: Vec<Poller>,
    revision: Arc<Revision>,
    previous: Option<Arc<Revision>>,
    rollout: Rollout,
    /// When to plan; a second after something changed.
    due: Option<u64>,
    links: u64,
}

impl Fleet {
    fn new(count: u64, every: u64, revision: Arc<Revision>) -> Self {
        let poller = |i: u64| Poller {
            agent: Agent::new(uid(u8::try_from(i + 1).unwrap()), "a", at(0)),
            every,
            next: 5 + i * every / count,
            eager: i.is_multiple_of(2),
            shows: Presented::default(),
            sequence: 0,
        };
        Self {
            pollers: (0..count).map(poller).collect(),
            revision,
            previous: None,
            rollout: Rollout::default(),
            due: Some(0),
            links: 0,
        }
    }

    fn rotate(&mut self, revision: Arc<Revision>, seconds: u64) {
        self.previous = Some(std::mem::replace(&mut self.revision, revision));
        self.due = Some(seconds);
    }

    fn second(&mut self, seconds: u64) {
        for i in 0..self.pollers.len() {
            if self.pollers[i].next == seconds {
                self.poll(i, seconds);
            }
        }
        if seconds.is_multiple_of(30) {
            for poller in &mut self.pollers {
                if !poller.agent.tick(at(seconds)).transitions.is_empty() {
                    self.due = Some(self.due.map_or(seconds + 1, |due| due.min(seconds + 1)));
                }
            }
        }
        if self.due.is_some_and(|due| due <= seconds) {
            let records: Vec<AgentRecord> = self.pollers.iter().map(|p| p.agent.record()).collect();
            let now = at(seconds);
            let (rollout, again) = plan(&self.rollout, &self.revision, &records, TIMEOUT, now);
            self.rollout = rollout;
            self.due = again.map(|again| again.as_secs());
        }
    }

    fn poll(&mut self, i: usize, seconds: u64) {
        let now = at(seconds);
        // Of a revision that was not planned yet the agents know nothing.
        let planned = self.rollout.number == self.revision.number();
        let target = Target {
            current: Arc::clone(&self.revision),
            previous: self.previous.clone(),
            bound: if planned {
                self.rollout.bound()
            } else {
                Bound::Nobody
            },
            paused: false,
        };
        let poller = &mut self.pollers[i];
        let known = poller
            .agent
            .newest_link()
            .filter(|l| l.presented == poller.shows);
        let known = known.map(|link| link.id);
        let id = known.unwrap_or_else(|| poller.connect(&mut self.links, now));
        let message = AgentToServer {
            sequence_num: poller.sequence,
            ..full()
        };
        poller.sequence += 1;
        let (reply, heard) = poller.agent.hear(id, &message, now);
        let wish = Wish {
            target: Some(&target),
            trust: None,
            hold: Duration::from_secs(15),
        };
        let (reply, step) = poller.agent.answer(id, reply, &wish, now);
        poller.next = seconds + poller.every;
        if reply.offer.is_some() {
            let revision = target.revision_for(poller.agent.uid(), None, None).unwrap();
            poller.shows.marker = Some(revision.marker());
            if poller.eager {
                poller.next = seconds + 1;
            }
        }
        // Nothing else tells the controller of it.
        if known.is_none() || !heard.is_empty() || !step.transitions.is_empty() {
            self.due = Some(self.due.map_or(seconds + 1, |due| due.min(seconds + 1)));
        }
    }

    fn lacking(&self) -> usize {
        let has = |poller: &&Poller| {
            let proved = poller.agent.record().proved;
            proved.map(|p| p.number) != Some(self.revision.number())
        };
        self.pollers.iter().filter(has).count()
    }
}

fn verdict() -> Verdict {
    Verdict {
        primary: Some(Identity {
            namespace: "a".into(),
            method: IdentityMethod::AgentToken,
            authenticator: "bootstrap".into(),
            subject: "agents".into(),
        }),
        ..Verdict::default()
    }
}

#[test]
fn law6_a_rotation_reaches_everybody_who_polls_however_slowly() {
    let mut world = World::new();
    let revisions = [10, 20, 30].map(|beat| world.revision_with(u64::from(beat / 10), beat));
    let mut stuck = Vec::new();
    for every in [80, 120, 300, 600, 3_600] {
        for count in [1, 3, 50] {
            let mut fleet = Fleet::new(count, every, Arc::clone(&revisions[0]));
            let rotations = [7 * HOUR + 11, 15 * HOUR + 7];
            for seconds in 0..24 * HOUR {
                for (revision, begin) in revisions[1..].iter().zip(rotations) {
                    if seconds == begin {
                        fleet.rotate(Arc::clone(revision), seconds);
                    }
                }
                fleet.second(seconds);
                // Two polls of the first agent, and two of everybody else.
                let end = |begin: u64| begin + 4 * every + 60;
                let ends = rotations.into_iter().any(|begin| seconds == end(begin));
                if (ends || seconds == 24 * HOUR - 1) && fleet.lacking() > 0 {
                    let number = fleet.revision.number();
                    let lacking = fleet.lacking();
                    stuck.push(format!(
                        "{lacking} of {count} that poll every {every} s lack revision {number} at {seconds} s"
                    ));
                }
            }
        }
    }
    assert!(stuck.is_empty(), "{stuck:#?}");
}

/// A new link at every poll, since each ends before the next one comes.
#[test]
fn law10_the_poll_interval_is_learnt_across_links() {
    for every in [120, 3_600, 24 * HOUR] {
        let mut bench = Bench::new(World::new().revision(1));
        bench.target.paused = true;
        let first = bench.connect(Transport::Http, Presented::default(), 0, 0);
        bench.say(first, full(), 0);
        bench.agent.tick(at(90));
        assert!(
            bench.agent.links().is_empty(),
            "of one poll nothing is known"
        );
        let link = bench.connect(Transport::Http, Presented::default(), 1, every);
        bench.say(link, full(), every);
        let record = bench.agent.record();
        assert_eq!(record.interval, Duration::from_secs(every));
        bench.agent.tick(at(4 * every - 1));
        assert!(bench.agent.link(link).is_some(), "{every}");
        bench.agent.tick(at(4 * every));
        assert!(bench.agent.link(link).is_none(), "{every}");
    }
}

/// It has the time of its own polls: to be offered something, and to show it.
#[test]
fn law3_a_first_agent_that_polls_has_the_time_of_its_polls() {
    let mut world = World::new();
    let revision = world.revision_with(2, 20);
    let mut fleet = Fleet::new(2, 300, world.revision_with(1, 10));
    (0..2 * HOUR).for_each(|seconds| fleet.second(seconds));
    let records =
        || -> Vec<AgentRecord> { fleet.pollers.iter().map(|p| p.agent.record()).collect() };
    let begin = 2 * HOUR;
    let mut records = records();
    let ask = |before: &Rollout, records: &[AgentRecord], seconds| {
        plan(before, &revision, records, TIMEOUT, at(seconds))
    };
    let (chosen, again) = ask(&Rollout::default(), &records, begin);
    let (first, _) = chosen.first.unwrap();
    assert_eq!(again, Some(at(begin + 600).uptime));
    assert_eq!(ask(&chosen, &records, begin + 599).0.first, chosen.first);
    let next = ask(&chosen, &records, begin + 600).0;
    assert_ne!(next.first.unwrap().0, first, "gives way");
    // Three polls to come back.
    let has_it = records.iter_mut().find(|r| r.uid == first).unwrap();
    has_it
        .offered
        .push(opamp_operator_core::identity::Recognition {
            profile: revision.profile().clone(),
            number: 2,
        });
    let (waiting, again) = ask(&chosen, &records, begin + 300);
    assert_eq!(again, Some(at(begin + 300 + 900).uptime));
    assert!(!ask(&waiting, &records, begin + 300 + 899).0.halted);
    assert!(ask(&waiting, &records, begin + 300 + 900).0.halted);
}

/// Whoever has a timer needs no clock that ticks.
#[test]
fn law10_a_tick_names_the_end_of_a_silent_link() {
    let mut bench = Bench::new(World::new().revision(1));
    bench.target.paused = true;
    let polled = bench.connect(Transport::Http, Presented::default(), 0, 0);
    bench.say(polled, full(), 0);
    bench.say(polled, full(), 50);
    let end = at(50 + 3 * 50).uptime;
    assert_eq!(bench.agent.tick(at(60)).until, Some(end));
    // A WebSocket link says itself when it ends.
    bench.come(Presented::default(), 70);
    assert_eq!(bench.agent.tick(at(199)).until, Some(end));
    assert_eq!(bench.agent.tick(at(200)).until, None);
    assert!(bench.agent.link(polled).is_none());
}
