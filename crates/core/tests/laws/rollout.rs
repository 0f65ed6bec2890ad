//! One first: how far a revision may go.

use std::{collections::BTreeSet, time::Duration};

use opamp_operator_core::{
    catalog::Bound,
    fleet::{AgentRecord, Evidence, Proved, SettingsState, Transport},
    identity::{Presented, Recognition},
    offer::Revision,
    rollout::{Rollout, plan},
};

use crate::common::{Bench, STRONG_TOKEN, World, at, uid};

const TIMEOUT: Duration = Duration::from_secs(120);

/// A connected, capable agent that was offered nothing.
fn agent(last: u8, transport: Transport, world: &World) -> AgentRecord {
    let mut bench = Bench::new(world.revision(1));
    bench.target.paused = true;
    bench.come(Presented::default(), 0);
    AgentRecord {
        uid: uid(last),
        connected: Some(transport),
        ..bench.agent.record()
    }
}

fn offered(agent: &mut AgentRecord, revision: &Revision, seconds: u64) {
    let recognition = Recognition {
        profile: revision.profile().clone(),
        number: revision.number(),
    };
    agent.offered.push(recognition.clone());
    agent.last_offer = Some((recognition, at(seconds).wall));
}

#[test]
fn law3_one_first_then_evidence_opens_it_to_the_rest() {
    let world = World::new();
    let revision = world.revision(7);
    let mut agents = vec![
        agent(1, Transport::Http, &world),
        agent(2, Transport::WebSocket, &world),
    ];
    let step = |before: &Rollout, agents: &[AgentRecord], seconds| {
        plan(before, &revision, agents, TIMEOUT, at(seconds)).0
    };
    let nobody = step(&Rollout::default(), &[], 0);
    assert_eq!(nobody.bound(), Bound::Nobody);
    let first = step(&nobody, &agents, 0);
    assert_eq!(first.bound(), Bound::One(uid(2)), "WebSocket before HTTP");
    offered(&mut agents[1], &revision, 1);
    let waiting = step(&first, &agents, 100);
    assert_eq!(waiting.bound(), Bound::One(uid(2)));
    // Of an older revision it proves nothing.
    let proved = |number| Proved {
        profile: world.profile.clone(),
        number,
        evidence: Evidence::SettingsHeader,
        at: at(101).wall,
    };
    agents[1].proved = Some(proved(6));
    assert_eq!(step(&waiting, &agents, 101).bound(), Bound::One(uid(2)));
    agents[1].proved = Some(proved(7));
    let open = step(&waiting, &agents, 102);
    assert_eq!(open.bound(), Bound::Everyone);
    // Once open it stays open, whoever leaves.
    assert_eq!(step(&open, &[], 103).bound(), Bound::Everyone);
}

#[test]
fn law3_h10_without_evidence_in_time_it_halts_and_nobody_else_is_touched() {
    let world = World::new();
    let revision = world.revision(7);
    let mut agents = vec![
        agent(1, Transport::WebSocket, &world),
        agent(2, Transport::WebSocket, &world),
    ];
    let first = plan(&Rollout::default(), &revision, &agents, TIMEOUT, at(0)).0;
    // Whichever it is, this is the first.
    if first.bound() == Bound::One(uid(2)) {
        agents.reverse();
    }
    let (one, other) = (agents[0].uid, agents[1].uid);
    offered(&mut agents[0], &revision, 5);
    let (waiting, again) = plan(&first, &revision, &agents, TIMEOUT, at(5));
    assert_eq!(again, Some(Duration::from_secs(125)));
    agents[0].connected = None;
    let (waiting, _) = plan(&waiting, &revision, &agents, TIMEOUT, at(124));
    assert!(!waiting.halted);
    let (mut halted, again) = plan(&waiting, &revision, &agents, TIMEOUT, at(125));
    assert!(halted.halted);
    assert_eq!(again, None);
    for seconds in [126, 1_000, 100_000] {
        halted = plan(&halted, &revision, &agents, TIMEOUT, at(seconds)).0;
        assert!(halted.halted);
        assert_eq!(halted.bound(), Bound::One(one));
    }
    // A new revision begins anew.
    let next = world.revision(8);
    let (begun, _) = plan(&halted, &next, &agents, TIMEOUT, at(200_000));
    assert!(!begun.halted);
    assert_eq!(begun.bound(), Bound::One(other));
}

