//! Laws 1, 5, 6 and 8: who is offered what, how often, and what counts.

use std::{sync::Arc, time::Duration};

use opamp_operator_api::values::ProfileKey;
use opamp_operator_core::{
    catalog::{Bound, Candidate, Choice, candidates},
    fleet::{Agent, Evidence, Link, LinkId, SettingsState, Silence, Transition, Transport},
    identity::{
        Authenticator, Fingerprint, KeyRing, Ledger, Presented, Proof, Recognition, Trust, Verdict,
    },
};
use opamp_wire::{
    AgentCapabilities, ServerCapabilities,
    proto::{AgentToServer, ConnectionSettingsStatuses},
};

use crate::common::{
    Bench, CAPABLE, Issue, STRONG_TOKEN, World, at, full, offered, opaque, reported, tls_secret,
    uid,
};

fn nothing() -> Presented {
    Presented::default()
}

fn able(capabilities: u64) -> AgentToServer {
    AgentToServer {
        capabilities,
        ..full()
    }
}

fn token(value: &str) -> Presented {
    Presented::new(Vec::new(), Some(format!("Bearer {value}").as_bytes()), None)
}

fn bench() -> Bench {
    Bench::new(World::new().revision(1))
}

fn candidate(profile: &ProfileKey) -> Candidate {
    Candidate {
        profile: profile.clone(),
        priority: 0,
        admin: false,
        selector: Arc::default(),
    }
}

fn evidence(bench: &Bench) -> Option<Evidence> {
    bench.agent.record().proved.map(|proved| proved.evidence)
}

#[test]
fn law1_offers_follow_the_newest_capabilities() {
    let mut bench = bench();
    let incapable = CAPABLE & !AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS;
    let link = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    let first = bench.say(link, able(incapable), 0);
    assert!(!first.offers());
    assert_eq!(first.reply.capabilities, Some(ServerCapabilities::OURS));
    // However long it waits, and whatever other settings it takes.
    let other = incapable | AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS;
    assert!(!bench.say(link, able(other), 4_000).offers());
    assert!(bench.refresh(link, 90_000).push.is_none());
    // It appears, and 0 does not take it away.
    let second = bench.say(link, able(CAPABLE), 90_001);
    assert!(second.offers());
    assert!(second.transitions.contains(&Transition::Capable(true)));
    let mut again = self::bench();
    let link = again.connect(Transport::WebSocket, nothing(), 0, 0);
    again.target.paused = true;
    again.say(link, able(CAPABLE), 0);
    again.say(link, able(0), 1);
    again.target.paused = false;
    assert!(again.refresh(link, 2).push.is_some(), "0 is 'not repeated'");
}

#[test]
fn law1_a_capability_that_disappears_ends_offers() {
    let mut bench = bench();
    bench.target.paused = true;
    let (link, _) = bench.come(nothing(), 0);
    let heard = bench.say(link, able(AgentCapabilities::REPORTS_STATUS), 1);
    assert!(heard.transitions.contains(&Transition::Capable(false)));
    bench.target.paused = false;
    assert!(bench.refresh(link, 2).push.is_none());
}

#[test]
fn law1_zero_on_a_new_link_is_unknown() {
    let mut bench = bench();
    bench.target.paused = true;
    bench.come(nothing(), 0);
    bench.target.paused = false;
    let link = bench.connect(Transport::WebSocket, nothing(), 0, 1);
    let heard = bench.say(link, able(0), 1);
    assert!(!heard.offers());
    assert_eq!(heard.reply.flags & 1, 1, "asked for full state");
    assert!(bench.say(link, full(), 2).offers());
}

