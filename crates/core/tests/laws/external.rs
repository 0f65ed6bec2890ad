//! Agents that are sent to the server of another, for good.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{AgentCounts, OpAMPConnectionProfileStatus, ServedBy},
};
use opamp_operator_core::{
    catalog::{Catalog, Settled, Stored},
    fleet::{AgentRecord, SettingsState, Transition, Transport},
    identity::{Bearer, Ledger, Presented, Proof},
    offer::{Context, Outcome, Serving, hold_back},
    rollout::{Rollout, plan},
    status::{Overlap, summarize},
};

use crate::common::{Bench, Ca, Issue, STRONG_TOKEN, World, at, nothing, offered, opaque};

const THERE: &str = "wss://opamp.other.example.org/v1/opamp";

/// Agents go elsewhere, with a token and a CA that say nothing to us.
fn external() -> World {
    let mut world = World::new();
    world.spec.opamp.served_by = ServedBy::External;
    world.spec.opamp.endpoint = Some(THERE.into());
    world.bundle(opaque(&[("ca.crt", &Ca::new("theirs").pem)]));
    world
}

#[test]
fn law4_what_another_server_takes_is_not_judged_by_ours() {
    let mut world = external();
    let settings = offered(&world.revision(1)).opamp.unwrap();
    assert_eq!(settings.destination_endpoint, THERE);
    assert!(world.revision(1).is_external());
    // Neither our certificate nor a token that we could recognise is needed.
    world.without_certificate();
    world.secret("token", opaque(&[("token", "weak")]));
    assert!(matches!(world.resolve().outcome, Outcome::Resolved(_)));
    world.spec.opamp.endpoint = Some("http://opamp.other.example.org/any/path".into());
    world.spec.opamp.headers.clear();
    world.spec.opamp.tls.ca_bundle_ref = None;
    assert!(matches!(world.resolve().outcome, Outcome::Resolved(_)));

    let locked = (ConditionType::Accepted, Reason::WouldLockOut);
    let mut ours = external();
    ours.spec.opamp.endpoint = Some("wss://opamp.example.com:4320/v1/opamp".into());
    assert_eq!(ours.refused(), locked, "they would come back");
    ours.spec.opamp.endpoint = None;
    assert_eq!(ours.refused(), locked);
    // What no agent could use is refused all the same.
    let mut broken = external();
    broken.bundle(opaque(&[("ca.crt", "hello")]));
    let invalid = (ConditionType::ResolvedRefs, Reason::InvalidPEM);
    assert_eq!(broken.refused(), invalid);
}

#[test]
fn law2_what_is_for_another_server_is_no_credential_here() {
    let world = external();
    let shown = Presented::new(
        vec![world.client.der.clone()],
        Some(format!("Bearer {STRONG_TOKEN}").as_bytes()),
        None,
    );
    let proved = |world: &World| {
        let entry = world.draft().ledger_entry(1, at(0).wall);
        assert_eq!(entry.served_by, world.spec.opamp.served_by);
        let trust = world.trust(&Ledger::new(vec![entry]));
        match trust.verify(&shown, &Bearer::Nobody, at(0)) {
            Proof::Proved(verdict) => !verdict.recognised.is_empty(),
            _ => false,
        }
    };
    assert!(!proved(&world));
    assert!(proved(&World::new()), "as it is with our own");
}

/// What is offered for the server of another is recognised by nobody here, so
/// whoever came back with it would stay outside.
#[test]
fn law4_settings_for_another_server_never_lead_back_here() {
    let mut world = external();
    let alias = Issue {
        host: "alias.example.com",
        ..Issue::server()
    };
    let pair = world.ca.issue(&alias);
    world.serve(&pair);
    for (endpoint, leads_here) in [
        ("wss://opamp.example.com:4320/v1/opamp", true),
        ("https://opamp.example.com:4320/v1/opamp", true),
        ("wss://opamp.example.com:4320/v1/opamp?tenant=a", true),
        ("wss://alias.example.com:4320/v1/opamp", true),
        ("wss://other.example.com:4320/v1/opamp", false),
        ("wss://opamp.example.com:4321/v1/opamp", false),
        ("wss://opamp.example.com:4320/v2/opamp", false),
    ] {
        world.spec.opamp.endpoint = Some(endpoint.into());
        let refused = match world.resolve().outcome {
            Outcome::Unresolved(refusal) => Some(refusal.reason),
            _ => None,
        };
        let wanted = leads_here.then_some(Reason::WouldLockOut);
        assert_eq!(refused, wanted, "{endpoint}");
    }
}

