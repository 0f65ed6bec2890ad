//! S01, S02, S03, S07: which settings go to whom.

use opamp_operator::server::Limits;
use opamp_wire::AgentCapabilities;

use crate::{
    offers::{publish, target},
    peer::{BOTH, Over, Peer, able},
    world::World,
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

/// Own telemetry and other connections come with an issue of their own; until
/// then no capability brings an agent any, and whoever asks for them alone is
/// offered nothing.
#[tokio::test]
async fn s02_s03_s07_both_offer_no_other_section() {
    const OTHERS: [u64; 4] = [
        AgentCapabilities::REPORTS_OWN_METRICS,
        AgentCapabilities::REPORTS_OWN_TRACES,
        AgentCapabilities::REPORTS_OWN_LOGS,
        AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS,
    ];
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, first) in BOTH.into_iter().zip([1, 51]) {
        for (capability, uid) in OTHERS.into_iter().zip((first..).step_by(2)) {
            let mut only = Peer::new(&world, over, uid).await;
            only.stays_alone(able(1 | capability)).await;
            let mut also = Peer::new(&world, over, uid + 1).await;
            let reply = also.say(able(1 | capability | TAKES_OPAMP)).await;
            let offers = reply.connection_settings.expect("an offer");
            assert!(offers.opamp.is_some());
            let telemetry = [offers.own_metrics, offers.own_traces, offers.own_logs];
            assert!(telemetry.iter().all(Option::is_none), "{over:?}");
            assert!(offers.other_connections.is_empty(), "{over:?}");
        }
    }
}