#[test]
fn law5_one_hash_is_offered_once_on_a_link() {
    let mut bench = bench();
    let (link, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    for seconds in 1..=1_000 {
        assert!(!bench.say(link, full(), seconds * 60).offers());
        assert!(bench.refresh(link, seconds * 60).push.is_none());
    }
}

#[test]
fn law5_no_second_offer_within_15_seconds_or_in_flight() {
    let mut world = World::new();
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (old, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    // In flight: the link is still there and said nothing of the offer.
    bench.target.current = world.revision_with(2, 20);
    for seconds in [0, 14, 15, 60, 119] {
        let step = bench.refresh(old, seconds);
        assert!(step.push.is_none(), "{seconds}");
        assert_eq!(step.until, Some(Duration::from_secs(120)));
    }
    assert!(bench.refresh(old, 120).push.is_some());

    // Landed by evidence: then 15 seconds.
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (old, _) = bench.come(nothing(), 0);
    bench.leave(old, 1);
    let (new, _) = bench.come(bench.marked(), 2);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    bench.target.current = world.revision_with(2, 20);
    let step = bench.refresh(new, 14);
    assert!(step.push.is_none());
    assert_eq!(step.until, Some(Duration::from_secs(15)));
    assert!(bench.refresh(new, 15).push.is_some());
}

#[test]
fn law5_coming_back_without_evidence_backs_off() {
    let mut bench = bench();
    let (mut link, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    let mut offered_at = 0;
    for wait in [60, 300, 1_800, 7_200, 21_600, 21_600] {
        bench.leave(link, offered_at + 1);
        let (new, heard) = bench.come(nothing(), offered_at + 16);
        link = new;
        assert!(!heard.offers(), "{wait}");
        let held = Transition::HeldBack(Silence::Backoff);
        assert!(heard.transitions.contains(&held), "{wait}: {heard:?}");
        let due = offered_at + wait;
        assert_eq!(heard.until, Some(Duration::from_secs(due)));
        assert!(bench.refresh(link, due - 1).push.is_none(), "{wait}");
        assert!(bench.refresh(link, due).push.is_some(), "{wait}");
        offered_at = due;
    }
}

/// What the agent shows of other settings says nothing of these.
#[test]
fn law5_an_offer_over_http_is_repeated_after_two_polls() {
    let mut bench = bench();
    bench.target.paused = true;
    let link = bench.connect(Transport::Http, nothing(), 0, 0);
    for poll in 0..3 {
        bench.say(link, full(), poll * 300);
    }
    bench.target.paused = false;
    assert!(bench.say(link, full(), 900).offers());
    assert!(!bench.say(link, full(), 1_200).offers(), "one poll");
    assert!(bench.say(link, full(), 1_500).offers());
    // And with backoff.
    assert!(!bench.say(link, full(), 1_500 + 240).offers());
}

#[test]
fn law5_attempts_are_counted_for_each_revision() {
    let mut world = World::new();
    let previous = world.revision_with(1, 10);
    let mut bench = Bench::new(world.revision_with(2, 20));
    bench.target.previous = Some(Arc::clone(&previous));
    let (link, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    bench.leave(link, 1);
    // It came back with the settings before, and that is news.
    let shown = Presented {
        marker: Some(previous.marker()),
        ..nothing()
    };
    let (link, heard) = bench.come(shown, 20);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    assert!(!heard.offers());
    assert_eq!(heard.until, Some(at(60).uptime));
    bench.leave(link, 21);
    // Nor does an attempt with others in between.
    bench.target.bound = Bound::Nobody;
    let (link, heard) = bench.come(nothing(), 30);
    assert!(heard.offers());
    bench.leave(link, 31);
    bench.target.bound = Bound::Everyone;
    let (_, heard) = bench.come(nothing(), 50);
    assert!(!heard.offers());
    assert_eq!(heard.until, Some(at(60).uptime));
}

#[test]
fn law5_the_bucket_holds_whatever_the_hash() {
    let mut world = World::new();
    let mut bench = Bench::new(world.revision_with(1, 1));
    let (mut link, heard) = bench.come(nothing(), 0);
    let mut given = u32::from(heard.offers());
    for number in 2..=12_u32 {
        let seconds = u64::from(number) * 20;
        bench.leave(link, seconds - 1);
        link = bench.come(bench.marked(), seconds).0;
        bench.target.current = world.revision_with(u64::from(number), number);
        let step = bench.refresh(link, seconds);
        given += u32::from(step.push.is_some());
        if number == 11 {
            let held = Transition::HeldBack(Silence::BucketEmpty);
            assert_eq!(step.transitions, [held], "silence is visible");
            assert_eq!(step.until, Some(Duration::from_secs(600)));
        }
    }
    assert_eq!(given, 10);
    assert!(bench.refresh(link, 599).push.is_none());
    assert!(bench.refresh(link, 600).push.is_some());
}

#[test]
fn law5_a_killed_agent_is_offered_again_at_once_and_once() {
    let mut bench = bench();
    let (first, _) = bench.come(nothing(), 0);
    bench.leave(first, 1);
    let (second, heard) = bench.come(bench.marked(), 2);
    assert!(!heard.offers());
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
    bench.leave(second, 20);
    let (third, heard) = bench.come(nothing(), 21);
    assert!(heard.transitions.contains(&Transition::LostSettings));
    assert!(heard.offers());
    assert!(!bench.say(third, full(), 500).offers());
    bench.leave(third, 501);
    // Without evidence in between, the next waits.
    let mut other = self::bench();
    let (first, _) = other.come(nothing(), 0);
    other.leave(first, 1);
    let (second, _) = other.come(other.marked(), 2);
    other.leave(second, 20);
    let (third, _) = other.come(nothing(), 21);
    other.leave(third, 30);
    let (_, heard) = other.come(nothing(), 50);
    assert!(!heard.offers());
    assert_eq!(heard.until, Some(Duration::from_secs(21 + 60)));
}

#[test]
fn law5_a_reported_failure_is_tried_again_under_a_new_hash() {
    let mut bench = bench();
    let (link, _) = bench.come(nothing(), 0);
    let first = offered(&bench.target.current).hash;
    let failed = reported(ConnectionSettingsStatuses::Failed, &first);
    let heard = bench.say(link, failed.clone(), 5);
    assert!(!heard.offers());
    assert_eq!(bench.agent.record().state, SettingsState::Failed);
    // Asked again after the 15 s that lie between any two offers.
    assert_eq!(heard.until, Some(Duration::from_secs(15)));
    let until = bench.refresh(link, 15).until;
    assert_eq!(until, Some(Duration::from_secs(605)));
    // Said again it is no second failure.
    bench.say(link, failed, 100);
    assert!(bench.refresh(link, 604).push.is_none());
    let again = bench.refresh(link, 605).push.unwrap();
    let second = crate::common::decode(again).hash;
    assert_ne!(first, second);
    // The wait doubles.
    let failed = reported(ConnectionSettingsStatuses::Failed, &second);
    bench.say(link, failed, 610);
    let until = bench.refresh(link, 620).until;
    assert_eq!(until, Some(Duration::from_secs(610 + 1_200)));
}

#[test]
fn law5_a_failure_waits_no_longer_than_half_of_what_the_old_credential_has() {
    let world = World::new();
    // The tests' time begins a day before it ends.
    let old = world.ca.issue(&Issue {
        to: (2030, 1, 2),
        ..Issue::client()
    });
    let left = 16 * 60;
    let now = 24 * 3600 - left;
    let mut bench = Bench::new(world.revision(1));
    let (link, _) = bench.come(Presented::new(vec![old.der], None, None), now);
    let failed = reported(
        ConnectionSettingsStatuses::Failed,
        &offered(&bench.target.current).hash,
    );
    bench.say(link, failed, now);
    let until = bench.refresh(link, now + 15).until;
    assert_eq!(until, Some(Duration::from_secs(now + left / 2)));
}

/// A bare message comes first, and what is asked for then says it.
#[test]
fn law5_a_failure_counts_also_after_the_agent_came_back() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    let first = offered(&bench.target.current).hash;
    bench.leave(old, 1);
    let link = bench.connect(Transport::WebSocket, nothing(), 500, 20);
    let bare = AgentToServer {
        capabilities: CAPABLE,
        ..Default::default()
    };
    bench.say(link, bare, 20);
    let failed = reported(ConnectionSettingsStatuses::Failed, &first);
    let heard = bench.say(link, failed.clone(), 21);
    assert_eq!(bench.agent.record().state, SettingsState::Failed);
    assert_eq!(heard.until, Some(at(21 + 600).uptime));
    bench.say(link, failed, 100);
    let again = bench.refresh(link, 621).push.unwrap();
    assert_ne!(crate::common::decode(again).hash, first);
}

#[test]
fn law6_applied_of_a_retry_stays_proved() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    let first = offered(&bench.target.current).hash;
    bench.say(old, reported(ConnectionSettingsStatuses::Failed, &first), 5);
    let again = bench.refresh(old, 605).push.unwrap();
    let second = crate::common::decode(again).hash;
    bench.leave(old, 606);
    let applied = reported(ConnectionSettingsStatuses::Applied, &second);
    let link = bench.connect(Transport::WebSocket, nothing(), 0, 610);
    bench.say(link, applied.clone(), 610);
    assert_eq!(evidence(&bench), Some(Evidence::Report));
    for seconds in [700, 7_000, 70_000] {
        let heard = bench.say(link, full(), seconds);
        assert!(!heard.offers());
        assert_eq!(heard.transitions, []);
        assert!(bench.refresh(link, seconds).push.is_none());
    }
    assert_eq!(evidence(&bench), Some(Evidence::Report));
    // A process that has forgotten the counter believes it too.
    let mut later = Bench::restored(bench.agent.record(), Arc::clone(&bench.target.current));
    let link = later.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(!later.say(link, applied, 0).offers());
    assert_eq!(evidence(&later), Some(Evidence::Report));
}

#[test]
fn law6_the_marker_takes_a_reported_failure_away() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    let hash = offered(&bench.target.current).hash;
    bench.say(old, reported(ConnectionSettingsStatuses::Failed, &hash), 1);
    assert_eq!(bench.agent.record().state, SettingsState::Failed);
    bench.leave(old, 2);
    bench.come(bench.marked(), 3);
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
}

#[test]
fn law6_a_certificate_or_token_counts_if_it_is_a_new_one() {
    let world = World::new();
    let certificate = Presented::new(vec![world.client.der.clone()], None, None);
    let cases = [
        (certificate.clone(), Evidence::ClientCertificate),
        (token(STRONG_TOKEN), Evidence::Token),
    ];
    for (shown, kind) in cases {
        let mut bench = Bench::new(world.revision(1));
        let (old, heard) = bench.come(token("bootstrap"), 0);
        assert!(heard.offers());
        bench.leave(old, 1);
        let (new, heard) = bench.come(shown.clone(), 20);
        assert!(!heard.offers(), "{kind:?}");
        assert_eq!(evidence(&bench), Some(kind));
        // It stays proved on the next link that shows the same.
        bench.leave(new, 30);
        bench.come(shown.clone(), 40);
        assert_eq!(evidence(&bench), Some(kind));

        // What it showed when it was offered proves nothing.
        let mut bench = Bench::new(world.revision(1));
        let (old, heard) = bench.come(shown.clone(), 0);
        assert!(heard.offers(), "{kind:?}");
        bench.leave(old, 1);
        bench.come(shown, 20);
        assert_eq!(evidence(&bench), None);
    }
}

/// It went back to the settings before, which share the token and the
/// certificate, and says nothing, or that it applied the new ones.
#[test]
fn law6_the_marker_of_other_settings_outranks_every_other_evidence() {
    for says in [None, Some(ConnectionSettingsStatuses::Applied)] {
        let mut world = World::new();
        let mut bench = Bench::new(world.revision_with(2, 20));
        bench.target.previous = Some(world.revision_with(1, 10));
        let (old, heard) = bench.come(token("bootstrap"), 0);
        assert!(heard.offers());
        bench.leave(old, 1);
        let certificate = vec![world.client.der.clone()];
        let authorization = format!("Bearer {STRONG_TOKEN}");
        let shown = Presented {
            marker: bench.target.previous.as_ref().map(|r| r.marker()),
            ..Presented::new(certificate, Some(authorization.as_bytes()), None)
        };
        let link = bench.connect(Transport::WebSocket, shown, 0, 20);
        let hash = offered(&bench.target.current).hash;
        bench.say(
            link,
            says.map_or_else(full, |says| reported(says, &hash)),
            20,
        );
        assert_eq!(bench.agent.record().proved.map(|p| p.number), Some(1));
        assert_ne!(bench.agent.record().state, SettingsState::Applied);
    }
}

/// An agent that keeps its settings went back to much older ones.
#[test]
fn law6_another_marker_takes_the_proof_back() {
    let mut world = World::new();
    let ancient = world.revision_with(1, 10).marker();
    let mut bench = Bench::new(world.revision_with(3, 30));
    bench.come(bench.marked(), 0);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    let shown = Presented {
        marker: Some(ancient),
        ..nothing()
    };
    let (link, heard) = bench.come(shown, 10);
    assert!(heard.transitions.contains(&Transition::LostSettings));
    assert_eq!(evidence(&bench), None);
    bench.leave(link, 11);
    // What is no longer held to compare it with stays as it was.
    for number in 4..=6 {
        bench.target.previous = Some(Arc::clone(&bench.target.current));
        bench.target.current = world.revision_with(number, u32::try_from(number).unwrap());
        bench.target.paused = true;
        let shown = match number {
            4 => bench.target.previous.as_ref().map(|r| r.marker()),
            _ => Some(ancient),
        };
        let shown = Presented {
            marker: shown,
            ..nothing()
        };
        bench.come(shown, 20);
        let proved = bench.agent.record().proved.map(|p| p.number);
        assert_eq!(proved, Some(3), "{number}");
    }
}

#[test]
fn law6_applied_counts_on_a_later_link_only() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    let hash = offered(&bench.target.current).hash;
    let applied = || reported(ConnectionSettingsStatuses::Applied, &hash);
    let heard = bench.say(old, applied(), 1);
    assert_eq!(evidence(&bench), None, "{heard:?}");
    bench.leave(old, 2);
    let new = bench.connect(Transport::WebSocket, nothing(), 0, 3);
    let other = reported(ConnectionSettingsStatuses::Applied, b"another hash");
    bench.say(new, other, 3);
    assert_eq!(evidence(&bench), None);
    bench.say(new, applied(), 4);
    assert_eq!(evidence(&bench), Some(Evidence::Report));
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
}

