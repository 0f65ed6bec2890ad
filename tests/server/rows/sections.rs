//! S01, S02, S03, S07: which settings go to whom.

use opamp_operator::{hub::Clock, server::Limits};
use opamp_operator_api::v1alpha1::{
    CertificateSource, ClientCertificate, OpAMPConnectionProfileSpec, OtherConnection,
    OwnTelemetry, ServerTrust, SystemCAs, TelemetryConnection,
};
use opamp_wire::{AgentCapabilities, proto::ConnectionSettingsOffers};

use crate::{
    offers::{Offers, publish, target},
    peer::{BOTH, Over, Peer, able, pass},
    world::{TOKEN, World},
};

const TAKES_OPAMP: u64 = AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS;

#[tokio::test]
async fn s01_law1_both_offer_opamp_settings_to_who_takes_them() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, uid) in [(Over::WebSocket, 1), (Over::Http, 11)] {
        // Whatever else it can do, heartbeats included.
        for (capabilities, uid) in [1, !TAKES_OPAMP, 0x2001].into_iter().zip(uid..) {
            let mut peer = Peer::new(&world, over, uid).await;
            peer.stays_alone(able(capabilities)).await;
        }
        for (capabilities, uid) in [TAKES_OPAMP, u64::MAX].into_iter().zip(uid + 5..) {
            let mut peer = Peer::new(&world, over, uid).await;
            let reply = peer.say(able(capabilities)).await;
            assert!(
                reply.connection_settings.is_some(),
                "{over:?} {capabilities:#x}"
            );
        }
    }
}

const OTHERS: [u64; 4] = [
    AgentCapabilities::REPORTS_OWN_METRICS,
    AgentCapabilities::REPORTS_OWN_TRACES,
    AgentCapabilities::REPORTS_OWN_LOGS,
    AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS,
];

fn receiver(signal: &str) -> TelemetryConnection {
    TelemetryConnection {
        endpoint: format!("https://telemetry.example.com:4318/v1/{signal}"),
        headers: Vec::new(),
        client_certificate: ClientCertificate {
            source: CertificateSource::None,
            secret_ref: None,
        },
        tls: ServerTrust {
            system_cas: SystemCAs::Include,
            ..ServerTrust::default()
        },
        proxy: None,
    }
}

/// Every section there is.
fn everything(spec: &mut OpAMPConnectionProfileSpec) {
    spec.own_telemetry = Some(OwnTelemetry {
        metrics: Some(receiver("metrics")),
        traces: Some(receiver("traces")),
        logs: Some(receiver("logs")),
    });
    let TelemetryConnection {
        endpoint,
        headers,
        client_certificate,
        tls,
        proxy,
    } = receiver("other");
    spec.other_connections = vec![OtherConnection {
        name: "other".into(),
        settings: [("a".to_owned(), "b".to_owned())].into(),
        endpoint,
        headers,
        client_certificate,
        tls,
        proxy,
    }];
}

/// Which of [`OTHERS`] an offer holds.
fn held(offers: &ConnectionSettingsOffers) -> [bool; 4] {
    [
        offers.own_metrics.is_some(),
        offers.own_traces.is_some(),
        offers.own_logs.is_some(),
        !offers.other_connections.is_empty(),
    ]
}

#[tokio::test]
async fn s02_s03_both_send_each_section_to_who_can_use_it() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    // A profile without them brings nobody any.
    publish(&world.hub, offers.target(1, |_| {}));
    for (over, uid) in BOTH.into_iter().zip([1, 2]) {
        let mut all = Peer::new(&world, over, uid).await;
        all.stays_alone(able(OTHERS.into_iter().fold(1, |sum, bit| sum | bit)))
            .await;
    }
    publish(&world.hub, offers.target(2, everything));
    for (over, first) in BOTH.into_iter().zip([11, 61]) {
        let mut nothing = Peer::new(&world, over, first).await;
        nothing.stays_alone(able(1)).await;
        for ((at, capability), uid) in OTHERS.into_iter().enumerate().zip(first + 1..) {
            let mut only = Peer::new(&world, over, uid).await;
            let reply = only.say(able(1 | capability)).await;
            let offers = reply.connection_settings.expect("an offer");
            assert!(offers.opamp.is_none());
            let mut expected = [false; 4];
            expected[at] = true;
            assert_eq!(held(&offers), expected, "{over:?} {capability:#x}");
            only.stays_alone(able(1 | capability)).await;
        }
        // One that takes settings for OpAMP gets these first, and alone.
        let mut also = Peer::new(&world, over, first + 9).await;
        let reply = also.say(able(u64::MAX)).await;
        let offers = reply.connection_settings.expect("an offer");
        assert!(offers.opamp.is_some() && held(&offers) == [false; 4]);
    }
}

#[tokio::test]
async fn s07_both_send_telemetry_in_the_first_answer_and_when_it_changed() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let target = offers.target(1, everything);
    let marker = target.current.marker();
    publish(&world.hub, target);
    let all = OTHERS
        .into_iter()
        .fold(1 | TAKES_OPAMP, |sum, bit| sum | bit);
    let mut peers = Vec::new();
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::showing(&world, over, uid, TOKEN, Some(marker)).await;
        let reply = peer.say(able(all)).await;
        let offers = reply.connection_settings.expect("telemetry");
        assert!(
            offers.opamp.is_none() && held(&offers) == [true; 4],
            "{over:?}"
        );
        let metrics = offers.own_metrics.unwrap().destination_endpoint;
        assert_eq!(metrics, "https://telemetry.example.com:4318/v1/metrics");
        peer.stays_alone(able(all)).await;
        peers.push(peer);
    }
    let changed = offers.target(1, |spec| {
        everything(spec);
        spec.own_telemetry.as_mut().unwrap().metrics = Some(receiver("elsewhere"));
    });
    assert_eq!(changed.current.marker(), marker, "OpAMP is as it was");
    publish(&world.hub, changed);
    pass(20).await;
    for peer in &mut peers {
        let offers = peer.news().await.connection_settings.expect("the change");
        assert!(offers.opamp.is_none() && held(&offers) == [true; 4]);
        let metrics = offers.own_metrics.unwrap().destination_endpoint;
        assert_eq!(metrics, "https://telemetry.example.com:4318/v1/elsewhere");
        peer.stays_alone(able(all)).await;
    }
}

/// What stands beside the settings for OpAMP travels alone, and is measured too.
#[tokio::test]
async fn t06_what_stands_beside_is_no_larger_than_may_be_sent() {
    let now = Clock::start().now();
    let offers = Offers::new(now);
    let target = offers.target(1, |spec| {
        everything(spec);
        let large = "v".repeat(1_024);
        let many = (0..8).map(|n| (n.to_string(), large.clone()));
        spec.other_connections[0].settings = many.collect();
    });
    let opamp = target.current.offer(0).len();
    assert!(target.current.largest() > opamp + 1_024);
    for (sent_bytes, fits) in [
        (target.current.largest() + 63, false),
        (target.current.largest() + 64, true),
    ] {
        let world = World::trusting(Limits {
            sent_bytes,
            ..Limits::default()
        })
        .await;
        publish(&world.hub, target.clone());
        for (over, uid) in BOTH.into_iter().zip(1..) {
            for (capabilities, uid) in [(1 | TAKES_OPAMP, uid), (1 | OTHERS[3], uid + 10)] {
                let mut peer = Peer::new(&world, over, uid).await;
                let reply = peer.say(able(capabilities)).await;
                assert_eq!(reply.connection_settings.is_some(), fits, "{over:?}");
            }
        }
    }
}