#[test]
fn law3_a_first_agent_that_is_gone_is_followed_by_nobody() {
    let world = World::new();
    let revision = world.revision(7);
    let mut agents = vec![
        agent(1, Transport::WebSocket, &world),
        agent(2, Transport::WebSocket, &world),
    ];
    let first = plan(&Rollout::default(), &revision, &agents, TIMEOUT, at(0)).0;
    // Whichever it is, this is the first.
    if first.bound() == Bound::One(uid(2)) {
        agents.reverse();
    }
    let one = agents[0].uid;
    offered(&mut agents[0], &revision, 5);
    let waiting = plan(&first, &revision, &agents, TIMEOUT, at(5)).0;
    // Another profile applies to it now, say.
    agents.remove(0);
    let (waiting, again) = plan(&waiting, &revision, &agents, TIMEOUT, at(60));
    assert_eq!(waiting.bound(), Bound::One(one));
    assert_eq!(again, Some(Duration::from_secs(125)));
    let halted = plan(&waiting, &revision, &agents, TIMEOUT, at(125)).0;
    assert!(halted.halted);
    assert_eq!(halted.bound(), Bound::One(one));
}

#[test]
fn law3_after_a_restart_the_first_agent_is_still_the_first() {
    let world = World::new();
    let revision = world.revision(7);
    let mut agents = vec![
        agent(1, Transport::WebSocket, &world),
        agent(2, Transport::WebSocket, &world),
    ];
    offered(&mut agents[1], &revision, 5);
    // The offers that a process made are forgotten with it, but not which.
    agents[1].last_offer = None;
    agents[1].connected = None;
    let (waiting, again) = plan(&Rollout::default(), &revision, &agents, TIMEOUT, at(0));
    assert_eq!(waiting.bound(), Bound::One(uid(2)));
    assert_eq!(again, Some(TIMEOUT));
    let halted = plan(&waiting, &revision, &agents, TIMEOUT, at(120)).0;
    assert!(halted.halted);
}

/// As after a restart, before the rollout knows of the evidence.
#[test]
fn law8_who_has_the_newest_is_not_brought_back_to_the_one_before() {
    let mut world = World::new();
    let previous = world.revision_with(6, 10);
    let mut bench = Bench::new(world.revision_with(7, 20));
    bench.target.previous = Some(previous);
    let (old, _) = bench.come(Presented::default(), 0);
    bench.leave(old, 1);
    // Not by the marker: an agent that leaves it out.
    let authorization = format!("Bearer {STRONG_TOKEN}");
    let shown = Presented::new(Vec::new(), Some(authorization.as_bytes()), None);
    bench.target.bound = Bound::Nobody;
    let (link, heard) = bench.come(shown, 20);
    assert!(!heard.offers());
    assert!(bench.refresh(link, 100_000).push.is_none());
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
    // One that lost its settings gets the ones before.
    bench.leave(link, 100_001);
    let (_, heard) = bench.come(Presented::default(), 100_002);
    assert!(heard.offers());
}