/// Two links that take turns would prove and take back the same for ever.
#[test]
fn law6_an_older_link_does_not_speak_for_the_agent() {
    let mut bench = bench();
    let old = bench.connect(Transport::Http, bench.marked(), 0, 0);
    bench.say(old, full(), 0);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    let (new, heard) = bench.come(nothing(), 1);
    assert!(heard.transitions.contains(&Transition::LostSettings));
    for seconds in 2..9 {
        for link in [old, new] {
            let heard = bench.say(link, full(), seconds);
            assert_eq!(heard.transitions, []);
            assert!(!heard.offers(), "a ghost still shows the marker");
        }
        assert_eq!(evidence(&bench), None);
    }
    bench.leave(old, 9);
    assert!(bench.say(new, full(), 10).offers());
    // When the newest goes, the one before it speaks.
    let mut bench = self::bench();
    let old = bench.connect(Transport::Http, bench.marked(), 0, 0);
    bench.say(old, full(), 0);
    let (new, _) = bench.come(nothing(), 1);
    bench.leave(new, 2);
    bench.say(old, full(), 3);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
}

/// An older link that proves less must not make the agent wait for a proof
/// that its newest link brought.
#[test]
fn law2_an_older_link_does_not_choose_the_profile() {
    let world = World::new();
    let mut bench = Bench::new(world.revision(1));
    let weak = Verdict {
        recognised: [Recognition {
            profile: ProfileKey::new("ops", "before"),
            number: 1,
        }]
        .into(),
        ..Verdict::default()
    };
    let old = Link::new(
        LinkId(0),
        Transport::WebSocket,
        nothing(),
        weak,
        at(0).uptime,
    );
    bench.agent.attach(old, at(0)).unwrap();
    let candidates = candidates("a", [candidate(&world.profile)].iter());
    let awaiting = Choice::AwaitingProof(world.profile.clone());
    assert_eq!(bench.agent.choose(LinkId(0), &candidates), awaiting);
    bench.agent.chosen(&awaiting, at(0));
    let new = bench.connect(Transport::WebSocket, nothing(), 0, 1);
    let chosen = bench.agent.choose(new, &candidates);
    assert_eq!(chosen, Choice::Profile(world.profile.clone()));
    bench.agent.chosen(&chosen, at(1));
    let ghost = bench.agent.choose(LinkId(0), &candidates);
    assert_eq!(bench.agent.chosen(&ghost, at(1)), []);
    assert!(bench.say(new, full(), 1).offers());
}

