//! Two agents with one instance UID, and links that prove more or less.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::values::{Identity, IdentityMethod};
use opamp_operator_core::{
    fleet::{LinkId, Transition, Transport},
    identity::{Bearer, Presented, Recognition, Verdict, Vouched},
};
use opamp_wire::{
    AgentCapabilities,
    proto::{
        AgentDescription, AgentToServer, AnyValue, ConnectionSettingsStatuses, KeyValue,
        any_value::Value,
    },
};

use crate::{
    common::{Bench, CAPABLE, World, able, at, bench, evidence, full, nothing, reported},
    identity::vouched,
};

fn says(pairs: &[(&str, &str)]) -> AgentToServer {
    let pair = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue((*value).to_owned())),
        }),
    };
    AgentToServer {
        agent_description: Some(AgentDescription {
            non_identifying_attributes: pairs.iter().map(pair).collect(),
            ..AgentDescription::default()
        }),
        ..full()
    }
}

fn on(host: &str) -> AgentToServer {
    says(&[("host.name", host)])
}

fn come(bench: &mut Bench, host: &str, seconds: u64) -> LinkId {
    let link = bench.connect(Transport::WebSocket, nothing(), 0, seconds);
    bench.say(link, on(host), seconds);
    link
}

fn renamed(bench: &mut Bench, link: LinkId, seconds: u64) -> bool {
    let step = bench.refresh(link, seconds);
    assert!(!(step.rename && step.push.is_some()), "one thing at a time");
    step.rename
}

#[test]
fn m15_law2_of_two_hosts_with_one_uid_the_newer_gets_another() {
    let mut bench = bench();
    bench.target.paused = true;
    let old = come(&mut bench, "one", 0);
    bench.target.paused = false;
    let new = bench.connect(Transport::WebSocket, nothing(), 0, 10);
    // Not before an offer: nobody knows yet who is who.
    let heard = bench.say(new, on("two"), 10);
    assert!(!heard.offers());
    assert!(heard.until.is_some_and(|until| until <= at(70).uptime));
    for seconds in [11, 40, 69] {
        assert!(!renamed(&mut bench, new, seconds));
        assert!(!renamed(&mut bench, old, seconds));
        assert!(bench.refresh(old, seconds).push.is_none());
    }
    assert!(!renamed(&mut bench, old, 70), "the older keeps its name");
    let step = bench.refresh(new, 70);
    assert!(step.rename && step.transitions.contains(&Transition::Cloned));
    // Told once, and again a minute later if it goes on.
    assert!(!renamed(&mut bench, new, 71));
    assert!(renamed(&mut bench, new, 130));
    // It took another: the older is alone, and gets its offer.
    bench.leave(new, 131);
    assert!(bench.refresh(old, 131).push.is_some());
}

#[test]
fn m15_an_agent_that_changes_links_is_no_clone() {
    // The same host, and one that says nothing of it.
    for other in [on("one"), full()] {
        let mut bench = bench();
        bench.target.paused = true;
        let old = come(&mut bench, "one", 0);
        let new = bench.connect(Transport::WebSocket, nothing(), 0, 1);
        bench.say(new, other, 1);
        bench.target.paused = false;
        for seconds in [62, 200, 400] {
            assert!(!renamed(&mut bench, new, seconds));
            assert!(!renamed(&mut bench, old, seconds));
        }
        // The older is a ghost, and the newest has had its offer.
        assert!(bench.agent.record().last_offer.is_some());
    }
    // One that leaves within the minute was no clone either.
    let mut bench = bench();
    bench.target.paused = true;
    let old = come(&mut bench, "one", 0);
    let new = come(&mut bench, "two", 1);
    bench.leave(old, 50);
    assert!(!renamed(&mut bench, new, 100));
}