/// Whoever chooses its instance UID does not choose to be the first.
#[test]
fn law3_each_revision_has_an_order_of_its_own() {
    let mut world = World::new();
    let agents: Vec<_> = (0..=8)
        .map(|last| agent(last, Transport::WebSocket, &world))
        .collect();
    assert!(agents[0].uid.is_nil());
    let mut firsts = BTreeSet::new();
    for number in 1..=40_u32 {
        let revision = world.revision_with(number.into(), number);
        let (chosen, _) = plan(&Rollout::default(), &revision, &agents, TIMEOUT, at(0));
        let (reversed, _) = {
            let agents: Vec<_> = agents.iter().rev().cloned().collect();
            plan(&Rollout::default(), &revision, &agents, TIMEOUT, at(0))
        };
        assert_eq!(chosen, reversed);
        let (first, _) = chosen.first.unwrap();
        assert!(!first.is_nil(), "nobody's name");
        firsts.insert(first);
    }
    assert!(firsts.len() >= 5, "{firsts:?}");
    // Nor is it because nobody else is there.
    let nobody = plan(
        &Rollout::default(),
        &world.revision(7),
        &agents[..1],
        TIMEOUT,
        at(0),
    )
    .0;
    assert_eq!(nobody.bound(), Bound::Nobody);
}

#[test]
fn law3_one_bad_agent_halts_one_rotation_and_not_every_one() {
    let mut world = World::new();
    let newest = |agents: &[AgentRecord], number: u32, world: &mut World| {
        let revision = world.revision_with(number.into(), number);
        let (chosen, _) = plan(&Rollout::default(), &revision, agents, TIMEOUT, at(0));
        chosen.first.unwrap().0
    };
    use SettingsState::{Failed, Lost, Offered, Pending, Switching};
    for state in [Offered, Switching, Lost, Failed, Pending] {
        let mut bad = AgentRecord {
            state,
            ..agent(1, Transport::WebSocket, &world)
        };
        if state == Pending {
            // It came back with what it had before.
            offered(&mut bad, &world.revision(1), 0);
            bad.offered.clear();
        }
        let agents = [bad, agent(2, Transport::Http, &world)];
        for number in 1..=10 {
            assert_eq!(newest(&agents, number, &mut world), uid(2), "{state:?}");
            // It has its turn when there is nobody else.
            assert_eq!(newest(&agents[..1], number, &mut world), uid(1));
        }
    }
    // Who took the settings before is known to take some.
    let runs = |last, transport, number| {
        let proved = Proved {
            profile: world.profile.clone(),
            number,
            evidence: Evidence::SettingsHeader,
            at: at(0).wall,
        };
        AgentRecord {
            proved: Some(proved),
            ..agent(last, transport, &world)
        }
    };
    let agents = [
        runs(1, Transport::WebSocket, 4),
        runs(2, Transport::Http, 5),
        runs(3, Transport::WebSocket, 5),
        agent(4, Transport::WebSocket, &world),
    ];
    for number in 6..=20 {
        assert_eq!(newest(&agents, number, &mut world), uid(3));
        assert_eq!(newest(&agents[..2], number, &mut world), uid(2));
    }
}

/// Also those that come late in the order, whoever else gives way for ever.
#[test]
fn law3_every_agent_has_a_turn() {
    let world = World::new();
    let revision = world.revision(7);
    let mut agents: Vec<_> = (1..=5)
        .map(|last| agent(last, Transport::WebSocket, &world))
        .collect();
    agents[0].connected = Some(Transport::Http);
    agents[1].state = SettingsState::Failed;
    let mut rollout = Rollout::default();
    let mut again = Some(Duration::ZERO);
    let mut turns = Vec::new();
    for _ in 0..10 {
        let now = at(again.unwrap().as_secs());
        (rollout, again) = plan(&rollout, &revision, &agents, TIMEOUT, now);
        turns.push(rollout.first.unwrap().0);
    }
    assert_eq!(turns[..5], turns[5..]);
    assert_eq!(turns[3..5], [uid(1), uid(2)], "those that come late");
    assert_eq!(turns.iter().collect::<BTreeSet<_>>().len(), 5);
}

#[test]
fn law3_the_others_are_not_offered_what_waits_for_one() {
    let world = World::new();
    for bound in [Bound::Nobody, Bound::One(uid(2))] {
        let mut bench = Bench::new(world.revision(7));
        bench.target.bound = bound;
        let (link, heard) = bench.come(Presented::default(), 0);
        assert!(!heard.offers());
        bench.target.bound = Bound::Everyone;
        assert!(bench.refresh(link, 1).push.is_some());
    }
}