/// It says so again only when it is asked for its full state.
#[test]
fn law6_a_bare_reconnect_keeps_what_was_reported() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    let hash = offered(&bench.target.current).hash;
    let applied = || reported(ConnectionSettingsStatuses::Applied, &hash);
    bench.leave(old, 1);
    let link = bench.connect(Transport::WebSocket, nothing(), 0, 2);
    bench.say(link, applied(), 2);
    assert_eq!(evidence(&bench), Some(Evidence::Report));
    bench.leave(link, 30);
    let link = bench.connect(Transport::WebSocket, nothing(), 500, 40);
    let bare = AgentToServer {
        capabilities: CAPABLE,
        ..Default::default()
    };
    let heard = bench.say(link, bare, 40);
    assert_eq!(heard.reply.flags & 1, 1, "asked for full state");
    assert_eq!(heard.transitions, []);
    assert!(!heard.offers());
    assert_eq!(bench.say(link, applied(), 41).transitions, []);
    // One that was started anew says nothing of it.
    bench.leave(link, 50);
    let (_, heard) = bench.come(nothing(), 60);
    assert!(heard.transitions.contains(&Transition::LostSettings));
}

#[test]
fn law6_a_shared_link_proves_nothing() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    bench.leave(old, 1);
    let link = bench.connect(Transport::WebSocket, bench.marked(), 0, 2);
    bench.agent.mark_shared(link);
    let heard = bench.say(link, full(), 2);
    assert!(!heard.offers());
    assert_eq!(evidence(&bench), None);
}

