//! What a profile says of its agents.

use std::sync::Arc;

use opamp_operator_api::{reason::Reason, v1alpha1::AgentCounts};
use opamp_operator_core::{
    catalog::Catalog,
    fleet::{AgentRecord, SettingsState, Transport},
    identity::{Presented, Recognition},
    rollout::Rollout,
    status::summarize,
};

use crate::common::{Bench, World, at};

/// An agent that was offered this revision, and what became of it.
fn agent(world: &World, number: u64, state: SettingsState, connected: bool) -> AgentRecord {
    let mut bench = Bench::new(world.revision(number));
    assert!(bench.come(Presented::default(), 0).1.offers());
    AgentRecord {
        profile: Some(world.profile.clone()),
        connected: connected.then_some(Transport::WebSocket),
        state,
        ..bench.agent.record()
    }
}

/// The counts, and why the profile is ready or not.
fn told(world: &World, catalog: &Catalog, agents: &[AgentRecord]) -> (AgentCounts, String) {
    let state = catalog.get(&world.profile).unwrap();
    let status = summarize(state, agents, &Rollout::default(), at(200));
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|c| c.type_ == "Ready").unwrap();
    (status.agents.unwrap(), ready.reason.clone())
}

#[test]
fn law9_an_agent_that_was_away_before_a_revision_does_not_keep_it_from_ready() {
    use SettingsState::{Failed, Lost, Offered, Switching};
    let world = World::new();
    let mut catalog = world.catalog();
    for number in [1, 2] {
        let spec = Arc::new(world.spec.clone());
        catalog.adopt(world.revision(number), spec, at(100).wall, true);
        for state in [Offered, Switching, Lost, Failed] {
            let (away, ready) = told(&world, &catalog, &[agent(&world, 1, state, false)]);
            let (here, waits) = told(&world, &catalog, &[agent(&world, 1, state, true)]);
            let lacking = |counts: AgentCounts| counts.in_progress + counts.lost + counts.failed;
            let about = i32::from(number == 1);
            assert_eq!(lacking(away), about, "{number} {state:?}");
            assert_eq!(lacking(here), about, "{number} {state:?}");
            // It is here, and will be offered the newer one.
            assert_eq!((away.pending, here.pending), (0, 1 - about));
            let complete = Reason::Complete.to_string();
            assert_eq!(ready == complete, number == 2, "{number} {state:?}");
            assert_ne!(waits, complete, "{number} {state:?}");
        }
    }
}

/// A record of what was on its way keeps what it was about.
#[test]
fn law8_a_restart_knows_which_revision_an_agent_was_lost_with() {
    let world = World::new();
    let lost = agent(&world, 1, SettingsState::Switching, false);
    let mut bench = Bench::restored(lost, world.revision(2));
    bench.agent.tick(at(120));
    let record = bench.agent.record();
    assert_eq!(record.state, SettingsState::Lost);
    let about = record.last_offer.map(|(revision, _)| revision);
    let first = Recognition {
        profile: world.profile.clone(),
        number: 1,
    };
    assert_eq!(about, Some(first));
}

#[test]
fn law5_an_empty_bucket_is_a_condition() {
    let world = World::new();
    let mut catalog = world.catalog();
    let spec = Arc::new(world.spec.clone());
    catalog.adopt(world.revision(1), spec, at(100).wall, true);
    let pending = agent(&world, 1, SettingsState::Pending, true);
    let reason = |agent: AgentRecord| {
        let state = catalog.get(&world.profile).unwrap();
        let status = summarize(state, &[agent], &Rollout::default(), at(200));
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        ready.unwrap().reason.clone()
    };
    assert_eq!(reason(pending.clone()), Reason::RolloutInProgress.as_str());
    let exhausted = AgentRecord {
        exhausted: true,
        ..pending
    };
    assert_eq!(reason(exhausted), Reason::OffersExhausted.as_str());
}

/// They are here, and would be lost if they had to connect anew.
#[test]
fn law8_agents_that_could_not_return_are_counted() {
    let world = World::new();
    let mut catalog = world.catalog();
    let spec = Arc::new(world.spec.clone());
    catalog.adopt(world.revision(1), spec, at(100).wall, true);
    let here = agent(&world, 1, SettingsState::Pending, true);
    let stranded = AgentRecord {
        cannot_return: true,
        ..here.clone()
    };
    let (counts, _) = told(&world, &catalog, &[here, stranded]);
    assert_eq!((counts.connected, counts.cannot_return), (2, 1));
}
