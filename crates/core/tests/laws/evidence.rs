//! Law 6: what counts as evidence, and the states that follow.

use std::sync::Arc;

use opamp_operator_core::{
    catalog::Bound,
    fleet::{Evidence, SettingsState, Transition, Transport},
    identity::Presented,
    offer::{Change, ChangeId, Revision},
};
use opamp_wire::{
    Message as _,
    proto::{AgentToServer, ConnectionSettingsOffers, ConnectionSettingsStatuses},
};
use sha2::{Digest as _, Sha256};

use crate::common::{
    Bench, CAPABLE, STRONG_TOKEN, World, at, bench, evidence, full, nothing, offered, reported,
    token,
};

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
fn law6_h16_applied_counts_on_a_later_link_only() {
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
fn law6_h16_the_marker_outranks_failed_and_its_absence_outranks_applied() {
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

/// Agents repeat the hash that an operator before version 2 of it sent them.
#[test]
fn law8_a_report_from_before_an_upgrade_is_understood() {
    let world = World::new();
    let revision = world.revision(1);
    let offers = ConnectionSettingsOffers {
        hash: Vec::new().into(),
        ..offered(&revision)
    };
    let sections = Sha256::digest(offers.encode_to_vec());
    for (retry, ours) in [(0_u32, true), (64, true), (65, false)] {
        let message = [&retry.to_be_bytes()[..], &sections].concat();
        let hash = world.keys.sign("opamp-operator/offer/v1", &message);
        let mut bench = Bench::new(world.revision(1));
        let link = bench.connect(Transport::WebSocket, nothing(), 17, 0);
        let applied = reported(ConnectionSettingsStatuses::Applied, hash.as_bytes());
        assert_eq!(!bench.say(link, applied, 0).offers(), ours, "{retry}");
        assert_eq!(evidence(&bench) == Some(Evidence::Report), ours);
    }
}

/// What became of an offer is told once, and how long the change took that it
/// was made for: of agents that had something to change.
#[test]
fn an_offer_that_is_taken_is_told_once_with_its_age() {
    let taken = |transitions: &[Transition]| {
        let taken = transitions
            .iter()
            .filter_map(|transition| match transition {
                Transition::Taken { after } => Some(*after),
                _ => None,
            });
        taken.collect::<Vec<_>>()
    };
    let mut world = World::new();
    let (first, second) = (world.revision_with(1, 10), world.revision_with(2, 20));
    let made_at = |revision: Arc<Revision>, seconds| {
        let change = Change {
            id: ChangeId(1),
            at: at(seconds),
            first: false,
        };
        let revision = Arc::into_inner(revision).unwrap();
        Arc::new(revision.caused_by(Some(change)))
    };
    let (first, second) = (made_at(first, 1), made_at(second, 100));
    let mut bench = Bench::new(first);
    let (link, heard) = bench.come(nothing(), 10);
    assert!(heard.offers() && taken(&heard.transitions).is_empty());
    bench.leave(link, 11);
    let (link, heard) = bench.come(bench.marked(), 12);
    assert_eq!(taken(&heard.transitions), [None], "it had nothing before");
    assert_eq!(taken(&bench.say(link, full(), 13).transitions), []);
    bench.target.previous = Some(Arc::clone(&bench.target.current));
    let before = bench.marked();
    bench.target.current = second;
    assert!(bench.refresh(link, 102).push.is_some());
    bench.leave(link, 103);
    // With what it had, and then with what it was offered.
    let (link, heard) = bench.come(before, 104);
    assert!(heard.transitions.contains(&Transition::CameWithout));
    assert_eq!(taken(&heard.transitions), []);
    bench.leave(link, 105);
    let (link, heard) = bench.come(bench.marked(), 130);
    assert!(!heard.transitions.contains(&Transition::CameWithout));
    assert_eq!(taken(&heard.transitions), [Some(at(30).uptime)]);
    assert_eq!(taken(&bench.say(link, full(), 131).transitions), []);
}