#[test]
fn law6_the_marker_outranks_failed_and_its_absence_outranks_applied() {
    let mut bench = bench();
    let (old, _) = bench.come(nothing(), 0);
    let hash = offered(&bench.target.current).hash;
    bench.say(old, reported(ConnectionSettingsStatuses::Failed, &hash), 1);
    bench.leave(old, 2);
    let link = bench.connect(Transport::WebSocket, bench.marked(), 0, 3);
    bench.say(link, reported(ConnectionSettingsStatuses::Failed, &hash), 3);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    bench.leave(link, 20);
    let (_, heard) = bench.come(nothing(), 21);
    assert!(heard.transitions.contains(&Transition::LostSettings));
    assert_eq!(evidence(&bench), None);
    assert_ne!(bench.agent.record().state, SettingsState::Applied);
}

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

/// Whichever link ends last, the agent is expected back, and not for ever.
#[test]
fn law6_an_agent_that_left_after_an_offer_is_lost_in_time() {
    let mut bench = bench();
    let ghost = bench.connect(Transport::Http, nothing(), 0, 0);
    let (link, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    bench.leave(link, 1);
    bench.leave(ghost, 2);
    assert_eq!(bench.agent.record().state, SettingsState::Switching);
    // Comes, and breaks off before it says anything.
    let broken = bench.connect(Transport::WebSocket, bench.marked(), 0, 10);
    bench.leave(broken, 11);
    assert_eq!(bench.agent.tick(at(12)).until, Some(at(131).uptime));
    // A restart in between changes nothing.
    let record = bench.agent.record();
    let mut bench = Bench::restored(record, World::new().revision(1));
    let broken = bench.connect(Transport::WebSocket, bench.marked(), 0, 10);
    bench.leave(broken, 11);
    bench.agent.tick(at(131));
    assert_eq!(bench.agent.record().state, SettingsState::Lost);
}

/// Settings that are taken back to what the agent runs.
#[test]
fn law6_who_shows_what_it_should_have_is_applied_whatever_failed_before() {
    let mut world = World::new();
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (link, _) = bench.come(bench.marked(), 0);
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(2, 20);
    assert!(bench.refresh(link, 1).push.is_some());
    let hash = offered(&bench.target.current).hash;
    let mut ignored = bench.target.clone();
    bench.say(link, reported(ConnectionSettingsStatuses::Failed, &hash), 2);
    assert_eq!(bench.agent.record().state, SettingsState::Failed);
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(3, 10);
    bench.refresh(link, 3);
    assert_eq!(bench.agent.record().state, SettingsState::Applied);

    // In the same way if it said nothing of the offer in its time.
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (link, _) = bench.come(bench.marked(), 0);
    std::mem::swap(&mut bench.target, &mut ignored);
    assert!(bench.refresh(link, 1).push.is_some());
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(3, 10);
    bench.refresh(link, 120);
    assert_eq!(bench.agent.record().state, SettingsState::Offered);
    bench.refresh(link, 121);
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
}

/// Its newest link was offered something and ended; the one before is there,
/// and shows what the agent should have now.
#[test]
fn law6_a_link_that_ended_acts_on_no_offer() {
    let mut world = World::new();
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (old, _) = bench.come(bench.marked(), 0);
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(2, 20);
    let (link, heard) = bench.come(nothing(), 1);
    assert!(heard.offers());
    bench.leave(link, 2);
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(3, 10);
    bench.refresh(old, 3);
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
}

#[test]
fn law6_applied_ends_with_the_settings_that_it_was_said_of() {
    let mut world = World::new();
    let mut bench = Bench::new(world.revision_with(1, 10));
    let (link, _) = bench.come(bench.marked(), 0);
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(2, 20);
    assert!(bench.refresh(link, 1).push.is_some());
    // It ignored the offer, and what it has is what it should have.
    bench.target.bound = Bound::Nobody;
    bench.refresh(link, 130);
    assert_eq!(bench.agent.record().state, SettingsState::Applied);
    bench.target.paused = true;
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    bench.target.current = world.revision_with(3, 30);
    bench.refresh(link, 131);
    assert_eq!(bench.agent.record().state, SettingsState::Pending);
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
        let Proof::Proved(verdict) = trust.verify(shown, at(0)) else {
            panic!("not recognised: {shown:?}");
        };
        assert_eq!(verdict.primary, None);
        assert_eq!(verdict.recognised.first().map(|r| r.number), Some(1));
    }
    assert_eq!(trust.verify(&token("other"), at(0)), Proof::Refused);

    let mut weak = World::new();
    weak.secret("token", opaque(&[("token", "weak")]));
    let entry = weak.draft().ledger_entry(1, at(0).wall);
    assert_eq!(entry.authorization, None);
    let trust = weak.trust(&Ledger::new(vec![entry]));
    assert_eq!(trust.verify(&token("weak"), at(0)), Proof::Refused);
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
        let both = ring(vec![[8; 32], [7; 32]]).verify(&shown, at(0));
        assert!(matches!(both, Proof::Proved(_)), "{both:?}");
        assert_eq!(ring(vec![[8; 32]]).verify(&shown, at(0)), Proof::Refused);
    }
}

