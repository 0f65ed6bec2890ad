//! Own telemetry and other connections: who is sent them, when, and what is in
//! them (rows S02 to S04, S07; hazards H1, H17, H28).

use std::sync::Arc;

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{
        CertificateSource, ClientCertificate, HeaderSetting, HeaderValueSource, OtherConnection,
        OwnTelemetry, SecretKeyRef, SecretRef, ServerTrust, SystemCAs, TelemetryConnection,
    },
};
use opamp_operator_core::{
    catalog::{Bound, Settled},
    fleet::{Evidence, SettingsState, Transition, Transport},
    identity::KeyRing,
    offer::{Context, Outcome, Revision, references},
};
use opamp_wire::{
    AgentCapabilities,
    proto::{
        AgentToServer, ConnectionSettingsOffers, ConnectionSettingsStatus,
        ConnectionSettingsStatuses,
    },
};

use crate::common::{
    Bench, CAPABLE, Issue, World, able, at, decode, evidence, nothing, offered, opaque, reported,
    tls_secret,
};

pub(super) const TELEMETRY: u64 = AgentCapabilities::REPORTS_OWN_METRICS
    | AgentCapabilities::REPORTS_OWN_TRACES
    | AgentCapabilities::REPORTS_OWN_LOGS;
pub(super) const OTHERS: u64 = AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS;
pub(super) const STATUS: u64 = AgentCapabilities::REPORTS_STATUS;

fn none() -> ClientCertificate {
    ClientCertificate {
        source: CertificateSource::None,
        secret_ref: None,
    }
}

fn system() -> ServerTrust {
    ServerTrust {
        system_cas: SystemCAs::Include,
        ..ServerTrust::default()
    }
}

pub(super) fn header(secret: &str) -> HeaderSetting {
    HeaderSetting {
        name: "X-API-Key".into(),
        value: None,
        value_from: Some(HeaderValueSource {
            secret_key_ref: SecretKeyRef {
                name: secret.into(),
                key: "key".into(),
            },
            prefix: None,
        }),
    }
}

pub(super) fn receiver(signal: &str) -> TelemetryConnection {
    TelemetryConnection {
        endpoint: format!("https://telemetry.example.com:4318/v1/{signal}"),
        headers: vec![header("ingest")],
        client_certificate: none(),
        tls: system(),
        proxy: None,
    }
}

pub(super) fn other(name: &str) -> OtherConnection {
    OtherConnection {
        name: name.into(),
        endpoint: "kafka.example.com:9093".into(),
        headers: Vec::new(),
        client_certificate: ClientCertificate {
            source: CertificateSource::Secret,
            secret_ref: Some(SecretRef {
                name: "client".into(),
            }),
        },
        tls: system(),
        proxy: None,
        settings: [("topic".to_owned(), "logs".to_owned())].into(),
    }
}

/// A profile with all kinds of settings.
pub(super) fn world() -> World {
    let mut world = World::new();
    world.secret("ingest", opaque(&[("key", "0a1b2c3d4e5f-ingest")]));
    world.spec.own_telemetry = Some(OwnTelemetry {
        metrics: Some(receiver("metrics")),
        traces: Some(receiver("traces")),
        logs: Some(receiver("logs")),
    });
    world.spec.other_connections = vec![other("kafka"), other("a/b")];
    world
}

fn sent(reply: &opamp_wire::Reply) -> Option<ConnectionSettingsOffers> {
    reply.offer.clone().map(decode)
}

/// An agent that can do this says so in its first message.
fn first(world: &World, capabilities: u64) -> Option<ConnectionSettingsOffers> {
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    sent(&bench.say(id, able(capabilities), 0).reply)
}