/// The way back: agents that come home while the first tries the new settings
/// are not sent away by the old ones.
#[test]
fn law4_nobody_goes_back_to_settings_for_another_server() {
    let away = external();
    let home = World::new();
    let mut catalog = home.catalog();
    let spec = |world: &World| Arc::new(world.spec.clone());
    let previous = |catalog: &Catalog| {
        let state = catalog.get(&home.profile).unwrap();
        state.previous.as_ref().map(|revision| revision.number())
    };
    catalog.adopt(home.revision(1), spec(&home), at(0).wall, true);
    catalog.adopt(away.revision(2), spec(&away), at(10).wall, true);
    assert_eq!(previous(&catalog), Some(1));
    catalog.adopt(home.revision(3), spec(&home), at(20).wall, true);
    assert_eq!(previous(&catalog), None);
}

#[test]
fn law4_no_serving_certificate_waits_for_who_is_elsewhere() {
    let world = external();
    let revision = world.revision(1);
    let serving = |ca: &Ca| {
        let pair = ca.issue(&Issue::server());
        Serving::read(pair.crt.as_bytes(), pair.key.as_bytes(), at(0)).unwrap()
    };
    let (old, new) = (serving(&world.ca), serving(&Ca::new("new")));
    assert_eq!(hold_back(&old, &new, [&*revision], at(0)), None);
}

/// The agent of a bench, as the status sees it.
fn record(world: &World, bench: &Bench) -> AgentRecord {
    AgentRecord {
        profile: Some(world.profile.clone()),
        ..bench.agent.record()
    }
}

fn catalog(world: &World) -> Catalog {
    let mut catalog = world.catalog();
    let spec = Arc::new(world.spec.clone());
    catalog.adopt(world.revision(1), spec, at(0).wall, true);
    catalog
}

/// The counts and the condition `Ready` with this agent.
fn counts(world: &World, bench: &Bench, seconds: u64) -> (AgentCounts, Condition) {
    let catalog = catalog(world);
    let state = catalog.get(&world.profile).unwrap();
    let agents = [record(world, bench)];
    let none = (Overlap::default(), Rollout::default());
    let status = summarize(state, &agents, &none.0, &none.1, at(seconds));
    let mut all = status.conditions.into_iter();
    let ready = all.find(|c| c.type_ == "Ready").unwrap();
    (status.agents.unwrap(), ready)
}

