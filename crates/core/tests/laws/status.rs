//! What a profile says of its agents.

use std::sync::Arc;

use opamp_operator_api::{
    reason::Reason,
    v1alpha1::{AgentCounts, FailureReason, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    catalog::Catalog,
    fleet::{AgentRecord, SettingsState, Transport},
    identity::{Presented, Recognition},
    rollout::Rollout,
    status::{Overlap, events, is_of_agents, summarize},
};

use opamp_wire::{InstanceUid, proto::ConnectionSettingsStatuses};

use crate::common::{Bench, STRONG_TOKEN, World, at, reported, uid};

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
    let status = summarize(
        state,
        agents,
        &Overlap::default(),
        &Rollout::default(),
        at(200),
    );
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
        let status = summarize(
            state,
            &[agent],
            &Overlap::default(),
            &Rollout::default(),
            at(200),
        );
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

/// What agents say of a revision that does not work for them.
fn failing(world: &World, last: u8, said: &str) -> AgentRecord {
    let mut bench = Bench::new(world.revision(1));
    let (link, heard) = bench.come(Presented::default(), 0);
    assert!(heard.offers());
    let hash = world.revision(1).hash(0);
    let mut failed = reported(ConnectionSettingsStatuses::Failed, hash.as_bytes());
    let status = failed.connection_settings_status.as_mut().unwrap();
    status.error_message = said.to_owned();
    bench.say(link, failed, 1);
    AgentRecord {
        uid: uid(last),
        profile: Some(world.profile.clone()),
        ..bench.agent.record()
    }
}

#[test]
fn law10_law7_ten_thousand_agents_that_fail_are_ten_names_and_one_event() {
    let world = World::new();
    let mut catalog = world.catalog();
    catalog.adopt(
        world.revision(1),
        Arc::new(world.spec.clone()),
        at(0).wall,
        true,
    );
    let of = |agents: &[AgentRecord]| {
        let state = catalog.get(&world.profile).unwrap();
        summarize(
            state,
            agents,
            &Overlap::default(),
            &Rollout::default(),
            at(200),
        )
    };
    let said = format!("x509: certificate signed by unknown authority {STRONG_TOKEN}");
    let one = failing(&world, 1, &said);
    let many: Vec<_> = (0..10_000_u64)
        .map(|n| AgentRecord {
            uid: InstanceUid::from_bytes((u128::from(n) << 64).to_be_bytes()),
            since: at(n).wall,
            ..one.clone()
        })
        .collect();
    let status = of(&many);
    let named: Vec<_> = status.failures.iter().map(|f| &*f.instance_uid).collect();
    let newest: Vec<_> = many
        .iter()
        .rev()
        .take(10)
        .map(|agent| agent.uid.to_string())
        .collect();
    assert_eq!(named, newest);
    for failure in &status.failures {
        assert_eq!(failure.reason, FailureReason::Failed);
        assert_eq!(
            failure.message,
            "x509 certificate signed by unknown authority …"
        );
    }
    let mut told = events(&of(&[]), &status);
    told.retain(|event| event.reason == Reason::AgentsFailed);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].note.starts_with("10000 agents failed"), "{told:?}");
    assert_eq!(told[0].note.matches("unknown authority").count(), 3);
    // Nor is it told again while they stay so, or when some more follow.
    assert_eq!(events(&status, &status), []);
    let more = events(&of(&many[..2000]), &of(&many[..9000]));
    assert!(
        !more.iter().any(|e| e.reason == Reason::AgentsFailed),
        "{more:?}"
    );
}

#[test]
fn law7_what_an_agent_said_is_told_while_that_is_why_and_no_longer() {
    let world = World::new();
    let mut catalog = world.catalog();
    catalog.adopt(
        world.revision(1),
        Arc::new(world.spec.clone()),
        at(0).wall,
        true,
    );
    let mut said = |agent: &AgentRecord| {
        let state = catalog.get_mut(&world.profile).unwrap();
        let none = (Overlap::default(), Rollout::default());
        let status = summarize(
            state,
            std::slice::from_ref(agent),
            &none.0,
            &none.1,
            at(200),
        );
        state.stored.status = status.clone();
        status
            .failures
            .first()
            .map(|failure| failure.message.clone())
    };
    let agent = failing(&world, 1, "tls: bad certificate");
    assert_eq!(said(&agent).as_deref(), Some("tls bad certificate"));
    let lost = AgentRecord {
        state: SettingsState::Lost,
        since: at(150).wall,
        ..agent.clone()
    };
    assert_eq!(
        said(&lost).as_deref(),
        Some(""),
        "that was about something else"
    );
    let offered = AgentRecord {
        state: SettingsState::Offered,
        ..agent
    };
    assert_eq!(said(&offered), None);
}

/// Nothing can be sent to who is away; that it is away must not look like
/// something under way.
#[test]
fn law6_who_was_lost_is_told_and_is_not_on_its_way() {
    let world = World::new();
    let mut catalog = world.catalog();
    let spec = Arc::new(world.spec.clone());
    catalog.adopt(world.revision(1), spec, at(100).wall, true);
    let all = |states: &[(SettingsState, bool)]| {
        let agents: Vec<_> = states
            .iter()
            .zip(1..)
            .map(|((state, here), last)| AgentRecord {
                uid: uid(last),
                ..agent(&world, 1, *state, *here)
            })
            .collect();
        let state = catalog.get(&world.profile).unwrap();
        let (overlap, rollout) = (Overlap::default(), Rollout::default());
        summarize(state, &agents, &overlap, &rollout, at(200))
    };
    let words = |status: &OpAMPConnectionProfileStatus| {
        ["Ready", "Progressing"].map(|kind| {
            let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
            format!("{} {}", condition.status, condition.reason)
        })
    };
    let (lost, failed) = ((SettingsState::Lost, false), (SettingsState::Failed, true));
    let pending = (SettingsState::Pending, true);
    let one = all(&[lost]);
    assert_eq!(words(&one), ["False AgentsLost", "False AgentsLost"]);
    let told = |before, after| {
        let mut told = events(before, after);
        told.retain(|event| is_of_agents(event.reason));
        told.into_iter().map(|event| event.note).collect::<Vec<_>>()
    };
    let nobody = all(&[]);
    let [note] = &told(&nobody, &one)[..] else {
        panic!("{:?}", told(&nobody, &one));
    };
    assert!(note.starts_with("1 agent left") && note.contains(&uid(1).to_string()));
    let both = all(&[lost, failed, pending]);
    assert_eq!(
        words(&both),
        ["False AgentsFailed", "True RolloutInProgress"]
    );
    assert_eq!(told(&one, &both).len(), 1, "one was lost before");
    assert_eq!(told(&nobody, &both).len(), 2);
}