#[test]
fn m15_over_http_two_hosts_look_like_one_link_until_the_first_speaks_again() {
    let mut bench = bench();
    bench.target.paused = true;
    let link = bench.connect(Transport::Http, nothing(), 0, 0);
    bench.say(link, on("one"), 0);
    bench.say(link, on("two"), 30);
    assert!(!renamed(&mut bench, link, 30), "it may have a new name");
    bench.say(link, on("two"), 60);
    assert!(!renamed(&mut bench, link, 60));
    bench.say(link, on("one"), 90);
    assert!(!renamed(&mut bench, link, 90), "the first keeps its name");
    bench.target.paused = false;
    assert!(bench.refresh(link, 91).push.is_none(), "whose would it be?");
    bench.say(link, on("two"), 120);
    // The answer to that message tells it; `say` has taken it.
    assert!(!renamed(&mut bench, link, 121));
    bench.say(link, on("one"), 150);
    let heard = bench.say(link, on("two"), 190);
    assert!(heard.transitions.contains(&Transition::Cloned));
}

/// They claim nothing of where they run; the API vouches for it.
#[test]
fn m15_two_pods_with_one_uid_are_told_apart_whatever_they_claim() {
    let shown_by = |pod: &str| {
        let Bearer::Vouched(vouched) = vouched("agents") else {
            unreachable!()
        };
        let mut vouched = Vouched::clone(&vouched);
        let key = "k8s.pod.uid".to_owned();
        vouched.attributes.insert(key, pod.to_owned());
        Verdict {
            primary: Some(vouched.identity.clone()),
            vouched: Some(Arc::new(vouched)),
            ..Verdict::default()
        }
    };
    for (other, clones) in [("pod-2", true), ("pod-1", false)] {
        let mut bench = bench();
        bench.target.paused = true;
        let old = bench.connect_as(shown_by("pod-1"), nothing(), 0).unwrap();
        bench.say(old, full(), 0);
        let new = bench.connect_as(shown_by(other), nothing(), 1).unwrap();
        bench.say(new, full(), 1);
        assert!(!renamed(&mut bench, new, 60));
        assert_eq!(renamed(&mut bench, new, 61), clones, "{other}");
        assert!(!renamed(&mut bench, old, 61), "{other}");
    }
}