#[test]
fn law6_who_left_for_another_server_has_departed_and_is_never_up_to_date() {
    let world = external();
    let counts = |bench: &Bench, seconds| counts(&world, bench, seconds);
    let mut bench = Bench::new(world.revision(1));
    let (id, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    bench.leave(id, 1);
    let (before, ready) = counts(&bench, 2);
    assert_eq!((before.in_progress, before.departed), (1, 0));
    assert_eq!(ready.status, "False");
    let step = bench.agent.tick(at(121));
    assert_eq!(step.transitions, [Transition::Departed]);
    let (after, ready) = counts(&bench, 122);
    assert_eq!(bench.agent.record().state, SettingsState::Departed);
    assert_eq!((after.departed, after.up_to_date, after.lost), (1, 0, 0));
    assert_eq!(after.in_progress + after.pending + after.failed, 0);
    assert_eq!((&*ready.status, &*ready.reason), ("True", "Complete"));
    assert!(ready.message.starts_with("0 of 1 agents run"), "{ready:?}");
    assert!(ready.message.contains("1 went to the server"), "{ready:?}");

    // An agent that a process before this one lost sight of has departed too.
    let lost = AgentRecord {
        state: SettingsState::Lost,
        ..bench.agent.record()
    };
    let restored = Bench::restored(lost, world.revision(1));
    assert_eq!(counts(&restored, 123).0.departed, 1);
    let agents = [record(&world, &restored)];
    let catalog = catalog(&world);
    let state = catalog.get(&world.profile).unwrap();
    let none = (Overlap::default(), Rollout::default());
    let status = summarize(state, &agents, &none.0, &none.1, at(123));
    assert_eq!(status.failures, []);
    // Another revision for that server does not bring it back.
    let mut next = self::catalog(&world);
    let spec = Arc::new(world.spec.clone());
    next.adopt(world.revision(2), spec, at(124).wall, true);
    let gone = AgentRecord {
        state: SettingsState::Departed,
        ..record(&world, &restored)
    };
    let state = next.get(&world.profile).unwrap();
    let status = summarize(state, &[gone], &none.0, &none.1, at(125));
    assert_eq!(status.agents.unwrap().departed, 1);
    // With a server of our own it would be lost.
    let own = World::new();
    let mut bench = Bench::new(own.revision(1));
    let (id, _) = bench.come(nothing(), 0);
    bench.leave(id, 1);
    assert_eq!(bench.agent.tick(at(121)).transitions, [Transition::Lost]);
}

#[test]
fn law5_who_returns_from_another_server_starts_with_fresh_attempts() {
    let mut bench = Bench::new(external().revision(1));
    let mut now = 0;
    for turn in 0..6 {
        let (id, heard) = bench.come(nothing(), now);
        assert!(heard.offers(), "turn {turn}");
        bench.leave(id, now + 1);
        bench.agent.tick(at(now + 121));
        now += 130;
    }
    // One that does not go is no departed one: it backs off.
    let mut bench = Bench::new(external().revision(1));
    let (id, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    bench.leave(id, 1);
    let (id, heard) = bench.come(nothing(), 20);
    assert!(!heard.offers());
    assert_eq!(bench.refresh(id, 59).push, None);
    assert!(bench.refresh(id, 61).push.is_some());
    // And one that comes back with what it was given is left alone.
    let mut bench = Bench::new(external().revision(1));
    let (id, _) = bench.come(nothing(), 0);
    bench.leave(id, 1);
    bench.agent.tick(at(121));
    let (_, heard) = bench.come(bench.marked(), 500);
    assert!(!heard.offers());
    assert_eq!(bench.agent.record().state, SettingsState::Pending);
    // The bucket holds for it as for anybody (law 5).
    let mut bench = Bench::new(external().revision(1));
    let (mut offers, mut now) = (0, 0);
    while now < 3 * 3600 {
        let (id, heard) = bench.come(nothing(), now);
        offers += u32::from(heard.offers());
        bench.leave(id, now + 1);
        bench.agent.tick(at(now + 121));
        now += 130;
    }
    assert!((20..=10 + 3 * 6).contains(&offers), "{offers}");
    assert!(bench.agent.record().exhausted || offers < 28);
}

#[test]
fn law3_the_first_that_departs_and_stays_away_opens_the_way_for_the_rest() {
    let world = external();
    let revision = world.revision(1);
    let mut bench = Bench::new(world.revision(1));
    let (id, _) = bench.come(nothing(), 0);
    let timeout = Duration::from_secs(120);
    let step = |bench: &Bench, before: &Rollout, seconds| {
        let agents = [record(&world, bench)];
        plan(before, &revision, &agents, timeout, at(seconds)).0
    };
    let rollout = step(&bench, &Rollout::default(), 0);
    bench.leave(id, 1);
    let rollout = step(&bench, &rollout, 119);
    assert!(!rollout.opened && !rollout.halted);
    bench.agent.tick(at(121));
    let opened = step(&bench, &rollout, 122);
    assert!(opened.opened && !opened.halted);
    // One that does not go halts it, as ever.
    let mut stays = Bench::new(world.revision(1));
    let (_, heard) = stays.come(nothing(), 0);
    assert!(heard.offers());
    let rollout = step(&stays, &Rollout::default(), 0);
    let rollout = step(&stays, &rollout, 300);
    assert!(rollout.halted && !rollout.opened);
}

/// A process that did not send the first one there calls it lost.
#[test]
fn law8_a_restart_on_the_way_to_another_server_halts_nothing() {
    let world = external();
    let mut bench = Bench::new(world.revision(1));
    let (id, _) = bench.come(nothing(), 0);
    bench.leave(id, 1);
    let lost = AgentRecord {
        state: SettingsState::Lost,
        ..record(&world, &bench)
    };
    let timeout = Duration::from_secs(120);
    let before = Rollout::default();
    let (rollout, _) = plan(&before, &world.revision(1), &[lost], timeout, at(400));
    assert!(rollout.opened && !rollout.halted, "{rollout:?}");
}

/// That one that polls is gone shows late.
#[test]
fn law3_a_slow_poller_that_departs_is_waited_for() {
    let world = external();
    let mut bench = Bench::new(world.revision(1));
    let (id, _) = bench.come(nothing(), 0);
    bench.leave(id, 1);
    let minutes = 5;
    let polls = AgentRecord {
        interval: Duration::from_secs(60 * minutes),
        ..record(&world, &bench)
    };
    let timeout = Duration::from_secs(120);
    let step = |before: &Rollout, seconds| {
        let agents = std::slice::from_ref(&polls);
        plan(before, &world.revision(1), agents, timeout, at(seconds)).0
    };
    let rollout = step(&Rollout::default(), 0);
    // Three polls that do not come, and then two minutes.
    let departs = 3 * 60 * minutes + 120;
    assert!(!step(&rollout, departs).halted);
    assert!(step(&rollout, 2 * departs).halted);
}

/// The way back: agents whose credentials we are to know again need a revision
/// of which the ledger says so.
#[test]
fn law8_the_same_settings_served_by_another_are_another_revision() {
    let mut world = World::new();
    world.spec.opamp.endpoint = Some("wss://opamp.example.com/v1/opamp".into());
    let mut catalog = catalog(&world);
    let before = world.revision(1);
    let key = world.profile.clone();
    let trust = world.trust(&Ledger::default());
    let mut settle = |world: &World, seconds: u64| {
        let stored = Stored {
            generation: i64::try_from(seconds).unwrap(),
            uid: None,
            spec: Ok(Arc::new(world.spec.clone())),
            status: OpAMPConnectionProfileStatus::default(),
        };
        catalog.set_profile(&key, Some(stored), at(seconds));
        let context = Context {
            advertised_url: &"wss://opamp.example.com:4320/v1/opamp".parse().unwrap(),
            path: "/v1/opamp",
            serving: Some(world.serving()),
            trust: &trust,
            keys: &world.keys,
        };
        catalog.settle(&key, &context, at(seconds))
    };
    assert!(matches!(settle(&world, 2), Settled::Unchanged));
    world.spec.opamp.served_by = ServedBy::External;
    let Settled::Draft(draft, _) = settle(&world, 3) else {
        panic!("no new revision");
    };
    assert_eq!(draft.marker, before.marker(), "agents have it already");
}

/// It has settings for another server, and is here: they lead back, or it keeps
/// them for itself. Either way it is not where it was sent.
#[test]
fn law6_who_shows_settings_for_another_server_here_is_not_there() {
    let world = external();
    let revision = world.revision(1);
    let mut bench = Bench::new(world.revision(1));
    let (id, heard) = bench.come(bench.marked(), 0);
    assert!(!heard.offers());
    let (counts, ready) = counts(&world, &bench, 1);
    assert_eq!(
        (counts.up_to_date, counts.departed, counts.pending),
        (0, 0, 1)
    );
    assert_eq!(bench.agent.record().state, SettingsState::Pending);
    assert_eq!(ready.status, "False");
    let agents = [record(&world, &bench)];
    let timeout = Duration::from_secs(120);
    let step = |before: &Rollout, s| plan(before, &revision, &agents, timeout, at(s)).0;
    let rollout = step(&step(&Rollout::default(), 0), 600);
    assert!(rollout.halted && !rollout.opened, "{rollout:?}");
    // Once it is away it went there.
    bench.leave(id, 2);
    let (counts, _) = self::counts(&world, &bench, 3);
    assert_eq!((counts.up_to_date, counts.departed), (0, 1));
}

/// Whoever only opens a connection says nothing of the agent.
#[test]
fn law6_a_connection_without_a_word_brings_nobody_back() {
    let world = external();
    let mut bench = Bench::new(world.revision(1));
    let (id, _) = bench.come(nothing(), 0);
    bench.leave(id, 1);
    bench.agent.tick(at(121));
    let silent = bench.connect(Transport::WebSocket, nothing(), 0, 200);
    assert_eq!(bench.agent.record().state, SettingsState::Departed);
    assert_eq!(counts(&world, &bench, 201).0.departed, 1);
    let step = bench.agent.detach(silent, at(202));
    assert!(!step.transitions.contains(&Transition::Switching));
    assert_eq!(bench.agent.tick(at(900)).transitions, []);
    assert_eq!(bench.agent.record().state, SettingsState::Departed);
    // With its first word it is back, and its attempts begin anew.
    let (_, heard) = bench.come(nothing(), 1_000);
    assert!(heard.offers());
    assert_eq!(bench.agent.record().state, SettingsState::Offered);
}