#[test]
fn s02_s03_h28_each_section_goes_to_who_can_use_it_and_all_of_them_together() {
    let world = world();
    assert_eq!(first(&world, STATUS), None);
    for bits in 1..16_u64 {
        let has = |bit: u64| bits & bit != 0;
        let all = [
            (1, AgentCapabilities::REPORTS_OWN_METRICS),
            (2, AgentCapabilities::REPORTS_OWN_TRACES),
            (4, AgentCapabilities::REPORTS_OWN_LOGS),
            (8, OTHERS),
        ];
        let can = all.iter().filter(|(bit, _)| has(*bit));
        let can = can.fold(STATUS, |sum, (_, capability)| sum | capability);
        let message = first(&world, can).unwrap();
        assert_eq!(message.opamp, None);
        assert_eq!(message.own_metrics.is_some(), has(1), "{bits}");
        assert_eq!(message.own_traces.is_some(), has(2), "{bits}");
        assert_eq!(message.own_logs.is_some(), has(4), "{bits}");
        assert_eq!(message.other_connections.len(), if has(8) { 2 } else { 0 });
    }
}

#[test]
fn s02_s03_what_is_in_a_section() {
    let world = world();
    let message = first(&world, STATUS | TELEMETRY | OTHERS).unwrap();
    let metrics = message.own_metrics.unwrap();
    assert_eq!(
        metrics.destination_endpoint,
        "https://telemetry.example.com:4318/v1/metrics"
    );
    let headers = metrics.headers.unwrap().headers;
    // Theirs is not the marker: that one is for us.
    assert_eq!(headers.len(), 1);
    assert_eq!(
        (&*headers[0].key, &*headers[0].value),
        ("X-API-Key", "0a1b2c3d4e5f-ingest")
    );
    let tls = metrics.tls.unwrap();
    assert!(tls.include_system_ca_certs_pool && !tls.insecure_skip_verify);
    assert_eq!(metrics.certificate, None);
    let kafka = &message.other_connections["kafka"];
    assert_eq!(kafka.destination_endpoint, "kafka.example.com:9093");
    assert_eq!(kafka.other_settings["topic"], "logs");
    let certificate = kafka.certificate.as_ref().unwrap();
    assert_eq!(certificate.cert[..], *world.client.crt.as_bytes());
    assert_eq!(certificate.private_key[..], *world.client.key.as_bytes());
    assert!(kafka.tls.is_some());
    assert!(message.other_connections.contains_key("a/b"));
    let named = references("a", &world.spec);
    assert!(named.iter().any(|object| object.name == "ingest"));
    let printed = format!("{:?} {:?}", world.resolve(), world.revision(1));
    assert!(
        !printed.contains("ingest-") && !printed.contains("0a1b2c"),
        "{printed}"
    );
}

#[test]
fn s07_it_is_in_the_first_answer_and_again_only_when_it_changed() {
    let mut world = world();
    let can = STATUS | TELEMETRY;
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    let told = bench.say(id, able(can), 0);
    let before = sent(&told.reply).unwrap();
    assert!(before.own_metrics.is_some());
    assert!(
        told.transitions
            .iter()
            .any(|t| matches!(t, Transition::Told { number: 1, .. }))
    );
    assert!(!bench.say(id, able(can), 40).offers());
    assert_eq!(bench.refresh(id, 7_300).push, None);

    let marker = bench.target.current.marker();
    let own = world.spec.own_telemetry.as_mut().unwrap();
    own.logs = None;
    bench.target.current = world.revision(1);
    assert_eq!(bench.target.current.marker(), marker, "OpAMP is as it was");
    let pushed = decode(bench.refresh(id, 7_400).push.unwrap());
    assert_ne!(pushed.hash, before.hash);
    // All that there is, not only what changed (H28).
    assert!(pushed.own_metrics.is_some() && pushed.own_logs.is_none());
    assert_eq!(bench.refresh(id, 14_000).push, None);
    // Other settings than those that it can use are nothing new to it.
    world.spec.other_connections.clear();
    bench.target.current = world.revision(1);
    assert_eq!(bench.refresh(id, 14_100).push, None);
}

