//! Law 5: no loops.

use std::{sync::Arc, time::Duration};

use opamp_operator_core::{
    catalog::Bound,
    fleet::{Evidence, SettingsState, Silence, Transition, Transport},
    identity::Presented,
};
use opamp_wire::proto::{
    AgentDescription, AgentToServer, AnyValue, ConnectionSettingsStatuses, KeyValue,
    any_value::Value,
};

use crate::common::{
    Bench, CAPABLE, Issue, STRONG_TOKEN, World, at, bench, evidence, full, nothing, offered,
    reported,
};

#[test]
fn law5_h1_one_hash_is_offered_once_on_a_link() {
    let mut bench = bench();
    let (link, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    for seconds in 1..=1_000 {
        assert!(!bench.say(link, full(), seconds * 60).offers());
        assert!(bench.refresh(link, seconds * 60).push.is_none());
    }
}

#[test]
fn law5_h12_no_second_offer_within_15_seconds_or_in_flight() {
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
fn law5_h18_coming_back_without_evidence_backs_off() {
    let mut bench = bench();
    let (mut link, heard) = bench.come(nothing(), 0);
    assert!(heard.offers());
    let mut offered_at = 0;
    for wait in [60, 300, 1_800, 7_200, 21_600, 21_600] {
        bench.leave(link, offered_at + 1);
        let (new, heard) = bench.come(nothing(), offered_at + 16);
        link = new;
        assert!(!heard.offers(), "{wait}");
        let held = Transition::HeldBack(Silence::Backoff, None);
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
            let held = Transition::HeldBack(Silence::BucketEmpty, None);
            assert_eq!(step.transitions, [held], "silence is visible");
            assert_eq!(step.until, Some(Duration::from_secs(600)));
        }
    }
    assert_eq!(given, 10);
    assert!(bench.refresh(link, 599).push.is_none());
    assert!(bench.agent.record().exhausted);
    assert!(bench.refresh(link, 600).push.is_some());
    assert!(!bench.agent.record().exhausted);
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
fn law5_h17_a_reported_failure_is_tried_again_under_a_new_hash() {
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
fn law7_what_failed_is_told_in_harmless_words_until_the_settings_run() {
    let mut bench = bench();
    let (link, _) = bench.come(nothing(), 0);
    let hash = offered(&bench.target.current).hash;
    let mut failed = reported(ConnectionSettingsStatuses::Failed, &hash);
    let status = failed.connection_settings_status.as_mut().unwrap();
    status.error_message = format!("tls: bad certificate\nAuthorization: Bearer {STRONG_TOKEN}");
    bench.say(link, failed, 5);
    let told = bench.agent.record().about.failure;
    assert_eq!(
        told,
        Some(("tls bad certificate Authorization …".into(), at(5).wall))
    );
    let shown = bench.marked();
    bench.come(shown, 20);
    let record = bench.agent.record();
    assert_eq!(record.state, SettingsState::Applied);
    assert_eq!(record.about.failure, None);
}

#[test]
fn law10_what_an_agent_says_of_itself_is_bounded_in_any_script() {
    let mut bench = bench();
    let (link, _) = bench.come(nothing(), 0);
    let value = |text: &str| {
        let value = Some(Value::StringValue(text.to_owned()));
        Some(AnyValue { value })
    };
    let mut says = |service: &str, host: &str, at| {
        let pair = |key: &str, text| KeyValue {
            key: key.to_owned(),
            value: value(text),
        };
        let description = AgentDescription {
            identifying_attributes: vec![pair("service.name", service)],
            non_identifying_attributes: vec![pair("host.name", host)],
        };
        let message = AgentToServer {
            agent_description: Some(description),
            ..full()
        };
        bench.say(link, message, at);
        let about = bench.agent.record().about;
        (about.service, about.host)
    };
    let long = "語".repeat(65_536);
    let cut = "語".repeat(63);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(says(&long, "node-1", 1), (None, some("node-1")));
    let within = "語".repeat(300);
    assert_eq!(
        says(&within, "\u{202e}ﺡﺍﺱﻮﺑ\n7", 2),
        (some(&cut), some("ﺡﺍﺱﻮﺑ 7"))
    );
    assert_eq!(says("सेवा", STRONG_TOKEN, 3).0, some("सेवा"));
    let key = "-----BEGIN PRIVATE KEY-----\nMIGH";
    assert_eq!(says(key, "", 4), (None, None));
}
