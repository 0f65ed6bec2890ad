//! Law 8: a restart offers nothing anew, refuses nobody and loses nobody.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::values::ProfileKey;
use opamp_operator_core::{
    catalog::{Candidate, Choice, candidates},
    fleet::{Agent, AgentRecord, Evidence, Link, LinkId, SettingsState, Transition, Transport},
    identity::{
        Authenticator, Bearer, Fingerprint, KeyRing, Ledger, Presented, Proof, Recognition, Trust,
        Verdict,
    },
    offer::Revision,
};
use opamp_wire::proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value::Value};

use crate::common::{
    Bench, CAPABLE, STRONG_TOKEN, World, at, bench, candidate, evidence, full, nothing, opaque,
    token, uid,
};

#[test]
fn law8_a_restart_offers_nothing_to_who_has_the_settings() {
    let world = World::new();
    let mut before = Bench::new(world.revision(1));
    let (old, _) = before.come(nothing(), 0);
    before.leave(old, 1);
    let (link, _) = before.come(before.marked(), 2);
    let mut bench = Bench::restored(before.agent.record(), world.revision(1));
    bench.hold = Duration::from_secs(90);
    let same = bench.connect(Transport::WebSocket, before.marked(), 700, 0);
    let bare = AgentToServer {
        capabilities: CAPABLE,
        ..Default::default()
    };
    let heard = bench.say(same, bare, 0);
    assert!(!heard.offers());
    for seconds in [90, 1_000, 100_000] {
        assert!(bench.refresh(same, seconds).push.is_none());
    }
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    assert!(!heard.transitions.contains(&Transition::LostSettings));
    assert_eq!(before.agent.link(link).unwrap().id, link);
}

