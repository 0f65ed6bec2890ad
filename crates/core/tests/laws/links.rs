//! Laws 1, 2, 6 and 10: what links show and say, and which of them counts.

use std::sync::Arc;

use opamp_operator_api::values::ProfileKey;
use opamp_operator_core::{
    catalog::{Bound, Choice, candidates},
    fleet::{Evidence, Link, LinkId, Transition, Transport},
    identity::{Bearer, Ledger, Presented, Proof, Recognition, Verdict},
};
use opamp_wire::{
    AgentCapabilities, ServerCapabilities,
    proto::{
        self, AgentToServer, CertificateRequest, ConnectionSettingsRequest,
        OpAmpConnectionSettingsRequest,
    },
};

use crate::common::{
    Bench, CAPABLE, Issue, World, able, at, bench, candidate, evidence, full, nothing, tls_secret,
};

#[test]
fn law1_h15_offers_follow_the_newest_capabilities() {
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
fn law1_h15_zero_on_a_new_link_is_unknown() {
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

/// opamp-go's example agent asks for a certificate, whoever it talks to.
#[test]
fn law1_h26_who_asks_for_a_certificate_gets_what_everyone_gets() {
    let mut bench = bench();
    let link = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    let request = CertificateRequest {
        csr: b"-----BEGIN CERTIFICATE REQUEST-----"[..].into(),
    };
    let asks = || AgentToServer {
        connection_settings_request: Some(ConnectionSettingsRequest {
            opamp: Some(OpAmpConnectionSettingsRequest {
                certificate_request: Some(request.clone()),
            }),
        }),
        ..full()
    };
    let first = bench.say(link, asks(), 0);
    let signs = proto::ServerCapabilities::AcceptsConnectionSettingsRequest as u64;
    assert_eq!(first.reply.capabilities.unwrap() & signs, 0);
    assert!(first.offers(), "the settings of its profile");
    let second = bench.say(link, asks(), 1);
    assert!(!second.offers() && second.reply.error.is_none());
}

/// Two links that take turns would prove and take back the same for ever.
#[test]
fn law6_h13_an_older_link_does_not_speak_for_the_agent() {
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

/// A long weekend: its certificate ended, and the next one waits for it.
#[test]
fn law2_h27_an_ended_certificate_brings_its_own_agent_the_current_revision_only() {
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
    let judged = |hours: u64| match trust.verify(&shown, &Bearer::Nobody, at(hours * HOUR)) {
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
