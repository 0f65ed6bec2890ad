//! Profiles that select the same agents: who has them, who is told.

use std::{collections::BTreeSet, sync::Arc};

use opamp_operator_api::{
    condition::find_condition, reason::ConditionType, v1alpha1::AgentSelector, values::ProfileKey,
};
use opamp_operator_core::{
    catalog::{Candidate, Candidates, Choice, MAX_OVERRIDDEN, candidates},
    fleet::{LinkId, Transition, Transport},
    identity::{Presented, Recognition, Verdict},
    rollout::Rollout,
    status::{Overlap, Taken, summarize},
};

use crate::common::{Bench, World, at, uid};

fn candidate(name: &str, priority: i32) -> Candidate {
    Candidate {
        profile: key(name),
        priority,
        admin: false,
        selector: Arc::default(),
    }
}

fn key(name: &str) -> ProfileKey {
    ProfileKey::new("a", name)
}

fn all(all: &[Candidate]) -> Candidates {
    candidates("a", all.iter())
}

fn connected() -> (Bench, LinkId) {
    let mut bench = Bench::new(World::new().revision(1));
    let link = bench.connect(Transport::WebSocket, Presented::default(), 0, 0);
    (bench, link)
}

fn overridden(profiles: &[&str]) -> Transition {
    Transition::Overridden(profiles.iter().map(|name| key(name)).collect())
}

#[test]
fn a_profile_that_takes_an_agent_over_says_from_whom_once() {
    let (mut bench, link) = connected();
    let (p, q) = (candidate("p", 0), candidate("q", 1));
    let mut settle = |candidates: &[Candidate]| {
        let (choice, transitions) = bench.agent.settle(link, &all(candidates), at(1));
        let Choice::Profile(profile) = choice else {
            panic!("{choice:?}")
        };
        (profile.name, transitions)
    };
    let profile = |name: &str| Transition::Profile(Some(key(name)));
    assert_eq!(
        settle(std::slice::from_ref(&p)),
        ("p".into(), vec![profile("p")])
    );
    let both = [p.clone(), q.clone()];
    let taken = vec![
        profile("q"),
        Transition::TakenFrom(key("p")),
        overridden(&["p"]),
    ];
    assert_eq!(settle(&both), ("q".into(), taken));
    assert_eq!(settle(&both), ("q".into(), vec![]));
    // It comes back because the other is gone: nothing was taken from anybody.
    let back = vec![profile("p"), overridden(&["p"])];
    assert_eq!(settle(&[p]), ("p".into(), back));
    assert_eq!(settle(&[q]), ("q".into(), vec![profile("q")]));
}

#[test]
fn law8_a_restart_takes_no_agent_over_again() {
    let (mut bench, link) = connected();
    let candidates = all(&[candidate("p", 0), candidate("q", 1)]);
    bench.agent.settle(link, &candidates, at(1));
    let record = bench.agent.record();
    assert_eq!(record.overridden, [key("p")]);
    let mut bench = Bench::restored(record, World::new().revision(1));
    let link = bench.connect(Transport::WebSocket, Presented::default(), 0, 2);
    let (_, transitions) = bench.agent.settle(link, &candidates, at(2));
    assert_eq!(transitions, []);
}

/// The better one gets it when it shows who it is; until then nobody lost.
#[test]
fn what_waits_for_a_proof_does_not_lose_by_precedence() {
    let mut bench = Bench::new(World::new().revision(1));
    let shows = Recognition {
        profile: key("p"),
        number: 1,
    };
    let verdict = Verdict {
        recognised: [shows].into(),
        ..Verdict::default()
    };
    let link = bench.connect_as(verdict, Presented::default(), 0).unwrap();
    let named = AgentSelector {
        instance_uids: vec![uid(1).to_string()],
        ..AgentSelector::default()
    };
    let better = Candidate {
        selector: Arc::new(named),
        ..candidate("q", 1)
    };
    let candidates = all(&[candidate("o", -1), candidate("p", 0), better]);
    let (choice, _) = bench.agent.settle(link, &candidates, at(1));
    assert_eq!(choice, Choice::Profile(key("p")));
    assert_eq!(bench.agent.overridden(), [key("o")]);
}

#[test]
fn law10_a_hundred_profiles_on_one_agent_know_who_has_it_and_are_told_briefly() {
    let world = World::new();
    for count in [100, 300] {
        let (mut bench, link) = connected();
        let names: Vec<_> = (0..count)
            .map(|n| format!("p-{n:03}-{}", "x".repeat(200)))
            .collect();
        let profiles: Vec<_> = names.iter().map(|name| candidate(name, 0)).collect();
        bench.agent.settle(link, &all(&profiles), at(1));
        let lose = bench.agent.overridden();
        let most = (count - 1).min(MAX_OVERRIDDEN);
        let expected: BTreeSet<_> = names[1..=most].iter().map(|name| key(name)).collect();
        assert_eq!(lose.iter().cloned().collect::<BTreeSet<_>>(), expected);

        let mut catalog = world.catalog();
        let spec = Arc::new(world.spec.clone());
        catalog.adopt(world.revision(1), spec, at(0).wall, true);
        let state = catalog.get(&world.profile).unwrap();
        let says = |profile: &ProfileKey| {
            let mut overlap = Overlap::default();
            overlap.add(profile, &key(&names[0]), lose);
            let status = summarize(state, &[], &overlap, &Rollout::default(), at(2));
            let found = find_condition(&status.conditions, ConditionType::Overlapping);
            let overlapping = found.unwrap();
            let counts = status.agents.unwrap();
            (overlapping.clone(), counts.overridden)
        };
        let (wins, none) = says(&key(&names[0]));
        assert_eq!((wins.reason.as_str(), none), ("TakesPrecedence", 0));
        let many = format!("{most} profiles, among them `a/p-001");
        assert!(wins.message.contains(&many), "{}", wins.message);
        for profile in lose {
            let (loses, one) = says(profile);
            assert_eq!((loses.reason.as_str(), one), ("Overridden", 1));
            assert!(loses.message.contains(&names[0]), "{}", loses.message);
        }
    }
}

#[test]
fn an_overlap_counts_agents_on_both_sides_and_forgets_profiles_that_are_gone() {
    let (p, q, r) = (key("p"), key("q"), key("r"));
    let mut overlap = Overlap::default();
    overlap.add(&q, &p, &[q.clone(), r.clone()]);
    overlap.add(&q, &p, std::slice::from_ref(&q));
    overlap.add(&q, &p, std::slice::from_ref(&r));
    overlap.add(&q, &q, std::slice::from_ref(&r));
    assert_eq!(overlap.lost, [(p.clone(), 2)].into());
    assert_eq!(overlap.won, [(r, 1)].into());
    overlap.retain(|profile| *profile == q);
    assert_eq!(overlap, Overlap::default());
}

#[test]
fn law10_ten_thousand_agents_that_change_hands_are_one_event() {
    let mut taken = Taken::default();
    for _ in 0..100 {
        let mut more = Taken::default();
        for _ in 0..100 {
            more.add(uid(1));
        }
        taken.merge(more);
    }
    let event = taken.event(&key("p"), Some(3));
    assert!(
        event.note.starts_with("10000 agents of profile `a/p`"),
        "{event:?}"
    );
    assert_eq!(event.note.matches(&uid(1).to_string()).count(), 3);
}