/// Its record is gone, and the certificate that it was offered is under a CA
/// that proves somebody: then it restarts with its bootstrap token.
#[test]
fn law8_what_we_offered_does_not_own_an_instance_uid() {
    let world = World::new();
    let revision = world.revision(1);
    let ledger = Ledger::new(vec![world.draft().ledger_entry(1, at(0).wall)]);
    let ca = world.client_ca.der();
    let bearer = |name: &str, token: &str| Authenticator::Token {
        name: name.into(),
        namespace: "a".into(),
        secret: name.into(),
        tokens: [Fingerprint::of_authorization(
            format!("Bearer {token}").as_bytes(),
        )]
        .into(),
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
            let Proof::Proved(verdict) = trust.verify(presented, at(seconds)) else {
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
    let Proof::Proved(verdict) = trust.verify(&token(STRONG_TOKEN), at(0)) else {
        panic!("refused");
    };
    bench.connect_as(verdict, token(STRONG_TOKEN), 0).unwrap();
    assert!(bench.agent.record().binding.is_some());
}

/// A long weekend: its certificate ended, and the next one waits for it.
#[test]
fn law2_an_ended_certificate_brings_its_own_agent_the_current_revision_only() {
    const HOUR: u64 = 3_600;
    let mut world = World::new();
    let old = world.client_ca.issue(&Issue {
        to: (2030, 1, 2),
        ..Issue::client()
    });
    world.secret("client", tls_secret(&old.crt, &old.key));
    let first = world.revision_with(1, 10);
    let ledger = Ledger::new(vec![world.draft().ledger_entry(1, at(0).wall)]);
    world.secret("client", tls_secret(&world.client.crt, &world.client.key));
    let second = world.revision_with(2, 20);
    let trust = world.trust(&ledger);
    let shown = Presented::new(vec![old.der], None, None);
    let judged = |hours: u64| match trust.verify(&shown, at(hours * HOUR)) {
        Proof::Proved(verdict) => Some(verdict),
        _ => None,
    };
    let fresh = judged(23).unwrap();
    assert_eq!((fresh.recognised.len(), fresh.expired.len()), (1, 0));
    assert_eq!(fresh.until, Some(at(24 * HOUR).wall));
    let ended = judged(24).unwrap();
    assert_eq!((ended.recognised.len(), ended.expired.len()), (0, 1));
    assert_eq!(ended.until, Some(at(96 * HOUR).wall));
    assert_eq!(judged(96), None);

    let given = || {
        let mut bench = Bench::new(Arc::clone(&first));
        assert!(bench.come(nothing(), 0).1.offers());
        bench.agent.record()
    };
    let now = 30;
    let its_own = || Bench::restored(given(), Arc::clone(&second));
    let mut bench = its_own();
    let link = bench.connect_as(ended.clone(), shown.clone(), now).unwrap();
    let all = candidates("a", [candidate(&world.profile)].iter());
    let chosen = Choice::Profile(world.profile.clone());
    assert_eq!(bench.agent.choose(link, &all), chosen);
    // Not what was before, while the current one waits for its first agent.
    bench.target.previous = Some(world.revision_with(1, 30));
    bench.target.bound = Bound::Nobody;
    assert!(!bench.say(link, full(), now).offers());
    bench.target.bound = Bound::Everyone;
    assert!(bench.refresh(link, now + 100).push.is_some());
    // Nobody else: not a new one, nor one that was offered something else, nor
    // one of which a record may be lost.
    let mut nobody = Bench::new(Arc::clone(&second));
    let denied = nobody.connect_as(ended.clone(), shown.clone(), now);
    assert_eq!(denied, None);
    for number in [0, 2] {
        let mut record = given();
        record.offered[0].number = number;
        let mut other = Bench::restored(record, Arc::clone(&second));
        let denied = other.connect_as(ended.clone(), shown.clone(), now);
        assert_eq!(denied, None, "{number}");
    }
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

/// A poll that is late by the agent's own interval is not missed.
#[test]
fn law10_an_http_link_ends_after_three_polls_of_its_own_interval() {
    for interval in [10, 300] {
        let mut bench = bench();
        let link = bench.connect(Transport::Http, nothing(), 0, 0);
        for poll in 0..3 {
            bench.say(link, full(), poll * interval);
        }
        let last = 2 * interval;
        let end = last + 3 * interval.max(30);
        bench.agent.tick(at(end - 1));
        assert!(bench.agent.link(link).is_some());
        let step = bench.agent.tick(at(end));
        assert!(step.transitions.contains(&Transition::Disconnected));
        assert!(bench.agent.link(link).is_none());
    }
}

/// A client that answers at once whenever it is asked, and mends nothing.
#[test]
fn law10_an_agent_is_not_asked_for_its_full_state_in_every_answer() {
    let bare = |capabilities| AgentToServer {
        capabilities,
        ..Default::default()
    };
    let able = |capabilities| AgentToServer {
        capabilities,
        ..full()
    };
    // Its sequence never fits, it names no capabilities, or does not describe
    // itself.
    for (gaps, message) in [(true, full()), (false, able(0)), (false, bare(CAPABLE))] {
        let mut bench = bench();
        bench.target.paused = true;
        let link = bench.connect(Transport::WebSocket, nothing(), 700, 0);
        let mut asked = 0;
        for tenth in 0..6_000 {
            if gaps {
                bench.skip(link);
            }
            let heard = bench.say(link, message.clone(), tenth / 10);
            asked += heard.reply.flags & 1;
        }
        // In ten minutes.
        assert!((19..=21).contains(&asked), "{asked}: {message:?}");
    }
}

#[test]
fn law6_what_was_lost_is_asked_for_until_it_is_told() {
    let bare = || AgentToServer {
        capabilities: CAPABLE,
        ..Default::default()
    };
    let mut bench = bench();
    let link = bench.connect(Transport::WebSocket, nothing(), 700, 0);
    let asks = |bench: &mut Bench, message: AgentToServer, seconds| {
        bench.say(link, message, seconds).reply.flags & 1 == 1
    };
    assert!(asks(&mut bench, bare(), 0), "a bare reconnect");
    assert!(!asks(&mut bench, full(), 1));
    bench.skip(link);
    assert!(asks(&mut bench, bare(), 2), "the first gap, at once");
    assert!(!asks(&mut bench, full(), 3));
    bench.skip(link);
    assert!(!asks(&mut bench, bare(), 4), "the second, soon after");
    assert!(!asks(&mut bench, bare(), 31));
    assert!(asks(&mut bench, bare(), 32), "nor is it forgotten");
    assert!(!asks(&mut bench, full(), 33));
    assert!(!asks(&mut bench, bare(), 100));
}

/// A power cut leaves the link before half open for minutes, and it shows the
/// marker; the agent came back without its settings and says nothing more.
#[test]
fn law6_a_link_that_waits_for_another_looks_again() {
    let mut bench = bench();
    let (half_open, _) = bench.come(bench.marked(), 0);
    let (link, heard) = bench.come(nothing(), 100);
    assert!(!heard.offers());
    let until = heard.until.expect("waits until somebody speaks");
    assert!(until <= at(130).uptime);
    // Half open still, then gone: whoever ended it may say so at once.
    let step = bench.refresh(link, 130);
    assert!(step.push.is_none());
    assert_eq!(step.until, Some(at(160).uptime));
    let ended = bench.agent.detach(half_open, at(140));
    assert_eq!(ended.transitions, []);
    assert_eq!(ended.until, Some(at(140).uptime));
    assert!(bench.refresh(link, 160).push.is_some());

    // The newest ends: the one before speaks for the agent again, and is asked
    // without a message of its own.
    let mut bench = self::bench();
    let (old, _) = bench.come(bench.marked(), 0);
    let (new, _) = bench.come(nothing(), 100);
    assert_eq!(evidence(&bench), None);
    assert_eq!(bench.refresh(old, 101).until, Some(at(131).uptime));
    assert_eq!(bench.agent.detach(new, at(120)).until, Some(at(120).uptime));
    let step = bench.refresh(old, 131);
    assert_eq!(evidence(&bench), Some(Evidence::SettingsHeader));
    assert_eq!(step.until, None, "it is alone");
    // Nobody is there to be refreshed.
    assert_eq!(bench.agent.detach(old, at(140)).until, None);
}