/// The same settings may get another number. Who proved them by a credential
/// has them still, unless others were offered since that share it.
#[test]
fn law8_a_new_number_for_the_same_settings_offers_nothing() {
    let mut world = World::new();
    let shown = Presented::new(vec![world.client.der.clone()], None, None);
    let again = Arc::new(Revision::new(world.draft(), 3).known_as([1, 3].into()));
    let stranger = world.revision(3);
    let mut bench = Bench::new(world.revision(1));
    let (old, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    bench.leave(old, 1);
    let (link, _) = bench.come(shown.clone(), 2);
    assert_eq!(evidence(&bench), Some(Evidence::ClientCertificate));
    let number = |bench: &Bench| bench.agent.record().proved.map(|proved| proved.number);

    // On a link that is there, and after a restart.
    let record = bench.agent.record();
    for (revision, offers) in [(&again, false), (&stranger, true)] {
        let mut bench = Bench::restored(record.clone(), Arc::clone(revision));
        let (_, heard) = bench.come(shown.clone(), 1_000);
        assert_eq!(heard.offers(), offers);
        assert_eq!(number(&bench) == Some(3), !offers);
    }
    let others = world.revision_with(2, 77);
    bench.target.current = Arc::clone(&again);
    assert!(bench.refresh(link, 1_000).push.is_none());
    assert_eq!(number(&bench), Some(3));

    let mut bench = Bench::restored(record, others);
    let (link, heard) = bench.come(shown.clone(), 2_000);
    assert!(heard.offers());
    bench.leave(link, 2_001);
    bench.target.current = again;
    assert!(bench.come(shown, 9_000).1.offers(), "it may run the others");
}

/// An agent that had an offer when the operator ended is expected back, and
/// what is not expected any more does not stay so.
#[test]
fn law8_a_restart_leaves_no_agent_in_a_state_that_nothing_ends() {
    let mut before = bench();
    before.come(nothing(), 0);
    assert_eq!(before.agent.record().state, SettingsState::Offered);
    let restored = || Bench::restored(before.agent.record(), World::new().revision(1));
    let mut bench = restored();
    assert_eq!(bench.agent.record().state, SettingsState::Switching);
    assert_eq!(bench.agent.tick(at(0)).until, Some(at(120).uptime));
    let step = bench.agent.tick(at(120));
    assert_eq!(step.transitions, [Transition::Lost]);
    // It is here, whatever is offered to it or not.
    for seconds in [1, 200] {
        let mut bench = restored();
        bench.agent.tick(at(seconds));
        bench.target.paused = true;
        bench.come(nothing(), seconds);
        assert_eq!(bench.agent.record().state, SettingsState::Pending);
    }
}

/// While it is here nobody writes down when it was last heard. One that was
/// connected for months, and the operator was killed.
#[test]
fn law8_who_was_here_when_the_process_ended_was_heard_until_then() {
    let mut before = bench();
    before.target.paused = true;
    let (link, _) = before.come(nothing(), 0);
    let here = before.agent.record();
    let long = 90 * 24 * 3_600;
    let restore = |record: &AgentRecord| Agent::restore(record.clone(), at(long));
    let mut agent = restore(&here);
    assert_eq!(agent.last_contact(), at(long).wall);
    let expected = agent.record();
    assert_eq!(
        (expected.connected, expected.capable, expected.receives),
        (here.connected, true, false)
    );
    // It does not come back: it is said that it is away, once.
    assert_eq!(agent.tick(at(long)).until, Some(at(long + 120).uptime));
    let gone = agent.tick(at(long + 120)).transitions;
    assert_eq!(gone, [Transition::Disconnected]);
    assert_eq!(agent.record().connected, None);
    assert_eq!(agent.tick(at(long + 121)).transitions, []);
    // Back in time it was never away; one that left before was.
    let mut back = Bench::restored(here, World::new().revision(1));
    back.target.paused = true;
    back.come(nothing(), 1);
    assert_eq!(back.agent.tick(at(200)).transitions, []);
    before.leave(link, 1);
    let mut away = restore(&before.agent.record());
    assert_eq!(away.last_contact(), at(0).wall);
    assert_eq!(away.tick(at(long + 120)).transitions, []);
}

#[test]
fn law8_an_unknown_agent_waits_unless_it_is_new() {
    let hold = Duration::from_secs(90);
    let mut bench = bench();
    bench.hold = hold;
    let link = bench.connect(Transport::WebSocket, nothing(), 500, 10);
    let bare = AgentToServer {
        capabilities: CAPABLE,
        ..Default::default()
    };
    let heard = bench.say(link, bare, 10);
    assert!(!heard.offers());
    assert_eq!(heard.until, Some(Duration::from_secs(100)));
    assert!(bench.refresh(link, 99).push.is_none());
    assert!(bench.refresh(link, 100).push.is_some());

    // Nor is one new that tells all of itself in the middle of its sequence.
    let mut known = self::bench();
    known.hold = hold;
    let link = known.connect(Transport::WebSocket, nothing(), 7, 10);
    assert!(!known.say(link, full(), 10).offers());
    assert!(known.refresh(link, 99).push.is_none());
    assert!(known.refresh(link, 100).push.is_some());

    let mut fresh = self::bench();
    fresh.hold = hold;
    assert!(fresh.come(nothing(), 10).1.offers());
    assert_eq!(fresh.agent.uid(), Agent::new(uid(1), "a", at(0)).uid());
}

#[test]
fn law8_the_ledger_recognises_what_was_given_away() {
    let world = World::new();
    let mut ledger = Ledger::default();
    ledger.put(world.draft().ledger_entry(1, at(0).wall));
    // As it is read back by the next process.
    let ledger = Ledger::new(ledger.entries().to_vec());
    let trust = world.trust(&ledger);
    let leaf = Presented::new(vec![world.client.der.clone()], None, None);
    for shown in [&leaf, &token(STRONG_TOKEN)] {
        let Proof::Proved(verdict) = trust.verify(shown, &Bearer::Nobody, at(0)) else {
            panic!("not recognised: {shown:?}");
        };
        assert_eq!(verdict.primary, None);
        assert_eq!(verdict.recognised.first().map(|r| r.number), Some(1));
    }
    assert_eq!(
        trust.verify(&token("other"), &Bearer::Nobody, at(0)),
        Proof::Refused
    );

    let mut weak = World::new();
    weak.secret("token", opaque(&[("token", "weak")]));
    let entry = weak.draft().ledger_entry(1, at(0).wall);
    assert_eq!(entry.authorization, None);
    let trust = weak.trust(&Ledger::new(vec![entry]));
    assert_eq!(
        trust.verify(&token("weak"), &Bearer::Nobody, at(0)),
        Proof::Refused
    );
}

#[test]
fn law8_a_retired_key_still_verifies() {
    let world = World::new();
    let ledger = Ledger::new(vec![world.draft().ledger_entry(1, at(0).wall)]);
    let ring = |keys: Vec<[u8; 32]>| {
        let keys = KeyRing::new(keys).unwrap();
        Trust::new(Vec::new(), keys, &ledger)
    };
    let leaf = Presented::new(vec![world.client.der.clone()], None, None);
    assert_eq!(leaf.leaf, Some(Fingerprint::of(&world.client.der)));
    for shown in [leaf, token(STRONG_TOKEN)] {
        let both = ring(vec![[8; 32], [7; 32]]).verify(&shown, &Bearer::Nobody, at(0));
        assert!(matches!(both, Proof::Proved(_)), "{both:?}");
        assert_eq!(
            ring(vec![[8; 32]]).verify(&shown, &Bearer::Nobody, at(0)),
            Proof::Refused
        );
    }
}

/// What it said of itself before does, if it says nothing on this link.
#[test]
fn law8_no_profile_is_chosen_before_the_agent_is_described() {
    let world = World::new();
    let selecting = |selector: serde_json::Value| {
        let one = Candidate {
            selector: Arc::new(serde_json::from_value(selector).unwrap()),
            ..candidate(&world.profile)
        };
        candidates("a", [one].iter())
    };
    let reads = selecting(serde_json::json!({"matchAttributes": {"team": "red"}}));
    let reads_not = selecting(serde_json::json!({}));
    let chosen = Choice::Profile(world.profile.clone());
    let bare = || AgentToServer {
        capabilities: CAPABLE,
        ..Default::default()
    };
    let mut bench = bench();
    bench.target.paused = true;
    let link = bench.connect(Transport::WebSocket, nothing(), 700, 0);
    assert_eq!(bench.say(link, bare(), 0).reply.flags & 1, 1, "it is asked");
    assert_eq!(bench.agent.choose(link, &reads), Choice::NotYet);
    assert_eq!(bench.agent.choose(link, &reads_not), chosen);
    let told = AgentToServer {
        agent_description: Some(AgentDescription {
            identifying_attributes: vec![KeyValue {
                key: "team".into(),
                value: Some(AnyValue {
                    value: Some(Value::StringValue("red".into())),
                }),
            }],
            ..AgentDescription::default()
        }),
        ..bare()
    };
    bench.say(link, told, 1);
    assert_eq!(bench.agent.choose(link, &reads), chosen);
    // The next process, and a link on which nothing is said of it yet.
    let mut next = Bench::restored(bench.agent.record(), world.revision(1));
    let link = next.connect(Transport::WebSocket, nothing(), 900, 0);
    next.say(link, bare(), 0);
    assert_eq!(next.agent.choose(link, &reads), chosen);
}

/// Nobody knows any more whose the instance UID is, and that it was offered
/// something: it comes by what many may hold.
#[test]
fn law2_without_a_binding_a_recognised_credential_is_admitted_for_its_own_profile() {
    let world = World::new();
    let shown = Verdict {
        recognised: [Recognition {
            profile: world.profile.clone(),
            number: 1,
        }]
        .into(),
        ..Verdict::default()
    };
    let other = ProfileKey::new("a", "another");
    let offers_to_any = |profile: &ProfileKey| candidates("a", [candidate(profile)].iter());
    let chosen = |bench: &mut Bench, seconds| {
        let link = bench.connect_as(shown.clone(), nothing(), seconds).unwrap();
        [&world.profile, &other].map(|p| bench.agent.choose(link, &offers_to_any(p)))
    };
    let own = Choice::Profile(world.profile.clone());
    let mut unbound = bench();
    let waits = Choice::AwaitingProof(other.clone());
    assert_eq!(chosen(&mut unbound, 0), [own.clone(), waits]);
    assert_eq!(unbound.agent.binding(), None, "and it owns nothing");
    // One that was seen to be offered it gets what its tenant gives anybody.
    let mut bound = bench();
    let (link, heard) = bound.come(nothing(), 0);
    assert!(heard.offers());
    bound.leave(link, 1);
    assert_eq!(chosen(&mut bound, 2), [own, Choice::Profile(other.clone())]);
}

/// Its record is gone, and the certificate that it was offered is under a CA
/// that proves somebody: then it restarts with its bootstrap token.
#[test]
fn law8_what_we_offered_does_not_own_an_instance_uid() {
    let world = World::new();
    let revision = world.revision(1);
    let ledger = Ledger::new(vec![world.draft().ledger_entry(1, at(0).wall)]);
    let ca = world.client_ca.der();
    let bearer = |name: &str, token: &str| {
        let header = format!("Bearer {token}");
        Authenticator::token(
            name,
            "a",
            name,
            [Fingerprint::of_authorization(header.as_bytes())],
        )
    };
    let trust = Trust::new(
        vec![
            bearer("bootstrap", "bootstrap"),
            bearer("rotated", STRONG_TOKEN),
            Authenticator::certificate("fleet", "a", &[ca]).unwrap(),
        ],
        world.keys.clone(),
        &ledger,
    );
    let marked = |presented: Presented| Presented {
        marker: Some(revision.marker()),
        ..presented
    };
    let certificate = Presented::new(vec![world.client.der.clone()], None, None);
    let cases = [
        certificate.clone(),
        marked(certificate),
        marked(token(STRONG_TOKEN)),
    ];
    for shown in cases {
        let mut bench = Bench::new(Arc::clone(&revision));
        let mut come = |presented: &Presented, seconds: u64| {
            let Proof::Proved(verdict) = trust.verify(presented, &Bearer::Nobody, at(seconds))
            else {
                panic!("refused: {presented:?}");
            };
            let link = bench.connect_as(verdict, presented.clone(), seconds)?;
            bench.say(link, full(), seconds);
            // Whatever it may have is chosen and offered as to any other.
            let all = candidates("a", [candidate(&world.profile)].iter());
            let chosen = bench.agent.choose(link, &all);
            assert_eq!(chosen, Choice::Profile(world.profile.clone()));
            bench.leave(link, seconds + 100);
            Some(bench.agent.record())
        };
        let record = come(&shown, 0).unwrap();
        assert_eq!(record.binding, None, "{shown:?}");
        assert!(record.offered.iter().any(|r| r.number == 1));
        let record = come(&token("bootstrap"), 1_000).expect("refused after its restart");
        assert_eq!(record.binding.unwrap().subject, "bootstrap");
        assert!(come(&shown, 2_000).is_some());
    }
    // A bootstrap token that is offered as well still owns.
    let mut bench = Bench::new(Arc::clone(&revision));
    let Proof::Proved(verdict) = trust.verify(&token(STRONG_TOKEN), &Bearer::Nobody, at(0)) else {
        panic!("refused");
    };
    bench.connect_as(verdict, token(STRONG_TOKEN), 0).unwrap();
    assert!(bench.agent.record().binding.is_some());
}

/// The operator was killed between a push and the record of it.
#[test]
fn law8_a_record_older_than_the_last_offer_locks_nobody_out() {
    let world = World::new();
    let before = {
        let mut bench = Bench::new(world.revision(4));
        bench.come(nothing(), 0);
        bench.agent.record()
    };
    let shows = |number: u64, namespace: &str| {
        let profile = ProfileKey {
            namespace: namespace.into(),
            name: world.revision(1).profile().name.clone(),
        };
        Verdict {
            recognised: [Recognition { profile, number }].into(),
            ..Verdict::default()
        }
    };
    let admits = |agent: &mut Agent, verdict: Verdict| {
        let link = LinkId(1_000);
        let link = Link::new(
            link,
            Transport::WebSocket,
            nothing(),
            verdict,
            Duration::ZERO,
        );
        agent.attach(link, at(0)).is_some()
    };
    let restored = || Agent::restore(before.clone(), at(0));
    assert!(admits(&mut restored(), shows(4, "a")));
    assert!(admits(&mut restored(), shows(5, "a")));
    // Also when a later one was offered since.
    let mut later = Bench::restored(before.clone(), world.revision(6));
    assert!(later.come(nothing(), 0).1.offers());
    assert!(admits(&mut later.agent, shows(5, "a")));
    // Older ones are known to be somebody else's; so are those of other tenants.
    assert!(!admits(&mut restored(), shows(3, "a")));
    assert!(!admits(&mut restored(), shows(5, "b")));
    // Those of an admin namespace count if the record names the profile.
    let mut selected = before.clone();
    selected.profile = Some(ProfileKey::new("b", &world.profile.name));
    let mut agent = Agent::restore(selected, at(0));
    agent.chosen(&Choice::Nobody, at(0));
    assert!(admits(&mut agent, shows(1, "b")));
    // A process that saw everything needs no such allowance.
    let mut bench = Bench::new(world.revision(4));
    bench.come(nothing(), 0);
    assert!(!admits(&mut bench.agent, shows(5, "a")));
}