#[test]
fn law5_the_rest_waits_until_the_agent_has_its_settings_for_opamp() {
    let mut bench = Bench::new(world().revision(1));
    let can = CAPABLE | TELEMETRY;
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    let message = sent(&bench.say(id, able(can), 0).reply).unwrap();
    assert!(message.opamp.is_some());
    let beside = bench.target.current.beside(AgentCapabilities(can)).unwrap();
    assert_ne!(message.hash[..], beside.hash.as_bytes()[..]);
    assert!(message.own_metrics.is_none());
    assert!(!bench.say(id, able(can), 5).offers(), "it is on its way");
    bench.leave(id, 6);
    let back = bench.connect(Transport::WebSocket, bench.marked(), 0, 7);
    let message = sent(&bench.say(back, able(can), 7).reply).unwrap();
    assert!(message.opamp.is_none() && message.own_metrics.is_some());
    assert_eq!(message.hash[..], beside.hash.as_bytes()[..]);
    // A new revision comes a little later.
    let mut other = world();
    bench.target.current = other.revision_with(2, 77);
    assert_eq!(bench.refresh(back, 20).push, None);
    let pushed = decode(bench.refresh(back, 22).push.unwrap());
    assert!(pushed.opamp.is_some());

    // One that ignores the offer is told once that is over.
    let mut bench = Bench::new(world().revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    assert_eq!(bench.refresh(id, 119).push, None);
    let pushed = decode(bench.refresh(id, 121).push.unwrap());
    assert!(pushed.opamp.is_none() && pushed.own_metrics.is_some());
}

/// It did not take them; that other things stand beside them is no reason to
/// send them there again.
#[test]
fn law5_a_change_of_telemetry_offers_opamp_to_the_same_link_no_second_time() {
    let mut world = world();
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    let first = sent(&bench.say(id, able(CAPABLE | TELEMETRY), 0).reply).unwrap();
    assert!(first.opamp.is_some());
    world.spec.own_telemetry.as_mut().unwrap().logs = None;
    bench.target.current = world.revision(1);
    assert_ne!(first.hash[..], bench.target.current.hash(0).as_bytes()[..]);
    let told = decode(bench.refresh(id, 14_000).push.unwrap());
    assert!(told.opamp.is_none() && told.own_metrics.is_some());
    assert_eq!(bench.refresh(id, 28_000).push, None);
}

#[test]
fn law5_h1_who_begins_anew_for_it_is_not_told_in_a_loop() {
    let mut bench = Bench::new(world().revision(1));
    let mut told = 0;
    for turn in 0..3_600 {
        let id = bench.connect(Transport::WebSocket, nothing(), 0, turn);
        told += u32::from(bench.say(id, able(STATUS | TELEMETRY), turn).offers());
        bench.leave(id, turn);
    }
    assert_eq!(told, 4, "at once, after 1, 5 and 30 minutes");
}

#[test]
fn law8_who_was_told_by_an_earlier_process_is_told_again_only_if_it_began_anew() {
    let revision = world().revision(1);
    let mut bench = Bench::new(Arc::clone(&revision));
    let can = STATUS | TELEMETRY;
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    assert_eq!(bench.agent.record().told, None);
    let heard = bench.say(id, able(can), 1);
    assert_eq!(heard.transitions, [Transition::Arrived]);
    let record = bench.agent.record();
    assert!(record.told.is_some());
    for (sequence, again) in [(17, false), (0, true)] {
        let mut bench = Bench::restored(record.clone(), Arc::clone(&revision));
        let id = bench.connect(Transport::WebSocket, nothing(), sequence, 0);
        let bare = AgentToServer {
            capabilities: can,
            ..AgentToServer::default()
        };
        let described = if again { able(can) } else { bare };
        assert_eq!(bench.say(id, described, 0).offers(), again, "{sequence}");
        assert!(!bench.say(id, able(can), 1).offers());
        assert_eq!(bench.refresh(id, 900).push, None);
    }
    // A process that remembers nothing waits a little.
    let mut bench = Bench::new(revision);
    bench.hold = std::time::Duration::from_secs(15);
    let id = bench.connect(Transport::WebSocket, nothing(), 17, 0);
    assert!(!bench.say(id, able(can), 0).offers());
    assert!(bench.refresh(id, 16).push.is_some());
}

#[test]
fn h16_h17_a_word_on_it_is_no_word_on_the_settings_for_opamp() {
    use ConnectionSettingsStatuses::{Applied, Failed};
    let mut world = world();
    let revision = world.revision(1);
    let can = CAPABLE | TELEMETRY;
    let hash = revision.beside(AgentCapabilities(can)).unwrap().hash;
    assert!((0..=64).all(|retry| revision.hash(retry) != hash));
    let mut bench = Bench::new(revision);
    let id = bench.connect(Transport::WebSocket, bench.marked(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    assert_eq!(bench.agent.record().about.cannot_use, None);
    let before = bench.agent.record();
    assert_eq!(before.state, SettingsState::Applied);
    for (status, told) in [(Applied, 0), (Failed, 1), (Failed, 0)] {
        let message = AgentToServer {
            capabilities: can,
            ..reported(status, hash.as_bytes())
        };
        let heard = bench.say(id, message, 1);
        let failures = heard.transitions.iter();
        let failures = failures.filter(|t| matches!(t, Transition::CannotUse(_)));
        assert_eq!(failures.count(), told, "{status:?}");
    }
    let after = bench.agent.record();
    assert_eq!((after.state, after.proved), (before.state, before.proved));
    // It is kept for people to see, cleaned, and goes with the next good word.
    let said = AgentToServer {
        capabilities: can,
        connection_settings_status: Some(ConnectionSettingsStatus {
            error_message: "bad certificate s3cr3t-key-of-18ch".into(),
            last_connection_settings_hash: hash.as_bytes().to_vec().into(),
            status: Failed.into(),
        }),
        ..able(can)
    };
    let applied = || AgentToServer {
        capabilities: can,
        ..reported(Applied, hash.as_bytes())
    };
    bench.say(id, applied(), 2);
    assert_eq!(bench.agent.record().about.cannot_use, None);
    bench.say(id, said.clone(), 3);
    let about = bench.agent.record().about;
    let expected = ("bad certificate …".to_owned(), at(3).wall);
    assert_eq!((about.cannot_use, about.failure), (Some(expected), None));
    bench.say(id, applied(), 4);
    assert_eq!(bench.agent.record().about.cannot_use, None);
    // Or with others.
    bench.say(id, said, 5);
    world.spec.own_telemetry.as_mut().unwrap().logs = None;
    bench.target.current = world.revision(1);
    assert!(bench.agent.record().about.cannot_use.is_some());
    assert!(bench.refresh(id, 100).push.is_some());
    assert_eq!(bench.agent.record().about.cannot_use, None);
}

/// A profile whose agents all take nothing for OpAMP has no first agent.
#[test]
fn s02_who_takes_nothing_for_opamp_waits_for_no_first_agent() {
    let mut bench = Bench::new(world().revision(1));
    bench.target.bound = Bound::Nobody;
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(bench.say(id, able(STATUS | TELEMETRY), 0).offers());
    let mut capable = Bench::new(world().revision(1));
    capable.target.bound = Bound::Nobody;
    let id = capable.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(!capable.say(id, able(CAPABLE | TELEMETRY), 0).offers());
}

#[test]
fn law2_a_profile_that_is_paused_tells_nothing() {
    let mut bench = Bench::new(world().revision(1));
    bench.target.paused = true;
    let can = STATUS | TELEMETRY;
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(!bench.say(id, able(can), 0).offers());
    bench.target.paused = false;
    assert!(bench.refresh(id, 1).push.is_some());
    let mut shared = Bench::new(world().revision(1));
    let id = shared.connect(Transport::WebSocket, nothing(), 0, 0);
    shared.agent.mark_shared(id);
    assert!(!shared.say(id, able(can), 0).offers(), "a gateway");
}

/// What is wrong beside OpAMP, which is offered all the same.
fn beside(world: &World) -> (ConditionType, Reason) {
    let resolution = world.resolve();
    let resolved = matches!(resolution.outcome, Outcome::Resolved(_));
    assert!(resolved, "{:?}", resolution.outcome);
    let wrong = &resolution.beside[0];
    assert!(!wrong.message.contains("a\"b"), "{wrong:?}");
    (wrong.condition, wrong.reason)
}

#[test]
fn law4_what_an_agent_could_not_use_is_not_sent() {
    let accepted = |reason| (ConditionType::Accepted, reason);
    let refs = |reason| (ConditionType::ResolvedRefs, reason);
    let own = |edit: fn(&mut TelemetryConnection)| {
        let mut world = world();
        let telemetry = world.spec.own_telemetry.as_mut().unwrap();
        edit(telemetry.traces.as_mut().unwrap());
        beside(&world)
    };
    assert_eq!(
        own(|t| t.headers = vec![header("nowhere")]),
        refs(Reason::SecretNotFound)
    );
    assert_eq!(
        own(|t| t.tls = ServerTrust::default()),
        accepted(Reason::InvalidSpec)
    );
    let clear = |t: &mut TelemetryConnection| {
        t.endpoint = "http://telemetry.example.com/v1/traces".into();
        t.tls = ServerTrust::default();
    };
    assert_eq!(own(clear), accepted(Reason::InsecureNotAllowed));
    let dollar = |t: &mut TelemetryConnection| t.headers[0].name = "X-$KEY".into();
    assert_eq!(own(dollar), accepted(Reason::InvalidSpec));
    // Supervisors write values into YAML between quotation marks, and their
    // collectors expand variables.
    for value in ["a\"b", "a\\b", "${env:HOME}"] {
        let mut world = world();
        world.secret("ingest", opaque(&[("key", value)]));
        assert_eq!(beside(&world), refs(Reason::InvalidHeaderValue), "{value}");
        world.spec.own_telemetry = None;
        world.spec.other_connections[0].headers = vec![header("ingest")];
        assert_eq!(world.resolve().beside, []);
    }
    let mut unlabelled = world();
    unlabelled.spec.other_connections[1].tls = ServerTrust::default();
    assert_eq!(beside(&unlabelled), accepted(Reason::InsecureNotAllowed));
    let mut many = world();
    many.spec.opamp.headers = (0..70).map(|n| header(&format!("s{n}"))).collect();
    assert_eq!(many.refused(), accepted(Reason::InvalidSpec));
    let mut large = world();
    for n in 0..300 {
        let mut one = other(&format!("c{n}"));
        one.settings = [("k".to_owned(), "v".repeat(1_024))].into();
        large.spec.other_connections.push(one);
    }
    assert_eq!(beside(&large), accepted(Reason::OfferTooLarge));
}

#[test]
fn s04_the_hash_covers_sections_that_an_agent_does_not_get() {
    let mut world = world();
    let with = world.revision(1);
    world.spec.own_telemetry = None;
    world.spec.other_connections.clear();
    let without = world.revision(1);
    assert_eq!(with.marker(), without.marker());
    assert_ne!(with.hash(0), without.hash(0));
    assert_eq!(offered(&with).opamp, offered(&without).opamp);
}

/// The number and the marker stay, so nobody is taken for being behind; but
/// those who wait for a change hear of one.
#[test]
fn s07_a_change_of_telemetry_alone_is_no_new_revision() {
    let mut world = world();
    let mut catalog = world.catalog();
    let spec = Arc::new(world.spec.clone());
    let first: Arc<Revision> = world.revision(1);
    catalog.adopt(Arc::clone(&first), spec, at(0).wall, true);
    world.secret("ingest", opaque(&[("key", "another-ingest")]));
    for (name, object) in &world.objects {
        catalog.set_object(name, object.clone(), at(1));
    }
    let trust = world.trust(&opamp_operator_core::identity::Ledger::default());
    let context = Context {
        advertised_url: &"wss://opamp.example.com:4320/v1/opamp".parse().unwrap(),
        path: "/v1/opamp",
        serving: Some(world.serving()),
        trust: &trust,
        keys: &world.keys,
    };
    let settled = catalog.settle(&world.profile, &context, at(1));
    assert!(matches!(settled, Settled::Retargeted), "{settled:?}");
    let state = catalog.get(&world.profile).unwrap();
    let current = state.current.as_ref().unwrap();
    assert_eq!((current.number(), current.marker()), (1, first.marker()));
    assert!(!current.is_same_beside(&first));
    let settled = catalog.settle(&world.profile, &context, at(2));
    assert!(matches!(settled, Settled::Unchanged), "{settled:?}");
}

/// A connection that is dead already takes them, and nobody gets them.
#[test]
fn s07_what_was_sent_on_a_dead_connection_is_sent_again() {
    let can = STATUS | TELEMETRY;
    let bare = || AgentToServer {
        capabilities: can,
        ..AgentToServer::default()
    };
    let mut world = world();
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    bench.say(id, bare(), 30);
    world.spec.own_telemetry.as_mut().unwrap().logs = None;
    bench.target.current = world.revision(1);
    assert!(bench.refresh(id, 100).push.is_some());
    // What it has now is not known, also to a process that follows.
    let record = bench.agent.record();
    assert_eq!(record.told, None);
    bench.leave(id, 190);
    let back = bench.connect(Transport::WebSocket, nothing(), 17, 200);
    assert!(bench.say(back, bare(), 200).offers());
    bench.say(back, bare(), 230);
    assert!(bench.agent.record().told.is_some());
    bench.leave(back, 300);
    let back = bench.connect(Transport::WebSocket, nothing(), 18, 310);
    assert!(!bench.say(back, bare(), 310).offers());
    assert_eq!(bench.refresh(back, 9_000).push, None);
    let mut later = Bench::restored(record, world.revision(1));
    let link = later.connect(Transport::WebSocket, nothing(), 17, 0);
    assert!(later.say(link, bare(), 0).offers());
    // Back to what it had before: either may be what it has.
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    bench.say(id, bare(), 30);
    let before = Arc::clone(&bench.target.current);
    world.spec.own_telemetry.as_mut().unwrap().traces = None;
    bench.target.current = world.revision(1);
    assert!(bench.refresh(id, 100).push.is_some());
    bench.target.current = before;
    assert!(bench.refresh(id, 120).push.is_some());
}

/// A client that got no answer sends its message once more.
#[test]
fn s07_an_answer_that_never_arrived_is_given_again() {
    let can = STATUS | TELEMETRY;
    let mut bench = Bench::new(world().revision(1));
    let id = bench.connect(Transport::Http, nothing(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    bench.repeat(id);
    assert!(!bench.say(id, able(can), 5).offers(), "too early (law 5)");
    assert_eq!(bench.agent.record().told, None);
    bench.repeat(id);
    assert!(bench.say(id, able(can), 61).offers());
    assert!(!bench.say(id, able(can), 90).offers());
    assert!(bench.agent.record().told.is_some());
    assert!(!bench.say(id, able(can), 7_200).offers());
}

/// The settings stay in force when their certificate ends, and leave no more.
#[test]
fn law4_a_certificate_that_ended_leaves_for_no_connection() {
    let mut world = world();
    let short = world.client_ca.issue(&Issue {
        to: (2030, 1, 2),
        ..Issue::client()
    });
    world.secret("short", tls_secret(&short.crt, &short.key));
    let own = world.spec.own_telemetry.as_mut().unwrap();
    own.metrics.as_mut().unwrap().client_certificate = ClientCertificate {
        source: CertificateSource::Secret,
        secret_ref: Some(SecretRef {
            name: "short".into(),
        }),
    };
    let day = 24 * 3600;
    for (can, seconds, leaves) in [
        (TELEMETRY, day - 1, true),
        (TELEMETRY, day, false),
        // An agent that is not given it is given the rest.
        (OTHERS, day, true),
    ] {
        let mut bench = Bench::new(world.revision(1));
        let id = bench.connect(Transport::WebSocket, nothing(), 0, seconds);
        let heard = bench.say(id, able(STATUS | can), seconds);
        assert_eq!(heard.offers(), leaves, "{can} {seconds}");
    }
}

#[test]
fn law8_a_new_key_of_the_operator_tells_nobody_again() {
    let mut world = world();
    let can = STATUS | TELEMETRY;
    let bare = || AgentToServer {
        capabilities: can,
        ..AgentToServer::default()
    };
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(bench.say(id, able(can), 0).offers());
    bench.say(id, bare(), 1);
    let mut record = bench.agent.record();
    // It is written down by the new key, before the old one is given up.
    for keys in [vec![[8; 32], [7; 32]], vec![[8; 32]]] {
        world.keys = KeyRing::new(keys).unwrap();
        let mut bench = Bench::restored(record, world.revision(1));
        let id = bench.connect(Transport::WebSocket, nothing(), 17, 0);
        assert!(!bench.say(id, bare(), 0).offers());
        assert_eq!(bench.refresh(id, 900).push, None);
        record = bench.agent.record();
    }
}

/// An older connection speaks of what it can do, and not for the newest.
#[test]
fn law1_only_what_was_said_on_the_connection_itself_is_sent_there() {
    let mut bench = Bench::new(world().revision(1));
    bench.target.paused = true;
    let older = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    bench.say(older, able(STATUS | TELEMETRY), 0);
    let newest = bench.connect(Transport::WebSocket, nothing(), 0, 1);
    bench.say(newest, able(STATUS), 1);
    bench.say(older, able(STATUS | TELEMETRY), 2);
    bench.target.paused = false;
    assert_eq!(bench.refresh(newest, 3).push, None);
    assert!(bench.say(newest, able(STATUS | TELEMETRY), 4).offers());
}

/// What it says last is about settings beside those for OpAMP; a report is all
/// that proved these.
#[test]
fn law8_h17_who_proves_by_report_alone_is_left_alone() {
    use ConnectionSettingsStatuses::Applied;
    let can = CAPABLE | TELEMETRY;
    let applied = |hash: &[u8]| AgentToServer {
        capabilities: can,
        ..reported(Applied, hash)
    };
    let bare = || AgentToServer {
        capabilities: can,
        ..AgentToServer::default()
    };
    let mut world = world();
    let mut bench = Bench::new(world.revision(1));
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 0);
    let opamp = sent(&bench.say(id, able(can), 0).reply).unwrap().hash;
    bench.leave(id, 1);
    let id = bench.connect(Transport::WebSocket, nothing(), 0, 20);
    let told = bench.say(id, applied(&opamp), 20);
    let beside = sent(&told.reply).unwrap().hash;
    assert_eq!(evidence(&bench), Some(Evidence::Report));
    assert!(!bench.say(id, applied(&beside), 21).offers());

    // It reconnects, and the operator is started anew: it says of it what it
    // said last, at once or when it is asked.
    for (again, at_once) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut later;
        let bench = if again {
            later = Bench::restored(bench.agent.record(), world.revision(1));
            &mut later
        } else {
            &mut bench
        };
        let id = bench.connect(Transport::WebSocket, nothing(), 17, 100);
        if !at_once {
            let heard = bench.say(id, bare(), 100);
            assert!(!heard.offers());
        }
        let heard = bench.say(id, applied(&beside), 101);
        assert!(!heard.offers(), "{again} {at_once}");
        assert!(!heard.transitions.contains(&Transition::LostSettings));
        assert_eq!(evidence(bench), Some(Evidence::Report));
        assert_eq!(bench.refresh(id, 900).push, None);
        bench.leave(id, 901);
    }
    // What stands beside them changes, in the life of a connection and after.
    world.spec.own_telemetry.as_mut().unwrap().logs = None;
    let record = bench.agent.record();
    let mut later = Bench::restored(record, world.revision(1));
    let id = later.connect(Transport::WebSocket, nothing(), 17, 0);
    let told = sent(&later.say(id, bare(), 0).reply).unwrap();
    assert!(told.opamp.is_none() && told.own_metrics.is_some());
    assert!(!later.say(id, applied(&told.hash), 1).offers());
    assert_eq!(evidence(&later), Some(Evidence::Report));
    assert!(!later.say(id, applied(&opamp), 2).offers());
    assert_eq!(evidence(&later), Some(Evidence::Report));
    assert!(!later.say(id, applied(&told.hash), 3).offers());
    world.spec.other_connections.clear();
    world.spec.own_telemetry = None;
    later.target.current = world.revision(1);
    assert_eq!(later.refresh(id, 300).push, None);
    assert_eq!(evidence(&later), Some(Evidence::Report));
    later.leave(id, 301);
    // One that says so before it is asked, and nothing of OpAMP.
    let id = later.connect(Transport::WebSocket, nothing(), 40, 310);
    assert!(!later.say(id, applied(&told.hash), 310).offers());
    later.leave(id, 311);
    // One that was started anew and has forgotten all is offered all.
    let id = later.connect(Transport::WebSocket, nothing(), 0, 320);
    let offer = sent(&later.say(id, able(can), 320).reply).unwrap();
    assert!(offer.opamp.is_some());
}