fn owner() -> Verdict {
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

/// Shows what the revision offered and nothing else.
fn holder(world: &World, number: u64) -> Verdict {
    Verdict {
        recognised: [Recognition {
            profile: world.profile.clone(),
            number,
        }]
        .into(),
        ..Verdict::default()
    }
}

#[test]
fn law2_weaker_proof_never_displaces_stronger() {
    let mut world = World::new();
    let first = world.revision_with(1, 10);
    let mut bench = Bench::new(first);
    // Offered, proved, and back with its own identity beside what it was given.
    let link = bench.connect_as(owner(), nothing(), 0).unwrap();
    assert!(bench.say(link, on("one"), 0).offers());
    bench.leave(link, 1);
    let marked = bench.marked();
    let both = Verdict {
        recognised: holder(&world, 1).recognised,
        ..owner()
    };
    let own = bench.connect_as(both, marked.clone(), 2).unwrap();
    bench.say(own, on("one"), 2);
    assert!(evidence(&bench).is_some());
    // Another holder of the shared certificate says that it is this one.
    let impostor = bench
        .connect_as(holder(&world, 1), Presented::default(), 500)
        .unwrap();
    bench.say(impostor, on("two"), 500);
    assert!(evidence(&bench).is_some(), "it speaks for nobody");
    bench.target.current = world.revision_with(2, 20);
    for seconds in [501, 530, 559] {
        assert!(bench.refresh(impostor, seconds).push.is_none());
    }
    assert!(renamed(&mut bench, impostor, 560));
    assert!(!renamed(&mut bench, own, 560));
    bench.leave(impostor, 561);
    assert!(bench.refresh(own, 561).push.is_some());

    // One that proves more takes the instance UID from one that proves less.
    let mut bench = Bench::new(world.revision(1));
    bench.target.paused = true;
    let weak = bench.connect_as(holder(&world, 1), nothing(), 0).unwrap();
    bench.say(weak, on("two"), 0);
    let strong = bench.connect_as(owner(), nothing(), 1).unwrap();
    bench.say(strong, on("one"), 1);
    assert!(!renamed(&mut bench, strong, 61));
    assert!(renamed(&mut bench, weak, 61));
}

/// Over HTTP, where a new link ends the one before.
#[test]
fn law2_weaker_proof_ends_no_stronger_link() {
    let world = World::new();
    let mut bench = Bench::new(world.revision(1));
    let owns = bench.connect_as(owner(), nothing(), 0).unwrap();
    assert!(bench.say(owns, full(), 0).offers());
    let weak = bench.connect_as(holder(&world, 1), nothing(), 1).unwrap();
    let again = bench.connect_as(owner(), nothing(), 2).unwrap();
    // Back with the settings that it was offered: it shows less, and is itself.
    assert!(bench.agent.gives_way(owns, weak));
    assert!(!bench.agent.gives_way(again, weak));
    assert!(bench.agent.gives_way(weak, again));
    assert!(bench.agent.gives_way(owns, again));
}

/// It says what it likes of itself, and nothing of the agent.
#[test]
fn law2_weaker_proof_says_nothing_of_the_agent() {
    let mut world = World::new();
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (link, _) = bench.come(nothing(), 0);
    bench.leave(link, 1);
    let both = Verdict {
        recognised: holder(&world, 1).recognised,
        ..owner()
    };
    let marked = bench.marked();
    let own = bench.connect_as(both, marked, 2).unwrap();
    bench.say(own, on("one"), 2);
    let weak = bench.connect_as(holder(&world, 1), nothing(), 20).unwrap();
    bench.target.current = world.revision_with(2, 20);
    assert!(bench.refresh(own, 21).push.is_some());
    let before = bench.agent.record();
    let hash = bench.target.current.hash(0).as_bytes().to_vec();
    let lies = [
        on("two"),
        reported(ConnectionSettingsStatuses::Failed, &hash),
        able(CAPABLE & !AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS),
    ];
    for lie in lies {
        assert_eq!(bench.say(weak, lie, 22).transitions, []);
    }
    let after = bench.agent.record();
    assert_eq!(after.attributes, before.attributes);
    assert_eq!((after.capable, after.state), (true, before.state));
    // What it said of itself counts for it, once nobody else speaks.
    bench.leave(own, 23);
    for seconds in [100, 200, 1_000] {
        assert!(bench.refresh(weak, seconds).push.is_none());
    }
    let able_now = bench.say(weak, able(CAPABLE), 2_000);
    assert!(able_now.offers());
}

/// The link that was offered is half open still when the agent comes back with
/// what it was given, and nothing else.
#[test]
fn law6_an_agent_that_comes_back_with_what_it_was_offered_speaks_for_itself() {
    let world = World::new();
    let mut bench = Bench::new(world.revision(1));
    let half_open = bench.connect_as(owner(), nothing(), 0).unwrap();
    assert!(bench.say(half_open, full(), 0).offers());
    let marked = bench.marked();
    let back = bench.connect_as(holder(&world, 1), marked, 2).unwrap();
    bench.say(back, full(), 2);
    assert!(evidence(&bench).is_some());
}

#[test]
fn law2_a_stranger_that_shows_a_marker_keeps_nothing_from_anybody() {
    let stranger = || Verdict {
        anonymous: Some("a".into()),
        ..Verdict::default()
    };
    let mut bench = bench();
    let marked = bench.marked();
    let link = bench.connect_as(stranger(), marked, 0).unwrap();
    let heard = bench.say(link, full(), 0);
    assert!(!heard.offers());
    let own = bench.connect_as(owner(), nothing(), 1).unwrap();
    assert!(bench.say(own, full(), 1).offers());
    assert!(bench.agent.binding().is_some());
    // From then on the instance UID is somebody's.
    assert_eq!(bench.connect_as(stranger(), nothing(), 2), None);
}

#[test]
fn law2_what_is_vouched_for_beats_what_is_claimed() {
    let mut bench = bench();
    let Bearer::Vouched(vouched) = vouched("agents") else {
        unreachable!()
    };
    let verdict = Verdict {
        primary: Some(vouched.identity.clone()),
        vouched: Some(vouched),
        ..Verdict::default()
    };
    let link = bench.connect_as(verdict, nothing(), 0).unwrap();
    let contradiction =
        |bench: &Bench, message: &AgentToServer| bench.agent.contradiction(link, message);
    for (key, value) in [
        ("k8s.pod.name", "pod-2"),
        ("k8s.namespace.name", "kube-system"),
        ("k8s.serviceaccount.name", "root"),
        ("k8s.node.name", "node-2"),
        ("k8s.pod.uid", ""),
    ] {
        let lie = says(&[("service.name", "x"), (key, value)]);
        assert_eq!(contradiction(&bench, &lie).as_deref(), Some(key));
        let mut identifying = lie;
        let description = identifying.agent_description.as_mut().unwrap();
        description.identifying_attributes =
            std::mem::take(&mut description.non_identifying_attributes);
        assert_eq!(contradiction(&bench, &identifying).as_deref(), Some(key));
    }
    let honest = says(&[("k8s.pod.name", "pod-1"), ("service.name", "x")]);
    assert_eq!(contradiction(&bench, &honest), None);
    assert_eq!(contradiction(&bench, &AgentToServer::default()), None);
    bench.say(link, honest, 0);
    let attributes = bench.agent.record().attributes.unwrap();
    let known = |key: &str| attributes.non_identifying.get(key).map(String::as_str);
    assert_eq!(known("k8s.node.name"), Some("node-1"));
    assert_eq!(known("service.name"), Some("x"));
}

#[test]
fn law8_a_session_keeps_what_it_proved_when_that_would_prove_nothing_anew() {
    let mut bench = bench();
    bench.target.paused = true;
    let verdict = Verdict {
        lasts: Some(at(100).wall),
        ..owner()
    };
    let link = bench.connect_as(verdict, nothing(), 0).unwrap();
    bench.say(link, full(), 0);
    // Its token ended: it stays, and is counted.
    assert!(!bench.agent.record().cannot_return);
    assert_eq!(bench.agent.tick(at(99)).transitions, []);
    let ended = bench.agent.tick(at(100)).transitions;
    assert_eq!(ended, [Transition::CannotReturn]);
    assert_eq!(bench.agent.tick(at(200)).transitions, [], "said once");
    assert!(bench.agent.record().cannot_return);
    bench.target.paused = false;
    assert!(
        bench.refresh(link, 201).push.is_some(),
        "it is brought the next one"
    );
    // Judged by less than before it keeps what it had; by as much, it returns.
    bench.agent.judge_again(link, Verdict::default());
    assert!(bench.agent.record().cannot_return);
    bench.agent.judge_again(link, owner());
    assert!(!bench.agent.record().cannot_return);
    assert_eq!(bench.agent.tick(at(300)).until, None::<Duration>);
}

/// What an agent claimed on a link where nobody vouched for it counts no more
/// on one where somebody does.
#[test]
fn law2_what_is_vouched_for_beats_what_was_claimed_before() {
    use opamp_operator_api::v1alpha1::AgentSelector;
    use opamp_operator_core::{
        catalog::{Candidate, Choice, candidates},
        identity::Bearer,
    };
    let mut bench = bench();
    let stranger = Verdict {
        anonymous: Some("a".into()),
        ..Verdict::default()
    };
    let link = bench.connect_as(stranger, nothing(), 0).unwrap();
    bench.say(link, says(&[("k8s.node.name", "of-others")]), 0);
    bench.leave(link, 1);
    let Bearer::Vouched(account) = vouched("agents") else {
        unreachable!()
    };
    let proved = Verdict {
        primary: Some(account.identity.clone()),
        vouched: Some(account),
        ..Verdict::default()
    };
    let link = bench.connect_as(proved, nothing(), 2).unwrap();
    // It says nothing of itself.
    bench.say(
        link,
        AgentToServer {
            agent_description: None,
            ..full()
        },
        2,
    );
    let of_others = Candidate {
        profile: opamp_operator_api::values::ProfileKey::new("a", "of-others"),
        priority: 0,
        admin: false,
        selector: std::sync::Arc::new(AgentSelector {
            match_attributes: [("k8s.node.name".to_owned(), "of-others".to_owned())].into(),
            ..AgentSelector::default()
        }),
    };
    let choice = bench
        .agent
        .choose(link, &candidates("a", [of_others].iter()));
    assert_eq!(choice, Choice::Nobody);
}
